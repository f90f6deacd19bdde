"""What deleted objects have left, as decisions depend on it: by path, and what namespaces still hold.

Owns `TombstoneIndex`. What a tombstone names is the syncers' work alone; the scheduler places the next object
of the name as if there had been none before it, except that a namespace stays where something of it is left,
and that what must not run in two clusters waits.

Concurrency: one event loop. Next: `hanse.federation.deletion.tombstones` for the law,
`hanse_scheduler.state.scheduler_state`, which asks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from hanse.api.federation.v1.tombstone_pb2 import Tombstone
from hanse.federation.deletion.tombstones import StateWord, clusters_of, pending_clusters
from hanse.federation.references import is_same_object
from hanse.paths import namespace_of
from hanse_scheduler.decide.inputs import Observed
from hanse_scheduler.handshake.previous import PreviousPlacement
from hanse_scheduler.state.crossings import ClusterCounts


class TombstoneIndex:
    """Tombstones by path."""

    def __init__(self) -> None:
        self._tombstones: dict[str, Tombstone] = {}
        self._pending: dict[str, frozenset[str]] = {}
        self._counts = ClusterCounts()

    def __contains__(self, path: str) -> bool:
        return path in self._tombstones

    def set(self, path: str, tombstone: Tombstone | None) -> None:
        """Take a tombstone in, or out. `count` it then."""
        if tombstone is None:
            self._tombstones.pop(path, None)
        else:
            self._tombstones[path] = tombstone

    def count(self, path: str, pending: Collection[str]) -> bool:
        """Take note of the clusters where something may still be; return whether the namespace came to a
        cluster or left one by it."""
        before, after = self._pending.pop(path, frozenset()), frozenset(pending)
        if after:
            self._pending[path] = after
        return self._counts.change(namespace_of(path), removed=before - after, added=after - before)

    def contents(self, namespace: str) -> frozenset[str]:
        """Return the clusters where something deleted that was in the namespace may be left."""
        return self._counts.of(namespace)

    def names(self, path: str, cluster: str) -> bool:
        """Return whether something deleted under the name was left in the cluster."""
        found = self._tombstones.get(path)
        return found is not None and cluster in clusters_of(found)

    def pending(
        self, path: str, observed: Mapping[str, Observed], *, uid: str, exists: Callable[[str], bool]
    ) -> list[str]:
        """Return the clusters, sorted, where it may still be. `uid` is of the object that has the name
        now."""
        found = self._tombstones.get(path)
        if found is None:
            return []

        def word(cluster: str) -> StateWord | None:
            state = observed.get(cluster)
            return StateWord(state.uid, state.removed) if state is not None else None

        return pending_clusters(found, word, successor=uid, exists=exists)

    def own(self, path: str, observed: Mapping[str, Observed], *, uid: str) -> Mapping[str, Observed]:
        """Return what is observed of the object `uid`, without what is of earlier ones of its name."""
        found = self._tombstones.get(path)
        if found is None:
            return observed
        left = clusters_of(found)
        return {
            cluster: state
            for cluster, state in observed.items()
            if cluster not in left or is_same_object(uid, state.uid)
        }

    def previous(self, path: str, previous: PreviousPlacement, *, uid: str) -> PreviousPlacement:
        """Return the placement in force for the object `uid`; that of an earlier one is the tombstone's."""
        placement = previous.placement
        if placement is None or path not in self._tombstones or is_same_object(uid, placement.object.uid):
            return previous
        return replace(previous, placement=None, of_another=True)
