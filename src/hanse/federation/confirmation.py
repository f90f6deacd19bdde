"""When a member has confirmed that an object has left it: the other half of the release handshake.

Owns `is_confirmed`, which the scheduler (that drops a release), the syncer (that looks again for what is not
confirmed) and the apiserver (that finishes a deletion) must answer alike: if they differed, one of them would
wait for ever for what another one holds done, or an object would be left in a member.

A sync state in phase REMOVED confirms, unless it is of something else: of an earlier object of that name
(another uid), or of an earlier release (it was written while the syncer acted on a placement that is not
newer than `after_revision`). Between the two the object may have been applied again, by a process that died
before it said so. A confirmation that does not say on which placement it acted (`placement_revision` 0)
counts for no release: the syncer looks again, and writes one that counts.

Pure functions and values (ADR 3). Next: `hanse.federation.placements`, for which revisions a placement names.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.federation.references import is_same_object


@dataclass(frozen=True, slots=True)
class Confirmation:
    """That nothing of an object is left in a cluster, as its sync state says.

    `uid` is of the federated object that it is about, "" if it does not say; `placement_revision` is of the
    placement that was acted on.
    """

    uid: str
    placement_revision: int


def is_removed(state: SyncState) -> bool:
    """Return whether nothing of the object was left in the cluster when the syncer looked last."""
    return state.phase == sync.REMOVED


def confirmation_of(state: SyncState) -> Confirmation | None:
    """Return what the sync state confirms; None if it confirms nothing. Equal uids are one string."""
    if not is_removed(state):
        return None
    return Confirmation(sys.intern(state.object.uid), state.placement_revision)


def is_confirmed(confirmation: Confirmation | None, *, uid: str, after_revision: int) -> bool:
    """Return whether the release of the object `uid` is confirmed by what is stored for the cluster.

    `after_revision` is of the placement's entry for the cluster. `uid` is "" if the object is not known; then
    a confirmation of any object of that name counts.
    """
    if confirmation is None or confirmation.placement_revision <= after_revision:
        return False
    return is_same_object(uid, confirmation.uid)
