"""What the simulator's tests share: a cluster in this process, a client, kubectl, waiting with a deadline."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from hanse_simulator.app import Simulator
from hanse_simulator.settings import SimulatorSettings

from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.requests import GroupVersionResource
from hanse.kube.model.objects import Object, mapping
from hanse.store import MemoryStore, Store
from tests.support.machine.programs import Ran, run_program
from tests.support.object_client import ObjectClient

PODS = GroupVersionResource("v1", "pods")
NODES = GroupVersionResource("v1", "nodes")
SERVICES = GroupVersionResource("v1", "services")
ENDPOINTS = GroupVersionResource("v1", "endpoints")
SLICES = GroupVersionResource("discovery.k8s.io/v1", "endpointslices")
NAMESPACES = GroupVersionResource("v1", "namespaces")
CONFIG_MAPS = GroupVersionResource("v1", "configmaps")
EVENTS = GroupVersionResource("v1", "events")
CLAIMS = GroupVersionResource("v1", "persistentvolumeclaims")
VOLUMES = GroupVersionResource("v1", "persistentvolumes")
DEPLOYMENTS = GroupVersionResource("apps/v1", "deployments")
REPLICA_SETS = GroupVersionResource("apps/v1", "replicasets")
STATEFUL_SETS = GroupVersionResource("apps/v1", "statefulsets")
DAEMON_SETS = GroupVersionResource("apps/v1", "daemonsets")
JOBS = GroupVersionResource("batch/v1", "jobs")

DEADLINE = 20.0


class Cluster:
    """A running simulated cluster and how to talk to it. Everything is in the namespace `shop`."""

    def __init__(self, simulator: Simulator, client: ObjectClient) -> None:
        self.simulator = simulator
        self.client = client

    async def until(self, check: Callable[[], Any], *, what: str) -> Any:
        """Wait until an async check returns something true; return that."""
        end = asyncio.get_running_loop().time() + DEADLINE
        while True:
            found = await check()
            if found:
                return found
            assert asyncio.get_running_loop().time() < end, f"never happened: {what}"
            await asyncio.sleep(0.02)

    async def create(self, resource: GroupVersionResource, obj: Object) -> Object:
        """Create an object in the namespace."""
        metadata = {"namespace": "shop", **obj["metadata"]}
        return await self.client.create(resource, {**obj, "metadata": metadata})

    async def get(self, resource: GroupVersionResource, name: str) -> Object:
        """Read an object in the namespace."""
        return await self.client.get(resource, name, namespace="shop")

    async def patch(self, resource: GroupVersionResource, name: str, patch: Any) -> Object:
        """Merge-patch an object in the namespace."""
        return await self.client.patch(resource, name, patch, namespace="shop")

    async def all(self, resource: GroupVersionResource, label_selector: str = "") -> list[Object]:
        """List objects in the namespace."""
        found = await self.client.list(resource, namespace="shop", label_selector=label_selector)
        return list(found.items)

    async def pods(self, app: str) -> list[Object]:
        """List the Pods with a label app that are not being deleted."""
        found = await self.all(PODS, f"app={app}")
        return [p for p in found if not p["metadata"].get("deletionTimestamp")]

    async def status(self, resource: GroupVersionResource, name: str, **wanted: object) -> Object:
        """Wait until an object's status has these values, None for absent, of its generation."""

        async def check() -> Object | None:
            obj = await self.get(resource, name)
            status = mapping(obj, "status")
            observed = status.get("observedGeneration", obj["metadata"]["generation"])
            current = observed == obj["metadata"]["generation"]
            return obj if current and all(status.get(k) == v for k, v in wanted.items()) else None

        found: Object = await self.until(check, what=f"{resource.plural} {name} with status {wanted}")
        return found

    async def gone(self, resource: GroupVersionResource) -> None:
        """Wait until no such object is left in the namespace."""

        async def check() -> bool:
            return not await self.all(resource)

        await self.until(check, what=f"no {resource.plural} left")

    async def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> Ran:
        """Run kubectl as the administrator."""
        environment = {
            **os.environ,
            "KUBECONFIG": self.simulator.settings.kubeconfig_file,
            "HOME": "/nowhere",
        }
        cache = f"--cache-dir={Path(self.simulator.settings.pki_dir) / 'cache'}"
        ran = await run_program("kubectl", cache, *arguments, environment=environment, stdin=stdin)
        assert ran.code == 0 or not check, ran
        return ran


def settings(directory: Path, **changes: Any) -> SimulatorSettings:
    """Return settings for a fast cluster with two zones."""
    values: dict[str, Any] = {
        "name": "eu-west", "region": "eu-west", "zones": ("a", "b"),
        "pki_dir": str(directory / "pki"), "kubeconfig_file": str(directory / "kubeconfig"),
        "pod_start_seconds": 0.02, "pod_stop_seconds": 0.02, "job_seconds": 0.05,
    }  # fmt: skip
    return SimulatorSettings(**{**values, **changes})


@asynccontextmanager
async def running(directory: Path, *, store: Store | None = None, **changes: Any) -> AsyncIterator[Cluster]:
    """Run a cluster, in memory unless a store is given, with the namespace `shop`."""
    made = store or MemoryStore()
    async with Simulator(made, settings(directory, **changes)) as simulator:
        access = ClusterAccess.from_kubeconfig(simulator.settings.kubeconfig_file)
        async with ObjectClient(access) as client:
            cluster = Cluster(simulator, client)
            if not (await client.list(NAMESPACES, field_selector="metadata.name=shop")).items:
                await client.create(
                    NAMESPACES,
                    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
                )
            yield cluster
    if store is None:
        await made.close()


def template(app: str, *, image: str = "web:1", **spec: Any) -> Object:
    """Return a Pod template with a label app."""
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "image": image, "ports": [{"containerPort": 80}]}], **spec},
    }


def workload(kind: str, name: str, **spec: Any) -> Object:
    """Return a Deployment, ReplicaSet, StatefulSet or DaemonSet that selects app=`name`."""
    return {
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template(name), **spec},
    }  # fmt: skip


def image_patch(image: str) -> Object:
    """Return a merge patch that changes a workload's image."""
    container = {"name": "c", "image": image, "ports": [{"containerPort": 80}]}
    return {"spec": {"template": {"spec": {"containers": [container]}}}}


def conditions(obj: Object) -> Mapping[str, str]:
    """Return an object's conditions: type to status."""
    return {c["type"]: c["status"] for c in mapping(obj, "status").get("conditions", [])}


def zones(slices: list[Object]) -> list[str]:
    """Return the zones of the ready endpoints of slices, in order."""
    return sorted(e["zone"] for s in slices for e in s["endpoints"] if e["conditions"]["ready"])


def dump(*objects: Object) -> str:
    """Return objects as a file for kubectl."""
    return yaml.safe_dump_all(objects)
