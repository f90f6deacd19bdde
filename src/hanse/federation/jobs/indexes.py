"""Sets of completion indexes as Kubernetes writes them: `0,2-4`.

Owns reading, joining and counting them. A set is kept as intervals and never expanded, so that what a member
claims costs nothing. Pure functions; a text that is none gives None, which is not the empty set.

Next: `hanse.federation.jobs.job_runs`, which remembers them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from hanse.numbers import whole_number

Intervals: TypeAlias = tuple[tuple[int, int], ...]
"""First and last index of each run of indexes, sorted, disjoint and not adjacent."""

MAX_TEXT: Final = 64 * 1024
"""Characters of a set that are read: 10,000 indexes that are all apart have fewer."""


def parse_indexes(text: str) -> Intervals | None:
    """Return the set that `text` says; None if it says none."""
    if len(text) > MAX_TEXT:
        return None
    found: list[tuple[int, int]] = []
    for part in text.split(",") if text else ():
        low, dash, high = part.partition("-")
        first = whole_number(low)
        last = whole_number(high) if dash else first
        if first is None or last is None or not 0 <= first <= last:
            return None
        found.append((first, last))
    return _joined(found)


def indexes_text(intervals: Intervals) -> str:
    """Return the set as text."""
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in intervals)


def union(*sets: Intervals) -> Intervals:
    """Return what is in any of the sets."""
    return _joined(each for intervals in sets for each in intervals)


def count_indexes(intervals: Intervals) -> int:
    """Return how many indexes are in the set."""
    return sum(high - low + 1 for low, high in intervals)


def below(intervals: Intervals, bound: int) -> Intervals:
    """Return the indexes of the set that are less than `bound`."""
    return tuple((low, min(high, bound - 1)) for low, high in intervals if low < bound)


def not_in(intervals: Intervals, total: int) -> Intervals:
    """Return the indexes less than `total` that are not in the set."""
    found: list[tuple[int, int]] = []
    following = 0
    for low, high in (*below(intervals, total), (total, total)):
        if following < low:
            found.append((following, low - 1))
        following = high + 1
    return tuple(found)


def prefix_left(done: Intervals, total: int) -> int | None:
    """Return the n for which exactly the indexes 0 to n-1 of `total` are not done; None if there is none.

    A Job runs the indexes from 0 on, and cannot leave one out.
    """
    known = below(done, total)
    if not known:
        return total
    return known[0][0] if len(known) == 1 and known[0][1] == total - 1 else None


def _joined(parts: Iterable[tuple[int, int]]) -> Intervals:
    result: list[tuple[int, int]] = []
    for low, high in sorted(parts):
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], high))
        else:
            result.append((low, high))
    return tuple(result)
