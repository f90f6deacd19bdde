"""What is known of the addresses behind a host name of a load balancer.

Owns the rule that a resolver removes nothing: only addresses replace addresses. No answer, an error, "no
such name" and an answer without a usable address leave the last good addresses as they are, marked with
what is wrong, for as long as a member says that its load balancer has that name. Each family counts for
itself: to ask in vain for IPv6 addresses takes no IPv4 address away, and is no problem of a host that never
had any.

An address is usable if a client can be sent there: not 0.0.0.0, a multicast or a reserved one, by which
resolvers say that they block a name.

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
    kept = {str(ip) for ip in found if not (ip.is_unspecified or ip.is_multicast or ip.is_reserved)}
    return tuple(sorted(kept)[:MAX_HOST_ADDRESSES])


def renewed(before: Resolution, ipv4: FamilyAnswer, ipv6: FamilyAnswer) -> Resolution:
    """Return what is known after an answer for each family.

    The TTL is the longest that was seen of the same addresses: a resolver that keeps answers counts it down.
    """
    answers = (
        replace(ipv4, addresses=usable(ipv4.addresses)),
        replace(ipv6, addresses=usable(ipv6.addresses)),
    )
    if not any(answer.addresses for answer in answers):
        said = next((answer.problem for answer in answers if answer.problem), "it has no usable address")
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
