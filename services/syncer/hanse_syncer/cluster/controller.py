"""The controller of one member cluster. A slow or dead member delays nobody else.

Owns `ClusterController`, which runs while this process holds the cluster's lease: it joins the queue and its
workers, the sync states, the connection and the orphan scanner, and decides what is queued at the start and
when somebody asks. Changes of the federation go to the urgent lane, what members report and what a restart
goes through to the bulk lane. How many objects are reconciled at once follows what the member takes
(`hanse_syncer.member.limiter`).

Concurrency: everything in one task group that ends with `run`. Next: `hanse_syncer.sharing`, which runs
controllers, `hanse_syncer.cluster.connector` for the connection, `hanse_syncer.cluster.parking` for a member
that does not answer, and `hanse_syncer.act.reconciler`, which does the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from hanse.control.controller import Controller
from hanse.control.queue import WorkQueue
from hanse.control.reconcile import Request, Result
from hanse.federation.confirmation import is_removed
from hanse.paths import resource_path_of
from hanse.store import Compare
from hanse_syncer import ownership
from hanse_syncer.act.context import ReconcileContext
from hanse_syncer.act.reconciler import ObjectReconciler
from hanse_syncer.cluster.connection import MemberConnection
from hanse_syncer.cluster.connector import MemberConnector
from hanse_syncer.cluster.dependencies import SyncerDependencies
from hanse_syncer.cluster.federation_events import FederationEventHandler
from hanse_syncer.cluster.in_flight import InFlight
from hanse_syncer.cluster.member_events import MemberEventHandler
from hanse_syncer.cluster.parking import ParkedKeys, ParkingReconciler
from hanse_syncer.member import connection as member_connection
from hanse_syncer.member.behaviour import Behaviour
from hanse_syncer.member.client import MemberClient
from hanse_syncer.member.limiter import Limiter
from hanse_syncer.member.session import MemberSession
from hanse_syncer.orphans.reporter import OrphanReporter
from hanse_syncer.orphans.scanner import OrphanScanner
from hanse_syncer.report.state_table import SyncStateTable

_DRAIN_SECONDS: Final = 3.0
_SPARE_CONNECTIONS: Final = 64
"""Connections to a member for its watches, beside those for requests."""
_NEEDED_BY_OTHERS: Final = ("core/namespaces/", "apiextensions.k8s.io/customresourcedefinitions/")
"""What is queued first when everything is."""


class ClusterController:
    """Keeps one cluster as it should be, for as long as `run` runs."""

    def __init__(
        self, dependencies: SyncerDependencies, cluster: str, *, fence: Callable[[], Compare]
    ) -> None:
        """`fence` is part of every write: it fails when another syncer has the cluster."""
        self.cluster = cluster
        self.dependencies = dependencies
        self.queue = WorkQueue(f"syncer-{cluster}")
        self.states = SyncStateTable(
            dependencies.writer,
            cluster,
            fence=fence,
            window=dependencies.report_window,
            monotonic=dependencies.monotonic,
            clock=dependencies.clock,
        )
        self.behaviour = Behaviour(
            dependencies.store,
            cluster,
            fence=fence,
            clock=dependencies.clock,
            monotonic=dependencies.monotonic,
            pauses=dependencies.pauses,
        )
        self._limiter = Limiter(maximum=dependencies.concurrency)
        self._parked = ParkedKeys(self.queue.add)
        self._in_flight = InFlight()
        self._connector = MemberConnector(
            cluster,
            federation=dependencies.federation,
            sealer=dependencies.sealer,
            behaviour=self.behaviour,
            connect=self._connect,
            opened=self._opened,
        )
        self.orphans = self._orphan_scanner(fence)
        self._member_events = MemberEventHandler(
            federation=dependencies.federation,
            states=self.states,
            queue=self.queue,
            orphans=self.orphans,
            in_flight=self._in_flight,
            latest=self._connector.latest,
            current=self._connector.current,
            monotonic=dependencies.monotonic,
        )
        self._federation_events = FederationEventHandler(
            queue=self.queue, orphans=self.orphans, cluster_changed=self._connector.cluster_changed
        )
        self._reconciler = ParkingReconciler(
            cluster,
            self._parked,
            current=self._connector.current,
            latest=self._connector.latest,
            misbehaviour=lambda: self.behaviour.why,
        )
        self._controller = Controller(
            f"syncer-{cluster}", self, self.queue, workers=self._limiter.limit, timeout=None
        )

    @property
    def connection(self) -> MemberConnection | None:
        """The connection to the member that is open now."""
        return self._connector.current()

    @property
    def limit(self) -> int:
        """How many requests the member gets at once, at most."""
        return self._limiter.limit

    @property
    def settled(self) -> bool:
        """Whether everything was looked at since the start, the member's lists are in, and nothing waits."""
        connection = self._connector.current()
        return (
            connection is not None
            and connection.session.up
            and connection.session.listed
            and self.queue.idle
            and not self._parked
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; what is under way is finished then. Raises when the lease is lost."""
        dependencies = self.dependencies
        dependencies.metrics.begin(self.cluster)
        self.states.load(await dependencies.loader.load(self.cluster))
        unlisten = dependencies.federation.listen(self.cluster, self._federation_events)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self.states.run(), name=f"states {self.cluster}"),
                    group.create_task(self._connector.run(), name=f"connections {self.cluster}"),
                    group.create_task(self.behaviour.run(), name=f"behaviour {self.cluster}"),
                    group.create_task(self._controller.run(), name=f"controller {self.cluster}"),
                    group.create_task(self.orphans.run(), name=f"orphans {self.cluster}"),
                ]
                self._queue_all()
                await stop.wait()
                unlisten()
                await self._controller.drain(timeout=_DRAIN_SECONDS)
                await self.states.flush(_DRAIN_SECONDS)
                for task in tasks:
                    task.cancel()
        finally:
            unlisten()

    async def reconcile(self, request: Request) -> Result | None:
        """Reconcile one object, with as many others at once as the member takes."""
        try:
            with self._in_flight.reconciling(request.key):
                return await self._reconciler.reconcile(request.key)
        finally:
            if self._controller.workers != self._limiter.limit:
                self._controller.workers = self._limiter.limit

    def resync(self, paths: Iterable[str] | None = None) -> int:
        """Compare objects with the member again; all of them without `paths`. Return how many were queued."""
        known = self._paths()
        chosen = known if paths is None else set(paths) & known
        connection = self._connector.latest()
        for path in chosen:
            if connection is not None:
                connection.context.transient(path).forced = True
            self.queue.add(path)
        return len(chosen)

    def cluster_changed(self) -> None:
        """Take note that the cluster, its credential, its catalogue or the keys of the sealer changed."""
        self._connector.cluster_changed()

    def _paths(self) -> set[str]:
        """Return the paths of all objects that are or should be in the cluster."""
        known = {path for path, _ in self.states.items()}
        return known.union(self.dependencies.federation.placed(self.cluster))

    def _queue_all(self) -> None:
        """Queue everything, what others need first."""
        for path in sorted(self._paths(), key=lambda path: (not path.startswith(_NEEDED_BY_OTHERS), path)):
            self.queue.add(path)

    def _opened(self, connection: MemberConnection, first: bool) -> None:
        """Take note that a connection is open. It knows nothing of the member: what has not been queued
        yet is queued.
        """
        if self.behaviour.why:
            self._follow_all(connection)
        self._parked.release()
        if not first:
            self._queue_all()

    def _follow_all(self, connection: MemberConnection) -> None:
        """Have all resources listed that there are objects of, before any of them is written to."""
        of_each: dict[str, str] = {}
        for path, state in self.states.items():
            if not is_removed(state):
                of_each.setdefault(resource_path_of(path), path)
        for path in of_each.values():
            connection.session.follow(connection.context.request(path).target)

    def _answers_again(self) -> None:
        """Take note that the member answers: it is no longer held against it that it misbehaved.

        It may have been restored from a backup meanwhile.
        """
        self.behaviour.behaves()
        self.orphans.scan_soon()
        self._parked.release()

    def _connect(self, sealed: bytes) -> MemberConnection:
        """Return a connection for a credential. Raises DataLossError for one that cannot be read."""
        dependencies, events = self.dependencies, self._member_events
        client = member_connection.client(
            member_connection.access(
                self.cluster,
                sealed,
                dependencies.sealer,
                known_id=dependencies.federation.cluster_id(self.cluster),
            ),
            timeout=dependencies.request_seconds,
            connections=dependencies.concurrency + _SPARE_CONNECTIONS,
        )
        member = MemberClient(client, cluster=self.cluster, limiter=self._limiter)
        session = MemberSession(
            client,
            member,
            selector=ownership.selector(dependencies.federation_id),
            changed=events.changed,
            vanished=events.vanished,
            listed=events.listed,
            endpoints_changed=events.endpoints_changed,
            back=self._answers_again,
            probation=bool(self.behaviour.why),
        )
        context = ReconcileContext(
            cluster=self.cluster,
            federation_id=dependencies.federation_id,
            federation=dependencies.federation,
            member=member,
            states=self.states,
            view=session,
            renderer=dependencies.renderer,
            events=dependencies.events,
            metrics=dependencies.metrics,
            tracer=dependencies.tracer,
            clock=dependencies.clock,
            monotonic=dependencies.monotonic,
            wake=partial(self.queue.add, urgent=True),
            consider_orphan=self.orphans.consider,
            endpoints=session.endpoints,
        )
        self.orphans.scan_soon()
        return MemberConnection(session, context, ObjectReconciler(context))

    def _orphan_scanner(self, fence: Callable[[], Compare]) -> OrphanScanner:
        dependencies = self.dependencies
        return OrphanScanner(
            self.cluster,
            federation=dependencies.federation,
            states=self.states,
            report=OrphanReporter(
                self.cluster,
                store=dependencies.store,
                federation=dependencies.federation,
                fence=fence,
                events=dependencies.events,
                metrics=dependencies.metrics,
                clock=dependencies.clock,
            ),
            federation_id=dependencies.federation_id,
            session=self._session,
            settled=lambda: self.settled,
            interval=dependencies.orphan_interval,
            settle=dependencies.orphan_settle,
            monotonic=dependencies.monotonic,
        )

    def _session(self) -> MemberSession | None:
        connection = self._connector.current()
        return connection.session if connection is not None else None
