"""Writes have Kubernetes' semantics, on both stores."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from hanse.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from tests.kube.server.world import CONFIGMAPS, DEPLOYMENTS, NAMESPACES, World, config_map, deployment
from tests.support.machine.raw import raw
from tests.support.waiting import until


async def test_a_created_object_has_identity_and_can_be_read(both: World) -> None:
    """Create returns uid, resourceVersion, generation and managedFields, and a read returns the same."""
    async with both.client() as client:
        made = await client.create(CONFIGMAPS, config_map("a", x="1"))
        assert made["metadata"]["uid"]
        assert made["metadata"]["generation"] == 1
        assert made["metadata"]["managedFields"][0]["manager"] == "test"
        assert await client.get(CONFIGMAPS, "a", namespace="default") == made


async def test_creating_twice_fails_with_already_exists(both: World) -> None:
    """The second create of a name is refused, whatever the cache has seen."""
    async with both.client() as client:
        await client.create(CONFIGMAPS, config_map("a"))
        with pytest.raises(AlreadyExistsError, match='configmaps "a" already exists'):
            await client.create(CONFIGMAPS, config_map("a"))


async def test_generate_name_gives_different_names(both: World) -> None:
    """Each create with generateName gets a name of its own with that prefix."""
    body = config_map("x")
    body["metadata"] = {"generateName": "job-", "namespace": "default"}
    async with both.client() as client:
        names = {(await client.create(CONFIGMAPS, body))["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("job-") and len(name) == 9 for name in names)


async def test_an_update_with_an_old_version_is_a_conflict(both: World) -> None:
    """The optimistic lock holds; without a resourceVersion the last writer wins."""
    async with both.client() as client:
        first = await client.create(CONFIGMAPS, config_map("a", x="1"))
        second = await client.update(CONFIGMAPS, {**first, "data": {"x": "2"}})
        with pytest.raises(ConflictError, match="has been modified"):
            await client.update(CONFIGMAPS, {**first, "data": {"x": "3"}})
        blind = await client.update(CONFIGMAPS, config_map("a", x="4"))
        assert blind["metadata"]["uid"] == second["metadata"]["uid"]
        assert blind["data"] == {"x": "4"}


async def test_concurrent_patches_all_take_effect(both: World) -> None:
    """Patches of different keys that race are all there in the end."""
    async with both.client() as client:
        await client.create(CONFIGMAPS, config_map("a"))
        patches = (
            client.patch(CONFIGMAPS, "a", {"data": {f"k{i}": "v"}}, namespace="default") for i in range(10)
        )
        await asyncio.gather(*patches)
        found = await client.get(CONFIGMAPS, "a", namespace="default")
    assert set(found["data"]) == {f"k{i}" for i in range(10)}


async def test_writing_nothing_new_writes_nothing(both: World) -> None:
    """An update that changes nothing keeps the resourceVersion."""
    async with both.client() as client:
        made = await client.create(CONFIGMAPS, config_map("a", x="1"))
        again = await client.update(CONFIGMAPS, config_map("a", x="1"))
        patched = await client.patch(CONFIGMAPS, "a", {"data": {"x": "1"}}, namespace="default")
    assert made["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]
    assert patched["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_generation_counts_changes_of_spec_only(world: World) -> None:
    """Spec raises the generation, status and labels do not; spec and status are closed to each other."""
    async with world.client() as client:
        made = await client.create(DEPLOYMENTS, deployment())
        labeled = await client.patch(
            DEPLOYMENTS, "web", {"metadata": {"labels": {"x": "y"}}}, namespace="default"
        )
        status = {"status": {"replicas": 2}, "spec": {"replicas": 9}}
        reported = await client.patch(DEPLOYMENTS, "web", status, namespace="default", subresource="status")
        scaled = await client.patch(
            DEPLOYMENTS, "web", {"spec": {"replicas": 3}, "status": {"replicas": 7}}, namespace="default"
        )
    assert [o["metadata"]["generation"] for o in (made, labeled, reported, scaled)] == [1, 1, 1, 2]
    assert reported["spec"]["replicas"] == 2
    assert scaled["status"]["replicas"] == 2


async def test_a_collection_is_deleted_as_far_as_it_is_selected(both: World) -> None:
    """By label; the answer lists what was deleted. A selector that makes no sense deletes nothing."""
    path = "/api/v1/namespaces/default/configmaps"
    async with both.client() as client:
        for name, color in (("a", "red"), ("b", "blue"), ("c", "red")):
            obj = config_map(name)
            obj["metadata"]["labels"] = {"color": color}
            await client.create(CONFIGMAPS, obj)
        for params in ({"fieldSelector": "spec.nodeName!=x"}, {"labelSelector": "color in red"}):
            status, _, body = await raw(client, "DELETE", path, params=params)
            assert (status, orjson.loads(body)["reason"]) == (400, "BadRequest")
        listed = await client.list(CONFIGMAPS, namespace="default", label_selector="color")
        assert len(listed.items) == 3
        status, _, body = await raw(client, "DELETE", path, params={"labelSelector": "color=red"})
        answer = orjson.loads(body)
        assert (status, answer["kind"]) == (200, "ConfigMapList")
        assert {item["metadata"]["name"] for item in answer["items"]} == {"a", "c"}
        left = await client.list(CONFIGMAPS, namespace="default", label_selector="color")
    assert [item["metadata"]["name"] for item in left.items] == ["b"]


async def test_dry_run_changes_nothing(both: World) -> None:
    """A dry run answers as if, and stores nothing."""
    async with both.client() as client:
        await client.create(CONFIGMAPS, config_map("dry"), dry_run=True)
        with pytest.raises(NotFoundError):
            await client.get(CONFIGMAPS, "dry", namespace="default")


async def test_a_namespace_must_exist_and_not_be_terminating(both: World) -> None:
    """Objects go only into namespaces that are there to stay."""
    async with both.client() as client:
        with pytest.raises(NotFoundError, match='namespaces "shop" not found'):
            await client.create(CONFIGMAPS, config_map("a", namespace="shop"))
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
        await client.create(NAMESPACES, space)
        held = config_map("held", namespace="shop")
        held["metadata"]["finalizers"] = ["example.com/hold"]
        await client.create(CONFIGMAPS, held)
        await client.delete(NAMESPACES, "shop")
        with pytest.raises(PermissionDeniedError, match="being terminated"):
            await client.create(CONFIGMAPS, config_map("b", namespace="shop"))
        await until(lambda: _deleting(client, "held", "shop"), what="the contents are deleted")
        release = {"metadata": {"finalizers": None}}
        await client.patch(CONFIGMAPS, "held", release, namespace="shop")
        await until(lambda: _gone(client.get(NAMESPACES, "shop")), what="the namespace goes")


async def _deleting(client: object, name: str, namespace: str) -> bool:
    from tests.support.object_client import ObjectClient

    assert isinstance(client, ObjectClient)
    obj = await client.get(CONFIGMAPS, name, namespace=namespace)
    return "deletionTimestamp" in obj["metadata"]


async def _gone(get: object) -> bool:
    try:
        await get  # type: ignore[misc]
    except NotFoundError:
        return True
    return False


async def test_finalizers_hold_an_object_until_they_are_gone(both: World) -> None:
    """Delete marks; the last finalizer's removal deletes; new finalizers are refused meanwhile."""
    body = config_map("a")
    body["metadata"]["finalizers"] = ["example.com/x"]
    async with both.client() as client:
        await client.create(CONFIGMAPS, body)
        waiting = await client.delete(CONFIGMAPS, "a", namespace="default")
        assert waiting["metadata"]["deletionTimestamp"]
        more = {"metadata": {"finalizers": ["example.com/x", "example.com/y"]}}
        with pytest.raises(InvalidArgumentError, match="no new finalizers"):
            await client.patch(CONFIGMAPS, "a", more, namespace="default")
        await client.patch(CONFIGMAPS, "a", {"metadata": {"finalizers": []}}, namespace="default")
        with pytest.raises(NotFoundError):
            await client.get(CONFIGMAPS, "a", namespace="default")


async def test_delete_preconditions_protect_another_object(both: World) -> None:
    """A delete for another uid deletes nothing."""
    async with both.client() as client:
        await client.create(CONFIGMAPS, config_map("a"))
        with pytest.raises(ConflictError, match="UID"):
            await client.delete(CONFIGMAPS, "a", namespace="default", uid="other")
        assert await client.get(CONFIGMAPS, "a", namespace="default")


async def test_server_side_apply_creates_merges_and_reports_conflicts(both: World) -> None:
    """Apply creates, gives up what it no longer names, and names who owns what it would change."""
    async with both.client() as client:
        await client.apply(CONFIGMAPS, config_map("a", x="1", y="1"), field_manager="one")
        merged = await client.apply(CONFIGMAPS, config_map("a", x="1", z="1"), field_manager="one")
        assert merged["data"] == {"x": "1", "z": "1"}
        with pytest.raises(ConflictError, match='conflict with "one"') as caught:
            await client.apply(CONFIGMAPS, config_map("a", x="2"), field_manager="two")
        assert caught.value.causes[0].field == ".data.x"  # type: ignore[attr-defined]
        forced = await client.apply(CONFIGMAPS, config_map("a", x="2"), field_manager="two", force=True)
        assert forced["data"] == {"x": "2", "z": "1"}
        again = await client.apply(CONFIGMAPS, config_map("a", x="2"), field_manager="two")
        assert again["metadata"]["resourceVersion"] == forced["metadata"]["resourceVersion"]


async def test_unknown_fields_are_refused_or_dropped_with_a_warning(world: World) -> None:
    """fieldValidation=Strict refuses; by default the field is dropped and the answer warns."""
    body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"dat":{"x":"1"}}'
    path = "/api/v1/namespaces/default/configmaps"
    headers = {"Content-Type": "application/json"}
    async with world.client() as client:
        strict = {"fieldValidation": "Strict"}
        status, _, said = await raw(client, "POST", path, params=strict, body=body, headers=headers)
        assert status == 400
        assert b'unknown field \\"dat\\"' in said
        status, answered, _ = await raw(client, "POST", path, body=body, headers=headers)
        assert status == 201
        assert answered["warning"] == '299 - "unknown field \\"dat\\""'
        assert "dat" not in await client.get(CONFIGMAPS, "a", namespace="default")


async def test_invalid_objects_are_refused_with_causes(world: World) -> None:
    """422 names every field that is wrong."""
    body = deployment()
    body["spec"]["template"]["metadata"]["labels"] = {"other": "x"}
    async with world.client() as client:
        with pytest.raises(InvalidArgumentError, match="is invalid") as caught:
            await client.create(DEPLOYMENTS, body)
    assert caught.value.metadata["code"] == "422"
    assert caught.value.causes  # type: ignore[attr-defined]


async def test_an_applied_null_takes_the_value_away(world: World) -> None:
    """Applying null removes a field, of another manager too, and owns its path; among texts it is ""."""
    null = deployment(replicas=0)
    null["spec"]["replicas"] = None
    async with world.client() as client:
        await client.apply(DEPLOYMENTS, deployment(replicas=2), field_manager="one")
        taken = await client.apply(DEPLOYMENTS, null, field_manager="two")
        assert taken["spec"]["replicas"] == 1
        owned = {e["manager"]: e["fieldsV1"]["f:spec"] for e in taken["metadata"]["managedFields"]}
        assert ("f:replicas" in owned["two"], "f:replicas" in owned["one"]) == (True, False)
        text = config_map("a")
        text["data"] = {"x": None}
        assert (await client.apply(CONFIGMAPS, text, field_manager="one"))["data"] == {"x": ""}
