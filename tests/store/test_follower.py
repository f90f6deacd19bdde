"""A prefix followed into a dictionary, in every store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import CompactedError, DeadlineError, FailedPreconditionError, UnavailableError
from hanse.store import (
    Collection,
    Delete,
    EtcdStore,
    Event,
    Follower,
    KeyValue,
    MemoryStore,
    Put,
    RangeResult,
    Store,
    WatchBatch,
)
from hanse.store.follow import list_watch, listing
from hanse.store.follow.batches import whole_revisions
from hanse.store.follow.follower import LARGE_BYTES
from hanse.store.follow.watermark import Watermark
from hanse.store.spans import Span
from tests.store.contract import DEADLINE
from tests.support.stores.etcd import EtcdServer
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
    things = Collection("m/", decode)
    async with Follower(store, things) as follower:
        await follower.synced()
        assert dict(things.items()) == {"m/a": "1"}
        revision = await store.put("m/b", b"2")
        await follower.reached(revision)
        assert dict(things.items()) == {"m/a": "1", "m/b": "2"}
        entry = things.versioned("m/b")
        assert entry is not None
        assert (entry.value, entry.mod_revision, entry.create_revision) == ("2", revision, revision)
        await store.delete("m/a")
        await follower.reached(await store.revision())
        assert things.get("m/a") is None
        assert (list(things.keys()), len(things), "m/b" in things) == (["m/b"], 1, True)


async def test_subscribers_hear_each_change_in_order(store: Store) -> None:
    """Each change is told with what was before; replay tells what is there already."""
    await store.put("m/a", b"1")
    things = Collection("m/", decode)
    async with Follower(store, things) as follower:
        await follower.synced()
        told: list[tuple[str, str | None, str | None, int]] = []
        end = things.subscribe(lambda *change: told.append(change), replay=True)
        revision = (await store.txn((), [Put("m/a", b"2"), Put("m/b", b"x")])).revision
        await store.delete("m/a")
        await follower.reached(revision + 1)
        assert told == [
            ("m/a", None, "1", revision - 1),
            ("m/a", "1", "2", revision),
            ("m/b", None, "x", revision),
            ("m/a", "2", None, revision + 1),
        ]
        end()
        await follower.reached(await store.put("m/c", b""))
        assert len(told) == 4


async def test_a_quiet_follower_reaches_a_revision_soon(store: Store) -> None:
    """Writes elsewhere do not make a reader wait for the next notification."""
    things = Collection("m/", decode)
    async with Follower(store, things) as follower:
        await follower.synced()
        for _ in range(3):
            revision = await store.put("elsewhere", b"")
            await follower.reached(revision, timeout=5)
            assert follower.revision >= revision
        assert await follower.current() >= revision


async def test_a_revision_that_is_not_reached_is_an_error(store: Store) -> None:
    """Waiting for what does not come ends with a deadline."""
    things = Collection("m/", decode)
    async with Follower(store, things) as follower:
        await follower.synced()
        with pytest.raises(DeadlineError):
            await follower.reached(await store.revision() + 1000, timeout=0.1)


async def test_a_value_that_cannot_be_read_hides_nothing(store: Store) -> None:
    """A bad value leaves the last good one in place and is named; the next good one mends it."""
    await store.put("m/a", b"1")
    await store.put("m/new", b"bad")
    things = Collection("m/", decode)
    async with Follower(store, things) as follower:
        await follower.synced()
        assert (list(things.broken), "m/new" in things) == (["m/new"], False)
        revision = await store.put("m/a", b"bad")
        await follower.reached(revision)
        assert things.get("m/a") == "1"
        assert things.broken["m/a"] == revision
        await store.delete("m/new")
        await follower.reached(await store.put("m/a", b"2"))
        assert (dict(things.items()), dict(things.broken)) == ({"m/a": "2"}, {})


async def test_after_a_compaction_it_lists_again_and_tells_the_difference() -> None:
    """What changed while it was cut off, deletions included, is told once, and nothing else."""
    store = MemoryStore()
    for key in ("m/same", "m/changed", "m/deleted", "m/again"):
        await store.put(key, b"old")
    told: list[Change] = []
    things = Collection("m/", decode)
    async with Follower(store, things) as follower:
        await follower.synced()
        things.subscribe(lambda key, old, new, _: told.append((key, old, new)))
        # All of this happens before the follower's task runs again, so it sees none of it as events.
        store.interrupt_watches()
        await store.txn((), [Put("m/changed", b"new"), Delete("m/deleted"), Delete("m/again")])
        await store.txn((), [Put("m/again", b"old"), Put("m/added", b"new")])
        await store.put("m/gone", b"")
        await store.delete("m/gone")
        await store.compact(await store.revision())
        await follower.reached(await store.revision())
        assert sorted(told) == [
            ("m/added", None, "new"),
            ("m/again", "old", "old"),
            ("m/changed", "old", "new"),
            ("m/deleted", "old", None),
        ]
        assert dict(things.items()) == {
            "m/same": "old",
            "m/changed": "new",
            "m/again": "old",
            "m/added": "new",
        }
        await follower.reached(await store.put("m/later", b"x"))
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
    """If it cannot go on, whoever waits on it learns of it."""
    store = Replaced()
    await store.put("m/a", b"")
    follower = Follower(store, Collection("m/", decode))
    running = asyncio.create_task(follower.run())
    await follower.synced()
    await store.replace()
    await until(running.done)
    with pytest.raises(FailedPreconditionError, match="restored"):
        await follower.reached(await store.revision() + 5, timeout=5)
    with pytest.raises(FailedPreconditionError, match="restored"):
        await running


async def test_a_subscriber_that_raises_loses_that_change_alone(store: Store) -> None:
    """Its key counts as unreadable until its next value; other keys and other subscribers are told on."""
    things = Collection("m/", decode)
    async with Follower(store, things) as follower:
        await follower.synced()
        told: list[tuple[str, str | None]] = []

        def choosy(key: str, old: str | None, new: str | None, revision: int) -> None:
            if new == "odd":
                raise TypeError("cannot take it")
            told.append((key, new))

        heard: list[str] = []
        things.subscribe(choosy)
        things.subscribe(lambda key, *_: heard.append(key))
        odd = await store.put("m/a", b"odd")
        await follower.reached(await store.put("m/b", b"1"))
        assert (told, heard) == ([("m/b", "1")], ["m/a", "m/b"])
        assert dict(things.broken) == {"m/a": odd}
        await follower.reached(await store.put("m/a", b"2"))
        await follower.current()
        assert (told[-1], dict(things.broken)) == (("m/a", "2"), {})


async def test_many_waiters_are_all_woken(store: Store) -> None:
    """Each waiter wakes at its own revision, whatever the order in which they came."""
    things = Collection("m/", decode)
    async with Follower(store, things) as follower:
        await follower.synced()
        base = await store.revision()
        waiting = [asyncio.create_task(follower.reached(base + n)) for n in (5, 1, 3, 2, 4)]
        for number in range(5):
            await store.put("m/a", b"%d" % number)
        async with asyncio.timeout(10):
            await asyncio.gather(*waiting)


async def test_a_compacted_watch_is_not_swallowed_elsewhere() -> None:
    """The error that the follower answers by listing is the store's own."""
    store = MemoryStore()
    await store.put("a", b"")
    await store.put("a", b"")
    await store.compact(await store.revision())
    with pytest.raises(CompactedError):
        await anext(store.watch("", start_revision=2))


async def test_who_follows_learns_that_it_ended() -> None:
    """A follower that cannot go on says why to whoever waits for that; one that is closed says nothing."""
    store = Replaced()
    await store.put("m/a", b"1")
    follower = Follower(store, Collection("m/", decode))
    running = asyncio.create_task(follower.run())
    await follower.synced()
    await store.replace()
    with pytest.raises(FailedPreconditionError, match="restored"):
        await follower.failed()
    await asyncio.wait([running])
    store.replaced = False
    async with Follower(store, Collection("m/", decode)) as other:
        waiting = asyncio.create_task(other.failed())
        await other.synced()
        await store.delete("m/a")
    await waiting


async def test_prefixes_of_one_span_come_in_one_order(store: Store) -> None:
    """What is written in turn under two prefixes is told in turn; keys between them are passed over."""
    first, last = Collection("a/", decode), Collection("c/", decode)
    told: list[tuple[str, int]] = []
    for each in (first, last):
        each.subscribe(lambda key, old, new, revision: told.append((key, revision)))
    async with Follower(store, first, last, spans=[Span("a/", "c/")]) as follower:
        await follower.synced()
        base = await store.revision()
        for number in range(5):
            await store.put(f"c/{number}", b"")
            await store.put(f"b/{number}", b"bad")
            await store.put(f"a/{number}", b"")
        await store.txn((), [Put("a/x", b""), Put("c/x", b""), Delete("b/0")])
        await follower.reached(await store.revision())
        assert [revision for _, revision in told] == sorted(revision for _, revision in told)
        assert [key for key, _ in told[:10]] == [
            f"{prefix}/{number}" for number in range(5) for prefix in "ca"
        ]
        assert {told[10], told[11]} == {("a/x", base + 16), ("c/x", base + 16)}
        assert (len(first), len(last), follower.broken) == (6, 6, {})
        assert first.revision == last.revision == follower.revision


async def test_several_spans_are_listed_at_one_revision_and_all_followed(store: Store) -> None:
    """A change in each span arrives, and the follower's revision is what all spans have reached."""
    first, last = Collection("a/", decode), Collection("c/", decode)
    await store.put("a/1", b"one")
    await store.put("c/1", b"one")
    async with Follower(store, first, last) as follower:
        await follower.synced()
        assert first.revision == last.revision == await store.revision()
        at = await store.put("a/2", b"two")
        await first.reached(at)
        assert first.get("a/2") == "two"
        await follower.reached(at)
        assert min(first.revision, last.revision) == follower.revision >= at
        at = await store.put("c/1", b"two")
        assert await follower.current() >= at
        assert last.get("c/1") == "two"


async def test_a_quiet_span_delays_no_other() -> None:
    """News of one span is told while the watch of another says nothing at all."""

    class Silent(MemoryStore):
        """A store whose watch of a/ never says anything."""

        async def watch(self, prefix: str, **options: Any) -> AsyncGenerator[WatchBatch, None]:
            if prefix == "a/":
                await asyncio.Event().wait()
            async with aclosing(super().watch(prefix, **options)) as batches:
                async for batch in batches:
                    yield batch

    store = Silent()
    quiet, busy = Collection("a/", decode), Collection("c/", decode)
    async with Follower(store, quiet, busy) as follower:
        await follower.synced()
        at = await store.put("c/1", b"one")
        await until(lambda: busy.revision >= at)
        assert (busy.get("c/1"), quiet.revision) == ("one", at - 1)
        await follower.reached(at)
        assert quiet.revision >= at


async def test_a_slow_value_is_decoded_before_anything_shows() -> None:
    """While a large value is decoded in a thread, readers see the revision before it, and the loop runs."""
    started, finish = threading.Event(), threading.Event()

    def slow(kv: KeyValue) -> str:
        if len(kv.value) > LARGE_BYTES:
            started.set()
            finish.wait(DEADLINE)
        return kv.value[:5].decode()

    store = MemoryStore()
    things = Collection("m/", slow)
    async with Follower(store, things) as follower:
        await follower.synced()
        try:
            large = await store.put("m/large", b"large" * LARGE_BYTES)
            await until(started.is_set)
            small = await store.put("m/small", b"small")
            assert (things.get("m/large"), follower.revision) == (None, large - 1)
        finally:
            finish.set()
        await follower.reached(small)
        assert dict(things.items()) == {"m/large": "large", "m/small": "small"}


async def test_a_list_has_many_pages_and_a_burst_many_parts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes several requests and several turns is complete and in order."""
    monkeypatch.setattr(listing, "PAGE", 3)
    monkeypatch.setattr(list_watch, "TAKE", 4)
    for number in range(10):
        await store.put(f"m/{number}", b"")
    things = Collection("m/", decode)
    async with Follower(store, things) as follower:
        await follower.synced()
        assert sorted(things.keys()) == [f"m/{number}" for number in range(10)]
        told: list[int] = []
        things.subscribe(lambda key, old, new, revision: told.append(revision))
        await asyncio.gather(*(store.put(f"m/{number}", b"x") for number in range(30)))
        await follower.reached(await store.revision())
        assert (len(told), told) == (30, sorted(told))


async def test_a_list_again_tells_in_the_order_of_revisions() -> None:
    """What was missed is told oldest first; what is gone is told last, as of the list."""
    store = MemoryStore()
    await store.put("m/a", b"")
    await store.put("m/gone", b"")
    things = Collection("m/", decode)
    told: list[tuple[str, int]] = []
    async with Follower(store, things) as follower:
        await follower.synced()
        things.subscribe(lambda key, old, new, revision: told.append((key, revision)))
        store.interrupt_watches()
        await store.delete("m/gone")
        later = await store.put("m/z", b"")
        latest = await store.put("m/a", b"")
        await store.compact(await store.revision())
        await follower.reached(latest)
        assert told == [("m/z", later), ("m/a", latest), ("m/gone", latest)]


async def test_a_defect_of_the_store_is_survived() -> None:
    """What the watch raises that nobody expects is not the end: everything is read again."""

    class Faulty(MemoryStore):
        """A store whose first watch breaks in a way that no store should."""

        faults = 1

        async def watch(self, prefix: str, **options: Any) -> AsyncGenerator[WatchBatch, None]:
            if self.faults:
                self.faults -= 1
                raise KeyError("defect")
            async with aclosing(super().watch(prefix, **options)) as batches:
                async for batch in batches:
                    yield batch

    store = Faulty()
    things = Collection("m/", decode)
    async with Follower(store, things) as follower:
        await follower.synced()
        await follower.reached(await store.put("m/a", b"1"))
        assert (things.get("m/a"), store.faults) == ("1", 0)


async def test_a_restart_of_etcd_loses_nothing(own_etcd: EtcdServer) -> None:
    """Changes after the restart arrive in every span; what was known is kept meanwhile."""
    store = await EtcdStore.connect([own_etcd.endpoint], prefix="/restart")
    first, last = Collection("a/", decode), Collection("c/", decode)
    await store.put("a/1", b"one")
    async with Follower(store, first, last) as follower:
        await follower.synced()
        own_etcd.kill()
        assert first.get("a/1") == "one"
        await asyncio.to_thread(own_etcd.start)
        await store.put("c/1", b"two")
        await follower.reached(await store.put("a/2", b"three"), DEADLINE)
        assert [dict(first.items()), dict(last.items())] == [
            {"a/1": "one", "a/2": "three"},
            {"c/1": "two"},
        ]
    await store.close()


def test_each_prefix_lies_in_one_span() -> None:
    """A prefix that no span has would never be told of, one that two have twice: neither is taken."""
    for spans in ([Span("x/")], [Span("a/", "c/"), Span("m/"), Span("m/")]):
        with pytest.raises(ValueError, match="m/"):
            Follower(MemoryStore(), Collection("m/", decode), spans=spans)


@given(st.lists(st.integers(1, 4), max_size=30), st.integers(1, 6))
def test_a_batch_is_cut_between_revisions(sizes: list[int], most: int) -> None:
    """The parts are the batch in order, no revision is in two, and the last has the revision of the batch."""
    events = tuple(
        Event("put", KeyValue(f"m/{number}", b"", at, at, 1))
        for at, size in enumerate(sizes, 1)
        for number in range(size)
    )
    batch = WatchBatch(len(sizes) + 1, events)
    parts = list(whole_revisions(batch, most))
    assert tuple(event for part in parts for event in part.events) == events
    revisions = [{event.kv.mod_revision for event in part.events} for part in parts]
    assert sum(map(len, revisions)) == len(set().union(*revisions))
    assert parts[-1].revision == batch.revision
    assert all(len(part.events) < most + 4 for part in parts)


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=40))
async def test_a_watermark_wakes_those_it_has_passed(steps: list[tuple[int, bool]]) -> None:
    """Whoever waits for a revision is woken by the first advance that reaches it, and not before."""
    mark = Watermark(Span("m/"), ("m/",))
    waiting: list[tuple[int, asyncio.Task[None]]] = []
    for revision, advance in steps:
        if advance:
            mark.advance(revision)
        else:
            waiting.append((revision, asyncio.create_task(mark.reached(revision))))
        for _ in range(3):
            await asyncio.sleep(0)
        assert all(task.done() == (wanted <= mark.revision) for wanted, task in waiting)
    assert mark.awaited == any(not task.done() for _, task in waiting)
    mark.fail(UnavailableError("closed"))
    results = await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)
    for (wanted, _), result in zip(waiting, results, strict=True):
        assert isinstance(result, UnavailableError) == (wanted > mark.revision)


async def test_one_prefix_catches_up_whatever_the_rest_of_its_span_does() -> None:
    """Of a quiet prefix it is known at once that nothing is missing; of a busy one the news is waited for."""

    class Held(MemoryStore):
        """A store whose watches tell nothing while they are held."""

        def __init__(self) -> None:
            super().__init__()
            self.open = asyncio.Event()
            self.open.set()

        async def watch(self, prefix: str, **options: Any) -> AsyncGenerator[WatchBatch, None]:
            async with aclosing(super().watch(prefix, **options)) as batches:
                async for batch in batches:
                    await self.open.wait()
                    yield batch

    store = Held()
    first, last = Collection("a/", decode), Collection("c/", decode)
    async with Follower(store, first, last, spans=[Span("a/", "c/")]) as follower:
        await follower.synced()
        store.open.clear()
        await store.put("a/1", b"one")
        async with asyncio.timeout(DEADLINE):
            await follower.caught_up("c/")
        assert first.get("a/1") is None
        with pytest.raises(DeadlineError):
            await follower.caught_up("a/", timeout=0.05)
        waiting = asyncio.create_task(follower.caught_up("a/"))
        await asyncio.sleep(0)
        store.open.set()
        await waiting
        assert first.get("a/1") == "one"
