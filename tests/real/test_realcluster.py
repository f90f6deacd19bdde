"""The real control planes behave as clusters do: what is asked for runs, is reached, is lost and returns."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio

from tests.real.realcluster import ApiError, ClusterSpec, Json, RealCluster, RealClusters, until
from tests.support import objects

pytestmark = pytest.mark.asyncio(loop_scope="module")

APPS = "/apis/apps/v1/namespaces/default"
CORE = "/api/v1/namespaces/default"
BATCH = "/apis/batch/v1/namespaces/default"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def clusters(assets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealClusters]:
    """Two clusters in two regions."""
    specs = [
        ClusterSpec("eu", "eu-west-1", ("eu-west-1a", "eu-west-1b")),
        ClusterSpec("us", "us-east-1", ("us-east-1a",), cpu="2"),
    ]
    async with RealClusters(assets_dir, tmp_path_factory.mktemp("clusters"), specs) as running:
        yield running


async def test_version_and_topology_are_told(clusters: RealClusters) -> None:
    """A cluster says which Kubernetes it is, and its nodes are ready in the zones asked for."""
    version = await clusters["eu"].api.get("/version")
    assert version["gitVersion"].startswith(f"v{version['major']}.{version['minor']}.")

    nodes = (await clusters["eu"].api.get("/api/v1/nodes"))["items"]
    zones = {node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in nodes}
    assert zones == {"eu-west-1a", "eu-west-1b"}
    assert not any(node["spec"].get("taints") for node in nodes)
    assert all(node["status"]["conditions"][0]["status"] == "True" for node in nodes)


async def test_streaming_list_is_served(clusters: RealClusters) -> None:
    """A watch that asks for the initial state gets it, as from a cluster with a current etcd."""
    initial = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "timeoutSeconds": "5",
    }
    stream = clusters["eu"].api.watch("/api/v1/nodes", "", **initial)
    assert await first_names(stream, 2) == {"eu-node-0", "eu-node-1"}


async def test_deployment_becomes_available_and_goes(clusters: RealClusters) -> None:
    """A Deployment's pods become ready on the nodes; deleting it deletes them."""
    api = clusters["eu"].api
    await api.create(f"{APPS}/deployments", deployment("web", replicas=2))
    await until(lambda: ready_replicas(clusters["eu"], "web", 2), what="web is available")

    pods = (await api.get(f"{CORE}/pods", labelSelector="app=web"))["items"]
    assert {pod["spec"]["nodeName"] for pod in pods} == {"eu-node-0", "eu-node-1"}

    await api.delete(f"{APPS}/deployments/web", {"propagationPolicy": "Foreground"})
    await until(lambda: none_left(clusters["eu"], f"{CORE}/pods", "app=web"), what="the pods are gone")


async def test_load_balancer_has_an_address_and_ready_endpoints(clusters: RealClusters) -> None:
    """A LoadBalancer Service gets an address, and its EndpointSlice has the ready pods with their zones."""
    api = clusters["eu"].api
    await api.create(f"{APPS}/deployments", deployment("shop", replicas=2))
    spec = {"type": "LoadBalancer", "selector": {"app": "shop"}, "ports": [{"port": 80}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, "spec": spec}
    await api.create(f"{CORE}/services", service)

    async def ingress() -> list[Json]:
        status = (await api.get(f"{CORE}/services/shop"))["status"]
        found: list[Json] = status["loadBalancer"].get("ingress", [])
        return found

    async def zones() -> set[str]:
        slices = await api.get(
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            labelSelector="kubernetes.io/service-name=shop",
        )
        endpoints = [each for item in slices["items"] for each in item["endpoints"] or ()]
        return {each["zone"] for each in endpoints if each["conditions"]["ready"]}

    async def in_both_zones() -> bool:
        return await zones() == {"eu-west-1a", "eu-west-1b"}

    assert (await until(ingress, what="shop has an address"))[0]["ip"].startswith("127.64.")
    await until(in_both_zones, what="shop has ready endpoints in both zones")


async def test_job_completes(clusters: RealClusters) -> None:
    """A Job's pods succeed, and so does the Job."""
    api = clusters["us"].api
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "task"}]}}
    spec = {"completions": 3, "parallelism": 2, "template": template}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "task"}, "spec": spec}
    await api.create(f"{BATCH}/jobs", job)

    async def complete() -> bool:
        status = (await api.get(f"{BATCH}/jobs/task"))["status"]
        return bool(status.get("completionTime")) and status["succeeded"] == 3

    await until(complete, what="the job is complete")


async def test_pods_wait_for_room(clusters: RealClusters) -> None:
    """A pod that no node has room for is reported unschedulable, and runs once there is room."""
    api = clusters["us"].api
    await api.create(f"{APPS}/deployments", deployment("big", replicas=3, cpu="800m"))
    await until(lambda: ready_replicas(clusters["us"], "big", 2), what="two of three fit")

    async def refused() -> str:
        pods = (await api.get(f"{CORE}/pods", labelSelector="app=big"))["items"]
        conditions = [each for pod in pods for each in pod["status"].get("conditions", [])]
        return next((each["message"] for each in conditions if each.get("reason") == "Unschedulable"), "")

    assert await until(refused, what="one is refused") == "0/1 nodes are available: 1 Insufficient cpu."

    await api.merge("/api/v1/nodes/us-node-0/status", {"status": {"allocatable": {"cpu": "4"}}})
    await until(lambda: ready_replicas(clusters["us"], "big", 3), what="the third runs")


async def test_broken_image_keeps_pods_from_ready(clusters: RealClusters) -> None:
    """A pod whose image cannot be pulled waits, and runs once the image is there."""
    cluster = clusters["us"]
    cluster.pods.broken_images.add("sick")
    await cluster.api.create(f"{APPS}/deployments", deployment("sick", replicas=1))

    async def backs_off() -> bool:
        pods = (await cluster.api.get(f"{CORE}/pods", labelSelector="app=sick"))["items"]
        return any("waiting" in each["state"] for pod in pods for each in statuses(pod))

    await until(backs_off, what="the image is not there")
    cluster.pods.broken_images.clear()
    cluster.pods.resume()
    await until(lambda: ready_replicas(cluster, "sick", 1), what="the image is there")


async def test_namespace_is_emptied_and_goes(clusters: RealClusters) -> None:
    """Deleting a namespace deletes what is in it and then itself."""
    api = clusters["us"].api
    await api.create("/api/v1/namespaces", {"metadata": {"name": "brief"}})
    await api.create("/apis/apps/v1/namespaces/brief/deployments", deployment("web", replicas=2))
    await until(lambda: some(clusters["us"], "/api/v1/namespaces/brief/pods"), what="it has pods")
    await api.delete("/api/v1/namespaces/brief")

    async def gone() -> bool:
        try:
            await api.get("/api/v1/namespaces/brief")
        except ApiError as error:
            return error.status == 404
        return False

    await until(gone, what="the namespace is gone")


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "crashed"])
async def test_lost_cluster_returns_with_its_state(clusters: RealClusters, crash: bool) -> None:
    """A cluster that is lost answers nothing, harms no other, and returns with its state and working."""
    us, name = clusters["us"], f"kept-{crash}".lower()
    await us.api.create(f"{APPS}/deployments", deployment(name, replicas=1))
    await until(lambda: ready_replicas(us, name, 1), what=f"{name} is available")

    await us.stop(crash=crash)
    assert not await us.api.ready()
    assert await clusters["eu"].api.ready()

    await us.start()
    assert await ready_replicas(us, name, 1)
    await us.api.merge(f"{APPS}/deployments/{name}", {"spec": {"replicas": 2}})
    await until(lambda: ready_replicas(us, name, 2), what=f"{name} grows after the return")


async def test_frozen_cluster_answers_nothing_until_thawed(clusters: RealClusters) -> None:
    """A frozen API server keeps its connections and answers nothing."""
    us = clusters["us"]
    us.freeze()
    try:
        assert not await us.api.ready()
    finally:
        us.thaw()
    await until(us.api.ready, what="the cluster answers again")


async def first_names(stream: AsyncGenerator[tuple[str, Json], None], count: int) -> set[str]:
    """The names of the first objects of a watch, which is closed then."""
    names: set[str] = set()
    async with aclosing(stream):
        async for _, item in stream:
            names.add(item["metadata"]["name"])
            if len(names) == count:
                break
    return names


def statuses(pod: Json) -> list[Json]:
    """What a kubelet has reported of the containers of a pod, if it has."""
    reported: list[Json] = pod["status"].get("containerStatuses", [])
    return reported


async def ready_replicas(cluster: RealCluster, name: str, count: int) -> bool:
    """Whether the Deployment `name` has observed its newest generation and has `count` ready replicas."""
    found = await cluster.api.get(f"{APPS}/deployments/{name}")
    status = found["status"]
    observed = status.get("observedGeneration") == found["metadata"]["generation"]
    return bool(observed and status.get("readyReplicas", 0) == count)


async def none_left(cluster: RealCluster, path: str, selector: str) -> bool:
    """Whether nothing of the collection matches."""
    return not (await cluster.api.get(path, labelSelector=selector))["items"]


async def some(cluster: RealCluster, path: str) -> bool:
    """Whether the collection has something."""
    return bool((await cluster.api.get(path))["items"])


def deployment(name: str, *, replicas: int, cpu: str = "10m") -> Json:
    """A Deployment of one container with the image `name`."""
    main = objects.container("main", name, resources={"requests": {"cpu": cpu}})
    return objects.deployment(name, replicas=replicas, containers=(main,))
