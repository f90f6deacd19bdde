"""A zone in the form in which it is answered from: every answer is bytes before the question comes.

`compile_zone` turns record sets into a `CompiledZone`, which never changes afterwards: the server swaps whole
zones, so that no question sees half a change. Owner names in answers are compression pointers to the question
(offset 12), which is why the same bytes serve any spelling of the name. `hanse_dns.responder` is next.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import dns.name
import dns.rdatatype

A = int(dns.rdatatype.A)
AAAA = int(dns.rdatatype.AAAA)
CNAME = int(dns.rdatatype.CNAME)
NS = int(dns.rdatatype.NS)
SOA = int(dns.rdatatype.SOA)
ANY = int(dns.rdatatype.ANY)
IN = 1
QUESTION_NAME = b"\xc0\x0c"
"""Compression pointer to the name of the first question, RFC 1035 section 4.1.4."""

SOA_REFRESH, SOA_RETRY, SOA_EXPIRE = 300, 60, 86_400
"""Seconds for secondaries: short, because health moves; a day until a secondary gives up."""


@dataclass(frozen=True, slots=True)
class Name:
    """What a zone knows of one name before it is compiled: addresses or host names, and their TTL in
    seconds.
    """

    fqdn: str
    addresses: tuple[str, ...]
    ttl: int


@dataclass(frozen=True, slots=True)
class RecordGroup:
    """The resource records of one name and type: each is whole wire format, so that their order can
    rotate.
    """

    records: tuple[bytes, ...]
    rdata: tuple[tuple[int, bytes], ...]

    def rotated(self, turn: int) -> bytes:
        """All records, beginning with number `turn` modulo their count."""
        start = turn % len(self.records)
        return b"".join(self.records[start:] + self.records[:start])


Node = dict[int, RecordGroup]
"""The record groups of a name by type; empty for a name that only has names below it."""


@dataclass(frozen=True, slots=True)
class CompiledZone:
    """A zone ready to be asked. `nodes` is by owner name in lower case wire format."""

    origin: bytes
    origin_text: str
    serial: int
    nodes: dict[bytes, Node]
    negative_soa: bytes
    """SOA record for the authority section of NXDOMAIN and NODATA; its owner is the full origin."""

    def contains(self, name: bytes) -> bool:
        """Whether `name`, lower case wire format, is at or below the origin."""
        if not name.endswith(self.origin):
            return False
        rest = len(name) - len(self.origin)
        position = 0
        while position < rest:
            position += 1 + name[position]
        return position == rest


def compile_zone(
    *,
    origin: str,
    serial: int,
    names: Iterable[Name],
    name_servers: Sequence[tuple[str, str]],
    negative_ttl: int,
) -> CompiledZone:
    """Compiles a zone.

    `origin` has the dot at its end. `name_servers` are (fqdn, address) and come with address records when
    they are below the origin. `negative_ttl`, seconds, is how long resolvers may remember that a name is
    missing (RFC 2308).
    """
    nodes: dict[bytes, Node] = {}
    for name in names:
        add_addresses(nodes, name)
    apex = wire(origin)
    for server, address in name_servers:
        if server.endswith("." + origin):
            add_addresses(nodes, Name(server, (address,), negative_ttl))
    primary = name_servers[0][0]
    soa = wire(primary) + wire(f"hostmaster.{origin}")
    soa += struct.pack("!IIIII", serial, SOA_REFRESH, SOA_RETRY, SOA_EXPIRE, negative_ttl)
    nodes[apex] = {
        **nodes.get(apex, {}),
        SOA: group([(SOA, soa)], negative_ttl),
        NS: group([(NS, wire(server)) for server, _ in name_servers], SOA_EXPIRE),
    }
    for owner in list(nodes):
        add_ancestors(nodes, owner, apex)
    return CompiledZone(
        origin=apex,
        origin_text=origin,
        serial=serial,
        nodes=nodes,
        negative_soa=record(apex, SOA, soa, negative_ttl),
    )


def add_addresses(nodes: dict[bytes, Node], name: Name) -> None:
    """Adds the A and AAAA records of a name, or a CNAME when all it has is a host name.

    A name without addresses exists all the same: it is answered with NODATA. A CNAME tolerates no record
    beside it (RFC 1034 section 3.6.2), so host names only count where there is no address, and the first
    stands for all.
    """
    node = nodes.setdefault(wire(name.fqdn), {})
    by_type: dict[int, list[tuple[int, bytes]]] = {}
    hosts = []
    for address in name.addresses:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            hosts.append(address)
            continue
        kind = A if ip.version == 4 else AAAA
        by_type.setdefault(kind, []).append((kind, ip.packed))
    if not by_type and hosts:
        target = min(hosts)
        by_type[CNAME] = [(CNAME, wire(target if target.endswith(".") else f"{target}."))]
    for kind, rdata in by_type.items():
        node[kind] = group(rdata, name.ttl)


def add_ancestors(nodes: dict[bytes, Node], owner: bytes, apex: bytes) -> None:
    """Makes the names between `owner` and the apex exist, so that they answer NODATA (RFC 8020)."""
    name = owner
    while len(name) > len(apex):
        name = name[1 + name[0] :]
        nodes.setdefault(name, {})


def group(rdata: Sequence[tuple[int, bytes]], ttl: int) -> RecordGroup:
    """A record group whose owner is the question's name."""
    unique = tuple(dict.fromkeys(rdata))
    return RecordGroup(tuple(record(QUESTION_NAME, kind, data, ttl) for kind, data in unique), unique)


def record(owner: bytes, kind: int, rdata: bytes, ttl: int) -> bytes:
    """One resource record in wire format, RFC 1035 section 4.1.3."""
    return owner + struct.pack("!HHIH", kind, IN, ttl, len(rdata)) + rdata


def wire(fqdn: str) -> bytes:
    """A name in lower case wire format without compression."""
    return dns.name.from_text(fqdn).canonicalize().to_wire() or b"\x00"
