"""A zone in the form in which it is answered from: every answer is bytes before the question comes.

`CompiledZone` takes names in and out one at a time, so that a change of one name costs the same in a zone of
ten thousand. Owner names in answers are compression pointers to the question (offset 12), which is why the
same bytes serve any spelling of the name. `hanse_dns.serving.responder` is next.
"""

from __future__ import annotations

import ipaddress
import struct
from collections import Counter
from collections.abc import Sequence
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

    def rotated(self, turn: int) -> bytes:
        """Return all records, beginning with number `turn` modulo their count."""
        start = turn % len(self.records)
        return b"".join(self.records[start:] + self.records[:start])


Node = dict[int, RecordGroup]
"""The record groups of a name by type; empty for a name that only has names below it."""


class CompiledZone:
    """A zone that is answered from. All changes are synchronous, so no question sees half of one.

    `origin` has the dot at its end. `name_servers` are (fqdn, address); those below the origin get address
    records, unless the address is "". `negative_ttl`, seconds, is how long resolvers may remember that a name
    is missing (RFC 2308).
    """

    def __init__(
        self, *, origin: str, serial: int, name_servers: Sequence[tuple[str, str]], negative_ttl: int
    ) -> None:
        self.origin = wire(origin)
        self.origin_text = origin
        self.serial = serial
        self.nodes: dict[bytes, Node] = {self.origin: {}}
        """Record groups by type, by owner name in lower case wire format."""
        self.negative_soa = b""
        """SOA record for the authority section of NXDOMAIN and NODATA."""
        self._named: set[bytes] = set()
        self._below: Counter[bytes] = Counter()
        self._name_servers = tuple(name_servers)
        self._negative_ttl = negative_ttl
        for server, address in name_servers:
            if address and server.endswith("." + origin):
                self.put(Name(server, (address,), negative_ttl))
        self.set_serial(serial)

    def set_serial(self, serial: int) -> None:
        """Change the serial of the SOA record, RFC 1982 arithmetic modulo 2**32."""
        self.serial = serial & 0xFFFFFFFF
        soa = wire(self._name_servers[0][0]) + wire(f"hostmaster.{self.origin_text}")
        soa += struct.pack("!IIIII", self.serial, SOA_REFRESH, SOA_RETRY, SOA_EXPIRE, self._negative_ttl)
        servers = [(NS, wire(server)) for server, _ in self._name_servers]
        self.nodes[self.origin] |= {
            SOA: group([(SOA, soa)], self._negative_ttl),
            NS: group(servers, SOA_EXPIRE),
        }
        self.negative_soa = record(self.origin, SOA, soa, self._negative_ttl)

    def put(self, name: Name) -> None:
        """Add a name below the origin or replaces its records.

        The names between it and the origin come to exist with it, and answer NODATA (RFC 8020). Raises
        DNSException, and changes nothing, if the name or an address of it fits into no DNS message.
        """
        owner, records = wire(name.fqdn), address_records(name)
        if owner not in self._named:
            self._named.add(owner)
            self._below.update(self._ancestors(owner))
        self.nodes[owner] = records
        for ancestor in self._ancestors(owner):
            self.nodes.setdefault(ancestor, {})

    def remove(self, fqdn: str) -> None:
        """Take a name out, and the names above it that only existed for it."""
        owner = wire(fqdn)
        if owner not in self._named:
            return
        self._named.discard(owner)
        ancestors = self._ancestors(owner)
        self._below.subtract(ancestors)
        self.nodes[owner] = {}
        for name in (owner, *ancestors):
            if not self._below[name] and name not in self._named:
                del self._below[name]
                self.nodes.pop(name, None)

    def contains(self, name: bytes) -> bool:
        """Return whether `name`, lower case wire format, is at or below the origin."""
        if not name.endswith(self.origin):
            return False
        rest = len(name) - len(self.origin)
        position = 0
        while position < rest:
            position += 1 + name[position]
        return position == rest

    def _ancestors(self, owner: bytes) -> list[bytes]:
        """Return the names between `owner` and the origin, without both."""
        found = []
        name = owner[1 + owner[0] :]
        while len(name) > len(self.origin):
            found.append(name)
            name = name[1 + name[0] :]
        return found


def address_records(name: Name) -> Node:
    """Return the A and AAAA records of a name, or a CNAME when all it has is a host name.

    A CNAME tolerates no record beside it (RFC 1034 section 3.6.2), so host names only count where there is
    no address, and the first stands for all.
    """
    hosts = []
    by_type: dict[int, list[tuple[int, bytes]]] = {}
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
    return {kind: group(rdata, name.ttl) for kind, rdata in by_type.items()}


def group(rdata: Sequence[tuple[int, bytes]], ttl: int) -> RecordGroup:
    """Return a record group whose owner is the question's name."""
    unique = tuple(dict.fromkeys(rdata))
    return RecordGroup(tuple(record(QUESTION_NAME, kind, data, ttl) for kind, data in unique))


def record(owner: bytes, kind: int, rdata: bytes, ttl: int) -> bytes:
    """Return one resource record in wire format, RFC 1035 section 4.1.3."""
    return owner + struct.pack("!HHIH", kind, IN, ttl, len(rdata)) + rdata


def wire(fqdn: str) -> bytes:
    """Return a name in lower case wire format without compression."""
    return dns.name.from_text(fqdn).canonicalize().to_wire() or b"\x00"
