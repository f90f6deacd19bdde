"""Watch streams: the changes of a followed prefix, resumed at a revision.

Owns `WatchHub`, which remembers the last changes of a mirror and gives them to any number of streams.
A stream that starts at revision 0 gets everything first; one that resumes at a revision that the hub
still remembers gets exactly what came after; an older one gets CompactedError and must start again. A
reader that is too slow to keep up gets the same, so that it costs no memory. One that asks for a revision
that is not reached in time gets FutureRevisionError.

Each change says in `revision` where to resume after it. What is sent first has 0 (not complete yet), and
then a bookmark says that it is complete; of several changes in one transaction only the last says the
transaction's revision. So a stream that breaks anywhere loses nothing when it resumes.

Concurrency: one loop. Changes are appended by the mirror's callback; streams read by position and never
hold the mirror up.

Next: `hanse.store.follow.collection`, which is followed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Generic, Literal, Protocol, TypeVar

from hanse.errors import CompactedError, DeadlineError, FutureRevisionError, InvalidArgumentError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

HISTORY = 10_000
BOOKMARK_SECONDS = 30.0
CATCH_UP_SECONDS = 3.0
"""How long a stream waits for a revision that another process has seen already."""


class Followed(Protocol[T_co]):
    """What a hub needs of what it follows: `hanse.store.follow.Collection`, or anything like it."""

    @property
    def revision(self) -> int:
        """Everything up to this revision is in `items()`."""

    async def reached(self, revision: int, timeout: float) -> None:
        """Wait until `revision` is reached. Raises DeadlineError after `timeout` seconds."""

    def items(self) -> Iterable[tuple[str, T_co]]:
        """Yield what there is now."""

    def subscribe(
        self, on_change: Callable[[str, T_co | None, T_co | None, int], None]
    ) -> Callable[[], None]:
        """Call `on_change(key, old, new, revision)` for every change, until the result is called."""


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """One message of a stream. `value` is what is there now, and for "deleted" what was there last."""

    kind: Literal["updated", "deleted", "bookmark"]
    key: str
    value: T | None
    revision: int
    """Resume here; 0 means: not yet."""


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    key: str
    old: T | None
    new: T | None
    revision: int


class WatchHub(Generic[T]):
    """Gives the changes of one mirror to many streams. Make it after the mirror has synced."""

    def __init__(
        self,
        mirror: Followed[T],
        *,
        history: int = HISTORY,
        bookmark_seconds: float = BOOKMARK_SECONDS,
        catch_up_seconds: float = CATCH_UP_SECONDS,
    ) -> None:
        """`history` is how many changes are remembered; bookmarks tell idle streams where to resume."""
        self._mirror = mirror
        self._entries: deque[_Entry[T]] = deque()
        self._history = history
        self._bookmark_seconds = bookmark_seconds
        self._catch_up_seconds = catch_up_seconds
        self._first = 0  # position of _entries[0] among all entries ever
        self._floor = self._newest = mirror.revision  # the oldest revision that can be resumed at
        self._wakeup = asyncio.Event()
        self._closed = False
        self._unsubscribe = mirror.subscribe(self._on_change)

    def close(self) -> None:
        """Stop following; streams end."""
        self._closed = True
        self._unsubscribe()
        self._wakeup.set()

    async def watch(
        self, revision: int = 0, *, select: Callable[[str, T], bool] | None = None
    ) -> AsyncIterator[Change[T]]:
        """Stream changes after `revision` (0: everything first), only those that `select` chooses.

        A value that `select` chose before and does not now is sent as "deleted".
        Raises CompactedError if the revision is no longer remembered, or the reader was too slow;
        FutureRevisionError if it is not reached in time.
        """
        chosen = select or _everything
        if revision < 0:
            raise InvalidArgumentError(
                f"revision is {revision}: it must be 0 or more", metadata={"field": "revision"}
            )
        await self._catch_up(revision)
        position, reached = self._first, revision
        if revision == 0:
            position, reached = self._end, self._mirror.revision
            for key, value in list(self._mirror.items()):
                if chosen(key, value):
                    yield Change("updated", key, value, 0)
            yield Change("bookmark", "", None, reached)
        elif revision < self._floor:
            raise self._compacted(revision)
        while not self._closed:
            wakeup = self._wakeup
            entries = self._since(position, reached)
            position += len(entries)
            for at, group in groupby(entries, key=lambda entry: entry.revision):
                if at <= reached:
                    continue
                changes = [change for entry in group if (change := _change(entry, chosen))]
                for change in changes[:-1]:
                    yield replace(change, revision=reached)
                for change in changes[-1:]:
                    yield change
                reached = at
            if position != self._end or await _is_set(wakeup, within=self._bookmark_seconds):
                continue
            if position == self._end and self._mirror.revision > reached:
                reached = self._mirror.revision
                yield Change("bookmark", "", None, reached)

    async def _catch_up(self, revision: int) -> None:
        """Wait until the mirror has reached `revision`. Raises FutureRevisionError if it does not."""
        if revision <= self._mirror.revision:
            return
        try:
            await self._mirror.reached(revision, self._catch_up_seconds)
        except DeadlineError:
            raise FutureRevisionError(revision, current=self._mirror.revision) from None

    @property
    def _end(self) -> int:
        return self._first + len(self._entries)

    def _since(self, position: int, reached: int) -> list[_Entry[T]]:
        """Return the entries from `position` on. Raises CompactedError if some are gone."""
        if position < self._first:
            raise self._compacted(reached)
        entries = list(islice(reversed(self._entries), self._end - position))
        entries.reverse()
        return entries

    def _on_change(self, key: str, old: T | None, new: T | None, revision: int) -> None:
        # After a fresh list a mirror tells the difference in no order of revisions. A later stamp is safe:
        # who resumes before it gets the change once more.
        self._newest = max(self._newest, revision)
        self._entries.append(_Entry(key, old, new, self._newest))
        if len(self._entries) > self._history:
            self._floor = self._entries.popleft().revision
            self._first += 1
        self._wakeup.set()
        self._wakeup = asyncio.Event()

    def _compacted(self, revision: int) -> CompactedError:
        return CompactedError(
            f"the changes after revision {revision} are no longer remembered (the oldest are those after "
            f"{self._floor}): list again and watch from there",
            compact_revision=self._floor,
        )


def _change(entry: _Entry[T], chosen: Callable[[str, T], bool]) -> Change[T] | None:
    """Return what a stream says of an entry; None if it is not chosen."""
    if entry.new is not None and chosen(entry.key, entry.new):
        return Change("updated", entry.key, entry.new, entry.revision)
    if entry.old is not None and chosen(entry.key, entry.old):
        return Change("deleted", entry.key, entry.old, entry.revision)
    return None


def _everything(key: str, value: object) -> bool:
    return True


async def _is_set(event: asyncio.Event, *, within: float) -> bool:
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return False
    return True
