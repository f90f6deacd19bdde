"""Reading sync states when clusters are taken over: one pass for many, never one that is older than the
call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hanse_syncer.member.behaviour import GOOD_SECONDS, Behaviour
from hanse_syncer.report.state_loader import SyncStateLoader

from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.api.type.v1.condition_pb2 import Condition
from hanse.backoff import Backoff
from hanse.errors import UnavailableError
from hanse.kube.client.bounds import MisbehavingMemberError
from hanse.store import Compare, MemoryStore, keys
from tests.support.waiting import until


class CountingStore(MemoryStore):
    """Counts the passes, and can hold one up or fail."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0
        self.gate: asyncio.Event | None = None
        self.failures = 0

    async def range(self, *args: Any, **kwargs: Any) -> Any:
        """Read a page."""
        self.passes += 1
        page = await super().range(*args, **kwargs)
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise UnavailableError("the store does not answer")
        return page


async def put(store: MemoryStore, name: str, cluster: str) -> None:
    """Store a sync state."""
    await store.put(
        f"syncstates/core/configmaps/default/{name}/{cluster}",
        SyncState(cluster=cluster).SerializeToString(),
    )


@pytest.fixture
async def store() -> AsyncIterator[CountingStore]:
    """A store with one state in each of two clusters."""
    store = CountingStore()
    await put(store, "web", "a")
    await put(store, "web", "b")
    yield store
    await store.close()


def paths(states: list[tuple[str, SyncState]]) -> list[str]:
    """The paths of what was loaded."""
    return [path for path, _ in states]


async def test_clusters_that_are_taken_over_together_share_a_pass(store: CountingStore) -> None:
    """Each has its own states; one that has none has none."""
    loader = SyncStateLoader(store)
    a, b, c = await asyncio.gather(loader.load("a"), loader.load("b"), loader.load("c"))
    assert (paths(a), paths(b), c) == (["core/configmaps/default/web"], ["core/configmaps/default/web"], [])
    assert store.passes == 1
    assert a[0][1].cluster == "a"


async def test_a_pass_that_began_before_the_call_is_not_used(store: CountingStore) -> None:
    """What the last holder wrote in between would be missing."""
    loader = SyncStateLoader(store)
    store.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(loader.load("a"))
        await until(lambda: store.passes == 1, what="the first pass reads")
        await put(store, "late", "a")
        second, third = group.create_task(loader.load("a")), group.create_task(loader.load("b"))
        await asyncio.sleep(0)
        store.gate.set()
    assert len(first.result()) == 1
    assert paths(second.result()) == ["core/configmaps/default/late", "core/configmaps/default/web"]
    assert len(third.result()) == 1
    assert store.passes == 2, "the two that waited share the second one"


async def test_who_gives_up_takes_nobody_with_it(store: CountingStore) -> None:
    """The next one that waits makes the pass."""
    loader = SyncStateLoader(store)
    store.gate = asyncio.Event()
    first = asyncio.create_task(loader.load("a"))
    await until(lambda: store.passes == 1, what="the first pass reads")
    second = asyncio.create_task(loader.load("b"))
    await asyncio.sleep(0)
    first.cancel()
    store.gate.set()
    assert len(await second) == 1
    assert first.cancelled()


async def test_a_store_that_does_not_answer_is_asked_again(store: CountingStore) -> None:
    """Nothing is taken for empty because it could not be read."""
    store.failures = 1
    assert len(await SyncStateLoader(store).load("a")) == 1
    assert store.passes == 2


async def test_nothing_is_kept_when_nobody_waits(store: CountingStore) -> None:
    """The states of all clusters are much; a later call reads them again."""
    loader = SyncStateLoader(store)
    await loader.load("a")
    assert loader._states == {}
    await put(store, "later", "a")
    assert len(await loader.load("a")) == 2


class Watched:
    """The behaviour of cluster a, with a clock that stands still."""

    def __init__(self, store: MemoryStore) -> None:
        self.now = 1000.0
        self.behaviour = Behaviour(
            store,
            "a",
            fence=lambda: Compare.exists("lease"),
            clock=lambda: datetime.fromtimestamp(self.now, UTC),
            monotonic=lambda: self.now,
            pauses=Backoff(base=1.0, limit=64.0, jitter=0.0),
        )

    def strike(self) -> float:
        """Misbehave; return the pause."""
        return self.behaviour.misbehaved(MisbehavingMemberError("it sent too much"))


async def test_a_member_that_does_it_again_is_left_alone_for_longer() -> None:
    """Each time; after long enough without it the next time is the first again."""
    watched = Watched(MemoryStore())
    pauses = [watched.strike() for _ in range(4)]
    assert pauses == sorted(pauses)
    assert pauses[-1] > pauses[0]
    watched.now += GOOD_SECONDS + 1
    assert watched.strike() == pauses[0]


async def test_what_a_member_did_is_reported_until_it_behaves() -> None:
    """The report says since when; it goes when the lists are in."""
    store = MemoryStore()
    await store.put("lease", b"")
    await store.put(keys.cluster("a"), b"")
    watched = Watched(store)
    key = keys.member_report("a")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(watched.behaviour.run())
        watched.behaviour.behaves()
        watched.strike()
        found = await until(lambda: store.get(key), what="it is reported")
        assert found is not None
        report = Condition.FromString(found.value)
        assert (report.reason, report.message) == ("MisbehavingMember", "it sent too much")
        assert report.last_transition_time.seconds == int(watched.now)
        watched.behaviour.behaves()

        async def gone() -> bool:
            return await store.get(key) is None

        await until(gone, what="the report is gone")
        running.cancel()
    await store.close()
