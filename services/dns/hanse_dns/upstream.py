"""Asking a resolver for the addresses of a host name.

Owns `Upstream`, which asks the resolvers of the settings, or of this machine, by dnspython: over UDP, and
over TCP for what does not fit; an answer that is not from there, or not to the question, is none. It never
raises for what a resolver does: that is a `problem` in words that stay the same.

Concurrency: any number of tasks of one event loop. Next: `hanse_dns.resolving`, which asks in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver

from hanse.process.settings import split_address
from hanse_dns.resolution import FamilyAnswer

LOOKUP_SECONDS: Final = 5.0
"""How long all tries for one question may take."""


class Lookup(Protocol):
    """Asks for the addresses of a host name."""

    async def __call__(self, host: str) -> tuple[FamilyAnswer, FamilyAnswer]:
        """Return what is said of its IPv4 and of its IPv6 addresses."""


class Upstream:
    """The resolvers at `servers` (host:port, host an IP address); those of the machine if there are none."""

    def __init__(self, servers: Sequence[str] = (), *, seconds: float = LOOKUP_SECONDS) -> None:
        self._servers = servers
        self._seconds = seconds

    async def __call__(self, host: str) -> tuple[FamilyAnswer, FamilyAnswer]:
        """Ask for both families at once."""
        try:
            resolver = self._resolver()
        except (dns.exception.DNSException, OSError):
            none = FamilyAnswer(problem="this machine has no resolver: see the setting dns_upstream")
            return none, none
        ipv4, ipv6 = await asyncio.gather(
            self._family(resolver, host, dns.rdatatype.A), self._family(resolver, host, dns.rdatatype.AAAA)
        )
        return ipv4, ipv6

    def _resolver(self) -> dns.asyncresolver.Resolver:
        """Return a resolver without a cache; what the machine has may change, and is read each time."""
        resolver = dns.asyncresolver.Resolver(configure=not self._servers)
        if self._servers:
            where = [split_address(server, setting="dns_upstream") for server in self._servers]
            resolver.nameservers = [dns.nameserver.Do53Nameserver(address, port) for address, port in where]
        return resolver

    async def _family(
        self, resolver: dns.asyncresolver.Resolver, host: str, kind: dns.rdatatype.RdataType
    ) -> FamilyAnswer:
        name = host if host.endswith(".") else f"{host}."
        try:
            answer = await resolver.resolve(name, kind, lifetime=self._seconds, search=False)
        except dns.resolver.NoAnswer:
            return FamilyAnswer()
        except dns.resolver.NXDOMAIN:
            return FamilyAnswer(problem="there is no such name")
        except dns.exception.Timeout:
            return FamilyAnswer(problem="no resolver answers")
        except (dns.exception.DNSException, OSError, ValueError):
            return FamilyAnswer(problem="the resolver fails")
        found = tuple(item.to_text() for item in answer)
        return FamilyAnswer(found, ttl=max(0, int(answer.chaining_result.minimum_ttl)))
