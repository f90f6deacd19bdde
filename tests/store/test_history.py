"""The contract of watches, over every history that there is: one suite, whoever serves it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import grpc
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import CompactedError, FutureRevisionError, InvalidArgumentError
from hanse.kube.engine.cache import ObjectCache
from hanse.store import Collection, Delete, Follower, MemoryStore, Op, Put, Store
from hanse.store.follow.collection import Difference
from hanse.store.history.changes import RecordedChange, seen_through
from hanse.store.history.contract import ChangeHistory, WatchMessage, watch
from hanse.store.history.log import ChangeLog
from hanse.store.history.logged import CollectionHistory, LoggedHistory
from hanse.store.history.stored import StoreHistory
from hanse.store.keys import ObjectKey

Kind = Literal["collection", "objects", "store"]
WINDOW = 6


@dataclass
class Subject:
    """A history under test, and how to write what it is of."""

    kind: Kind
    store: Store
    history: ChangeHistory[Any, Any]
    path: Callable[[str], str]

    async def write(self, **changes: str | None) -> int:
        """Write names in one transaction, None deletes; return its revision."""
        ops: list[Op] = [
            Delete(self.path(name)) if value is None else Put(self.path(name), _encoded(name, value))
            for name, value in changes.items()
        ]
        return (await self.store.txn([], ops)).revision

    async def forget(self, **last: str) -> int:
        """Write until nobody remembers the beginning; return from where one can watch."""
        for number in range(2 * WINDOW):
            await self.write(filler=str(number))
        revision = await self.write(**last)
        if self.kind == "store":
            await self.store.compact(revision)
        return revision

    def stream(self, revision: int = 0, **options: Any) -> Stream:
        """Watch."""
        return Stream(aclosing(watch(self.history, revision, **options)))


def _encoded(name: str, value: str) -> bytes:
    metadata = {"name": name, "namespace": "default", "uid": f"uid-of-{name}"}
    return orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"v": value}})


def _value(found: Any) -> str:
    """The text in whatever the history is of."""
    raw = getattr(found, "value", None)
    obj = orjson.loads(raw) if raw is not None else getattr(found, "object", found)
    return str(obj["data"]["v"])


def _name(key: Any) -> str:
    return key.name if isinstance(key, ObjectKey) else str(key).rpartition("/")[2]


@dataclass
class Stream:
    """A watch that is read message by message, as (kind, name, revision)."""

    opened: Any
    values: list[Any] = field(default_factory=list)

    async def __aenter__(self) -> Stream:
        self._messages = await self.opened.__aenter__()
        return self

    async def __aexit__(self, *ended: Any) -> None:
        await self.opened.__aexit__(*ended)

    async def take(self, count: int) -> list[tuple[str, str, int]]:
        """The next messages."""
        found: list[tuple[str, str, int]] = []
        async with asyncio.timeout(20):
            while len(found) < count:
                message: WatchMessage[Any, Any] = await anext(self._messages)
                self.values.append(message.value)
                name = "" if message.key is None else _name(message.key)
                found.append((message.kind, name, message.revision))
        return found


@asynccontextmanager
async def _subject(kind: Kind, store: Store) -> AsyncIterator[Subject]:
    async with AsyncExitStack() as stack:
        if kind == "store":
            yield Subject(kind, store, StoreHistory(store, "things/"), lambda name: f"things/{name}")
        elif kind == "collection":
            collection = Collection("things/", lambda kv: orjson.loads(kv.value))
            follower = await stack.enter_async_context(Follower(store, collection))
            await follower.synced()
            history = CollectionHistory(collection, lambda value, _: value, window=WINDOW)
            yield Subject(kind, store, history, lambda name: f"things/{name}")
        else:
            cache = ObjectCache(store, window=WINDOW)
            running = asyncio.create_task(cache.run())
            stack.callback(running.cancel)
            await cache.synced()
            objects = cache.history("", "configmaps")
            yield Subject(
                kind, store, objects, lambda name: ObjectKey("", "configmaps", "default", name).key()
            )


@pytest.fixture(params=["collection", "objects", "store"])
async def subject(request: pytest.FixtureRequest, store: Store) -> AsyncIterator[Subject]:
    """Each kind of history over each kind of store, in which something was written before."""
    await store.put("elsewhere/first", b"1")
    async with _subject(request.param, store) as made:
        yield made


@pytest.fixture(params=["collection", "objects"])
async def logged(request: pytest.FixtureRequest, store: Store) -> AsyncIterator[Subject]:
    """Each history that is kept in memory: it knows the state before, and forgets by itself."""
    await store.put("elsewhere/first", b"1")
    async with _subject(request.param, store) as made:
        yield made


async def _here(subject: Subject, revision: int) -> int:
    await subject.history.caught_up(revision, 10.0)
    return revision


async def test_a_watch_from_nothing_gets_everything_then_changes(subject: Subject) -> None:
    """What there is has revision 0, the bookmark where to resume; then come changes with their revision."""
    await _here(subject, await subject.write(a="1", b="1"))
    async with subject.stream() as stream:
        assert sorted(await stream.take(2)) == [("updated", "a", 0), ("updated", "b", 0)]
        kind, name, begun = (await stream.take(1))[0]
        assert (kind, name) == ("bookmark", "")
        gone = await subject.write(a=None)
        assert begun < gone
        assert await stream.take(1) == [("deleted", "a", gone)]
        changed = await subject.write(b="2")
        assert await stream.take(1) == [("updated", "b", changed)]
        assert _value(stream.values[-1]) == "2"


async def test_a_watch_that_breaks_anywhere_resumes_without_losing_half_a_transaction(
    subject: Subject,
) -> None:
    """Of a transaction only the last message says its revision; the others that of the one before."""
    base = await _here(subject, await subject.write(before="1"))
    first = await subject.write(a="1", b="1", c="1")
    second = await subject.write(d="1")
    async with subject.stream(base) as stream:
        messages = await stream.take(4)
    assert [revision for _, _, revision in messages] == [base, base, first, second]
    for seen, (_, _, revision) in enumerate(messages[:-1], start=1):
        have = {name for _, name, _ in messages[:seen]}
        async with subject.stream(revision) as stream:
            rest = await stream.take(4 if revision == base else 1)
        assert have | {name for _, name, _ in rest} == set("abcd")


async def test_a_revision_that_is_no_longer_kept_is_compacted(subject: Subject) -> None:
    """Whoever comes too late lists again; from where the error says a watch is possible."""
    early = await _here(subject, await subject.write(a="1"))
    last = await _here(subject, await subject.forget(a="2"))
    with pytest.raises(CompactedError) as caught:
        async with subject.stream(early) as stream:
            await stream.take(1)
    assert not isinstance(caught.value, FutureRevisionError)
    assert early < caught.value.compact_revision <= last
    async with subject.stream(caught.value.compact_revision) as stream:
        revision = last
        if caught.value.compact_revision == last:
            revision = await subject.write(a="3")
        messages = await stream.take(1)
        while messages[-1][1] != "a":
            messages += await stream.take(1)
        assert messages[-1] == ("updated", "a", revision)


async def test_a_revision_that_does_not_exist_yet_is_waited_for(subject: Subject) -> None:
    """What another process has seen already arrives; what does not is an error that says so."""
    newest = await _here(subject, await subject.write(a="0"))
    async with subject.stream(newest + 1, catch_up_seconds=10.0) as stream:
        waiting = asyncio.ensure_future(stream.take(1))
        await asyncio.sleep(0)
        await subject.write(a="1")
        last = await subject.write(b="1")
        assert await waiting == [("updated", "b", last)]
    with pytest.raises(FutureRevisionError, match="no revision 99999999 yet, the newest is") as caught:
        async with subject.stream(99999999, catch_up_seconds=0.05) as stream:
            await stream.take(1)
    assert caught.value.code is grpc.StatusCode.OUT_OF_RANGE
    assert caught.value.reason == "FUTURE_REVISION"


async def test_a_negative_revision_is_refused(subject: Subject) -> None:
    """It is none."""
    with pytest.raises(InvalidArgumentError, match="revision is -1"):
        async with subject.stream(-1) as stream:
            await stream.take(1)


async def test_only_what_is_selected_is_seen(subject: Subject) -> None:
    """By its key, at the beginning and later."""
    await _here(subject, await subject.write(a="1", b="1"))
    async with subject.stream(select=lambda key, _: _name(key) == "b") as stream:
        assert [each[:2] for each in await stream.take(2)] == [("updated", "b"), ("bookmark", "")]
        await subject.write(a="2")
        last = await subject.write(a="3", b=None)
        assert [each for each in await stream.take(1) if each[0] != "bookmark"] == [("deleted", "b", last)]


async def test_what_is_no_longer_selected_is_deleted(logged: Subject) -> None:
    """By its value, where the state before is known: leaving the selection is going, entering is coming."""
    base = await _here(logged, await logged.write(before="out"))
    await logged.write(a="in", b="out")
    await logged.write(a="out")
    await logged.write(b="in")
    async with logged.stream(base, select=lambda _, value: _value(value) == "in") as stream:
        assert [each[:2] for each in await stream.take(3)] == [
            ("updated", "a"),
            ("deleted", "a"),
            ("updated", "b"),
        ]


async def test_a_reader_that_is_too_slow_starts_again(logged: Subject) -> None:
    """It holds nothing: when the changes that it has not read have gone, it is told so."""
    base = await _here(logged, await logged.write(a="0"))
    async with logged.stream(base) as stream:
        await logged.write(a="1")
        await stream.take(1)
        await _here(logged, await logged.forget(a="2"))
        with pytest.raises(CompactedError):
            await stream.take(2 * WINDOW)


@pytest.mark.parametrize("kind", ["collection", "objects", "store"])
async def test_an_idle_watch_is_told_where_to_resume(kind: Kind) -> None:
    """A revision that went on elsewhere comes as a bookmark, so that resuming stays possible."""
    store = MemoryStore(progress_interval=0.01)
    await store.put("elsewhere/first", b"1")
    async with _subject(kind, store) as subject:
        base = await subject.write(a="1")
        async with subject.stream(base, bookmark_seconds=0.01) as stream:
            last = await store.put("elsewhere/second", b"2")
            found = await stream.take(1)
            while found[-1][2] < last:
                found += await stream.take(1)
            assert {each[:2] for each in found} == {("bookmark", "")}
            revisions = [each[2] for each in found]
            assert revisions == sorted(set(revisions))
    await store.close()


class Listed:
    """A collection that is as far as it is told."""

    def __init__(self, revision: int) -> None:
        self.revision = revision

    async def reached(self, revision: int, timeout: float) -> None:
        assert revision <= self.revision


NAMES = st.sampled_from("abc")
TRANSACTIONS = st.lists(
    st.dictionaries(NAMES, st.none() | st.integers(0, 3), min_size=1), min_size=1, max_size=6
)


@given(TRANSACTIONS, st.lists(st.integers(1, 4), max_size=6), st.integers(0, 3))
def test_a_watch_that_is_broken_and_resumed_ends_with_what_there_is(
    transactions: list[dict[str, int | None]], breaks: list[int], least: int
) -> None:
    """However often it breaks, and whatever it selects."""
    log: ChangeLog[RecordedChange[str, int]] = ChangeLog(floor=10)
    state: dict[str, int] = {}
    for revision, changes in enumerate(transactions, start=11):
        for name, value in changes.items():
            old = state.pop(name, None)
            if value is not None:
                state[name] = value
            if old is not None or value is not None:
                log.append(Difference(name, old, value, revision))
    newest = 10 + len(transactions)
    history = LoggedHistory(log.reader, following=Listed(newest), states=state.items)

    async def follow() -> dict[str, int]:
        seen: dict[str, int] = {}
        resume, lengths = 10, iter([*breaks, 1000])
        while resume < newest:
            left = next(lengths, 1000)
            messages = watch(history, resume, select=lambda _, value: value >= least, bookmark_seconds=0.001)
            async with aclosing(messages):
                async for message in messages:
                    resume, left = message.revision, left - 1
                    if message.kind == "updated" and message.key and message.value is not None:
                        seen[message.key] = message.value
                    elif message.kind == "deleted" and message.key:
                        seen.pop(message.key, None)
                    if resume >= newest or not left:
                        break
        return seen

    assert asyncio.run(follow()) == {name: value for name, value in state.items() if value >= least}


@given(st.none() | st.integers(0, 3), st.none() | st.integers(0, 3), st.integers(0, 3))
def test_a_change_is_seen_as_what_it_is_for_the_selection(
    old: int | None, new: int | None, least: int
) -> None:
    """Coming into it is an addition, going out of it a deletion, and what happens outside is not seen."""
    before, now = old is not None and old >= least, new is not None and new >= least
    expected = {
        (False, False): None,
        (False, True): "ADDED",
        (True, True): "MODIFIED",
        (True, False): "DELETED",
    }
    change = Difference("a", old, new, 1)
    assert seen_through(change, lambda _, value: value >= least) == expected.get((before, now))


async def test_a_difference_that_is_told_in_no_order_is_not_lost() -> None:
    """After a fresh list changes come with older revisions than ones before them: who resumes gets them."""
    collection: Collection[str] = Collection("things/", lambda kv: kv.value.decode())
    store = MemoryStore()
    async with Follower(store, collection) as follower:
        await follower.synced()
        history = CollectionHistory(collection, lambda value, _: value)
        base = collection.revision
        for key, revision in (("gone", base + 20), ("b", base + 15), ("c", base + 12)):
            collection.tell(Difference(key, None, key, revision))
        for _ in range(20):
            last = await store.put("elsewhere/a", b"1")
        await collection.reached(last)
        for resume in (base, base + 14):
            async with aclosing(watch(history, resume)) as messages:
                found = [await anext(messages) for _ in range(3)]
            assert {each.key for each in found} == {"gone", "b", "c"}
            assert [each.revision for each in found] == [resume, resume, base + 20]
    await store.close()
