"""The work queue, in virtual time."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.backoff import Backoff
from hanse.control import QueueClosed, WorkQueue
from tests.support.waiting import SECONDS

pytestmark = pytest.mark.looptime


async def take(queue: WorkQueue, count: int) -> list[str]:
    """Take and finish some keys."""
    taken = []
    for _ in range(count):
        async with asyncio.timeout(1000):
            key = await queue.get()
        taken.append(key)
        queue.done(key)
    return taken


async def test_a_key_added_often_is_taken_once() -> None:
    """Deduplication before it is taken."""
    queue = WorkQueue()
    for _ in range(5):
        queue.add("a")
    queue.add("b")
    assert await take(queue, 2) == ["a", "b"]
    assert len(queue) == 0


async def test_a_key_added_while_worked_on_waits_for_done() -> None:
    """Never two at once, and never lost."""
    queue = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a", urgent=True)
    assert len(queue) == 0
    assert "a" in queue
    queue.done("a")
    assert await take(queue, 1) == ["a"]
    assert queue.idle


async def test_urgent_keys_go_first_but_do_not_starve_the_rest() -> None:
    """After `fairness` urgent keys in a row one of the others has its turn."""
    queue = WorkQueue(fairness=3)
    for number in range(3):
        queue.add(f"bulk{number}")
    for number in range(6):
        queue.add(f"urgent{number}", urgent=True)
    lanes = [key.rstrip("0123456789") for key in await take(queue, 9)]
    assert lanes == ["urgent"] * 3 + ["bulk"] + ["urgent"] * 3 + ["bulk"] * 2


async def test_an_urgent_add_lifts_a_waiting_key() -> None:
    """A key in the slow lane moves to the fast one, once."""
    queue = WorkQueue()
    queue.add("a")
    queue.add("b")
    queue.add("b", urgent=True)
    assert await take(queue, 2) == ["b", "a"]


async def test_a_delayed_key_comes_at_its_time() -> None:
    """Of several delays the earliest counts, and the key comes once."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    queue = WorkQueue()
    queue.add_after("a", 50)
    queue.add_after("a", 10)
    queue.add_after("a", 30)
    queue.add_after("b", 20)
    assert await take(queue, 1) == ["a"]
    assert loop.time() - start == pytest.approx(10)
    assert await take(queue, 1) == ["b"]
    assert loop.time() - start == pytest.approx(20)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(100):
            await queue.get()


async def test_failures_back_off_and_success_starts_anew() -> None:
    """Delays double up to the limit, per key; forget resets and drops the waiting retry."""
    queue = WorkQueue(backoff=Backoff(base=1, limit=5, jitter=0))
    assert [queue.retry("a") for _ in range(5)] == [1, 2, 4, 5, 5]
    assert queue.retry("b") == 1
    assert queue.retry("b", at_least=9) == 9
    assert queue.failures("a") == 5
    queue.forget("a")
    assert queue.failures("a") == 0
    assert "a" not in queue
    assert queue.retry("a") == 1


async def test_forget_keeps_a_delay_that_was_asked_for() -> None:
    """Only retries are dropped by a success."""
    queue = WorkQueue(backoff=Backoff(base=1))
    queue.add_after("a", 5)
    queue.retry("a")
    queue.forget("a")
    assert "a" not in queue or await take(queue, 1) == ["a"]
    queue.retry("b")
    queue.add_after("b", 5)
    queue.forget("b")
    assert await take(queue, 1) == ["b"]


async def test_close_lets_what_waits_be_taken_and_then_ends() -> None:
    """Waiting getters end too; nothing is taken in any more."""
    queue = WorkQueue()
    getter = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    assert await getter == "a"
    queue.add("b")
    queue.add_after("c", 1)
    queue.close()
    queue.add("d")
    assert await take(queue, 1) == ["b"]
    with pytest.raises(QueueClosed):
        await queue.get()


async def test_a_cancelled_getter_loses_no_key() -> None:
    """A key that woke a getter that was cancelled is given to the next."""
    queue = WorkQueue()
    first = asyncio.ensure_future(queue.get())
    second = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    async with asyncio.timeout(SECONDS):
        assert await second == "a"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_clear_forgets_what_waits() -> None:
    """For a leader that lost its lease."""
    queue = WorkQueue()
    queue.add("a")
    queue.add("b", urgent=True)
    queue.add_after("c", 1)
    queue.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10):
            await queue.get()


@given(st.integers(1, 200), st.integers(0, 2**32))
def test_backoff_stays_in_its_bounds(failures: int, seed: int) -> None:
    """At least the plain delay, at most the jitter more, never above the limit and its jitter."""
    backoff = Backoff(base=0.1, limit=30, jitter=0.5)
    plain = min(30, 0.1 * 2 ** min(failures - 1, 64))
    assert plain <= backoff.delay(failures, rng=random.Random(seed)) <= plain * 1.5


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.sampled_from("abc"), st.booleans()),
            st.tuples(st.just("after"), st.sampled_from("abc"), st.booleans()),
            st.tuples(st.just("take"), st.just(""), st.booleans()),
            st.tuples(st.just("done"), st.just(""), st.booleans()),
        ),
        max_size=40,
    )
)
def test_every_add_is_followed_by_a_look(steps: list[tuple[str, str, bool]]) -> None:
    """Whatever the interleaving: no key is worked on twice at once, and after the last add of a key
    there is a look at it."""

    async def scenario() -> None:
        queue = WorkQueue()
        working: list[str] = []
        pending: set[str] = set()

        async def get() -> None:
            key = await queue.get()
            assert key not in working
            working.append(key)
            pending.discard(key)

        for step, key, flag in steps:
            if step == "add":
                queue.add(key, urgent=flag)
                pending.add(key)
            elif step == "after":
                queue.add_after(key, 0.0001, urgent=flag)
                pending.add(key)
            elif step == "take" and len(queue):
                await get()
            elif step == "done" and working:
                queue.done(working.pop(0))
        while pending or working or len(queue):
            while working:
                queue.done(working.pop())
            if pending or len(queue):
                async with asyncio.timeout(2):
                    await get()

    asyncio.run(scenario())
