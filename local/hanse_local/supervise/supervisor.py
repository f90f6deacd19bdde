"""Several processes in order: tiers start one after the other, and stop in an order
of their own.

Owns the `Process`es of a federation and run/processes.json, the list of what runs, from which the next
start ends what a crash left behind.

Concurrency: one task per process in one TaskGroup; `start`, `stop` and the queries are called from the
same loop.

Next: `hanse_local.federation`, which says what the processes are.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hanse.background import OwnedTasks
from hanse.errors import FailedPreconditionError, NotFoundError
from hanse_local.supervise.files import DAMAGED, OwnFiles
from hanse_local.supervise.identity import ProcessIdentity
from hanse_local.supervise.process import Process, ProcessSpec, ProcessState
from hanse_local.verdict import CRASH_LOOP_SECONDS

TAIL_LINES = 15
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,\d]*(Z|[+-]\d\d:?\d\d)?")
_POLL = 0.05


class StartError(Exception):
    """A process did not become ready. `tail` is the end of its `log`."""

    def __init__(self, process: str, *, problem: str, log: Path, tail: str) -> None:
        super().__init__(f"{process} {problem}; its log is {log}")
        self.process = process
        self.problem = problem
        self.log = log
        self.tail = tail


class Supervisor:
    """Keeps processes running. Use as an async context manager; leaving it stops everything in order."""

    def __init__(
        self,
        specs: Iterable[ProcessSpec],
        *,
        record: Path,
        on_change: Callable[[], None] = lambda: None,
        files: OwnFiles | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._record = record
        self._files = files or OwnFiles()
        self._on_change = on_change
        self._monotonic = monotonic
        self._processes = {
            spec.name: Process(spec, on_change=self._changed, clock=clock, monotonic=monotonic)
            for spec in specs
        }
        self._tasks = OwnedTasks()
        self.hurry = asyncio.Event()
        """Set it to stop without waiting for anybody's grace."""

    async def __aenter__(self) -> Self:
        end_leftovers(self._record)
        for name, process in self._processes.items():
            self._tasks.start(process.run(), name=f"supervise {name}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.stop()
        finally:
            await self._tasks.close()
            self._files.remove(self._record)

    @property
    def processes(self) -> tuple[Process, ...]:
        """All processes, in the order in which they start."""
        return tuple(sorted(self._processes.values(), key=lambda process: process.spec.tier))

    def process(self, name: str) -> Process:
        """Return the process called `name`. Raises NotFoundError."""
        try:
            return self._processes[name]
        except KeyError:
            known = ", ".join(self._processes)
            raise NotFoundError(f"there is no process {name}: there are {known}") from None

    async def start(self, *, timeout: float, through: int | None = None) -> None:
        """Start tier after tier, each when the one before is ready; `through` is the last one, if not all.

        Raises StartError if a process ends again and again, or is not ready `timeout` seconds after
        its tier was started.
        """
        for number, tier in groupby(self.processes, key=lambda process: process.spec.tier):
            if through is not None and number > through:
                return
            members = tuple(tier)
            for process in members:
                process.start()
            await self._ready(members, timeout=timeout)

    async def await_ready(self, name: str, *, timeout: float) -> None:
        """Wait until one process is ready. Raises StartError."""
        await self._ready((self.process(name),), timeout=timeout)

    async def stop(self) -> None:
        """Stop the highest stop tier first, the members of one at the same time."""
        last_first = sorted(self.processes, key=_stop_tier, reverse=True)
        for _, tier in groupby(last_first, key=_stop_tier):
            await asyncio.gather(*(self._stop(process) for process in tier))

    async def _stop(self, process: Process) -> None:
        orderly = self._tasks.start(process.stop(), name=f"stop {process.spec.name}", told=True)
        hurry = self._tasks.start(self.hurry.wait(), name="hurry")
        await asyncio.wait({orderly, hurry}, return_when=asyncio.FIRST_COMPLETED)
        if not orderly.done():
            process.kill()
        hurry.cancel()
        await orderly

    async def _ready(self, members: tuple[Process, ...], *, timeout: float) -> None:
        deadline = self._monotonic() + timeout
        while waiting := [process for process in members if process.state is not ProcessState.READY]:
            for process in waiting:
                if process.failed_to_start:
                    ended = f"ended with status {process.exit_code} before it was ready"
                    raise _failure(process, ended if process.exit_code is not None else process.problem)
            if self._monotonic() > deadline:
                raise _failure(waiting[0], f"was not ready after {timeout:.0f} s")
            await asyncio.sleep(_POLL)

    def describe(self) -> list[dict[str, Any]]:
        """Return the processes for `hanse status`, as plain values. `since` is in seconds since the epoch."""
        return [
            {
                "name": process.spec.name,
                "state": str(process.state),
                "wanted": process.wanted,
                "pid": process.identity.pid if process.identity else None,
                "alive": process.identity is not None and process.identity.alive,
                "restarts": process.restarts,
                "recent_restarts": _recent_restarts(process),
                "trouble": process.trouble,
                "release": process.release,
                "problem": process.problem,
                "last_line": _last_line(process),
                "exit_code": process.exit_code,
                "since": process.since,
                "endpoints": dict(process.endpoints),
                "log": str(process.spec.log),
            }
            for process in self.processes
        ]

    def _changed(self) -> None:
        running = {
            name: {"pid": process.identity.pid, "started": process.identity.started}
            for name, process in self._processes.items()
            if process.identity
        }
        self._files.write(self._record, json.dumps(running).encode())
        self._on_change()


def _stop_tier(process: Process) -> int:
    spec = process.spec
    return spec.tier if spec.stop_tier is None else spec.stop_tier


def _failure(process: Process, problem: str) -> StartError:
    tail = tail_of(process.spec.log, since=process.log_start)
    return StartError(process.spec.name, problem=problem, log=process.spec.log, tail=tail)


def _recent_restarts(process: Process) -> int:
    """Return how often it was started again in the window of a crash loop."""
    ends = process.ends_within(CRASH_LOOP_SECONDS)
    return max(0, ends - (process.state is ProcessState.PAUSED))


def _last_line(process: Process) -> str:
    """Return the last line that a process which has ended before left in its log; empty for one that never
    did.
    """
    if process.exit_code is None:
        return ""
    return tail_of(process.spec.log, since=process.log_start, lines=1)


def tail_of(log: Path, *, since: int, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log after its first `since` bytes; empty if it cannot be read.

    Of lines that differ in their time alone, as those of several attempts do, only the last is there.
    """
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(since, log.stat().st_size - 64 * 1024))
        found = file.read().decode(errors="replace").splitlines()
        last = {_TIME.sub("", line): index for index, line in enumerate(found)}
        return "\n".join([found[index] for index in sorted(last.values())][-lines:])
    return ""


def end_leftovers(record: Path, *, grace: float = 5.0) -> list[str]:
    """End the processes in `record` that still run after a crash of their supervisor; return their names.

    A pid that now means another process is left alone. Raises FailedPreconditionError if one cannot be
    ended.
    """
    try:
        document = json.loads(record.read_text())
        recorded = {
            str(name): ProcessIdentity(int(entry["pid"]), str(entry["started"]))
            for name, entry in document.items()
        }
    except (OSError, *DAMAGED):
        return []
    ended: list[str] = []
    for name, identity in recorded.items():
        if identity.alive:
            identity.end(grace=grace)
            if identity.alive:
                raise FailedPreconditionError(
                    f"{name} (pid {identity.pid}) is left from a run before and does not end: end it by hand"
                )
            ended.append(name)
    with suppress(OSError):  # pids that are gone count for nothing
        record.unlink(missing_ok=True)
    return ended
