"""Watches that resume, in every store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from hanse.errors import CompactedError, UnavailableError
from hanse.store import Compare, Delete, Event, Put, Store
from tests.store.contract import DEADLINE, Watch, collect, events


async def test_a_watch_starts_in_the_past_and_goes_on(store: Store) -> None:
    """From a start revision come all events since, in order, then those that follow."""
    first = await store.put("w/a", b"1")
    await store.put("other", b"x")
    await store.delete("w/a")
    await store.put("w/b", b"2")
    async with aclosing(store.watch("w/", start_revision=first)) as watch:
        assert await events(watch, 3) == [
            ("put", "w/a", b"1", first),
            ("delete", "w/a", b"", first + 2),
            ("put", "w/b", b"2", first + 3),
        ]
        later = await store.put("w/c", b"3")
        assert await events(watch, 1) == [("put", "w/c", b"3", later)]


async def test_a_watch_resumes_after_any_event(store: Store) -> None:
    """Starting at each revision gives exactly the events from there on."""
    written = [await store.put(f"w/{n}", b"") for n in range(5)]
    for index, start in enumerate(written):
        async with aclosing(store.watch("w/", start_revision=start)) as watch:
            seen = await events(watch, 5 - index)
        assert [s[3] for s in seen] == written[index:]


async def test_a_watch_from_zero_sees_what_comes_next(store: Store) -> None:
    """Start revision 0 leaves out the past."""
    await store.put("w/old", b"")
    async with aclosing(store.watch("w/", start_revision=0)) as watch:
        pending = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.05)  # The watch may begin at any moment before the put, so let it.
        revision = await store.put("w/new", b"")
        async with asyncio.timeout(DEADLINE):
            batch = await pending
        assert [(e.kv.key, e.kv.mod_revision) for e in batch.events] == [("w/new", revision)]


async def test_a_watch_from_the_future_waits_for_it(store: Store) -> None:
    """Events before the start revision are never delivered."""
    start = await store.revision() + 3
    async with aclosing(store.watch("w/", start_revision=start)) as watch:
        pending = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.05)
        for number in range(4):
            await store.put("w/a", b"%d" % number)
        async with asyncio.timeout(DEADLINE):
            batch = await pending
        assert batch.events[0].kv.mod_revision == start


async def test_a_transaction_arrives_in_one_batch(store: Store) -> None:
    """All events of one revision are together, also when they are more than a message should hold."""
    value = b"x" * 30_000
    start = await store.revision() + 1
    for _ in range(3):  # 3 x 40 x 30 kB: more than etcd puts into one fragment
        await store.txn((), [Put(f"w/{n:03}", value) for n in range(40)])
    await store.txn((), [Delete("w/", prefix=True)])
    async with aclosing(store.watch("w/", start_revision=start)) as watch:
        seen = await events(watch, 160)  # `collect` checks that no revision is in two batches
    assert [s[0] for s in seen] == ["put"] * 120 + ["delete"] * 40
    assert {s[3] for s in seen} == {start, start + 1, start + 2, start + 3}


async def test_prev_is_what_was_there(store: Store) -> None:
    """With prev, an event has the value before it; without, it has none."""
    start = await store.put("w/a", b"1")
    await store.put("w/a", b"2")
    await store.delete("w/a")
    async with (
        aclosing(store.watch("w/", start_revision=start, prev=True)) as watch,
        asyncio.timeout(DEADLINE),
    ):
        found = [e async for e in _flat(watch, 3)]
    assert [e.prev.value if e.prev else None for e in found] == [None, b"1", b"2"]
    async with aclosing(store.watch("w/", start_revision=start)) as watch, asyncio.timeout(DEADLINE):
        assert [e.prev async for e in _flat(watch, 3)] == [None] * 3


async def test_a_quiet_watch_hears_of_the_revision(store: Store) -> None:
    """With nothing under the prefix, empty batches move the revision on."""
    start = await store.revision() + 1
    async with aclosing(store.watch("quiet/", start_revision=start)) as watch:
        revision = await store.put("elsewhere", b"")
        async with asyncio.timeout(DEADLINE):
            batch = await anext(watch)
            while batch.revision < revision:
                batch = await anext(watch)
        assert batch.events == ()
        assert batch.revision >= revision


async def test_a_compacted_start_is_reported(store: Store) -> None:
    """A watch whose start is compacted raises at once, and says from where history is known."""
    first = await store.put("w/a", b"1")
    await store.put("w/a", b"2")
    at = await store.put("w/a", b"3")
    await store.put("w/a", b"4")
    await store.compact(at)
    for start in (first, at):
        async with aclosing(store.watch("w/", start_revision=start)) as watch:
            with pytest.raises(CompactedError) as caught:
                async with asyncio.timeout(DEADLINE):
                    await anext(watch)
        assert caught.value.compact_revision == at
    async with aclosing(store.watch("w/", start_revision=at + 1)) as watch:
        assert await events(watch, 1) == [("put", "w/a", b"4", at + 1)]


async def test_a_deletion_at_the_compacted_revision_is_not_lost(store: Store) -> None:
    """If the very revision of a deletion is compacted, a watch from there raises, not leaves it out."""
    await store.put("w/a", b"1")
    await store.delete("w/a")
    deleted = await store.revision()
    await store.compact(deleted)
    await store.put("w/b", b"")
    async with aclosing(store.watch("w/", start_revision=deleted)) as watch:
        with pytest.raises(CompactedError):
            async with asyncio.timeout(DEADLINE):
                await anext(watch)


async def test_a_compaction_does_not_disturb_a_watch_that_keeps_up(store: Store) -> None:
    """What was delivered may be compacted."""
    start = await store.put("w/a", b"0")
    async with aclosing(store.watch("w/", start_revision=start)) as watch:
        await events(watch, 1)
        for number in range(1, 4):
            revision = await store.put("w/a", b"%d" % number)
            assert await events(watch, 1) == [("put", "w/a", b"%d" % number, revision)]
            await store.compact(revision)


async def test_watches_under_a_storm_see_everything_in_order(store: Store) -> None:
    """Three watches over overlapping prefixes, started before, while and after many writers write."""
    start = await store.revision() + 1

    async def write(writer: int) -> None:
        for number in range(40):
            key = f"s/{writer % 2}/{writer}"
            if number % 5 == 4:
                await store.delete(key)
            else:
                await store.txn(
                    [Compare.exists("x")], (), [Put(key, b"%d" % number), Put(f"t/{writer}", b"")]
                )

    async def read(prefix: str, delay: float) -> list[tuple[str, str, bytes, int]]:
        await asyncio.sleep(delay)
        async with aclosing(store.watch(prefix, start_revision=start)) as watch:
            return await collect(watch, lambda seen: any(s[1] == f"{prefix}end" for s in seen))

    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(read(p, d)) for p, d in (("s/", 0), ("s/1/", 0.02), ("s/", 0.05))]
        async with asyncio.TaskGroup() as writers:
            for writer in range(8):
                writers.create_task(write(writer))
        await store.put("s/1/end", b"")
        await store.put("s/end", b"")
    everything, half, again = (reader.result() for reader in readers)
    assert everything == again
    assert len(everything) == 8 * 40 + 2
    assert half == [s for s in everything if s[1].startswith("s/1/")][: len(half)]
    assert len({(s[1], s[3]) for s in everything}) == len(everything)


async def test_closing_the_store_ends_its_watches(store: Store) -> None:
    """A watch of a closed store raises instead of waiting for ever."""
    watch = store.watch("w/", start_revision=await store.put("w/a", b""))
    await events(watch, 1)
    pending = asyncio.ensure_future(collect(watch, lambda _: False))
    await asyncio.sleep(0.05)
    await store.close()
    with pytest.raises(UnavailableError) as caught:
        await pending
    assert caught.value.reason == "STORE_CLOSED"


async def _flat(watch: Watch, count: int) -> AsyncIterator[Event]:
    """Yield the next `count` events."""
    async for batch in watch:
        for event in batch.events:
            yield event
            count -= 1
        if not count:
            return
