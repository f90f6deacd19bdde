"""How federated objects end: the handshake with the members, orphans, namespaces, owners."""

from __future__ import annotations

import pytest

from hanse.api.federation.v1 import federation_service_pb2 as rpc
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.store.keys import ObjectKey
from tests.apiserver.world import WEB, World, config_map, deployment, namespace
from tests.support.waiting import until

DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
CONFIG_MAPS = "/api/v1/namespaces/shop/configmaps"
WEB_PATH = f"{DEPLOYMENTS}/web"


async def gone(world: World, path: str) -> None:
    """Wait until an object is gone."""

    async def is_gone() -> bool:
        return (await world.call("GET", path)).status == 404

    await until(is_gone, what=f"{path} is gone")


async def still_there(world: World, path: str) -> None:
    """The finalizer has looked at everything, and the object is still there."""
    await world.apiserver.engine.cache.fresh()

    async def idle() -> bool:
        return world.apiserver.finalizing.idle

    await until(idle, what="the finalizer has looked at everything")
    answer = await world.call("GET", path)
    assert answer.status == 200, answer
    assert answer.body["metadata"].get("deletionTimestamp")


async def test_an_object_is_gone_when_every_member_has_confirmed(world: World) -> None:
    """Neither the first confirmation of two nor a restart in between is enough."""
    await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 2, "us": 2})
    await world.report(WEB, "eu")
    await world.report(WEB, "us")
    answer = await world.call("DELETE", WEB_PATH)
    assert answer.status == 200, answer
    await still_there(world, WEB_PATH)
    await world.removed(WEB, "eu")
    await still_there(world, WEB_PATH)
    async with World(world.store) as other:
        await still_there(other, WEB_PATH)
        await world.removed(WEB, "us")
        await gone(other, WEB_PATH)
    await gone(world, WEB_PATH)


async def test_a_cluster_that_is_being_left_must_confirm_too(world: World) -> None:
    """Releasing clusters still have the object."""
    await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 2}, releasing=["us"])
    await world.call("DELETE", WEB_PATH)
    await world.removed(WEB, "eu")
    await still_there(world, WEB_PATH)
    await world.removed(WEB, "us")
    await gone(world, WEB_PATH)


async def test_a_member_that_nobody_placed_must_confirm_too(world: World) -> None:
    """A sync state without a placement is something in a member: unknown is not empty."""
    await world.create(DEPLOYMENTS, deployment())
    await world.report(WEB, "eu")
    await world.call("DELETE", WEB_PATH)
    await still_there(world, WEB_PATH)
    await world.removed(WEB, "eu")
    await gone(world, WEB_PATH)


async def test_a_confirmation_of_an_earlier_object_does_not_count(world: World) -> None:
    """What was confirmed of an object of the same name says nothing of this one."""
    created = await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 2})
    await world.report(WEB, "eu", phase=sync.REMOVED, uid="of-the-one-before")
    await world.call("DELETE", WEB_PATH)
    await still_there(world, WEB_PATH)
    await world.report(WEB, "eu", phase=sync.REMOVED, uid=created["metadata"]["uid"])
    await gone(world, WEB_PATH)


async def test_a_confirmation_from_before_a_cluster_was_placed_again_does_not_count(world: World) -> None:
    """What was confirmed before the object was placed there once more says nothing of what came then."""
    await world.create(DEPLOYMENTS, deployment())
    first = await world.place(WEB, {}, releasing=["eu"])
    await world.report(WEB, "eu", phase=sync.REMOVED, acted_on=first)
    second = await world.place(WEB, {"eu": 2}, after=first)
    await world.call("DELETE", WEB_PATH)
    await still_there(world, WEB_PATH)
    await world.report(WEB, "eu", phase=sync.REMOVED, acted_on=second)
    await gone(world, WEB_PATH)


async def test_an_object_that_was_never_placed_is_gone_at_once(world: World) -> None:
    """Without a placement no member has to say anything."""
    await world.create(CONFIG_MAPS, config_map("c"))
    answer = await world.call("DELETE", f"{CONFIG_MAPS}/c")
    assert answer.status == 200, answer
    await gone(world, f"{CONFIG_MAPS}/c")


async def test_a_deletion_from_before_a_start_is_finished(world: World) -> None:
    """What was asked for before a crash is done after it."""
    await world.create(DEPLOYMENTS, deployment())
    placed = await world.place(WEB, {"eu": 2})
    await world.call("DELETE", WEB_PATH)
    await world.apiserver.__aexit__(None, None, None)
    state = sync.SyncState(cluster="eu", phase=sync.REMOVED, placement_revision=placed)
    await world.store.put(WEB.sync_state("eu"), state.SerializeToString())
    async with World(world.store) as other:
        await gone(other, WEB_PATH)


async def test_the_finalizer_cannot_be_taken_off(world: World) -> None:
    """An update, a patch or an apply that leaves it out keeps it, also while deleting."""
    created = await world.create(DEPLOYMENTS, deployment())
    del created["metadata"]["finalizers"]
    answer = await world.call("PUT", WEB_PATH, created)
    assert answer.body["metadata"]["finalizers"] == ["hanse.dev/sync"]
    await world.place(WEB, {"eu": 2})
    await world.call("DELETE", WEB_PATH)
    patch = {"metadata": {"finalizers": None}}
    answer = await world.call("PATCH", WEB_PATH, patch, content_type="application/merge-patch+json")
    assert answer.status == 200, answer
    assert answer.body["metadata"]["finalizers"] == ["hanse.dev/sync"]
    answer = await world.call(
        "PATCH",
        WEB_PATH,
        {**deployment(), "metadata": {**deployment()["metadata"], "finalizers": ["example.org/mine"]}},
        content_type="application/apply-patch+yaml",
        params={"fieldManager": "me", "force": "true"},
    )
    assert answer.status == 422, answer  # no finalizer can be added to what is being deleted


async def test_other_finalizers_are_waited_for(world: World) -> None:
    """The members' confirmation takes off only its own finalizer."""
    obj = config_map("c")
    obj["metadata"]["finalizers"] = ["example.org/mine"]
    await world.create(CONFIG_MAPS, obj)
    await world.call("DELETE", f"{CONFIG_MAPS}/c")

    async def released() -> bool:
        body = (await world.call("GET", f"{CONFIG_MAPS}/c")).body
        return bool(body["metadata"]["finalizers"] == ["example.org/mine"])

    await until(released, what="only the user's finalizer is left")
    patch = {"metadata": {"finalizers": None}}
    await world.call("PATCH", f"{CONFIG_MAPS}/c", patch, content_type="application/merge-patch+json")
    await gone(world, f"{CONFIG_MAPS}/c")


async def test_orphan_can_be_seen_by_the_members_until_they_confirm(world: World) -> None:
    """The finalizer `orphan` stays until the syncer has taken the marks off, and then goes."""
    await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 2})
    await world.report(WEB, "eu")
    await world.call("DELETE", WEB_PATH, params={"propagationPolicy": "Orphan"})
    await still_there(world, WEB_PATH)
    entry = world.apiserver.engine.cache.get(WEB)
    assert entry is not None
    assert set(entry.object["metadata"]["finalizers"]) == {"orphan", "hanse.dev/sync"}
    await world.removed(WEB, "eu")
    await gone(world, WEB_PATH)


async def test_a_namespace_goes_with_all_that_is_in_it(world: World) -> None:
    """Its contents go through the same handshake, then the namespace itself does."""
    shop = ObjectKey("", "namespaces", "", "shop")
    await world.create(DEPLOYMENTS, deployment())
    await world.create(CONFIG_MAPS, config_map("c"))
    await world.place(WEB, {"eu": 2})
    await world.place(shop, {"eu": None})
    answer = await world.call("DELETE", "/api/v1/namespaces/shop")
    assert answer.status == 200, answer
    assert answer.body["status"]["phase"] == "Terminating"
    await gone(world, f"{CONFIG_MAPS}/c")
    await still_there(world, WEB_PATH)
    answer = await world.call("POST", CONFIG_MAPS, config_map("late"))
    assert answer.status == 403, answer
    await world.removed(WEB, "eu")
    await gone(world, WEB_PATH)
    await still_there(world, "/api/v1/namespaces/shop")
    await world.removed(shop, "eu")
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


async def test_what_a_policy_sent_to_members_leaves_them_before_it_is_gone(world: World) -> None:
    """A Role goes nowhere by itself, but a policy may have placed it: then members must confirm; else not."""
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
    await world.call("DELETE", f"{roles}/r")
    await still_there(world, f"{roles}/r")
    await world.removed(key, "eu")
    await gone(world, f"{roles}/r")
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
