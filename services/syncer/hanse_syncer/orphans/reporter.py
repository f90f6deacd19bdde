"""The report of one cluster's orphans: `orphans/<cluster>`, the gauge, the log and the Events.

Owns `OrphanReporter`. Only the holder of the cluster's lease has one: what is in memory is the truth, it is
written when it differs from what is stored, and every write carries the holder's fence and the condition that
the cluster is still there. It is bounded: of what is beyond `orphans.MAX_LISTED` it has the number only.

Concurrency: used by the one task of `hanse_syncer.orphans.scanner`.

Next: `hanse_syncer.orphans.operations`, which reads it; the registry makes a condition of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

from hanse.api.syncer.v1.orphan_pb2 import Orphan, OrphanReport
from hanse.errors import FailedPreconditionError, InvalidArgumentError, UnavailableError
from hanse.federation.events import EventRecorder
from hanse.kube.model.events import InvolvedObject
from hanse.process.telemetry import get_logger
from hanse.store import Compare, Delete, Put, Store, keys
from hanse.store.decoding import carry, decode
from hanse.store.times import stamp
from hanse.well_known import API_VERSION
from hanse_syncer.federation.state import FederationState
from hanse_syncer.orphans import rules as orphans
from hanse_syncer.report.metrics import SyncerMetrics

_log = get_logger(__name__)
_RETRY_SECONDS: Final = 1.0


class OrphanReporter:
    """The orphans of `cluster`, by path."""

    def __init__(
        self,
        cluster: str,
        *,
        store: Store,
        federation: FederationState,
        fence: Callable[[], Compare],
        events: EventRecorder,
        metrics: SyncerMetrics,
        clock: Callable[[], datetime],
    ) -> None:
        self.listed: dict[str, Orphan] = {}
        self.beyond = 0
        """How many more there are, for which there is no room."""
        self._cluster = cluster
        self._store = store
        self._federation = federation
        self._fence = fence
        self._events = events
        self._metrics = metrics
        self._clock = clock
        self._stored: OrphanReport | None = None
        """What the store has; None while that is not known."""
        self._new: list[Orphan] = []

    @property
    def full(self) -> bool:
        """Whether no more can be listed."""
        return len(self.listed) >= orphans.MAX_LISTED

    def add(self, path: str, orphan: Orphan) -> None:
        """List an orphan. The time of one that is known is that of its first finding."""
        known = self.listed.get(path)
        if known is not None and known.member_uid != orphan.member_uid:
            known = None
        if known is None:
            self._new.append(orphan)
        elif known.HasField("found_time"):
            orphan.found_time.CopyFrom(known.found_time)
        self.listed[path] = stamp(known, carry(known, orphan), now=self._clock())
        if known is None:
            orphan.found_time.CopyFrom(orphan.create_time)

    def drop(self, path: str) -> None:
        """Take note that it is no orphan, or not any more."""
        self.listed.pop(path, None)

    async def load(self) -> None:
        """Take up the report of who had the cluster before."""
        while True:
            try:
                stored = await self._store.get(keys.orphans(self._cluster))
                break
            except UnavailableError as error:
                _log.warning("the report of orphans cannot be read yet", error=error.message)
                await asyncio.sleep(_RETRY_SECONDS)
        if stored is None:
            self._stored = OrphanReport()
            return
        try:
            report = decode(OrphanReport, stored.value)
            listed = {orphans.parse_name(orphan.name)[0].path(): orphan for orphan in report.orphans}
        except (ValueError, InvalidArgumentError) as error:
            _log.error("the report of orphans is made again", cluster=self._cluster, error=str(error))
            return
        self._stored, self.listed = report, listed
        self.beyond = max(0, report.total - len(listed))
        self._metrics.orphans[self._cluster] = report.total

    async def write(self) -> None:
        """Store the report if it says something new.

        Raises UnavailableError, and FailedPreconditionError (`LEADERSHIP_LOST`) when the fence fails.
        """
        listed = [self.listed[path] for path in sorted(self.listed)]
        total = len(listed) + self.beyond
        self._metrics.orphans[self._cluster] = total
        report = OrphanReport(cluster=self._cluster, orphans=listed, total=total) if total else OrphanReport()
        report = carry(self._stored, report)
        if report == self._stored:
            return
        key = keys.orphans(self._cluster)
        result = await self._store.txn(
            [self._fence(), Compare.exists(keys.cluster(self._cluster))],
            [Put(key, report.SerializeToString()) if total else Delete(key)],
        )
        if not result.succeeded:
            raise FailedPreconditionError(
                f"cluster {self._cluster} has left, or another syncer has taken it over: this one reports no "
                "more orphans of it",
                reason="LEADERSHIP_LOST",
                metadata={"cluster": self._cluster},
            )
        self._stored = report

    def announce(self) -> None:
        """Say in the log and by an Event on the Cluster what is listed since the last call."""
        new, self._new = self._new, []
        for orphan in new:
            _log.warning(
                "an orphan was found; it is left alone",
                cluster=self._cluster,
                object=orphan.name,
                uid=orphan.member_uid,
                message=orphan.message,
            )
        known = self._federation.cluster(self._cluster)
        if not new or known is None:
            return
        first = str(orphans.parse_name(new[0].name)[0])
        others = f" and {len(new) - 1} more" if len(new) > 1 else ""
        self._events.record(
            InvolvedObject(API_VERSION, "Cluster", "", self._cluster, known.uid),
            type_="Warning",
            reason="OrphanFound",
            message=f"cluster {self._cluster}: {first}{others}: {new[0].message}; "
            f"see `hanse orphans {self._cluster}`",
        )

    def close(self) -> None:
        """Take note that this process has the cluster no more: it counts nothing there."""
        self._metrics.orphans.pop(self._cluster, None)
