"""What is to be done about one object in one cluster: the decision, without the doing.

Owns the rules of promise 2 ("nothing lost, nothing surprising"). All are here and nowhere else:

- An object is removed from a member only if its intent is being deleted, its tombstone has the cluster, or
  its placement says that the cluster is to be left. That there is no intent, no placement, or no cluster in
  it, removes nothing.
- A tombstone comes first: nothing is done for a successor before the copy of the predecessor is gone.
- A cluster whose placement is suspended is left as it is.
- What a list or a watch does not show is looked for by name before anything is concluded from it.
- Where a DELETE was sent, the object counts as kept only when it is seen and the DELETE can do no more.
- Nothing is sent to a member that has, by what is stored and by what it lists, what it should have.

Pure functions. Next: `hanse_syncer.act.reconciler`, which reads the inputs and carries the decisions out.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from hanse.api.federation.v1.tombstone_pb2 import Tombstone
from hanse.api.registry.v1.cluster_pb2 import ApiResource
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, Placement
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.errors import InternalError
from hanse.federation.confirmation import confirmation_of, is_confirmed, is_removed
from hanse.federation.deletion.tombstones import copies_in, to_remove, word_of_state
from hanse.federation.placements import after_revisions, is_releasing, placement_in
from hanse.federation.references import is_same_object
from hanse_syncer.federation.intent import Intent, deleted_intent


class Desired(enum.Enum):
    """What should be true of an object in a cluster."""

    PRESENT = "present"
    """It should be there as rendered."""
    ABSENT = "absent"
    """It should be removed."""
    RELEASED = "released"
    """It should stay, without our marks."""
    UNTOUCHED = "untouched"
    """Leave it alone, whatever it is."""
    UNKNOWN = "unknown"
    """Nobody said anything about it."""


@dataclass(frozen=True, slots=True)
class WantedState:
    """What a cluster is to be brought to next: of the object that has a name, or of what earlier ones left.

    `intent` is of the one that counts, and `placement` its placement, if there is one. `entry` is the
    cluster's part of it where the object is desired. `tombstone` is set where what is left comes first: then
    the intent stands for deleted objects, and `over` says that nothing of them is there any more.
    """

    desired: Desired
    intent: Intent | None = None
    placement: Placement | None = None
    entry: ClusterPlacement | None = None
    tombstone: Tombstone | None = None
    over: bool = False


def wanted_in(
    intent: Intent | None,
    tombstone: Tombstone | None,
    placement: Placement | None,
    cluster: str,
    *,
    state: SyncState | None,
    orphan_cluster: bool = False,
) -> WantedState:
    """Return what is wanted in `cluster` of an object, the tombstone of its name, or both.

    A tombstone comes first where it has a copy that is not known to be gone. When that is gone it is the
    object's turn; where the object is not wanted, what confirms the tombstone stays as long as that does.
    `orphan_cluster`: the cluster is leaving the federation and was asked to keep its objects.
    """
    if intent and placement and not is_same_object(placement.object.uid, intent.uid):
        placement = None  # one of the two is of an object of that name that is no more
    desired, entry = desired_in(intent, placement, cluster, orphan_cluster=orphan_cluster)
    known = WantedState(desired, intent, placement, entry)
    copies = copies_in(tombstone, cluster) if tombstone is not None else []
    if tombstone is None or not copies:
        return known
    successor = intent.uid if intent is not None else ""
    copy = to_remove(tombstone, cluster, word_of_state(state), successor=successor)
    if copy is None and (desired is not Desired.UNKNOWN or state is None or state.object.uid == successor):
        return known
    deleted = deleted_intent(tombstone, copy or copies[-1])
    released = deleted.orphan or orphan_cluster
    return WantedState(
        Desired.RELEASED if released else Desired.ABSENT, deleted, tombstone=tombstone, over=copy is None
    )


def desired_in(
    intent: Intent | None, placement: Placement | None, cluster: str, *, orphan_cluster: bool = False
) -> tuple[Desired, ClusterPlacement | None]:
    """Return what should be true in `cluster`, and the cluster's entry of the placement if it is desired.

    `orphan_cluster`: the cluster is leaving the federation and was asked to keep its objects.
    """
    if placement is None:
        return Desired.UNKNOWN, None
    desired = placement_in(placement, cluster)
    releasing = is_releasing(placement, cluster)
    if intent is None or not (desired or releasing):
        return Desired.UNKNOWN, None
    if intent.deleting:
        return (Desired.RELEASED if intent.orphan or orphan_cluster else Desired.ABSENT), desired
    if desired is not None:
        return (Desired.UNTOUCHED if desired.suspended else Desired.PRESENT), desired
    return (Desired.RELEASED if orphan_cluster else Desired.ABSENT), None


def choose_version(served: Sequence[ApiResource], wanted: str) -> str:
    """Return the apiVersion in which to ask a member for an object: `wanted` if it is served or nothing is
    known.

    `served` are the versions of one resource that the member serves. An object is the same one in each of
    them, so it can be read and deleted in any. What is written is another matter: see `unspoken`.
    """
    if not unspoken(served, wanted):
        return wanted
    versions = _versions(served)
    return versions[next((index for index, each in enumerate(served) if each.preferred), 0)]


def unspoken(served: Sequence[ApiResource], wanted: str) -> tuple[str, ...]:
    """Return the versions that a member serves of a resource, if `wanted` is not among them.

    Nothing is written then: the same fields in another version may mean something else.
    """
    versions = _versions(served)
    return () if wanted in versions else versions


def _versions(served: Sequence[ApiResource]) -> tuple[str, ...]:
    return tuple(f"{each.group}/{each.version}" if each.group else each.version for each in served)


def is_outdated(
    state: SyncState | None, *, intent: Intent | None, placement: Placement | None, cluster: str
) -> bool:
    """Return whether what is confirmed does not confirm what the placement asks for now: look again."""
    confirmation = confirmation_of(state) if state is not None else None
    after = after_revisions(placement).get(cluster) if placement is not None else None
    if confirmation is None or after is None:
        return False
    return not is_confirmed(confirmation, uid=intent.uid if intent is not None else "", after_revision=after)


class SyncAction(enum.Enum):
    """What to do next."""

    NOTHING = "nothing"
    CREATE = "create"
    """Apply, if nothing of that name is there."""
    APPLY = "apply"
    """Apply to the object whose uid is known, and to no other."""
    CHECK = "check"
    """Read the live object and compare."""
    KEEP = "keep"
    """A DELETE was sent that may still arrive: read the live object, and see to it that it stays."""
    COMPARE = "compare"
    """Compare with the live object that the watch brought."""
    REMOVE = "remove"
    """Delete the object whose uid is known."""
    SEARCH = "search"
    """Read the live object, then remove or release it if it is ours."""
    CONFIRM = "confirm"
    """Nothing was ever there: say that it is removed."""
    FORGET = "forget"
    """Drop the sync state."""
    REPORT = "report"
    """Something of ours is there and nobody knows why: say so, touch nothing, keep the state."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the member's list or watch last showed of an object that carries our marks."""

    uid: str
    resource_version: str
    fresh: bool = False
    """Whether the watch brought the whole object and nobody has looked at it yet."""


def next_action(
    desired: Desired,
    *,
    state: SyncState | None,
    rendered_hash: str,
    seen: Seen | None,
    listed: bool,
    force: bool = False,
    outdated: bool = False,
) -> SyncAction:
    """Return the next step for one object in one cluster.

    `rendered_hash` is of the manifest when the desired state is PRESENT. `seen` is what the member shows,
    `listed` whether it has shown all that it has since we are connected. `force` asks for a comparison in any
    case. `outdated`: what `state` confirms was confirmed of an earlier object, or at an earlier release.
    """
    if desired is Desired.UNTOUCHED:
        return SyncAction.NOTHING
    if desired is Desired.UNKNOWN:
        return _unknown(state)
    if desired is Desired.PRESENT:
        return _present(state, rendered_hash=rendered_hash, seen=seen, listed=listed, force=force)
    if state is None and seen is None and not listed:
        return SyncAction.SEARCH
    if state is not None and is_removed(state) and seen is None and not outdated:
        return SyncAction.NOTHING
    if state is None and seen is None:
        return SyncAction.SEARCH
    if desired is Desired.ABSENT and state is not None and seen is not None and state.member_uid == seen.uid:
        return SyncAction.REMOVE
    return SyncAction.SEARCH


def _unknown(state: SyncState | None) -> SyncAction:
    if state is None:
        return SyncAction.NOTHING
    return SyncAction.FORGET if is_removed(state) or not state.member_uid else SyncAction.REPORT


def _present(
    state: SyncState | None, *, rendered_hash: str, seen: Seen | None, listed: bool, force: bool
) -> SyncAction:
    if state is not None and state.delete_uid:
        return SyncAction.KEEP
    uid = state.member_uid if state is not None and not is_removed(state) else ""
    if not uid:
        return SyncAction.APPLY if seen is not None else SyncAction.CREATE
    if state is None:
        raise InternalError("an object without a sync state has no uid")
    if state.applied_hash != rendered_hash or state.phase != sync.APPLIED:
        return SyncAction.APPLY
    if force:
        return SyncAction.CHECK
    if seen is None:
        return SyncAction.CHECK if listed else SyncAction.NOTHING
    if seen.uid != uid:
        return SyncAction.CHECK
    if seen.resource_version == state.member_resource_version:
        return SyncAction.NOTHING
    return SyncAction.COMPARE if seen.fresh else SyncAction.CHECK
