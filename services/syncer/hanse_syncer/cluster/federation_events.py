"""What the federation's store reports about one cluster, made into keys of the queue.

Owns `FederationEventHandler`, the cluster's `hanse_syncer.world.Listener`. What a person waits for goes to
the urgent lane.

Concurrency: one event loop; nothing here waits.

Next: `hanse_syncer.world`, which reports, `hanse_syncer.cluster.connector` for what a credential changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hanse.control.queue import WorkQueue
from hanse_syncer.act.reconciler import PATIENCE_SECONDS
from hanse_syncer.cluster.connection import MemberConnection
from hanse_syncer.orphans.scanner import OrphanScanner
from hanse_syncer.world import World


class FederationEventHandler:
    """Queues what changes of the federation concern in one cluster."""

    def __init__(
        self,
        *,
        world: World,
        queue: WorkQueue,
        orphans: OrphanScanner,
        latest: Callable[[], MemberConnection | None],
        cluster_changed: Callable[[], None],
        monotonic: Callable[[], float],
    ) -> None:
        """`latest` is the newest connection; `cluster_changed` looks at the credential and the catalogue."""
        self._world = world
        self._queue = queue
        self._orphans = orphans
        self._latest = latest
        self._on_cluster_changed = cluster_changed
        self._monotonic = monotonic

    def concerned(self, path: str, *, urgent: bool) -> None:
        """Something about the object changed in the federation."""
        self._orphans.changed(path)
        self._queue.add(path, urgent=urgent)

    def incomplete(self, path: str) -> None:
        """The object changed and its decision is to come, or the other way round: look when that is late.

        When it is not, `concerned` is called.
        """
        now = self._monotonic()
        connection = self._latest()
        transient = connection.context.transient(path) if connection is not None else None
        if transient is None or (transient.decision_until is not None and transient.decision_until <= now):
            self._queue.add(path, urgent=True)
        elif transient.decision_until is None:
            transient.decision_until = now + PATIENCE_SECONDS
            asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._look_anyway, path)

    def _look_anyway(self, path: str) -> None:
        if self._world.is_incomplete(path):
            self._queue.add(path, urgent=True)

    def cluster_changed(self) -> None:
        """The cluster, its credential or its catalogue changed."""
        self._on_cluster_changed()
