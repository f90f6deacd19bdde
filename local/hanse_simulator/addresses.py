"""Which addresses a cluster gives out: ranges derived from its name, and a pool that remembers.

Ranges: load balancers of a cluster get a /20 of 127.0.0.0/8 of its own, Pods a /16 of 10.128.0.0/9. The same
name always gets the same range; the names that `hanse up` gives its clusters do not collide (the salt was
chosen so, and a test holds it).

A `Pool` is used from one event loop. What it gives to a key depends on the key alone unless that is taken, so
that it stays the same when it is asked again. Next: `hanse_simulator.network.services`.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Iterator

from hanse.errors import ResourceExhaustedError

_SALT = "hanse/0"


def load_balancer_range(cluster: str) -> ipaddress.IPv4Network:
    """Return the /20 of 127.0.0.0/8 of a cluster. The first one, with localhost in it, is nobody's."""
    index = 1 + _hash(f"{_SALT}/{cluster}") % 4095
    return ipaddress.IPv4Network((0x7F000000 + (index << 12), 20))


def pod_range(cluster: str) -> ipaddress.IPv4Network:
    """Return the /16 of 10.128.0.0/9 of a cluster; clusters may share one, as real ones do."""
    return ipaddress.IPv4Network((0x0A800000 + (_hash(f"pods/{cluster}") % 128 << 16), 16))


class Pool:
    """Numbers of a range, each for one holder."""

    def __init__(self, what: str, *, first: int, size: int) -> None:
        """Give out `first` up to `first + size - 1`; `what` names the pool in errors."""
        self._what = what
        self._first = first
        self._size = size
        self._holders: dict[int, str] = {}

    @classmethod
    def of_network(cls, what: str, network: ipaddress.IPv4Network) -> Pool:
        """Make a pool of the addresses of a network, without its first and last."""
        size = network.num_addresses
        if size <= 2:
            return cls(what, first=int(network.network_address), size=size)
        return cls(what, first=int(network.network_address) + 1, size=size - 2)

    def __len__(self) -> int:
        """Return how many numbers are held."""
        return len(self._holders)

    def __contains__(self, number: int) -> bool:
        """Report whether a number is of this pool's range."""
        return self._first <= number < self._first + self._size

    def holder(self, number: int) -> str | None:
        """Return who holds a number; None if nobody does."""
        return self._holders.get(number)

    def take(self, number: int, holder: str) -> bool:
        """Give a certain number to a holder; False if another has it."""
        return self._holders.setdefault(number, holder) == holder

    def pick(self, holder: str, *, usable: Callable[[int], bool] = lambda _: True) -> int:
        """Give a free number to a holder. Raises ResourceExhaustedError if there is none."""
        for number in self._candidates(holder):
            if self._holders.get(number, holder) == holder and usable(number):
                self._holders[number] = holder
                return number
        raise ResourceExhaustedError(
            f"no {self._what} is free: all {self._size} are taken; delete what uses them",
            metadata={"pool": self._what},
        )

    def release(self, number: int, holder: str) -> None:
        """Take a number back from a holder; nothing happens if it is another's."""
        if self._holders.get(number) == holder:
            del self._holders[number]

    def _candidates(self, holder: str) -> Iterator[int]:
        start = _hash(holder) % self._size
        for offset in range(self._size):
            yield self._first + (start + offset) % self._size


def text(number: int) -> str:
    """Return an IPv4 address as text."""
    return str(ipaddress.IPv4Address(number))


def number(address: str) -> int | None:
    """Return the number of an IPv4 address; None if it is none."""
    try:
        return int(ipaddress.IPv4Address(address))
    except ValueError:
        return None


def _hash(value: str) -> int:
    return int.from_bytes(hashlib.blake2s(value.encode(), digest_size=8).digest(), "big")
