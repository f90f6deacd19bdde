"""What a cluster has and serves, read from its own documents. Pure functions.

`topology` and `capacity` sum up the nodes, `catalogue` the discovery documents (aggregated discovery, which
every supported Kubernetes serves, in one request for each of /api and /apis). `hanse_registry.probe` fetches
what is read here.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hanse.api.registry.v1 import cluster_pb2
from hanse.errors import InvalidArgumentError
from hanse.kube.objects import Object
from hanse.kube.quantity import Quantity

REGION_LABELS = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
ZONE_LABELS = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
"""The labels of today and of Federation v1's days, which old nodes still carry."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Where a cluster is: the region that most of its nodes name, and every zone that any of them names."""

    region: str
    zones: tuple[str, ...]


def topology(nodes: Iterable[Object]) -> Topology:
    """Reads the region and the zones from the labels of nodes; what no node names is empty."""
    regions: Counter[str] = Counter()
    zones = set()
    for node in nodes:
        labels = node.get("metadata", {}).get("labels") or {}
        region = first_label(labels, REGION_LABELS)
        zone = first_label(labels, ZONE_LABELS)
        if region:
            regions[region] += 1
        if zone:
            zones.add(zone)
    region = min(regions, key=lambda name: (-regions[name], name), default="")
    return Topology(region, tuple(sorted(zones)))


def first_label(labels: Mapping[str, str], names: Iterable[str]) -> str:
    """The value of the first of `names` that is set, or ""."""
    return next((labels[name] for name in names if labels.get(name)), "")


def capacity(nodes: Iterable[Object]) -> cluster_pb2.Capacity:
    """Sums what the ready, schedulable nodes offer. A quantity that cannot be read counts as nothing."""
    total = ready = 0
    sums: dict[str, Quantity] = {}
    for node in nodes:
        total += 1
        status = node.get("status") or {}
        if not is_ready(status):
            continue
        ready += 1
        if (node.get("spec") or {}).get("unschedulable"):
            continue
        for resource, text in (status.get("allocatable") or {}).items():
            try:
                quantity = Quantity.parse(str(text))
            except InvalidArgumentError:
                continue
            sums[resource] = sums[resource] + quantity if resource in sums else quantity
    allocatable = {resource: str(quantity) for resource, quantity in sorted(sums.items())}
    return cluster_pb2.Capacity(allocatable=allocatable, ready_nodes=ready, total_nodes=total)


def is_ready(node_status: Mapping[str, Any]) -> bool:
    """Whether a node says that it is ready."""
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in node_status.get("conditions") or ()
    )


def catalogue(cluster: str, documents: Sequence[Object]) -> cluster_pb2.ApiCatalogue:
    """What a cluster serves, from its APIGroupDiscoveryLists (apidiscovery.k8s.io/v2 or v2beta1)."""
    found = sorted(
        (resource for document in documents for resource in resources(document)),
        key=lambda resource: (resource.group, resource.version, resource.resource),
    )
    digest = hashlib.sha256()
    for resource in found:
        digest.update(resource.SerializeToString(deterministic=True))
    return cluster_pb2.ApiCatalogue(
        name=f"clusters/{cluster}/apiCatalogue", hash=digest.hexdigest()[:16], resources=found
    )


def resources(document: Object) -> Iterator[cluster_pb2.ApiResource]:
    """The resources of one APIGroupDiscoveryList; the first version of a group is the preferred one."""
    for group in document.get("items") or ():
        for position, version in enumerate(group.get("versions") or ()):
            if version.get("freshness") == "Stale":
                continue
            for resource in version.get("resources") or ():
                kind = resource.get("responseKind") or {}
                yield cluster_pb2.ApiResource(
                    group=(group.get("metadata") or {}).get("name", ""),
                    version=version.get("version", ""),
                    resource=resource.get("resource", ""),
                    kind=kind.get("kind", ""),
                    namespaced=resource.get("scope") == "Namespaced",
                    verbs=sorted(resource.get("verbs") or ()),
                    singular=resource.get("singularResource", ""),
                    short_names=resource.get("shortNames") or (),
                    preferred=position == 0,
                    subresources=sorted(
                        part.get("subresource", "") for part in resource.get("subresources") or ()
                    ),
                )
