"""Which objects list the endpoints of which Service, so that they go where it goes.

Owns `ServiceFollowers`, an index by Service. What is followed is a Service without a selector: the
endpoints of any other are made in each cluster, by a controller there.

Concurrency: one event loop. Next: `hanse.federation.propagation`, which says who follows;
`hanse_scheduler.state.scheduler_state`.
"""

from __future__ import annotations

from collections.abc import Collection

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.federation.placements import placed_clusters
from hanse_scheduler.state.object_index import discard
from hanse_scheduler.state.records import ObjectRecord


class ServiceFollowers:
    """Paths of Endpoints and EndpointSlices by the path of their Service."""

    def __init__(self) -> None:
        self._followers: dict[str, set[str]] = {}
        self._followed: set[str] = set()

    def of(self, service: str) -> Collection[str]:
        """Return what follows the Service, or would if it had no selector."""
        return self._followers.get(service, ())

    def note(self, path: str, before: ObjectRecord | None, after: ObjectRecord | None) -> Collection[str]:
        """Take in a change of an object; return the others that it moves."""
        if before is not None and before.follows:
            discard(self._followers, before.follows, path)
        if after is not None and after.follows:
            self._followers.setdefault(after.follows, set()).add(path)
        if (after is not None and after.lists_no_pods) == (path in self._followed):
            return ()
        self._followed ^= {path}
        return self.of(path)

    def clusters(self, record: ObjectRecord, service: Placement | None) -> frozenset[str]:
        """Return where the object goes by the placement of its Service; nowhere if it follows none."""
        if service is None or record.follows not in self._followed:
            return frozenset()
        return placed_clusters(service)
