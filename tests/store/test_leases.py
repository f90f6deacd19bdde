"""Leases, fences and elections, in every store."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from hanse.errors import InvalidArgumentError
from hanse.store import Compare, Delete, Election, MemoryStore, Put, Store, keys
from tests.store.contract import DEADLINE, events


async def test_revoking_a_lease_deletes_its_keys(store: Store) -> None:
    """All keys of a lease go in one revision when it is revoked; a second revoke is harmless."""
    lease = await store.grant(10)
    start = await store.put("l/a", b"", lease=lease.id)
    await store.put("l/b", b"", lease=lease.id)
    await store.put("l/c", b"")
    assert lease.ttl >= 10
    await lease.revoke()
    async with aclosing(store.watch("l/", start_revision=start + 3)) as watch:
        gone = await events(watch, 2)
    assert [(s[0], s[1]) for s in gone] == [("delete", "l/a"), ("delete", "l/b")]
    assert gone[0][3] == gone[1][3]
    assert lease.lost.is_set()
    await lease.revoke()
    await store.revoke(lease.id)


async def test_a_key_follows_its_latest_lease(store: Store) -> None:
    """A put moves a key to another lease, or to none."""
    first, second = await store.grant(10), await store.grant(10)
    await store.put("l/moved", b"", lease=first.id)
    await store.put("l/freed", b"", lease=first.id)
    await store.put("l/moved", b"", lease=second.id)
    await store.put("l/freed", b"")
    moved = await store.get("l/moved")
    assert moved is not None
    assert moved.lease == second.id
    await first.revoke()
    assert (await store.range("l/")).count == 2
    await second.revoke()
    assert [kv.key for kv in (await store.range("l/")).items] == ["l/freed"]


async def test_an_abandoned_lease_runs_out_and_its_fence_fails(store: Store) -> None:
    """When the holder dies the key goes by itself, and a write with its fence does nothing."""
    lease = await store.grant(2)
    start = await store.put("l/a", b"", lease=lease.id)
    fence = Compare.lease_held("l/a", lease.id)
    assert (await store.txn([fence], [Put("x", b"1")])).succeeded
    await lease.abandon()
    async with aclosing(store.watch("l/", start_revision=start + 1)) as watch:
        assert [(s[0], s[1]) for s in await events(watch, 1)] == [("delete", "l/a")]
    assert not (await store.txn([fence], [Put("x", b"2")])).succeeded
    # The key made again under another lease does not let the old holder in either.
    other = await store.grant(10)
    await store.put("l/a", b"", lease=other.id)
    assert not (await store.txn([fence], [Put("x", b"2")])).succeeded
    kv = await store.get("x")
    assert kv is not None
    assert kv.value == b"1"
    await other.revoke()


async def test_a_lease_lives_as_long_as_its_holder(store: Store) -> None:
    """It is renewed well past its ttl."""
    lease = await store.grant(2)
    await store.put("l/a", b"", lease=lease.id)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3.5):
            await lease.lost.wait()
    assert await store.get("l/a") is not None
    await lease.revoke()


async def test_a_holder_learns_that_its_lease_was_taken_away(store: Store) -> None:
    """If somebody else revokes the lease, `lost` is set."""
    lease = await store.grant(3)
    await store.revoke(lease.id)
    async with asyncio.timeout(DEADLINE):
        await lease.lost.wait()


async def test_a_lease_needs_time(store: Store) -> None:
    """A ttl of nothing is refused."""
    with pytest.raises(InvalidArgumentError):
        await store.grant(0)


async def test_a_lease_in_memory_follows_the_clock_it_was_given() -> None:
    """With a clock of one's own, time is moved by hand."""
    now = 100.0
    store = MemoryStore(clock=lambda: now)
    lease = await store.grant(10)
    await store.put("a", b"", lease=lease.id)
    await lease.abandon()
    now = 109.9
    assert await store.get("a") is not None
    now = 110.0
    assert await store.get("a") is None
    assert lease.lost.is_set()


async def test_leadership_is_handed_over(store: Store) -> None:
    """One leads at a time, in the order of arrival; the next leads when the first resigns or dies."""
    first = await Election(store, "dns", "one", ttl=2).campaign()
    second = asyncio.create_task(Election(store, "dns", "two", ttl=2).campaign())
    await _candidates(store, 2)
    third = asyncio.create_task(Election(store, "dns", "three", ttl=2).campaign())
    await _candidates(store, 3)
    assert await Election(store, "dns", "x").leader() == "one"
    assert not second.done()

    await first.resign()
    async with asyncio.timeout(DEADLINE):
        leader = await second
    assert (leader.identity, await Election(store, "dns", "x").leader()) == ("two", "two")
    assert not third.done()
    assert first.lost.is_set()
    assert not (await store.txn([first.fence()], [Put("x", b"one")])).succeeded
    assert (await store.txn([leader.fence()], [Put("x", b"two")])).succeeded

    await leader.lease.abandon()  # it dies
    async with asyncio.timeout(DEADLINE):
        last = await third
    assert last.identity == "three"
    assert not (await store.txn([leader.fence()], [Put("x", b"two")])).succeeded
    await last.resign()
    assert await Election(store, "dns", "x").leader() is None


async def test_a_key_without_its_lease_is_no_candidate(store: Store) -> None:
    """It would never go, and as the oldest it would lead for ever."""
    lease = await store.grant(60)
    await store.put("elections/dns/junk", b"\xff")
    await store.put(f"elections/dns/{1:016x}", b"x")
    await store.put(f"elections/dns/{lease.id + 1:016x}", b"x", lease=lease.id)
    async with asyncio.timeout(DEADLINE):
        leader = await Election(store, "dns", "one", ttl=2).campaign()
    assert await Election(store, "dns", "x").leader() == "one"
    await leader.resign()
    await lease.revoke()


async def test_a_candidate_that_gives_up_leaves_nothing(store: Store) -> None:
    """Cancelling a campaign withdraws the candidate, and those behind it move up."""
    first = await Election(store, "s", "one").campaign()
    second = asyncio.create_task(Election(store, "s", "two").campaign())
    await _candidates(store, 2, "s")
    third = asyncio.create_task(Election(store, "s", "three").campaign())
    await _candidates(store, 3, "s")
    second.cancel()
    await asyncio.wait([second])
    await _candidates(store, 2, "s")
    assert not first.lost.is_set()
    await first.resign()
    async with asyncio.timeout(DEADLINE):
        leader = await third
    assert leader.identity == "three"
    assert (await store.range(keys.election("s"))).count == 1
    await leader.resign()


async def test_a_candidate_that_loses_its_lease_stands_again(store: Store) -> None:
    """A candidate whose key is gone while it waits gets a new one."""
    first = await Election(store, "s", "one", ttl=3).campaign()
    waiting = asyncio.create_task(Election(store, "s", "two", ttl=3).campaign())
    await _candidates(store, 2, "s")
    candidates = (await store.range(keys.election("s"))).items
    before = next(kv for kv in candidates if kv.value == b"two")
    await store.revoke(before.lease)
    async with asyncio.timeout(DEADLINE):
        while not any(  # noqa: ASYNC110 - polls a store
            kv.value == b"two" and kv.key != before.key
            for kv in (await store.range(keys.election("s"))).items
        ):
            await asyncio.sleep(0.02)
    await first.resign()
    async with asyncio.timeout(DEADLINE):
        leader = await waiting
    assert leader.identity == "two"
    await leader.resign()


async def test_a_leader_whose_key_is_deleted_is_fenced(store: Store) -> None:
    """An administrator can stop a leader's writes by deleting its key."""
    leader = await Election(store, "s", "one").campaign()
    await store.txn((), [Delete(leader.key)])
    assert not (await store.txn([leader.fence()], [Put("x", b"")])).succeeded
    await leader.resign()


async def _candidates(store: Store, count: int, name: str = "dns") -> None:
    async with asyncio.timeout(DEADLINE):
        while (await store.range(keys.election(name))).count != count:  # noqa: ASYNC110 - polls a store
            await asyncio.sleep(0.01)
