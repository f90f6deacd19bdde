"""What is stored and cannot be read: it stops nothing, is served with the reason, and is deleted by name."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from hanse.api.federation.v1.federation_service_pb2 import ListObjectsRequest
from hanse.api.registry.v1.cluster_pb2 import Cluster
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.errors import DataLossError
from hanse.federation.deletion.tombstones import decode_tombstone
from hanse.store import MemoryStore
from hanse.store.keys import TOMBSTONES, ObjectKey
from hanse.well_known import UNREADABLE
from tests.apiserver.world import WEB, World, config_map, deployment, namespace
from tests.support.waiting import until

MAPS = "/api/v1/namespaces/shop/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TABLE = {"Accept": "application/json;as=Table;g=meta.k8s.io;v=v1,application/json"}

_META = {"name": "bad", "namespace": "shop", "uid": "u1"}
BAD: list[bytes] = [
    b"",
    b"\x00\xff\x08junk",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"{}",
    orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap"}),
    orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": []}),
    orjson.dumps({"apiVersion": "v1", "kind": {}, "metadata": _META}),
    orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**_META, "labels": {"a": {}}}}),
    orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**_META, "labels": [1]}}),
    orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**_META, "annotations": "x"}}),
    orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**_META, "finalizers": {}}}),
    orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**_META, "ownerReferences": [1]}}),
    orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**_META, "generation": "x"}}),
    orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**_META, "generation": 2**63}}),
    orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**_META, "generation": -1}}),
    b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad","namespace":"shop"},"data":'
    + b"[" * 300
    + b"]" * 300
    + b"}",
]


def crd(version: Any = "v1", **spec: Any) -> dict[str, Any]:
    """A CustomResourceDefinition."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served: dict[str, Any] = {"name": version, "served": True, "storage": True}
    versions = [{**served, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}]
    names = {"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "widgets.example.org",
            "uid": "c1",
            "finalizers": ["customresourcecleanup.apiextensions.k8s.io"],
        },
        "spec": {
            "group": "example.org", "scope": "Namespaced", "names": names, "versions": versions, **spec,
        },
    }  # fmt: skip


async def filled(values: dict[str, bytes]) -> MemoryStore:
    """A store that has these values before any service starts."""
    store = MemoryStore()
    for key, value in values.items():
        await store.put(key, value)
    return store


@pytest.mark.parametrize("value", BAD, ids=range(len(BAD)))
async def test_a_stored_object_that_cannot_be_read_is_served_and_deleted_by_name(value: bytes) -> None:
    """At start and later: get, list, Table, watch and gRPC have it with the reason; DELETE removes it."""
    key = ObjectKey("", "configmaps", "shop", "bad")
    store = await filled({key.key(): value})
    async with World(store) as world:
        await world.create("/api/v1/namespaces", namespace())
        await world.create(MAPS, config_map("good", a="1"))
        shown = await world.get(f"{MAPS}/bad")
        assert (shown["kind"], shown["apiVersion"]) == ("ConfigMap", "v1")
        assert shown["metadata"]["annotations"][UNREADABLE]
        assert shown["metadata"]["resourceVersion"].isdigit()
        listed = await world.get(MAPS)
        assert [each["metadata"]["name"] for each in listed["items"]] == ["bad", "good"]
        table = await world.call("GET", MAPS, headers=TABLE)
        assert [row["cells"][0] for row in table.body["rows"]] == ["bad", "good"]
        selected = await world.call("GET", MAPS, params={"labelSelector": "a!=b"})
        assert len(selected.body["items"]) == 2
        assert (
            len((await world.rpc().ListObjects(ListObjectsRequest(parent="objects/core/configmaps"))).objects)
            > 1
        )
        refused = await world.call("PUT", f"{MAPS}/bad", config_map("bad", a="2"))
        assert (refused.status, "cannot be read" in refused.body["message"]) == (409, True)
        patch = {"data": {"x": "y"}}
        merge = "application/merge-patch+json"
        assert (await world.call("PATCH", f"{MAPS}/bad", patch, content_type=merge)).status == 409
        assert (await world.call("POST", MAPS, config_map("bad"))).status == 409
        events = world.watch(MAPS, resource_version=listed["metadata"]["resourceVersion"])
        assert (await world.call("DELETE", f"{MAPS}/bad")).status == 200
        assert (await anext(events))[0] == "DELETED"
        await events.aclose()
        assert await store.get(key.key()) is None
        await world.create(MAPS, config_map("bad", a="3"))


async def test_an_object_that_becomes_unreadable_keeps_what_was_known() -> None:
    """What was served before is served on with the reason; a good value ends that."""
    async with World() as world:
        await world.create("/api/v1/namespaces", namespace())
        made = await world.create(MAPS, config_map("a", x="1"))
        key = ObjectKey("", "configmaps", "shop", "a")
        stored = await world.store.get(key.key())
        assert stored is not None
        await world.apiserver.engine.cache.reached(await world.store.put(key.key(), b"junk"))
        shown = await world.get(f"{MAPS}/a")
        assert (shown["data"], shown["metadata"]["uid"]) == ({"x": "1"}, made["metadata"]["uid"])
        assert "not JSON" in shown["metadata"]["annotations"][UNREADABLE]
        await world.apiserver.engine.cache.reached(await world.store.put(key.key(), stored.value))
        assert UNREADABLE not in (await world.get(f"{MAPS}/a"))["metadata"].get("annotations", {})


async def test_an_unreadable_object_that_members_have_leaves_a_tombstone() -> None:
    """Its tombstone has every member that it may be in, as that of any other object."""
    async with World(await filled({WEB.key(): b"junk"})) as world:
        await world.clusters("eu")
        await world.create("/api/v1/namespaces", namespace())
        await world.place(WEB, {"eu": 2})
        await world.report(WEB, "eu")
        answer = await world.call("DELETE", f"{DEPLOYMENTS}/web")
        assert answer.status == 200
        assert await world.store.get(WEB.key()) is None
        stored = await world.store.get(WEB.key(TOMBSTONES))
        assert stored is not None
        left = decode_tombstone(stored)
        assert [copy.cluster for copy in left.copies] == ["eu"]
        assert (left.object.kind, left.object.version) == ("Deployment", "v1")
        await world.report(WEB, "eu", phase=sync.REMOVED, uid=left.object.uid)

        async def gone() -> bool:
            return await world.store.get(WEB.key(TOMBSTONES)) is None

        await until(gone, what="nothing is left of it")


async def test_an_unreadable_object_that_is_being_deleted_can_be_let_go() -> None:
    """Its finalizers are of others, who cannot change what cannot be read: a DELETE leaves what can be."""
    key = ObjectKey("", "configmaps", "shop", "bad")
    metadata = {
        **_META, "generation": "x", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.b/x"],
    }  # fmt: skip
    stored = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}}
    async with World(await filled({key.key(): orjson.dumps(stored)})) as world:
        await world.create("/api/v1/namespaces", namespace())
        assert UNREADABLE in (await world.get(f"{MAPS}/bad"))["metadata"]["annotations"]
        assert (await world.call("DELETE", f"{MAPS}/bad")).status == 200
        patch = {"metadata": {"finalizers": None}}
        merge = "application/merge-patch+json"
        answer = await world.call("PATCH", f"{MAPS}/bad", patch, content_type=merge)
        assert answer.status == 200
        assert await world.store.get(key.key()) is None


async def test_a_sync_state_or_placement_that_cannot_be_read_holds_a_deletion_up() -> None:
    """Nobody knows whether that cluster still has the object: unknown is not confirmed."""
    async with World() as world:
        await world.create("/api/v1/namespaces", namespace())
        await world.create(DEPLOYMENTS, deployment())
        await world.apiserver.engine.cache.reached(await world.store.put(WEB.sync_state("eu"), b"\xffjunk"))
        assert (await world.get(f"{DEPLOYMENTS}/web"))["status"]["clusters"][0][
            "reason"
        ] == "StatusUnreadable"
        await world.call("DELETE", f"{DEPLOYMENTS}/web")
        await until(_idle(world), what="the finalizer has looked")
        assert await world.store.get(WEB.key()) is not None
        await world.report(WEB, "eu", phase=sync.REMOVED)

        async def gone() -> bool:
            return await world.store.get(WEB.key()) is None

        await until(gone, what="the deletion is finished")


def _idle(world: World) -> Any:
    async def idle() -> bool:
        return world.apiserver.finalizing.idle

    return idle


async def test_an_unreadable_namespace_is_deleted_with_what_is_in_it() -> None:
    """Its contents go first, as those of any namespace."""
    key = ObjectKey("", "namespaces", "", "shop")
    async with World(await filled({key.key(): b"junk"})) as world:
        await world.create(MAPS, config_map("a"))
        assert (await world.call("DELETE", "/api/v1/namespaces/shop")).status == 200

        async def gone() -> bool:
            inside = await world.store.get(ObjectKey("", "configmaps", "shop", "a").key())
            return inside is None and await world.store.get(key.key()) is None

        await until(gone, what="the namespace is gone")


async def test_dependents_of_an_unreadable_owner_stay() -> None:
    """That an owner cannot be read does not say that it is gone."""
    owner = ObjectKey("", "configmaps", "shop", "owner")
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "u1"}
    child = config_map("child")
    child["metadata"] |= {"uid": "u2", "ownerReferences": [reference]}
    other = config_map("other")
    other["metadata"] |= {"uid": "u3", "ownerReferences": [{**reference, "name": "none", "uid": "u9"}]}
    keys = {name: ObjectKey("", "configmaps", "shop", name).key() for name in ("child", "other")}
    values = {owner.key(): b"junk", keys["child"]: orjson.dumps(child), keys["other"]: orjson.dumps(other)}
    async with World(await filled(values)) as world:

        async def collected() -> bool:
            return await world.store.get(keys["other"]) is None

        await until(collected, what="what has no owner is collected")
        assert await world.store.get(keys["child"]) is not None


@pytest.mark.parametrize(
    "broken",
    [
        crd("v²"),
        crd(None),
        crd({"x": 1}),
        crd(names=[]),
        crd(names={"plural": "widgets", "kind": ["Widget"]}),
        crd(versions={"v1": {}}),
        crd(versions=[]),
        crd(versions=[7]),
        crd(group="a/b"),
        crd(group=9),
        {**crd(), "spec": "x"},
        {k: v for k, v in crd().items() if k != "spec"},
    ],
    ids=range(12),
)
async def test_a_crd_that_cannot_be_served_is_shown_with_the_reason_and_can_be_deleted(broken: Any) -> None:
    """The apiserver starts, its objects stay stored, all else is served; DELETE removes both."""
    key = ObjectKey("apiextensions.k8s.io", "customresourcedefinitions", "", "widgets.example.org")
    widget = ObjectKey("example.org", "widgets", "shop", "w")
    obj = {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "shop"}}
    store = await filled({key.key(): orjson.dumps(broken), widget.key(): orjson.dumps(obj)})
    async with World(store) as world:
        shown = await world.get(f"{CRDS}/widgets.example.org")
        assert "cannot be served" in shown["metadata"]["annotations"][UNREADABLE]
        assert {"type": "Established", "status": "False"}.items() <= shown["status"]["conditions"][-1].items()
        assert (await world.call("GET", "/openapi/v2")).status == 200
        await world.create("/api/v1/namespaces", namespace())
        assert await store.get(widget.key()) is not None
        assert (await world.call("DELETE", f"{CRDS}/widgets.example.org")).status == 200

        async def gone() -> bool:
            return await store.get(key.key()) is None and await store.get(widget.key()) is None

        await until(gone, what="the CRD and its objects are gone")


async def test_what_is_odd_in_a_crd_is_left_out_alone() -> None:
    """A version without a name, a column without a path and a schema that is none take nothing else away."""
    good = crd()
    versions = [
        *good["spec"]["versions"],
        {"name": "v²", "served": True},
        {"name": "v2", "additionalPrinterColumns": [7, {"name": "A", "type": "string", "jsonPath": "["}]},
    ]
    key = ObjectKey("apiextensions.k8s.io", "customresourcedefinitions", "", "widgets.example.org")
    store = await filled({key.key(): orjson.dumps(crd(versions=versions))})
    async with World(store) as world:
        served = await world.get("/apis/example.org")
        assert [each["version"] for each in served["versions"]] == ["v2", "v1"]
        shown = await world.get(f"{CRDS}/widgets.example.org")
        assert "v²" in shown["metadata"]["annotations"][UNREADABLE]
        await world.create("/api/v1/namespaces", namespace())
        obj = {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}}
        await world.create("/apis/example.org/v1/namespaces/shop/widgets", obj)
        table = await world.call("GET", "/apis/example.org/v2/namespaces/shop/widgets", headers=TABLE)
        assert table.body["rows"][0]["cells"][0] == "w"
        mended = {**shown, "spec": crd()["spec"]}
        answer = await world.call("PUT", f"{CRDS}/widgets.example.org", mended)
        assert answer.status == 200, answer
        assert UNREADABLE not in answer.body["metadata"].get("annotations", {})


async def test_a_member_that_writes_an_odd_condition_kills_nothing() -> None:
    """The condition of the issue: `status.conditions[0].status` is an object; also after a restart."""
    key = ObjectKey("apiextensions.k8s.io", "customresourcedefinitions", "", "widgets.example.org")
    widget = ObjectKey("example.org", "widgets", "shop", "w")
    obj = {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "shop"}}
    store = await filled({key.key(): orjson.dumps(crd()), widget.key(): orjson.dumps(obj)})
    path = "/apis/example.org/v1/namespaces/shop/widgets/w"
    odd = {"conditions": [{"type": "Ready", "status": {"x": 1}}]}
    async with World(store) as world:
        await world.place(widget, {"eu": None})
        await world.report(widget, "eu", status=odd)
        shown = await world.get(path)
        assert shown["status"]["conditions"][0]["status"] == "Unknown"
        assert shown["status"]["clusters"][0]["status"] == odd
    async with World(store) as world:
        assert (await world.get(path))["status"] == shown["status"]


async def test_a_watch_that_fails_says_so_in_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect in the middle of a stream is an ERROR event with a Status, not a connection that breaks."""
    async with World() as world:
        await world.create("/api/v1/namespaces", namespace())
        listed = await world.get(MAPS)
        events = world.watch(MAPS, resource_version=listed["metadata"]["resourceVersion"])

        def fail(*_: Any) -> Any:
            raise KeyError("surprise")

        monkeypatch.setattr("hanse.kube.server.endpoints.watch._Stream.lines", fail)
        await world.create(MAPS, config_map("a"))
        kind, body = await anext(events)
        assert (kind, body["code"]) == ("ERROR", 500)
        assert [each async for each in events] == []


async def test_unreadable_objects_are_not_deleted_by_a_selector() -> None:
    """What a selector says of an object that cannot be read is not known, so it is left."""
    key = ObjectKey("", "configmaps", "shop", "bad")
    async with World(await filled({key.key(): b"junk"})) as world:
        await world.create("/api/v1/namespaces", namespace())
        await world.create(MAPS, config_map("good"))
        assert (await world.call("DELETE", MAPS, params={"labelSelector": "a!=b"})).status == 200
        assert [e["metadata"]["name"] for e in (await world.get(MAPS))["items"]] == ["bad"]
        assert (await world.call("DELETE", MAPS)).status == 200
        assert await world.store.get(key.key()) is None


async def test_a_subscriber_that_fails_stops_nothing() -> None:
    """Whoever follows the cache may fail on an object: it is counted, and the cache goes on."""
    async with World() as world:
        await world.create("/api/v1/namespaces", namespace())

        def fail(change: Any) -> None:
            raise TypeError(f"cannot take {change.key}")

        world.apiserver.engine.cache.subscribe(fail)
        world.apiserver.view.subscribe(fail)
        await world.create(DEPLOYMENTS, deployment())
        await world.place(WEB, {"eu": 2})
        await world.report(WEB, "eu")
        assert (await world.get(f"{DEPLOYMENTS}/web"))["status"]["clusters"][0]["name"] == "eu"


async def test_junk_in_every_prefix_keeps_nothing_from_being_served() -> None:
    """The apiserver starts over it and serves everything else; the federation's own key is named."""
    values = {}
    for prefix in ("objects", "placements", "syncstates", "clusters", "catalogues", "credentials", "records"):
        for name in ("x", "a/b", "a/b/c/d", "a/b/c/d/e", "a//b/c"):
            values[f"{prefix}/{name}"] = b"\xffjunk"
            values[f"{prefix}/{name}0"] = b""
    state, view = sync.SyncState(name="x").SerializeToString(), Cluster(name="clusters/x").SerializeToString()
    for name in ("a\x01b", "x" * 600):  # values that can be read, under keys that nobody can write
        values[f"syncstates/apps/deployments/shop/{name}/eu"] = state
        values[f"placements/apps/deployments/shop/{name}"] = Placement(name="x").SerializeToString()
        values[f"clusters/{name}"] = view
        stored = {**deployment(), "metadata": {"name": name, "namespace": "shop", "uid": "u"}}
        values[f"objects/apps/deployments/shop/{name}"] = orjson.dumps(stored)
    store = await filled(values)
    async with World(store) as world:
        await world.create("/api/v1/namespaces", namespace())
        await world.create(DEPLOYMENTS, deployment())
        await world.place(WEB, {"eu": 2})
        await world.report(WEB, "eu")
        assert (await world.get(f"{DEPLOYMENTS}/web"))["status"]["clusters"][0]["name"] == "eu"
        assert (await world.call("GET", "/apis/hanse.dev/v1alpha1/syncstates")).status == 200
    assert {key for key in values if await store.get(key) is None} == set()
    await store.put("federation", b"\xff")
    with pytest.raises(DataLossError, match="the key federation cannot be read"):
        async with World(store):
            pass
