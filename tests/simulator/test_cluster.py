"""A simulated cluster as a whole: kubectl, namespaces, restart, security, and faults on demand."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from hanse.errors import DeadlineError, HanseError, PermissionDeniedError, UnauthenticatedError
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.bounds import MisbehavingMemberError
from hanse.security.pki import CertificateAuthority
from hanse.store import EtcdStore
from hanse.well_known import OWN_GROUPS, TRACEPARENT
from tests.simulator.cluster import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    STATEFUL_SETS,
    Cluster,
    dump,
    running,
    workload,
)
from tests.support.machine.raw import raw
from tests.support.object_client import ObjectClient
from tests.support.objects import service
from tests.support.stores.etcd import EtcdServer

needs_kubectl = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
FAULTS = "/_sim/faults"


async def fault(cluster: Cluster, *rules: Mapping[str, Any]) -> None:
    """Put fault rules in force."""
    body = orjson.dumps({"rules": rules})
    status, _, answer = await raw(cluster.client, "POST", FAULTS, body=body)
    assert status == 200, answer


@needs_kubectl
@pytest.mark.kubectl
async def test_kubectl_rolls_out_and_back(cluster: Cluster) -> None:
    """apply, rollout status, history, undo, restart, scale and delete work as with a real cluster."""
    made = dump(workload("Deployment", "web", replicas=2), service("web", type="LoadBalancer"))
    assert (
        "deployment.apps/web created"
        in (await cluster.kubectl("apply", "-n", "shop", "-f", "-", stdin=made)).out
    )
    rollout = ("rollout", "status", "deploy/web", "-n", "shop", "--timeout=20s")
    assert "successfully rolled out" in (await cluster.kubectl(*rollout)).out
    await cluster.kubectl("set", "image", "deploy/web", "c=web:2", "-n", "shop")
    await cluster.kubectl(*rollout)
    history = (await cluster.kubectl("rollout", "history", "deploy/web", "-n", "shop")).out
    assert [line.split()[0] for line in history.splitlines() if line[:1].isdigit()] == ["1", "2"]
    await cluster.kubectl("rollout", "undo", "deploy/web", "-n", "shop")
    await cluster.kubectl(*rollout)
    shown = await cluster.kubectl("get", "deploy", "web", "-n", "shop", "-o", "wide", "--no-headers")
    assert shown.out.split()[1] == "2/2"
    assert "web:1" in shown.out
    await cluster.kubectl("rollout", "restart", "deploy/web", "-n", "shop")
    await cluster.kubectl(*rollout)
    logs = await cluster.kubectl("logs", "deploy/web", "-n", "shop")
    assert "simulated" in logs.out
    await cluster.kubectl("delete", "deploy", "web", "-n", "shop", "--timeout=20s")
    await cluster.gone(PODS)


@needs_kubectl
@pytest.mark.kubectl
async def test_kubectl_undoes_a_statefulset(cluster: Cluster) -> None:
    """ControllerRevisions let kubectl undo a StatefulSet's update."""
    await cluster.create(STATEFUL_SETS, workload("StatefulSet", "db", replicas=2))
    await cluster.status(STATEFUL_SETS, "db", readyReplicas=2)
    rollout = ("rollout", "status", "sts/db", "-n", "shop", "--timeout=20s")
    await cluster.kubectl("set", "image", "sts/db", "c=web:2", "-n", "shop")
    await cluster.kubectl(*rollout)
    await cluster.kubectl("rollout", "undo", "sts/db", "-n", "shop")
    await cluster.kubectl(*rollout)
    assert {p["spec"]["containers"][0]["image"] for p in await cluster.pods("db")} == {"web:1"}


async def test_a_new_cluster_has_what_a_real_one_has(cluster: Cluster) -> None:
    """Nodes with region, zone and capacity; the usual namespaces, each with an account and the root CA."""
    nodes = {n["metadata"]["name"]: n for n in (await cluster.client.list(NODES)).items}
    assert list(nodes) == ["eu-west-a-1", "eu-west-b-1"]
    labels = nodes["eu-west-b-1"]["metadata"]["labels"]
    assert labels["topology.kubernetes.io/region"] == "eu-west"
    assert labels["topology.kubernetes.io/zone"] == "b"
    assert {"cpu", "memory", "pods"} <= nodes["eu-west-a-1"]["status"]["allocatable"].keys()
    names = {n["metadata"]["name"] for n in (await cluster.client.list(NAMESPACES)).items}
    assert names == {"default", "kube-system", "kube-public", "kube-node-lease", "shop"}

    async def furnished() -> bool:
        found = {c["metadata"]["namespace"] for c in (await cluster.client.list(CONFIG_MAPS)).items}
        return found == names

    await cluster.until(furnished, what="kube-root-ca.crt in all namespaces")
    ca = (await cluster.get(CONFIG_MAPS, "kube-root-ca.crt"))["data"]["ca.crt"]
    assert ca.encode() == cluster.client.access.ca_pem


async def test_a_namespace_goes_with_everything_in_it(cluster: Cluster) -> None:
    """Deleting a namespace ends its workloads and then the namespace itself."""
    await cluster.create(DEPLOYMENTS, workload("Deployment", "web", replicas=2))
    await cluster.create(SERVICES, service("web"))
    await cluster.status(DEPLOYMENTS, "web", availableReplicas=2)
    await cluster.client.delete(NAMESPACES, "shop")

    async def gone() -> bool:
        found = await cluster.client.list(NAMESPACES, field_selector="metadata.name=shop")
        return not found.items

    await cluster.until(gone, what="the namespace is gone")
    cache = cluster.simulator.engine.cache
    assert not [key for key in cache.resources() if cache.objects(*key, "shop")]


async def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    """After a restart over the same etcd every object has its uid and resourceVersion: nothing is written."""
    with EtcdServer(tmp_path / "etcd") as etcd:
        store = await EtcdStore.connect([etcd.endpoint], prefix="/members/eu-west")
        async with running(tmp_path, store=store) as cluster:
            await cluster.create(DEPLOYMENTS, workload("Deployment", "web", replicas=2))
            await cluster.create(SERVICES, service("web", type="LoadBalancer"))
            await cluster.status(DEPLOYMENTS, "web", availableReplicas=2)
            loops = cluster.simulator.loops
            assert loops is not None

            async def settled() -> bool:
                service_ = await cluster.get(SERVICES, "web")
                return loops.idle and bool(service_["status"]["loadBalancer"])

            await cluster.until(settled, what="all is done")
            before = _state(cluster)
        await store.close()
        store = await EtcdStore.connect([etcd.endpoint], prefix="/members/eu-west")
        async with running(tmp_path, store=store) as cluster:
            again = cluster.simulator.loops
            assert again is not None

            async def looked() -> bool:
                return again.idle

            await cluster.until(looked, what="everything was looked at")
            after = _state(cluster)
        await store.close()
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    # The API listens on another port.
    assert changed <= {("discovery.k8s.io", "endpointslices", "default", "kubernetes")}


def _state(cluster: Cluster) -> dict[tuple[str, str, str, str], tuple[str, int]]:
    cache = cluster.simulator.engine.cache
    return {
        (e.key.group, e.key.resource, e.key.namespace, e.key.name): (e.uid, e.revision)
        for resource in cache.resources()
        for e in cache.objects(*resource)
    }


async def test_work_that_a_stop_interrupted_is_finished(tmp_path: Path) -> None:
    """A Deployment that was made while no controller ran is rolled out at the next start."""
    with EtcdServer(tmp_path / "etcd") as etcd:
        store = await EtcdStore.connect([etcd.endpoint], prefix="/members/eu-west")
        async with running(tmp_path, store=store, pod_start_seconds=60.0) as cluster:
            await cluster.create(DEPLOYMENTS, workload("Deployment", "web", replicas=2))
            await cluster.status(DEPLOYMENTS, "web", replicas=2, readyReplicas=None)
        async with running(tmp_path, store=store) as cluster:
            await cluster.status(DEPLOYMENTS, "web", availableReplicas=2)
        await store.close()


async def test_credentials_are_needed_and_private(cluster: Cluster) -> None:
    """Anonymous callers and certificates of other authorities get nothing; the kubeconfig is 0600."""
    mode = Path(cluster.simulator.settings.kubeconfig_file).stat().st_mode  # noqa: ASYNC240
    assert stat.S_IMODE(mode) == 0o600
    access = cluster.client.access
    async with ObjectClient(ClusterAccess(access.server, ca_pem=access.ca_pem)) as stranger:
        with pytest.raises(UnauthenticatedError):
            await stranger.list(PODS)
    other = CertificateAuthority.create().issue("mallory", organizations=("system:masters",))
    forged = ClusterAccess(
        access.server, ca_pem=access.ca_pem, client_cert_pem=other.cert_pem, client_key_pem=other.key_pem
    )
    async with ObjectClient(forged) as stranger:
        with pytest.raises(HanseError):
            await stranger.list(PODS)


async def test_faults_are_off_unless_asked_for(cluster: Cluster) -> None:
    """Without the setting there is no admin endpoint."""
    status, _, _ = await raw(cluster.client, "GET", FAULTS)
    assert status == 404


async def test_faults_strike_what_they_name(tmp_path: Path) -> None:
    """A member can refuse, lie that it is empty, hang and cut its watches, and be well again."""
    async with running(tmp_path, faults_enabled=True) as cluster:
        refusal = {
            "action": "status",
            "code": 429,
            "verbs": ["create"],
            "resources": ["configmaps"],
            "count": 1,
        }
        await fault(cluster, refusal)
        config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop"}}
        url = "/api/v1/namespaces/shop/configmaps"
        status, headers, _ = await raw(cluster.client, "POST", url, body=orjson.dumps(config_map))
        assert (status, headers["retry-after"]) == (429, "1")
        assert (await cluster.client.create(CONFIG_MAPS, config_map))["metadata"]["name"] == "c"
        await fault(cluster, {"action": "empty", "resources": ["configmaps"]})
        assert await cluster.all(CONFIG_MAPS) == []
        assert (await cluster.client.list(NODES)).items
        await fault(cluster, {"action": "hang", "verbs": ["get"]})
        async with ObjectClient(cluster.client.access, timeout=0.3) as hasty:
            with pytest.raises(DeadlineError):
                await hasty.get(CONFIG_MAPS, "c", namespace="shop")
        status, _, answer = await raw(cluster.client, "DELETE", FAULTS)
        assert (status, json.loads(answer)) == (200, {"rules": []})
        assert await cluster.get(CONFIG_MAPS, "c")


async def test_a_drop_rule_cuts_open_watches(tmp_path: Path) -> None:
    """A watch that was open when the rule came ends with an error or by itself, at once."""
    async with running(tmp_path, faults_enabled=True) as cluster:

        async def follow() -> None:
            async for _ in cluster.client.watch(NODES, resource_version=known):
                started.set()

        known = (await cluster.client.list(NODES)).resource_version
        # Something has happened since: the watch has an event at once.
        await cluster.client.patch(NODES, "eu-west-a-1", {"metadata": {"labels": {"seen": "yes"}}})
        started = asyncio.Event()
        watching = asyncio.create_task(follow())
        async with asyncio.timeout(10):
            await started.wait()
            await fault(cluster, {"action": "drop", "verbs": ["watch"]})
            await asyncio.wait({watching})
        assert watching.exception() is None or isinstance(watching.exception(), HanseError)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"action": "endless", "resources": ["configmaps"]}, "objects"),
        ({"action": "huge", "resources": ["configmaps"]}, "as a page of a list"),
        ({"action": "bomb", "resources": ["configmaps"]}, "as a page of a list"),
    ],
)
async def test_a_member_can_say_more_than_any(tmp_path: Path, rule: dict[str, Any], says: str) -> None:
    """Lists and bodies without end, and small ones that are large: a client takes in none of them."""
    async with running(tmp_path, faults_enabled=True) as cluster:
        await fault(cluster, rule)
        with pytest.raises(MisbehavingMemberError, match=says):
            async for _ in cluster.client.pages(CONFIG_MAPS):
                pass
        await fault(cluster)
        assert (await cluster.client.list(NODES)).items


async def test_a_member_can_flood_its_watchers_and_list_a_catalogue(tmp_path: Path) -> None:
    """A watch brings events for as long as it is read; discovery has as many resources as the rule says."""
    async with running(tmp_path, faults_enabled=True) as cluster:
        rule = {"action": "catalogue", "paths": ["/apis"], "size": 321}
        await fault(cluster, {"action": "flood", "resources": ["configmaps"]}, rule)
        versions = []
        async for _, obj in cluster.client.watch(CONFIG_MAPS, resource_version="1"):
            versions.append(int(obj["metadata"]["resourceVersion"]))
            if len(versions) == 1000:
                break
        assert versions == list(range(1, 1001))
        _, _, answer = await raw(cluster.client, "GET", "/apis")
        document = orjson.loads(answer)
        assert len(document["items"][0]["versions"][0]["resources"]) == 321


async def test_a_simulated_cluster_knows_nothing_of_federations(cluster: Cluster) -> None:
    """It serves no group of theirs, and an annotation that a federation hides is served as any other."""
    _, _, answer = await raw(cluster.client, "GET", "/apis")
    groups = {group["name"] for group in orjson.loads(answer)["groups"]}
    assert "apps" in groups
    assert groups.isdisjoint(OWN_GROUPS)
    for group in OWN_GROUPS:
        status, _, _ = await raw(cluster.client, "GET", f"/apis/{group}")
        assert status == 404
    annotations = {TRACEPARENT: "mine"}
    made = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": "default", "annotations": annotations},
    }
    created = await cluster.client.create(CONFIG_MAPS, made)
    assert created["metadata"]["annotations"] == annotations


async def test_bad_fault_rules_are_refused(tmp_path: Path) -> None:
    """A mistake in a rule is answered with what is wrong, and strangers may not set any."""
    async with running(tmp_path, faults_enabled=True) as cluster:
        for rule, complaint in (
            ({"action": "explode"}, "must be one of"),
            ({"action": "delay", "second": 1}, "no field 'second'"),
            ({"action": "status", "code": "x"}, "code must be a number"),
        ):
            body = orjson.dumps({"rules": [rule]})
            status, _, answer = await raw(cluster.client, "POST", FAULTS, body=body)
            assert status == 400
            assert complaint in answer.decode()
        authority = CertificateAuthority.load_or_create(Path(cluster.simulator.settings.pki_dir))
        weak = authority.issue("weak")
        access = ClusterAccess(
            cluster.client.access.server, ca_pem=authority.ca_pem, client_cert_pem=weak.cert_pem,
            client_key_pem=weak.key_pem,
        )  # fmt: skip
        async with ObjectClient(access) as client:
            status, _, _ = await raw(client, "GET", FAULTS)
            assert status == 403
            with pytest.raises(PermissionDeniedError):
                await client.list(PODS)


async def test_the_process_serves_and_stops(tmp_path: Path) -> None:
    """`python -m hanse_simulator` writes its ready file when it serves, and ends with 0 on SIGTERM."""
    with EtcdServer(tmp_path / "etcd") as etcd:
        values = {
            "name": "us-east", "region": "us-east", "zones": ["a"], "listen": "127.0.0.1:0",
            "etcd_endpoints": [etcd.endpoint], "etcd_prefix": "/members/us-east",
            "pki_dir": str(tmp_path / "pki"), "kubeconfig_file": str(tmp_path / "kubeconfig"),
            "ready_file": str(tmp_path / "ready.json"),
        }  # fmt: skip
        config = tmp_path / "sim.toml"
        config.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items()))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hanse_simulator", "--config", str(config),
            stderr=asyncio.subprocess.PIPE, env=dict(os.environ),
        )  # fmt: skip
        try:
            async with asyncio.timeout(60):
                while not (tmp_path / "ready.json").exists():
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
                ready = json.loads((tmp_path / "ready.json").read_text())
                assert ready["pid"] == process.pid
                access = ClusterAccess.from_kubeconfig(tmp_path / "kubeconfig")
                assert access.server == f"https://{ready['endpoints']['https']}"
                async with ObjectClient(access) as client:
                    await client.healthy()
                process.terminate()
                assert await process.wait() == 0
            assert not (tmp_path / "ready.json").exists()
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()
