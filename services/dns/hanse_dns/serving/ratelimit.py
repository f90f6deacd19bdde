"""How many responses go to whom: response rate limiting, as BIND and NSD do it. Pure, but for its own counts.

Owns `RateLimiter`. UDP questions carry whatever address their sender wrote, so a name server can be made to
answer somebody who never asked. Responses are counted for each network of clients (/24, /56) and what they
say: the same name and type, "no such name" of the zone, an error; and for each network in all. What is over
the rate is left unanswered, but for every so manieth, which says "ask over TCP" (TC) or "show your cookie":
whoever really asked can do that, and whoever did not gets no more than was sent in its name.

Memory is bounded: the counts that were touched longest ago are forgotten first. Concurrency: one loop.
`hanse_dns.serving.answering` is next, which asks.
"""

from __future__ import annotations

import ipaddress
import socket
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import Enum

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

WINDOW = 15.0
"""Seconds of rate that a client can owe at most, and has to be silent for after a flood. BIND's default."""
ALL = 10
"""How many times the rate of one kind of response a network gets in all."""
ENTRIES = 50_000
"""Counts that are kept."""
_MAPPED = b"\x00" * 10 + b"\xff\xff"


class Verdict(Enum):
    """What becomes of a response."""

    SEND = "send"
    SLIP = "slip"
    DROP = "drop"


@dataclass(slots=True)
class _Count:
    balance: float
    at: float
    limited: int = 0


class RateLimiter:
    """Counts responses. `rate` is responses a second of one kind to one network; every `slip`th that is over
    it is answered shortly, 0 for none."""

    def __init__(
        self, *, rate: float, slip: int, exempt: Sequence[Network] = (), entries: int = ENTRIES
    ) -> None:
        self._rate = rate
        self._slip = slip
        self._exempt = tuple(exempt)
        self._entries = entries
        self._counts: OrderedDict[int, _Count] = OrderedDict()

    def __len__(self) -> int:
        """Return how many counts are kept."""
        return len(self._counts)

    def judge(self, client: str, kind: Hashable, *, now: float) -> Verdict:
        """Count a response of this kind to an address; say what becomes of it. `now` in seconds."""
        if self._exempt and any(ipaddress.ip_address(client) in network for network in self._exempt):
            return Verdict.SEND
        network = network_of(client)
        one = self._take(hash((network, kind)), self._rate, now)
        every = self._take(hash((network, "all")), self._rate * ALL, now)
        over = one if one.balance < 0 else every
        if over.balance >= 0:
            return Verdict.SEND
        over.limited += 1
        return Verdict.SLIP if self._slip and over.limited % self._slip == 0 else Verdict.DROP

    def _take(self, key: int, rate: float, now: float) -> _Count:
        count = self._counts.get(key)
        if count is None:
            if len(self._counts) >= self._entries:
                self._counts.popitem(last=False)
            count = self._counts[key] = _Count(rate, now)
        else:
            self._counts.move_to_end(key)
            count.balance = min(rate, count.balance + rate * max(0.0, now - count.at))
            count.at = now
        count.balance = max(-WINDOW * rate, count.balance - 1)
        return count


def network_of(client: str) -> bytes:
    """Return the network of an address: /24 of IPv4, /56 of IPv6. What is no address is a network of its
    own.
    """
    address = client.partition("%")[0]
    try:
        if ":" not in address:
            return socket.inet_aton(address)[:3]
        packed = socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError):
        return client.encode(errors="replace")
    return packed[12:15] if packed.startswith(_MAPPED) else packed[:7]
