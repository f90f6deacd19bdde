"""What a real cluster has by itself is what the law says that it has."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from hanse.federation import belongings
from tests.real.realcluster import ClusterSpec, Json, KubeApi, RealClusters, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def api(assets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KubeApi]:
    """A new cluster."""
    specs = [ClusterSpec("eu")]
    async with RealClusters(assets_dir, tmp_path_factory.mktemp("clusters"), specs) as running:
        yield running["eu"].api


async def objects(api: KubeApi) -> dict[tuple[str, str, str, str], Json]:
    """All objects of a cluster by group, resource, namespace and name."""
    groups = (await api.get("/apis"))["groups"]
    roots: dict[str, str] = {"": "/api/v1"}
    for each in groups:
        roots[each["name"]] = f"/apis/{each['preferredVersion']['groupVersion']}"
    found: dict[tuple[str, str, str, str], Json] = {}
    for group, root in roots.items():
        for resource in (await api.get(root))["resources"]:
            if "/" in resource["name"] or "list" not in resource["verbs"]:
                continue
            for item in (await api.get(f"{root}/{resource['name']}"))["items"]:
                data = item["metadata"]
                found[group, resource["name"], data.get("namespace", ""), data["name"]] = item
    return found


async def test_all_of_a_new_cluster_belongs_to_it(api: KubeApi) -> None:
    """Each object that is in a cluster before anybody has used it belongs to the cluster."""

    async def is_furnished() -> bool:
        made = {("", "configmaps", "kube-root-ca.crt"), ("", "serviceaccounts", "default")}
        found = {(group, resource, name, space) for group, resource, space, name in await objects(api)}
        return all((*each, space) in found for each in made for space in ("default", "kube-node-lease"))

    await until(is_furnished, what="the cluster has made what it makes by itself")
    found = await objects(api)
    assert len(found) > 200
    assert [key for key, item in found.items() if not belongings.of(key[0], key[1], item)] == []


async def test_what_controllers_make_of_a_users_objects_belongs_to_the_cluster(api: KubeApi) -> None:
    """Of a Deployment, a StatefulSet, a Job and a Service only what the user made is the user's."""
    before = set(await objects(api))
    pods: Json = {"containers": [{"name": "c", "image": "i"}]}
    template: Json = {"metadata": {"labels": {"app": "web"}}, "spec": pods}
    workload = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    once = {"metadata": template["metadata"], "spec": {**pods, "restartPolicy": "Never"}}
    made: dict[str, Json] = {
        "/apis/apps/v1/namespaces/shop/deployments": {"kind": "Deployment", "spec": workload},
        "/apis/apps/v1/namespaces/shop/statefulsets": {
            "kind": "StatefulSet",
            "spec": {**workload, "serviceName": "web"},
        },
        "/apis/batch/v1/namespaces/shop/jobs": {"kind": "Job", "spec": {"template": once}},
        "/api/v1/namespaces/shop/services": {
            "kind": "Service",
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        },
    }
    await api.create("/api/v1/namespaces", {"metadata": {"name": "shop"}})
    for path, body in made.items():
        await api.create(path, {"metadata": {"name": "web"}, **body})
    kinds = {"pods", "replicasets", "controllerrevisions", "endpoints", "endpointslices", "events"}

    async def all_made() -> bool:
        return kinds <= {key[1] for key in set(await objects(api)) - before}

    await until(all_made, what="the controllers have made what they make")
    found = {key: item for key, item in (await objects(api)).items() if key not in before}
    users = {key[1:] for key, item in found.items() if not belongings.of(key[0], key[1], item)}
    assert users == {
        ("namespaces", "", "shop"),
        ("deployments", "shop", "web"),
        ("statefulsets", "shop", "web"),
        ("jobs", "shop", "web"),
        ("services", "shop", "web"),
    }
