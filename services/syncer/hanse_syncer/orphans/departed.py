"""Drops the sync states and the reports of orphans of clusters that are no longer in the federation.

Owns that and nothing else: a cluster that was dropped by force has no controller that could. One syncer at a
time does it, by election; each deletion is fenced, and compares that the cluster is really not there.

Concurrency: one task. Next: `hanse_syncer.report.state_table`, for the states of clusters that are there.
"""

from __future__ import annotations

import asyncio
from typing import Final

from hanse.control.leading import lead
from hanse.errors import HanseError
from hanse.process.telemetry import get_logger
from hanse.store import Compare, Delete, Leadership, Store, keys
from hanse_syncer.federation.state import FederationState
from hanse_syncer.report.state_table import MAX_OPS

_log = get_logger(__name__)
ELECTION: Final = "syncer-janitor"
_PAGE: Final = 5000


class DepartedClusterCollector:
    """Collects when it is elected and whenever a cluster is gone."""

    def __init__(
        self, store: Store, federation: FederationState, *, identity: str, lease_seconds: int = 10
    ) -> None:
        self._store = store
        self._federation = federation
        self._identity = identity
        self._lease_seconds = lease_seconds
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Collect until cancelled."""
        self._federation.watch_clusters(self._changed.set)
        await lead(
            self._store,
            election=ELECTION,
            identity=self._identity,
            ttl=self._lease_seconds,
            while_leading=self._lead,
        )

    async def _lead(self, leadership: Leadership) -> None:
        known: set[str] | None = None
        while True:
            self._changed.clear()
            names = set(self._federation.cluster_names())
            if known is None or known - names:
                await self.collect(leadership)
            known = names
            await self._changed.wait()

    async def collect(self, leadership: Leadership) -> int:
        """Delete what is stored of clusters that do not exist; return how many keys."""
        after: str | None = None
        deleted = 0
        while True:
            page = await self._store.range(
                f"{keys.SYNCSTATES}/", start_after=after, limit=_PAGE, keys_only=True
            )
            names = set(self._federation.cluster_names())
            by_cluster: dict[str, list[str]] = {}
            for kv in page.items:
                cluster = _cluster_of(kv.key)
                if cluster and cluster not in names:
                    by_cluster.setdefault(cluster, []).append(kv.key)
            for cluster, found in by_cluster.items():
                deleted += await self._delete(leadership, cluster, found)
            if not page.more:
                break
            after = page.items[-1].key
        for kv in (await self._store.range(f"{keys.ORPHANS}/", keys_only=True)).items:
            cluster = _cluster_of(kv.key)
            if cluster and cluster not in self._federation.cluster_names():
                deleted += await self._delete(leadership, cluster, [kv.key])
        return deleted

    async def _delete(self, leadership: Leadership, cluster: str, found: list[str]) -> int:
        deleted = 0
        for start in range(0, len(found), MAX_OPS):
            chunk = found[start : start + MAX_OPS]
            result = await self._store.txn(
                [leadership.fence(), Compare.absent(keys.cluster(cluster))], [Delete(key) for key in chunk]
            )
            if not result.succeeded:
                break
            deleted += len(chunk)
        if deleted:
            _log.info("dropped what was stored of a cluster that is gone", cluster=cluster, keys=deleted)
        return deleted


def _cluster_of(key: str) -> str:
    """Return the cluster that a key ends with; "" for what no syncer writes, which is left alone."""
    cluster = keys.last_segment(key)
    try:
        keys.cluster(cluster)
    except HanseError:
        return ""
    return cluster
