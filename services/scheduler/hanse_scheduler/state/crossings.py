"""In which clusters something of each namespace is, counted, so that the last that goes is noticed.

Owns `ClusterCounts`. Concurrency: one event loop. Next: `hanse_scheduler.state.placement_index`,
`hanse_scheduler.state.tombstone_index`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection


class ClusterCounts:
    """How many things of a namespace are in each cluster."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def of(self, namespace: str) -> frozenset[str]:
        """Return the clusters that have something of the namespace."""
        return frozenset(self._counts.get(namespace, ()))

    def change(self, namespace: str, *, removed: Collection[str], added: Collection[str]) -> bool:
        """Count what came to clusters and left them; return whether it was the first or the last in one."""
        if not namespace or not (removed or added):
            return False
        counts = self._counts.setdefault(namespace, Counter())
        crossed = False
        for cluster in added:
            counts[cluster] += 1
            crossed |= counts[cluster] == 1
        for cluster in removed:
            counts[cluster] -= 1
            if counts[cluster] <= 0:
                del counts[cluster]
                crossed = True
        if not counts:
            del self._counts[namespace]
        return crossed
