"""A store in memory with etcd's semantics: for tests, and for what need not outlive the process.

Revisions, history, compaction, transactions, watches and leases behave as in etcd; the contract suite
holds both to it. Every operation is atomic because it never awaits in the middle. Time is a constructor
argument: with a clock of your own, move it and call `expire_leases`.

Next: `hanse.store.mvcc` for the versions of a key.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace

from hanse.errors import NotFoundError, UnavailableError
from hanse.store.mvcc import Table, check_txn, no_time, within
from hanse.store.types import (
    Compare,
    Delete,
    Event,
    KeyValue,
    Op,
    Put,
    RangeResult,
    TxnResult,
    WatchBatch,
)


@dataclass(eq=False, slots=True)
class _Watcher:
    """What a registered watch has not consumed yet."""

    prefix: str
    through: str
    first: int
    pending: deque[tuple[int, tuple[Event, ...]]] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: bool = False


class MemoryLease:
    """A lease of a `MemoryStore`; alive until revoked, or abandoned and run out."""

    def __init__(self, store: MemoryStore, lease_id: int, ttl: int) -> None:
        self._store = store
        self._id = lease_id
        self._ttl = ttl
        self._lost = asyncio.Event()
        self.deadline: float | None = None
        self.keys: set[str] = set()

    @property
    def id(self) -> int:
        """The lease's id."""
        return self._id

    @property
    def ttl(self) -> int:
        """Seconds to live once it is abandoned."""
        return self._ttl

    @property
    def lost(self) -> asyncio.Event:
        """Set once the lease is over."""
        return self._lost

    async def revoke(self) -> None:
        """End the lease and delete its keys."""
        await self._store.revoke(self._id)

    async def abandon(self) -> None:
        """Let it run out, `ttl` seconds from now on the store's clock."""
        self._store.abandon(self)


class MemoryStore:
    """A `Store` in memory.

    `clock` gives seconds. `progress_interval` is how often, in seconds of the event loop, a quiet watch is
    told of the store's revision.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, progress_interval: float = 0.2
    ) -> None:
        self._clock = clock
        self._progress_interval = progress_interval
        self._table = Table()
        self._watchers: set[_Watcher] = set()
        self._leases: dict[int, MemoryLease] = {}
        self._lease_ids = itertools.count(0x1000)
        self._closed = False

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """See `Store.get`."""
        self._enter()
        return self._table.get(key, revision)

    async def range(
        self,
        prefix: str,
        *,
        start_after: str | None = None,
        limit: int = 0,
        revision: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
        through: str = "",
    ) -> RangeResult:
        """See `Store.range`."""
        self._enter()
        result = self._table.range(
            prefix, start_after=start_after, limit=limit, revision=revision, through=through
        )
        if count_only:
            return replace(result, items=(), more=False)
        if keys_only:
            return replace(result, items=tuple(replace(kv, value=b"") for kv in result.items))
        return result

    async def revision(self) -> int:
        """See `Store.revision`."""
        self._enter()
        return self._table.revision

    async def unchanged_since(
        self, prefix: str, revision: int, *, count: int, through: str = ""
    ) -> int | None:
        """See `Store.unchanged_since`."""
        self._enter()
        found = self._table.range(prefix, start_after=None, limit=0, revision=0, through=through)
        changed = found.count != count or any(kv.mod_revision > revision for kv in found.items)
        return None if changed else found.revision

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """See `Store.put`."""
        return (await self.txn((), (Put(key, value, lease),))).revision

    async def delete(self, key: str) -> bool:
        """See `Store.delete`."""
        self._enter()
        existed = self._table.get(key) is not None
        self._commit((Delete(key),))
        return existed

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        """See `Store.txn`."""
        self._enter()
        check_txn(compares, success, failure)
        succeeded = all(map(self._table.holds, compares))
        responses = self._commit(success if succeeded else failure)
        revision = self._table.revision
        return TxnResult(
            succeeded=succeeded,
            revision=revision,
            responses=tuple(r if r is None else replace(r, revision=revision) for r in responses),
        )

    async def watch(
        self, prefix: str, *, start_revision: int, prev: bool = False, through: str = ""
    ) -> AsyncGenerator[WatchBatch, None]:
        """See `Store.watch`."""
        self._enter()
        following = start_revision or self._table.revision + 1
        told = following - 1
        watcher = self._register(prefix, through, following)
        try:
            while True:
                if watcher.dropped:
                    self._watchers.discard(watcher)
                    watcher = self._register(prefix, through, following)
                if self._closed:
                    raise _closed()
                if watcher.pending:
                    batch = _batch(watcher.pending, prev=prev)
                    told, following = batch.revision, batch.revision + 1
                    yield batch
                    continue
                watcher.wake.clear()
                try:
                    async with asyncio.timeout(self._progress_interval):
                        await watcher.wake.wait()
                except TimeoutError:
                    if not watcher.pending and self._table.revision > told:
                        told, following = self._table.revision, self._table.revision + 1
                        yield WatchBatch(told, ())
        finally:
            self._watchers.discard(watcher)

    async def grant(self, ttl: int) -> MemoryLease:
        """See `Store.grant`."""
        self._enter()
        if ttl <= 0:
            raise no_time(ttl)
        lease = MemoryLease(self, next(self._lease_ids), ttl)
        self._leases[lease.id] = lease
        return lease

    async def grant_once(self, ttl: int) -> int:
        """See `Store.grant_once`."""
        lease = await self.grant(ttl)
        await lease.abandon()
        return lease.id

    async def revoke(self, lease: int) -> None:
        """See `Store.revoke`."""
        self._enter()
        self._end(lease)

    async def compact(self, revision: int) -> None:
        """See `Store.compact`."""
        self._enter()
        self._table.compact(revision)

    async def close(self) -> None:
        """Fail what is called from now on, and end the watches."""
        self._closed = True
        for watcher in self._watchers:
            watcher.wake.set()

    def expire_leases(self) -> None:
        """End every abandoned lease whose time has come on the clock."""
        now = self._clock()
        for lease in list(self._leases.values()):
            if lease.deadline is not None and lease.deadline <= now:
                self._end(lease.id)

    def interrupt_watches(self) -> None:
        """Break every watch, as a restart of etcd would: each resumes from history where it was."""
        for watcher in self._watchers:
            watcher.dropped = True
            watcher.wake.set()

    def abandon(self, lease: MemoryLease) -> None:
        """Start the time that a lease has left."""
        if lease.id in self._leases and lease.deadline is None:
            lease.deadline = self._clock() + lease.ttl
            asyncio.get_running_loop().call_later(lease.ttl, self.expire_leases)

    def _enter(self) -> None:
        if self._closed:
            raise _closed()
        self.expire_leases()

    def _register(self, prefix: str, through: str, first: int) -> _Watcher:
        watcher = _Watcher(prefix, through, first)
        for revision, events in self._table.changes(first):
            if mine := _under(events, prefix, through):
                watcher.pending.append((revision, mine))
        self._watchers.add(watcher)
        return watcher

    def _commit(self, ops: Sequence[Op]) -> list[RangeResult | None]:
        for op in ops:
            if isinstance(op, Put) and op.lease and op.lease not in self._leases:
                raise NotFoundError(
                    f"lease {op.lease:x} of key {op.key!r} has ended",
                    reason="LEASE_NOT_FOUND",
                    metadata={"key": op.key},
                )
        responses, events = self._table.apply(ops)
        if not events:
            return responses
        for event in events:
            self._attach(event)
        revision = self._table.revision
        for watcher in self._watchers:
            if revision >= watcher.first and (mine := _under(events, watcher.prefix, watcher.through)):
                watcher.pending.append((revision, mine))
                watcher.wake.set()
        return responses

    def _attach(self, event: Event) -> None:
        if event.prev is not None and event.prev.lease in self._leases:
            self._leases[event.prev.lease].keys.discard(event.kv.key)
        if event.kv.lease:
            self._leases[event.kv.lease].keys.add(event.kv.key)

    def _end(self, lease_id: int) -> None:
        lease = self._leases.get(lease_id)
        if lease is None:
            return
        self._commit([Delete(key) for key in sorted(lease.keys)])
        del self._leases[lease_id]
        lease.lost.set()


def _under(events: tuple[Event, ...], prefix: str, through: str) -> tuple[Event, ...]:
    return tuple(e for e in events if within(e.kv.key, prefix, through))


def _batch(pending: deque[tuple[int, tuple[Event, ...]]], *, prev: bool) -> WatchBatch:
    events: list[Event] = []
    revision = 0
    while pending:
        revision, more = pending.popleft()
        events.extend(more if prev else (replace(e, prev=None) for e in more))
    return WatchBatch(revision, tuple(events))


def _closed() -> UnavailableError:
    return UnavailableError("the store is closed", reason="STORE_CLOSED")
