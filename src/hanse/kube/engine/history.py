"""What happened to one resource lately: its objects in order, and a bounded log that watches read.

A `ResourceLog` belongs to one cache and is used from its event loop only. A watch holds a position in the
log and is woken by an event; one that falls behind the window gets `CompactedError`, as one that resumes from
before it. Changes are in order of revisions, and several may share one: whoever got a whole revision goes on
`after` it, whoever may have got a part only has to `resume` at it. The log also undoes changes, to page
through a list as it was. Next: `hanse.kube.engine.cache`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from itertools import islice, takewhile

from sortedcontainers import SortedDict

from hanse.errors import CompactedError
from hanse.kube.engine.served import ObjectChange, ServedObject

WINDOW = 8192
"""How many changes of a resource are kept, and never less than those of its newest revision. A client that is
further behind lists again."""

WAKE = 64
"""How many watches are woken in one turn of the loop."""

Position = tuple[str, str]
"""Namespace and name: the order of lists."""


class ResourceLog:
    """Objects of one resource and their last changes."""

    def __init__(self, *, floor: int, window: int = WINDOW) -> None:
        """`floor` is the revision from which on every change will be in the log."""
        self.entries: SortedDict[Position, ServedObject] = SortedDict()
        self.floor = floor
        self.revision = floor
        self._changes: deque[ObjectChange] = deque()
        self._first = 0
        self._lost = 0
        self._window = window
        self._wakers: set[asyncio.Event] = set()
        self._asleep: dict[asyncio.Event, None] = {}
        self._snapshot: tuple[tuple[int, str | None], tuple[ServedObject, ...]] | None = None

    def load(self, entries: dict[Position, ServedObject]) -> None:
        """Put in the first objects, without a change for each but those of the floor itself.

        A client may have got a part of the floor's revision from a process before this one.
        """
        self.entries.update(entries)
        self._keep_floor()

    def _keep_floor(self) -> None:
        for entry in self.entries.values():
            if entry.revision == self.floor:
                self._changes.append(ObjectChange(self.floor, "ADDED", entry.key, entry, None))

    def restart(self, revision: int) -> None:
        """Forget what happened before `revision`, at which all objects were listed again.

        Nobody knows any more what was there between two changes that are known, nor in which order: watches
        that are open and clients that resume get `CompactedError`, and list again.
        """
        self._first = self.end + 1
        self._changes.clear()
        self._lost = 0
        self.floor = self.revision = revision
        self._keep_floor()
        self._snapshot = None
        self._wake()

    def append(self, change: ObjectChange) -> None:
        """Record a change and wake the watches."""
        position = (change.key.namespace, change.key.name)
        if change.type == "DELETED":
            self.entries.pop(position, None)
        else:
            self.entries[position] = change.entry
        self._changes.append(change)
        self.revision = change.revision
        while len(self._changes) > self._window and self._changes[0].revision < change.revision:
            gone = self._changes.popleft().revision
            self._lost = self._lost + 1 if gone == self.floor else 1
            self.floor = gone
            self._first += 1
        self._wake()

    def _wake(self) -> None:
        """Wake the watches: few at once, many in turns of the loop, those that have waited longest first."""
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

    def snapshot(self, namespace: str | None) -> tuple[ServedObject, ...]:
        """Return the objects in a namespace (None: all) in order; watches that begin together share it."""
        if self._snapshot is None or self._snapshot[0] != (self.end, namespace):
            self._snapshot = ((self.end, namespace), tuple(self.select(namespace)))
        return self._snapshot[1]

    def select(self, namespace: str | None, *, after: Position | None = None) -> Iterator[ServedObject]:
        """Iterate over the objects in one namespace (None: all) in order, after a position."""
        low = after or ((namespace or "", "") if namespace is not None else None)
        high = (namespace, "\U0010ffff") if namespace is not None else None
        for position in self.entries.irange(low, high, inclusive=(after is None, True)):
            yield self.entries[position]

    def at(self, revision: int, namespace: str | None) -> list[ServedObject]:
        """Return the objects in a namespace (None: all) as they were at `revision`, in order.

        Raises CompactedError if that is before the log's window.
        """
        self.check(revision)
        undone: dict[Position, ServedObject | None] = {}
        for change in reversed(self._changes):
            if change.revision <= revision:
                break
            undone[(change.key.namespace, change.key.name)] = change.previous
        if not undone:
            return list(self.select(namespace))
        state = dict(self.entries)
        state.update((p, e) for p, e in undone.items() if e is not None)
        for position, entry in undone.items():
            if entry is None:
                state.pop(position, None)
        return [state[p] for p in sorted(state) if namespace is None or p[0] == namespace]

    def check(self, revision: int) -> None:
        """Raise CompactedError if changes after `revision` are no longer all there."""
        if revision < self.floor:
            raise _too_old(revision, self.floor)

    @property
    def end(self) -> int:
        """Return the sequence number of the next change."""
        return self._first + len(self._changes)

    def after(self, revision: int) -> int:
        """Return the sequence number of the first change after `revision`. Raises CompactedError."""
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
        sequence, same = self._find(revision)
        lost = self._lost if revision == self.floor else 0
        if lost > 1:
            raise _too_old(revision, self.floor)
        return sequence - same if same + lost > 1 else sequence

    def _find(self, revision: int) -> tuple[int, int]:
        """Return the sequence number of the first change after `revision`, and how many are of it."""
        self.check(revision)
        sequence, same = self.end, 0
        for change in reversed(self._changes):
            if change.revision < revision:
                break
            if change.revision == revision:
                same += 1
            else:
                sequence -= 1
        return sequence, same

    def read(self, sequence: int, *, limit: int | None = None) -> tuple[ObjectChange, ...]:
        """Return the changes from `sequence` on: all, or about the first `limit`, in whole revisions.

        Raises CompactedError if the first has left the window.
        """
        skip = sequence - self._first
        if skip < 0:
            raise CompactedError(
                f"the watch fell behind: the oldest change kept is at {self.floor}",
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

    def enter(self, waker: asyncio.Event) -> None:
        """Set `waker` at every change from now on."""
        self._wakers.add(waker)

    def leave(self, waker: asyncio.Event) -> None:
        """Stop setting `waker`."""
        self._wakers.discard(waker)
        self._asleep.pop(waker, None)


def _too_old(revision: int, floor: int) -> CompactedError:
    return CompactedError(f"too old resource version: {revision} ({floor})", compact_revision=floor)
