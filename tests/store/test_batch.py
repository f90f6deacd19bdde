"""Commits that are joined into few transactions, in every store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from hanse.errors import OUTCOME_UNKNOWN, InvalidArgumentError, NotFoundError, UnavailableError
from hanse.store import (
    MAX_REQUEST_BYTES,
    BatchWriter,
    Compare,
    Delete,
    Get,
    MemoryStore,
    Op,
    Put,
    Store,
    TxnResult,
    is_too_large,
)


class Counting:
    """A store that counts its transactions, and can be told to fail the next one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.sizes: list[int] = []
        self.fail: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        """Count, yield as a network would, and pass on."""
        self.sizes.append(len(success))
        await asyncio.sleep(0)
        if self.fail is not None:
            error, self.fail = self.fail, None
            raise error
        return await self._store.txn(compares, success, failure)


async def test_concurrent_commits_share_transactions(store: Store) -> None:
    """A burst of a thousand commits takes a handful of transactions, none above the limit."""
    counting = Counting(store)
    writer = BatchWriter(counting, max_ops=100)
    results = await asyncio.gather(*(writer.commit((), [Put(f"b/{n}", b"%d" % n)]) for n in range(1000)))
    assert all(r.succeeded and r.responses == (None,) for r in results)
    assert max(counting.sizes) <= 100
    assert len(counting.sizes) <= 12
    assert len({r.revision for r in results}) == len(counting.sizes)
    assert (await store.range("b/")).count == 1000
    await writer.close()


async def test_each_commit_gets_its_own_responses(store: Store) -> None:
    """Reads inside joined commits go back to whoever asked."""
    await store.put("r/1", b"one")
    await store.put("r/2", b"two")
    writer = BatchWriter(store)
    first, second = await asyncio.gather(
        writer.commit((), [Put("w/1", b""), Get("r/1")]), writer.commit((), [Get("r/2"), Put("w/2", b"")])
    )
    assert first.responses[0] is None
    assert first.responses[1] is not None
    assert first.responses[1].items[0].value == b"one"
    assert second.responses[0] is not None
    assert second.responses[0].items[0].value == b"two"
    assert first.revision == second.revision


async def test_a_conflict_falls_back_to_one_at_a_time(store: Store) -> None:
    """A commit that lost its compare fails alone; those that were joined with it succeed."""
    revision = await store.put("c/5", b"x")
    counting = Counting(store)
    writer = BatchWriter(counting)
    results = await asyncio.gather(
        *(
            writer.commit([Compare.mod(f"c/{n}", revision + 7 if n == 5 else 0)], [Put(f"c/{n}", b"new")])
            for n in range(10)
        )
    )
    assert [r.succeeded for r in results] == [n != 5 for n in range(10)]
    assert counting.sizes[0] == 10
    assert counting.sizes[1:] == [1] * 10
    kv = await store.get("c/5")
    assert kv is not None
    assert kv.value == b"x"


async def test_commits_that_touch_each_other_are_kept_apart(store: Store) -> None:
    """Two that write one key, or check what the other writes, see each other's outcome."""
    writer = BatchWriter(store, max_in_flight=1)
    both = await asyncio.gather(
        writer.commit([Compare.absent("k")], [Put("k", b"1")]),
        writer.commit([Compare.absent("k")], [Put("k", b"2")]),
    )
    assert [r.succeeded for r in both] == [True, False]
    # Write skew: each is allowed only while the other's key is absent.
    skew = await asyncio.gather(
        writer.commit([Compare.absent("y")], [Put("x", b"")]),
        writer.commit([Compare.absent("x")], [Put("y", b"")]),
    )
    assert [r.succeeded for r in skew] == [True, False]


async def test_a_shared_fence_does_not_keep_commits_apart(store: Store) -> None:
    """Commits with the same compare are joined, and it is counted once."""
    await store.put("fence", b"")
    counting = Counting(store)
    writer = BatchWriter(counting, max_ops=100)
    fence = Compare.exists("fence")
    results = await asyncio.gather(
        *(writer.commit([fence, Compare.absent(f"f/{n}")], [Put(f"f/{n}", b"")]) for n in range(99))
    )
    assert all(r.succeeded for r in results)
    assert counting.sizes == [99]


async def test_a_bad_commit_does_not_fail_its_neighbours(store: Store) -> None:
    """An error that is one commit's own goes to it alone."""
    writer = BatchWriter(store)
    good, bad, wrong = await asyncio.gather(
        writer.commit((), [Put("g", b"")]),
        writer.commit((), [Put("b", b"", lease=424242)]),
        writer.commit((), [Put("d", b"1"), Delete("d")]),
        return_exceptions=True,
    )
    assert isinstance(good, TxnResult)
    assert good.succeeded
    assert isinstance(bad, NotFoundError)
    assert isinstance(wrong, InvalidArgumentError)


async def test_prefix_operations_travel_alone(store: Store) -> None:
    """A delete of a prefix is never joined with writes that it might cover."""
    writer = BatchWriter(store, max_in_flight=1)
    results = await asyncio.gather(
        writer.commit((), [Put("p/1", b"")]),
        writer.commit((), [Delete("p/", prefix=True)]),
        writer.commit((), [Put("p/2", b"")]),
    )
    assert [r.succeeded for r in results] == [True] * 3
    assert [kv.key for kv in (await store.range("p/")).items] == ["p/2"]


async def test_large_values_are_spread_over_transactions(store: Store) -> None:
    """Joined commits stay below what the store takes in one request."""
    writer = BatchWriter(store)
    value = b"x" * 100_000
    results = await asyncio.gather(*(writer.commit((), [Put(f"v/{n}", value)]) for n in range(40)))
    assert all(r.succeeded for r in results)


async def test_an_unknown_outcome_reaches_every_joined_commit() -> None:
    """If nobody knows whether the transaction happened, it is not sent again behind the callers' backs."""
    counting = Counting(MemoryStore())
    writer = BatchWriter(counting)
    counting.fail = UnavailableError("gone", reason=OUTCOME_UNKNOWN)
    results = await asyncio.gather(
        *(writer.commit((), [Put(f"k/{n}", b"")]) for n in range(3)), return_exceptions=True
    )
    assert [type(r) for r in results] == [UnavailableError] * 3
    assert {r.reason for r in results if isinstance(r, UnavailableError)} == {OUTCOME_UNKNOWN}
    assert len({id(r) for r in results}) == 3
    assert counting.sizes == [3]


async def test_a_cancelled_commit_is_not_sent() -> None:
    """Cancelling a commit that still waits withdraws it."""
    store = MemoryStore()
    writer = BatchWriter(store)
    cancelled = asyncio.create_task(writer.commit((), [Put("no", b"")]))
    kept = asyncio.create_task(writer.commit((), [Put("yes", b"")]))
    asyncio.get_running_loop().call_soon(cancelled.cancel)
    await kept
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await writer.close()
    assert await store.get("yes") is not None


async def test_a_trickle_of_commits_shares_transactions(store: Store) -> None:
    """Commits that come faster than the spacing wait for the next transaction; a lone one does not."""
    counting = Counting(store)
    writer = BatchWriter(counting, spacing=0.2)
    loop = asyncio.get_running_loop()
    started = loop.time()
    await writer.commit((), [Put("s/first", b"")])
    assert counting.sizes == [1]
    waiting = []
    for n in range(10):
        waiting.append(asyncio.create_task(writer.commit((), [Put(f"s/{n}", b"")])))
        await asyncio.sleep(0)
    assert counting.sizes == [1]
    await asyncio.gather(*waiting)
    assert counting.sizes == [1, 10]
    assert loop.time() - started >= 0.2
    await writer.close()


async def test_a_commit_that_is_too_large_is_refused_alone(store: Store) -> None:
    """Its neighbours are written; it is refused before it is sent, with the key and the limit."""
    writer = BatchWriter(store)
    values = [b"x", b"x" * (MAX_REQUEST_BYTES + 1), b"x"]
    commits = [writer.commit((), [Put(f"large/{n}", value)]) for n, value in enumerate(values)]
    results = await asyncio.gather(*commits, return_exceptions=True)
    assert [isinstance(result, TxnResult) for result in results] == [True, False, True]
    refused = results[1]
    assert isinstance(refused, InvalidArgumentError)
    assert is_too_large(refused)
    assert refused.metadata["key"] == "large/1"
    assert str(MAX_REQUEST_BYTES) in refused.message
    assert [kv.key for kv in (await store.range("large/")).items] == ["large/0", "large/2"]
    await writer.close()


async def test_a_value_that_nearly_fits_is_taken_or_refused_as_etcd_does(store: Store) -> None:
    """Around the limit the guard never lets through what etcd would refuse in another way."""
    for room in (0, 8, 64, 1024):
        put = store.put("near", b"x" * (MAX_REQUEST_BYTES - room))
        (outcome,) = await asyncio.gather(put, return_exceptions=True)
        assert isinstance(outcome, int) or (isinstance(outcome, Exception) and is_too_large(outcome))
    assert await store.get("near") is not None
