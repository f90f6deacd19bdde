"""The checker of histories finds what is wrong, and nothing in one that is right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.history import (
    ANY,
    LEAVING,
    Change,
    History,
    Listed,
    Read,
    Resumed,
    Saw,
    State,
    Step,
    Told,
    Write,
    violations,
)

STORE = [
    Change(1, "a", "a1"),
    Change(2, "b", "b1"),
    Change(3, "a", "a2"),
    Change(4, "a", "a2" + LEAVING),
    Change(4, "b", "b2"),
    Change(6, "a", None),
    Change(7, "c", "c1"),
]
SEEN: list[Step] = [
    Listed(1, {"a": "a1"}),
    Saw("b", "b1", 2),
    Saw("a", "a2", 3),
    Saw("a", "a2" + LEAVING, 4),
    Saw("b", "b2", 4),
    Saw("b", "b2", 5),  # its status changed
    Saw("a", None, 6),
    Saw("c", "c1", 7),
]


def write(key: str, state: State, revision: int, **values: Any) -> Write:
    """An acknowledged write, at the time of its revision."""
    given: dict[str, Any] = {
        "start": revision - 0.5,
        "end": revision + 0.5,
        "outcome": "done",
        "client": "w",
    } | values
    return Write(key=key, state=state, revision=revision, **given)


def read(revision: int, at: float, **states: State) -> Read:
    """A list."""
    return Read("r", at, at + 0.1, {key: (state, revision) for key, state in states.items()}, revision)


def get(key: str, state: State, revision: int, at: float) -> Read:
    """A read of one object; revision 0 for one that is not there."""
    return Read("r", at, at + 0.1, {key: (state, revision)})


WRITES = [
    write("a", "a1", 1),
    replace(write("b", "b1", 2), base=0),
    replace(write("a", "a2", 3), base=1),
    write("a", ANY, 4),
    write("b", "b2", 5),  # acknowledged at a later version, that of its status
    write("c", "c1", 7),
    write("c", "never", 0, start=8, end=9, outcome="refused"),
    write("c", "perhaps", 0, start=8, end=9, outcome="unknown"),
    write("b", "b2?", 0, start=8, end=9, outcome="unknown"),
]
READS = [
    read(3, 3.6, a="a2", b="b1"),
    get("a", "a2", 3, 3.7),
    get("a", None, 0, 6.5),
    get("nothing", None, 0, 1),
    read(7, 8, b="b2", c="c1"),
]


def history(**parts: Any) -> History:
    """The history that is right, but for `parts`."""
    right: dict[str, Any] = {"store": STORE, "writes": WRITES, "reads": READS, "watchers": {"x": SEEN}}
    given = right | parts
    return History(
        store=list(given["store"]),
        writes=list(given["writes"]),
        reads=list(given["reads"]),
        watchers=given["watchers"],
    )


def test_a_history_that_is_right_has_no_violation() -> None:
    """Uncertain writes may have happened or not; several ways to follow are all right."""
    assert violations(history()) == []
    happened = [*STORE, Change(8, "c", "perhaps")]
    assert violations(history(store=happened, watchers={})) == []


SHOULD_BE_TOLD = {
    "a lost write": (history(writes=[*WRITES, write("d", "d1", 5)]), "acknowledged at 5, and is lost"),
    "a refused write that is there": (
        history(writes=[write("c", "c1", 0, outcome="refused", start=6, end=7)]),
        "was refused, and is there",
    ),
    "a write that happened twice": (
        history(store=[*STORE, Change(8, "a", "a1")], watchers={}, reads=[]),
        "is there 2 times",
    ),
    "an update over what the client had not read": (
        history(writes=[replace(write("b", "b2", 5), base=1), replace(write("a", "a2", 3), base=1)]),
        "write of b2 to b was to be over what was there at 1, and is over b1: an update is lost",
    ),
    "a creation over something": (
        history(writes=[replace(write("b", "b2", 5), base=0)]),
        "was to be over what was there at 0, and is over b1",
    ),
    "two acknowledgements": (
        history(writes=[*WRITES, write("b", "b2", 4, start=4, end=5)]),
        "acknowledged twice, at [4, 5]",
    ),
    "an acknowledgement at a revision before the write": (
        history(writes=[write("a", "a2", 2, start=2, end=3)]),
        "where the store has a1",
    ),
    "writes out of order": (
        history(writes=[write("a", "a2", 3, start=0, end=1), write("a", "a1", 1, start=2, end=3)]),
        "is in the store before it",
    ),
    "a deletion that is lost": (history(writes=[write("c", ANY, 7)]), "deletion of c was acknowledged at 7"),
    "a list that is old": (history(reads=[read(3, 9, a="a2", b="b1")]), "reads go back"),
    "a list that lies": (history(reads=[read(7, 9, b="b2")]), "read None of c at 7"),
    "an object that is old": (history(reads=[get("b", "b1", 2, 9)]), "reads go back"),
    "an object that was never so": (history(reads=[get("b", "b9", 4, 4.1)]), "where the store has b2"),
    "absence of what is there": (history(reads=[get("c", None, 0, 9)]), "reads go back"),
    "a store that goes back": (history(store=[*STORE, Change(5, "z", "z")]), "goes back from 7 to 5"),
}


@pytest.mark.parametrize("case", SHOULD_BE_TOLD)
def test_what_is_wrong_with_writes_and_reads_is_told(case: str) -> None:
    """Each kind of wrong write or read is a sentence."""
    wrong, words = SHOULD_BE_TOLD[case]
    assert any(words in each for each in violations(wrong)), violations(wrong)


WATCHES: dict[str, tuple[list[Step], str]] = {
    "a skipped event": ([*SEEN[:2], *SEEN[3:]], "skipped ['a2']"),
    "a skipped end": ([*SEEN[:6], SEEN[7]], "skipped [None] of a"),
    "a repeated event": ([*SEEN[:3], SEEN[2], *SEEN[3:]], "twice: repeated"),
    "an event repeated after a resume": (
        [*SEEN[:3], Resumed(3), SEEN[2], *SEEN[3:]],
        "twice: repeated",
    ),
    "reordered events": ([SEEN[0], SEEN[2], SEEN[1], *SEEN[3:]], "reordered"),
    "an event that never was": ([*SEEN, Saw("c", "c9", 8)], "where the store has c1"),
    "an old state at a new revision": ([*SEEN[:7], Saw("b", "b1", 7)], "where the store has b2"),
    "a list that goes back": ([*SEEN[:4], Listed(2, {"a": "a1", "b": "b1"})], "reads go back"),
    "a list that lies": ([Listed(3, {"a": "a2"})], "listed None of b"),
    "a bookmark that passes over something": ([*SEEN[:2], Told(3)], "skipped ['a2'] of a"),
    "a bookmark that goes back": ([*SEEN[:4], Told(2)], "reads go back"),
    "a resume past what was seen": ([*SEEN[:2], Resumed(5)], "the recorder is wrong"),
    "an event before the list": ([SEEN[1]], "the recorder is wrong"),
}


@pytest.mark.parametrize("case", WATCHES)
def test_what_is_wrong_with_a_watch_is_told(case: str) -> None:
    """Each kind of wrong watch is a sentence that names the watcher."""
    steps, words = WATCHES[case]
    found = violations(history(watchers={"x": steps}))
    assert any(each.startswith("x ") and words in each for each in found), found


def test_ways_to_follow_that_are_right() -> None:
    """A resume may repeat a revision of which only a part may have come; a list may pass over things; a
    bookmark moves on; a watch may end anywhere."""
    shared = [*SEEN[:5], Resumed(4), *SEEN[3:]]
    partly = [*SEEN[:4], Resumed(3), *SEEN[3:]]
    listed = [SEEN[0], Listed(6, {"b": "b2"}), SEEN[7]]
    told = [*SEEN[:6], Told(5), SEEN[6], Resumed(6), SEEN[7], Told(9)]
    for steps in (shared, partly, listed, told, SEEN[:3], [Listed(0, {}), Saw("a", "a1", 1), *SEEN[1:]]):
        assert violations(history(watchers={"x": steps})) == []


@given(st.data())
def test_whatever_is_dropped_repeated_or_swapped_is_found(data: st.DataObject) -> None:
    """Of a long right watch, no event can be left out, come twice, or change places unnoticed."""
    count = data.draw(st.integers(4, 30))
    store = [Change(n + 1, f"k{data.draw(st.integers(0, 3))}", f"s{n}") for n in range(count)]
    steps: list[Step] = [Listed(0, {}), *(Saw(c.key, c.state, c.revision) for c in store)]
    right = History(store=store, watchers={"x": steps})
    assert violations(right) == []
    at = data.draw(st.integers(1, count - 1))
    dropped = [*steps[:at], *steps[at + 1 :]]
    repeated = [*steps[: at + 1], steps[at], *steps[at + 1 :]]
    swapped = [*steps[:at], steps[at + 1], steps[at], *steps[at + 2 :]]
    for wrong in (dropped, repeated, swapped):
        assert violations(replace(right, watchers={"x": wrong}))


def test_an_object_on_its_way_out_may_go_after_the_record_of_the_store() -> None:
    """Watchers may follow for longer; nothing else may happen there, and not within the record."""
    store = STORE[:5]
    until_then = [step for step in SEEN if not isinstance(step, Saw) or step.revision < 5]
    assert violations(History(store=store, watchers={"w": [*until_then, Saw("a", None, 6)]})) == []
    assert violations(History(store=store, watchers={"w": [*until_then, Saw("b", None, 6)]})) != []
    assert violations(History(store=store, watchers={"w": [*until_then, Saw("a", None, 4)]})) != []
