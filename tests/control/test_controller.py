"""The controller, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from hanse.backoff import Backoff
from hanse.control import Controller, Request, Result, TerminalError, WorkQueue
from hanse.errors import UnavailableError
from tests.support.waiting import until

pytestmark = pytest.mark.looptime


class Looks:
    """A reconciler that counts, and checks that no key is looked at twice at once."""

    def __init__(self, behave: Callable[[str], Awaitable[Result | None]]) -> None:
        self.behave = behave
        self.count: Counter[str] = Counter()
        self.times: list[float] = []
        self.now: set[str] = set()
        self.most = 0

    async def reconcile(self, request: Request) -> Result | None:
        assert request.key not in self.now
        self.now.add(request.key)
        self.most = max(self.most, len(self.now))
        self.count[request.key] += 1
        self.times.append(asyncio.get_running_loop().time())
        try:
            return await self.behave(request.key)
        finally:
            self.now.discard(request.key)


@asynccontextmanager
async def running(controller: Controller) -> AsyncIterator[Controller]:
    """Run a controller beside the test."""
    task = asyncio.ensure_future(controller.run())
    try:
        yield controller
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ok(key: str) -> Result | None:
    """Nothing to do."""
    await asyncio.sleep(1)
    return None


async def test_keys_are_worked_on_at_once_up_to_the_limit() -> None:
    """Never more than `workers`, and the limit can be changed while it runs."""
    looks = Looks(ok)
    queue = WorkQueue()
    async with running(Controller("test", looks, queue, workers=3)) as controller:
        for number in range(12):
            queue.add(str(number))
        await until(lambda: sum(looks.count.values()) >= 6)
        assert looks.most == 3
        controller.workers = 5
        await until(lambda: sum(looks.count.values()) == 12 and queue.idle)
        assert looks.most == 5


async def test_a_change_during_a_look_is_looked_at_again() -> None:
    """Level-based: the second look sees the newest state; the key is never in two looks."""
    looks = Looks(ok)
    queue = WorkQueue()
    async with running(Controller("test", looks, queue)):
        queue.add("a")
        await until(lambda: "a" in looks.now)
        queue.add("a")
        queue.add("a")
        await until(lambda: looks.count["a"] == 2 and queue.idle)


async def test_failures_are_retried_with_backoff_until_they_succeed() -> None:
    """Delays of 1, 2, 4 seconds; an error that says when to come back is believed."""
    fail = [UnavailableError("x"), ValueError("defect"), UnavailableError("x", retry_after=20)]

    async def behave(key: str) -> Result | None:
        if fail:
            raise fail.pop(0)
        return None

    looks = Looks(behave)
    queue = WorkQueue(backoff=Backoff(base=1, jitter=0))
    async with running(Controller("test", looks, queue)):
        queue.add("a")
        await until(lambda: looks.count["a"] == 4)
        gaps = [b - a for a, b in zip(looks.times, looks.times[1:], strict=False)]
        assert gaps == pytest.approx([1, 2, 20], abs=0.01)
        assert queue.failures("a") == 0


async def test_a_terminal_error_is_not_retried() -> None:
    """Until somebody adds the key again."""

    async def behave(key: str) -> Result | None:
        raise TerminalError("bad annotation")

    looks = Looks(behave)
    queue = WorkQueue()
    async with running(Controller("test", looks, queue)):
        queue.add("a")
        await asyncio.sleep(500)
        assert looks.count["a"] == 1
        queue.add("a")
        await until(lambda: looks.count["a"] == 2)


async def test_requeue_after_comes_back() -> None:
    """A result can ask for another look."""

    async def behave(key: str) -> Result | None:
        return Result(requeue_after=30)

    looks = Looks(behave)
    queue = WorkQueue()
    async with running(Controller("test", looks, queue)):
        queue.add("a")
        await until(lambda: looks.count["a"] == 3, seconds=1000)
        assert looks.times[2] - looks.times[0] == pytest.approx(60, abs=0.01)


async def test_a_look_that_hangs_is_ended_and_retried() -> None:
    """It cannot hold a worker for ever."""

    async def behave(key: str) -> Result | None:
        await asyncio.Event().wait()
        return None

    looks = Looks(behave)
    queue = WorkQueue(backoff=Backoff(base=1, jitter=0))
    async with running(Controller("test", looks, queue, workers=1, timeout=10)):
        queue.add("a")
        await until(lambda: looks.count["a"] == 2, seconds=1000)
        assert looks.times[1] - looks.times[0] == pytest.approx(11, abs=0.05)


async def test_drain_finishes_what_waits() -> None:
    """Everything that was added is looked at, then run() returns."""
    looks = Looks(ok)
    queue = WorkQueue()
    controller = Controller("test", looks, queue, workers=2)
    for number in range(6):
        queue.add(str(number))
    task = asyncio.ensure_future(controller.run())
    await asyncio.sleep(0.5)
    assert await controller.drain(timeout=60)
    await task
    assert sum(looks.count.values()) == 6


async def test_drain_says_when_it_took_too_long() -> None:
    """And leaves the rest to a cancellation, which ends looks in flight."""
    looks = Looks(ok)
    queue = WorkQueue()
    controller = Controller("test", looks, queue, workers=1)
    queue.add("a")
    queue.add("b")
    task = asyncio.ensure_future(controller.run())
    await asyncio.sleep(0.1)
    assert not await controller.drain(timeout=1.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not looks.now
