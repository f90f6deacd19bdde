"""Tombstones against what members really have: any order of users, services, crashes and lost clusters.

The machine is one name in three clusters. The services are their pure functions: `Parts` and `left_by` for a
deletion, `wanted_in` and `next_action` for a syncer, `pending_clusters` for the end of a tombstone.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hanse_apiserver.views.parts import Left, Parts, Placed, State
from hanse_syncer.decide.plan import Desired, SyncAction, WantedState, is_outdated, next_action, wanted_in
from hanse_syncer.federation.intent import Intent
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hanse.api.federation.v1.tombstone_pb2 import LeftCopy, Tombstone
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, ClusterRelease, Placement
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncPhase, SyncState
from hanse.federation.confirmation import confirmation_of, is_confirmed
from hanse.federation.deletion.tombstones import is_gone, left_by, pending_clusters, word_of_state
from hanse.federation.placements import is_named
from hanse.federation.references import reference_to
from hanse.store.keys import ObjectKey

KEY = ObjectKey("", "configmaps", "shop", "web")
CLUSTERS = ("eu", "us", "on-prem")
WHERE = st.sampled_from(CLUSTERS)


@dataclass(frozen=True)
class MarkedCopy:
    """What a member has with our marks: of which object, and under which uid of its own."""

    uid: str
    member_uid: str


class Name(RuleBasedStateMachine):
    """One name: the object, its placement, its tombstone, sync states, and what members have."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.revision = 1
        self.uid = ""
        self.placement: Placement | None = None
        self.placed_at = 0
        self.tombstone: Tombstone | None = None
        self.states: dict[str, SyncState] = {}
        self.copies: dict[str, MarkedCopy] = {}
        self.orphaned: set[str] = set()
        self.joined = set(CLUSTERS)
        self.reachable = set(CLUSTERS)

    def parts(self) -> Parts:
        """What the apiserver knows."""
        parts = Parts()
        if self.placement is not None:
            parts.placed = Placed.read(self.placement.SerializeToString(), self.placed_at, None)
        for cluster, state in self.states.items():
            parts.states[cluster] = State.read(state.SerializeToString(), 1)
        if self.tombstone is not None:
            parts.left = Left(self.tombstone, 1)
        return parts

    @initialize()
    def begin(self) -> None:
        """Something is there from the start."""
        self.create()

    @precondition(lambda self: not self.uid)
    @rule()
    def create(self) -> None:
        """A user makes the object, at once after a deletion too."""
        self.count += 1
        self.uid = f"u{self.count}"

    @precondition(lambda self: self.uid)
    @rule(chosen=st.sets(WHERE))
    def place(self, chosen: set[str]) -> None:
        """The scheduler decides: what is no longer chosen is released until that is confirmed."""
        self.revision += 1
        before = self.placement
        if before is not None and before.object.uid != self.uid:
            before = None
        after = {c.cluster: c.after_revision for c in before.clusters} if before else {}
        leaving = {r.cluster: r.after_revision for r in before.releasing} if before else {}
        releasing = dict.fromkeys(after.keys() - chosen, self.placed_at) | {
            name: at
            for name, at in leaving.items()
            if name not in chosen and not self.is_released(name, after_revision=at)
        }
        self.placement = Placement(
            object=reference_to(KEY, version="v1", kind="ConfigMap", uid=self.uid),
            clusters=[
                ClusterPlacement(cluster=name, after_revision=after.get(name, self.placed_at))
                for name in sorted(chosen & self.joined)
            ],
            releasing=[
                ClusterRelease(cluster=name, after_revision=at)
                for name, at in sorted(releasing.items())
                if name in self.joined
            ],
        )
        self.placed_at = self.revision

    def is_released(self, cluster: str, *, after_revision: int) -> bool:
        """Whether a release is confirmed."""
        state = self.states.get(cluster)
        found = confirmation_of(state) if state is not None else None
        return is_confirmed(found, uid=self.uid, after_revision=after_revision)

    @precondition(lambda self: self.uid)
    @rule(orphan=st.booleans())
    def delete(self, orphan: bool) -> None:
        """A user deletes it: it is gone at once, and the tombstone has what members may have."""
        parts = self.parts()
        new = Tombstone(
            object=reference_to(KEY, version="v1", kind="ConfigMap", uid=self.uid),
            copies=[
                LeftCopy(cluster=cluster, uid=self.uid, orphan=orphan)
                for cluster in parts.unconfirmed(self.uid)
                if cluster in self.joined
            ],
        )
        left = left_by(new, self.tombstone, parts.word_in)
        self.tombstone = left if left is not None else self.tombstone
        if orphan:
            self.orphaned.add(self.uid)
        self.uid = ""

    @precondition(lambda self: not self.uid and self.placement)
    @rule()
    def forget_placement(self) -> None:
        """The scheduler deletes the placement of an object that is gone."""
        self.placement = None

    @precondition(lambda self: self.tombstone is not None)
    @rule()
    def collect(self) -> None:
        """The apiserver looks whether the tombstone may go."""
        assert self.tombstone is not None
        pending = pending_clusters(
            self.tombstone, self.parts().word_in, successor=self.uid, exists=self.joined.__contains__
        )
        if not pending:
            self.tombstone = None

    @rule(cluster=WHERE)
    def lose(self, cluster: str) -> None:
        """A cluster does not answer any more."""
        self.reachable.discard(cluster)

    @rule(cluster=WHERE)
    def regain(self, cluster: str) -> None:
        """It answers again."""
        self.reachable.add(cluster)

    @rule(cluster=WHERE)
    def forget_cluster(self, cluster: str) -> None:
        """Somebody has the federation forget a cluster, with all that is there."""
        if len(self.joined) > 1:
            self.joined.discard(cluster)
            self.states.pop(cluster, None)
            self.copies.pop(cluster, None)

    @rule(cluster=WHERE, crash=st.booleans())
    def sync(self, cluster: str, crash: bool) -> None:
        """The syncer takes a step; if it crashes it does not write down what came of it."""
        if cluster not in self.joined or cluster not in self.reachable:
            return
        intent = Intent(b"{}", 1, self.uid, 1, False, False, "v1", "ConfigMap", "") if self.uid else None
        state = self.states.get(cluster)
        wanted = wanted_in(intent, self.tombstone, self.placement, cluster, state=state)
        outdated = not wanted.over
        if wanted.tombstone is None:
            outdated = is_outdated(state, intent=wanted.intent, placement=wanted.placement, cluster=cluster)
        action = next_action(
            wanted.desired, state=state, rendered_hash="h", seen=None, listed=False, outdated=outdated
        )
        if action is SyncAction.FORGET:
            del self.states[cluster]
        elif action in (SyncAction.NOTHING, SyncAction.REPORT):
            return
        elif wanted.desired is Desired.PRESENT:
            self.apply(cluster, wanted, crash=crash)
        else:
            self.remove(cluster, wanted, crash=crash)

    def apply(self, cluster: str, wanted: WantedState, *, crash: bool) -> None:
        """Create or update the copy. A successor never adopts or updates what its predecessor has left."""
        assert wanted.intent is not None
        there = self.copies.get(cluster)
        assert there is None or there.uid == wanted.intent.uid, there
        copy = there or MarkedCopy(wanted.intent.uid, f"m{wanted.intent.uid}")
        self.copies[cluster] = copy
        if not crash:
            self.write(cluster, wanted.intent.uid, sync.APPLIED, member_uid=copy.member_uid)

    def remove(self, cluster: str, wanted: WantedState, *, crash: bool) -> None:
        """Delete or release the copy. What is to stay is not deleted, nor a successor for its predecessor."""
        assert wanted.intent is not None
        there = self.copies.pop(cluster, None)
        state = self.states.get(cluster)
        if there is not None and state is not None:  # a DELETE is recorded before it is sent
            state.delete_uid = there.member_uid
        if there is not None and wanted.desired is Desired.ABSENT:
            assert there.uid not in self.orphaned, there
            assert there.uid != self.uid or wanted.tombstone is None, there
        if not crash:
            last = wanted.tombstone.object.uid if wanted.tombstone is not None else wanted.intent.uid
            self.write(cluster, last, sync.REMOVED)

    def write(self, cluster: str, uid: str, phase: SyncPhase.ValueType, *, member_uid: str = "") -> None:
        """Write a sync state."""
        self.states[cluster] = SyncState(
            cluster=cluster,
            object=reference_to(KEY, version="v1", kind="ConfigMap", uid=uid),
            phase=phase,
            member_uid=member_uid,
            applied_hash="h",
            placement_revision=self.placed_at,
        )

    @invariant()
    def nothing_leaves_silently(self) -> None:
        """What a member has is explained: by an object that may be there, or by a tombstone."""
        for cluster, copy in self.copies.items():
            named = self.placement is not None and is_named(self.placement, cluster)
            state = word_of_state(self.states.get(cluster))
            left = self.tombstone is not None and any(
                each.cluster == cluster and not is_gone(self.tombstone, state, successor=self.uid)
                for each in self.tombstone.copies
            )
            assert (self.uid == copy.uid and named) or left, f"{copy} in {cluster}"

    def teardown(self) -> None:
        """When every cluster answers, everything comes to rest, and the tombstone goes."""
        self.reachable = set(CLUSTERS)
        for _ in range(6):
            for cluster in CLUSTERS:
                self.sync(cluster, crash=False)
            if self.tombstone is not None:
                self.collect()
        assert self.tombstone is None
        placed = self.placement
        if self.uid and placed is not None and placed.object.uid == self.uid:
            assert set(self.copies) == {entry.cluster for entry in placed.clusters} & self.joined
        elif not self.uid:
            assert not self.copies


TestName = Name.TestCase
TestName.settings = settings(max_examples=400, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("uid", ["", "someone-else"])
def test_a_state_of_another_object_confirms_nothing(uid: str) -> None:
    """No sync state, one that does not say of what, and one of an earlier deletion: the syncer looks."""
    tombstone = Tombstone(object=reference_to(KEY, version="v1", kind="ConfigMap", uid="last"))
    state = SyncState(phase=sync.REMOVED)
    state.object.uid = uid
    assert not is_gone(tombstone, None, successor="")
    assert not is_gone(tombstone, word_of_state(state), successor="")
