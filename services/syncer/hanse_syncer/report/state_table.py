"""The sync states of one cluster: what is known now, and how it gets into the store.

Owns `SyncStateTable`. Only the holder of the cluster's lease has one, so what is in memory is the truth and
is written, never read back. All writes carry the holder's fence, and the condition that the cluster is still
there: what was known of one that has left must not be said of one that joins by its name. Under load they are
made at ticks that all tables of a process share, so that one transaction takes what several clusters
reported; reports that nobody waits for are held back for `window` seconds after the last write of the same
state, so the first change is written at once and a storm of them a few times a second. What members say is
bounded for each cluster: bytes of statuses in all, and bytes written per second.

Concurrency: `update` and `drop` never wait; one task per table, `run`, writes, one commit after the other.

Next: `hanse_syncer.report.transitions` for what is in a state, `hanse_syncer.report.state_loader` for how a
table begins.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.errors import FailedPreconditionError, InvalidArgumentError
from hanse.kube.client.pace import Bucket
from hanse.kube.model.times import utc_now
from hanse.process.telemetry import get_logger
from hanse.store import NOT_NOW, BatchWriter, Compare, Delete, Op, Put, is_too_large, keys
from hanse.store.decoding import carry
from hanse.store.times import stamp
from hanse_syncer.report import transitions

_log = get_logger(__name__)

MAX_OPS = 32
"""States in one commit: those of three clusters fit into one transaction."""
MAX_BYTES = 256 * 1024
"""States in one commit, in bytes; one that is larger has a commit of its own."""
TICK_SECONDS = 0.025
"""How far apart the commits of one table are under load; one that was quiet for so long writes at once."""
MAX_STATUS_TOTAL = 64 * 1024 * 1024
"""Bytes of the statuses of all objects in one cluster. Ten thousand Deployments have 15 MiB; etcd takes 2 GiB
in all by default."""
SMALL_BYTES = 4096
"""A status of so many bytes is reported all the same, and a state of so many is written without delay."""
LARGE_BYTES_PER_SECOND = 1024 * 1024.0
"""What is beyond that in the states that are written for one cluster for long: etcd keeps every version until
it is compacted."""
LARGE_BURST = 64 * 1024 * 1024.0
_RETRY_SECONDS = 0.25


Change = Callable[[SyncState | None], SyncState]
"""Makes the next state of an object out of the present one, None where there is none; changes neither."""


class SyncStateTable:
    """The sync states of `cluster`, by the object's path."""

    def __init__(
        self,
        writer: BatchWriter,
        cluster: str,
        *,
        fence: Callable[[], Compare],
        window: float = 0.2,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`writer` is shared by all tables of the process, and so are the clocks: `monotonic` (in seconds),
        and `clock`, which tells the time of day.
        """
        self._clock = clock
        self._monotonic = monotonic
        self._writer = writer
        self._cluster = cluster
        self._fence = fence
        self._window = window
        self._states: dict[str, SyncState] = {}
        self.phases: Counter[int] = Counter()
        """How many states there are of each phase."""
        self._ready: dict[str, None] = {}
        self._held: dict[str, asyncio.TimerHandle] = {}
        self._written_at: dict[str, float] = {}
        self._committed_at = float("-inf")
        self._status_bytes = 0
        self._large = Bucket(LARGE_BYTES_PER_SECOND, LARGE_BURST, LARGE_BURST, 0.0)
        self._wake = asyncio.Event()
        self._clean = asyncio.Event()
        self._clean.set()
        self._taken: set[str] = set()
        """What the commit under way writes."""
        self._committed = asyncio.Event()
        """Set at the end of each commit, and replaced."""

    def __len__(self) -> int:
        return len(self._states)

    def load(self, states: Iterable[tuple[str, SyncState]]) -> None:
        """Take in what is stored, before `run`."""
        self._states = dict(states)
        self.phases = Counter(state.phase for state in self._states.values())
        self._status_bytes = sum(len(state.status) for state in self._states.values())

    def get(self, path: str) -> SyncState | None:
        """Return the state of an object; it must not be changed."""
        return self._states.get(path)

    def items(self) -> Iterator[tuple[str, SyncState]]:
        """Yield (path, state). Do not await while going through it."""
        return iter(self._states.items())

    def update(self, path: str, change: Change, *, lazy: bool = False) -> tuple[SyncState | None, SyncState]:
        """Make an object's next state out of the one that is known now; return both.

        There is no other way to set one: a state that was read before an await may be old after it, and would
        take back what was learned meanwhile. `lazy` may hold the write back.
        """
        before = self._states.get(path)
        after = carry(before, change(before))
        had = len(before.status) if before is not None else 0
        if len(after.status) > max(had, SMALL_BYTES) and (
            self._status_bytes - had + len(after.status) > MAX_STATUS_TOTAL
        ):
            after = transitions.without_status(
                after, bound=f"at most {MAX_STATUS_TOTAL} for all of a cluster"
            )
        after = stamp(before, after, now=self._clock())
        if before != after:
            self._status_bytes += len(after.status) - had
            self._count(before, after)
            self._states[path] = after
            self._schedule(path, lazy=lazy)
        return before, after

    def drop(self, path: str) -> None:
        """Delete the state of an object."""
        before = self._states.pop(path, None)
        if before is not None:
            self._status_bytes -= len(before.status)
            self._count(before, None)
            self._schedule(path, lazy=False)

    def _count(self, before: SyncState | None, after: SyncState | None) -> None:
        if before is not None:
            self.phases[before.phase] -= 1
        if after is not None:
            self.phases[after.phase] += 1

    async def stored(self, path: str) -> None:
        """Wait until what is known of an object now is in the store."""
        if (timer := self._held.get(path)) is not None:
            timer.cancel()
            self._release(path)
        while path in self._ready or path in self._taken:
            await self._committed.wait()

    async def flush(self, timeout: float) -> bool:
        """Write everything that is held back; return whether it was all written within `timeout` seconds."""
        for path, timer in list(self._held.items()):
            timer.cancel()
            self._release(path)
        try:
            async with asyncio.timeout(timeout):
                await self._clean.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Write until cancelled. Raises FailedPreconditionError (`LEADERSHIP_LOST`) when the fence fails."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._ready:
                await self._tick()
                await self._write(self._take())
                self._taken.clear()
                self._committed.set()
                self._committed = asyncio.Event()
            if not self._held:
                self._clean.set()

    async def _tick(self) -> None:
        """Wait for the next tick, unless nothing was written for so long, or there is enough for a commit."""
        now = self._monotonic()
        if now - self._committed_at < TICK_SECONDS and len(self._ready) < MAX_OPS:
            await asyncio.sleep(TICK_SECONDS - now % TICK_SECONDS)

    async def _write(self, ops: list[Op]) -> None:
        self._committed_at = self._monotonic()
        there = Compare.exists(keys.cluster(self._cluster))
        large = sum(max(0, len(op.value) - SMALL_BYTES) for op in ops if isinstance(op, Put))
        await asyncio.sleep(self._large.take(self._committed_at, large))
        while True:
            try:
                result = await self._writer.commit([self._fence(), there], ops)
            except InvalidArgumentError as error:
                if not is_too_large(error):
                    raise
                before, ops = ops, self._shortened(ops, error)
                if not ops or ops == before:
                    return
                continue
            except NOT_NOW as error:
                _log.warning("sync states wait for the store", cluster=self._cluster, error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if not result.succeeded:
                raise FailedPreconditionError(
                    f"cluster {self._cluster} has left, or another syncer has taken it over: this one stops "
                    "writing for it",
                    reason="LEADERSHIP_LOST",
                    metadata={"cluster": self._cluster},
                )
            return

    def _shortened(self, ops: list[Op], error: InvalidArgumentError) -> list[Op]:
        """Return the operations without what makes them too large; what is still too large is not written."""
        shorter: list[Op] = []
        for op in ops:
            if not isinstance(op, Put) or len(op.value) <= MAX_BYTES:
                shorter.append(op)
                continue
            state = transitions.without_status(
                SyncState.FromString(op.value), bound="the store does not take it"
            )
            value = state.SerializeToString()
            if len(value) <= MAX_BYTES:
                shorter.append(Put(op.key, value))
            else:
                _log.error("a sync state is too large", cluster=self._cluster, key=op.key, error=str(error))
        return shorter

    def _take(self) -> list[Op]:
        now = self._monotonic()
        ops: list[Op] = []
        size = 0
        while self._ready and len(ops) < MAX_OPS:
            path = next(iter(self._ready))
            key = f"{keys.SYNCSTATES}/{path}/{self._cluster}"
            state = self._states.get(path)
            if state is None:
                self._written_at.pop(path, None)
                ops.append(Delete(key))
            else:
                value = state.SerializeToString()
                size += len(value)
                if ops and size > MAX_BYTES:
                    break
                self._written_at[path] = now
                ops.append(Put(key, value))
            del self._ready[path]
            self._taken.add(path)
        return ops

    def _schedule(self, path: str, *, lazy: bool) -> None:
        self._clean.clear()
        if path in self._ready:
            return
        held = self._held.get(path)
        wait = self._written_at.get(path, float("-inf")) + self._window - self._monotonic()
        if lazy and wait > 0:
            if held is None:
                self._held[path] = asyncio.get_running_loop().call_later(wait, self._release, path)
            return
        if held is not None:
            held.cancel()
        self._release(path)

    def _release(self, path: str) -> None:
        self._held.pop(path, None)
        self._ready[path] = None
        self._wake.set()
