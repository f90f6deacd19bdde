"""What a cluster has and serves, read from its own documents. Pure functions.

`topology` and `capacity` sum up the nodes, `catalogue` the discovery documents (aggregated discovery, which
every supported Kubernetes serves, in one request for each of /api and /apis). The documents may have any
shape: what is not of the type that belongs there counts as absent. `hanse_registry.probe` fetches what is
read here.
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
from hanse.kube.untrusted import MAX_WORD, mapping, mappings, text

REGION_LABELS = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
ZONE_LABELS = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
"""The labels of today and of Federation v1's days, which old nodes still carry."""


MAX_LABEL = 63
"""Characters of a label's value."""
MAX_ZONES = 256
MAX_RESOURCES = 256
"""Resources, such as cpu, whose sums are kept of one cluster."""
MAX_WORDS = 64
"""Verbs, short names or subresources of one resource."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Where a cluster is: the region that most of its nodes name, and every zone that any of them names."""

    region: str
    zones: tuple[str, ...]


def topology(nodes: Iterable[Object]) -> Topology:
    """Reads the region and the zones from the labels of nodes; what no node names is empty."""
    regions: Counter[str] = Counter()
    zones: set[str] = set()
    for node in nodes:
        labels = mapping(mapping(node.get("metadata")).get("labels"))
        region = first_label(labels, REGION_LABELS)
        zone = first_label(labels, ZONE_LABELS)
        if region:
            regions[region] += 1
        if zone and (zone in zones or len(zones) < MAX_ZONES):
            zones.add(zone)
    region = min(regions, key=lambda name: (-regions[name], name), default="")
    return Topology(region, tuple(sorted(zones)))


def first_label(labels: Mapping[str, Any], names: Iterable[str]) -> str:
    """The value of the first of `names` that is set to a text, or ""."""
    return next((said for name in names if (said := text(labels.get(name), MAX_LABEL))), "")


def capacity(nodes: Iterable[Object]) -> cluster_pb2.Capacity:
    """Sums what the ready, schedulable nodes offer. A quantity that cannot be read counts as nothing."""
    total = ready = 0
    sums: dict[str, Quantity] = {}
    for node in nodes:
        total += 1
        status = mapping(node.get("status"))
        if not is_ready(status):
            continue
        ready += 1
        if mapping(node.get("spec")).get("unschedulable"):
            continue
        for resource, said in mapping(status.get("allocatable")).items():
            try:
                quantity = Quantity.parse(said)
            except InvalidArgumentError:
                continue
            if resource not in sums and (len(sums) >= MAX_RESOURCES or len(resource) > MAX_WORD):
                continue
            sums[resource] = sums[resource] + quantity if resource in sums else quantity
    allocatable = {resource: str(quantity) for resource, quantity in sorted(sums.items())}
    return cluster_pb2.Capacity(allocatable=allocatable, ready_nodes=ready, total_nodes=total)


def is_ready(node_status: Mapping[str, Any]) -> bool:
    """Whether a node says that it is ready."""
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in mappings(node_status.get("conditions"))
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
    for group in mappings(document.get("items")):
        for position, version in enumerate(mappings(group.get("versions"))):
            if version.get("freshness") == "Stale":
                continue
            for resource in mappings(version.get("resources")):
                kind = mapping(resource.get("responseKind"))
                yield cluster_pb2.ApiResource(
                    group=text(mapping(group.get("metadata")).get("name"), MAX_WORD),
                    version=text(version.get("version"), MAX_WORD),
                    resource=text(resource.get("resource"), MAX_WORD),
                    kind=text(kind.get("kind"), MAX_WORD),
                    namespaced=resource.get("scope") == "Namespaced",
                    verbs=sorted(words(resource.get("verbs"))),
                    singular=text(resource.get("singularResource"), MAX_WORD),
                    short_names=words(resource.get("shortNames")),
                    preferred=position == 0,
                    subresources=sorted(
                        text(part.get("subresource"), MAX_WORD)
                        for part in mappings(resource.get("subresources"), MAX_WORDS)
                    ),
                )


def words(value: Any) -> list[str]:
    """The words of a list, at most MAX_WORDS; none of anything else."""
    return (
        [text(each, MAX_WORD) for each in value[:MAX_WORDS] if isinstance(each, str)]
        if isinstance(value, list)
        else []
    )
