"""The placement in force when a decision is made, and what the next one carries over from it.

Owns `PreviousPlacement`: whether it is about the same object, where that is placed, and whether another
placement says something else. Times of writing and traces do not count, so that deciding again writes
nothing.

Pure; messages are never changed. Next: `hanse_scheduler.handshake.releases`,
`hanse_scheduler.handshake.builder`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, Placement
from hanse.federation.references import is_same_object
from hanse.kube.model.objects import Object, mapping


@dataclass(frozen=True, slots=True)
class PreviousPlacement:
    """The placement in force, None if there is none, and the revision at which it was written, 0 for none."""

    placement: Placement | None = None
    revision: int = 0
    of_another: bool = False
    """One is stored of an earlier object of the name, which its tombstone explains: it only has to go."""

    def is_about(self, obj: Object) -> bool:
        """Return whether it is about this very object, and not about an earlier one of that name."""
        if self.placement is None:
            return False
        return is_same_object(self.placement.object.uid, str(mapping(obj, "metadata").get("uid") or ""))

    def placed(self, obj: Object, exists: Collection[str]) -> dict[str, ClusterPlacement]:
        """Return where this very object is placed, by cluster, as far as the clusters exist."""
        if self.placement is None or not self.is_about(obj):
            return {}
        return {item.cluster: item for item in self.placement.clusters if item.cluster in exists}

    def differs(self, placement: Placement | None) -> bool:
        """Return whether `placement` says something else than the one in force."""
        if self.of_another:
            return True
        if placement is None or self.placement is None:
            return placement is not self.placement
        return essence(placement) != essence(self.placement)


def essence(placement: Placement) -> Placement:
    """Return the placement without what may differ between two equal decisions."""
    result = Placement()
    result.CopyFrom(placement)
    for name in ("create_time", "update_time", "traceparent", "revision"):
        result.ClearField(name)
    return result
