"""Objects reach their members, stay as they should be, and leave when asked."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import Counter
from typing import Any

import orjson
import pytest
from aiohttp import web
from hanse_syncer import ownership
from hanse_syncer.cluster.controller import ClusterController
from hanse_syncer.decide import fingerprints
from hanse_syncer.report.metrics import SyncerMetrics

from hanse.api.scheduler.v1 import placement_pb2 as placements
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.kube.model.objects import Object
from hanse.process.settings import ServiceSettings
from hanse.process.telemetry import setup
from tests.support.federation.federation import FEDERATION_ID, Federation
from tests.support.waiting import until
from tests.syncer.harness import config_map, deployment

WEB = "core/configmaps/default/web"
DEPLOY = "apps/deployments/default/web"


def settled(controller: ClusterController) -> bool:
    """Whether the controller has nothing left to look at."""
    return controller.settled


async def test_object_reaches_every_placed_member(fed: Federation) -> None:
    """A placed object is created in each member with our marks, by one request, and the state says so."""
    async with fed.syncer():
        await fed.put(WEB, config_map("1"))
        await fed.place(WEB, "a", "b")
        for name in ("a", "b"):
            state = await fed.reaches(WEB, name, sync.APPLIED)
            live = fed.members[name].get(WEB)
            assert live is not None
            assert live["data"] == {"value": "1"}
            assert ownership.owned(live, FEDERATION_ID)
            assert "finalizers" not in live["metadata"]
            assert state.member_uid == live["metadata"]["uid"]
            assert state.member_resource_version == live["metadata"]["resourceVersion"]
            assert state.applied_generation == 1
            assert fed.members[name].writes == [("PATCH", "/api/v1/namespaces/default/configmaps/web")]


async def test_change_is_applied_and_fields_left_out_disappear(fed: Federation) -> None:
    """An update reaches the member, and what the template no longer has is removed there."""
    async with fed.syncer():
        obj = await fed.put(WEB, config_map("1"))
        await fed.place(WEB, "a")
        await fed.reaches(WEB, "a", sync.APPLIED)
        obj["data"] = {"other": "2"}
        await fed.put(WEB, obj)
        await until(
            lambda: (fed.members["a"].get(WEB) or {}).get("data") == {"other": "2"}, what="the change arrives"
        )


async def test_large_objects_are_compared_beside_the_loop(
    fed: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of one of thousands of items is found and put right, and nobody waits for the comparison."""
    threads: dict[str, set[bool]] = {}
    fingerprint = fingerprints.fingerprint

    def recorded(live: Object, manifest: Object) -> bytes:
        beside = threading.current_thread() is not threading.main_thread()
        threads.setdefault(live["metadata"]["name"], set()).add(beside)
        return fingerprint(live, manifest)

    monkeypatch.setattr(fingerprints, "fingerprint", recorded)
    large, small = config_map(), config_map()
    large["data"] = {f"k{number}": "v" for number in range(5000)}
    other = WEB.replace("web", "small")

    def value(path: str, key: str) -> object:
        return (fed.members["a"].get(path) or {"data": {}})["data"].get(key)

    async with fed.syncer():
        for path, obj in ((WEB, large), (other, small)):
            await fed.put(path, obj)
            await fed.place(path, "a")
            await fed.reaches(path, "a", sync.APPLIED)
            await fed.members["a"].change(path, lambda live: {**live, "data": {**live["data"], "k1": "no"}})
        await until(lambda: value(WEB, "k1") == "v", what="the large object is put right")
        await until(lambda: len(threads) == 2, what="the small object is looked at")
    assert threads == {"web": {True}, "small": {False}}


async def test_restart_writes_nothing(fed: Federation) -> None:
    """A restart with everything in sync makes no write to a member and none to the store."""
    paths = [f"core/configmaps/default/c{number}" for number in range(50)]
    async with fed.syncer():
        for path in [*paths, DEPLOY]:
            await fed.put(path, deployment() if path == DEPLOY else config_map())
            await fed.place(path, "a", "b")
        for path in [*paths, DEPLOY]:
            for name in ("a", "b"):
                await fed.reaches(path, name, sync.APPLIED)
    for member in fed.members.values():
        member.writes.clear()
    before = {kv.key: kv.mod_revision for kv in (await fed.store.range("syncstates/")).items}
    async with fed.syncer("two") as sharing:
        await until(lambda: len(sharing.controllers) == 2, what="both clusters are held")
        for name in ("a", "b"):
            controller = sharing.controllers[name]
            await until(
                functools.partial(settled, controller), what="the controller has gone through everything"
            )
        obj = await fed.put("core/configmaps/default/last", config_map())
        assert obj
        await fed.place("core/configmaps/default/last", "a", "b")
        for name in ("a", "b"):
            await fed.reaches("core/configmaps/default/last", name, sync.APPLIED)
    for member in fed.members.values():
        assert member.writes == [("PATCH", "/api/v1/namespaces/default/configmaps/last")]
    after = {kv.key: kv.mod_revision for kv in (await fed.store.range("syncstates/")).items}
    assert {key: after[key] for key in before} == before


async def test_drift_is_repaired(fed: Federation) -> None:
    """What somebody changes of ours in a member is put right, and counted; what he adds stays."""
    member = fed.members["a"]
    async with fed.syncer():
        await fed.put(WEB, config_map("1"))
        await fed.place(WEB, "a")
        await fed.reaches(WEB, "a", sync.APPLIED)

        def spoil(obj: dict[str, Any]) -> dict[str, Any]:
            return {**obj, "data": {"value": "spoilt", "mine": "stays"}}

        await member.change(WEB, spoil)
        await until(
            lambda: (member.get(WEB) or {})["data"] == {"value": "1", "mine": "stays"}, what="it is repaired"
        )

        async def counted() -> bool:
            state = await fed.state(WEB, "a")
            return state is not None and state.drift_repairs == 1

        await until(counted, what="the repair is counted")


async def test_deleted_in_the_member_comes_back(fed: Federation) -> None:
    """An object that somebody deletes in a member is made again."""
    member = fed.members["a"]
    async with fed.syncer():
        await fed.put(WEB, config_map("1"))
        await fed.place(WEB, "a")
        first = await fed.reaches(WEB, "a", sync.APPLIED)
        await member.delete(WEB)
        await until(lambda: member.get(WEB), what="it is there again")

        async def again() -> bool:
            state = await fed.state(WEB, "a")
            return state is not None and state.member_uid not in ("", first.member_uid)

        await until(again, what="the state knows the new one")


async def test_labels_taken_off_come_back(fed: Federation) -> None:
    """Our marks taken off an object that is still placed are put on again."""
    member = fed.members["a"]
    async with fed.syncer():
        await fed.put(WEB, config_map("1"))
        await fed.place(WEB, "a")
        await fed.reaches(WEB, "a", sync.APPLIED)

        def strip(obj: dict[str, Any]) -> dict[str, Any]:
            return {**obj, "metadata": {**obj["metadata"], "labels": {}}}

        await member.change(WEB, strip)
        await until(lambda: ownership.owned(member.get(WEB) or {}, FEDERATION_ID), what="the marks are back")


async def test_foreign_object_is_left_alone(fed: Federation) -> None:
    """An object of that name that is not ours is reported as a conflict; nothing is written over it."""
    member = fed.members["a"]
    await member.create(WEB, {**config_map("theirs"), "metadata": {"name": "web", "namespace": "default"}})
    before = member.get(WEB)
    async with fed.syncer():
        await fed.put(WEB, config_map("ours"))
        await fed.place(WEB, "a", "b")
        state = await fed.reaches(WEB, "a", sync.CONFLICT)
        await fed.reaches(WEB, "b", sync.APPLIED)
        assert state.reason == "AlreadyExists"
        assert member.get(WEB) == before
        await until(lambda: fed.events, what="an event says so")
        assert fed.events[0]["reason"] == "SyncConflict"
        assert fed.events[0]["involvedObject"]["name"] == "web"
        await fed.mark_deleted(WEB)
        await fed.reaches(WEB, "a", sync.REMOVED)
        assert member.get(WEB) == before


async def test_foreign_object_is_adopted_where_the_policy_says_so(fed: Federation) -> None:
    """With conflict resolution ADOPT an existing object becomes ours."""
    member = fed.members["a"]
    await member.create(WEB, {**config_map("theirs"), "metadata": {"name": "web", "namespace": "default"}})
    async with fed.syncer():
        await fed.put(WEB, config_map("ours"))
        await fed.place(WEB, "a", conflict_resolution=placements.ADOPT)
        await fed.reaches(WEB, "a", sync.APPLIED)
        live = member.get(WEB)
        assert live is not None
        assert live["data"]["value"] == "ours"
        assert ownership.owned(live, FEDERATION_ID)


@pytest.mark.parametrize("marked", [True, False])
async def test_what_others_wrote_goes_when_it_is_taken_over(fed: Federation, marked: bool) -> None:
    """By a policy, or because it has our marks and we never applied it, as an orphan that is wanted again."""
    labels = ownership.labels(FEDERATION_ID) if marked else {"app": "web"}
    metadata = {"name": "web", "namespace": "default", "labels": labels}
    theirs = {**config_map("theirs"), "metadata": metadata, "data": {"value": "theirs", "drop": "1"}}
    await fed.members["a"].create(WEB, theirs)
    async with fed.syncer():
        await fed.put(WEB, config_map("ours"))
        await fed.place(WEB, "a", conflict_resolution=placements.ABORT if marked else placements.ADOPT)
        await fed.reaches(WEB, "a", sync.APPLIED)
    live = fed.members["a"].get(WEB)
    assert live is not None
    assert live["data"] == {"value": "ours"}
    assert "app" not in live["metadata"]["labels"]


async def test_object_of_another_federation_is_never_adopted(fed: Federation) -> None:
    """What another federation owns stays its own, whatever the policy says."""
    metadata = {"name": "web", "namespace": "default", "labels": ownership.labels("other")}
    await fed.members["a"].create(WEB, {**config_map("theirs"), "metadata": metadata})
    async with fed.syncer():
        await fed.put(WEB, config_map("ours"))
        await fed.place(WEB, "a", conflict_resolution=placements.ADOPT)
        state = await fed.reaches(WEB, "a", sync.CONFLICT)
        assert state.reason == "OwnedByOtherFederation"


async def test_release_prunes_and_confirms(fed: Federation) -> None:
    """An object is removed from a cluster that it must leave; the state goes when the placement drops it."""
    async with fed.syncer():
        await fed.put(WEB, config_map())
        await fed.place(WEB, "a", "b")
        for name in ("a", "b"):
            await fed.reaches(WEB, name, sync.APPLIED)
        await fed.place(WEB, "b", releasing=["a"])
        await fed.reaches(WEB, "a", sync.REMOVED)
        assert fed.members["a"].get(WEB) is None
        assert fed.members["b"].get(WEB) is not None
        await fed.place(WEB, "b")

        async def forgotten() -> bool:
            return await fed.state(WEB, "a") is None

        await until(forgotten, what="the state is dropped")


async def test_delete_removes_everywhere(fed: Federation) -> None:
    """A deleted intent is removed from every member; when intent and placement are gone so are the states."""
    async with fed.syncer():
        await fed.put(WEB, config_map())
        await fed.place(WEB, "a", releasing=["b"])
        await fed.reaches(WEB, "a", sync.APPLIED)
        await fed.mark_deleted(WEB)
        for name in ("a", "b"):
            await fed.reaches(WEB, name, sync.REMOVED)
        assert fed.members["a"].get(WEB) is None
        await fed.forget(WEB)
        await fed.unplace(WEB)

        async def forgotten() -> bool:
            return not (await fed.store.range("syncstates/")).items

        await until(forgotten, what="the states are dropped")


async def test_orphan_keeps_the_objects_without_marks(fed: Federation) -> None:
    """With the orphan finalizer the members keep their objects, and only our marks are taken off."""
    async with fed.syncer():
        await fed.put(WEB, config_map(labels={"app": "web"}))
        await fed.place(WEB, "a")
        first = await fed.reaches(WEB, "a", sync.APPLIED)
        await fed.mark_deleted(WEB, orphan=True)
        await fed.reaches(WEB, "a", sync.REMOVED)
        live = fed.members["a"].get(WEB)
        assert live is not None
        assert live["metadata"]["uid"] == first.member_uid
        assert live["metadata"]["labels"] == {"app": "web"}


async def test_intent_that_vanishes_deletes_nothing(fed: Federation) -> None:
    """Without intent and placement nothing is deleted in a member: nobody asked for it."""
    async with fed.syncer():
        await fed.put(WEB, config_map())
        await fed.place(WEB, "a")
        await fed.reaches(WEB, "a", sync.APPLIED)
        await fed.forget(WEB)
        await fed.unplace(WEB)
        other = "core/configmaps/default/other"
        await fed.put(other, config_map())
        await fed.place(other, "a")
        await fed.reaches(other, "a", sync.APPLIED)
        assert fed.members["a"].get(WEB) is not None
        assert all(method == "PATCH" for method, _ in fed.members["a"].writes)


async def test_suspended_placement_is_left_alone(fed: Federation) -> None:
    """A suspended cluster gets neither changes nor deletions until the scheduler has decided again."""
    async with fed.syncer():
        obj = await fed.put(WEB, config_map("1"))
        await fed.place(WEB, "a", "b")
        for name in ("a", "b"):
            await fed.reaches(WEB, name, sync.APPLIED)
        obj["data"] = {"value": "2"}
        await fed.place(WEB, ClusterPlacement(cluster="a", suspended=True), "b")
        await fed.put(WEB, obj)
        member = fed.members["b"]
        await until(lambda: (member.get(WEB) or {})["data"]["value"] == "2", what="b has the change")
        assert (fed.members["a"].get(WEB) or {})["data"]["value"] == "1"
        await fed.place(WEB, "a", "b")
        await until(lambda: (fed.members["a"].get(WEB) or {})["data"]["value"] == "2", what="a follows")


async def test_namespace_is_waited_for(fed: Federation) -> None:
    """Objects wait for their namespace, say so, and go at once when it is there."""
    member = fed.members["a"]
    path, space = "core/configmaps/shop/web", "core/namespaces/_/shop"
    async with fed.syncer():
        await fed.put(path, config_map())
        await fed.place(path, "a")
        state = await fed.reaches(path, "a", sync.WAITING)
        assert state.reason == "NamespaceMissing"
        await fed.put(space, {"apiVersion": "v1", "kind": "Namespace", "metadata": {}})
        await fed.place(space, "a")
        await fed.reaches(path, "a", sync.APPLIED)
        assert member.get(path) is not None


async def test_status_and_replicas_are_reported(fed: Federation) -> None:
    """The member's status, health and replicas of a workload are in its sync state."""
    member = fed.members["a"]
    async with fed.syncer():
        await fed.put(DEPLOY, deployment(replicas=5))
        await fed.place(DEPLOY, ClusterPlacement(cluster="a", replicas=3))
        state = await fed.reaches(DEPLOY, "a", sync.APPLIED)
        assert state.replicas == 3
        assert state.health == sync.PROGRESSING
        status = {
            "observedGeneration": 1,
            "replicas": 3,
            "updatedReplicas": 3,
            "readyReplicas": 3,
            "availableReplicas": 3,
        }
        await member.change(DEPLOY, lambda obj: {**obj, "status": status}, subresource="status")

        async def healthy() -> bool:
            found = await fed.state(DEPLOY, "a")
            return found is not None and found.health == sync.HEALTHY

        await until(healthy, what="it is healthy")
        state = await fed.reaches(DEPLOY, "a", sync.APPLIED)
        assert orjson.loads(state.status)["readyReplicas"] == 3
        assert state.drift_repairs == 0


async def test_endpoints_of_services_are_reported(fed: Federation) -> None:
    """A Service's sync state has its ready endpoints by zone, and follows them."""
    member, path = fed.members["a"], "core/services/default/web"
    pieces = "discovery.k8s.io/endpointslices/default/web-1"
    async with fed.syncer():
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        await fed.put(path, {"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": spec})
        await fed.place(path, "a")
        await fed.reaches(path, "a", sync.APPLIED)
        metadata = {
            "name": "web-1",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "web"},
        }
        endpoints = [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": True}, "zone": "a1"},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": False}, "zone": "a1"},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": True}, "zone": "a2"},
        ]
        await member.create(
            pieces,
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": metadata,
                "addressType": "IPv4",
                "endpoints": endpoints,
                "ports": [],
            },
        )

        async def zones() -> dict[str, int]:
            state = await fed.state(path, "a")
            return {each.zone: each.ready for each in state.ready_endpoints} if state else {}

        async def both() -> bool:
            return await zones() == {"a1": 1, "a2": 1}

        await until(both, what="both zones are counted")
        await member.delete(pieces)

        async def none() -> bool:
            return await zones() == {}

        await until(none, what="none is left")


async def test_member_with_finalizer_is_removing(fed: Federation) -> None:
    """While the member's own finalizers hold an object it is REMOVING, and REMOVED when it is really gone."""
    member = fed.members["a"]
    async with fed.syncer():
        await fed.put(WEB, config_map())
        await fed.place(WEB, "a")
        await fed.reaches(WEB, "a", sync.APPLIED)

        def hold(obj: dict[str, Any]) -> dict[str, Any]:
            return {**obj, "metadata": {**obj["metadata"], "finalizers": ["example.org/hold"]}}

        await member.change(WEB, hold)
        await fed.mark_deleted(WEB)
        await fed.reaches(WEB, "a", sync.REMOVING)

        def free(obj: dict[str, Any]) -> dict[str, Any]:
            kept = {key: value for key, value in obj["metadata"].items() if key != "finalizers"}
            return {**obj, "metadata": kept}

        await member.change(WEB, free)
        await fed.reaches(WEB, "a", sync.REMOVED)
        assert member.get(WEB) is None


async def test_namespace_with_foreign_contents_stays(fed: Federation) -> None:
    """A namespace in which something foreign is left keeps existing, without our marks; an empty one goes."""
    member = fed.members["a"]
    spaces = ("core/namespaces/_/used", "core/namespaces/_/empty")
    async with fed.syncer():
        for space in spaces:
            await fed.put(space, {"apiVersion": "v1", "kind": "Namespace", "metadata": {}})
            await fed.place(space, "a")
            await fed.reaches(space, "a", sync.APPLIED)
        theirs = {**config_map("theirs"), "metadata": {"name": "theirs", "namespace": "used"}}
        await member.create("core/configmaps/used/theirs", theirs)
        for space in spaces:
            await fed.place(space, releasing=["a"])
            await fed.reaches(space, "a", sync.REMOVED)
        assert member.get(spaces[1]) is None
        live = member.get(spaces[0])
        assert live is not None
        assert not ownership.owned(live, FEDERATION_ID)
        assert member.get("core/configmaps/used/theirs") is not None


async def test_bad_override_is_a_failure_that_says_why(fed: Federation) -> None:
    """An override that cannot be applied fails in its cluster only, with the reason in the state."""
    async with fed.syncer():
        await fed.put(WEB, config_map())
        bad = orjson.dumps([{"op": "remove", "path": "/data/nothing"}])
        await fed.place(WEB, ClusterPlacement(cluster="a", overrides=bad), "b")
        state = await fed.reaches(WEB, "a", sync.FAILED)
        assert state.reason == "OverrideInvalid"
        await fed.reaches(WEB, "b", sync.APPLIED)


async def test_refusal_of_the_member_is_reported_with_its_words(fed: Federation) -> None:
    """What a member refuses is FAILED with the member's own message."""

    async def refuse(request: web.Request) -> web.StreamResponse | None:
        if request.method != "PATCH":
            return None
        body = {"kind": "Status", "apiVersion": "v1", "reason": "Forbidden", "message": "quota says no"}
        return web.json_response(body, status=403)

    fed.members["a"].fault = refuse
    async with fed.syncer():
        await fed.put(WEB, config_map())
        await fed.place(WEB, "a")
        state = await fed.reaches(WEB, "a", sync.FAILED)
        assert (state.reason, state.message) == ("Forbidden", "quota says no")
        fed.members["a"].fault = None
        await fed.reaches(WEB, "a", sync.APPLIED)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_credential_is_no_objects_fault(fed: Federation, status: int) -> None:
    """Whatever the member refuses then waits, is written nowhere as a failure of the object, is taken out of
    nothing, and arrives when the credential is accepted again."""
    member = fed.members["a"]

    async def refuse(request: web.Request) -> web.StreamResponse | None:
        reason = {401: "Unauthorized", 403: "Forbidden"}[status]
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status}
        return web.json_response({**body, "message": "who are you?"}, status=status)

    async with fed.syncer() as sharing:
        await fed.put(WEB, config_map())
        await fed.place(WEB, "a")
        before = await fed.reaches(WEB, "a", sync.APPLIED)
        member.fault = refuse
        await fed.put(WEB, config_map("2"))
        state = await fed.reaches(WEB, "a", sync.UNREACHABLE)
        assert state.reason == "CredentialRefused"
        assert "hanse update-credentials a" in state.message
        assert (state.member_uid, state.applied_hash) == (before.member_uid, before.applied_hash)
        await fed.place(WEB, releasing=["a"])  # its removal waits as well
        assert not sharing.controllers["a"].settled
        await fed.place(WEB, "a")
        member.fault = None
        await fed.reaches(WEB, "a", sync.APPLIED)
        live = member.get(WEB)
        assert live is not None
        assert (live["metadata"]["uid"], live["data"]) == (before.member_uid, {"value": "2"})


async def test_two_syncers_share_and_take_over(fed: Federation) -> None:
    """Each cluster is held by one of two syncers; when one stops the other has both, and rewrites nothing."""
    paths = [f"core/configmaps/default/c{number}" for number in range(10)]
    async with fed.syncer("one") as one:
        async with fed.syncer("two") as two:
            await until(
                lambda: len(one.controllers) + len(two.controllers) == 2 and len(one.ring().members) == 2,
                what="the clusters are shared",
            )
            for path in paths:
                await fed.put(path, config_map())
                await fed.place(path, "a", "b")
            for path in paths:
                for name in ("a", "b"):
                    await fed.reaches(path, name, sync.APPLIED)
        await until(lambda: set(one.controllers) == {"a", "b"}, what="one has both", seconds=15)
        await fed.put("core/configmaps/default/last", config_map())
        await fed.place("core/configmaps/default/last", "a", "b")
        for name in ("a", "b"):
            await fed.reaches("core/configmaps/default/last", name, sync.APPLIED)
    for member in fed.members.values():
        assert len(member.writes) == len(paths) + 1


async def test_stale_placement_is_waited_for_but_not_for_ever(fed: Federation) -> None:
    """A change of a newer generation waits for the scheduler's decision, and then goes without it."""
    member = fed.members["a"]
    async with fed.syncer():
        obj = await fed.put(DEPLOY, deployment(replicas=1))
        await fed.place(DEPLOY, ClusterPlacement(cluster="a", replicas=1))
        await fed.reaches(DEPLOY, "a", sync.APPLIED)
        obj["spec"]["replicas"] = 4
        obj["metadata"]["generation"] = 2
        await fed.put(DEPLOY, obj)
        await fed.place(DEPLOY, ClusterPlacement(cluster="a", replicas=4))
        await until(lambda: (member.get(DEPLOY) or {})["spec"]["replicas"] == 4, what="four replicas")
        assert len(member.writes) == 2
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx:2"
        obj["metadata"]["generation"] = 3
        await fed.put(DEPLOY, obj)

        def changed() -> bool:
            live = member.get(DEPLOY) or {}
            return bool(live["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:2")

        await until(changed, what="the image changes without a new decision")


async def test_edit_does_not_wait_behind_bulk(fed: Federation) -> None:
    """A person's edit is applied while a resync of everything is under way in a slow member."""
    member = fed.members["a"]
    paths = [f"core/configmaps/default/c{number}" for number in range(60)]
    async with fed.syncer() as sharing:
        for path in paths:
            await fed.put(path, config_map())
            await fed.place(path, "a")
        for path in paths:
            await fed.reaches(path, "a", sync.APPLIED)

        async def slow(request: web.Request) -> web.StreamResponse | None:
            if request.method == "GET" and "/configmaps/" in request.path:
                await asyncio.sleep(0.2)
            return None

        member.fault = slow
        controller = sharing.controllers["a"]
        assert controller.resync() == len(paths)
        await fed.put(WEB, config_map())
        await fed.place(WEB, "a")
        await fed.reaches(WEB, "a", sync.APPLIED)
        assert not controller.settled, "the resync was over before the edit: the test shows nothing"


async def test_definition_with_foreign_objects_stays(fed: Federation) -> None:
    """A CustomResourceDefinition whose kind has foreign objects is released, and not deleted with them."""
    member, group = fed.members["a"], "example.org"
    path, theirs = (
        f"apiextensions.k8s.io/customresourcedefinitions/_/widgets.{group}",
        f"{group}/widgets/default/theirs",
    )
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {},
        "spec": {
            "group": group,
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                    },
                }
            ],
        },
    }
    ours = f"{group}/widgets/default/ours"
    widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {}, "spec": {"size": 1}}
    async with fed.syncer():
        await fed.put(ours, widget)
        await fed.place(ours, "a")
        state = await fed.reaches(ours, "a", sync.WAITING)
        assert state.reason == "ResourceNotServed"
        await fed.put(path, definition)
        await fed.place(path, "a")
        await fed.reaches(ours, "a", sync.APPLIED)
        foreign = {**widget, "metadata": {"name": "theirs", "namespace": "default"}}
        await member.create(theirs, foreign)
        await fed.place(ours, releasing=["a"])
        await fed.reaches(ours, "a", sync.REMOVED)
        await fed.place(path, releasing=["a"])
        await fed.reaches(path, "a", sync.REMOVED)
        assert member.get(path) is not None
        assert member.get(theirs) is not None
        assert member.get(ours) is None


async def test_sync_states_are_counted_by_phase(fed: Federation) -> None:
    """Each phase of each cluster that is kept has a number from the start, which follows every change."""
    telemetry = setup("test", ServiceSettings(), install=False)
    async with fed.syncer() as sharing:
        metrics = SyncerMetrics(telemetry.meter, sharing.controllers)

        def value(name: str, **labels: str) -> float | None:
            return telemetry.registry.get_sample_value(
                f"hanse_syncer_{name}", {f"hanse_{label}": text for label, text in labels.items()}
            )

        async def counted(phase: str, number: int) -> None:
            async def probe() -> bool:
                return value("sync_states", cluster="a", phase=phase) == number

            await until(probe, what=f"{number} are {phase}")

        await counted("APPLIED", 0)
        assert value("sync_states", cluster="a", phase="UNREACHABLE") == 0
        assert value("clusters") == len(sharing.controllers)
        await fed.put(WEB, config_map("1"))
        await fed.place(WEB, "a", "b")
        await counted("APPLIED", 1)
        for controller in sharing.controllers.values():
            states = Counter(state.phase for _, state in controller.states.items())
            assert +controller.states.phases == states
        metrics.begin("c")
        assert value("drift_repairs_total", cluster="c") == 0
        assert value("conflicts_total", cluster="c") == 0
    telemetry.shutdown()
