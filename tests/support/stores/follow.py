"""One prefix of a store, followed for as long as a test needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from hanse.store import Collection, Follower, KeyValue, Store

T = TypeVar("T")


@asynccontextmanager
async def following(
    store: Store, prefix: str, decode: Callable[[KeyValue], T]
) -> AsyncIterator[Collection[T]]:
    """Follow `prefix`; its first list is in."""
    collection = Collection(prefix, decode)
    async with Follower(store, collection) as follower:
        await follower.synced()
        yield collection
