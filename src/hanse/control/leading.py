"""Leading: campaign, work while the lease is held, resign, back off, campaign again.

Owns `lead`, the one loop in which a process leads an election. What it promises:
- the work runs only while the lease is held: it is cancelled once the lease is lost, and what it still had in
  flight is refused by the fence (`Leadership.fence`) in each of its transactions;
- the lease is given back whenever the work ends, so that the next candidate need not wait for its end;
- nothing that the work raises ends the loop: it is logged, and this process campaigns again after a pause
  that grows while leaderships are short. Only cancelling, `stop` and a closed store end it;
- a candidate that is cancelled or stopped while it waits withdraws, and one that is stopped in the moment in
  which it wins resigns before the work begins.

Also the gauge `hanse.leader`: 1 for the one that leads an election, 0 for those that stand by. Nobody leads
where the sum over all processes is 0.

Concurrency: `lead` is one task; the work runs in it, beside a task that watches the lease.

Next: `hanse.store.election`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from opentelemetry.metrics import Meter, Observation

from hanse.backoff import Backoff
from hanse.errors import HanseError, leaves
from hanse.process.telemetry import get_logger
from hanse.store import Election, Leadership, Store

CAMPAIGN_BACKOFF: Final = Backoff(base=0.25, limit=5.0)
"""Pauses between two leaderships of which the first was short."""
_log = get_logger(__name__)


class _Lost(Exception):  # noqa: N818 - not an error: ends the task group
    """The lease is over."""


async def lead(
    store: Store,
    *,
    election: str,
    identity: str,
    ttl: int,
    while_leading: Callable[[Leadership], Awaitable[None]],
    stop: asyncio.Event | None = None,
    backoff: Backoff = CAMPAIGN_BACKOFF,
) -> None:
    """Lead `election` whenever the lease can be had; run `while_leading` then. Ends only as the module says.

    `identity` tells this candidate from others, `ttl` is how many seconds pass before others take over from
    one that died. Work that returns resigns. Once `stop` is set there is no further campaign; work that has
    begun is not cancelled for it: it follows `stop` itself and returns. Raises UnavailableError
    (`STORE_CLOSED`) if the store is closed.
    """
    stop = stop or asyncio.Event()
    cancelled = _cancellations()
    rng = random.Random(identity)  # noqa: S311 - jitter, not a secret
    clock = asyncio.get_running_loop().time
    candidate = Election(store, election, identity, ttl=ttl)
    failures = 0
    while not stop.is_set():
        began = clock()
        try:
            await _lead_once(candidate, while_leading, stop)
            lost = False
        except Exception as error:  # noqa: BLE001 - what others do in this process goes on, and it tries again
            lost = _report(error, election)
            if _cancellations() > cancelled:
                raise asyncio.CancelledError from None
        failures = 1 if clock() - began > ttl else failures + 1
        if not lost:
            await _pause(stop, backoff.delay(failures, rng=rng))


async def _lead_once(
    candidate: Election, while_leading: Callable[[Leadership], Awaitable[None]], stop: asyncio.Event
) -> None:
    leadership = await _campaign(candidate, stop)
    if leadership is None:
        return
    try:  # from here on, whatever happens, the lease is given back
        async with asyncio.TaskGroup() as tasks:
            losing = tasks.create_task(_raise_at(leadership.lost, _Lost()), name="lease of the leader")
            try:
                await while_leading(leadership)
            finally:
                losing.cancel()
    finally:
        await leadership.resign()


async def _campaign(candidate: Election, stop: asyncio.Event) -> Leadership | None:
    """Return the leadership; None for a candidate that is told to stop, which has resigned if it had won."""
    campaigning: asyncio.Task[Leadership] | None = None
    wanted = False
    try:
        async with asyncio.TaskGroup() as tasks:
            campaigning = tasks.create_task(candidate.campaign(), name="campaign")
            stopping = tasks.create_task(stop.wait(), name="candidate told to stop")
            await asyncio.wait({campaigning, stopping}, return_when=asyncio.FIRST_COMPLETED)
            campaigning.cancel()
            stopping.cancel()
        won = None if campaigning.cancelled() else campaigning.result()
        wanted = not stop.is_set()
    finally:
        if not wanted and campaigning is not None and _has_won(campaigning):
            await campaigning.result().resign()
    return won if wanted else None


def _has_won(campaigning: asyncio.Task[Leadership]) -> bool:
    return campaigning.done() and not campaigning.cancelled() and campaigning.exception() is None


def _cancellations() -> int:
    """Return how often this task was cancelled: before Python 3.13 a group that ends by an error hides it."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


async def _raise_at(event: asyncio.Event, error: Exception) -> None:
    await event.wait()
    raise error


def _report(error: Exception, election: str) -> bool:
    """Log why a leadership ended; return whether its lease was lost. Raises the error of a closed store."""
    found = list(leaves(error))
    lost = any(isinstance(each, _Lost) for each in found)
    for each in found:
        if isinstance(each, _Lost):
            continue
        if not isinstance(each, HanseError):
            _log.error("leading failed unexpectedly, trying again", election=election, exc_info=each)
        elif each.reason == "STORE_CLOSED":
            raise each
        else:
            _log.warning(
                "cannot lead, trying again", election=election, error=each.message, reason=each.reason
            )
    if lost:
        _log.warning("leadership lost", election=election)
    return lost


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass


def observe_leading(meter: Meter, election: str, leads: Callable[[], bool]) -> None:
    """Have `meter` show whether this process leads `election`, by asking `leads`."""
    meter.create_observable_gauge(
        "hanse.leader",
        callbacks=[lambda _: [Observation(int(leads()), {"hanse.election": election})]],
        unit="1",
        description="1 while this process leads the election, 0 while it stands by.",
    )
