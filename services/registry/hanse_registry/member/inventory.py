"""What a cluster has and serves, read from its own documents. Pure functions.

`topology` and `capacity` sum up the nodes, `catalogue` what `hanse.kube.client.discovery` has read. All of it
is a member's word: of a node, what is not of the type that belongs there counts as absent; a name that is
none, or more than any cluster has, raises MisbehavingMemberError with the bound.

Next: `hanse_registry.member.probe`, which fetches what is read here.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hanse.api.registry.v1 import cluster_pb2
from hanse.errors import InvalidArgumentError
from hanse.kube.client.bounds import CATALOGUE_BYTES, MisbehavingMemberError
from hanse.kube.client.discovery import MAX_LABEL_CHARS, ServedApis, ServedResource, is_name
from hanse.kube.model.objects import Object
from hanse.kube.model.quantity import Quantity
from hanse.kube.model.untrusted import mapping, mappings
from hanse.well_known import REGION_LABEL, ZONE_LABEL

REGION_LABELS = (REGION_LABEL, "failure-domain.beta.kubernetes.io/region")
ZONE_LABELS = (ZONE_LABEL, "failure-domain.beta.kubernetes.io/zone")
"""The labels of today and of Federation v1's days, which old nodes still carry."""
MAX_ZONES: Final = 100
"""Zones of a cluster; the clouds' regions have at most 6."""
MAX_RESOURCES: Final = 200
"""Names of what nodes can have; plain nodes have 6, those with devices some more."""
MAX_QUANTITY_CHARS: Final = 32
MAX_QUANTITY: Final = Quantity.parse("1000E")
"""More than the memory of all computers."""
_RESOURCE: Final = re.compile(r"(?:[a-z0-9.-]{1,253}/)?[A-Za-z0-9][-A-Za-z0-9_.]{0,62}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Topology:
    """Where a cluster is: the region that most of its nodes name, and every zone that any of them names."""

    region: str
    zones: tuple[str, ...]


def topology(nodes: Iterable[Object]) -> Topology:
    """Return the region and the zones by the labels of nodes; what no node names is empty."""
    regions: Counter[str] = Counter()
    zones: set[str] = set()
    for node in nodes:
        labels = mapping(mapping(node.get("metadata")).get("labels"))
        region = first_label(labels, REGION_LABELS)
        zone = first_label(labels, ZONE_LABELS)
        if region:
            regions[region] += 1
        if zone:
            zones.add(zone)
    if len(zones) > MAX_ZONES:
        raise MisbehavingMemberError(f"its nodes are in {len(zones)} zones: more than {MAX_ZONES}")
    region = min(regions, key=lambda name: (-regions[name], name), default="")
    return Topology(region, tuple(sorted(zones)))


def first_label(labels: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return the value of the first of `names` that is set to what a label can be, or ""."""
    return next((labels[name] for name in names if is_name(labels.get(name), MAX_LABEL_CHARS)), "")


def capacity(nodes: Iterable[Object]) -> cluster_pb2.Capacity:
    """Return the sum of what the ready, schedulable nodes offer. An unreadable quantity counts as nothing."""
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
            quantity = _quantity(said)
            if quantity is not None and _RESOURCE.fullmatch(resource):
                sums[resource] = sums[resource] + quantity if resource in sums else quantity
        if len(sums) > MAX_RESOURCES:
            raise MisbehavingMemberError(f"its nodes offer more than {MAX_RESOURCES} kinds of resources")
    allocatable = {resource: str(quantity) for resource, quantity in sorted(sums.items())}
    return cluster_pb2.Capacity(allocatable=allocatable, ready_nodes=ready, total_nodes=total)


def _quantity(said: object) -> Quantity | None:
    if isinstance(said, int) and abs(said) < 10**MAX_QUANTITY_CHARS:
        said = str(said)
    if not isinstance(said, str) or len(said) > MAX_QUANTITY_CHARS:
        return None
    try:
        quantity = Quantity.parse(said)
    except InvalidArgumentError:
        return None
    return quantity if -MAX_QUANTITY < quantity < MAX_QUANTITY else None


def is_ready(node_status: Mapping[str, Any]) -> bool:
    """Return whether a node says that it is ready."""
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in mappings(node_status.get("conditions"))
    )


def catalogue(
    cluster: str, served: ServedApis, previous: cluster_pb2.ApiCatalogue | None = None
) -> cluster_pb2.ApiCatalogue:
    """Return what a cluster serves, with what was known before of the groups that it cannot tell of now.

    Takes some 20 ms for the largest: not for the event loop's thread. Raises MisbehavingMemberError.
    """
    found = {_identity(resource): resource for resource in map(_message, served.resources) if resource.verbs}
    for resource in previous.resources if previous is not None else ():
        if (resource.group, resource.version) in served.unknown:
            found.setdefault(_identity(resource), resource)
    made = cluster_pb2.ApiCatalogue(
        name=f"clusters/{cluster}/apiCatalogue",
        resources=[found[identity] for identity in sorted(found)],
        unknown=[
            cluster_pb2.ApiGroupVersion(group=group, version=version)
            for group, version in sorted(served.unknown)
        ],
    )
    digest = hashlib.sha256()
    size = 0
    for message in (*made.resources, *made.unknown):
        encoded = message.SerializeToString(deterministic=True)
        digest.update(encoded)
        size += len(encoded)
    if size > CATALOGUE_BYTES:
        raise MisbehavingMemberError(
            f"what it says of its {len(found)} resources has {size} bytes, more than {CATALOGUE_BYTES}",
            metadata={"bound": str(CATALOGUE_BYTES)},
        )
    made.hash = digest.hexdigest()[:16]
    return made


def _identity(resource: cluster_pb2.ApiResource) -> tuple[str, str, str]:
    return resource.group, resource.version, resource.resource


def _message(served: ServedResource) -> cluster_pb2.ApiResource:
    return cluster_pb2.ApiResource(
        group=served.group,
        version=served.version,
        resource=served.resource,
        kind=served.kind,
        namespaced=served.namespaced,
        verbs=sorted(served.verbs),
        singular=served.singular,
        short_names=served.short_names,
        preferred=served.preferred,
        subresources=sorted(name for name, _ in served.subresources),
    )
