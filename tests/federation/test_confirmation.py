"""When the release of an object is confirmed: the law, and that its three users keep to it."""

from __future__ import annotations

import itertools

import pytest
from hanse_apiserver.views.parts import Parts, Placed, State
from hanse_scheduler.decide.clusters import ClusterTable, MemberCluster
from hanse_scheduler.decide.decision import decide
from hanse_scheduler.decide.inputs import DecisionInput, Rules
from hanse_scheduler.handshake.previous import PreviousPlacement
from hanse_scheduler.state.records import observed_of
from hanse_syncer.decide import plan
from hanse_syncer.decide.plan import Desired, SyncAction
from hanse_syncer.federation.intent import Intent
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, ClusterRelease, Placement
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.federation.confirmation import Confirmation, confirmation_of, is_confirmed
from hanse.store.keys import ObjectKey

KEY = ObjectKey("", "configmaps", "shop", "settings")
UID = "u"
UIDS = st.sampled_from(["", "u", "v"])
REVISIONS = st.integers(min_value=0, max_value=2**63 - 1)


@given(
    uid=st.sampled_from(["", "u", "v"]),
    asked=st.sampled_from(["", "u", "v"]),
    acted=REVISIONS,
    after=REVISIONS,
)
def test_only_a_newer_confirmation_of_the_same_object_counts(
    uid: str, asked: str, acted: int, after: int
) -> None:
    """It must have acted on a placement newer than the release, and be of no other object."""
    same = "" in (uid, asked) or uid == asked
    assert is_confirmed(Confirmation(uid, acted), uid=asked, after_revision=after) is (same and acted > after)


@given(uid=st.sampled_from(["", "u"]), acted=REVISIONS, after=REVISIONS)
def test_what_is_confirmed_stays_so_for_every_earlier_release(uid: str, acted: int, after: int) -> None:
    """A confirmation that counts for a release counts for each one before, and a newer one counts too."""
    confirmation = Confirmation(uid, acted)
    if is_confirmed(confirmation, uid=UID, after_revision=after):
        assert is_confirmed(confirmation, uid=UID, after_revision=after // 2)
        assert is_confirmed(Confirmation(uid, acted + 1), uid=UID, after_revision=after)


@given(st.sampled_from(sorted(sync.SyncPhase.values())), REVISIONS)
def test_only_removed_confirms(phase: sync.SyncPhase.ValueType, acted: int) -> None:
    """A sync state in any other phase, or none at all, confirms nothing."""
    found = confirmation_of(SyncState(phase=phase, placement_revision=acted))
    assert found == (Confirmation("", acted) if phase == sync.REMOVED else None)
    assert not is_confirmed(None, uid="", after_revision=0)


def _state(*, phase: sync.SyncPhase.ValueType, uid: str, acted: int) -> SyncState:
    state = SyncState(phase=phase, placement_revision=acted)
    state.object.uid = uid
    return state


def _placement(after: int, *, releasing: bool) -> Placement:
    placement = Placement(
        name=KEY.key("placements"),
        clusters=[] if releasing else [ClusterPlacement(cluster="a", after_revision=after)],
        releasing=[ClusterRelease(cluster="a", after_revision=after)] if releasing else [],
    )
    placement.object.uid = UID
    return placement


def _scheduler_lets_go(state: SyncState | None, after: int) -> bool:
    """Whether the scheduler drops the release of an object that is placed nowhere any more."""
    inputs = DecisionInput(
        key=KEY,
        obj={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": KEY.name, "uid": UID}},
        table=ClusterTable.of([MemberCluster("a")]),
        propagates=False,
        previous=PreviousPlacement(_placement(after, releasing=True), 9),
        observed={"a": observed_of(state)} if state is not None else {},
    )
    return decide(inputs, rules=Rules(), now=0.0).placement is None


def _syncer_rests(state: SyncState | None, placement: Placement) -> bool:
    """Whether the syncer, whose member lists nothing of the object, sees nothing left to do."""
    intent = Intent(
        encoded=b"", revision=1, uid=UID, generation=1, deleting=True, orphan=False, api_version="v1",
        kind="ConfigMap", traceparent="",
    )  # fmt: skip
    outdated = plan.is_outdated(state, intent=intent, placement=placement, cluster="a")
    action = plan.next_action(
        Desired.ABSENT, state=state, rendered_hash="", seen=None, listed=True, outdated=outdated
    )
    return action is SyncAction.NOTHING


def _apiserver_finishes(state: SyncState | None, placement: Placement) -> bool:
    """Whether the apiserver waits for no cluster before it lets go of a deleted object."""
    parts = Parts()
    parts.placed = Placed.read(placement.SerializeToString(), 9, None)
    if state is not None:
        parts.states["a"] = State.read(state.SerializeToString(), 10)
    return not parts.unconfirmed(UID)


STATES = [
    None,
    *(
        _state(phase=phase, uid=uid, acted=acted)
        for phase, uid, acted in itertools.product(sync.SyncPhase.values(), ["", UID, "v"], [0, 4, 5, 6])
    ),
]


@pytest.mark.parametrize("after", [0, 4, 5])
def test_scheduler_syncer_and_apiserver_agree(after: int) -> None:
    """Of each sync state all three hold the same: what one waits for, no other one holds done."""
    for state in STATES:
        expected = state is not None and is_confirmed(confirmation_of(state), uid=UID, after_revision=after)
        assert _scheduler_lets_go(state, after) is expected, state
        for releasing in (False, True):
            placement = _placement(after, releasing=releasing)
            assert _syncer_rests(state, placement) is expected, state
            assert _apiserver_finishes(state, placement) is expected, state
