"""What a user of kubectl sees of the federation."""

from __future__ import annotations

import asyncio
import json

import pytest

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.store.keys import TOMBSTONES, ObjectKey
from tests.apiserver.world import WEB, World, config_map, deployment, rolled_out
from tests.support.waiting import until

pytestmark = pytest.mark.kubectl
CONFIG = ObjectKey("", "configmaps", "shop", "c")


async def applied(world: World) -> None:
    """A Deployment applied with kubectl and placed in two clusters."""
    ran = await world.kubectl("apply", "-f", "-", stdin=json.dumps(deployment()))
    assert "deployment.apps/web created" in ran.out
    await world.place(WEB, {"eu": 3, "us": 1})


async def test_rollout_status_ends_when_the_last_cluster_is_done(world: World) -> None:
    """`kubectl rollout status` waits for every placed cluster, and not longer."""
    await applied(world)
    await world.report(WEB, "eu", status=rolled_out(3), replicas=3)
    watching = asyncio.create_task(
        world.kubectl("rollout", "status", "deploy/web", "-n", "shop", "--timeout=50s")
    )
    await asyncio.sleep(1)
    assert not watching.done()
    await world.report(WEB, "us", status=rolled_out(1), replicas=1)
    ran = await watching
    assert "successfully rolled out" in ran.out


async def test_wait_for_available(world: World) -> None:
    """`kubectl wait --for=condition=Available` ends when it holds everywhere."""
    await applied(world)
    await world.report(WEB, "eu", status=rolled_out(3), replicas=3)
    arguments = ("wait", "--for=condition=Available", "deploy/web", "-n", "shop")
    ran = await world.kubectl(*arguments, "--timeout=1s", check=False)
    assert ran.code != 0
    await world.report(WEB, "us", status=rolled_out(1), replicas=1)
    await world.kubectl(*arguments, "--timeout=50s")


async def test_get_shows_the_sums(world: World) -> None:
    """`kubectl get deployments` counts the pods of all clusters."""
    await applied(world)
    await world.report(WEB, "eu", status=rolled_out(3), replicas=3)
    await world.report(WEB, "us", status=rolled_out(1), replicas=1)
    ran = await world.kubectl("get", "deployments", "-n", "shop", "--no-headers")
    assert ran.out.split()[:4] == ["web", "4/4", "4", "4"]


async def test_describe_shows_first_who_refused_it(world: World) -> None:
    """The first line of the conditions of a Deployment that one of its clusters refused."""
    await applied(world)
    await world.report(WEB, "eu", status=rolled_out(3), replicas=3)
    await world.synced(WEB, "us", phase=sync.FAILED, reason="Forbidden", message="no team")
    shown = (await world.kubectl("describe", "deploy/web", "-n", "shop")).out.splitlines()
    heading = shown.index("Conditions:")
    assert shown[heading + 3].split() == ["Delivered", "False", "Forbidden"]


async def test_a_second_apply_changes_nothing(world: World) -> None:
    """Applying the same file again is unchanged, also after status came in."""
    await applied(world)
    await world.report(WEB, "eu", status=rolled_out(3), replicas=3)
    ran = await world.kubectl("apply", "-f", "-", stdin=json.dumps(deployment()))
    assert "unchanged" in ran.out
    ran = await world.kubectl("diff", "-f", "-", stdin=json.dumps(deployment()), check=False)
    assert ran.code == 0, ran


async def test_what_is_read_can_be_replaced(world: World) -> None:
    """`kubectl get -o json | kubectl replace -f -` works with its strict validation."""
    await applied(world)
    await world.report(WEB, "eu", status=rolled_out(3), replicas=3)
    shown = await world.kubectl("get", "deploy", "web", "-n", "shop", "-o", "json")
    await world.kubectl("replace", "-f", "-", stdin=shown.out)
    ran = await world.kubectl("scale", "deploy/web", "-n", "shop", "--replicas=8")
    assert "scaled" in ran.out


async def test_clusters(world: World) -> None:
    """`kubectl get clusters` shows whether they are ready, where they are and what they run."""
    cluster = {
        "apiVersion": "federation/v1beta1",
        "kind": "Cluster",
        "metadata": {"name": "eu-west"},
        "spec": {
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "https://10.0.0.1"}]
        },
    }
    await world.kubectl("create", "-f", "-", stdin=json.dumps(cluster))
    await world.cluster("eu-west")
    ran = await world.kubectl("get", "clusters")
    header, row = ran.out.splitlines()
    assert header.split()[:6] == ["NAME", "READY", "STATE", "CORDONED", "TAINTS", "REGION"]
    assert row.split()[:4] == ["eu-west", "True", "Ready", "eu-west"]
    assert "v1.34.1" in row
    ran = await world.kubectl("describe", "cluster", "eu-west")
    assert "answers" in ran.out


async def test_placements_and_sync_states(world: World) -> None:
    """`kubectl get placements` and `syncstates` say where things are, and cannot be changed."""
    await applied(world)
    await world.report(WEB, "eu", status=rolled_out(3))
    ran = await world.kubectl("get", "placements", "-n", "shop")
    assert "deployments.apps.web" in ran.out
    assert "eu" in ran.out
    ran = await world.kubectl("get", "syncstates", "-n", "shop", "--no-headers")
    assert "Applied" in ran.out
    ran = await world.kubectl("get", "placement", "deployments.apps.web", "-n", "shop", "-o", "yaml")
    assert "replicas: 3" in ran.out
    ran = await world.kubectl("delete", "placements", "--all", "-n", "shop", check=False)
    assert ran.code != 0


async def test_delete_in_the_foreground_waits_for_the_members(world: World) -> None:
    """`kubectl delete --cascade=foreground` returns when the last member has confirmed, another at once."""
    await applied(world)
    deleting = asyncio.create_task(
        world.kubectl("delete", "deploy", "web", "-n", "shop", "--cascade=foreground", "--timeout=50s")
    )

    async def asked() -> bool:
        entry = world.apiserver.engine.cache.get(WEB)
        return bool(entry and entry.object["metadata"].get("deletionTimestamp"))

    await until(asked, what="the deletion was asked for")
    await world.removed(WEB, "eu")
    await world.apiserver.engine.cache.fresh()
    assert not deleting.done()
    await world.removed(WEB, "us")
    assert "deleted" in (await deleting).out


async def test_force_replaces_what_members_still_have(world: World) -> None:
    """`kubectl apply --force` deletes and creates without a pause; nothing is lost (5 of 5)."""
    await applied(world)
    for number in range(5):
        changed = deployment()
        labels = {"app": f"web-{number}"}
        changed["spec"]["selector"]["matchLabels"] = labels
        changed["spec"]["template"]["metadata"]["labels"] = labels
        await world.kubectl("apply", "--force", "-f", "-", stdin=json.dumps(changed))
        found = await world.get("/apis/apps/v1/namespaces/shop/deployments/web")
        assert found["spec"]["selector"]["matchLabels"] == labels


async def test_delete_cascade_orphan(world: World) -> None:
    """`--cascade=orphan` is what the tombstone says."""
    await world.kubectl("create", "-f", "-", stdin=json.dumps(config_map("c")))
    await world.clusters("eu")
    await world.place(CONFIG, {"eu": None})
    await world.kubectl("delete", "configmap", "c", "-n", "shop", "--cascade=orphan", "--wait=false")

    async def is_left() -> bool:
        return await world.store.get(CONFIG.key(TOMBSTONES)) is not None

    await until(is_left, what="the object is gone and has left a tombstone")
    listed = await world.kubectl(
        "get", "tombstones", "-n", "shop", "-o", "jsonpath={.items[0].copies[0].orphan}"
    )
    assert listed.out == "true"
    await world.removed(CONFIG, "eu")
    await world.kubectl("wait", "--for=delete", "configmap/c", "-n", "shop", "--timeout=50s")


async def test_delete_namespace(world: World) -> None:
    """`kubectl delete namespace` takes everything with it and then returns."""
    await applied(world)
    shop = ObjectKey("", "namespaces", "", "shop")
    await world.place(shop, {"eu": None, "us": None})
    await world.kubectl("create", "-f", "-", stdin=json.dumps(config_map("c")))
    deleting = asyncio.create_task(world.kubectl("delete", "namespace", "shop", "--timeout=50s"))

    async def emptying() -> bool:
        return world.apiserver.engine.cache.get(CONFIG) is None

    await until(emptying, what="the ConfigMap that was never placed is gone")
    await world.removed(WEB, "eu", "us")
    await world.removed(shop, "eu", "us")
    assert "deleted" in (await deleting).out


async def test_a_crd_and_its_resources(world: World) -> None:
    """A CRD is served as soon as it is created, and its objects propagate like any other."""
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                            },
                        }
                    },
                }
            ],
        },
    }
    await world.kubectl("apply", "-f", "-", stdin=json.dumps(crd))
    key = ObjectKey("apiextensions.k8s.io", "customresourcedefinitions", "", "widgets.example.org")
    await world.place(key, {"eu": None})
    await world.report(key, "eu", status={"conditions": [{"type": "Established", "status": "True"}]})
    await world.kubectl("wait", "--for=condition=Established", "crd/widgets.example.org", "--timeout=50s")
    widget = {
        "apiVersion": "example.org/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "namespace": "shop"},
        "spec": {"size": 1},
    }
    await world.kubectl("apply", "-f", "-", stdin=json.dumps(widget))
    wkey = ObjectKey("example.org", "widgets", "shop", "w")
    await world.place(wkey, {"eu": None})
    await world.report(
        wkey, "eu", status={"conditions": [{"type": "Ready", "status": "True"}], "url": "https://w"}
    )
    await world.kubectl("wait", "--for=condition=Ready", "widget/w", "-n", "shop", "--timeout=50s")
    shown = json.loads((await world.kubectl("get", "widget", "w", "-n", "shop", "-o", "json")).out)
    assert shown["metadata"]["finalizers"] == ["hanse.dev/sync"]
    assert shown["status"]["clusters"][0]["status"]["url"] == "https://w"


async def test_what_may_i_do(world: World) -> None:
    """`kubectl auth can-i` and `whoami` tell the truth."""
    assert (await world.kubectl("auth", "can-i", "delete", "deployments", "-n", "shop")).out.strip() == "yes"
    assert "hanse-admin" in (await world.kubectl("auth", "whoami")).out


async def test_a_changed_policy_is_applied_again(world: World) -> None:
    """kubectl patches kinds that Kubernetes does not define by merge patch, as it does custom resources."""
    policy = {
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "PlacementPolicy",
        "metadata": {"name": "west", "namespace": "default"},
        "spec": {
            "resourceSelectors": [{"apiVersion": "v1", "kind": "ConfigMap"}],
            "clusterNames": ["eu-west"],
        },
    }
    await world.kubectl("apply", "-f", "-", stdin=json.dumps(policy))
    policy["spec"]["clusterNames"] = ["us-east"]  # type: ignore[index]
    ran = await world.kubectl("apply", "-f", "-", stdin=json.dumps(policy))
    assert "configured" in ran.out
    read = await world.kubectl("get", "placementpolicy", "west", "-o", "jsonpath={.spec.clusterNames}")
    assert json.loads(read.out) == ["us-east"]


async def test_acting_as_somebody_else(world: World) -> None:
    """`--as` gives an administrator the rights of that user and groups, and takes all others away."""
    await world.create("/api/v1/namespaces/shop/configmaps", config_map("c"))
    refused = await world.kubectl("get", "cm", "c", "-n", "shop", "--as=nobody", check=False)
    assert "Forbidden" in refused.err
    eve = ("--as=eve", "--as-group=hanse:viewers")
    refused = await world.kubectl("delete", "cm", "c", "-n", "shop", *eve, check=False)
    assert 'configmaps "c" is forbidden: User "eve" cannot delete resource "configmaps"' in refused.err
    assert "nobody" in (await world.kubectl("auth", "whoami", "--as=nobody")).out
    viewer = ("--as=eve", "--as-group=hanse:viewers", "-n", "shop")
    assert (await world.kubectl("get", "cm", "c", "-o", "name", *viewer)).out == "configmap/c\n"
    assert (await world.kubectl("auth", "can-i", "delete", "cm", *viewer, check=False)).out == "no\n"
    refused = await world.kubectl("delete", "cm", "c", *viewer, check=False)
    assert 'User "eve" cannot delete resource "configmaps"' in refused.err
