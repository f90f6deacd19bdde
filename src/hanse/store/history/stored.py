"""The store's own history of the keys under a prefix: nothing is kept in memory, and it reaches back as far
as the store was not compacted.

For what is too much to be followed in every process. A watch of it can choose states by their keys only: the
state before a change is not known.

Concurrency: one watch of the store for each reader, closed with it.

Next: `hanse.store.types` for what the store's watch promises.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from hanse.errors import FutureRevisionError
from hanse.store.follow.collection import Difference
from hanse.store.history.contract import ChangeBatch, StateAt
from hanse.store.types import Event, KeyValue, RangeResult, Store

_PAGE = 500
_ASK_SECONDS = 0.1


class StoreHistory:
    """The history of the keys of `store` that start with `prefix`."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    async def caught_up(self, revision: int, timeout: float) -> None:
        """See `ChangeHistory.caught_up`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while (newest := await self._store.revision()) < revision:
            if loop.time() >= end:
                raise FutureRevisionError(revision, current=newest)
            await asyncio.sleep(_ASK_SECONDS)

    async def state(self) -> StateAt[str, KeyValue]:
        """Return all that there is now, in pages of one revision."""
        first = await self._store.range(self._prefix, limit=_PAGE)
        return StateAt(first.revision, self._pages(first))

    async def _pages(self, page: RangeResult) -> AsyncIterator[Sequence[tuple[str, KeyValue]]]:
        revision = page.revision
        while True:
            yield [(kv.key, kv) for kv in page.items]
            if not page.more:
                return
            page = await self._store.range(
                self._prefix, start_after=page.items[-1].key, limit=_PAGE, revision=revision
            )

    async def batches(
        self, after: int, *, idle_seconds: float
    ) -> AsyncGenerator[ChangeBatch[str, KeyValue], None]:
        """See `ChangeHistory.batches`. How long it is silent is for the store to say."""
        async with aclosing(self._store.watch(self._prefix, start_revision=after + 1)) as watch:
            async for batch in watch:
                yield ChangeBatch(batch.revision, [_change(event) for event in batch.events])


def _change(event: Event) -> Difference[KeyValue]:
    kv = event.kv
    if event.kind == "delete":
        return Difference(kv.key, kv, None, kv.mod_revision)
    return Difference(kv.key, None, kv, kv.mod_revision)
