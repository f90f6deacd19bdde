"""What deleted objects have left in members: when a copy is gone, and what a successor has to wait for.

Owns the law of tombstones (ADR 40), which apiserver, scheduler, syncer and registry must read alike. An
object leaves the API when its deletion is answered. What members have of it by then stands in the tombstone
of its name, written in the same transaction, cluster by cluster. There is one tombstone for a name: the next
object of that name that is deleted adds its copies to those that are not gone yet.

In each cluster the tombstone comes first: nothing is done for a successor there before the copies are gone.
They are gone when the sync state says so, in one of two ways: it is REMOVED and about the object that was
deleted last, or it is about the object that lives under the name now, of which none is written before. That
there is no sync state, or one of an earlier deletion, says nothing: the syncer looks. A cluster that has left
the federation has taken its copies along.

Namespaces and definitions of custom resources go with what is in them. They have no tombstone: they stay in
the API until their contents have left the members, and then they themselves.

Pure functions. Next: `hanse_apiserver.tombstones`, which writes and deletes them, and
`hanse_syncer.decide.plan` for what is done in one cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from hanse.api.federation.v1.tombstone_pb2 import LeftCopy, Tombstone
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.federation.confirmation import is_removed
from hanse.kube.kinds.kubernetes import core, extensions
from hanse.store import KeyValue
from hanse.store.decoding import decode
from hanse.store.keys import ObjectKey

_CONTAINERS: Final = frozenset(
    {core.NAMESPACE.group_plural, extensions.CUSTOM_RESOURCE_DEFINITION.group_plural}
)


@dataclass(frozen=True, slots=True)
class StateWord:
    """What a sync state says that tombstones depend on: the object that it is about, "" if it does not say,
    and whether nothing of that is left."""

    uid: str
    removed: bool


def word_of_state(state: SyncState | None) -> StateWord | None:
    """Return what a sync state says; None for none."""
    return StateWord(state.object.uid, is_removed(state)) if state is not None else None


def holds_others(group: str, resource: str) -> bool:
    """Return whether objects of a resource take along what is in them, and so stay in the API until that is
    gone."""
    return (group, resource) in _CONTAINERS


def is_inside(key: ObjectKey, container: ObjectKey) -> bool:
    """Return whether the object at `key` is in a namespace, or of the kind of a definition."""
    if (container.group, container.resource) == core.NAMESPACE.group_plural:
        return key.namespace == container.name
    if (container.group, container.resource) == extensions.CUSTOM_RESOURCE_DEFINITION.group_plural:
        return f"{key.resource}.{key.group}" == container.name
    return False


def decode_tombstone(kv: KeyValue) -> Tombstone:
    """Return a stored tombstone. Raises ValueError for the value, InvalidArgumentError for the key."""
    ObjectKey.parse(kv.key)
    return decode(Tombstone, kv.value)


def tombstone_name(key: ObjectKey) -> str:
    """Return the resource name of the tombstone of an object's name."""
    return f"tombstones/{key.path()}"


def clusters_of(tombstone: Tombstone) -> frozenset[str]:
    """Return the clusters that have, or may have had, a copy."""
    return frozenset(copy.cluster for copy in tombstone.copies)


def copies_in(tombstone: Tombstone, cluster: str) -> list[LeftCopy]:
    """Return the copies of one cluster, in the order of their deletions."""
    return [copy for copy in tombstone.copies if copy.cluster == cluster]


def is_gone(tombstone: Tombstone, state: StateWord | None, *, successor: str) -> bool:
    """Return whether nothing of the copies is left in the cluster of the sync state `state`.

    `successor` is the uid of the object that has the name now, "" if none has.
    """
    if state is None or not state.uid:
        return False
    if state.removed and state.uid == tombstone.object.uid:
        return True
    return state.uid == successor


def to_remove(
    tombstone: Tombstone, cluster: str, state: StateWord | None, *, successor: str
) -> LeftCopy | None:
    """Return the copy that has to leave the cluster before anything else is done there; None for none.

    What is there is the copy of the object that the sync state is about. If that is none of them, one that is
    to stay counts: a copy is rather left behind than deleted against what was asked for.
    """
    copies = copies_in(tombstone, cluster)
    if not copies or is_gone(tombstone, state, successor=successor):
        return None
    if state is not None and (known := [copy for copy in copies if copy.uid == state.uid]):
        return known[-1]
    return next((copy for copy in copies if copy.orphan), copies[-1])


def pending_clusters(
    tombstone: Tombstone,
    state_in: Callable[[str], StateWord | None],
    *,
    successor: str,
    exists: Callable[[str], bool],
) -> list[str]:
    """Return the clusters, sorted, that are in the federation and were not seen without their copies."""
    return [
        cluster
        for cluster in sorted(clusters_of(tombstone))
        if exists(cluster) and not is_gone(tombstone, state_in(cluster), successor=successor)
    ]


def left_by(
    tombstone: Tombstone,
    before: Tombstone | None,
    state_in: Callable[[str], StateWord | None],
) -> Tombstone | None:
    """Return the tombstone that a deletion leaves under the name, None if it leaves nothing in any member.

    `tombstone` has the copies of the object that is deleted, `before` is what there was of earlier ones: of
    that the copies stay that are not gone.
    """
    uid = tombstone.object.uid
    earlier: Iterable[LeftCopy] = before.copies if before is not None else ()
    kept = [
        copy
        for copy in earlier
        if before is not None
        and copy.uid != uid
        and not is_gone(before, state_in(copy.cluster), successor=uid)
    ]
    if not tombstone.copies:
        return None
    result = Tombstone()
    result.CopyFrom(tombstone)
    del result.copies[:]
    result.copies.extend(sorted([*kept, *tombstone.copies], key=lambda copy: copy.cluster))
    return result
