"""Workloads in a simulated cluster: what they make, how they change and how they end."""

from __future__ import annotations

from pathlib import Path

from hanse.kube.model.objects import Object, mapping, name_of
from tests.simulator.cluster import (
    CLAIMS,
    CONFIG_MAPS,
    DAEMON_SETS,
    DEPLOYMENTS,
    EVENTS,
    JOBS,
    NODES,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
    VOLUMES,
    Cluster,
    conditions,
    image_patch,
    running,
    template,
    workload,
)


async def test_a_deployment_becomes_available(cluster: Cluster) -> None:
    """A Deployment makes a ReplicaSet with its template's hash, whose Pods become ready on nodes."""
    await cluster.create(DEPLOYMENTS, workload("Deployment", "web", replicas=3))
    done = await cluster.status(
        DEPLOYMENTS, "web", replicas=3, updatedReplicas=3, readyReplicas=3, availableReplicas=3,
        unavailableReplicas=None,
    )  # fmt: skip
    assert conditions(done) == {"Available": "True", "Progressing": "True"}
    assert done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    (owned,) = await cluster.all(REPLICA_SETS)
    pods = await cluster.pods("web")
    digest = owned["metadata"]["labels"]["pod-template-hash"]
    assert name_of(owned) == f"web-{digest}"
    assert {p["metadata"]["labels"]["pod-template-hash"] for p in pods} == {digest}
    assert {p["spec"]["nodeName"] for p in pods} == {"eu-west-a-1", "eu-west-b-1"}
    assert len({p["status"]["podIP"] for p in pods}) == 3
    assert all(conditions(p)["Ready"] == conditions(p)["PodScheduled"] == "True" for p in pods)


async def test_a_rolling_update_keeps_its_bounds(cluster: Cluster) -> None:
    """During a rollout there are never more Pods nor fewer available than the strategy says."""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    await cluster.create(DEPLOYMENTS, workload("Deployment", "web", replicas=4, strategy=rolling))
    await cluster.status(DEPLOYMENTS, "web", availableReplicas=4)
    seen: list[tuple[int, int]] = []

    def note(change: object) -> None:
        entries = cluster.simulator.engine.cache.objects("", "pods", "shop")
        alive = [e.object for e in entries if not e.object["metadata"].get("deletionTimestamp")]
        seen.append((len(alive), sum(conditions(p).get("Ready") == "True" for p in alive)))

    stop = cluster.simulator.engine.cache.subscribe(note)
    await cluster.patch(DEPLOYMENTS, "web", image_patch("web:2"))
    await cluster.status(DEPLOYMENTS, "web", updatedReplicas=4, availableReplicas=4, replicas=4)
    stop()
    assert max(total for total, _ in seen) == 5
    assert min(ready for _, ready in seen) == 4
    images = {c["image"] for p in await cluster.pods("web") for c in p["spec"]["containers"]}
    assert images == {"web:2"}


async def test_a_broken_image_stops_a_rollout_until_it_is_undone(cluster: Cluster) -> None:
    """Pods with a broken image never become ready; old ones stay, and a repaired template goes through."""
    await cluster.create(DEPLOYMENTS, workload("Deployment", "web", replicas=4))
    await cluster.status(DEPLOYMENTS, "web", availableReplicas=4)
    await cluster.patch(DEPLOYMENTS, "web", image_patch("web:broken"))

    async def stuck() -> list[Object]:
        return [
            p for p in await cluster.pods("web")
            for s in p["status"].get("containerStatuses", [])
            if mapping(s, "state", "waiting").get("reason") == "ImagePullBackOff"
        ]  # fmt: skip

    await cluster.until(stuck, what="a Pod in ImagePullBackOff")
    held = await cluster.status(DEPLOYMENTS, "web", updatedReplicas=2, availableReplicas=3)
    assert conditions(held)["Available"] == "True"
    assert any("web:broken" in e["message"] for e in await cluster.all(EVENTS))
    await cluster.patch(DEPLOYMENTS, "web", image_patch("web:1"))
    await cluster.status(DEPLOYMENTS, "web", updatedReplicas=4, availableReplicas=4, replicas=4)
    latest = await cluster.get(DEPLOYMENTS, "web")
    assert latest["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


async def test_recreate_never_runs_two_versions(cluster: Cluster) -> None:
    """The strategy Recreate ends all old Pods before the first new one."""
    await cluster.create(
        DEPLOYMENTS, workload("Deployment", "web", replicas=2, strategy={"type": "Recreate"})
    )
    await cluster.status(DEPLOYMENTS, "web", availableReplicas=2)
    together: list[set[str]] = []

    def note(change: object) -> None:
        entries = cluster.simulator.engine.cache.objects("", "pods", "shop")
        together.append({c["image"] for e in entries for c in e.object["spec"]["containers"]})

    stop = cluster.simulator.engine.cache.subscribe(note)
    await cluster.patch(DEPLOYMENTS, "web", image_patch("web:2"))
    await cluster.status(DEPLOYMENTS, "web", updatedReplicas=2, availableReplicas=2, replicas=2)
    stop()
    assert {"web:1", "web:2"} not in together


async def test_scaling_to_zero_and_back(cluster: Cluster) -> None:
    """The number of Pods follows spec.replicas, also to nothing; the ReplicaSet stays the same."""
    await cluster.create(DEPLOYMENTS, workload("Deployment", "web", replicas=5))
    await cluster.status(DEPLOYMENTS, "web", availableReplicas=5)
    for count in (2, 0, 3):
        await cluster.patch(DEPLOYMENTS, "web", {"spec": {"replicas": count}})
        await cluster.status(DEPLOYMENTS, "web", availableReplicas=count or None, replicas=count or None)
    assert len(await cluster.all(REPLICA_SETS)) == 1


async def test_a_deleted_pod_is_replaced(cluster: Cluster) -> None:
    """A ReplicaSet makes up for a Pod that somebody deletes."""
    await cluster.create(DEPLOYMENTS, workload("Deployment", "web", replicas=2))
    await cluster.status(DEPLOYMENTS, "web", availableReplicas=2)
    before = {name_of(p) for p in await cluster.pods("web")}
    victim = min(before)
    await cluster.client.delete(PODS, victim, namespace="shop")

    async def replaced() -> bool:
        now = {name_of(p) for p in await cluster.pods("web")}
        return victim not in now and len(now) == 2

    await cluster.until(replaced, what="a successor")
    await cluster.status(DEPLOYMENTS, "web", availableReplicas=2)


async def test_deletion_cascades(cluster: Cluster) -> None:
    """Deleting a Deployment takes its ReplicaSets and Pods along, in the background and in the foreground."""
    for propagation in ("Background", "Foreground"):
        await cluster.create(DEPLOYMENTS, workload("Deployment", "web", replicas=2))
        await cluster.status(DEPLOYMENTS, "web", availableReplicas=2)
        await cluster.client.delete(
            DEPLOYMENTS,
            "web",
            namespace="shop",
            propagation=propagation,
        )
        await cluster.gone(PODS)
        await cluster.gone(REPLICA_SETS)
        await cluster.gone(DEPLOYMENTS)


async def test_orphans_are_adopted(cluster: Cluster) -> None:
    """A Deployment that comes back after an orphaning delete takes its ReplicaSet and Pods over."""
    await cluster.create(DEPLOYMENTS, workload("Deployment", "web", replicas=2))
    await cluster.status(DEPLOYMENTS, "web", availableReplicas=2)
    before = {p["metadata"]["uid"] for p in await cluster.pods("web")}
    await cluster.client.delete(DEPLOYMENTS, "web", namespace="shop", propagation="Orphan")
    await cluster.gone(DEPLOYMENTS)
    made = await cluster.create(DEPLOYMENTS, workload("Deployment", "web", replicas=2))
    await cluster.status(DEPLOYMENTS, "web", availableReplicas=2)
    assert {p["metadata"]["uid"] for p in await cluster.pods("web")} == before
    (owned,) = await cluster.all(REPLICA_SETS)
    assert owned["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]


async def test_a_statefulset_names_its_pods_in_order(cluster: Cluster) -> None:
    """Pods are web-0, web-1, ... made one by one, each with a bound claim; scaling down keeps claims."""
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    spec = {"replicas": 3, "serviceName": "db", "volumeClaimTemplates": [claim]}
    await cluster.create(STATEFUL_SETS, workload("StatefulSet", "db", **spec))
    await cluster.status(STATEFUL_SETS, "db", replicas=3, readyReplicas=3, availableReplicas=3)
    pods = sorted(await cluster.pods("db"), key=name_of)
    assert [name_of(p) for p in pods] == ["db-0", "db-1", "db-2"]
    revisions = [int(p["metadata"]["resourceVersion"]) for p in pods]
    assert revisions == sorted(revisions)
    claims = {name_of(c): c["status"]["phase"] for c in await cluster.all(CLAIMS)}
    assert claims == {f"data-db-{i}": "Bound" for i in range(3)}
    await cluster.patch(STATEFUL_SETS, "db", {"spec": {"replicas": 1}})
    await cluster.status(STATEFUL_SETS, "db", replicas=1)
    assert [name_of(p) for p in await cluster.pods("db")] == ["db-0"]
    assert len(await cluster.all(CLAIMS)) == 3


async def test_a_volume_goes_with_its_claim(cluster: Cluster) -> None:
    """A claim is bound to a volume of its own, which is deleted when the claim is."""
    claim = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }  # fmt: skip
    await cluster.create(CLAIMS, claim)
    bound = await cluster.status(CLAIMS, "data", phase="Bound", capacity={"storage": "1Gi"})
    volume = await cluster.client.get(VOLUMES, bound["spec"]["volumeName"])
    assert volume["spec"]["claimRef"]["uid"] == bound["metadata"]["uid"]
    await cluster.client.delete(CLAIMS, "data", namespace="shop")

    async def no_volume() -> bool:
        return not (await cluster.client.list(VOLUMES)).items

    await cluster.until(no_volume, what="the volume is gone")


async def test_a_statefulset_updates_from_the_end(cluster: Cluster) -> None:
    """A rolling update replaces Pods above the partition only, and says when it is done."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    await cluster.create(STATEFUL_SETS, workload("StatefulSet", "db", replicas=2, updateStrategy=strategy))
    await cluster.status(STATEFUL_SETS, "db", readyReplicas=2)
    await cluster.patch(STATEFUL_SETS, "db", image_patch("web:2"))
    await cluster.status(STATEFUL_SETS, "db", updatedReplicas=1, readyReplicas=2)
    images = {name_of(p): p["spec"]["containers"][0]["image"] for p in await cluster.pods("db")}
    assert images == {"db-0": "web:1", "db-1": "web:2"}
    await cluster.patch(
        STATEFUL_SETS, "db", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}
    )
    done = await cluster.status(STATEFUL_SETS, "db", updatedReplicas=2, readyReplicas=2, currentReplicas=2)
    assert done["status"]["currentRevision"] == done["status"]["updateRevision"]


async def test_a_daemonset_runs_on_each_node(cluster: Cluster) -> None:
    """Each node has one Pod, new nodes get one, and an update replaces them all."""
    await cluster.create(DAEMON_SETS, workload("DaemonSet", "agent"))
    await cluster.status(DAEMON_SETS, "agent", desiredNumberScheduled=2, numberReady=2, numberAvailable=2)
    nodes = {p["spec"]["nodeName"] for p in await cluster.pods("agent")}
    assert nodes == {"eu-west-a-1", "eu-west-b-1"}
    model = await cluster.client.get(NODES, "eu-west-a-1")
    third = {**model, "metadata": {"name": "third", "labels": model["metadata"]["labels"]}, "spec": {}}
    await cluster.client.create(NODES, third)
    await cluster.status(DAEMON_SETS, "agent", desiredNumberScheduled=3, numberReady=3)
    await cluster.patch(DAEMON_SETS, "agent", image_patch("web:2"))
    await cluster.status(DAEMON_SETS, "agent", updatedNumberScheduled=3, numberAvailable=3)
    images = {p["spec"]["containers"][0]["image"] for p in await cluster.pods("agent")}
    assert images == {"web:2"}
    await cluster.client.delete(NODES, "third")
    await cluster.status(DAEMON_SETS, "agent", desiredNumberScheduled=2, numberReady=2)


async def test_a_job_runs_to_completion(cluster: Cluster) -> None:
    """A Job runs as many Pods at once as it may, until enough have succeeded, and then no more."""
    job = {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"},
        "spec": {"completions": 5, "parallelism": 2, "template": template("once", restartPolicy="Never")},
    }  # fmt: skip
    most = 0

    def note(change: object) -> None:
        nonlocal most
        entries = cluster.simulator.engine.cache.objects("", "pods", "shop")
        most = max(most, sum(e.object["status"].get("phase") != "Succeeded" for e in entries))

    stop = cluster.simulator.engine.cache.subscribe(note)
    await cluster.create(JOBS, job)
    done = await cluster.status(JOBS, "once", succeeded=5, active=None)
    stop()
    assert conditions(done)["Complete"] == "True"
    assert most == 2
    assert len(await cluster.pods("once")) == 5


async def test_an_indexed_job_can_be_suspended(cluster: Cluster) -> None:
    """A suspended Job has no Pods; resumed, it completes every index."""
    spec = {
        "completions": 3, "parallelism": 3, "completionMode": "Indexed", "suspend": True,
        "template": template("batch", restartPolicy="Never"),
    }  # fmt: skip
    await cluster.create(
        JOBS, {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "batch"}, "spec": spec}
    )
    held = await cluster.until(lambda: _with_condition(cluster, "batch", "Suspended"), what="a suspended Job")
    assert mapping(held, "status").get("active") is None
    assert not await cluster.pods("batch")
    await cluster.patch(JOBS, "batch", {"spec": {"suspend": False}})
    done = await cluster.status(JOBS, "batch", succeeded=3, completedIndexes="0-2")
    assert conditions(done)["Suspended"] == "False"


async def _with_condition(cluster: Cluster, job: str, kind: str) -> Object | None:
    found = await cluster.get(JOBS, job)
    return found if conditions(found).get(kind) == "True" else None


async def test_a_pod_that_fits_nowhere_says_so(cluster: Cluster) -> None:
    """A Pod that asks for too much stays Pending as Unschedulable, and is placed when there is room."""
    requests = {"requests": {"cpu": "12"}}
    container = {"name": "c", "image": "x", "resources": requests}
    spec = {"replicas": 3, "template": {**template("big"), "spec": {"containers": [container]}}}
    await cluster.create(DEPLOYMENTS, workload("Deployment", "big", **spec))
    await cluster.status(DEPLOYMENTS, "big", readyReplicas=2, replicas=3)

    async def refused() -> Object | None:
        for pod in await cluster.pods("big"):
            for condition in pod["status"].get("conditions", []):
                if condition.get("reason") == "Unschedulable":
                    return dict(condition)
        return None

    condition = await cluster.until(refused, what="an unschedulable Pod")
    assert condition["message"] == "0/2 nodes are available: 2 Insufficient cpu."
    assert any(e["reason"] == "FailedScheduling" for e in await cluster.all(EVENTS))
    model = await cluster.client.get(NODES, "eu-west-a-1")
    third = {**model, "metadata": {"name": "third", "labels": {}}, "spec": {}}
    await cluster.client.create(NODES, third)
    await cluster.status(DEPLOYMENTS, "big", readyReplicas=3)


async def test_cordoned_and_tainted_nodes_take_nothing_new(cluster: Cluster) -> None:
    """Pods avoid a cordoned node; a taint is for those only that tolerate it."""
    await cluster.client.patch(NODES, "eu-west-a-1", {"spec": {"unschedulable": True}})
    taint = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
    await cluster.client.patch(NODES, "eu-west-b-1", {"spec": {"taints": [taint]}})
    await cluster.create(DEPLOYMENTS, workload("Deployment", "web", replicas=1))
    tolerations = [{"key": "gpu", "operator": "Exists"}]
    spec = {"replicas": 2, "template": template("gpu", tolerations=tolerations)}
    await cluster.create(DEPLOYMENTS, workload("Deployment", "gpu", **spec))
    await cluster.status(DEPLOYMENTS, "gpu", readyReplicas=2)
    assert {p["spec"]["nodeName"] for p in await cluster.pods("gpu")} == {"eu-west-b-1"}
    assert not (await cluster.get(DEPLOYMENTS, "web"))["status"].get("readyReplicas")
    await cluster.client.patch(NODES, "eu-west-a-1", {"spec": {"unschedulable": None}})
    await cluster.status(DEPLOYMENTS, "web", readyReplicas=1)


async def test_nothing_is_written_when_nothing_changes(tmp_path: Path) -> None:
    """A cluster that has settled writes no more, and ConfigMaps wake no controller."""
    async with running(tmp_path) as cluster:
        await cluster.create(DEPLOYMENTS, workload("Deployment", "web", replicas=2))
        await cluster.status(DEPLOYMENTS, "web", availableReplicas=2)
        loops = cluster.simulator.loops
        assert loops is not None

        async def settled() -> bool:
            return loops.idle

        await cluster.until(settled, what="all queues are empty")
        revision = cluster.simulator.engine.cache.revision
        for index in range(20):
            metadata = {"name": f"c-{index}", "namespace": "shop"}
            await cluster.client.create(
                CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
            )
            assert loops.idle
        assert cluster.simulator.engine.cache.revision == revision + 20
