"""What tests of a store share: reading a watch with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TypeAlias

from hanse.store import WatchBatch

Watch: TypeAlias = AsyncGenerator[WatchBatch, None]
Seen: TypeAlias = tuple[str, str, bytes, int]
"""kind, key, value, revision"""

DEADLINE = 20.0
"""Seconds after which a test that waits has failed."""


async def collect(watch: Watch, enough: Callable[[list[Seen]], bool]) -> list[Seen]:
    """Return the events of a watch until `enough` says so, and check what every watch promises."""
    seen: list[Seen] = []
    last = 0
    async with asyncio.timeout(DEADLINE):
        while not enough(seen):
            batch = await anext(watch)
            assert batch.revision > last, "the revision of a watch only grows"
            for event in batch.events:
                assert last < event.kv.mod_revision <= batch.revision, "a revision is in one batch only"
                seen.append((event.kind, event.kv.key, event.kv.value, event.kv.mod_revision))
            last = batch.revision
    assert [s[3] for s in seen] == sorted(s[3] for s in seen), "events come in the order of revisions"
    return seen


async def events(watch: Watch, count: int) -> list[Seen]:
    """Return the next `count` events."""
    return await collect(watch, lambda seen: len(seen) >= count)
