"""The bounded log of changes: whoever resumes anywhere loses nothing, however many share a revision."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import CompactedError
from hanse.store.follow.collection import Difference
from hanse.store.history.log import ChangeLog


def _change(name: str, revision: int) -> Difference[str]:
    return Difference(name, None, name, revision)


@given(st.lists(st.integers(min_value=1, max_value=4), max_size=8), st.integers(min_value=1, max_value=12))
def test_whoever_got_a_part_of_a_revision_gets_the_rest(sizes: list[int], window: int) -> None:
    """From any change that a client got last, resuming gives all later ones, or says that it cannot."""
    log: ChangeLog[Difference[str]] = ChangeLog(floor=0, window=window)
    changes = [_change(f"{at}-{n}", at) for at, size in enumerate(sizes, start=1) for n in range(size)]
    for change in changes:
        log.append(change)
    for position, last in enumerate(changes):
        newest = last.revision == len(sizes)
        alone = sizes[last.revision - 1] == 1
        try:
            got = log.read(log.resume(last.revision))
        except CompactedError:
            assert not newest
            assert len(changes) - position > window or not alone
            continue
        assert set(changes[position + 1 :]) <= set(got)
        assert not alone or last not in got


def test_a_revision_of_which_two_changes_left_the_window_is_too_old() -> None:
    """What a client may have missed is not there any more: it must list again. One that is gone it had."""
    log: ChangeLog[Difference[str]] = ChangeLog(floor=0, window=3)
    for name in "abc":
        log.append(_change(name, 5))
    log.append(_change("d", 6))
    assert [change.key for change in log.read(log.resume(5))] == ["b", "c", "d"]
    log.append(_change("e", 7))
    with pytest.raises(CompactedError, match="too old resource version: 5"):
        log.resume(5)


def test_the_newest_revision_is_never_too_old() -> None:
    """However many objects one revision changed, a client that lists at it can watch from there."""
    log: ChangeLog[Difference[str]] = ChangeLog(floor=0, window=2)
    log.append(_change("a", 4))
    for name in "bcdef":
        log.append(_change(name, 5))
    assert [change.key for change in log.read(log.resume(5))] == list("bcdef")
    log.append(_change("g", 6))
    assert [change.key for change in log.read(log.resume(6))] == []
    assert log.floor == 5


async def test_many_watches_are_woken_in_turns_and_none_is_forgotten() -> None:
    """However fast changes follow one another."""
    log: ChangeLog[Difference[str]] = ChangeLog(floor=0)
    wakers = [asyncio.Event() for _ in range(1000)]
    for waker in wakers:
        log.enter(waker)
    log.append(_change("a", 1))
    assert 0 < sum(waker.is_set() for waker in wakers) < len(wakers)
    gone = next(waker for waker in wakers if not waker.is_set())
    log.leave(gone)
    first = next(waker for waker in wakers if waker.is_set())
    first.clear()
    log.append(_change("b", 2))
    async with asyncio.timeout(10):
        for waker in wakers:
            if waker is not gone:
                await waker.wait()
    assert not gone.is_set()


def test_a_reader_gets_some_changes_in_whole_revisions() -> None:
    """And all of them, one time after the other."""
    log: ChangeLog[Difference[str]] = ChangeLog(floor=0)
    revisions = [1, 1, 1, 2, 3, 3, 4, 5]
    for number, revision in enumerate(revisions):
        log.append(_change(str(number), revision))
    read: list[list[int]] = []
    sequence = 0
    while changes := log.read(sequence, limit=2):
        sequence += len(changes)
        read.append([each.revision for each in changes])
    assert read == [[1, 1, 1], [2, 3, 3], [4, 5]]
