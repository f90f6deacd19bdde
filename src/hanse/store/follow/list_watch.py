"""The one list-watch-relist machine: what is under some prefixes of the store, and then every change of it.

Owns `ListWatch`. It lists all prefixes at one revision and watches on from there; if the history since then
was compacted, it lists again. What it reads goes to a `Consumer` in two steps: the consumer prepares it,
which may take turns of the loop and threads, and commits it in one, together with the revision that is then
reached.

Each contiguous `Span` of keys is one watch, so what lies in one span comes in one order of revisions. Keys
in it under none of the prefixes are passed over. Several spans are for whoever may not read, or does not
want, what lies between: each goes on by itself, a quiet one delays no other, and `revision` is what all have
reached (ADR 23 says why).

Concurrency: one task group for as long as `run` runs; a commit happens between two awaits, so a reader on
the same loop sees each span at one revision.

Next: `hanse.store.follow.follower`, the consumer that services use; `hanse.store.types` for what a watch
promises.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final, Protocol, Self, TypeAlias

import structlog

from hanse.background import OwnedTasks
from hanse.boundary import Boundary
from hanse.errors import (
    CompactedError,
    DeadlineError,
    HanseError,
    InternalError,
    UnavailableError,
)
from hanse.store.follow.batches import whole_revisions
from hanse.store.follow.listing import StoreListing
from hanse.store.follow.watermark import Watermark, watermarks
from hanse.store.spans import Span
from hanse.store.types import KeyValue, Store, WatchBatch

_log = structlog.get_logger(__name__)

TAKE: Final = 200
"""Events that are prepared and committed at once; more of them only if they are of one revision."""

_RETRY_FIRST: Final = 0.1
_RETRY_MOST: Final = 2.0
_ASK_FIRST: Final = 0.01
_ASK_MOST: Final = 0.25

Commit: TypeAlias = Callable[[int], None]
"""Takes in what was prepared; called with the revision that is reached by that. It must not raise."""


class Consumer(Protocol):
    """Takes in what a `ListWatch` reads."""

    async def prepare_list(self, pages: AsyncIterator[Sequence[KeyValue]]) -> Commit:
        """Read a whole list, prefix by prefix, in order of keys; return what replaces all that is there."""

    async def prepare(self, batch: WatchBatch) -> Commit:
        """Read whole revisions of one span, keys under no prefix among them; return what takes them in."""

    def key_count(self, prefix: str) -> int:
        """Return how many keys there are under a prefix, those that cannot be read among them."""


class ListWatch:
    """Follows `prefixes` of `store`. Run it with `async with`, or `run()` in a task group of your own.

    Each prefix lies in one of `spans`; without any, each prefix is one. With `asks`, who waits for a revision
    (`reached`) does not wait for the next notification of a quiet range: the store is asked about it.
    """

    def __init__(
        self,
        store: Store,
        consumer: Consumer,
        prefixes: Sequence[str],
        *,
        spans: Sequence[Span] = (),
        asks: bool = True,
    ) -> None:
        self._store = store
        self._consumer = consumer
        self._prefixes = tuple(prefixes)
        self._marks = watermarks(self._prefixes, spans)
        self._asks = asks
        self._wanted = asyncio.Event()
        self._boundary = Boundary(f"follower {self._name}")
        self._task: asyncio.Task[None] | None = None
        self._tasks = OwnedTasks()

    @property
    def revision(self) -> int:
        """The revision up to which everything has been taken in; 0 before the first list."""
        return min(mark.revision for mark in self._marks)

    def watermark(self, prefix: str) -> Watermark:
        """Return how far the span of a prefix is."""
        return next(mark for mark in self._marks if prefix in mark.prefixes)

    async def synced(self) -> None:
        """Wait until the first list is in. Raises what ended `run`, if something did."""
        for mark in self._marks:
            await mark.reached(1)

    async def reached(self, revision: int, timeout: float = 10.0, *, prefix: str = "") -> None:
        """Wait until everything up to `revision` has been taken in, of all spans or that of `prefix`.

        `timeout` is in seconds; raises `DeadlineError` after it.
        """
        marks = self._of(prefix)
        if all(mark.revision >= revision for mark in marks):
            return
        if self._asks:
            self._wanted.set()
        async with self._deadline(timeout, f"did not reach {revision}"):
            if len(marks) == 1:
                await marks[0].reached(revision)
            else:
                await asyncio.gather(*(mark.reached(revision) for mark in marks))

    async def current(self, timeout: float = 10.0, *, prefix: str = "") -> int:
        """Wait until all spans, or that of `prefix`, are as new as the store is now; return the revision.

        What was acknowledged to anybody before the call has then been taken in. One round trip if the newest
        write was under the prefixes; else the store is asked whether they are unchanged, which costs etcd
        some 4 µs for each key there. Where the last write of interest is known, `reached` is cheaper. Raises
        as `reached`, and `UnavailableError`.
        """
        revision = await self._store.revision()
        marks = self._of(prefix)
        if self.revision and (behind := [mark for mark in marks if mark.revision < revision]):
            await self._ask_once(behind)
        await self.reached(revision, timeout, prefix=prefix)
        return min(mark.revision for mark in marks)

    async def caught_up(self, prefix: str, timeout: float = 10.0) -> None:
        """Wait until what is under one prefix is as new as the store is now; the rest of its span may lag.

        What is written there while this waits is not waited for. Raises as `current`.
        """
        mark = self.watermark(prefix)
        async with self._deadline(timeout, "did not catch up with the store"):
            wanted = await self._store.revision()
            while (seen := mark.revision) < wanted:
                if await self._unchanged_since(prefix, seen) is not None:
                    return
                if mark.revision == seen:
                    await mark.reached(seen + 1)

    async def failed(self) -> None:
        """Wait until the store is no longer followed, and raise what ended that; nothing if it was closed.

        For whoever entered it: what it has taken in is old afterwards, and nothing tells so.
        """
        if self._task is None:
            raise InternalError("the follower was not entered")
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()

    async def run(self) -> None:
        """Follow the store until cancelled; an outage of the store is waited out.

        Raises `FailedPreconditionError` if the store's history went back, and what else it refuses for good.
        """
        self._task = asyncio.current_task()
        ended: Exception = UnavailableError(f"{self._name} is no longer followed", reason="FOLLOWER_CLOSED")
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._ask(), name=f"asking about {self._name}")
                await self._follow()
        except ExceptionGroup as group:
            ended = _cause(group)
            _log.error("follower_ended", prefix=self._name, error=repr(ended))
            raise ended from None
        finally:
            for mark in self._marks:
                mark.fail(ended)

    async def __aenter__(self) -> Self:
        self._task = self._tasks.start(self.run(), name=f"follower {self._name}", told=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        task = self._task
        if task is None:
            raise InternalError("the follower was not entered")
        await self._tasks.close()
        if not task.cancelled():
            task.result()

    @property
    def _name(self) -> str:
        return self._prefixes[0].partition("/")[0] or "all"

    @asynccontextmanager
    async def _deadline(self, seconds: float, missed: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise DeadlineError(
                f"{self._name} is at revision {self.revision} and {missed} within {seconds:g} s: "
                "etcd is slow or out of reach",
                reason="STALE",
            ) from None

    def _of(self, prefix: str) -> Sequence[Watermark]:
        return (self.watermark(prefix),) if prefix else self._marks

    # --- list, watch

    async def _follow(self) -> None:
        listed, delay = False, _RETRY_FIRST
        while True:
            try:
                if not listed:
                    await self._list()
                    listed, delay = True, _RETRY_FIRST
                await self._watch()
            except CompactedError:
                _log.info("follower_lists_again", prefix=self._name, revision=self.revision)
                # A list that was overtaken by a compaction is as good as none: not in a tight loop.
                await asyncio.sleep(0 if listed else delay)
                listed = False
            except UnavailableError as error:
                _log.warning("follower_lost_the_store", prefix=self._name, error=str(error), retry=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RETRY_MOST)
            except HanseError:
                raise
            except Exception as error:  # noqa: BLE001 - what is known stays, and all is read again
                self._boundary.failed("the store", error)
                listed = False
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RETRY_MOST)

    async def _list(self) -> None:
        listing = StoreListing(self._store, self._prefixes, seen=max(mark.revision for mark in self._marks))
        async with aclosing(listing.pages()) as pages:
            commit = await self._consumer.prepare_list(pages)
        for mark in self._marks:
            mark.advance(listing.revision)
        commit(listing.revision)

    async def _watch(self) -> None:
        if len(self._marks) == 1:
            await self._watch_span(self._marks[0])
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                for mark in self._marks:
                    tasks.create_task(self._watch_span(mark), name=f"watch {mark.span}")
        except ExceptionGroup as group:
            raise _cause(group) from None

    async def _watch_span(self, mark: Watermark) -> None:
        span = mark.span
        watch = self._store.watch(span.first, start_revision=mark.revision + 1, through=span.through)
        async with aclosing(watch) as batches:
            async for batch in batches:
                for part in whole_revisions(batch, TAKE):
                    commit = await self._consumer.prepare(part)
                    mark.advance(part.revision)
                    commit(part.revision)
                    if part is not batch:
                        await asyncio.sleep(0)

    # --- asking

    async def _ask(self) -> None:
        """While somebody waits, ask the store whether anything changed that is not here yet."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            delay = _ASK_FIRST
            await asyncio.sleep(delay)
            while awaited := [mark for mark in self._marks if mark.awaited]:
                if self.revision:
                    try:
                        await self._ask_once(awaited)
                    except UnavailableError as error:
                        _log.debug("follower_cannot_ask", prefix=self._name, error=str(error))
                delay = min(delay * 2, _ASK_MOST)
                await asyncio.sleep(delay)

    async def _ask_once(self, marks: Sequence[Watermark]) -> None:
        """Move watermarks on where nothing under their prefixes changed since."""
        await asyncio.gather(*(self._ask_span(mark) for mark in marks))

    async def _ask_span(self, mark: Watermark) -> None:
        known = mark.revision
        answers = await asyncio.gather(*(self._unchanged_since(prefix, known) for prefix in mark.prefixes))
        fresh = [answer for answer in answers if answer is not None]
        if len(fresh) == len(answers):
            mark.advance(min(fresh))

    async def _unchanged_since(self, prefix: str, revision: int) -> int | None:
        """Return the store's revision if nothing under `prefix` changed since what has been taken in."""
        count = self._consumer.key_count(prefix)
        return await self._store.unchanged_since(prefix, revision, count=count)


def _cause(group: BaseExceptionGroup[Exception]) -> Exception:
    """Return what ended a group of tasks: of several what is for good, then what asks for a new list."""
    each = (_cause(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions)
    return min(each, key=_weight)


def _weight(error: Exception) -> int:
    return 2 if isinstance(error, UnavailableError) else 1 if isinstance(error, CompactedError) else 0
