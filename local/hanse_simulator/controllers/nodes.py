"""The nodes of a cluster, and what else a new cluster has: a StorageClass, the `kubernetes` Service, and the
ClusterRole `cluster-admin`.

`found` makes what is missing and is run at every start. Nodes send no heartbeats: an idle cluster writes
nothing. Next: `hanse_simulator.app`.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from hanse.errors import AlreadyExistsError
from hanse.kube.model.objects import Object
from hanse.well_known import REGION_LABEL, ZONE_LABEL
from hanse_simulator.access.rules import CLUSTER_ADMIN, EVERYTHING
from hanse_simulator.addresses import number, text
from hanse_simulator.settings import SimulatorSettings
from hanse_simulator.world import (
    CLUSTER_ROLES,
    ENDPOINT_SLICES,
    NODES,
    SERVICES,
    STORAGE_CLASSES,
    ClusterContext,
    Resource,
)

PROVISIONER = "simulator.hanse.dev"
_VERSION = "v1.32.0"


async def found(world: ClusterContext, settings: SimulatorSettings, *, address: str) -> None:
    """Make the nodes and the other objects of a new cluster that do not exist. `address` is the API's."""
    for node in nodes(settings, now=world.stamp()):
        await _ensure(world, NODES, node, manager="kubelet")
    await _ensure(world, STORAGE_CLASSES, _storage_class())
    await _ensure(world, CLUSTER_ROLES, _cluster_admin(), manager="kube-apiserver")
    service_ip = text((number(str(settings.services_range.network_address)) or 0) + 1)
    await _ensure(world, SERVICES, _kubernetes(service_ip), manager="kube-apiserver")
    await _point(world, address)


def nodes(settings: SimulatorSettings, *, now: str) -> list[Object]:
    """Return the nodes that a cluster begins with."""
    result: list[Object] = []
    for zone in settings.zones:
        for index in range(1, settings.nodes_per_zone + 1):
            result.append(_node(settings, zone, index, number_=len(result) + 1, now=now))
    return result


def _node(settings: SimulatorSettings, zone: str, index: int, *, number_: int, now: str) -> Object:
    name = f"{settings.name}-{zone}-{index}".lower().replace("_", "-")
    resources = {
        "cpu": settings.node_cpu,
        "memory": settings.node_memory,
        "pods": str(settings.node_pods),
        "ephemeral-storage": "100Gi",
    }
    conditions = [
        _condition("MemoryPressure", "False", "KubeletHasSufficientMemory", now=now),
        _condition("DiskPressure", "False", "KubeletHasNoDiskPressure", now=now),
        _condition("PIDPressure", "False", "KubeletHasSufficientPID", now=now),
        _condition("Ready", "True", "KubeletReady", now=now),
    ]
    labels = {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": name,
        "node.kubernetes.io/instance-type": "simulated",
        REGION_LABEL: settings.region,
        ZONE_LABEL: zone,
    }
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"providerID": f"simulated://{settings.name}/{zone}/{name}"},
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "conditions": conditions,
            "addresses": [
                {"type": "InternalIP", "address": _node_address(number_)},
                {"type": "Hostname", "address": name},
            ],
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "osImage": "Hanse simulator",
                "kernelVersion": "0", "containerRuntimeVersion": "simulated://1", "machineID": name,
                "systemUUID": name, "bootID": name, "kubeletVersion": _VERSION, "kubeProxyVersion": _VERSION,
            },
        },
    }  # fmt: skip


def _node_address(index: int) -> str:
    return text(0xAC100000 + index)  # 172.16.0.0/12


def _condition(kind: str, status: str, reason: str, *, now: str) -> dict[str, Any]:
    return {
        "type": kind, "status": status, "reason": reason, "message": "simulated",
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    }  # fmt: skip


def _storage_class() -> Object:
    return {
        "metadata": {
            "name": "standard",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }


def _cluster_admin() -> Object:
    labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    return {"metadata": {"name": CLUSTER_ADMIN, "labels": labels}, "rules": [dict(r) for r in EVERYTHING]}


def _kubernetes(service_ip: str) -> Object:
    return {
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": service_ip, "clusterIPs": [service_ip],
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
        },
    }  # fmt: skip


async def _point(world: ClusterContext, address: str) -> None:
    """Let the `kubernetes` Service name where the API is served; the port may differ after a restart."""
    host, _, port = address.rpartition(":")
    if ip_address(host).is_loopback:
        return  # no EndpointSlice may hold one; a real control plane has none then, either
    wanted = {
        "endpoints": [{"addresses": [host], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": int(port), "protocol": "TCP"}],
    }
    known = world.get(ENDPOINT_SLICES, "default", "kubernetes")
    if known is None:
        metadata = {
            "name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        }  # fmt: skip
        slice_ = {"metadata": metadata, "addressType": "IPv4", **wanted}
        await _ensure(world, ENDPOINT_SLICES, slice_, manager="kube-apiserver")
    elif any(known.get(field) != value for field, value in wanted.items()):
        await world.modify(ENDPOINT_SLICES, known, lambda obj: {**obj, **wanted}, manager="kube-apiserver")


async def _ensure(
    world: ClusterContext, resource: Resource, obj: Object, *, manager: str = "kube-controller-manager"
) -> None:
    metadata = obj["metadata"]
    if world.get(resource, metadata.get("namespace", ""), metadata["name"]) is not None:
        return
    try:
        await world.create(resource, obj, manager=manager)
    except AlreadyExistsError:
        return
