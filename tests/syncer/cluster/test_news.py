"""What is learned while something else is under way is neither lost nor taken back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web
from hanse_syncer.federation.intent import decode_intent
from hanse_syncer.report.state_table import SyncStateTable

from hanse.api.registry.v1.cluster_pb2 import ClusterCredential
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.errors import FailedPreconditionError
from hanse.kube.engine.options import WriteOptions
from hanse.kube.model.objects import Object
from hanse.store import BatchWriter, Compare, KeyValue, MemoryStore, keys
from tests.support.federation.federation import FEDERATION_ID, Federation, federation
from tests.support.federation.member import TOKEN
from tests.support.waiting import SECONDS, until
from tests.syncer.harness import config_map, deployment

NAMESPACE = "core/namespaces/_/shop"
WEB = "apps/deployments/shop/web"
SERVICE = "core/services/shop/web"
SLICE = "discovery.k8s.io/endpointslices/shop/web-1"


@pytest.fixture
async def fed() -> AsyncIterator[Federation]:
    """A federation with the member `eu`, in which the namespace `shop` is placed."""
    async with federation("eu") as running:
        await running.put(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace"})
        await running.place(NAMESPACE, "eu")
        yield running


def refusal(code: int, reason: str) -> web.Response:
    """Answer with a Status."""
    body = {
        "kind": "Status",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": "no",
        "details": {},
    }
    return web.json_response(body, status=code)


def ready(count: int) -> Any:
    """Return what gives a Deployment `count` ready replicas."""
    counts = dict.fromkeys(("replicas", "readyReplicas", "availableReplicas", "updatedReplicas"), count)
    return lambda obj: {**obj, "status": {**counts, "observedGeneration": 1}}


def service(port: int, generation: int) -> Object:
    """Return a Service."""
    spec = {"selector": {"app": "web"}, "ports": [{"port": port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"generation": generation}, "spec": spec}


async def test_a_failed_apply_takes_back_no_endpoints(fed: Federation) -> None:
    """Endpoints that went while an apply was under way stay gone when it fails: names depend on it."""
    member = fed.members["eu"]

    async def count(wanted: int) -> bool:
        state = await fed.state(SERVICE, "eu")
        return state is not None and sum(zone.ready for zone in state.ready_endpoints) == wanted

    async with fed.syncer():
        await fed.put(SERVICE, service(80, 1))
        await fed.place(SERVICE, "eu")
        await fed.reaches(SERVICE, "eu", sync.APPLIED)
        endpoints = [{"addresses": [f"10.0.0.{n}"], "conditions": {"ready": True}} for n in range(3)]
        labels = {"kubernetes.io/service-name": "web"}
        slice_ = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "web-1", "namespace": "shop", "labels": labels},
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [],
        }
        await member.create(SLICE, slice_)
        await until(lambda: count(3), what="three endpoints are ready")
        answering, asked = asyncio.Event(), asyncio.Event()

        async def fault(request: web.Request) -> web.StreamResponse | None:
            if request.method != "PATCH" or not request.path.endswith("/services/web"):
                return None
            asked.set()
            await answering.wait()
            return refusal(403, "Forbidden")

        member.fault = fault
        await fed.put(SERVICE, service(81, 2))
        await fed.place(SERVICE, "eu")
        await asked.wait()
        await member.change(SLICE, lambda obj: {**obj, "endpoints": []})
        await until(lambda: count(0), what="the endpoints are gone while the apply is under way")
        answering.set()
        await fed.reaches(SERVICE, "eu", sync.FAILED)
        assert await count(0)


async def test_a_confirmation_says_which_placement_it_is_of(fed: Federation) -> None:
    """A new decision that renders the same is acted on also where the object is compared at the same time."""
    async with fed.syncer() as sharing:
        await fed.put(WEB, deployment())
        await fed.place(WEB, "eu")
        await fed.reaches(WEB, "eu", sync.APPLIED)
        await fed.members["eu"].change(WEB, ready(2), subresource="status")

        async def healthy() -> bool:
            state = await fed.state(WEB, "eu")
            return state is not None and state.health == sync.HEALTHY

        await until(healthy, what="the Deployment is healthy")
        newer = deployment()
        newer["metadata"]["generation"] = 2
        sharing.controllers["eu"].resync([WEB])
        await fed.put(WEB, newer)
        await fed.place(WEB, "eu")
        placed = await fed.store.get(f"{keys.PLACEMENTS}/{WEB}")
        assert placed is not None

        async def acted_on() -> bool:
            state = await fed.state(WEB, "eu")
            return (
                state is not None
                and state.applied_generation == 2
                and state.placement_revision == placed.mod_revision
            )

        await until(acted_on, what="the state says which placement was acted on")


@pytest.mark.parametrize("code", [429, 503])
async def test_a_namespace_is_not_given_up_for_one_bad_answer(fed: Federation, code: int) -> None:
    """A list that fails for the moment is asked for again; the namespace is neither deleted nor let go of."""
    member, failures = fed.members["eu"], 0

    async def fault(request: web.Request) -> web.StreamResponse | None:
        nonlocal failures
        if request.method == "GET" and request.path.endswith("/shop/configmaps") and failures < 2:
            failures += 1
            return refusal(code, "Busy")
        return None

    async with fed.syncer():
        await fed.reaches(NAMESPACE, "eu", sync.APPLIED)
        member.fault = fault
        await fed.mark_deleted(NAMESPACE)
        await fed.reaches(NAMESPACE, "eu", sync.REMOVED)
        assert failures == 2
        assert member.get(NAMESPACE) is None


async def test_a_namespace_is_looked_through_to_the_end(fed: Federation) -> None:
    """More objects of ours than one page are no obstacle; one that is not ours on a later page is."""
    member = fed.members["eu"]
    info = member.engine.catalogue.require("", "v1", "configmaps")
    labels = {"app.kubernetes.io/managed-by": "hanse", "hanse.dev/federation": FEDERATION_ID}
    as_hanse = WriteOptions(field_manager="hanse")
    async with fed.syncer():
        await fed.reaches(NAMESPACE, "eu", sync.APPLIED)
        for number in range(501):
            ours = config_map(name=f"c{number:03}", namespace="shop", labels=labels)
            await member.engine.resources.patch(
                info, patch_type="apply", patch=ours, namespace="shop", name=f"c{number:03}", options=as_hanse
            )
        await member.engine.resources.create(info, config_map(name="x", namespace="shop"), namespace="shop")
        await fed.mark_deleted(NAMESPACE)
        state = await fed.reaches(NAMESPACE, "eu", sync.REMOVED)
        assert (state.reason, "configmaps x there" in state.message) == ("Released", True)


async def _sealed(fed: Federation) -> bytes:
    found = await fed.store.get(keys.credential("eu"))
    assert found is not None
    return found.value


async def test_a_new_credential_leaves_nothing_unwatched(fed: Federation) -> None:
    """After a connection with another credential the member's news are followed as before."""
    member = fed.members["eu"]

    async def shows(count: int) -> bool:
        state = await fed.state(WEB, "eu")
        return state is not None and b'"readyReplicas":%d' % count in state.status

    async with fed.syncer() as sharing:
        await fed.put(WEB, deployment())
        await fed.place(WEB, "eu")
        await fed.reaches(WEB, "eu", sync.APPLIED)
        await member.change(WEB, ready(2), subresource="status")
        await until(lambda: shows(2), what="the status is reported")
        before = sharing.controllers["eu"].connection
        again = fed.sealer.seal("eu", fed.sealer.open("eu", await _sealed(fed)))
        await fed.store.put(keys.credential("eu"), again)
        await asyncio.sleep(0.2)
        assert sharing.controllers["eu"].connection is before, (
            "what was only sealed again is the same credential"
        )
        credential = ClusterCredential(server=f"http://localhost:{member.port}", token=TOKEN)
        sealed = fed.sealer.seal("eu", credential.SerializeToString())
        await fed.store.put(keys.credential("eu"), sealed)
        await until(lambda: sharing.controllers["eu"].connection not in (None, before), what="a new session")
        await member.change(WEB, ready(1), subresource="status")
        await until(lambda: shows(1), what="the status after the change is reported")


async def test_states_of_any_size_are_written() -> None:
    """A large state has a commit of its own beside small ones."""
    store = MemoryStore()
    await store.put("lease", b"")
    await store.put(keys.cluster("eu"), b"")
    table = SyncStateTable(BatchWriter(store), "eu", fence=lambda: Compare.exists("lease"))
    running = asyncio.create_task(table.run())
    sizes = (250_000, 1_350_000, 10)
    for number, size in enumerate(sizes):
        table.update(f"a/b/c/{number}", lambda _, size=size: SyncState(status=b"x" * size))  # type: ignore[misc]
    assert await table.flush(5)
    assert (await store.range(f"{keys.SYNCSTATES}/")).count == len(sizes)
    running.cancel()
    await store.close()


async def test_nothing_is_written_of_a_cluster_that_has_left() -> None:
    """What a controller still has to say would else be taken for the state of one that joins by that name."""
    store = MemoryStore()
    await store.put("lease", b"")
    await store.put(keys.cluster("eu"), b"")
    table = SyncStateTable(BatchWriter(store, spacing=0.0), "eu", fence=lambda: Compare.exists("lease"))
    running = asyncio.create_task(table.run())
    table.update("a/b/c/d", lambda _: SyncState(phase=sync.APPLIED))
    assert await table.flush(5)
    await store.delete(keys.cluster("eu"))
    await store.delete(f"{keys.SYNCSTATES}/a/b/c/d/eu")
    table.update("a/b/c/d", lambda _: SyncState(phase=sync.UNREACHABLE))
    with pytest.raises(FailedPreconditionError, match="has left"):
        await asyncio.wait_for(running, SECONDS)
    assert (await store.range(f"{keys.SYNCSTATES}/")).count == 0
    await store.close()


def test_custom_kinds_may_be_called_as_kubernetes_own() -> None:
    """`nodes` of another group are objects like all others; Events are nobody's to sync."""

    def decoded(group: str, resource: str) -> bool:
        obj = {"apiVersion": "v1", "kind": "K", "metadata": {"name": "n", "uid": "1"}}
        kv = KeyValue(f"objects/{group}/{resource}/shop/n", orjson.dumps(obj), 1, 1, 1)
        return decode_intent(kv) is not None

    assert decoded("longhorn.io", "nodes")
    assert decoded("core", "pods")
    assert not decoded("core", "events")
    assert not decoded("coordination.k8s.io", "leases")
