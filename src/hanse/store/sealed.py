"""A store that seals objects on their way in and opens them on their way out.

Owns `SealedStore`, around any store. Whoever reads through it sees plain objects and need not know; whoever
reads the store itself sees envelopes. What cannot be opened comes out as a value that decodes to the reason
(`hanse.kube.engine.unreadable`): it is neither absent nor empty. When the ring gets more keys, watches that
may have delivered such a value end as after a compaction, so that all is listed again.

What was read is remembered by its key in the store: which key has sealed it (`in_use`), what cannot be opened
(`unreadable`), and what is not as it would be written now (`stale`: plain though it should be sealed, sealed
with an older key, or sealed though it need not be). `sweep` writes the stale again, slowly, as they are.

Concurrency: as the store inside; what is remembered changes between two awaits.

Next: `hanse.security.sealing` for the envelope.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import structlog

from hanse.boundary import Boundary
from hanse.errors import CompactedError, DataLossError, HanseError, UnavailableError
from hanse.security.envelope import MAGIC, UNREADABLE, is_sealed, unreadable
from hanse.security.keyring import KeyName
from hanse.security.sealing import ObjectSealer, sealed_with
from hanse.store.keys import OBJECTS
from hanse.store.types import (
    Compare,
    Event,
    KeyValue,
    LeaseHandle,
    Op,
    Put,
    RangeResult,
    Store,
    TxnResult,
    WatchBatch,
)

_OBJECTS: Final = f"{OBJECTS}/"
_RETRY: Final = 5.0
_PACE: Final = 0.01
"""Seconds between two objects that are written again: what users do goes before."""
_log = structlog.get_logger(__name__)


class SealedStore:
    """A `Store` around another. See `hanse.store.types.Store` for what each method promises."""

    def __init__(self, inner: Store, sealer: ObjectSealer) -> None:
        self._inner = inner
        self._sealer = sealer
        self.stale: set[str] = set()
        self.unreadable: dict[str, int] = {}
        """What cannot be opened, with how often the ring had changed when it was tried last."""
        self._epoch = 0
        self._sealed_with: dict[str, KeyName] = {}
        self._changed = asyncio.Event()
        """Set when something is stale, or may be."""
        self._reopened = asyncio.Event()
        """Replaced each time that what could not be opened may be now; watches wait for it."""
        self._boundary = Boundary("sealing")
        sealer.ring.subscribe(self._ring_changed)

    def in_use(self) -> Counter[KeyName]:
        """Return how many objects are sealed with which key."""
        return Counter(self._sealed_with.values())

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """See `Store.get`."""
        found = await self._inner.get(key, revision=revision)
        if found is None:
            return None
        await self._fetch([found])
        return self._opened(found)

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
        result = await self._inner.range(
            prefix,
            start_after=start_after,
            limit=limit,
            revision=revision,
            keys_only=keys_only,
            count_only=count_only,
            through=through,
        )
        if keys_only or count_only:
            return result
        self._note_range(result, prefix, start_after)
        await self._fetch(result.items)
        return self._opened_range(result)

    async def revision(self) -> int:
        """See `Store.revision`."""
        return await self._inner.revision()

    async def unchanged_since(
        self, prefix: str, revision: int, *, count: int, through: str = ""
    ) -> int | None:
        """See `Store.unchanged_since`."""
        return await self._inner.unchanged_since(prefix, revision, count=count, through=through)

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """See `Store.put`."""
        return await self._inner.put(key, self._sealed(key, value), lease=lease)

    async def delete(self, key: str) -> bool:
        """See `Store.delete`."""
        return await self._inner.delete(key)

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        """See `Store.txn`."""
        result = await self._inner.txn(
            compares, [self._written(op) for op in success], [self._written(op) for op in failure]
        )
        if not any(found and found.items for found in result.responses):
            return result
        await self._fetch([kv for found in result.responses if found for kv in found.items])
        opened = tuple(None if found is None else self._opened_range(found) for found in result.responses)
        return replace(result, responses=opened)

    async def watch(
        self, prefix: str, *, start_revision: int, prev: bool = False, through: str = ""
    ) -> AsyncGenerator[WatchBatch, None]:
        """See `Store.watch`."""
        watch = self._inner.watch(prefix, start_revision=start_revision, prev=prev, through=through)
        if not (prefix.startswith(_OBJECTS) or prefix <= _OBJECTS <= (through or prefix)):
            async with aclosing(watch) as batches:
                async for batch in batches:
                    yield batch
            return
        if any(tried < self._epoch for tried in self.unreadable.values()):
            raise CompactedError("sealed objects may be opened that could not be: list again")
        reopened = asyncio.ensure_future(self._reopened.wait())
        try:
            async with aclosing(watch) as batches:
                while True:
                    following = asyncio.ensure_future(anext(batches, None))
                    try:
                        await asyncio.wait((following, reopened), return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        if not following.done():
                            following.cancel()
                            await asyncio.wait((following,))
                    if reopened.done():
                        raise CompactedError("sealed objects may be opened that could not be: list again")
                    found = following.result()
                    if found is None:
                        return
                    yield await self._opened_batch(found)
        finally:
            reopened.cancel()

    async def grant(self, ttl: int) -> LeaseHandle:
        """See `Store.grant`."""
        return await self._inner.grant(ttl)

    async def grant_once(self, ttl: int) -> int:
        """See `Store.grant_once`."""
        return await self._inner.grant_once(ttl)

    async def revoke(self, lease: int) -> None:
        """See `Store.revoke`."""
        await self._inner.revoke(lease)

    async def compact(self, revision: int) -> None:
        """See `Store.compact`."""
        await self._inner.compact(revision)

    async def close(self) -> None:
        """See `Store.close`."""
        await self._inner.close()

    async def changed(self, seconds: float) -> None:
        """Wait until something may have become stale, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    async def sweep(self, *fence: Compare, pace: float = _PACE) -> int:
        """Write everything in `stale` again, as it is now; return how many objects were written.

        What was changed or deleted meanwhile, cannot be opened, or is no object is left. Waits for a store
        that is out of reach, and for keys that are. `fence` must hold for each write; `pace` is the seconds
        between two.
        """
        written = 0
        while self.stale:
            key = self.stale.pop()
            try:
                done = await self._write_again(key, fence)
            except HanseError as error:
                self.stale.add(key)
                _log.warning("cannot seal a stored object yet", key=key, error=str(error))
                await asyncio.sleep(_RETRY)
            except BaseException:
                self.stale.add(key)
                raise
            else:
                written += done
                await asyncio.sleep(pace if done else 0)
        if written:
            _log.info("stored objects are sealed as they should be", objects=written)
        return written

    async def _write_again(self, key: str, fence: Sequence[Compare]) -> bool:
        found = await self._inner.get(key)
        if found is None or self._sealer.is_current(key, found.value):
            return False
        await self._fetch([found])
        opened = self._opened(found)
        if opened.value.startswith(UNREADABLE):
            return False
        try:
            put = Put(key, self._sealed(key, opened.value))
        except (ValueError, AttributeError) as error:  # it is no object
            self._boundary.failed(key, error)
            return False
        compares = [Compare.mod(key, found.mod_revision), *fence]
        return (await self._inner.txn(compares, [put])).succeeded

    def _ring_changed(self) -> None:
        current = self._sealer.ring.is_current
        self.stale.update(key for key, name in self._sealed_with.items() if not current(name))
        self._changed.set()
        self._epoch += 1
        if self.unreadable:
            self._reopened.set()
            self._reopened = asyncio.Event()

    def _note_range(self, result: RangeResult, prefix: str, start_after: str | None) -> None:
        """Remember what is there, and forget what was in this part of the range before."""
        first, last = start_after or prefix, result.items[-1].key if result.more and result.items else ""
        if self._sealed_with or self.stale or self.unreadable:
            there = {kv.key for kv in result.items}
            for key in {*self._sealed_with, *self.stale, *self.unreadable}:
                if key.startswith(prefix) and first < key and (not last or key <= last) and key not in there:
                    self._forget(key)
        for kv in result.items:
            if kv.key.startswith(_OBJECTS):
                self._note(kv)

    def _note(self, kv: KeyValue) -> None:
        name = sealed_with(kv.value)
        if name is not None:
            self._sealed_with[kv.key] = name
        else:
            self._sealed_with.pop(kv.key, None)
        if self._sealer.is_current(kv.key, kv.value):
            self.stale.discard(kv.key)
        else:
            self.stale.add(kv.key)

    def _forget(self, key: str) -> None:
        self._sealed_with.pop(key, None)
        self.stale.discard(key)
        self.unreadable.pop(key, None)

    async def _fetch(self, items: Iterable[KeyValue]) -> None:
        names = [name for kv in items if is_sealed(kv.value) and (name := sealed_with(kv.value)) is not None]
        if names:
            await self._sealer.ring.fetch(names)

    def _sealed(self, key: str, value: bytes) -> bytes:
        return self._sealer.seal(key, value) if self._sealer.seals(key) else value

    def _written(self, op: Op) -> Op:
        if isinstance(op, Put) and self._sealer.seals(op.key):
            return replace(op, value=self._sealer.seal(op.key, op.value))
        return op

    def _opened(self, kv: KeyValue) -> KeyValue:
        if not kv.value.startswith(MAGIC) or not kv.key.startswith(_OBJECTS):
            return kv
        try:
            opened = replace(kv, value=self._sealer.open(kv.key, kv.value), sealed=True)
        except (DataLossError, UnavailableError) as error:
            if kv.key not in self.unreadable:
                _log.error(
                    "a stored object cannot be opened", key=kv.key, reason=error.reason, error=error.message
                )
            self.unreadable[kv.key] = self._epoch
            return replace(kv, value=unreadable(error, kv.value), sealed=True)
        self.unreadable.pop(kv.key, None)
        return opened

    def _opened_range(self, result: RangeResult) -> RangeResult:
        if not any(kv.value.startswith(MAGIC) for kv in result.items):
            return result
        return replace(result, items=tuple(map(self._opened, result.items)))

    async def _opened_batch(self, batch: WatchBatch) -> WatchBatch:
        sealed: list[KeyValue] = []
        for event in batch.events:
            if not event.kv.key.startswith(_OBJECTS):
                continue
            if event.kind == "delete":
                self._forget(event.kv.key)
            else:
                self._note(event.kv)
                sealed.append(event.kv)
            if event.prev is not None:
                sealed.append(event.prev)
        if not any(is_sealed(kv.value) for kv in sealed):
            return batch
        await self._fetch(sealed)
        return WatchBatch(batch.revision, tuple(map(self._opened_event, batch.events)))

    def _opened_event(self, event: Event) -> Event:
        prev = None if event.prev is None else self._opened(event.prev)
        return replace(event, kv=self._opened(event.kv), prev=prev)
