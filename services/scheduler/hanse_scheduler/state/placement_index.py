"""The placements in force, by path and by cluster, and what namespaces hold in which cluster.

Owns `PlacementIndex`. It is as new as this process has written or seen: of two versions of a placement the
one of the greater revision counts, whichever is heard of first.

Concurrency: one event loop. Next: `hanse_scheduler.placing.reconciler`, which writes placements,
`hanse_scheduler.state.scheduler_state`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.federation.placements import named_clusters
from hanse.paths import namespace_of
from hanse_scheduler.state.crossings import ClusterCounts
from hanse_scheduler.state.object_index import discard


@dataclass(frozen=True, slots=True)
class StoredPlacement:
    """A placement with the revision at which it was written."""

    value: Placement
    revision: int


class PlacementIndex:
    """Placements by path."""

    def __init__(self) -> None:
        self._placements: dict[str, StoredPlacement] = {}
        self._by_cluster: dict[str, set[str]] = {}
        self._counts = ClusterCounts()
        self._writing: set[str] = set()

    def __contains__(self, path: str) -> bool:
        return path in self._placements

    def __iter__(self) -> Iterator[str]:
        """Yield the paths of all placements as they are now."""
        return iter(list(self._placements))

    def get(self, path: str) -> StoredPlacement | None:
        """Return the placement in force, None if there is none."""
        return self._placements.get(path)

    def naming(self, cluster: str) -> Collection[str]:
        """Return the paths of the placements that name the cluster."""
        return self._by_cluster.get(cluster, ())

    def contents(self, namespace: str) -> frozenset[str]:
        """Return the clusters that something in the namespace is or was placed in."""
        return self._counts.of(namespace)

    def is_news(self, path: str, revision: int, *, deleted: bool) -> bool:
        """Return whether what was written at `revision` is newer than what is known."""
        known = self._placements.get(path)
        if known is None:
            return not deleted
        return known.revision < revision

    @contextmanager
    def writing(self, path: str) -> Iterator[None]:
        """While this process writes the placement, that it is followed is no news."""
        self._writing.add(path)
        try:
            yield
        finally:
            self._writing.discard(path)

    def is_writing(self, path: str) -> bool:
        """Return whether this process writes the placement now."""
        return path in self._writing

    def set(self, path: str, stored: StoredPlacement | None) -> bool:
        """Take a placement in, or out; return whether its namespace came to a cluster or left one."""
        known = self._placements.get(path)
        before = named_clusters(known.value) if known else frozenset()
        after = named_clusters(stored.value) if stored else frozenset()
        if stored is None:
            self._placements.pop(path, None)
        else:
            self._placements[path] = stored
        for cluster in before - after:
            discard(self._by_cluster, cluster, path)
        for cluster in after - before:
            self._by_cluster.setdefault(cluster, set()).add(path)
        return self._counts.change(namespace_of(path), removed=before - after, added=after - before)
