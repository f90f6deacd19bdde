"""A contiguous range of keys as a value: what one right in etcd covers, and what one watch passes.

Owns `Span`. Pure, no state. Next: `hanse.store.rights` for who may read which,
`hanse.store.follow.list_watch` for who follows them.
"""

from __future__ import annotations

from dataclasses import dataclass

from hanse.store.etcd.wire import prefix_end


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A range of keys, relative to the store's prefix: from those that start with `first` to those that start
    with `through`; with no `through` only the former. `exact` is the one key `first`."""

    first: str
    through: str = ""
    exact: bool = False

    def range(self, root: bytes = b"") -> tuple[bytes, bytes]:
        """Return etcd's key and range_end (empty for one key) below `root`."""
        begin = root + self.first.encode()
        return begin, b"" if self.exact else prefix_end(root + (self.through or self.first).encode())

    def has(self, key: str) -> bool:
        """Return whether `key` is in the range."""
        begin, end = self.range()
        return key.encode() == begin if not end else begin <= key.encode() < end

    def __str__(self) -> str:
        return f"{self.first} to {self.through}" if self.through else self.first
