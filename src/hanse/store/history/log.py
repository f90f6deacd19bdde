"""A bounded log of changes, and the readers that follow it.

Changes are in the order of revisions, and several may share one: whoever got a whole revision goes on `after`
it, whoever may have got a part only has to `resume` at it. The log keeps the last changes, and never less
than those of its newest revision; who asks for older ones, or reads too slowly, gets CompactedError and lists
again. A reader holds a position and no change, so a slow one costs no memory and holds nobody up.

Concurrency: one event loop. Many readers are woken in turns of it.

Next: `hanse.store.history.contract` for what is made of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice, takewhile
from types import TracebackType
from typing import Generic, Self, TypeVar

from hanse.errors import CompactedError
from hanse.store.history.changes import Revisioned

C = TypeVar("C", bound=Revisioned)
C_co = TypeVar("C_co", bound=Revisioned, covariant=True)

WINDOW = 8192
"""How many changes are kept, and never less than those of the newest revision."""

WAKE = 64
"""How many readers are woken in one turn of the loop."""


class ChangeLog(Generic[C]):
    """The last changes of one collection."""

    def __init__(self, *, floor: int, window: int = WINDOW) -> None:
        """`floor` is the revision from which on every change will be in the log."""
        self.floor = floor
        self.revision = floor
        self._changes: deque[C] = deque()
        self._first = 0
        self._lost = 0
        self._window = window
        self._wakers: set[asyncio.Event] = set()
        self._asleep: dict[asyncio.Event, None] = {}

    def append(self, change: C) -> None:
        """Record a change, whose revision is at least the last one's, and wake the readers."""
        self._changes.append(change)
        self.revision = change.revision
        while len(self._changes) > self._window and self._changes[0].revision < change.revision:
            gone = self._changes.popleft().revision
            self._lost = self._lost + 1 if gone == self.floor else 1
            self.floor = gone
            self._first += 1
        self._wake()

    def begin(self, changes: Iterable[C]) -> None:
        """Put in the changes of the floor's own revision, at the start.

        A client may have got a part of that revision from a process before this one.
        """
        self._changes.extend(changes)

    def restart(self, revision: int, changes: Iterable[C] = ()) -> None:
        """Forget what happened before `revision`, at which everything was listed again.

        Nobody knows any more what was there between two changes that are known, nor in which order: readers
        and clients that resume get CompactedError, and list again. `changes` are of that very revision.
        """
        self._first = self.end + 1
        self._changes.clear()
        self._lost = 0
        self.floor = self.revision = revision
        self.begin(changes)
        self._wake()

    @property
    def end(self) -> int:
        """Return the position of the next change."""
        return self._first + len(self._changes)

    def check(self, revision: int) -> None:
        """Raise CompactedError if the changes after `revision` are no longer all there."""
        if revision < self.floor:
            raise _too_old(revision, self.floor)

    def after(self, revision: int) -> int:
        """Return the position of the first change after `revision`. Raises CompactedError."""
        return self._find(revision)[0]

    def resume(self, revision: int) -> int:
        """Return where a client goes on that knows only a version: of an object that it got, or of a list.

        If several changes are of that very revision (one transaction, or one cluster that went offline), the
        client may have got just the first of them, so it gets all of them, some for the second time. One
        change alone is never repeated, nor is anything for a version that is no change's. That of a list or
        of a bookmark is a change's only if nothing was written to the store since; then it cannot be told
        apart, and such changes are repeated. Not known are deletions of the revision at which a process
        listed first. Raises CompactedError, also if two of these changes have left the window: the client may
        have missed the second.
        """
        position, same = self._find(revision)
        lost = self._lost if revision == self.floor else 0
        if lost > 1:
            raise _too_old(revision, self.floor)
        return position - same if same + lost > 1 else position

    def of_revision(self, revision: int) -> Iterator[C]:
        """Yield the changes of one revision that are still there."""
        for change in reversed(self._changes):
            if change.revision < revision:
                return
            if change.revision == revision:
                yield change

    def _find(self, revision: int) -> tuple[int, int]:
        """Return the position of the first change after `revision`, and how many changes are of it."""
        self.check(revision)
        position, same = self.end, 0
        for change in reversed(self._changes):
            if change.revision < revision:
                break
            if change.revision == revision:
                same += 1
            else:
                position -= 1
        return position, same

    def read(self, position: int, *, limit: int | None = None) -> tuple[C, ...]:
        """Return the changes from `position` on: all, or about the first `limit`, in whole revisions.

        Raises CompactedError if the first has left the window.
        """
        skip = position - self._first
        if skip < 0:
            raise CompactedError(
                f"the watch fell behind: the oldest change kept is at {self.floor}; list again and watch from"
                " there",
                compact_revision=self.floor,
            )
        pending = len(self._changes) - skip
        if pending <= 0:
            return ()
        if limit is not None and pending > limit:
            following = islice(self._changes, skip, None)
            some = list(islice(following, limit))
            some += takewhile(lambda change: change.revision == some[-1].revision, following)
            return tuple(some)
        if pending * 2 < len(self._changes):
            tail = [self._changes[-i] for i in range(pending, 0, -1)]
            return tuple(tail)
        return tuple(self._changes)[skip:]

    def since(self, revision: int) -> Iterator[C]:
        """Iterate over the changes after `revision`, the newest first. Raises CompactedError."""
        self.check(revision)
        return takewhile(lambda change: change.revision > revision, reversed(self._changes))

    def reader(self, after: int) -> LogReader[C]:
        """Return a reader of the changes after a revision. Raises CompactedError."""
        return LogReader(self, self.after(after))

    @property
    def readers(self) -> int:
        """Return how many wait for changes."""
        return len(self._wakers)

    def enter(self, waker: asyncio.Event) -> None:
        """Set `waker` at every change from now on."""
        self._wakers.add(waker)

    def leave(self, waker: asyncio.Event) -> None:
        """Stop setting `waker`."""
        self._wakers.discard(waker)
        self._asleep.pop(waker, None)

    def _wake(self) -> None:
        """Wake the readers: few at once, many in turns of the loop, those that have waited longest first."""
        if len(self._wakers) <= WAKE and not self._asleep:
            for waker in self._wakers:
                waker.set()
            return
        waking = bool(self._asleep)
        for waker in self._wakers:
            self._asleep.setdefault(waker)
        if not waking:
            self._wake_some()

    def _wake_some(self) -> None:
        for waker in list(islice(self._asleep, WAKE)):
            del self._asleep[waker]
            waker.set()
        if self._asleep:
            asyncio.get_running_loop().call_soon(self._wake_some)


class LogReader(Generic[C_co]):
    """One reader's place in a log. Use it in a `with` block, in which it is woken at every change.

    `waker` may be set by others too, to have the reader look at something else.
    """

    def __init__(self, log: ChangeLog[C_co], position: int) -> None:
        """`position` is that of the first change to read."""
        self.waker = asyncio.Event()
        self._log = log
        self._position = position

    def __enter__(self) -> Self:
        self._log.enter(self.waker)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.leave(self.waker)

    async def read(self, *, limit: int, within: float) -> tuple[C_co, ...]:
        """Return the next changes, about `limit` of them in whole revisions.

        None come back if there are none within so many seconds, or the waker was set by somebody else.
        Raises CompactedError if the reader was too slow.
        """
        changes = self._take(limit)
        if changes or within <= 0:
            return changes
        try:
            async with asyncio.timeout(within):
                await self.waker.wait()
        except TimeoutError:
            pass
        return self._take(limit)

    def _take(self, limit: int) -> tuple[C_co, ...]:
        self.waker.clear()
        changes = self._log.read(self._position, limit=limit)
        self._position += len(changes)
        return changes


def _too_old(revision: int, floor: int) -> CompactedError:
    return CompactedError(
        f"too old resource version: {revision} ({floor}): list again and watch from there",
        compact_revision=floor,
    )
