"""Which syncer has which cluster: consistent hashing over the live ones, and a lease for each cluster.

Owns `Sharing`. Every syncer keeps a leased key under `members/syncer/`; all compute the same ring from those
keys, and each campaigns for the clusters that the ring gives it. Two may disagree about the ring for a
moment; the election and the fence in every write decide. When a syncer dies its keys go with its leases, and
the others have its clusters within the lease's time to live.

Concurrency: one task per cluster that is ours. Next: `hanse_syncer.cluster.controller`, which does the work.
"""

from __future__ import annotations

import asyncio
from typing import Final

from hanse.background import first_of
from hanse.control.leading import lead
from hanse.control.ring import HashRing
from hanse.errors import HanseError
from hanse.process.telemetry import get_logger
from hanse.store import Leadership, LeaseHandle, Store, keys
from hanse_syncer.cluster.controller import ClusterController
from hanse_syncer.cluster.dependencies import SyncerDependencies
from hanse_syncer.federation.state import FederationState

_log = get_logger(__name__)
SERVICE: Final = "syncer"
_RETRY_SECONDS: Final = 0.5


def election_name(cluster: str) -> str:
    """Return the name of the election for a cluster."""
    return f"{SERVICE}-{cluster}"


class Sharing:
    """Runs the controllers of the clusters that are this process's share."""

    def __init__(
        self,
        dependencies: SyncerDependencies,
        *,
        identity: str,
        lease_seconds: int = 10,
        controllers: dict[str, ClusterController] | None = None,
    ) -> None:
        """`identity` tells this process from other syncers; `controllers` has those that run."""
        self.identity = identity
        self.controllers: dict[str, ClusterController] = {} if controllers is None else controllers
        self._dependencies = dependencies
        self._store: Store = dependencies.store
        self._federation: FederationState = dependencies.federation
        self._lease_seconds = lease_seconds
        self._members = dependencies.federation.syncers
        self._changed = asyncio.Event()
        self._held: dict[str, tuple[asyncio.Event, asyncio.Task[None]]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Share until `stop` is set; then give everything up in order."""
        self._members.subscribe(lambda *_: self._changed.set())
        self._federation.watch_clusters(self._changed.set)
        async with asyncio.TaskGroup() as group:
            registering = group.create_task(self._register(), name="register syncer")
            while not stop.is_set():
                self._changed.clear()
                self._rearrange(group)
                await first_of(self._changed.wait(), stop.wait())
            for stopped, _ in self._held.values():
                stopped.set()
            if self._held:
                await asyncio.wait([task for _, task in self._held.values()])
            registering.cancel()

    def ring(self) -> HashRing:
        """Return the ring of the live syncers."""
        return HashRing(keys.last_segment(key) for key in self._members.keys())  # noqa: SIM118

    def _rearrange(self, group: asyncio.TaskGroup) -> None:
        """Start what became ours, stop what is no longer."""
        mine = self.ring().share(self.identity, self._federation.cluster_names())
        for cluster, (stopped, task) in list(self._held.items()):
            if cluster not in mine:
                stopped.set()
            if task.done():
                del self._held[cluster]
        for cluster in sorted(mine - self._held.keys()):
            stopped = asyncio.Event()
            task = group.create_task(self._hold(cluster, stopped), name=f"hold {cluster}")
            task.add_done_callback(lambda _: self._changed.set())
            self._held[cluster] = (stopped, task)

    async def _hold(self, cluster: str, stopped: asyncio.Event) -> None:
        """Campaign for the cluster and keep it as it should be, again and again, until `stopped`."""

        async def sync(leadership: Leadership) -> None:
            _log.info("holding a cluster", cluster=cluster, identity=self.identity)
            controller = ClusterController(self._dependencies, cluster, fence=leadership.fence)
            self.controllers[cluster] = controller
            try:
                await controller.run(stopped)
            finally:
                del self.controllers[cluster]

        await lead(
            self._store,
            election=election_name(cluster),
            identity=self.identity,
            ttl=self._lease_seconds,
            while_leading=sync,
            stop=stopped,
        )

    async def _register(self) -> None:
        """Keep this process's key there for as long as it lives."""
        lease: LeaseHandle | None = None
        key = keys.member(SERVICE, self.identity)
        try:
            while True:
                try:
                    lease = await self._store.grant(self._lease_seconds)
                    await self._store.put(key, self.identity.encode(), lease=lease.id)
                except HanseError as error:
                    _log.warning("cannot register yet", error=str(error))
                    if lease is not None:
                        await lease.abandon()  # it runs out by itself; the next try has one of its own
                        lease = None
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                await lease.lost.wait()
                _log.warning("the lease of this syncer was lost, registering again")
        finally:
            if lease is not None:
                try:
                    async with asyncio.timeout(1.0):
                        await lease.revoke()
                except (HanseError, TimeoutError):
                    _log.info("the lease of this syncer runs out by itself")
