"""A prefix of the store, followed into a dictionary: what controllers read from.

List, then watch; if the history since then was compacted, list again and report the difference. A value that
cannot be decoded, or that a subscriber raises on, is named in `broken`, and what was known of its key before
stays: unknown is not empty. It stops neither the mirror nor the news of other keys. The dictionary and
`revision` change together, between two awaits, so a reader on the same loop always sees one revision.
Subscribers are called in the order of revisions, right after the change, on the loop; they must be quick and
must not await. Values are decoded before that, many of them in turns and large ones in a thread, so `decode`
must be pure.

Next: `hanse.store.types` for what a watch promises; `hanse.control` for who subscribes.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import ChainMap
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, Self, TypeVar

import structlog

from hanse.boundary import Boundary
from hanse.errors import CompactedError, DeadlineError, FailedPreconditionError, UnavailableError
from hanse.store import keys
from hanse.store.types import Event, KeyValue, RangeResult, Store
from hanse.turns import SLICE_SECONDS

_log = structlog.get_logger(__name__)
T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

_RETRY: Final = 0.5
_ASK_FIRST: Final = 0.01
_ASK_MOST: Final = 0.25

LARGE_BYTES: Final = 64 * 1024
"""A value with more is decoded in a thread: a policy takes 70 ns for each byte of it."""


class OnChange(Protocol[T_contra]):
    """A subscriber. `old` is None for a key that is new, `new` None for one that was deleted."""

    def __call__(
        self, key: str, old: T_contra | None, new: T_contra | None, revision: int, /
    ) -> None:  # pragma: no cover
        """Take note that `key` changed at `revision`."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """A decoded value with the revisions to compare with when writing what is derived from it."""

    value: T
    mod_revision: int
    create_revision: int


class Mirror(Generic[T]):
    """Follows `prefix` of `store`, and what is after it through to the prefix `through`. Run it with
    `async with`, or `run()` in a task group of your own.

    `decode` makes a value of a `KeyValue`; what it raises marks that key as broken.
    """

    def __init__(
        self, store: Store, prefix: str, decode: Callable[[KeyValue], T], *, through: str = ""
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._through = through or prefix
        self._decode = decode
        self._entries: dict[str, Entry[T]] = {}
        self._broken: dict[str, int] = {}
        self._boundary = Boundary(f"mirror {prefix.partition('/')[0] or 'all'}")
        self._revision = 0
        self._synced = asyncio.Event()
        self._subscribers: list[OnChange[T]] = []
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = 0
        self._asking: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def revision(self) -> int:
        """The revision that the dictionary shows; 0 before the first list."""
        return self._revision

    @property
    def broken(self) -> Mapping[str, int]:
        """Keys whose current value cannot be decoded or taken in, with the revision of that value."""
        return MappingProxyType(self._broken)

    def get(self, key: str) -> T | None:
        """Return the value of a key, or None."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def entry(self, key: str) -> Entry[T] | None:
        """Return the value of a key with its revisions, or None."""
        return self._entries.get(key)

    def keys(self) -> KeysView[str]:
        """Return a live view of the keys, in no order."""
        return self._entries.keys()

    def items(self) -> Iterator[tuple[str, T]]:
        """Yield (key, value), in no order. Do not await while going through it."""
        return ((key, entry.value) for key, entry in self._entries.items())

    def entries(self) -> ItemsView[str, Entry[T]]:
        """Return a live view of (key, entry), in no order."""
        return self._entries.items()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def subscribe(self, on_change: OnChange[T], *, replay: bool = False) -> Callable[[], None]:
        """Call `on_change` for each change from now on; return what ends that.

        With `replay`, first call it once for everything that is there.
        """
        if replay:
            for key, entry in list(self._entries.items()):
                self._tell_one(on_change, (key, None, entry.value, entry.mod_revision))
        self._subscribers.append(on_change)
        return lambda: self._subscribers.remove(on_change)

    async def synced(self) -> None:
        """Wait until the first list is in. Raises what ended `run`, if something did."""
        await self._or_ended(self._synced.wait())

    async def reached(self, revision: int, timeout: float = 10.0) -> None:
        """Wait until everything up to `revision` is in the dictionary.

        `timeout` is in seconds; raises `DeadlineError` after it. If nothing happens under the prefix the
        store is asked about it, so a quiet prefix does not wait for the next notification.
        """
        if self._revision >= revision:
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._arrivals += 1
        heapq.heappush(self._waiters, (revision, self._arrivals, waiter))
        if self._asking is None:
            self._asking = loop.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        try:
            async with asyncio.timeout(timeout):
                await self._or_ended(waiter)
        except TimeoutError:
            raise DeadlineError(
                f"{self._prefix} is at revision {self._revision} and did not reach {revision} "
                f"within {timeout:g} s: etcd is slow or out of reach",
                reason="STALE",
            ) from None
        finally:
            waiter.cancel()

    async def current(self, timeout: float = 10.0) -> int:
        """Wait until the dictionary is as new as the store is now; return its revision.

        What was acknowledged to anybody before the call is then in it. One round trip if the newest write
        was under the prefix; else the store is asked whether it is unchanged, which costs etcd some 4 µs
        for each key there. Where the last write of interest is known, `reached` is cheaper. Raises as
        `reached`, and `UnavailableError`.
        """
        revision = await self._store.revision()
        if self._revision < revision and self._synced.is_set():
            await self._ask_once()
        await self.reached(revision, timeout)
        return self._revision

    async def failed(self) -> None:
        """Wait until the prefix is no longer followed, and raise what ended that; nothing if it was closed.

        For whoever entered the mirror: what it shows afterwards is old, and nothing tells so.
        """
        assert self._task is not None
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()

    async def run(self) -> None:
        """Follow the prefix until cancelled.

        Raises `FailedPreconditionError` if the store's history went back.
        """
        self._task = asyncio.current_task()
        try:
            while True:
                try:
                    listed = await self._store.range(self._prefix, through=self._through)
                except (UnavailableError, CompactedError) as error:
                    _log.warning("mirror_cannot_list", prefix=self._prefix, error=str(error))
                    await asyncio.sleep(_RETRY)
                    continue
                await self._replace(listed)
                try:
                    await self._follow(listed.revision + 1)
                except CompactedError:
                    _log.info("mirror_lists_again", prefix=self._prefix, revision=self._revision)
        finally:
            if self._asking is not None:
                self._asking.cancel()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run(), name=f"mirror-{self._prefix}")
        self._task.add_done_callback(self._ended)
        return self

    async def __aexit__(self, *_: object) -> None:
        task = self._task
        assert task is not None
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    async def _follow(self, first: int) -> None:
        watch = self._store.watch(self._prefix, start_revision=first, through=self._through)
        async with aclosing(watch):
            async for batch in watch:
                read = await self._read_all([e.kv for e in batch.events if e.kind != "delete"])
                found = [self._apply(event, read) for event in batch.events]
                self._advance(batch.revision)
                self._tell([change for change in found if change is not None])

    async def _read_all(self, found: Sequence[KeyValue]) -> Iterator[T | Exception]:
        """Decode values; for each what came of it, or what was raised."""
        read: list[T | Exception] = []
        until = time.perf_counter() + SLICE_SECONDS
        for kv in found:
            if len(kv.value) > LARGE_BYTES:
                read.append(await asyncio.to_thread(self._read, kv))
            else:
                read.append(self._read(kv))
            if time.perf_counter() > until:
                await asyncio.sleep(0)
                until = time.perf_counter() + SLICE_SECONDS
        return iter(read)

    def _read(self, kv: KeyValue) -> T | Exception:
        try:
            keys.check(kv.key)
            return self._decode(kv)
        except Exception as error:  # noqa: BLE001 - one bad value must not stop the others
            return error

    def _apply(
        self, event: Event, read: Iterator[T | Exception]
    ) -> tuple[str, T | None, T | None, int] | None:
        if event.kind == "delete":
            return self._drop(event.kv.key, event.kv.mod_revision)
        return self._set(event.kv, next(read))

    def _set(self, kv: KeyValue, value: T | Exception) -> tuple[str, T | None, T | None, int] | None:
        key = kv.key
        if isinstance(value, Exception):
            self._broken[key] = kv.mod_revision
            self._boundary.failed(key, value)
            return None
        if self._broken:
            self._broken.pop(key, None)
        old = self._entries.get(key)
        self._entries[key] = Entry(value, kv.mod_revision, kv.create_revision)
        return key, old.value if old is not None else None, value, kv.mod_revision

    def _drop(self, key: str, revision: int) -> tuple[str, T | None, T | None, int] | None:
        self._broken.pop(key, None)
        old = self._entries.pop(key, None)
        return None if old is None else (key, old.value, None, revision)

    async def _replace(self, listed: RangeResult) -> None:
        """Make the dictionary what the list says, and tell the difference."""
        if listed.revision < self._revision:
            raise FailedPreconditionError(
                f"etcd is at revision {listed.revision}, but {self._prefix} was at {self._revision} before: "
                "it was restored from a backup or replaced. Nothing is concluded from that; check etcd, then "
                "restart.",
                reason="REVISION_REGRESSED",
            )
        # What could not be read may be readable now, though nobody has written it: a key came back.
        changed = [
            kv for kv in listed.items if self._known(kv.key) != kv.mod_revision or kv.key in self._broken
        ]
        read = await self._read_all(changed)
        there = {kv.key for kv in listed.items}
        gone = [k for k in self._entries.keys() | self._broken.keys() if k not in there]
        changes = [self._drop(key, listed.revision) for key in gone]
        changes.extend(self._set(kv, next(read)) for kv in changed)
        self._advance(listed.revision)
        self._synced.set()
        self._tell([change for change in changes if change is not None])

    def _known(self, key: str) -> int:
        """Return the revision of what is known of a key, readable or not; 0 if nothing is."""
        old = self._entries.get(key)
        return self._broken.get(key) or (old.mod_revision if old is not None else 0)

    def _advance(self, revision: int) -> None:
        if revision <= self._revision:
            return
        self._revision = revision
        while self._waiters and self._waiters[0][0] <= revision:
            waiter = heapq.heappop(self._waiters)[2]
            if not waiter.done():
                waiter.set_result(None)

    def _tell(self, changes: list[tuple[str, T | None, T | None, int]]) -> None:
        for subscriber in tuple(self._subscribers):
            for change in changes:
                self._tell_one(subscriber, change)

    def _tell_one(self, subscriber: OnChange[T], change: tuple[str, T | None, T | None, int]) -> None:
        """Tell one subscriber of one change. What it makes of a value that it raises on is not known."""
        key, _, new, revision = change
        try:
            subscriber(*change)
        except Exception as error:  # noqa: BLE001 - one bad value must not stop the others
            self._boundary.failed(key, error)
            current = self._entries.get(key)
            if new is not None and current is not None and current.mod_revision == revision:
                self._broken[key] = revision

    async def _ask(self) -> None:
        """While somebody waits, ask the store whether anything changed that is not here yet."""
        delay = _ASK_FIRST
        while self._waiters:
            await asyncio.sleep(delay)
            delay = min(delay * 2, _ASK_MOST)
            self._waiters = [w for w in self._waiters if not w[2].done()]
            heapq.heapify(self._waiters)
            if self._waiters and self._synced.is_set():
                try:
                    await self._ask_once()
                except UnavailableError as error:
                    _log.debug("mirror_cannot_ask", prefix=self._prefix, error=str(error))

    async def _ask_once(self) -> None:
        """Move the revision on if nothing under the prefix changed since. Broken keys count as there."""
        count = len(self._entries) + len(self._broken.keys() - self._entries.keys())
        fresh = await self._store.unchanged_since(
            self._prefix, self._revision, count=count, through=self._through
        )
        if fresh is not None:
            self._advance(fresh)

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled():
            task.result()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("mirror_ended", prefix=self._prefix, error=repr(error))

    async def _or_ended(self, awaitable: Any) -> None:
        """Await, but not for longer than `run` lasts, where it is ours."""
        if self._task is None:
            await awaitable
            return
        wanted = asyncio.ensure_future(awaitable)
        try:
            await asyncio.wait([wanted, self._task], return_when=asyncio.FIRST_COMPLETED)
            if not wanted.done():
                if self._task.cancelled():
                    raise UnavailableError(f"{self._prefix} is no longer followed", reason="MIRROR_CLOSED")
                self._task.result()
            await wanted
        finally:
            wanted.cancel()


class JoinedMirrors(Generic[T]):
    """Mirrors of several ranges that are read as one, for whoever may not read what lies between them.

    Each range is at a revision of its own: what spans two of them may be seen in parts. Keys of one range
    come in the order of revisions; between two ranges there is none.
    """

    def __init__(self, *parts: Mirror[T]) -> None:
        self.parts = parts

    @property
    def revision(self) -> int:
        """The revision that all of the ranges have reached."""
        return min(part.revision for part in self.parts)

    @property
    def broken(self) -> Mapping[str, int]:
        """Keys whose current value cannot be decoded, with the revision of that value."""
        return ChainMap(*(dict(part.broken) for part in self.parts if part.broken))

    def __contains__(self, key: object) -> bool:
        return any(key in part for part in self.parts)

    def subscribe(self, on_change: OnChange[T]) -> None:
        """Call `on_change` for each change of each range from now on."""
        for part in self.parts:
            part.subscribe(on_change)

    async def synced(self) -> None:
        """Wait until the first list of each range is in."""
        for part in self.parts:
            await part.synced()

    async def reached(self, revision: int, timeout: float = 10.0) -> None:
        """Wait until everything up to `revision` is there, as `Mirror.reached`."""
        await asyncio.gather(*(part.reached(revision, timeout) for part in self.parts))

    async def current(self, timeout: float = 10.0) -> int:
        """Wait until all ranges are as new as the store is now, as `Mirror.current`."""
        return min(await asyncio.gather(*(part.current(timeout) for part in self.parts)))

    async def failed(self) -> None:
        """Wait until one of the ranges is no longer followed, as `Mirror.failed`."""
        waiting = [asyncio.ensure_future(part.failed()) for part in self.parts]
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in waiting:
                each.cancel()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for part in self.parts:
                await stack.enter_async_context(part)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()
