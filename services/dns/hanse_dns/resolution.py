"""What is known of the addresses behind a host name of a load balancer.

Owns the rule that a resolver removes nothing: only addresses replace addresses. No answer, an error, "no
such name" and an answer without a usable address leave the last good addresses as they are, marked with
what is wrong, for as long as a member says that its load balancer has that name. Each family counts for
itself: to ask in vain for IPv6 addresses takes no IPv4 address away, and is no problem of a host that never
had any.

An address is usable if a client elsewhere can be sent there. A private one is: load balancers inside a
network have such, and who asks is of that network or cannot reach it by any answer. 0.0.0.0, loopback,
link-local, multicast and reserved ones are not, whatever the resolver says: by them resolvers say that they
block a name, and they would send a client to itself or to its neighbours. What a member writes itself as the
address of its load balancer is its own word, and not judged here.

Pure functions and values. Next: `hanse_dns.resolving`, which asks in time, `hanse_dns.compiler`, which puts
the addresses behind names.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

MAX_HOST_ADDRESSES: Final = 64
"""Addresses of each family that are used of one host name; those of the largest clouds have 8."""


@dataclass(frozen=True, slots=True)
class FamilyAnswer:
    """What a resolver said of the addresses of one family; `problem` is why it is not known.

    `ttl` is in seconds, of the record on the way there that ends first.
    """

    addresses: tuple[str, ...] = ()
    ttl: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The last good addresses of a host name, sorted, and how long they may be kept, in seconds.

    `problem` is why they could not be had again, or at all; empty if they were.
    """

    ipv4: tuple[str, ...] = ()
    ipv6: tuple[str, ...] = ()
    ttl: int = 0
    problem: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All of them."""
        return self.ipv4 + self.ipv6


def usable(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses to which clients can be sent, sorted; at most `MAX_HOST_ADDRESSES`."""
    found = (ipaddress.ip_address(address) for address in addresses)
    kept = {str(ip) for ip in found if not _leads_nowhere(ip)}
    return tuple(sorted(kept)[:MAX_HOST_ADDRESSES])


def _leads_nowhere(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return ip.is_unspecified or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved


def _believed(answer: FamilyAnswer) -> FamilyAnswer:
    """Return the usable part of an answer; one that has addresses and no usable one is a problem."""
    kept = usable(answer.addresses)
    if answer.addresses and not kept and not answer.problem:
        return FamilyAnswer(problem=f"no client can be sent to {min(answer.addresses)}")
    return replace(answer, addresses=kept)


def renewed(before: Resolution, ipv4: FamilyAnswer, ipv6: FamilyAnswer) -> Resolution:
    """Return what is known after an answer for each family.

    The TTL is the longest that was seen of the same addresses: a resolver that keeps answers counts it down.
    """
    answers = (_believed(ipv4), _believed(ipv6))
    if not any(answer.addresses for answer in answers):
        said = next((answer.problem for answer in answers if answer.problem), "it has no address")
        return replace(before, problem=said)
    kept = [
        known if answer.problem else answer.addresses
        for answer, known in zip(answers, (before.ipv4, before.ipv6), strict=True)
    ]
    problem = next(
        (answer.problem for answer, known in zip(answers, kept, strict=True) if answer.problem and known), ""
    )
    ttl = min(answer.ttl for answer in answers if answer.addresses)
    same = (before.ipv4, before.ipv6) == (kept[0], kept[1])
    return Resolution(kept[0], kept[1], max(ttl, before.ttl) if same else ttl, problem)
