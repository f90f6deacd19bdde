"""Consistent hashing: which live process has which key.

Owns `HashRing` (Karger et al. 1997), with virtual nodes. When a member joins or leaves, only keys of that
member move. Every process computes the same ring from the same names; the order of names does not matter.

Concurrency: immutable values.

Next: `hanse.store.election` and the syncer, which share clusters out by it.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterable

POINTS = 128
"""Virtual nodes per member: with 128 the shares of large key sets differ by about a tenth."""


class HashRing:
    """Members on a ring; a key belongs to the first member clockwise of its hash."""

    __slots__ = ("_hashes", "_owners", "members")

    def __init__(self, members: Iterable[str], *, points: int = POINTS) -> None:
        """`points` is how many virtual nodes each member has."""
        self.members = tuple(sorted(set(members)))
        ring = sorted(
            (_hash(f"{member}\0{point}"), member) for member in self.members for point in range(points)
        )
        self._hashes = [position for position, _ in ring]
        self._owners = [member for _, member in ring]

    def owner(self, key: str) -> str | None:
        """Return the member that has the key; None if there is no member."""
        if not self._owners:
            return None
        return self._owners[bisect.bisect_right(self._hashes, _hash(key)) % len(self._owners)]

    def owners(self, key: str, count: int) -> tuple[str, ...]:
        """Return up to `count` different members for the key: its owner, then who would follow."""
        found: dict[str, None] = {}
        start = bisect.bisect_right(self._hashes, _hash(key))
        for step in range(len(self._owners)):
            if len(found) >= count:
                break
            found[self._owners[(start + step) % len(self._owners)]] = None
        return tuple(found)

    def share(self, member: str, keys: Iterable[str]) -> frozenset[str]:
        """Return those of `keys` that `member` has."""
        return frozenset(key for key in keys if self.owner(key) == member)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HashRing) and self._hashes == other._hashes and self._owners == other._owners

    def __hash__(self) -> int:
        return hash((self.members, len(self._hashes)))

    def __repr__(self) -> str:
        return f"HashRing({list(self.members)!r})"


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
