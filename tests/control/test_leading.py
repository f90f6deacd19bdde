"""Leading an election, in virtual time: when the work runs, what ends it, and who leads next."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from hanse.backoff import Backoff
from hanse.control.leading import lead
from hanse.errors import PermissionDeniedError, UnavailableError
from hanse.store import Election, Leadership, MemoryStore, Put, RangeResult, keys
from hanse.store.memory import MemoryLease

pytestmark = pytest.mark.looptime

ELECTION = "dns"
BACKOFF = Backoff(base=1.0, limit=8.0, jitter=0.0)
TTL = 10


@dataclass
class Work:
    """Work that notes when it begins and ends, and does what `then` says with each leadership."""

    then: Callable[[Leadership], object] | None = None
    began: list[float] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    leaderships: list[Leadership] = field(default_factory=list)
    working: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, leadership: Leadership) -> None:
        self.began.append(asyncio.get_running_loop().time())
        self.leaderships.append(leadership)
        self.working.set()
        try:
            if self.then is not None:
                self.then(leadership)
            else:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        except Exception as error:
            self.ended.append(type(error).__name__)
            raise
        else:
            self.ended.append("returned")
        finally:
            self.working.clear()


def start(
    store: MemoryStore, work: Work, *, identity: str = "one", stop: asyncio.Event | None = None
) -> asyncio.Task[None]:
    """Lead in a task."""
    return asyncio.create_task(
        lead(
            store,
            election=ELECTION,
            identity=identity,
            ttl=TTL,
            while_leading=work,
            stop=stop,
            backoff=BACKOFF,
        )
    )


async def until(condition: Callable[[], bool]) -> None:
    """Wait, in virtual time, until something holds."""
    async with asyncio.timeout(1000):
        while not condition():  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)


async def candidates(store: MemoryStore) -> int:
    """Return how many candidates there are, the leader among them."""
    return (await store.range(keys.election(ELECTION))).count


def raising(error: Exception) -> Callable[[Leadership], object]:
    """Return work that fails at once."""

    def work(_: Leadership) -> object:
        raise error

    return work


async def test_a_lost_lease_cancels_the_work_and_it_leads_again_at_once() -> None:
    """The work ends first; the next leadership has a lease of its own, and does not wait."""
    store, work = MemoryStore(), Work()
    task = start(store, work)
    await until(work.working.is_set)
    first = work.leaderships[0]
    await store.revoke(first.lease.id)
    await until(lambda: len(work.leaderships) == 2)
    assert work.ended == ["cancelled"]
    assert work.began[1] - work.began[0] < BACKOFF.base
    assert not (await store.txn([first.fence()], [Put("x", b"")])).succeeded
    assert (await store.txn([work.leaderships[1].fence()], [Put("x", b"")])).succeeded
    task.cancel()
    await asyncio.wait([task])


async def test_work_that_raises_resigns_and_is_tried_again_after_growing_pauses() -> None:
    """Errors that are expected and those that are not are both logged, and never end the loop."""
    store, errors = MemoryStore(), iter([UnavailableError("away"), ValueError("a defect"), OSError("disk")])
    free: list[bool] = []

    def fail(leadership: Leadership) -> object:
        free.append(not leadership.lost.is_set())
        raise next(errors)

    work = Work(fail)
    task = start(store, work)
    await until(lambda: len(work.began) == 3)
    await asyncio.sleep(0.1)
    assert work.ended == ["UnavailableError", "ValueError", "OSError"]
    assert [round(after - before) for before, after in zip(work.began, work.began[1:], strict=False)] == [
        1,
        2,
    ]
    assert free == [True] * 3
    assert all(leadership.lost.is_set() for leadership in work.leaderships)
    assert await candidates(store) == 0  # while it pauses, others may lead
    task.cancel()
    await asyncio.wait([task])


async def test_a_long_leadership_forgets_the_failures_before() -> None:
    """Pauses grow only while leaderships are short: one that held for longer than its lease starts over."""
    store, attempts = MemoryStore(), 0
    began: list[float] = []
    failed: list[float] = []
    clock = asyncio.get_running_loop().time

    async def work(_: Leadership) -> None:
        nonlocal attempts
        attempts += 1
        began.append(clock())
        if attempts == 3:
            await asyncio.sleep(TTL + 1)
        failed.append(clock())
        raise UnavailableError("away")

    task = asyncio.create_task(
        lead(store, election=ELECTION, identity="one", ttl=TTL, while_leading=work, backoff=BACKOFF)
    )
    await until(lambda: attempts == 4)
    assert [round(b - f) for f, b in zip(failed, began[1:], strict=False)] == [1, 2, 1]
    task.cancel()
    await asyncio.wait([task])


async def test_work_that_returns_resigns() -> None:
    """To return is to step down: another leads at once, and this candidate stands again after a pause."""
    store, first, second = MemoryStore(), Work(lambda _: None), Work()
    one = start(store, first)
    await until(lambda: first.ended == ["returned"])
    two = start(store, second, identity="two")
    await until(second.working.is_set)
    assert await Election(store, ELECTION, "x").leader() == "two"
    for task in (one, two):
        task.cancel()
    await asyncio.wait([one, two])


async def test_cancelled_while_campaigning_it_withdraws() -> None:
    """A candidate that waits and is cancelled leaves no key behind."""
    store, leading, waiting = MemoryStore(), Work(), Work()
    one = start(store, leading)
    await until(leading.working.is_set)
    two = start(store, waiting, identity="two")
    while await candidates(store) != 2:  # noqa: ASYNC110 - virtual time
        await asyncio.sleep(0.01)
    two.cancel()
    await asyncio.wait([two])
    assert two.cancelled()
    assert (await candidates(store), waiting.began) == (1, [])
    one.cancel()
    await asyncio.wait([one])


async def test_cancelled_while_leading_it_ends_the_work_and_resigns() -> None:
    """The work has ended and the lease is given back when the cancelled task is done."""
    store, work = MemoryStore(), Work()
    task = start(store, work)
    await until(work.working.is_set)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert (work.ended, await candidates(store)) == (["cancelled"], 0)


async def test_cancelled_while_its_work_fails_it_ends() -> None:
    """An error of the work at the very moment at which the task is cancelled does not hide that it is."""
    store = MemoryStore()

    def fail(_: Leadership) -> object:
        asyncio.get_running_loop().call_soon(task.cancel)
        raise UnavailableError("away")

    work = Work(fail)
    task = start(store, work)
    await asyncio.wait([task], timeout=TTL)
    assert task.cancelled()
    assert (len(work.began), await candidates(store)) == (1, 0)


async def test_stop_ends_a_campaign_and_lets_work_finish() -> None:
    """A candidate that waits ends at once; work that leads follows `stop` itself, then resigns."""
    store, stop, ended = MemoryStore(), asyncio.Event(), asyncio.Event()

    async def drain(_: Leadership) -> None:
        await stop.wait()
        await asyncio.sleep(5)
        ended.set()

    leading = asyncio.create_task(
        lead(store, election=ELECTION, identity="one", ttl=TTL, while_leading=drain, stop=stop)
    )
    while await candidates(store) != 1:  # noqa: ASYNC110 - virtual time
        await asyncio.sleep(0.01)
    waiting = Work()
    candidate = start(store, waiting, identity="two", stop=stop)
    while await candidates(store) != 2:  # noqa: ASYNC110 - virtual time
        await asyncio.sleep(0.01)
    stop.set()
    await candidate
    assert (await candidates(store), ended.is_set(), waiting.began) == (1, False, [])
    await leading
    assert (await candidates(store), ended.is_set()) == (0, True)


async def test_stop_ends_a_pause() -> None:
    """Who waits to try again does not wait when told to stop."""
    store, stop, work = MemoryStore(), asyncio.Event(), Work(raising(UnavailableError("away")))
    task = start(store, work, stop=stop)
    await until(lambda: work.ended == ["UnavailableError"])
    stop.set()
    await task
    assert asyncio.get_running_loop().time() - work.began[0] < BACKOFF.base


async def test_a_closed_store_ends_it() -> None:
    """Nothing can come of further attempts; the error says so."""
    store, work = MemoryStore(), Work(raising(UnavailableError("away")))
    task = start(store, work)
    await until(lambda: bool(work.ended))
    await store.close()
    with pytest.raises(UnavailableError) as raised:
        await task
    assert raised.value.reason == "STORE_CLOSED"


class Forbidding(MemoryStore):
    """A store that grants no lease until told to."""

    forbids = True

    async def grant(self, ttl: int) -> MemoryLease:
        if self.forbids:
            raise PermissionDeniedError("no right to write elections")
        return await super().grant(ttl)


async def test_a_campaign_that_is_refused_is_tried_again() -> None:
    """Rights that are missing may come: the process goes on trying, at the pace of the backoff."""
    store, work = Forbidding(), Work()
    task = start(store, work)
    await asyncio.sleep(30)
    assert not work.began
    store.forbids = False
    await until(work.working.is_set)
    task.cancel()
    await asyncio.wait([task])


async def test_one_that_is_stopped_as_it_wins_resigns() -> None:
    """Whichever of the two comes first: no lease is left to run out, and no work begins."""
    stop = asyncio.Event()

    class Late(MemoryStore):
        """Answers in the moment in which the candidate is told to stop, and is not to be interrupted."""

        turns = 0

        async def range(self, prefix: str, **options: Any) -> RangeResult:
            found = await super().range(prefix, **options)
            if options:
                return found
            stop.set()
            for _ in itertools.repeat(None, self.turns):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
            return found

    for turns in range(6):
        stop.clear()
        store, work = Late(), Work()
        store.turns = turns
        await start(store, work, stop=stop)
        assert work.began == []
        assert (await MemoryStore.range(store, keys.election(ELECTION))).count == 0
        assert asyncio.get_running_loop().time() < TTL
