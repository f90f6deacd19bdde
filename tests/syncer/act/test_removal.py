"""How an object leaves a member: every answer that a DELETE can have, and what is never deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest
from hanse_syncer.decide.plan import Seen
from hanse_syncer.member.client import LinkDownError

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.control.reconcile import Result
from hanse.kube.client.answer import Answer
from hanse.kube.client.requests import ApiRequest
from hanse.kube.model.objects import Object
from tests.syncer.reconciling import OURS, PATH, Reconciling, absent, ok, reconciling, refusal


@pytest.fixture
async def bench() -> AsyncIterator[Reconciling]:
    """A reconciler with nothing in its member."""
    async with reconciling() as bench:
        yield bench


async def test_a_released_object_is_deleted_by_uid_and_version(bench: Reconciling) -> None:
    """Without a look, since the answer to the apply is known; the confirmation is a fact."""
    await bench.apply()
    bench.release()
    assert await bench.reconcile() is None
    assert bench.member.sent == ["DELETE"]
    assert bench.member.live is None
    state = bench.state()
    assert (state.phase, state.reason, state.message) == (sync.REMOVED, "Removed", "deleted")
    assert (state.member_uid, state.delete_uid, state.applied_hash) == ("", "", "")
    assert state.placement_revision == bench.context.request(PATH).placement_revision


@pytest.mark.parametrize(("marked", "policy"), [(False, "Background"), (True, "Foreground")])
async def test_what_must_not_run_twice_is_gone_with_its_pods(
    bench: Reconciling, marked: bool, policy: str
) -> None:
    """It counts as removed when those are, too: another cluster gets it then."""
    await bench.apply()
    bench.place(placed=False, releasing=True, at_most_one=marked)
    sent: list[Object] = []
    send = bench.member.send

    async def recorded(request: ApiRequest) -> Answer:
        sent.append(orjson.loads(request.body or b"{}"))
        return await send(request)

    bench.member.send = recorded  # type: ignore[method-assign]
    await bench.reconcile()
    assert sent[0]["propagationPolicy"] == policy


async def test_the_delete_is_stored_before_it_is_sent(bench: Reconciling) -> None:
    """Whoever wants the object again must know of a DELETE that may still arrive."""
    before = await bench.apply()
    bench.release()
    stored: list[tuple[str, str]] = []
    bench.member.before = lambda sent: stored.append(
        (bench.state().delete_uid, bench.state().delete_resource_version)
    )
    await bench.reconcile()
    assert stored == [(before.member_uid, before.member_resource_version)]


async def test_what_changed_while_that_was_stored_is_not_deleted(bench: Reconciling) -> None:
    """The object may be wanted again: it is decided on once more."""
    await bench.apply()
    bench.release()
    stored = bench.states.stored

    async def placed_again(path: str) -> None:
        await stored(path)
        bench.place()

    bench.states.stored = placed_again  # type: ignore[method-assign]
    assert await bench.reconcile() == Result(requeue_after=0.0)
    assert bench.member.sent == []
    assert bench.member.live is not None


async def test_an_object_with_finalizers_is_waited_for(bench: Reconciling) -> None:
    """It is being removed until the member has no object of that name; what it waits for is said."""
    await bench.apply()
    bench.live["metadata"]["finalizers"] = ["example.com/busy"]
    bench.release()
    again = await bench.reconcile()
    assert again is not None
    assert (bench.state().phase, bench.state().reason) == (sync.REMOVING, "Deleting")
    assert bench.state().message == "the cluster is deleting it and waits for example.com/busy"
    bench.member.sent.clear()
    bench.view.seen_of.clear()
    assert await bench.reconcile() is not None
    assert bench.member.sent == ["GET"], "it is not deleted twice"
    bench.member.live = None
    await bench.reconcile()
    assert bench.state().phase == sync.REMOVED


async def test_another_version_is_looked_at_before_it_is_deleted(bench: Reconciling) -> None:
    """The precondition does not hold: nothing is deleted by this request, and the next one knows why."""
    await bench.apply()
    bench.member.touch()
    bench.release()
    again = await bench.reconcile()
    assert again is not None
    assert bench.state().phase == sync.REMOVING
    assert bench.member.live is not None
    bench.member.sent.clear()
    assert await bench.reconcile() is None
    assert bench.member.sent == ["GET", "DELETE"]
    assert bench.state().phase == sync.REMOVED


async def test_the_watch_tells_the_version_that_a_delete_names(bench: Reconciling) -> None:
    """What is shown is newer than what was answered to the apply."""
    await bench.apply()
    bench.member.touch()
    metadata = bench.live["metadata"]
    bench.view.seen_of[PATH] = Seen(metadata["uid"], metadata["resourceVersion"])
    bench.release()
    assert await bench.reconcile() is None
    assert bench.member.sent == ["DELETE"]


async def test_what_is_gone_already_is_removed(bench: Reconciling) -> None:
    """The member says by name that it has no such object."""
    await bench.apply()
    bench.member.live = None
    bench.release()
    await bench.reconcile()
    assert (bench.state().phase, bench.state().message) == (sync.REMOVED, "nothing is left in the cluster")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refusal(403, "Forbidden"), "Forbidden"),
        (refusal(422, "Invalid"), "Invalid"),
    ],
)
async def test_a_refusal_is_told_and_nothing_is_concluded(
    bench: Reconciling, answer: Answer, reason: str
) -> None:
    """It will say the same again until somebody changes something: later and later."""
    await bench.apply()
    bench.release()
    bench.member.scripted = [answer]
    again = await bench.reconcile()
    assert again is not None
    assert again.requeue_after is not None
    assert again.requeue_after > 1.0
    assert (bench.state().phase, bench.state().reason) == (sync.FAILED, reason)
    assert bench.state().delete_uid, "the DELETE has no outcome that ends it"


@pytest.mark.parametrize("answer", [refusal(500, "InternalError"), refusal(429, "TooManyRequests")])
async def test_what_may_pass_is_told_when_it_came_twice(bench: Reconciling, answer: Answer) -> None:
    """One refusal for load is no news; the object is tried again all the same."""
    await bench.apply()
    bench.release()
    bench.member.scripted = [answer, answer]
    assert await bench.reconcile() is not None
    assert bench.state().phase == sync.REMOVING
    assert await bench.reconcile() is not None
    assert bench.state().phase == sync.FAILED
    assert await bench.reconcile() is None
    assert bench.state().phase == sync.REMOVED


async def test_no_answer_leaves_the_delete_on_record(bench: Reconciling) -> None:
    """It may have been carried out, or arrive later."""
    await bench.apply()
    bench.release()
    bench.member.scripted = [LinkDownError("cluster a did not answer")]
    with pytest.raises(LinkDownError):
        await bench.reconcile()
    assert (bench.state().phase, bench.state().reason) == (sync.UNREACHABLE, "MemberUnreachable")
    assert bench.state().delete_uid


async def test_success_that_names_no_object_is_checked(bench: Reconciling) -> None:
    """Anybody can say Success: only that the object is not there any more is a confirmation."""
    await bench.apply()
    bench.release()
    bench.member.scripted = [ok({"kind": "Status", "status": "Success"})]
    again = await bench.reconcile()
    assert again is not None
    assert bench.member.sent == ["DELETE", "GET"]
    assert bench.state().phase != sync.REMOVED


async def test_an_object_that_is_not_ours_is_left(bench: Reconciling) -> None:
    """Somebody took our marks off, or made one of that name: nothing of ours is there."""
    bench.member.put(labels={})
    bench.intend()
    bench.release()
    await bench.reconcile()
    assert bench.member.sent == ["GET"]
    assert bench.member.live is not None
    assert (bench.state().phase, bench.state().reason) == (sync.REMOVED, "NotOurs")


async def test_without_a_state_it_is_searched_for_by_name(bench: Reconciling) -> None:
    """A process that died may have applied it: "never heard of it" proves nothing."""
    bench.member.put()
    bench.intend()
    bench.release()
    await bench.reconcile()
    assert bench.member.sent == ["GET", "DELETE"]
    assert bench.state().phase == sync.REMOVED


async def test_a_confirmation_is_not_asked_for_twice(bench: Reconciling) -> None:
    """What was confirmed for this release stands; a newer release is confirmed again."""
    bench.intend()
    bench.release()
    await bench.reconcile()
    assert bench.state().phase == sync.REMOVED
    bench.member.sent.clear()
    assert await bench.reconcile() is None
    assert bench.member.sent == []


@pytest.mark.parametrize("why", ["deleted", "unjoining"])
async def test_what_is_to_be_kept_loses_our_marks_only(bench: Reconciling, why: str) -> None:
    """--cascade=orphan and a cluster that leaves with its objects: the object stays, and is nobody's."""
    await bench.apply()
    bench.live["metadata"]["labels"] = {**OURS, "app": "web"}
    if why == "deleted":
        bench.intend(deleting=True, orphan=True)
        bench.place()
    else:
        bench.federation.leaving = True
        bench.release()
    await bench.reconcile()
    assert bench.member.sent == ["GET", "PATCH"]
    assert bench.live["metadata"]["labels"] == {"app": "web"}
    assert (bench.state().phase, bench.state().reason) == (sync.REMOVED, "Released")


async def test_another_object_of_that_name_keeps_its_marks(bench: Reconciling) -> None:
    """The patch names the uid that was read: a newer object is read before anything is said of it."""
    await bench.apply()
    bench.intend(deleting=True, orphan=True)

    def replaced(sent: str) -> None:
        if sent == "PATCH":
            bench.member.put(uid="other")

    bench.member.before = replaced
    assert await bench.reconcile() == Result(requeue_after=0.05)
    assert bench.live["metadata"]["labels"] == OURS
    assert bench.state().phase != sync.REMOVED


async def test_an_object_that_vanishes_while_it_is_released_is_removed(bench: Reconciling) -> None:
    """Nothing is left whose marks could be taken off."""
    await bench.apply()
    bench.intend(deleting=True, orphan=True)
    bench.member.scripted = [None, absent()]
    await bench.reconcile()
    assert (bench.state().phase, bench.state().reason) == (sync.REMOVED, "Removed")


async def test_what_cannot_be_released_is_told(bench: Reconciling) -> None:
    """It is not removed before the member has taken the patch."""
    await bench.apply()
    bench.intend(deleting=True, orphan=True)
    bench.member.scripted = [None, refusal(403, "Forbidden")]
    assert await bench.reconcile() is not None
    assert (bench.state().phase, bench.state().reason) == (sync.FAILED, "Forbidden")


async def test_a_page_of_a_proxy_removes_nothing(bench: Reconciling) -> None:
    """A 404 that names nothing is no answer about the object."""
    await bench.apply()
    bench.view.seen_of.clear()
    bench.release()
    bench.member.scripted = [refusal(404, "NotFound"), refusal(404, "NotFound"), refusal(404, "NotFound")]
    assert await bench.reconcile() is not None
    assert (bench.state().phase, bench.state().reason) == (sync.WAITING, "ResourceNotServed")
    assert bench.member.live is not None


@pytest.mark.parametrize("answers", [[absent()], [refusal(404, "NotFound"), ok({"resources": []})]])
async def test_a_member_that_does_not_serve_the_kind_has_nothing_of_it(
    bench: Reconciling, answers: list[Answer | Exception | None]
) -> None:
    """It says so in its discovery document; a name that it does not know is enough as well."""
    bench.intend()
    bench.release()
    bench.member.scripted = answers
    await bench.reconcile()
    assert bench.state().phase == sync.REMOVED


NAMESPACE = "core/namespaces/_/shop"


async def test_a_namespace_waits_for_what_is_still_placed_in_it(bench: Reconciling) -> None:
    """Deleting it would take those objects along; nothing is listed before."""
    bench.member.put(namespace=None, name="shop")
    namespace = {"apiVersion": "v1", "kind": "Namespace"}
    bench.intend(NAMESPACE, obj=namespace)
    bench.release(NAMESPACE)
    bench.federation.inside = True
    again = await bench.reconcile(NAMESPACE)
    assert again == Result(requeue_after=1.0)
    assert (bench.state(NAMESPACE).phase, bench.state(NAMESPACE).reason) == (sync.WAITING, "NamespaceInUse")
    assert bench.member.sent == ["GET"]


async def test_what_nobody_speaks_of_is_never_removed(bench: Reconciling) -> None:
    """No intent, no placement, no cluster in it: each removes nothing, and an orphan is looked for."""
    await bench.apply()
    bench.federation.intents.clear()
    bench.federation.placements.clear()
    assert await bench.reconcile() is None
    assert bench.member.sent == []
    assert bench.member.live is not None
    assert bench.considered == [PATH]
    bench.intend()
    bench.place(placed=False)
    await bench.reconcile()
    assert bench.member.live is not None


async def test_a_state_that_says_nothing_more_is_dropped(bench: Reconciling) -> None:
    """When the federation has forgotten what a member has confirmed, nothing of it is kept."""
    await bench.apply()
    bench.release()
    await bench.reconcile()
    bench.federation.intents.clear()
    bench.federation.placements.clear()
    await bench.reconcile()
    assert bench.states.get(PATH) is None
    assert PATH not in bench.context.transients


async def test_a_suspended_cluster_is_left_as_it_is(bench: Reconciling) -> None:
    """Neither applied nor pruned, whatever has become of the object there."""
    await bench.apply()
    bench.place()
    bench.federation.placements[PATH].value.clusters[0].suspended = True
    bench.member.touch(data={"value": "drift"})
    assert await bench.reconcile() is None
    assert bench.member.sent == []
    assert bench.live["data"] == {"value": "drift"}
