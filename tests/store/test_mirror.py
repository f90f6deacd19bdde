"""A prefix followed into a dictionary, in every store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hanse.errors import CompactedError, DeadlineError, FailedPreconditionError
from hanse.store import Delete, KeyValue, MemoryStore, Mirror, Put, RangeResult, Store
from tests.support.waiting import until

Change = tuple[str, str | None, str | None]


def decode(kv: KeyValue) -> str:
    """Values are text; "bad" is not one."""
    if kv.value == b"bad":
        raise ValueError("bad value")
    return kv.value.decode()


async def test_it_lists_then_follows(store: Store) -> None:
    """What was there and what comes is in the dictionary, by the revision that it names."""
    await store.put("m/a", b"1")
    await store.put("other", b"x")
    async with Mirror(store, "m/", decode) as mirror:
        await mirror.synced()
        assert dict(mirror.items()) == {"m/a": "1"}
        revision = await store.put("m/b", b"2")
        await mirror.reached(revision)
        assert dict(mirror.items()) == {"m/a": "1", "m/b": "2"}
        entry = mirror.entry("m/b")
        assert entry is not None
        assert (entry.value, entry.mod_revision, entry.create_revision) == ("2", revision, revision)
        await store.delete("m/a")
        await mirror.reached(await store.revision())
        assert mirror.get("m/a") is None
        assert (list(mirror.keys()), len(mirror), "m/b" in mirror) == (["m/b"], 1, True)


async def test_subscribers_hear_each_change_in_order(store: Store) -> None:
    """Each change is told with what was before; replay tells what is there already."""
    await store.put("m/a", b"1")
    async with Mirror(store, "m/", decode) as mirror:
        await mirror.synced()
        told: list[tuple[str, str | None, str | None, int]] = []
        end = mirror.subscribe(lambda *change: told.append(change), replay=True)
        revision = (await store.txn((), [Put("m/a", b"2"), Put("m/b", b"x")])).revision
        await store.delete("m/a")
        await mirror.reached(revision + 1)
        assert told == [
            ("m/a", None, "1", revision - 1),
            ("m/a", "1", "2", revision),
            ("m/b", None, "x", revision),
            ("m/a", "2", None, revision + 1),
        ]
        end()
        await mirror.reached(await store.put("m/c", b""))
        assert len(told) == 4


async def test_a_quiet_mirror_reaches_a_revision_soon(store: Store) -> None:
    """Writes elsewhere do not make a reader wait for the next notification."""
    async with Mirror(store, "m/", decode) as mirror:
        await mirror.synced()
        for _ in range(3):
            revision = await store.put("elsewhere", b"")
            await mirror.reached(revision, timeout=5)
            assert mirror.revision >= revision
        assert await mirror.current() >= revision


async def test_a_revision_that_is_not_reached_is_an_error(store: Store) -> None:
    """Waiting for what does not come ends with a deadline."""
    async with Mirror(store, "m/", decode) as mirror:
        await mirror.synced()
        with pytest.raises(DeadlineError):
            await mirror.reached(await store.revision() + 1000, timeout=0.1)


async def test_a_value_that_cannot_be_read_hides_nothing(store: Store) -> None:
    """A bad value leaves the last good one in place and is named; the next good one mends it."""
    await store.put("m/a", b"1")
    await store.put("m/new", b"bad")
    async with Mirror(store, "m/", decode) as mirror:
        await mirror.synced()
        assert (list(mirror.broken), "m/new" in mirror) == (["m/new"], False)
        revision = await store.put("m/a", b"bad")
        await mirror.reached(revision)
        assert mirror.get("m/a") == "1"
        assert mirror.broken["m/a"] == revision
        await store.delete("m/new")
        await mirror.reached(await store.put("m/a", b"2"))
        assert (dict(mirror.items()), dict(mirror.broken)) == ({"m/a": "2"}, {})


async def test_after_a_compaction_it_lists_again_and_tells_the_difference() -> None:
    """What changed while it was cut off, deletions included, is told once, and nothing else."""
    store = MemoryStore()
    for key in ("m/same", "m/changed", "m/deleted", "m/again"):
        await store.put(key, b"old")
    told: list[Change] = []
    async with Mirror(store, "m/", decode) as mirror:
        await mirror.synced()
        mirror.subscribe(lambda key, old, new, _: told.append((key, old, new)))
        # All of this happens before the mirror's task runs again, so it sees none of it as events.
        store.interrupt_watches()
        await store.txn((), [Put("m/changed", b"new"), Delete("m/deleted"), Delete("m/again")])
        await store.txn((), [Put("m/again", b"old"), Put("m/added", b"new")])
        await store.put("m/gone", b"")
        await store.delete("m/gone")
        await store.compact(await store.revision())
        await mirror.reached(await store.revision())
        assert sorted(told) == [
            ("m/added", None, "new"),
            ("m/again", "old", "old"),
            ("m/changed", "old", "new"),
            ("m/deleted", "old", None),
        ]
        assert dict(mirror.items()) == {
            "m/same": "old",
            "m/changed": "new",
            "m/again": "old",
            "m/added": "new",
        }
        await mirror.reached(await store.put("m/later", b"x"))
        assert told[-1] == ("m/later", None, "x")


class Replaced(MemoryStore):
    """A store that can be replaced by one whose history ends before."""

    def __init__(self) -> None:
        super().__init__()
        self.replaced = False

    async def range(self, *args: Any, **options: Any) -> RangeResult:
        """List; after the replacement nothing, at revision 1."""
        return RangeResult((), 1, False, 0) if self.replaced else await super().range(*args, **options)

    async def replace(self) -> None:
        """Be replaced, in such a way that every follower has to list again."""
        self.replaced = True
        await self.put("other", b"")
        self.interrupt_watches()
        await self.compact(await self.revision())


async def test_what_ends_it_reaches_those_who_wait() -> None:
    """If it cannot go on, whoever waits on the mirror learns of it."""
    store = Replaced()
    await store.put("m/a", b"")
    mirror = Mirror(store, "m/", decode)
    running = asyncio.create_task(mirror.run())
    await mirror.synced()
    await store.replace()
    await until(running.done)
    with pytest.raises(FailedPreconditionError, match="restored"):
        await mirror.reached(await store.revision() + 5, timeout=5)
    with pytest.raises(FailedPreconditionError, match="restored"):
        await running


async def test_a_subscriber_that_raises_loses_that_change_alone(store: Store) -> None:
    """Its key counts as unreadable until its next value; other keys and other subscribers are told on."""
    async with Mirror(store, "m/", decode) as mirror:
        await mirror.synced()
        told: list[tuple[str, str | None]] = []

        def choosy(key: str, old: str | None, new: str | None, revision: int) -> None:
            if new == "odd":
                raise TypeError("cannot take it")
            told.append((key, new))

        heard: list[str] = []
        mirror.subscribe(choosy)
        mirror.subscribe(lambda key, *_: heard.append(key))
        odd = await store.put("m/a", b"odd")
        await mirror.reached(await store.put("m/b", b"1"))
        assert (told, heard) == ([("m/b", "1")], ["m/a", "m/b"])
        assert dict(mirror.broken) == {"m/a": odd}
        await mirror.reached(await store.put("m/a", b"2"))
        await mirror.current()
        assert (told[-1], dict(mirror.broken)) == (("m/a", "2"), {})


async def test_many_waiters_are_all_woken(store: Store) -> None:
    """Each waiter wakes at its own revision, whatever the order in which they came."""
    async with Mirror(store, "m/", decode) as mirror:
        await mirror.synced()
        base = await store.revision()
        waiting = [asyncio.create_task(mirror.reached(base + n)) for n in (5, 1, 3, 2, 4)]
        for number in range(5):
            await store.put("m/a", b"%d" % number)
        async with asyncio.timeout(10):
            await asyncio.gather(*waiting)


async def test_a_compacted_watch_is_not_swallowed_elsewhere() -> None:
    """The error that the mirror answers by listing is the store's own."""
    store = MemoryStore()
    await store.put("a", b"")
    await store.put("a", b"")
    await store.compact(await store.revision())
    with pytest.raises(CompactedError):
        await anext(store.watch("", start_revision=2))


async def test_who_follows_learns_that_it_ended() -> None:
    """A mirror that cannot go on says why to whoever waits for that; one that is closed says nothing."""
    store = Replaced()
    await store.put("m/a", b"1")
    mirror = Mirror(store, "m/", decode)
    running = asyncio.create_task(mirror.run())
    await mirror.synced()
    await store.replace()
    with pytest.raises(FailedPreconditionError, match="restored"):
        await mirror.failed()
    await asyncio.wait([running])
    store.replaced = False
    async with Mirror(store, "m/", decode) as other:
        waiting = asyncio.create_task(other.failed())
        await other.synced()
        await store.delete("m/a")
    await waiting
