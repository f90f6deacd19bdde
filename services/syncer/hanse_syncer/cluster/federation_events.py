"""What the federation's store reports about one cluster, made into keys of the queue.

Owns `FederationEventHandler`, the cluster's `hanse_syncer.federation.state.Listener`. What a person waits
for goes to the urgent lane.

Concurrency: one event loop; nothing here waits.

Next: `hanse_syncer.federation.state`, which reports, `hanse_syncer.cluster.connector` for what a credential
changes.
"""

from __future__ import annotations

from collections.abc import Callable

from hanse.control.queue import WorkQueue
from hanse_syncer.orphans.scanner import OrphanScanner


class FederationEventHandler:
    """Queues what changes of the federation concern in one cluster."""

    def __init__(
        self,
        *,
        queue: WorkQueue,
        orphans: OrphanScanner,
        cluster_changed: Callable[[], None],
    ) -> None:
        """`cluster_changed` looks at the credential and the catalogue."""
        self._queue = queue
        self._orphans = orphans
        self._on_cluster_changed = cluster_changed

    def concerned(self, path: str, *, urgent: bool) -> None:
        """Something about the object changed in the federation."""
        self._orphans.changed(path)
        self._queue.add(path, urgent=urgent)

    def cluster_changed(self) -> None:
        """Take note that the cluster, its credential or its catalogue changed."""
        self._on_cluster_changed()
