"""How federated objects end: the handshake with the members, orphans, namespaces, owners."""

from __future__ import annotations

import orjson
import pytest

from hanse.api.federation.v1 import federation_service_pb2 as rpc
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.federation.deletion.tombstones import decode_tombstone
from hanse.store import keys
from hanse.store.keys import TOMBSTONES, ObjectKey
from tests.apiserver.world import WEB, World, config_map, deployment, namespace, rolled_out
from tests.support.waiting import until

DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
CONFIG_MAPS = "/api/v1/namespaces/shop/configmaps"
WEB_PATH = f"{DEPLOYMENTS}/web"


@pytest.fixture(autouse=True)
async def members(world: World) -> None:
    """The clusters that the tests place objects in."""
    await world.clusters("eu", "us")


async def gone(world: World, path: str) -> None:
    """Wait until an object is gone."""

    async def is_gone() -> bool:
        return (await world.call("GET", path)).status == 404

    await until(is_gone, what=f"{path} is gone")


async def settled(world: World) -> None:
    """Wait until everything that was written has been looked at."""
    await world.apiserver.engine.cache.fresh()

    async def idle() -> bool:
        return world.apiserver.finalizing.idle and world.apiserver.collecting.idle

    await until(idle, what="everything was looked at")


async def still_there(world: World, path: str) -> None:
    """Everything was looked at, and the object that is being deleted is still there."""
    await settled(world)
    answer = await world.call("GET", path)
    assert answer.status == 200, answer
    assert answer.body["metadata"].get("deletionTimestamp")


async def left(world: World, key: ObjectKey) -> list[str]:
    """Everything was looked at; return the clusters of a name's tombstone, none if there is none."""
    await settled(world)
    kv = await world.store.get(key.key(TOMBSTONES))
    return [copy.cluster for copy in decode_tombstone(kv).copies] if kv is not None else []


async def nothing_left(world: World, key: ObjectKey) -> None:
    """Wait until the tombstone is gone."""

    async def is_gone() -> bool:
        return await world.store.get(key.key(TOMBSTONES)) is None

    await until(is_gone, what=f"the tombstone of {key} is gone")


async def deleted(world: World, path: str, **params: str) -> None:
    """Delete an object; it is gone when that is answered."""
    answer = await world.call("DELETE", path, params=params)
    assert answer.status == 200, answer
    assert answer.body["kind"] == "Status", answer
    assert (await world.call("GET", path)).status == 404


async def test_an_object_is_gone_at_once_and_its_tombstone_when_every_member_has_confirmed(
    world: World,
) -> None:
    """Neither the first confirmation of two nor a restart in between is enough for the tombstone."""
    await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 2, "us": 2})
    await world.report(WEB, "eu")
    await world.report(WEB, "us")
    await deleted(world, WEB_PATH)
    assert await left(world, WEB) == ["eu", "us"]
    await world.removed(WEB, "eu")
    assert await left(world, WEB) == ["eu", "us"]
    async with World(world.store) as other:
        assert await left(other, WEB) == ["eu", "us"]
        await world.removed(WEB, "us")
        await nothing_left(other, WEB)


async def test_watchers_see_one_deleted(world: World) -> None:
    """Nothing comes between the last change of an object and its end."""
    created = await world.create(CONFIG_MAPS, config_map("c"))
    key = ObjectKey("", "configmaps", "shop", "c")
    await world.place(key, {"eu": None})
    await world.report(key, "eu")
    since = created["metadata"]["resourceVersion"]
    await deleted(world, f"{CONFIG_MAPS}/c")
    await world.removed(key, "eu")
    await nothing_left(world, key)
    await world.create(CONFIG_MAPS, config_map("d"))
    seen: list[tuple[str, str]] = []
    async for change, obj in world.watch(CONFIG_MAPS, resource_version=since):
        assert "deletionTimestamp" not in obj["metadata"]
        seen.append((change, obj["metadata"]["name"]))
        if seen[-1][1] == "d":
            break
    assert seen == [("DELETED", "c"), ("ADDED", "d")]


async def test_what_is_left_is_served(world: World) -> None:
    """`kubectl get tombstones` has the clusters, and what each waits for."""
    await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 2, "us": 2})
    await world.report(WEB, "eu")
    await deleted(world, WEB_PATH)
    await world.removed(WEB, "eu")
    await settled(world)
    path = "/apis/hanse.dev/v1alpha1/namespaces/shop/tombstones"
    (found,) = (await world.get(path))["items"]
    assert found["metadata"]["name"] == "deployments.apps.web"
    assert {copy["cluster"]: copy["message"] for copy in found["copies"]} == {
        "eu": "nothing is left there",
        "us": "the syncer has not looked yet",
    }
    assert (await world.call("DELETE", f"{path}/deployments.apps.web")).status == 405


async def test_a_successor_is_itself_while_members_still_have_its_predecessor(world: World) -> None:
    """It can be made at once, has nothing of the other's status, and confirms the tombstone where it is."""
    first = await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 2, "us": 2})
    for name in ("eu", "us"):
        await world.report(WEB, name, status=rolled_out(2), replicas=2, uid=first["metadata"]["uid"])
    await deleted(world, WEB_PATH)
    created = await world.create(DEPLOYMENTS, deployment())
    found = await world.get(WEB_PATH)
    assert found["metadata"]["uid"] == created["metadata"]["uid"]
    assert "status" not in found or "readyReplicas" not in found["status"]
    await world.removed(WEB, "eu")
    assert await left(world, WEB) == ["eu", "us"]
    await world.place(WEB, {"eu": 2, "us": 2})
    await world.report(WEB, "eu", uid=created["metadata"]["uid"])  # applied: only after the other was gone
    assert await left(world, WEB) == ["eu", "us"]
    await world.removed(WEB, "us")
    await nothing_left(world, WEB)


async def test_deleting_again_adds_to_what_is_left(world: World) -> None:
    """One name has one tombstone: the copies of both objects, each by its uid."""
    first = await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 2})
    await world.report(WEB, "eu", uid=first["metadata"]["uid"])
    await deleted(world, WEB_PATH)
    second = await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"us": 2})
    await world.report(WEB, "us", uid=second["metadata"]["uid"])
    await deleted(world, WEB_PATH)
    kv = await world.store.get(WEB.key(TOMBSTONES))
    assert kv is not None
    found = decode_tombstone(kv)
    assert [(copy.cluster, copy.uid) for copy in found.copies] == [
        ("eu", first["metadata"]["uid"]),
        ("us", second["metadata"]["uid"]),
    ]
    assert found.object.uid == second["metadata"]["uid"]


async def test_a_cluster_that_leaves_takes_its_copies_along(world: World) -> None:
    """A cluster that was forgotten is waited for no more, and then the tombstone goes."""
    await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 2})
    await world.report(WEB, "eu")
    await deleted(world, WEB_PATH)
    assert await left(world, WEB) == ["eu"]
    await world.store.delete(keys.cluster("eu"))
    await nothing_left(world, WEB)


async def test_a_cluster_that_is_being_left_must_confirm_too(world: World) -> None:
    """Releasing clusters still have the object."""
    await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 2}, releasing=["us"])
    await deleted(world, WEB_PATH)
    assert await left(world, WEB) == ["eu", "us"]


async def test_a_member_that_nobody_placed_must_confirm_too(world: World) -> None:
    """A sync state without a placement is something in a member: unknown is not empty."""
    await world.create(DEPLOYMENTS, deployment())
    await world.report(WEB, "eu")
    await deleted(world, WEB_PATH)
    assert await left(world, WEB) == ["eu"]
    await world.removed(WEB, "eu")
    await nothing_left(world, WEB)


async def test_a_confirmation_of_an_earlier_object_does_not_count(world: World) -> None:
    """What was confirmed of an object of the same name says nothing of this one."""
    created = await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 2})
    await world.report(WEB, "eu", phase=sync.REMOVED, uid="of-the-one-before")
    await deleted(world, WEB_PATH)
    assert await left(world, WEB) == ["eu"]
    await world.report(WEB, "eu", phase=sync.REMOVED, uid=created["metadata"]["uid"])
    await nothing_left(world, WEB)


async def test_a_confirmation_from_before_a_cluster_was_placed_again_does_not_count(world: World) -> None:
    """What was confirmed before the object was placed there once more says nothing of what came then."""
    await world.create(DEPLOYMENTS, deployment())
    first = await world.place(WEB, {}, releasing=["eu"])
    await world.report(WEB, "eu", phase=sync.REMOVED, acted_on=first)
    await world.place(WEB, {"eu": 2}, after=first)
    await deleted(world, WEB_PATH)
    assert await left(world, WEB) == ["eu"]


async def test_what_is_deleted_in_the_foreground_waits_for_the_members(world: World) -> None:
    """What members made of it are its dependents."""
    await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 2})
    await world.report(WEB, "eu")
    answer = await world.call("DELETE", WEB_PATH, params={"propagationPolicy": "Foreground"})
    assert answer.status == 200, answer
    await still_there(world, WEB_PATH)
    await world.removed(WEB, "eu")
    await gone(world, WEB_PATH)
    assert await left(world, WEB) == []


async def test_what_an_older_apiserver_left_being_deleted_leaves_with_a_tombstone(world: World) -> None:
    """It is found with no finalizer but hanse.dev/sync, at the start and at any other time."""
    created = await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 2})
    await world.report(WEB, "eu")
    kv = await world.store.get(WEB.key())
    assert kv is not None
    stored = orjson.loads(kv.value)
    stored["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    await world.store.put(WEB.key(), orjson.dumps(stored))
    await gone(world, WEB_PATH)
    assert await left(world, WEB) == ["eu"]
    await world.report(WEB, "eu", phase=sync.REMOVED, uid=created["metadata"]["uid"])
    await nothing_left(world, WEB)


async def test_an_object_that_was_never_placed_is_gone_at_once(world: World) -> None:
    """Without a placement no member has to say anything."""
    await world.create(CONFIG_MAPS, config_map("c"))
    answer = await world.call("DELETE", f"{CONFIG_MAPS}/c")
    assert answer.status == 200, answer
    await gone(world, f"{CONFIG_MAPS}/c")


async def test_the_finalizer_cannot_be_taken_off(world: World) -> None:
    """An update, a patch or an apply that leaves it out keeps it, also while deleting."""
    created = await world.create(DEPLOYMENTS, deployment())
    del created["metadata"]["finalizers"]
    answer = await world.call("PUT", WEB_PATH, created)
    assert answer.body["metadata"]["finalizers"] == ["hanse.dev/sync"]
    await world.place(WEB, {"eu": 2})
    await world.call("DELETE", WEB_PATH, params={"propagationPolicy": "Foreground"})
    patch = {"metadata": {"finalizers": None}}
    answer = await world.call("PATCH", WEB_PATH, patch, content_type="application/merge-patch+json")
    assert answer.status == 200, answer
    assert set(answer.body["metadata"]["finalizers"]) == {"hanse.dev/sync", "foregroundDeletion"}
    answer = await world.call(
        "PATCH",
        WEB_PATH,
        {**deployment(), "metadata": {**deployment()["metadata"], "finalizers": ["example.org/mine"]}},
        content_type="application/apply-patch+yaml",
        params={"fieldManager": "me", "force": "true"},
    )
    assert answer.status == 422, answer  # no finalizer can be added to what is being deleted


async def test_other_finalizers_are_waited_for(world: World) -> None:
    """A user's finalizer keeps the object; it leaves, with a tombstone, in the write that takes it off."""
    obj = config_map("c")
    obj["metadata"]["finalizers"] = ["example.org/mine"]
    await world.create(CONFIG_MAPS, obj)
    key = ObjectKey("", "configmaps", "shop", "c")
    await world.place(key, {"eu": None})
    await world.report(key, "eu")
    await world.call("DELETE", f"{CONFIG_MAPS}/c")
    await still_there(world, f"{CONFIG_MAPS}/c")
    patch = {"metadata": {"finalizers": None}}
    await world.call("PATCH", f"{CONFIG_MAPS}/c", patch, content_type="application/merge-patch+json")
    assert (await world.call("GET", f"{CONFIG_MAPS}/c")).status == 404
    assert await left(world, key) == ["eu"]


@pytest.mark.parametrize("mine", [[], ["example.org/mine"]])
async def test_orphan_is_remembered_by_the_tombstone(world: World, mine: list[str]) -> None:
    """The members' copies are to stay, also if the finalizer of a user kept the object meanwhile."""
    obj = deployment()
    obj["metadata"] |= {"finalizers": mine, "labels": {"app.kubernetes.io/managed-by": "helm"}}
    await world.create(DEPLOYMENTS, obj)
    await world.place(WEB, {"eu": 2})
    await world.report(WEB, "eu")
    await world.call("DELETE", WEB_PATH, params={"propagationPolicy": "Orphan"})
    if mine:
        await still_there(world, WEB_PATH)
        entry = world.apiserver.engine.cache.get(WEB)
        assert entry is not None
        assert "orphan" in entry.object["metadata"]["finalizers"]
        body = [{"op": "remove", "path": "/metadata/finalizers/0"}]
        await world.call("PATCH", WEB_PATH, body, content_type="application/json-patch+json")
    await gone(world, WEB_PATH)
    kv = await world.store.get(WEB.key(TOMBSTONES))
    assert kv is not None
    (copy,) = decode_tombstone(kv).copies
    assert (copy.cluster, copy.orphan, copy.managed_by) == ("eu", True, "helm")


async def test_a_namespace_waits_for_all_that_was_in_it(world: World) -> None:
    """Its contents leave at once; it stays until the members have nothing of them any more, and then until
    they have confirmed the namespace itself."""
    shop = ObjectKey("", "namespaces", "", "shop")
    await world.create(DEPLOYMENTS, deployment())
    await world.create(CONFIG_MAPS, config_map("c"))
    await world.place(WEB, {"eu": 2})
    await world.place(shop, {"eu": None})
    answer = await world.call("DELETE", "/api/v1/namespaces/shop")
    assert answer.status == 200, answer
    assert answer.body["status"]["phase"] == "Terminating"
    await gone(world, f"{CONFIG_MAPS}/c")
    await gone(world, WEB_PATH)
    assert await left(world, WEB) == ["eu"]
    await still_there(world, "/api/v1/namespaces/shop")
    answer = await world.call("POST", CONFIG_MAPS, config_map("late"))
    assert answer.status == 403, answer
    await world.removed(shop, "eu")
    await still_there(world, "/api/v1/namespaces/shop")
    await world.removed(WEB, "eu")
    await nothing_left(world, WEB)
    await gone(world, "/api/v1/namespaces/shop")


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
async def test_permanent_namespaces_exist_and_cannot_be_deleted(world: World, name: str) -> None:
    """They are there from the start, go nowhere, and stay."""
    found = await world.get(f"/api/v1/namespaces/{name}")
    assert "finalizers" not in found["metadata"]
    answer = await world.call("DELETE", f"/api/v1/namespaces/{name}")
    assert answer.status == 403, answer


async def test_dependents_go_with_their_owner(world: World) -> None:
    """Owner references are collected in the federation too."""
    owner = await world.create(CONFIG_MAPS, config_map("owner"))
    child = config_map("child")
    child["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    ]
    await world.create(CONFIG_MAPS, child)
    await world.call("DELETE", f"{CONFIG_MAPS}/owner")
    await gone(world, f"{CONFIG_MAPS}/child")


async def test_what_never_goes_to_members_has_no_finalizer(world: World) -> None:
    """A Lease speaks of the federation alone, and is deleted at once."""
    leases = "/apis/coordination.k8s.io/v1/namespaces/shop/leases"
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {}}
    created = await world.create(leases, lease)
    assert "finalizers" not in created["metadata"]
    answer = await world.call("DELETE", f"{leases}/l")
    assert answer.status == 200, answer
    assert (await world.call("GET", f"{leases}/l")).status == 404


async def test_what_a_policy_sent_to_members_leaves_a_tombstone(world: World) -> None:
    """A Role goes nowhere by itself, but a policy may have placed it: then something is left; else not."""
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "r", "namespace": "shop"},
        "rules": [],
    }
    roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles"
    await world.create(roles, role)
    key = ObjectKey("rbac.authorization.k8s.io", "roles", "shop", "r")
    await world.place(key, {"eu": None})
    await deleted(world, f"{roles}/r")
    assert await left(world, key) == ["eu"]
    await world.removed(key, "eu")
    await nothing_left(world, key)
    await world.create(roles, {**role, "metadata": {"name": "s", "namespace": "shop"}})
    await world.call("DELETE", f"{roles}/s")
    await gone(world, f"{roles}/s")


async def test_only_the_registry_lets_a_cluster_go(world: World) -> None:
    """A Cluster stays until the registry takes its finalizer off; an administrator cannot."""
    path = "/apis/hanse.dev/v1alpha1/clusters"
    cluster = {"apiVersion": "hanse.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "eu"}, "spec": {}}
    await world.create(path, cluster)
    await world.call("DELETE", f"{path}/eu")
    patch = {"metadata": {"finalizers": None}}
    answer = await world.call("PATCH", f"{path}/eu", patch, content_type="application/merge-patch+json")
    assert answer.body["metadata"]["finalizers"] == ["hanse.dev/unjoin"]

    stub = world.rpc("hanse:service:registry", "hanse:services")
    await stub.PatchObject(
        rpc.PatchObjectRequest(
            name="objects/hanse.dev/clusters/_/eu",
            patch=b'{"metadata":{"finalizers":null}}',
            type=rpc.MERGE_PATCH,
        )
    )
    await gone(world, f"{path}/eu")


async def test_many_objects_are_let_go_of_in_few_transactions(world: World) -> None:
    """Confirmations that come together are finished together."""
    await world.create("/api/v1/namespaces", namespace("bulk"))
    path = "/api/v1/namespaces/bulk/configmaps"
    for i in range(200):
        await world.create(path, config_map(f"c{i}", namespace="bulk"))
    before = await world.store.revision()
    answer = await world.call("DELETE", path)
    assert answer.status == 200, answer

    async def empty() -> bool:
        return not (await world.get(path))["items"]

    await until(empty, what="the ConfigMaps are gone")
    assert await world.store.revision() - before < 200 + 100
