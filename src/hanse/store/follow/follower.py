"""Collections of decoded values, followed together: what services read the store by.

Owns `Follower`. It lists all its collections at one revision; then what lies in one span comes in one order
of revisions, over all of its collections. Values are decoded first, many of them in turns of the loop and
large ones in a thread; then all collections change at once and subscribers hear of it, change by change.

Concurrency: one event loop, see `hanse.store.follow.list_watch`.

Next: `hanse.store.follow.collection` for reading and subscribing; `hanse.control` for who subscribes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Final, TypeAlias

from hanse.store.follow.collection import Collection, DecodedValue, Difference
from hanse.store.follow.list_watch import Commit, ListWatch
from hanse.store.spans import Span
from hanse.store.types import Event, KeyValue, Store, WatchBatch
from hanse.turns import SLICE_SECONDS

LARGE_BYTES: Final = 64 * 1024
"""A value with more is decoded in a thread: a policy takes 70 ns for each byte of it."""

_Owned: TypeAlias = tuple[Collection[Any], KeyValue]


class Follower(ListWatch):
    """Fills `collections` from `store`. Run it with `async with`, or `run()` in a task group of your own."""

    def __init__(self, store: Store, *collections: Collection[Any], spans: Sequence[Span] = ()) -> None:
        self.collections = collections
        prefixes = [collection.prefix for collection in collections]
        super().__init__(store, _Collections(collections), prefixes, spans=spans)
        for collection in collections:
            collection.attach(self)

    @property
    def broken(self) -> Mapping[str, int]:
        """What is broken in any of the collections, with the revision of the value that cannot be read."""
        return {key: at for collection in self.collections for key, at in collection.broken.items()}

    def unknown(self) -> list[str]:
        """Return the keys that are stored, and of which no value could ever be read."""
        return [key for collection in self.collections for key in collection.unknown()]


class _Collections:
    """The consumer that gives each key to the collection of its prefix."""

    def __init__(self, collections: Sequence[Collection[Any]]) -> None:
        self._collections = collections
        self._by_prefix = {collection.prefix: collection for collection in collections}

    def key_count(self, prefix: str) -> int:
        """Return how many keys a collection has."""
        return self._by_prefix[prefix].count()

    async def prepare_list(self, pages: AsyncIterator[Sequence[KeyValue]]) -> Commit:
        """Decode what differs from what is known; return what replaces it."""
        there: set[str] = set()
        changed: list[tuple[Collection[Any], DecodedValue[Any]]] = []
        async for page in pages:
            owned = self._owned(page)
            there.update(kv.key for _, kv in owned)
            changed.extend(await _decoded([each for each in owned if each[0].differs(each[1])]))
        changed.sort(key=lambda each: each[1].mod_revision)
        return partial(self._replace, there, changed)

    async def prepare(self, batch: WatchBatch) -> Commit:
        """Decode what was written; return what takes it in."""
        events = [
            (found, event) for event in batch.events if (found := self._owner(event.kv.key)) is not None
        ]
        decoded = await _decoded([(found, event.kv) for found, event in events if event.kind != "delete"])
        return partial(self._apply, events, [each for _, each in decoded])

    def _apply(
        self,
        events: Sequence[tuple[Collection[Any], Event]],
        decoded: Sequence[DecodedValue[Any]],
        revision: int,
    ) -> None:
        """Change the collections and tell subscribers, revision by revision: they see what they hear of."""
        written = iter(decoded)
        for _, of_one in groupby(events, key=lambda each: each[1].kv.mod_revision):
            told: list[tuple[Collection[Any], Difference[Any] | None]] = []
            for collection, event in of_one:
                if event.kind == "delete":
                    told.append((collection, collection.drop(event.kv.key, event.kv.mod_revision)))
                else:
                    told.append((collection, collection.set(next(written))))
            _tell(told)

    def _replace(
        self, there: set[str], changed: Sequence[tuple[Collection[Any], DecodedValue[Any]]], revision: int
    ) -> None:
        """Make the collections what the list says; tell the difference in the order of revisions.

        A key that is gone was deleted at a revision that is no longer known, at the latest that of the list.
        """
        told = [(collection, collection.set(decoded)) for collection, decoded in changed]
        for collection in self._collections:
            told.extend((collection, collection.drop(key, revision)) for key in collection.missing(there))
        _tell(told)

    def _owned(self, found: Iterable[KeyValue]) -> list[_Owned]:
        return [(owner, kv) for kv in found if (owner := self._owner(kv.key)) is not None]

    def _owner(self, key: str) -> Collection[Any] | None:
        for collection in self._collections:
            if key.startswith(collection.prefix):
                return collection
        return None


async def _decoded(found: Sequence[_Owned]) -> list[tuple[Collection[Any], DecodedValue[Any]]]:
    """Decode values, in turns of the loop."""
    decoded: list[tuple[Collection[Any], DecodedValue[Any]]] = []
    until = time.perf_counter() + SLICE_SECONDS
    for collection, kv in found:
        if len(kv.value) > LARGE_BYTES:
            decoded.append((collection, await asyncio.to_thread(collection.decode, kv)))
        else:
            decoded.append((collection, collection.decode(kv)))
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + SLICE_SECONDS
    return decoded


def _tell(told: Iterable[tuple[Collection[Any], Difference[Any] | None]]) -> None:
    for collection, difference in told:
        if difference is not None:
            collection.tell(difference)
