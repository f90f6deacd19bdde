"""FederationService: the same objects over gRPC, under the same rules, and who may call it."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from hanse.api.federation.v1 import federation_service_pb2 as rpc
from hanse.api.type.v1.change_pb2 import BOOKMARK, DELETED, UPDATED
from hanse.errors import (
    AlreadyExistsError,
    CompactedError,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from hanse.federation.events import EventRecorder, event_sender
from hanse.kube.model.events import InvolvedObject
from tests.apiserver.world import WEB, World, config_map, deployment, rolled_out
from tests.support.waiting import until

NAME = "objects/core/configmaps/shop/c"


async def create(world: World, name: str = "c", **data: str) -> str:
    """Create a ConfigMap over gRPC; returns its etag."""
    created = await world.rpc().CreateObject(
        rpc.CreateObjectRequest(manifest=orjson.dumps(config_map(name, **data)))
    )
    return str(created.etag)


async def read(stream: Any) -> rpc.WatchObjectsResponse:
    """The next message of a stream."""
    message = await stream.read()
    assert isinstance(message, rpc.WatchObjectsResponse)
    return message


async def test_objects_are_the_same_over_both(world: World) -> None:
    """What is created over gRPC is served over REST, byte for byte."""
    stub = world.rpc()
    created = await stub.CreateObject(rpc.CreateObjectRequest(manifest=orjson.dumps(config_map("c", a="b"))))
    assert created.name == NAME
    assert (created.reference.kind, created.reference.namespace) == ("ConfigMap", "shop")
    rest = await world.get("/api/v1/namespaces/shop/configmaps/c")
    assert orjson.loads(created.manifest) == rest
    got = await stub.GetObject(rpc.GetObjectRequest(name=NAME))
    assert orjson.loads(got.manifest) == rest
    assert got.etag == rest["metadata"]["resourceVersion"]
    with pytest.raises(AlreadyExistsError):
        await create(world)


async def test_an_event_that_is_recorded_is_served(world: World) -> None:
    """With everything that the recorder says, by both groups, also of an object of cluster scope."""
    recorder = EventRecorder(event_sender(world.rpc(), component="hanse-test"), component="hanse-test")
    web = InvolvedObject("apps/v1", "Deployment", "shop", "web", "u")
    recorder.record(web, type_="Warning", reason="SyncFailed", message="m")
    recorder.record(
        InvolvedObject("v1", "Namespace", "", "shop", "n"), type_="Normal", reason="R", message="m"
    )
    sending = asyncio.create_task(recorder.run())
    try:

        async def served() -> bool:
            return len((await world.get("/api/v1/events"))["items"]) == 2

        await until(served)
    finally:
        sending.cancel()
    (event,) = (await world.get("/api/v1/namespaces/shop/events"))["items"]
    assert event["involvedObject"] == {
        "apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web", "uid": "u",
    }  # fmt: skip
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "SyncFailed", "m")
    (event,) = (await world.get("/apis/events.k8s.io/v1/namespaces/default/events"))["items"]
    assert (event["reportingController"], event["regarding"]["kind"]) == ("hanse-test", "Namespace")


async def test_an_etag_is_an_optimistic_lock(world: World) -> None:
    """An update or delete with an old etag is refused; a dry run stores nothing."""
    etag = await create(world, a="1")
    stub = world.rpc()
    changed = orjson.dumps(config_map("c", a="2"))
    dry = await stub.UpdateObject(rpc.UpdateObjectRequest(manifest=changed, etag=etag, validate_only=True))
    assert orjson.loads(dry.manifest)["data"] == {"a": "2"}
    updated = await stub.UpdateObject(rpc.UpdateObjectRequest(manifest=changed, etag=etag))
    assert updated.etag != etag
    with pytest.raises(ConflictError):
        await stub.UpdateObject(rpc.UpdateObjectRequest(manifest=orjson.dumps(config_map("c")), etag=etag))
    with pytest.raises(ConflictError):
        await stub.DeleteObject(rpc.DeleteObjectRequest(name=NAME, etag=etag))
    await stub.DeleteObject(rpc.DeleteObjectRequest(name=NAME, etag=updated.etag, validate_only=True))
    await stub.GetObject(rpc.GetObjectRequest(name=NAME))
    await stub.DeleteObject(rpc.DeleteObjectRequest(name=NAME, etag=updated.etag))


async def test_apply_and_patch(world: World) -> None:
    """Server-side apply creates and merges; conflicts name the other manager unless forced."""
    stub = world.rpc()
    manifest = orjson.dumps(config_map("c", a="1"))
    await stub.ApplyObject(rpc.ApplyObjectRequest(manifest=manifest, field_manager="one"))
    other = orjson.dumps(config_map("c", a="2"))
    with pytest.raises(ConflictError, match="one"):
        await stub.ApplyObject(rpc.ApplyObjectRequest(manifest=other, field_manager="two"))
    applied = await stub.ApplyObject(rpc.ApplyObjectRequest(manifest=other, field_manager="two", force=True))
    assert orjson.loads(applied.manifest)["data"] == {"a": "2"}
    patched = await stub.PatchObject(
        rpc.PatchObjectRequest(name=NAME, patch=b'{"data":{"b":"3"}}', type=rpc.MERGE_PATCH)
    )
    assert orjson.loads(patched.manifest)["data"] == {"a": "2", "b": "3"}
    with pytest.raises(InvalidArgumentError, match="type"):
        await stub.PatchObject(rpc.PatchObjectRequest(name=NAME, patch=b"{}"))


async def test_lists_are_paged_and_selected(world: World) -> None:
    """Pages follow each other in order of name; label and field selectors narrow them."""
    for i in range(5):
        obj = config_map(f"c{i}")
        obj["metadata"]["labels"] = {"odd": str(i % 2)}
        await world.create("/api/v1/namespaces/shop/configmaps", obj)
    stub = world.rpc()
    names: list[str] = []
    token = ""
    while True:
        page = await stub.ListObjects(
            rpc.ListObjectsRequest(parent="objects/core/configmaps/shop", page_size=2, page_token=token)
        )
        names += [o.reference.name for o in page.objects]
        token = page.next_page_token
        if not token:
            break
    assert names == [f"c{i}" for i in range(5)]
    odd = await stub.ListObjects(
        rpc.ListObjectsRequest(parent="objects/core/configmaps", label_selector="odd=1")
    )
    assert [o.reference.name for o in odd.objects] == ["c1", "c3"]
    turned = await stub.ListObjects(
        rpc.ListObjectsRequest(parent="objects/core/configmaps", label_selector="odd=0", order_by="name desc")
    )
    assert [o.reference.name for o in turned.objects] == ["c4", "c2", "c0"]
    first = turned.objects[0]
    created = orjson.loads(first.manifest)["metadata"]["creationTimestamp"]
    assert first.create_time.ToJsonString() == created
    assert first.update_time.ToNanoseconds() >= first.create_time.ToNanoseconds()
    with pytest.raises(InvalidArgumentError, match="order_by cannot be used: manifest has no order"):
        await stub.ListObjects(rpc.ListObjectsRequest(parent="objects/core/configmaps", order_by="manifest"))
    one = await stub.ListObjects(
        rpc.ListObjectsRequest(parent="objects/core/configmaps/shop", field_selector="metadata.name=c4")
    )
    assert [o.reference.name for o in one.objects] == ["c4"]
    with pytest.raises(InvalidArgumentError):
        await stub.ListObjects(rpc.ListObjectsRequest(parent="configmaps"))
    with pytest.raises(InvalidArgumentError, match="not served"):
        await stub.ListObjects(rpc.ListObjectsRequest(parent="objects/core/unicorns"))


async def test_a_watch_sends_all_then_changes_and_resumes(world: World) -> None:
    """Revision 0 gives everything and a bookmark; a stream that resumes there misses nothing."""
    await create(world, "first")
    stub = world.rpc()
    async with asyncio.timeout(30):
        stream = stub.WatchObjects(rpc.WatchObjectsRequest(parent="objects/core/configmaps/shop"))
        everything, bookmark = await read(stream), await read(stream)
        assert (everything.kind, everything.object.reference.name) == (UPDATED, "first")
        assert everything.revision == 0
        assert bookmark.kind == BOOKMARK
        await create(world, "second")
        second = await read(stream)
        assert (second.kind, second.object.reference.name) == (UPDATED, "second")
        stream.cancel()

        await world.rpc().DeleteObject(rpc.DeleteObjectRequest(name="objects/core/configmaps/shop/first"))
        resumed = stub.WatchObjects(
            rpc.WatchObjectsRequest(parent="objects/core/configmaps/shop", revision=bookmark.revision)
        )
        seen = []
        async for change in resumed:
            seen.append((change.kind, change.object.reference.name))
            if change.kind == DELETED:
                break
        resumed.cancel()
    assert seen[0] == (UPDATED, "second")
    assert seen[-1] == (DELETED, "first")


async def test_a_watch_follows_its_selector(world: World) -> None:
    """An object that stops matching is sent as deleted."""
    obj = config_map("c")
    obj["metadata"]["labels"] = {"on": "yes"}
    await world.create("/api/v1/namespaces/shop/configmaps", obj)
    stub = world.rpc()
    async with asyncio.timeout(30):
        stream = stub.WatchObjects(
            rpc.WatchObjectsRequest(parent="objects/core/configmaps", label_selector="on=yes")
        )
        assert (await read(stream)).kind == UPDATED
        assert (await read(stream)).kind == BOOKMARK
        await stub.PatchObject(
            rpc.PatchObjectRequest(
                name=NAME, patch=b'{"metadata":{"labels":{"on":"no"}}}', type=rpc.MERGE_PATCH
            )
        )
        assert (await read(stream)).kind == DELETED
        stream.cancel()


async def test_a_watch_from_a_forgotten_revision_must_start_again(world: World) -> None:
    """A revision from before this apiserver started is compacted for it."""
    stub = world.rpc()
    stream = stub.WatchObjects(rpc.WatchObjectsRequest(parent="objects/core/namespaces", revision=1))
    with pytest.raises(CompactedError):
        await read(stream)


async def test_a_watch_of_a_revision_to_come_is_out_of_range(world: World) -> None:
    """It waits for a moment, as another process may be ahead, and then says so."""
    request = rpc.WatchObjectsRequest(parent="objects/core/namespaces", revision=99999999)
    with pytest.raises(CompactedError, match="no revision 99999999 yet") as caught:
        await read(world.rpc().WatchObjects(request, timeout=20))
    assert caught.value.reason == "FUTURE_REVISION"


async def test_aggregated_status_is_served_over_grpc_too(world: World) -> None:
    """GetObject gives what REST gives."""
    await world.create("/apis/apps/v1/namespaces/shop/deployments", deployment())
    await world.place(WEB, {"eu": 4})
    await world.report(WEB, "eu", status=rolled_out(4))
    got = await world.rpc().GetObject(rpc.GetObjectRequest(name="objects/apps/deployments/shop/web"))
    assert orjson.loads(got.manifest)["status"]["readyReplicas"] == 4


async def test_the_federation_and_its_resources(world: World) -> None:
    """GetFederation says who it is, ListResources what it serves and what of that propagates."""
    stub = world.rpc()
    federation = await stub.GetFederation(rpc.GetFederationRequest())
    assert federation.id
    assert federation == await stub.GetFederation(rpc.GetFederationRequest(name=federation.name))
    with pytest.raises(NotFoundError, match="the name of the federation is 'federation'"):
        await stub.GetFederation(rpc.GetFederationRequest(name="federations/x"))
    assert federation.server == f"https://{world.apiserver.https}"
    found: dict[tuple[str, str, str], bool] = {}
    names: set[str] = set()
    token = ""
    while True:
        page = await stub.ListResources(rpc.ListResourcesRequest(page_size=50, page_token=token))
        names.update(r.name for r in page.resources)
        found |= {(r.group, r.version, r.resource): r.propagates for r in page.resources}
        token = page.next_page_token
        if not token:
            break
    assert len(names) == len(found)
    assert {"resources/apps/v1/deployments", "resources/core/v1/events"} <= names
    assert found[("apps", "v1", "deployments")] is True
    assert found[("hanse.dev", "v1alpha1", "clusters")] is False
    assert found[("", "v1", "events")] is False


async def test_errors_name_what_is_wrong(world: World) -> None:
    """Missing objects, bad names and unknown kinds."""
    stub = world.rpc()
    with pytest.raises(NotFoundError, match="nope"):
        await stub.GetObject(rpc.GetObjectRequest(name="objects/core/configmaps/shop/nope"))
    with pytest.raises(InvalidArgumentError, match="must be objects/"):
        await stub.GetObject(rpc.GetObjectRequest(name="configmaps/shop/nope"))
    with pytest.raises(InvalidArgumentError, match="not JSON"):
        await stub.CreateObject(rpc.CreateObjectRequest(manifest=b"{"))
    unknown = {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}}
    with pytest.raises(InvalidArgumentError, match="CustomResourceDefinition"):
        await stub.CreateObject(rpc.CreateObjectRequest(manifest=orjson.dumps(unknown)))


async def test_services_may_only_do_what_they_need(world: World) -> None:
    """A service reads, creates events, and does not write what users want; strangers may do nothing."""
    await create(world)
    syncer = world.rpc("hanse:service:syncer", "hanse:services")
    await syncer.GetObject(rpc.GetObjectRequest(name=NAME))
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "shop"},
        "involvedObject": {"kind": "ConfigMap", "namespace": "shop", "name": "c"},
        "reason": "Test",
        "message": "a test",
        "type": "Warning",
    }
    await syncer.CreateObject(rpc.CreateObjectRequest(manifest=orjson.dumps(event)))
    with pytest.raises(PermissionDeniedError):
        await syncer.DeleteObject(rpc.DeleteObjectRequest(name=NAME))
    with pytest.raises(PermissionDeniedError):
        await syncer.ListObjects(rpc.ListObjectsRequest(parent="objects/core/secrets"))
    cluster = {"apiVersion": "hanse.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "eu"}, "spec": {}}
    manifest = orjson.dumps(cluster)
    with pytest.raises(PermissionDeniedError):
        await syncer.CreateObject(rpc.CreateObjectRequest(manifest=manifest))
    registry = world.rpc("hanse:service:registry", "hanse:services")
    await registry.CreateObject(rpc.CreateObjectRequest(manifest=manifest))
    stranger = world.rpc("somebody", "people")
    with pytest.raises(PermissionDeniedError):
        await stranger.GetObject(rpc.GetObjectRequest(name=NAME))
