"""A history in memory: a log of changes beside the states that it leads to.

Owns `LoggedHistory` over any log, and `CollectionHistory`, which records what a followed collection tells. A
collection that had to list again tells the difference in no order of revisions: it is recorded under the
newest one, which is safe, since who resumes before it gets a change once more.

Concurrency: one loop; changes are appended by the collection's callback, between two awaits.

Next: `hanse.store.history.log`; `hanse.store.follow.collection`, which is recorded.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from hanse.store.follow.collection import Collection, Difference
from hanse.store.history.changes import RecordedChange
from hanse.store.history.contract import ChangeBatch, Progress, StateAt, caught_up
from hanse.store.history.log import WINDOW, ChangeLog, LogReader

K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V")

BATCH = 200
"""Changes that a reader takes at a time; more of them only if they are of one revision."""


class LoggedHistory(Generic[K, T]):
    """The history that a log keeps of what `following` follows.

    `reader` gives a reader of the changes after a revision, `states` all that there is.
    """

    def __init__(
        self,
        reader: Callable[[int], LogReader[RecordedChange[K, T]]],
        *,
        following: Progress,
        states: Callable[[], Iterable[tuple[K, T]]],
    ) -> None:
        self._reader = reader
        self._following = following
        self._states = states

    async def caught_up(self, revision: int, timeout: float) -> None:
        """See `ChangeHistory.caught_up`."""
        await caught_up(self._following, revision, timeout)

    async def state(self) -> StateAt[K, T]:
        """Return all that there is now, in one page."""
        return StateAt(self._following.revision, _one(list(self._states())))

    async def batches(self, after: int, *, idle_seconds: float) -> AsyncGenerator[ChangeBatch[K, T], None]:
        """See `ChangeHistory.batches`."""
        with self._reader(after) as reader:
            while True:
                changes = await reader.read(limit=BATCH, within=idle_seconds)
                yield ChangeBatch(changes[-1].revision if changes else self._following.revision, changes)


async def _one(page: Sequence[tuple[K, T]]) -> AsyncIterator[Sequence[tuple[K, T]]]:
    yield page


class CollectionHistory(LoggedHistory[str, T], Generic[V, T]):
    """The history of a followed collection. Make it after the collection has synced.

    `present` makes what watches get of a value and the revision at which it was written.
    """

    def __init__(
        self, collection: Collection[V], present: Callable[[V, int], T], *, window: int = WINDOW
    ) -> None:
        self._present = present
        self._recorded: ChangeLog[RecordedChange[str, T]] = ChangeLog(
            floor=collection.revision, window=window
        )
        super().__init__(
            self._recorded.reader,
            following=collection,
            states=lambda: (
                (key, present(found.value, found.mod_revision)) for key, found in collection.all_versioned()
            ),
        )
        collection.subscribe(self._changed)

    def _changed(self, key: str, old: V | None, new: V | None, revision: int) -> None:
        newest = max(self._recorded.revision, revision)
        before = None if old is None else self._present(old, revision)
        after = None if new is None else self._present(new, revision)
        self._recorded.append(Difference(key, before, after, newest))
