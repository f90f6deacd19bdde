"""A store that seals objects on their way in and opens them on their way out.

Owns `SealedStore`, around any store. Whoever reads through it sees plain objects and need not know; whoever
reads the store itself sees envelopes. What cannot be opened comes out as a value that decodes to the reason
(`hanse.kube.unreadable`): it is neither absent nor empty. `stale` collects the keys of what was read and is
not as it would be written now (plain though it should be sealed, sealed with an older key, or sealed though
it need not be); `sweep` writes those again, as they are.

Concurrency: as the store inside; nothing is kept but `stale`.

Next: `hanse.sealing` for the envelope.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import structlog

from hanse.envelope import MAGIC, UNREADABLE, is_sealed, unreadable
from hanse.errors import DataLossError, HanseError
from hanse.sealing import ObjectSealer
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
_log = structlog.get_logger(__name__)


class SealedStore:
    """A `Store` around another. See `hanse.store.types.Store` for what each method promises."""

    def __init__(self, inner: Store, sealer: ObjectSealer) -> None:
        self._inner = inner
        self._sealer = sealer
        self.stale: set[str] = set()

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """See `Store.get`."""
        found = await self._inner.get(key, revision=revision)
        return None if found is None else self._opened(found)

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
        self._note(result.items)
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
        opened = tuple(None if found is None else self._opened_range(found) for found in result.responses)
        return replace(result, responses=opened)

    async def watch(
        self, prefix: str, *, start_revision: int, prev: bool = False, through: str = ""
    ) -> AsyncGenerator[WatchBatch, None]:
        """See `Store.watch`."""
        watch = self._inner.watch(prefix, start_revision=start_revision, prev=prev, through=through)
        async with aclosing(watch) as batches:
            async for batch in batches:
                if any(is_sealed(e.kv.value) or (e.prev and is_sealed(e.prev.value)) for e in batch.events):
                    yield WatchBatch(batch.revision, tuple(map(self._opened_event, batch.events)))
                else:
                    yield batch

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

    async def server_version(self) -> str:
        """See `Store.server_version`."""
        return await self._inner.server_version()

    async def close(self) -> None:
        """See `Store.close`."""
        await self._inner.close()

    async def sweep(self) -> int:
        """Write everything in `stale` again, as it is now; return how many objects were written.

        What was changed or deleted meanwhile, or cannot be opened, is left. Waits for a store that is out of
        reach.
        """
        written = 0
        while self.stale:
            key = self.stale.pop()
            try:
                written += await self._write_again(key)
            except HanseError as error:
                self.stale.add(key)
                _log.warning("cannot seal a stored object yet", key=key, error=str(error))
                await asyncio.sleep(_RETRY)
        if written:
            _log.info("stored objects are sealed as they should be", objects=written)
        return written

    async def _write_again(self, key: str) -> bool:
        found = await self._inner.get(key)
        if found is None or self._sealer.is_current(key, found.value):
            return False
        opened = self._opened(found)
        if opened.value.startswith(UNREADABLE):
            return False
        put = Put(key, self._sealed(key, opened.value))
        return (await self._inner.txn([Compare.mod(key, found.mod_revision)], [put])).succeeded

    def _note(self, items: Iterable[KeyValue]) -> None:
        current = self._sealer.is_current
        self.stale.update(
            kv.key for kv in items if kv.key.startswith(_OBJECTS) and not current(kv.key, kv.value)
        )

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
            return replace(kv, value=self._sealer.open(kv.key, kv.value), sealed=True)
        except DataLossError as error:
            _log.error(
                "a stored object cannot be opened", key=kv.key, reason=error.reason, error=error.message
            )
            return replace(kv, value=unreadable(error, kv.value), sealed=True)

    def _opened_range(self, result: RangeResult) -> RangeResult:
        if not any(kv.value.startswith(MAGIC) for kv in result.items):
            return result
        return replace(result, items=tuple(map(self._opened, result.items)))

    def _opened_event(self, event: Event) -> Event:
        prev = None if event.prev is None else self._opened(event.prev)
        return replace(event, kv=self._opened(event.kv), prev=prev)
