"""Keys, revisions, ranges and transactions, the same in every store."""

from __future__ import annotations

import asyncio

import pytest

from hanse.errors import (
    CompactedError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from hanse.store import MAX_REQUEST_BYTES, Compare, Delete, Get, Op, Put, RangeResult, Store


async def test_a_key_that_was_never_written_is_none(store: Store) -> None:
    """Reading what is not there gives None."""
    assert await store.get("objects/none") is None


async def test_a_put_gives_the_revision_that_a_read_shows(store: Store) -> None:
    """The revision of a put is the mod_revision of its key, and the store's."""
    created = await store.put("a", b"1")
    written = await store.put("a", b"2")
    kv = await store.get("a")
    assert kv is not None
    assert (kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease) == (
        "a",
        b"2",
        created,
        written,
        2,
        0,
    )
    assert await store.revision() == written == created + 1


async def test_a_read_at_a_revision_shows_what_was_then(store: Store) -> None:
    """History is readable: old values, and keys that are gone."""
    first = await store.put("a", b"old")
    await store.put("a", b"new")
    await store.delete("a")
    old = await store.get("a", revision=first)
    assert old is not None
    assert old.value == b"old"
    assert await store.get("a", revision=first - 1) is None
    assert await store.get("a") is None


async def test_a_key_that_is_made_again_starts_over(store: Store) -> None:
    """Version and create_revision start over after a delete."""
    await store.put("a", b"1")
    await store.put("a", b"2")
    assert await store.delete("a") is True
    assert await store.delete("a") is False
    again = await store.put("a", b"3")
    kv = await store.get("a")
    assert kv is not None
    assert (kv.version, kv.create_revision) == (1, again)


async def test_a_range_is_ordered_and_keeps_to_its_prefix(store: Store) -> None:
    """Keys come in byte order, and neighbours of the prefix stay out."""
    for key in ("b/2", "b/10", "b/1", "b", "b0", "a/1", "c/1", "b/1/x"):
        await store.put(key, key.encode())
    found = await store.range("b/")
    assert [kv.key for kv in found.items] == ["b/1", "b/1/x", "b/10", "b/2"]
    assert [kv.value for kv in found.items] == [b"b/1", b"b/1/x", b"b/10", b"b/2"]
    assert (found.more, found.count, found.revision) == (False, 4, await store.revision())
    assert len((await store.range("")).items) == 8


async def test_pages_of_a_range_are_all_of_one_revision(store: Store) -> None:
    """Paging at the first page's revision sees neither later writes nor later deletes."""
    for number in range(7):
        await store.put(f"p/{number}", b"old")
    page = await store.range("p/", limit=3)
    assert (page.more, page.count) == (True, 7)
    await store.put("p/5", b"new")
    await store.put("p/55", b"new")
    await store.delete("p/6")
    items = list(page.items)
    revision = page.revision
    while page.more:
        page = await store.range("p/", start_after=items[-1].key, limit=3, revision=revision)
        items += page.items
    assert [kv.key for kv in items] == [f"p/{n}" for n in range(7)]
    assert {kv.value for kv in items} == {b"old"}


async def test_a_range_without_a_limit_is_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests it takes, a range without a limit has every key, once, at one revision."""
    monkeypatch.setattr("hanse.store.etcd.store._PAGE", 4)
    await store.txn((), [Put(f"w/{n:03}", b"x") for n in range(100)])
    found = await store.range("w/")
    assert [kv.key for kv in found.items] == [f"w/{n:03}" for n in range(100)]
    assert (found.more, found.count) == (False, 100)


async def test_a_range_can_leave_out_values_or_everything(store: Store) -> None:
    """keys_only has no values, count_only no items."""
    await store.txn((), [Put("k/1", b"x"), Put("k/2", b"y")])
    keys = await store.range("k/", keys_only=True)
    assert [(kv.key, kv.value, kv.version) for kv in keys.items] == [("k/1", b"", 1), ("k/2", b"", 1)]
    count = await store.range("k/", count_only=True)
    assert (count.items, count.count, count.more) == ((), 2, False)


async def test_start_after_need_not_exist_and_may_be_outside(store: Store) -> None:
    """start_after is a position, not a key; one before the prefix changes nothing."""
    await store.txn((), [Put("s/a", b""), Put("s/c", b"")])
    assert [kv.key for kv in (await store.range("s/", start_after="s/b")).items] == ["s/c"]
    assert [kv.key for kv in (await store.range("s/", start_after="a")).items] == ["s/a", "s/c"]
    assert (await store.range("s/", start_after="s/c")).items == ()


async def test_a_future_revision_is_refused(store: Store) -> None:
    """A revision that was not reached yet is its own error."""
    revision = await store.put("a", b"1")
    with pytest.raises(FailedPreconditionError) as caught:
        await store.get("a", revision=revision + 1000)
    assert caught.value.reason == "FUTURE_REVISION"


async def test_a_compacted_revision_is_its_own_error(store: Store) -> None:
    """Reading below the compaction raises; reading at it, or the present, does not."""
    await store.put("a", b"1")
    kept = await store.put("a", b"2")
    await store.put("a", b"3")
    await store.compact(kept)
    with pytest.raises(CompactedError):
        await store.get("a", revision=kept - 1)
    with pytest.raises(CompactedError):
        await store.range("a", revision=kept - 1)
    with pytest.raises(CompactedError):
        await store.compact(kept)
    at = await store.get("a", revision=kept)
    now = await store.get("a")
    assert (at and at.value, now and now.value) == (b"2", b"3")


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        (Compare.absent("none"), True),
        (Compare.absent("a"), False),
        (Compare.exists("a"), True),
        (Compare.exists("none"), False),
        (Compare.version("a", 2), True),
        (Compare.version("a", 1), False),
        (Compare.version("none", 0), True),
        (Compare.mod("none", 0), True),
        (Compare.mod("a", 0), False),
        (Compare.created("none", 5), False),
        (Compare.lease_held("a", 77), False),
        (Compare.lease_held("none", 77), False),
        (Compare("a", "version", ">", 1), True),
        (Compare("a", "version", "<", 2), False),
    ],
)
async def test_compares(store: Store, compare: Compare, holds: bool) -> None:
    """Each compare holds exactly when its docstring says so."""
    await store.put("a", b"1")
    await store.put("a", b"2")
    assert (await store.txn([compare], ())).succeeded is holds


async def test_an_optimistic_update_wins_once(store: Store) -> None:
    """Of two updates based on the same revision one succeeds and the other learns what is there."""
    revision = await store.put("a", b"1")
    won = await store.txn([Compare.mod("a", revision)], [Put("a", b"2")], [Get("a")])
    lost = await store.txn([Compare.mod("a", revision)], [Put("a", b"3")], [Get("a")])
    assert (won.succeeded, won.responses, won.revision) == (True, (None,), revision + 1)
    assert lost.succeeded is False
    found = lost.responses[0]
    assert isinstance(found, RangeResult)
    assert found.items[0].value == b"2"
    assert lost.revision == won.revision


async def test_a_transaction_is_one_revision(store: Store) -> None:
    """Everything that a transaction writes has the same revision; its reads see its writes."""
    await store.put("t/old", b"x")
    done = await store.txn(
        (),
        [Delete("t/", prefix=True), Put("u/1", b"1"), Put("u/2", b"2"), Get("u/", prefix=True), Get("t/old")],
    )
    found, gone = done.responses[3], done.responses[4]
    assert found is not None
    assert gone is not None
    assert [(kv.key, kv.mod_revision) for kv in found.items] == [
        ("u/1", done.revision),
        ("u/2", done.revision),
    ]
    assert gone.items == ()
    assert (await store.range("t/")).count == 0


async def test_what_changes_nothing_makes_no_revision(store: Store) -> None:
    """Deleting nothing and reading leave the revision as it is."""
    before = await store.put("a", b"1")
    await store.delete("none")
    result = await store.txn((), [Get("a"), Delete("none", prefix=True)])
    assert await store.revision() == result.revision == before


@pytest.mark.parametrize(
    ("ops", "reason"),
    [
        ([Put("a", b"1"), Put("a", b"2")], "DUPLICATE_KEY"),
        ([Put("a", b"1"), Delete("a")], "DUPLICATE_KEY"),
        ([Put("a/b", b"1"), Delete("a/", prefix=True)], "DUPLICATE_KEY"),
        ([Put(f"k{n}", b"") for n in range(129)], "TOO_MANY_OPERATIONS"),
        ([Put("a", b"x" * (MAX_REQUEST_BYTES + 1))], "REQUEST_TOO_LARGE"),
        ([Put("a", b"x" * (MAX_REQUEST_BYTES * 3))], "REQUEST_TOO_LARGE"),
    ],
)
async def test_what_the_store_refuses(store: Store, ops: list[Op], reason: str) -> None:
    """A transaction that breaks a limit is refused as a whole, with its reason."""
    before = await store.revision()
    with pytest.raises(InvalidArgumentError) as caught:
        await store.txn((), ops)
    assert caught.value.reason == reason
    assert await store.revision() == before


async def test_a_put_with_a_lease_that_is_gone_fails(store: Store) -> None:
    """Nothing is written for a lease that does not exist."""
    with pytest.raises(NotFoundError) as caught:
        await store.put("a", b"1", lease=123456)
    assert caught.value.reason == "LEASE_NOT_FOUND"
    assert await store.get("a") is None


async def test_unchanged_since_tells_writes_and_deletes(store: Store) -> None:
    """It gives the revision while the prefix is as it was, and None after any change there."""
    await store.txn((), [Put("q/1", b""), Put("q/2", b""), Put("r", b"")])
    then = await store.revision()
    elsewhere = await store.put("r", b"1")
    assert await store.unchanged_since("q/", then, count=2) == elsewhere
    await store.delete("q/1")
    assert await store.unchanged_since("q/", then, count=2) is None
    await store.put("q/1", b"again")
    assert await store.unchanged_since("q/", then, count=2) is None
    assert await store.unchanged_since("q/", await store.revision(), count=2) == await store.revision()
    assert await store.unchanged_since("none/", then, count=0) == await store.revision()


async def test_concurrent_increments_are_all_counted(store: Store) -> None:
    """Optimistic transactions from many tasks lose no update."""

    async def add() -> None:
        while True:
            kv = await store.get("n")
            mod, number = (kv.mod_revision, int(kv.value)) if kv else (0, 0)
            if (await store.txn([Compare.mod("n", mod)], [Put("n", b"%d" % (number + 1))])).succeeded:
                return

    async with asyncio.timeout(20):
        await asyncio.gather(*(add() for _ in range(20)))
    kv = await store.get("n")
    assert kv is not None
    assert kv.value == b"20"


async def test_a_closed_store_says_so(store: Store) -> None:
    """After close every call fails as unavailable, not as something strange."""
    await store.close()
    for call in (store.get("a"), store.put("a", b""), store.range("a"), store.revision()):
        with pytest.raises(UnavailableError) as caught:
            await call
        assert caught.value.reason == "STORE_CLOSED"
