"""Compiles one Service to its record sets: a pure function of what is known of the clusters.

An address is healthy when its cluster answers, has the Service with a load balancer address, and has at least
one ready endpoint. A name looks for healthy addresses in its zone, else in its region, else in the world. If
no cluster that answers has any, the last known healthy addresses of those that do not answer stand in: that
nobody can be asked does not mean that nobody is there. `hanse_dns.controller` is next: it stores what comes
out.

A load balancer may have a host name instead of an address. A name tells all its clusters: host names are
resolved to addresses (`hanse_dns.resolution`), and stand beside those of others. Where one host name is all
that there is, a CNAME is the better answer: who asks resolves it, near to where he is, and always currently.
A name says which clusters have the Service and are left out, and why.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hanse.addresses import is_ip_address
from hanse.errors import InvalidArgumentError
from hanse_dns.names import Naming, Place
from hanse_dns.resolution import Resolution

MAX_TARGETS = 1000
"""Addresses of one name: more than a DNS message over TCP takes of any kind but IPv4."""
MAX_LEFT_OUT = 100
"""Clusters that a name says are left out."""
Resolve = Callable[[str], Resolution]
"""Returns what is known of a host name."""
UNRESOLVED = Resolution(problem="host names are not resolved")


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
    uid: str = ""
    """metadata.uid of the federated Service that this is said of, "" if it is not said."""

    @property
    def healthy(self) -> bool:
        """Whether somebody answers behind an address."""
        return bool(self.addresses) and self.ready_endpoints > 0


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """One address of one cluster. `host` is the host name that was resolved to it; `stale` says why it could
    not be resolved again.
    """

    address: str
    cluster: str
    host: str = ""
    stale: str = ""


@dataclass(frozen=True, slots=True, order=True)
class LeftOut:
    """A cluster that has the Service, of which a name does not answer an address, and why."""

    cluster: str
    reason: str


@dataclass(frozen=True, slots=True)
class CompiledRecord:
    """A name, the addresses behind it (sorted; none if nobody is healthy), why they are these, and who is
    left out. `ttl` is how long resolved addresses may be kept, in seconds; None if none are.
    """

    fqdn: str
    targets: tuple[Target, ...]
    scope: Scope
    reason: str
    left_out: tuple[LeftOut, ...] = ()
    ttl: int | None = None


def compile_service(
    *,
    naming: Naming,
    namespace: str,
    service: str,
    clusters: Sequence[ClusterView],
    presences: Mapping[str, Presence],
    resolve: Resolve = lambda host: UNRESOLVED,
) -> tuple[CompiledRecord, ...]:
    """Return the record sets of a Service, sorted by name.

    `clusters` are all of the federation: every zone and region of theirs gets a name, whether or not the
    Service runs there. `presences` is by cluster name; clusters that lack the Service are not in it. Places
    whose names are no DNS labels are left out: they cannot be asked for.
    """
    serving, note = serving_clusters(clusters, presences)
    unhealthy = [
        (c, why) for c in clusters if c not in serving and (why := why_not(c, presences.get(c.name)))
    ]
    records = []
    for place in places(clusters):
        try:
            fqdn = naming.fqdn(namespace, service, place)
        except InvalidArgumentError:
            continue
        scope, chosen, reason = nearest(place, serving)
        targets, silent, ttl = answered(chosen, presences, resolve=resolve)
        if len(targets) > MAX_TARGETS:
            reason += f"; the first {MAX_TARGETS} of {len(targets)}"
        out = {*silent, *(LeftOut(c.name, why) for c, why in unhealthy if is_in(c, place))}
        records.append(
            CompiledRecord(
                fqdn,
                tuple(targets[:MAX_TARGETS]),
                scope,
                reason + note,
                left_out=tuple(sorted(out)[:MAX_LEFT_OUT]),
                ttl=ttl,
            )
        )
    return tuple(sorted(records, key=lambda record: record.fqdn))


def answered(
    chosen: Iterable[ClusterView], presences: Mapping[str, Presence], *, resolve: Resolve
) -> tuple[list[Target], list[LeftOut], int | None]:
    """Return the addresses of clusters, sorted, who of them is left out, and how long that may be kept.

    One host name that is all there is stays as it is. If none of several can be resolved, the first stands
    for all, as an answer is better than none.
    """
    plain: set[Target] = set()
    hosts: set[tuple[str, str]] = set()
    for cluster in chosen:
        for address in presences[cluster.name].addresses:
            if is_ip_address(address):
                plain.add(Target(address, cluster.name))
            else:
                hosts.add((cluster.name, address))
    if not plain and len({host.rstrip(".").lower() for _, host in hosts}) == 1:
        return sorted(Target(host, name) for name, host in hosts), [], None
    targets, out, ttls = set(plain), [], []
    for name, host in sorted(hosts):
        known = resolve(host)
        targets |= {Target(address, name, host=host, stale=known.problem) for address in known.addresses}
        if known.addresses:
            ttls.append(max(1, known.ttl))
        else:
            out.append(LeftOut(name, f"its host name {host} has no address: {known.problem}"))
    if not targets and hosts:
        first = min(host for _, host in hosts)
        out = [each for each, (_, host) in zip(out, sorted(hosts), strict=True) if host != first]
        return sorted(Target(host, name) for name, host in hosts if host == first), out, None
    return sorted(targets), out, min(ttls, default=None)


def why_not(cluster: ClusterView, presence: Presence | None) -> str:
    """Return why a cluster that has the Service, and does not serve, is left out; "" if it lacks it."""
    if presence is None:
        return ""
    if not presence.addresses:
        return "its load balancer has no address"
    if not presence.ready_endpoints:
        return "no endpoint is ready"
    return "the cluster cannot be reached"


def is_in(cluster: ClusterView, place: Place) -> bool:
    """Return whether a cluster is in a place."""
    return (not place.region or cluster.region == place.region) and (
        not place.zone or place.zone in cluster.zones
    )


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
