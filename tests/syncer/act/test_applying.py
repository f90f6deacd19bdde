"""How an object gets into a member and stays so: every answer, drift, repairs, a DELETE taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hanse_syncer.act import waiting
from hanse_syncer.decide.plan import Seen

from hanse.api.registry.v1.cluster_pb2 import ApiResource
from hanse.api.scheduler.v1.placement_pb2 import ABORT, ADOPT
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.control.reconcile import Result
from hanse.errors import InvalidArgumentError
from hanse.federation.contention import is_contested
from hanse.kube.client.answer import Answer
from hanse.well_known import FEDERATION_LABEL, MANAGED_BY_LABEL
from tests.syncer.reconciling import OURS, PATH, Reconciling, absent, reconciling, refusal


@pytest.fixture
async def bench() -> AsyncIterator[Reconciling]:
    """A reconciler with nothing in its member."""
    async with reconciling() as bench:
        yield bench


def shown(bench: Reconciling) -> None:
    """Have the informer show what the member has."""
    metadata = bench.live["metadata"]
    bench.view.seen_of[PATH] = Seen(metadata["uid"], metadata["resourceVersion"])


async def test_a_new_object_is_applied_once(bench: Reconciling) -> None:
    """One request, on the condition that nothing of that name is there; then nothing is sent any more."""
    bench.intend()
    bench.place()
    assert await bench.reconcile() is None
    assert bench.member.sent == ["APPLY new"]
    state = bench.state()
    assert (state.phase, state.member_uid) == (sync.APPLIED, bench.live["metadata"]["uid"])
    assert state.member_resource_version == bench.live["metadata"]["resourceVersion"]
    assert state.apply_time.seconds == int(bench.now)
    assert await bench.reconcile() is None
    assert bench.member.sent == ["APPLY new"]


async def test_a_change_is_applied_to_the_very_object(bench: Reconciling) -> None:
    """By its uid: an object that somebody made meanwhile by that name is not written to."""
    state = await bench.apply()
    bench.intend(obj={"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": "2"}})
    await bench.reconcile()
    assert bench.member.sent == [f"APPLY {state.member_uid}"]
    assert bench.live["data"] == {"value": "2"}


async def test_a_decision_that_renders_the_same_is_noted_only(bench: Reconciling) -> None:
    """The state says on which placement was acted, and nothing is sent."""
    await bench.apply()
    bench.place()
    await bench.reconcile()
    assert bench.member.sent == []
    assert bench.state().placement_revision == bench.context.request(PATH).placement_revision


async def test_ours_that_is_there_already_is_taken_up(bench: Reconciling) -> None:
    """A process that died may have applied it, before it could say so."""
    bench.member.put()
    bench.intend()
    bench.place()
    await bench.reconcile()
    assert bench.member.sent == ["APPLY new", "GET", "APPLY u1"]
    assert (bench.state().phase, bench.state().member_uid) == (sync.APPLIED, "u1")


@pytest.mark.parametrize(
    ("labels", "adopts", "reason"),
    [
        ({}, False, "AlreadyExists"),
        ({FEDERATION_LABEL: "another", MANAGED_BY_LABEL: "hanse"}, False, "OwnedByOtherFederation"),
        ({FEDERATION_LABEL: "another", MANAGED_BY_LABEL: "hanse"}, True, "OwnedByOtherFederation"),
    ],
)
async def test_what_is_not_ours_is_left_alone(
    bench: Reconciling, labels: dict[str, str], adopts: bool, reason: str
) -> None:
    """It is a conflict that is said; another federation's object is not even adopted."""
    bench.member.put(labels=labels)
    bench.intend()
    bench.place(conflict_resolution=ADOPT if adopts else ABORT)
    again = await bench.reconcile()
    assert again is not None
    assert (bench.state().phase, bench.state().reason) == (sync.CONFLICT, reason)
    assert bench.live["metadata"]["labels"] == labels
    assert bench.live["data"] == {"value": "1"}


async def test_a_policy_may_adopt(bench: Reconciling) -> None:
    """Then an object of nobody's becomes ours."""
    bench.member.put(labels={"app": "web"})
    bench.intend()
    bench.place(conflict_resolution=ADOPT)
    await bench.reconcile()
    assert bench.state().phase == sync.APPLIED
    assert bench.live["metadata"]["labels"].items() >= OURS.items()


@pytest.mark.parametrize(
    ("answer", "phase", "reason", "token"),
    [
        (
            refusal(404, "NotFound", name="default", kind="namespaces"),
            sync.WAITING,
            "NamespaceMissing",
            waiting.namespace("default"),
        ),
        (
            refusal(403, "Forbidden", causes=[{"reason": "NamespaceTerminating"}]),
            sync.WAITING,
            "NamespaceTerminating",
            waiting.namespace("default"),
        ),
        (refusal(404), sync.WAITING, "ResourceNotServed", waiting.api("", "configmaps")),
        (refusal(422, "Invalid"), sync.FAILED, "Invalid", ""),
        (refusal(413), sync.FAILED, "Http413", ""),
    ],
)
async def test_a_refusal_says_what_is_waited_for(
    bench: Reconciling, answer: Answer, phase: sync.SyncPhase.ValueType, reason: str, token: str
) -> None:
    """A namespace, a definition, or somebody who changes something."""
    bench.intend()
    bench.place()
    bench.member.scripted = [answer]
    assert await bench.reconcile() is not None
    assert (bench.state().phase, bench.state().reason) == (phase, reason)
    if token:
        assert bench.context.waiting.take(token) == {PATH}


async def test_what_a_catalogue_brings_wakes_who_waits_for_it(bench: Reconciling) -> None:
    """Once, and nobody else."""
    bench.intend()
    bench.place()
    bench.member.scripted = [refusal(404)]
    await bench.reconcile()
    bench.context.serve([ApiResource(version="v1", resource="secrets")])
    assert bench.woken == []
    bench.context.serve([ApiResource(version="v1", resource="configmaps")])
    bench.context.serve([ApiResource(version="v1", resource="configmaps")])
    assert bench.woken == [PATH]


async def test_a_namespace_of_ours_on_its_way_is_waited_for_without_asking(bench: Reconciling) -> None:
    """For a second, by our clock; what it brings wakes the object at once; after that the member is asked."""
    namespace, path = "core/namespaces/_/shop", "core/configmaps/shop/web"
    bench.intend(namespace, obj={"apiVersion": "v1", "kind": "Namespace"})
    bench.intend(path)
    bench.place(namespace)
    bench.place(path)
    assert await bench.reconcile(path) == Result(requeue_after=1.0)
    bench.now += 0.5
    assert await bench.reconcile(path) == Result(requeue_after=1.0)
    assert bench.member.sent == []
    bench.now += 0.6
    assert await bench.reconcile(path) is None
    assert bench.member.sent == ["APPLY new"]


async def test_drift_is_put_right(bench: Reconciling) -> None:
    """What the watch brought is compared without a request; the repair is counted."""
    state = await bench.apply()
    bench.member.touch(data={"value": "drift"})
    shown(bench)
    bench.context.transient(PATH).live = bench.live
    await bench.reconcile()
    assert bench.member.sent == [f"APPLY {state.member_uid}"]
    assert bench.live["data"] == {"value": "1"}
    assert bench.state().drift_repairs == 1


async def test_what_others_add_is_no_drift(bench: Reconciling) -> None:
    """The newer version is taken in, and nothing is written."""
    await bench.apply()
    bench.member.touch(immutable=False)
    shown(bench)
    bench.context.transient(PATH).live = bench.live
    assert await bench.reconcile() is None
    assert bench.member.sent == []
    assert bench.state().member_resource_version == bench.live["metadata"]["resourceVersion"]


async def test_two_who_fight_over_a_field_make_no_storm(bench: Reconciling) -> None:
    """The first repair is at once, the next ones later and later; after a quiet minute again at once."""
    await bench.apply()

    async def drift() -> Result | None:
        bench.member.sent.clear()
        bench.member.touch(data={"value": "drift"})
        shown(bench)
        bench.context.transient(PATH).live = bench.live
        return await bench.reconcile()

    assert await drift() is None
    waits = []
    for _ in range(4):
        found = await drift()
        assert found is not None
        assert bench.member.sent == []
        assert found.requeue_after is not None
        waits.append(found.requeue_after)
        bench.now += 2 * found.requeue_after  # the next draw of the jitter may be longer
        await drift()
        assert bench.member.sent
    assert waits[-1] > waits[0]
    bench.now += 61.0
    assert await drift() is None
    assert bench.member.sent


async def removed(bench: Reconciling) -> Result | None:
    """Somebody in the member deletes the object; what is done about it."""
    bench.member.sent.clear()
    bench.member.live = None
    bench.view.seen_of.clear()
    bench.view.listed = True
    return await bench.reconcile()


async def contested(bench: Reconciling) -> SyncState:
    """An object that was deleted again after each of three repairs, and is left alone for now."""
    await bench.apply()
    for _ in range(3):
        await removed(bench)
        assert bench.member.sent == ["GET", "APPLY new"]
        bench.now += 2.0
    bench.now -= 2.0
    found = await removed(bench)
    assert found is not None
    assert bench.member.sent == ["GET"]
    return bench.state()


async def test_what_is_removed_again_and_again_is_contested(bench: Reconciling) -> None:
    """From the third repair in a row the state says so, is not healthy, and has no status of what is gone."""
    await bench.apply()
    await removed(bench)
    bench.now += 2.0
    await removed(bench)
    assert (bench.state().reason, bench.state().contention.repairs) == ("", 2)
    bench.now += 2.0
    await removed(bench)
    state = bench.state()
    assert (state.phase, state.reason, state.health) == (sync.APPLIED, "Contested", sync.DEGRADED)
    assert "somebody in the cluster removes it again each time that it is put right: 3 times" in state.message
    found = await removed(bench)
    assert found is not None
    assert bench.member.sent == ["GET"]
    state = bench.state()
    assert (state.contention.removed, state.status, state.health) == (True, b"", sync.DEGRADED)
    assert is_contested(state)


async def test_who_undoes_a_repair_is_named(bench: Reconciling) -> None:
    """The field manager that changed the object last, besides us and writers of its status."""
    await bench.apply()
    entries = [
        {"manager": "hanse", "time": "2026-01-01T00:00:09Z"},
        {"manager": "kubelet", "time": "2026-01-01T00:00:08Z", "subresource": "status"},
        {"manager": "kubectl-edit", "time": "2026-01-01T00:00:07Z"},
        {"manager": "helm", "time": "2026-01-01T00:00:01Z"},
    ]
    for _ in range(3):
        assert bench.member.live is not None
        bench.member.live["metadata"]["managedFields"] = entries
        bench.member.touch(data={"value": "drift"})
        shown(bench)
        bench.context.transient(PATH).live = bench.live
        await bench.reconcile()
        bench.now += 2.0
    state = bench.state()
    assert state.contention.manager == "kubectl-edit"
    assert state.message.startswith("field manager kubectl-edit changes it again each time")


async def test_a_fight_that_is_over_is_forgotten(bench: Reconciling) -> None:
    """What stays right for a quiet while is healthy again; it is looked at for that by itself."""
    await contested(bench)
    bench.now += 10.0
    await bench.reconcile()
    shown(bench)
    found = await bench.reconcile()
    assert found is not None
    assert found.requeue_after is not None
    assert is_contested(bench.state())
    bench.now += found.requeue_after
    bench.member.sent.clear()
    assert await bench.reconcile() is None
    assert bench.member.sent == ["GET"]
    state = bench.state()
    assert (state.reason, state.message, state.health) == ("", "", sync.HEALTHY)
    assert not state.HasField("contention")


async def test_a_restart_forgets_no_fight(bench: Reconciling) -> None:
    """A syncer that takes the cluster over goes on with the waits where the other one was."""
    before = await contested(bench)
    bench.context.transients.clear()
    found = await removed(bench)
    assert found is not None
    assert bench.member.sent == ["GET"]
    assert bench.state() == before


async def test_a_new_manifest_ends_a_fight(bench: Reconciling) -> None:
    """Who changes the object is not told of a fight over what it was."""
    await contested(bench)
    bench.member.put(uid=bench.state().member_uid)
    bench.intend(obj={"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": "2"}})
    await bench.reconcile()
    assert not bench.state().HasField("contention")
    assert bench.state().reason == ""


async def test_what_vanished_is_made_again(bench: Reconciling) -> None:
    """A list that does not have it is a doubt; that the member has no such object is a fact."""
    await bench.apply()
    bench.member.live = None
    bench.view.seen_of.clear()
    bench.view.listed = True
    await bench.reconcile()
    assert bench.member.sent == ["GET", "APPLY new"]
    assert (bench.state().phase, bench.state().drift_repairs) == (sync.APPLIED, 1)


async def test_a_doubt_that_is_none_costs_one_request(bench: Reconciling) -> None:
    """The list was old: the object is there as it should be."""
    await bench.apply()
    bench.view.seen_of.clear()
    bench.view.listed = True
    await bench.reconcile()
    assert bench.member.sent == ["GET"]
    assert bench.state().drift_repairs == 0


async def test_what_cannot_be_read_in_doubt_is_not_made_again(bench: Reconciling) -> None:
    """An error is no answer about the object."""
    await bench.apply()
    bench.view.seen_of.clear()
    bench.view.listed = True
    bench.member.scripted = [refusal(403, "Forbidden")]
    assert await bench.reconcile() is not None
    assert bench.member.sent == ["GET"]
    assert bench.state().phase == sync.FAILED


async def test_what_somebody_deletes_there_is_waited_for(bench: Reconciling) -> None:
    """Nothing is written to it; when it is gone it is made again."""
    await bench.apply()
    bench.live["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    bench.context.transient(PATH).forced = True
    assert await bench.reconcile() == Result(requeue_after=5.0)
    assert bench.member.sent == ["GET"]


async def test_another_object_of_that_name_is_a_conflict_or_ours(bench: Reconciling) -> None:
    """By its marks: what is not ours is left alone, what carries them is applied to."""
    await bench.apply()
    bench.member.put(uid="other", labels={})
    bench.context.transient(PATH).forced = True
    await bench.reconcile()
    assert (bench.state().phase, bench.live["metadata"]["labels"]) == (sync.CONFLICT, {})
    bench.member.put(uid="ours-again")
    await bench.reconcile()
    assert (bench.state().phase, bench.state().member_uid) == (sync.APPLIED, "ours-again")


async def taken_back(bench: Reconciling, *, carried_out: bool) -> None:
    """Send a DELETE without hearing of it, and want the object again."""
    await bench.apply()
    bench.release()
    live = bench.live
    bench.member.scripted = [refusal(500, "InternalError")]
    await bench.reconcile()
    assert bench.state().delete_uid
    bench.member.live = None if carried_out else live
    bench.view.seen_of.clear()
    bench.member.sent.clear()
    bench.place()


async def test_a_delete_that_was_carried_out_has_the_object_made_again(bench: Reconciling) -> None:
    """Its outcome is known by a look, and is on record no more."""
    await taken_back(bench, carried_out=True)
    await bench.reconcile()
    assert bench.member.sent == ["GET", "APPLY new"]
    assert (bench.state().phase, bench.state().delete_uid) == (sync.APPLIED, "")


async def test_a_delete_that_may_still_arrive_is_made_to_do_nothing(bench: Reconciling) -> None:
    """The object is written to until it has another version than the DELETE names."""
    await taken_back(bench, carried_out=False)
    before = bench.live["metadata"]["resourceVersion"]
    uid = bench.live["metadata"]["uid"]
    await bench.reconcile()
    assert bench.member.sent[0] == "GET"
    assert set(bench.member.sent[1:]) == {f"APPLY {uid}"}
    assert bench.live["metadata"]["resourceVersion"] != before
    assert (bench.state().phase, bench.state().delete_uid) == (sync.APPLIED, "")


async def test_a_member_that_takes_no_change_keeps_the_delete_on_record(bench: Reconciling) -> None:
    """The object does not count as kept while a DELETE could still do something."""
    await taken_back(bench, carried_out=False)
    frozen = Answer(200, {}, b"", bench.live)
    bench.member.scripted = [None, frozen]
    assert await bench.reconcile() == Result(requeue_after=5.0)
    assert (bench.state().phase, bench.state().reason) == (sync.WAITING, "DeleteUnderWay")
    assert bench.state().delete_uid


@pytest.mark.parametrize("answer", [absent(), refusal(409, "Conflict")])
async def test_an_object_that_changes_while_it_is_kept_is_looked_at_again(
    bench: Reconciling, answer: Answer
) -> None:
    """Somebody else is at work on it, or the DELETE has just arrived."""
    await taken_back(bench, carried_out=False)
    bench.member.scripted = [None, answer]
    assert await bench.reconcile() is not None
    assert bench.state().delete_uid


async def test_a_delete_under_way_is_waited_for(bench: Reconciling) -> None:
    """What has a deletionTimestamp cannot be kept."""
    await taken_back(bench, carried_out=False)
    bench.live["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert await bench.reconcile() == Result(requeue_after=2.0)
    assert (bench.state().phase, bench.state().reason) == (sync.WAITING, "BeingDeleted")


async def test_an_apply_to_what_is_being_deleted_does_not_count(bench: Reconciling) -> None:
    """The member took the manifest and deletes the object all the same."""
    await bench.apply()
    bench.live["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    bench.intend(obj={"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": "2"}})
    assert await bench.reconcile() == Result(requeue_after=2.0)
    assert (bench.state().phase, bench.state().reason) == (sync.WAITING, "BeingDeleted")


async def test_an_object_that_changes_all_the_time_is_told_when_it_went_on(bench: Reconciling) -> None:
    """Once is no news: it is tried again, and only then is it a failure."""
    bench.member.put()
    bench.intend()
    bench.place()
    bench.member.scripted = [None, None, refusal(409, "Conflict"), None, None, refusal(409, "Conflict")]
    assert await bench.reconcile() is not None
    assert bench.states.get(PATH) is None
    assert await bench.reconcile() is not None
    assert (bench.state().phase, bench.state().reason) == (sync.FAILED, "ChangedMeanwhile")
    await bench.reconcile()
    assert bench.state().phase == sync.APPLIED


async def test_overrides_that_make_no_object_are_told_and_send_nothing(bench: Reconciling) -> None:
    """What cannot be rendered changes nothing in the member."""
    await bench.apply()
    bench.place()
    bench.federation.placements[PATH].value.clusters[0].overrides = b'[{"op": "remove", "path": "/none"}]'
    assert await bench.reconcile() is not None
    assert (bench.state().phase, bench.state().reason) == (sync.FAILED, "OverrideInvalid")
    assert bench.member.sent == []


async def test_failures_of_one_object_come_later_each_time_until_it_succeeds(bench: Reconciling) -> None:
    """The backoff grows with each failure, up to a bound, and starts again after a success."""
    bench.intend()
    bench.place()
    waits = []
    for _ in range(6):
        bench.member.scripted = [refusal(422, "Invalid")]
        again = await bench.reconcile()
        assert again is not None
        assert again.requeue_after is not None
        waits.append(again.requeue_after)
    assert waits[-1] > 4 * waits[0]
    assert bench.context.transient(PATH).failures == 6
    await bench.reconcile()
    assert bench.context.transient(PATH).failures == 0


async def test_a_member_says_when_to_come_back(bench: Reconciling) -> None:
    """Retry-After counts, and not our own backoff."""
    bench.intend()
    bench.place()
    bench.member.scripted = [Answer(429, {"retry-after": "7"}, b"", {"kind": "Status"})]
    assert await bench.reconcile() == Result(requeue_after=7.0)


async def test_a_change_waits_for_a_member_that_does_not_answer(bench: Reconciling) -> None:
    """What is as it should be stays said so; what is to change is said to wait."""
    await bench.apply()
    bench.reconciler.unreachable(PATH, "cluster a does not answer")
    assert bench.state().phase == sync.APPLIED
    bench.intend(obj={"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": "2"}})
    bench.reconciler.unreachable(PATH, "cluster a does not answer")
    assert (bench.state().phase, bench.state().reason) == (sync.UNREACHABLE, "MemberUnreachable")
    assert bench.state().applied_hash, "what was applied is still there"
    bench.release()
    bench.reconciler.unreachable(PATH, "it misbehaves", reason="MisbehavingMember")
    assert bench.state().reason == "MisbehavingMember"


async def test_a_defect_is_the_condition_of_the_object(bench: Reconciling, monkeypatch: Any) -> None:
    """Whatever a look raises, the state says it; the cluster's other objects go on."""

    def broken(*_: object, **__: object) -> None:
        raise KeyError("metadata")

    bench.intend()
    bench.place()
    monkeypatch.setattr(bench.context.renderer, "render", broken)
    assert await bench.reconcile() is not None
    assert (bench.state().phase, bench.state().reason) == (sync.FAILED, "Unreadable")

    def refused(*_: object, **__: object) -> None:
        raise InvalidArgumentError("no", reason="OVERRIDE_INVALID")

    monkeypatch.setattr(bench.context.renderer, "render", refused)
    await bench.reconcile()
    assert bench.state().reason == "OverrideInvalid"


async def test_a_version_that_is_served_no_more_changes_nothing_that_is_there(bench: Reconciling) -> None:
    """A member that was downgraded: what is there stays, the reason is said at once, nothing is written in
    another version; and once the version is back, it is in sync again."""
    both = [ApiResource(version=version, resource="configmaps") for version in ("v1", "v0")]
    bench.context.serve(both)
    before = await bench.apply()
    shown(bench)
    for stays in (both, [*both, ApiResource(version="v1", resource="secrets")]):
        bench.context.serve(stays)
        assert bench.woken == []
    bench.context.serve(both[1:])
    assert bench.woken == [PATH]
    await bench.reconcile()
    state = bench.state()
    assert (state.phase, state.reason) == (sync.WAITING, "ApiNotServed")
    assert "serves ConfigMap in v0, not in v1" in state.message
    assert (state.member_uid, state.applied_hash) == (before.member_uid, before.applied_hash)
    assert bench.member.sent == []
    bench.woken.clear()
    bench.context.serve(both)
    assert bench.woken == [PATH]
    await bench.reconcile()
    assert bench.state().phase == sync.APPLIED
    assert bench.live["metadata"]["uid"] == before.member_uid


async def test_what_leaves_a_member_leaves_it_in_the_version_that_is_served(bench: Reconciling) -> None:
    """It is the same object in each of them, so a version that is gone keeps nothing there for ever."""
    bench.context.serve([ApiResource(version="v1", resource="configmaps")])
    await bench.apply()
    shown(bench)
    bench.context.serve([ApiResource(version="v0", resource="configmaps")])
    await bench.reconcile()
    bench.release()
    await bench.reconcile()
    assert bench.member.live is None
