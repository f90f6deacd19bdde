"""The sharing of seats, whatever order requests come and go in."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import ResourceExhaustedError
from hanse.fairshare import FairShare, Quota, SeatDecision
from hanse.flow import Flow, FlowLimits
from tests.support.waiting import SECONDS

steps = st.lists(
    st.tuples(st.sampled_from(["arrive", "leave", "abandon"]), st.sampled_from("abc")), max_size=60
)


@given(steps)
def test_seats_and_queues_keep_their_bounds_and_no_seat_is_left_empty(taken: list[tuple[str, str]]) -> None:
    """Nobody waits who may sit, and who leaves is followed by whoever has the fewest seats."""
    share: FairShare[int] = FairShare(seats=4, per_user=3, queued=5, queued_per_user=3)
    seated: Counter[str] = Counter()
    queues: dict[str, list[int]] = {user: [] for user in "abc"}
    for ticket, (step, user) in enumerate(taken):
        if step == "arrive":
            verdict = share.arrive(user, ticket)
            seated[user] += verdict is SeatDecision.SEATED
            if verdict is SeatDecision.WAITS:
                queues[user].append(ticket)
        elif step == "leave" and seated[user]:
            seated[user] -= 1
            found = share.leave(user)
            if found is not None:
                (owner,) = [name for name, queue in queues.items() if queue[:1] == [found]]
                queues[owner].pop(0)
                rivals = [seated[name] for name, queue in queues.items() if queue]
                assert seated[owner] <= min(rivals, default=seated[owner])
                seated[owner] += 1
        elif step == "abandon" and queues[user]:
            share.abandon(user, queues[user].pop())
        waiting = {user: len(queue) for user, queue in queues.items()}
        assert (share.taken, share.waiting) == (seated.total(), sum(waiting.values()))
        assert share.taken <= 4
        assert max(seated.values(), default=0) <= 3
        assert share.waiting <= 5
        assert max(waiting.values()) <= 3
        free = share.taken < 4
        assert not any(free and waiting[user] and seated[user] < 3 for user in "abc")


def test_those_who_wait_take_turns() -> None:
    """One with a long queue is served no sooner than one with a short one."""
    share: FairShare[str] = FairShare(seats=1, per_user=1, queued=9, queued_per_user=9)
    share.arrive("a", "a0")
    for ticket in ("a1", "a2", "a3", "b1", "b2"):
        share.arrive(ticket[0], ticket)
    served = []
    last = "a"
    while (found := share.leave(last)) is not None:
        served.append(found)
        last = found[0]
    assert served == ["a1", "b1", "a2", "b2", "a3"] or served == ["b1", "a1", "b2", "a2", "a3"]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=40))
def test_a_quota_is_never_exceeded_and_given_back_whole(steps: list[tuple[bool, str]]) -> None:
    """For each user and for all."""
    quota = Quota(total=4, per_user=2)
    held: Counter[str] = Counter()
    for arrives, user in steps:
        if arrives:
            fits = held[user] < 2 and held.total() < 4
            assert (quota.arrive(user) is SeatDecision.SEATED) == fits
            held[user] += fits
        elif held[user]:
            quota.leave(user)
            held[user] -= 1
        assert quota.taken == held.total()


async def test_requests_that_are_cancelled_or_late_give_back_what_they_had() -> None:
    """In whatever turn of the loop that happens, so that no seat is lost."""
    flow = Flow(
        FlowLimits(requests=2, requests_per_user=1, queued=50, queued_per_user=50, queue_seconds=0.05)
    )

    async def ask(user: str, seconds: float) -> None:
        async with flow.request(user, ()):
            await asyncio.sleep(seconds)

    asked = [asyncio.create_task(ask("ab"[i % 2], 0.01)) for i in range(40)]
    await asyncio.sleep(0.015)
    for each in asked[1::3]:
        each.cancel()
    results = await asyncio.gather(*asked, return_exceptions=True)
    late = [each for each in results if isinstance(each, ResourceExhaustedError)]
    assert late
    assert {each.reason for each in late} == {"TOO_MANY_REQUESTS"}
    async with asyncio.timeout(SECONDS), flow.request("a", ()), flow.request("b", ()):
        pass


async def test_a_seat_that_comes_with_the_cancellation_is_passed_on() -> None:
    """The request that was let in and cancelled in the same turn does not keep it."""
    flow = Flow(FlowLimits(requests=1, requests_per_user=1))
    first = flow.request("a", ())
    await first.__aenter__()
    second = asyncio.create_task(_sit(flow))
    await asyncio.sleep(0)
    third = asyncio.create_task(_sit(flow))
    await asyncio.sleep(0)
    second.cancel()
    await first.__aexit__(None, None, None)
    with pytest.raises(asyncio.CancelledError):
        await second
    async with asyncio.timeout(SECONDS):
        await third


async def _sit(flow: Flow) -> None:
    async with flow.request("a", ()):
        pass
