"""What a cluster has and serves, read from its own documents. Pure functions.

`topology` and `capacity` sum up the nodes, `catalogue` the discovery documents (aggregated discovery, which
every supported Kubernetes serves, in one request for each of /api and /apis). All of it is a member's word:
what is not of the type that belongs there counts as absent; a name that is none, or more than any cluster
has, raises MisbehavingMemberError with the bound. `hanse_registry.member.probe` fetches what is read here.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hanse.api.registry.v1 import cluster_pb2
from hanse.errors import InvalidArgumentError
from hanse.kube.client.bounds import CATALOGUE_BYTES, CATALOGUE_RESOURCES, NAME_CHARS, MisbehavingMemberError
from hanse.kube.model.objects import Object
from hanse.kube.model.quantity import Quantity
from hanse.kube.model.untrusted import mapping, mappings, text

REGION_LABELS = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
ZONE_LABELS = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
"""The labels of today and of Federation v1's days, which old nodes still carry."""
MAX_ZONES: Final = 100
"""Zones of a cluster; the clouds' regions have at most 6."""
MAX_RESOURCES: Final = 200
"""Names of what nodes can have; plain nodes have 6, those with devices some more."""
MAX_LABEL_CHARS: Final = 63
MAX_QUANTITY_CHARS: Final = 32
MAX_QUANTITY: Final = Quantity.parse("1000E")
"""More than the memory of all computers."""
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?", re.ASCII)
_RESOURCE: Final = re.compile(r"(?:[a-z0-9.-]{1,253}/)?[A-Za-z0-9][-A-Za-z0-9_.]{0,62}", re.ASCII)


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
        if zone:
            zones.add(zone)
    if len(zones) > MAX_ZONES:
        raise MisbehavingMemberError(f"its nodes are in {len(zones)} zones: more than {MAX_ZONES}")
    region = min(regions, key=lambda name: (-regions[name], name), default="")
    return Topology(region, tuple(sorted(zones)))


def first_label(labels: Mapping[str, Any], names: Iterable[str]) -> str:
    """The value of the first of `names` that is set to what a label can be, or ""."""
    return next((labels[name] for name in names if is_name(labels.get(name), MAX_LABEL_CHARS)), "")


def is_name(value: object, longest: int) -> bool:
    """Whether it is what Kubernetes has for names and label values: letters, digits, and -_. between them."""
    return isinstance(value, str) and len(value) <= longest and _NAME.fullmatch(value) is not None


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
    """Whether a node says that it is ready."""
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in mappings(node_status.get("conditions"))
    )


def catalogue(cluster: str, documents: Sequence[Object]) -> cluster_pb2.ApiCatalogue:
    """What a cluster serves, from its APIGroupDiscoveryLists (apidiscovery.k8s.io/v2 or v2beta1).

    Takes some 50 ms for the largest: not for the event loop's thread.
    """
    listed = sum(
        len(version["resources"])
        for document in documents
        for group in mappings(document.get("items"), CATALOGUE_RESOURCES)
        for version in mappings(group.get("versions"))
        if isinstance(version.get("resources"), list)
    )
    if listed > CATALOGUE_RESOURCES:
        raise MisbehavingMemberError(
            f"it lists {listed} resources, more than {CATALOGUE_RESOURCES}: no cluster does",
            metadata={"bound": str(CATALOGUE_RESOURCES)},
        )
    found = sorted(
        (resource for document in documents for resource in resources(document)),
        key=lambda resource: (resource.group, resource.version, resource.resource),
    )
    return _catalogue(f"clusters/{cluster}/apiCatalogue", found)


def with_stale(
    found: cluster_pb2.ApiCatalogue,
    stale: Collection[tuple[str, str]],
    previous: cluster_pb2.ApiCatalogue | None,
) -> cluster_pb2.ApiCatalogue:
    """A catalogue with what was known of the groups and versions of which the cluster cannot tell now.

    The cluster serves them, and whoever serves them for it is away: that they cannot be told is not that
    they are gone. Raises MisbehavingMemberError.
    """
    known = previous.resources if previous is not None else ()
    kept = [resource for resource in known if (resource.group, resource.version) in stale]
    if not kept:
        return found
    together = sorted([*found.resources, *kept], key=lambda each: (each.group, each.version, each.resource))
    return _catalogue(found.name, together)


def _catalogue(name: str, found: Sequence[cluster_pb2.ApiResource]) -> cluster_pb2.ApiCatalogue:
    digest = hashlib.sha256()
    size = 0
    for resource in found:
        encoded = resource.SerializeToString(deterministic=True)
        digest.update(encoded)
        size += len(encoded)
    if size > CATALOGUE_BYTES:
        raise MisbehavingMemberError(
            f"what it says of its {len(found)} resources has {size} bytes, more than {CATALOGUE_BYTES}",
            metadata={"bound": str(CATALOGUE_BYTES)},
        )
    return cluster_pb2.ApiCatalogue(name=name, hash=digest.hexdigest()[:16], resources=found)


def check_names(resource: cluster_pb2.ApiResource) -> None:
    """Raises MisbehavingMemberError if a name in it is not what Kubernetes lets names be."""
    names = [resource.version, resource.resource, resource.kind, *resource.verbs, *resource.short_names]
    names += [
        name for part in (resource.singular, *resource.subresources) for name in part.split("/") if part
    ]
    fine = not resource.group or is_name(resource.group, NAME_CHARS)
    if not fine or not all(is_name(name, MAX_LABEL_CHARS) for name in names):
        raise MisbehavingMemberError(
            f"it serves {resource.resource[:MAX_LABEL_CHARS]!r} of {resource.group[:NAME_CHARS]!r}, with a "
            f"name that is none: at most {MAX_LABEL_CHARS} letters, digits and -_."
        )


def stale(documents: Sequence[Object]) -> frozenset[tuple[str, str]]:
    """The groups and versions that the cluster serves and cannot tell about now."""
    return frozenset(
        (_word(mapping(group.get("metadata")).get("name")), _word(version.get("version")))
        for document in documents
        for group in mappings(document.get("items"), CATALOGUE_RESOURCES)
        for version in mappings(group.get("versions"))
        if version.get("freshness") == "Stale"
    )


def resources(document: Object) -> Iterator[cluster_pb2.ApiResource]:
    """The resources of one APIGroupDiscoveryList; the first version of a group is the preferred one."""
    for group in mappings(document.get("items"), CATALOGUE_RESOURCES):
        for position, version in enumerate(mappings(group.get("versions"))):
            if version.get("freshness") == "Stale":
                continue
            for resource in mappings(version.get("resources"), CATALOGUE_RESOURCES):
                served = cluster_pb2.ApiResource(
                    group=_word(mapping(group.get("metadata")).get("name")),
                    version=_word(version.get("version")),
                    resource=_word(resource.get("resource")),
                    kind=_word(mapping(resource.get("responseKind")).get("kind")),
                    namespaced=resource.get("scope") == "Namespaced",
                    verbs=sorted(_words(resource.get("verbs"))),
                    singular=_word(resource.get("singularResource")),
                    short_names=_words(resource.get("shortNames")),
                    preferred=position == 0,
                    subresources=sorted(
                        _word(part.get("subresource")) for part in mappings(resource.get("subresources"))
                    ),
                )
                check_names(served)
                yield served


def _word(value: Any) -> str:
    return text(value, NAME_CHARS + 1)  # one more than there may be, so that it is found to be too long


def _words(value: Any) -> list[str]:
    return [_word(each) for each in value] if isinstance(value, list) else []
