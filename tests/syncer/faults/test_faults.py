"""Whatever a member or the network does: the members end up as wanted, and nothing is deleted unasked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web

from hanse.api.registry.v1.cluster_pb2 import UNJOINING
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.security.keyring import new_key
from hanse.security.sealing import ObjectSealer
from hanse.store import WatchBatch, keys
from hanse.store.sealed import SealedStore
from tests.support.federation.federation import Federation
from tests.support.waiting import until
from tests.syncer.harness import config_map

WEB = "core/configmaps/default/web"
PATHS = [f"core/configmaps/default/c{number}" for number in range(20)]


def only_patches(fed: Federation) -> bool:
    """Whether nothing was deleted in any member."""
    return all(method == "PATCH" for member in fed.members.values() for method, _ in member.writes)


async def test_dead_member_delays_nobody(fed: Federation) -> None:
    """While one member does not answer at all, the other gets everything; when it returns it catches up."""
    hung = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse | None:
        await hung.wait()
        return None

    fed.members["a"].fault = hang
    async with fed.syncer(timeout=0.5):
        await fed.spread(PATHS)
        await fed.arrived(PATHS, "b")
        state = await fed.reaches(PATHS[0], "a", sync.UNREACHABLE)
        assert state.reason == "MemberUnreachable"
        fed.members["a"].fault = None
        hung.set()
        await fed.arrived(PATHS, "a")
    assert only_patches(fed)


async def test_member_that_stops_and_returns_is_not_rewritten(fed: Federation) -> None:
    """A member that was away is watched again; what did not change is not written."""
    async with fed.syncer(timeout=1.0):
        await fed.spread(PATHS)
        await fed.arrived(PATHS, "a", "b")
        member = fed.members["a"]
        member.writes.clear()
        await member.stop()
        await fed.put(WEB, config_map())
        await fed.place(WEB, "a", "b")
        await fed.reaches(WEB, "b", sync.APPLIED)
        await fed.reaches(WEB, "a", sync.UNREACHABLE)
        for path in PATHS:
            state = await fed.state(path, "a")
            assert state is not None
            assert state.phase == sync.APPLIED
        await member.start()
        await fed.reaches(WEB, "a", sync.APPLIED)
        assert member.writes == [("PATCH", "/api/v1/namespaces/default/configmaps/web")]


async def test_throttling_is_honoured(fed: Federation) -> None:
    """429 with Retry-After pauses the member's controller, lowers its concurrency, and loses nothing."""
    refused: list[float] = []

    async def throttle(request: web.Request) -> web.StreamResponse | None:
        now = asyncio.get_running_loop().time()
        if request.method == "PATCH" and (not refused or now < refused[0] + 0.3):
            refused.append(now)
            body = {"kind": "Status", "reason": "TooManyRequests", "message": "slow down", "code": 429}
            return web.json_response(body, status=429, headers={"Retry-After": "1"})
        return None

    fed.members["a"].fault = throttle
    async with fed.syncer() as sharing:
        await until(lambda: len(sharing.controllers) == 2, what="both clusters are held")
        await fed.spread(PATHS)
        await until(lambda: refused, what="the member refuses")
        assert sharing.controllers["a"].limit < sharing.controllers["b"].limit
        await fed.arrived(PATHS, "b", "a")
    assert len(refused) <= len(PATHS) + 10
    assert only_patches(fed)


async def test_internal_errors_are_retried(fed: Federation) -> None:
    """Answers of 500 are retried with backoff until the member is well, and the state says so."""
    broken = True

    async def fail(request: web.Request) -> web.StreamResponse | None:
        if broken and request.method == "PATCH":
            return web.Response(status=500, text="etcdserver: no leader")
        return None

    fed.members["a"].fault = fail
    async with fed.syncer():
        await fed.spread(PATHS)
        state = await fed.reaches(PATHS[0], "a", sync.FAILED)
        assert "no leader" in state.message
        broken = False
        await fed.arrived(PATHS, "a", "b")


async def test_lying_empty_list_changes_nothing(fed: Federation) -> None:
    """A member whose lists are empty though its objects are there gets no write at all."""
    async with fed.syncer():
        await fed.spread(PATHS)
        await fed.arrived(PATHS, "a", "b")
    for member in fed.members.values():
        member.writes.clear()

    async def lie(request: web.Request) -> web.StreamResponse | None:
        if request.method == "GET" and request.path.endswith("/configmaps"):
            if "watch" in request.query:
                await asyncio.Event().wait()
            return web.json_response(
                {
                    "kind": "PartialObjectMetadataList",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": {"resourceVersion": "1"},
                    "items": [],
                }
            )
        return None

    member = fed.members["a"]
    member.fault = lie
    async with fed.syncer("two") as sharing:

        def looked_for() -> bool:
            asked = {path for method, path in member.requests if method == "GET"}
            return all(f"/api/v1/namespaces/default/configmaps/c{n}" in asked for n in range(len(PATHS)))

        await until(looked_for, what="each object is asked for by name")
        controller = sharing.controllers["a"]
        await until(lambda: controller.settled, what="the controller is settled")
    assert member.writes == []
    assert all(member.get(path) for path in PATHS)


async def test_failing_lists_do_not_stop_changes(fed: Federation) -> None:
    """While a member cannot list, changes still reach it, and nothing is concluded about the rest."""
    async with fed.syncer():
        await fed.spread(PATHS)
        await fed.arrived(PATHS, "a", "b")
    member = fed.members["a"]
    member.writes.clear()

    async def no_lists(request: web.Request) -> web.StreamResponse | None:
        if request.method == "GET" and request.path.endswith("/configmaps"):
            return web.Response(status=503)
        return None

    member.fault = no_lists
    async with fed.syncer("two"):
        await fed.put(PATHS[0], config_map("changed"))
        await until(
            lambda: (member.get(PATHS[0]) or {})["data"]["value"] == "changed", what="the change arrives"
        )
        assert member.writes == [("PATCH", "/api/v1/namespaces/default/configmaps/c0")]


async def test_compacted_watch_lists_again(fed: Federation) -> None:
    """After 410 Gone the resource is listed again, and drift that was missed meanwhile is repaired."""
    gone = False

    async def compact(request: web.Request) -> web.StreamResponse | None:
        if gone and "watch" in request.query and request.path.endswith("/configmaps"):
            body = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            return web.json_response(body, status=410)
        return None

    member = fed.members["a"]
    member.fault = compact
    async with fed.syncer(timeout=1.0):
        await fed.spread(PATHS)
        await fed.arrived(PATHS, "a", "b")
        gone = True
        await member.stop()
        await member.change(PATHS[0], lambda obj: {**obj, "data": {"value": "spoilt"}})
        await member.start()
        await until(
            lambda: (member.get(PATHS[0]) or {})["data"]["value"] == "1", what="drift is repaired by listing"
        )
        gone = False
    assert only_patches(fed)


async def test_crash_in_the_middle_is_finished_by_the_next(fed: Federation) -> None:
    """A syncer that is cut off in the middle of a bulk apply is followed by one that finishes it."""
    async with fed.syncer("one") as sharing:
        await until(lambda: len(sharing.controllers) == 2, what="both clusters are held")
        await fed.spread(PATHS)
        await until(lambda: len(fed.members["a"].writes) >= 3, what="some are applied")
        for controller in sharing.controllers.values():
            controller.queue.clear()
    async with fed.syncer("two"):
        await fed.arrived(PATHS, "a", "b")
    assert only_patches(fed)
    for member in fed.members.values():
        assert all(member.get(path) for path in PATHS)


async def test_deletion_is_finished_after_an_outage(fed: Federation) -> None:
    """An object that is deleted while its member is away is removed there when it returns."""
    member = fed.members["a"]
    async with fed.syncer(timeout=1.0):
        await fed.spread([WEB])
        await fed.arrived([WEB], "a", "b")
        await member.stop()
        await fed.mark_deleted(WEB)
        await fed.reaches(WEB, "b", sync.REMOVED)
        await fed.reaches(WEB, "a", sync.UNREACHABLE)
    async with fed.syncer("two", timeout=1.0):
        await member.start()
        await fed.reaches(WEB, "a", sync.REMOVED)
        assert member.get(WEB) is None


async def test_page_of_a_proxy_is_no_confirmation(fed: Federation) -> None:
    """A 404 that does not come from the API server itself confirms no removal."""
    member = fed.members["a"]
    lying = False

    async def proxy(request: web.Request) -> web.StreamResponse | None:
        if lying:
            return web.Response(status=404, text="<html>not here</html>", content_type="text/html")
        return None

    member.fault = proxy
    async with fed.syncer():
        await fed.spread([WEB])
        await fed.arrived([WEB], "a", "b")
        lying = True
        await fed.mark_deleted(WEB)
        await fed.reaches(WEB, "b", sync.REMOVED)
        await fed.reaches(WEB, "a", sync.WAITING)
        lying = False
        await fed.reaches(WEB, "a", sync.REMOVED)
        assert member.get(WEB) is None


async def test_new_credential_is_used_at_once(fed: Federation) -> None:
    """When the stored credential changes the syncer connects again with it."""
    member = fed.members["a"]
    async with fed.syncer(timeout=1.0):
        await fed.spread([WEB])
        await fed.arrived([WEB], "a", "b")
        await member.stop()
        member.port = 0
        await member.start()
        await fed.join(member)
        await fed.spread(PATHS[:3])
        await fed.arrived(PATHS[:3], "a", "b")


async def test_states_of_a_cluster_that_was_dropped_go(fed: Federation) -> None:
    """The collector deletes the sync states of a cluster that is no longer there, and no others."""
    from hanse_syncer.federation.state import FederationState
    from hanse_syncer.orphans.departed import DepartedClusterCollector

    async with fed.syncer():
        await fed.spread(PATHS[:3])
        await fed.arrived(PATHS[:3], "a", "b")
    async with FederationState(fed.store) as state:
        collector = asyncio.create_task(
            DepartedClusterCollector(fed.store, state, identity="collector").run()
        )
        await fed.store.delete("clusters/a")

        async def swept() -> bool:
            left = {kv.key.rpartition("/")[2] for kv in (await fed.store.range("syncstates/")).items}
            return left == {"b"}

        await until(swept, what="only the states of b are left")
        collector.cancel()
        await asyncio.wait([collector])


async def test_object_that_is_made_again_arrives_again(fed: Federation) -> None:
    """An object deleted and created again under its name is applied, though its placement names the same."""
    async with fed.syncer() as sharing:
        await fed.spread([WEB])
        await fed.arrived([WEB], "a", "b")
        await fed.mark_deleted(WEB)
        for name in fed.members:
            await fed.reaches(WEB, name, sync.REMOVED)
        await fed.forget(WEB)
        again = await fed.put(WEB, config_map("2"))
        federation = sharing.controllers["a"].dependencies.federation

        def shown() -> bool:
            intent = federation.intent(WEB)
            return intent is not None and intent.uid == again["metadata"]["uid"]

        await until(shown, what="the new object is known")
        await until(lambda: all(p.queue.idle for p in sharing.controllers.values()), what="all are idle")
        await fed.place(WEB, "a", "b")
        await fed.arrived([WEB], "a", "b")
        for member in fed.members.values():
            live = member.get(WEB)
            assert live is not None
            assert live["data"] == {"value": "2"}


async def test_objects_stay_in_a_cluster_that_keeps_them_whichever_news_comes_first(
    fed: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release that is seen before the cluster's wish to keep its objects deletes nothing."""
    gate = asyncio.Event()
    gate.set()
    watch = fed.store.watch

    async def held(prefix: str, **options: Any) -> AsyncIterator[WatchBatch]:
        async with aclosing(watch(prefix, **options)) as batches:
            async for batch in batches:
                if prefix == f"{keys.CLUSTERS}/":
                    await gate.wait()
                yield batch

    monkeypatch.setattr(fed.store, "watch", held)
    async with fed.syncer():
        await fed.spread([WEB])
        await fed.arrived([WEB], "a")
        gate.clear()
        await fed.cluster("a", state=UNJOINING, orphan_objects=True)
        await fed.place(WEB, "b", releasing=["a"])
        await fed.spread(PATHS)
        await fed.arrived(PATHS, "a")
        assert ("DELETE", "/api/v1/namespaces/default/configmaps/web") not in fed.members["a"].writes
        gate.set()
        state = await fed.reaches(WEB, "a", sync.REMOVED)
        assert state.reason == "Released"
        live = fed.members["a"].get(WEB)
        assert live is not None
        assert "hanse.dev/federation" not in live["metadata"].get("labels", {})


async def test_nothing_is_remembered_of_what_is_gone(fed: Federation) -> None:
    """After an object was deleted everywhere, no memory of it is kept for any cluster."""
    async with fed.syncer() as sharing:
        await fed.spread([WEB])
        await fed.arrived([WEB], "a", "b")
        await fed.mark_deleted(WEB)
        for name in fed.members:
            await fed.reaches(WEB, name, sync.REMOVED)
        await fed.forget(WEB)

        async def forgotten(name: str) -> bool:
            return await fed.state(WEB, name) is None

        for name in fed.members:
            await until(lambda name=name: forgotten(name), what=f"the state in {name} is dropped")  # type: ignore[misc]
        await fed.unplace(WEB)
        await fed.spread(PATHS)
        await fed.arrived(PATHS, "a", "b")
        for controller in sharing.controllers.values():
            assert controller.connection is not None
            assert WEB not in controller.connection.context.transients


@pytest.mark.parametrize(("path", "api"), [(WEB, "ConfigMap"), ("core/secrets/default/db", "Secret")])
async def test_what_a_member_says_of_a_sealed_object_is_not_written_down(
    fed: Federation, path: str, api: str
) -> None:
    """Its validation may name the value that it refuses; sync state, Event and log would have that plain."""
    plain = fed.store
    if api == "ConfigMap":
        fed.store = SealedStore(plain, ObjectSealer([new_key()], kinds=["configmaps"]))

    async def refuse(request: web.Request) -> web.StreamResponse | None:
        if request.method != "PATCH":
            return None
        body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 422}
        body |= {"reason": "Invalid", "message": 'data.password: Invalid value: "hunter22": too short'}
        return web.json_response(body, status=422)

    fed.members["a"].fault = refuse
    async with fed.syncer():
        await fed.put(path, {"apiVersion": "v1", "kind": api, "data": {"password": "hunter22"}})
        await fed.place(path, "a", "b")
        state = await fed.reaches(path, "a", sync.FAILED)
        assert state.reason == "Invalid"
        assert "sealed" in state.message
        await until(lambda: fed.events, what="an Event is reported")
        assert "hunter22" not in f"{fed.events}"
        for prefix in ("syncstates/", "orphans/"):
            assert not any(b"hunter22" in kv.value for kv in (await plain.range(prefix)).items)
        await fed.reaches(path, "b", sync.APPLIED)
