"""Compiles one Service to its record sets: a pure function of what is known of the clusters.

An address is healthy when its cluster answers, has the Service with a load balancer address, and has at least
one ready endpoint. A name looks for healthy addresses in its zone, else in its region, else in the world. If
no cluster that answers has any, the last known healthy addresses of those that do not answer stand in: that
nobody can be asked does not mean that nobody is there. `hanse_dns.controller` is next: it stores what comes
out.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hanse.errors import InvalidArgumentError
from hanse_dns.names import Naming, Place

MAX_TARGETS = 1000
"""Addresses of one name: more than a DNS message over TCP takes of any kind but IPv4."""


class Scope(enum.Enum):
    """How far a name had to look for its addresses."""

    ZONE = "zone"
    REGION = "region"
    GLOBAL = "globe"


@dataclass(frozen=True, slots=True)
class ClusterView:
    """What the compiler needs to know of a cluster."""

    name: str
    region: str
    zones: tuple[str, ...]
    reachable: bool


@dataclass(frozen=True, slots=True)
class Presence:
    """A Service in one cluster: its load balancer addresses and how many of its endpoints are ready."""

    addresses: tuple[str, ...]
    ready_endpoints: int

    @property
    def healthy(self) -> bool:
        """Whether somebody answers behind an address."""
        return bool(self.addresses) and self.ready_endpoints > 0


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """One address of one cluster."""

    address: str
    cluster: str


@dataclass(frozen=True, slots=True)
class CompiledRecord:
    """A name, the addresses behind it (sorted; none if nobody is healthy) and why they are these."""

    fqdn: str
    targets: tuple[Target, ...]
    scope: Scope
    reason: str


def compile_service(
    *,
    naming: Naming,
    namespace: str,
    service: str,
    clusters: Sequence[ClusterView],
    presences: Mapping[str, Presence],
) -> tuple[CompiledRecord, ...]:
    """Return the record sets of a Service, sorted by name.

    `clusters` are all of the federation: every zone and region of theirs gets a name, whether or not the
    Service runs there. `presences` is by cluster name; clusters that lack the Service are not in it. Places
    whose names are no DNS labels are left out: they cannot be asked for.
    """
    serving, note = serving_clusters(clusters, presences)
    records = []
    for place in places(clusters):
        try:
            fqdn = naming.fqdn(namespace, service, place)
        except InvalidArgumentError:
            continue
        scope, chosen, reason = nearest(place, serving)
        targets = sorted({Target(address, c.name) for c in chosen for address in presences[c.name].addresses})
        if len(targets) > MAX_TARGETS:
            reason += f"; the first {MAX_TARGETS} of {len(targets)}"
        records.append(CompiledRecord(fqdn, tuple(targets[:MAX_TARGETS]), scope, reason + note))
    return tuple(sorted(records, key=lambda record: record.fqdn))


def serving_clusters(
    clusters: Iterable[ClusterView], presences: Mapping[str, Presence]
) -> tuple[list[ClusterView], str]:
    """Return the clusters whose addresses count, and what to add to the reason if they are not fresh."""
    healthy = [c for c in clusters if c.name in presences and presences[c.name].healthy]
    reachable = [c for c in healthy if c.reachable]
    if healthy and not reachable:
        return healthy, "; last known, as no healthy cluster can be reached"
    return reachable, ""


def places(clusters: Iterable[ClusterView]) -> list[Place]:
    """Return the globe, every region and every zone of a region."""
    found = {Place()}
    for cluster in clusters:
        if cluster.region:
            found.add(Place(cluster.region))
            found.update(Place(cluster.region, zone) for zone in cluster.zones if zone)
    return sorted(found, key=lambda place: (place.region, place.zone))


def nearest(place: Place, serving: Sequence[ClusterView]) -> tuple[Scope, list[ClusterView], str]:
    """Return the nearest scope of `place` in which somebody serves, who that is, and why."""
    region = [c for c in serving if c.region == place.region]
    lacking = []
    if place.zone:
        here = [c for c in region if place.zone in c.zones]
        if here:
            return Scope.ZONE, here, f"healthy addresses in zone {place.zone} of region {place.region}"
        lacking.append(f"zone {place.zone}")
    if place.region:
        if region:
            reason = f"healthy addresses in region {place.region}"
            return Scope.REGION, region, "; ".join([*(f"none healthy in {x}" for x in lacking), reason])
        lacking.append(f"region {place.region}")
    reason = "all healthy addresses" if serving else "no healthy address anywhere"
    return Scope.GLOBAL, list(serving), "; ".join([*(f"none healthy in {x}" for x in lacking), reason])
