"""How many replicas are asked for and are in no cluster.

Owns `UnplacedReplicas`, a count that is kept up to date object by object.

Concurrency: one event loop. Next: `hanse_scheduler.metrics`, which shows it,
`hanse_scheduler.decide.workloads`.
"""

from __future__ import annotations

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.paths import resource_of
from hanse_scheduler.decide.workloads import WORKLOADS, shortfall
from hanse_scheduler.state.records import ObjectRecord


class UnplacedReplicas:
    """The replicas of all objects that no cluster has that answers."""

    def __init__(self) -> None:
        self.total = 0
        self._missing: dict[str, int] = {}

    def update(self, path: str, record: ObjectRecord | None, placement: Placement | None) -> None:
        """Count the object at `path` as it is now."""
        kind = WORKLOADS.get(resource_of(path))
        if kind is None:
            return
        missing = 0
        if record is not None and record.propagates:
            missing = (
                placement.unplaced_replicas if placement is not None else shortfall(record.reduced, kind, ())
            )
        self.total += missing - self._missing.pop(path, 0)
        if missing:
            self._missing[path] = missing
