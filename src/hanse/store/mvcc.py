"""Multi-version keys in plain data structures: etcd's semantics without I/O, time or tasks.

A `Table` holds every version of every key since the last compaction, and the log of what each revision
changed. It is changed only by `apply`, in one step; it is not safe across threads.

Next: `hanse.store.memory`, which makes a store of it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sortedcontainers import SortedDict

from hanse.errors import CompactedError, FailedPreconditionError, InvalidArgumentError
from hanse.store.packing import stored_value
from hanse.store.types import (
    MAX_REQUEST_BYTES,
    MAX_TXN_OPS,
    VALUE_TOO_LARGE,
    Compare,
    Delete,
    Event,
    Get,
    KeyValue,
    Op,
    Put,
    RangeResult,
)

FIRST_REVISION = 1
"""The revision of an empty store, as in etcd."""


class Table:
    """All versions of all keys. Deleted versions are kept as a `KeyValue` of version 0."""

    def __init__(self) -> None:
        self.revision = FIRST_REVISION
        self.compacted = 0
        self._versions: Any = SortedDict()  # key -> list[KeyValue], oldest first
        self._log: list[tuple[Event, ...]] = []
        self._log_start = FIRST_REVISION + 1

    def get(self, key: str, revision: int = 0) -> KeyValue | None:
        """Return the key at `revision` (0 is now); None if it did not exist then."""
        return self._at(key, self._check(revision))

    def range(
        self, prefix: str, *, start_after: str | None, limit: int, revision: int, through: str = ""
    ) -> RangeResult:
        """Return what a `Store.range` returns, values included."""
        at = self._check(revision)
        first = prefix if start_after is None or start_after < prefix else start_after
        found: list[KeyValue] = []
        for key in self._versions.irange(minimum=first, inclusive=(first != start_after, True)):
            if not within(key, prefix, through):
                break
            if (kv := self._at(key, at)) is not None:
                found.append(kv)
        cut = bool(limit) and len(found) > limit
        items = tuple(found[:limit] if cut else found)
        return RangeResult(items=items, revision=self.revision, more=cut, count=len(found))

    def holds(self, compare: Compare) -> bool:
        """Return whether the condition holds now."""
        kv = self._at(compare.key, self.revision)
        actual = 0
        if kv is not None:
            match compare.target:
                case "mod":
                    actual = kv.mod_revision
                case "create":
                    actual = kv.create_revision
                case "version":
                    actual = kv.version
                case "lease":
                    actual = kv.lease
        match compare.operator:
            case "==":
                return actual == compare.number
            case "!=":
                return actual != compare.number
            case ">":
                return actual > compare.number
            case "<":
                return actual < compare.number

    def apply(self, ops: Sequence[Op]) -> tuple[list[RangeResult | None], tuple[Event, ...]]:
        """Run the operations as one revision; return their responses and what they changed."""
        revision = self.revision + 1
        responses: list[RangeResult | None] = []
        events: list[Event] = []
        for op in ops:
            match op:
                case Put():
                    events.append(self._put(op, revision))
                    responses.append(None)
                case Delete():
                    keys = self._live_keys(op.key) if op.prefix else [op.key]
                    events.extend(e for key in keys if (e := self._delete(key, revision)) is not None)
                    responses.append(None)
                case Get():
                    responses.append(self._read(op, revision))
        if events:
            self.revision = revision
            self._log.append(tuple(events))
        return responses, tuple(events)

    def changes(self, first: int) -> Iterable[tuple[int, tuple[Event, ...]]]:
        """Yield (revision, events) from revision `first` on; raise `CompactedError` if some are forgotten."""
        if first <= self.compacted:
            raise compacted(first, self.compacted)
        start = max(first, self._log_start)
        yield from enumerate(self._log[start - self._log_start :], start)

    def compact(self, revision: int) -> None:
        """Forget what is older than what a read at `revision` needs."""
        if revision <= self.compacted:
            raise compacted(revision, self.compacted)
        self._check(revision)
        for key in list(self._versions):
            versions = self._versions[key]
            keep = bisect_right(versions, revision, key=_mod) - 1
            if keep >= 0 and versions[keep].version == 0:
                keep += 1
            if keep > 0:
                del versions[:keep]
            if not versions:
                del self._versions[key]
        del self._log[: revision + 1 - self._log_start]
        self._log_start = revision + 1
        self.compacted = revision

    def _check(self, revision: int) -> int:
        if revision > self.revision:
            raise future(revision, self.revision)
        if 0 < revision < self.compacted:
            raise compacted(revision, self.compacted)
        return revision or self.revision

    def _at(self, key: str, revision: int) -> KeyValue | None:
        versions: list[KeyValue] | None = self._versions.get(key)
        if not versions:
            return None
        index = bisect_right(versions, revision, key=_mod) - 1
        return versions[index] if index >= 0 and versions[index].version else None

    def _live_keys(self, prefix: str) -> list[str]:
        result = []
        for key in self._versions.irange(minimum=prefix):
            if not key.startswith(prefix):
                break
            if self._versions[key][-1].version:
                result.append(key)
        return result

    def _read(self, op: Get, revision: int) -> RangeResult:
        keys = self._live_keys(op.key) if op.prefix else [op.key]
        items = tuple(kv for key in keys if (kv := self._at(key, revision)) is not None)
        return RangeResult(items=items, revision=self.revision, more=False, count=len(items))

    def _put(self, op: Put, revision: int) -> Event:
        prev = self._at(op.key, revision)
        kv = KeyValue(
            key=op.key,
            value=op.value,
            create_revision=prev.create_revision if prev else revision,
            mod_revision=revision,
            version=prev.version + 1 if prev else 1,
            lease=op.lease,
        )
        self._versions.setdefault(op.key, []).append(kv)
        return Event("put", kv, prev)

    def _delete(self, key: str, revision: int) -> Event | None:
        prev = self._at(key, revision)
        if prev is None:
            return None
        kv = KeyValue(key=key, value=b"", create_revision=0, mod_revision=revision, version=0)
        self._versions[key].append(kv)
        return Event("delete", kv, prev)


def check_txn(compares: Sequence[Compare], *branches: Sequence[Op]) -> None:
    """Raise `InvalidArgumentError` for what etcd refuses: too many, too large, or a key written twice."""
    for part in (compares, *branches):
        if len(part) > MAX_TXN_OPS:
            raise InvalidArgumentError(
                f"a transaction of {len(part)} operations is more than {MAX_TXN_OPS}: split it",
                reason="TOO_MANY_OPERATIONS",
            )
    for branch in branches:
        puts = [op.key for op in branch if isinstance(op, Put)]
        seen = set(puts)
        deletes = [op for op in branch if isinstance(op, Delete)]
        doubled = next((k for k in puts if puts.count(k) > 1), None) if len(seen) < len(puts) else None
        for op in deletes:
            doubled = doubled or next(
                (k for k in puts if k == op.key or (op.prefix and k.startswith(op.key))), None
            )
        if doubled is not None:
            raise duplicate_key(doubled)
    check_size(sum(len(stored_value(op.key, op.value)) + len(op.key) for op in _puts(branches)), *branches)


def duplicate_key(key: str = "") -> InvalidArgumentError:
    """Return the error for a key that one transaction writes twice."""
    name = f" ({key})" if key else ""
    return InvalidArgumentError(
        f"a transaction writes the same key twice{name}: merge the operations",
        reason="DUPLICATE_KEY",
        metadata={"key": key} if key else None,
    )


def check_size(size: int, *branches: Sequence[Op]) -> None:
    """Raise `InvalidArgumentError` if a transaction of so many bytes is above the limit, before it is sent.

    It names the largest value. Trying again does not help: whoever wrote it must write less.
    """
    if size > MAX_REQUEST_BYTES:
        largest = max(_puts(branches), key=lambda op: len(op.value), default=None)
        raise too_large(size, largest.key if largest is not None else "")


def _puts(branches: Iterable[Sequence[Op]]) -> Iterator[Put]:
    return (op for branch in branches for op in branch if isinstance(op, Put))


def too_large(size: int = 0, key: str = "") -> InvalidArgumentError:
    """Return the error for a request above the limit; `key` is that of the largest value."""
    has = f" has {size} bytes and" if size else ""
    of = f" to write {key}" if key else ""
    return InvalidArgumentError(
        f"the request{of}{has} is larger than the {MAX_REQUEST_BYTES} bytes that the store takes",
        reason=VALUE_TOO_LARGE,
        metadata={"key": key} if key else None,
    )


def within(key: str, prefix: str, through: str) -> bool:
    """Return whether `key` is in the range from those that start with `prefix` to those with `through`."""
    if key.startswith(prefix) or not through:
        return key.startswith(prefix)
    return prefix <= key and (key < through or key.startswith(through))


def no_time(ttl: int) -> InvalidArgumentError:
    """Return the error for a lease that would end at once."""
    return InvalidArgumentError(
        f"a lease of {ttl} s cannot be granted: ttl must be above 0", reason="BAD_TTL"
    )


def compacted(revision: int, compact_revision: int = 0) -> CompactedError:
    """Return the error for a revision that is gone."""
    where = f" (compacted at {compact_revision})" if compact_revision else ""
    return CompactedError(
        f"revision {revision} has been compacted away{where}: list again", compact_revision=compact_revision
    )


def future(revision: int, current: int = 0) -> FailedPreconditionError:
    """Return the error for a revision that the store has not reached."""
    where = f"; the store is at {current}" if current else ""
    return FailedPreconditionError(
        f"revision {revision} has not been reached yet{where}",
        reason="FUTURE_REVISION",
        metadata={"revision": str(revision)},
    )


def _mod(kv: KeyValue) -> int:
    return kv.mod_revision
