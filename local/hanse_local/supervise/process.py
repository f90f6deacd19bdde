"""One process that is kept running.

Owns its life: start, readiness, restart with growing pauses when it ends by itself, stop, kill. Its
output goes to its log, or nowhere if that cannot be opened. It dies with the supervisor (see
`hanse_local.supervise.guard`) and is deaf to Ctrl-C at the terminal, which is for the supervisor.

Concurrency: `run` is the only task that starts and reaps the process; other methods set what is wanted
and wake it. All in one loop. Nothing that goes wrong with one process (it cannot be started for want of
memory or descriptors, its log cannot be written) ends `run`: it is noted in `problem` and tried again.

Next: `hanse_local.supervise.supervisor`, which orders several.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from hanse.background import OwnedTasks
from hanse.errors import DataLossError
from hanse_local.supervise.identity import ProcessIdentity
from hanse_local.supervise.readiness import Always, Readiness

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 10.0
STEADY_SECONDS = 30.0
"""After running this long, a process that ends is restarted with the first pause again."""
STARTS_BEFORE_FAILURE = 3
"""A process that ended this often without ever having been ready makes the start of the federation fail."""
TROUBLE_SECONDS = 2.0
"""Time between two questions to a process that is ready how it is."""
_POLL = 0.05
_GUARD = Path(__file__).with_name("guard.py")
_log = logging.getLogger(__name__)


class ProcessState(StrEnum):
    """Where a process is in its life."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    PAUSED = "restarting"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run, and when it is ready."""

    name: str
    command: tuple[str, ...]
    tier: int
    """Tiers start in ascending order."""
    log: Path
    readiness: Readiness = field(default_factory=Always)
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the supervisor's own environment."""
    stop_tier: int | None = None
    """Stop tiers stop in descending order; None means the tier."""
    grace: float = 8.0
    """Seconds from SIGTERM to SIGKILL."""
    keeps: Path | None = None
    """What it has once it was ready, and without which it is not started again: it would start over."""


class Process:
    """One supervised process."""

    def __init__(
        self,
        spec: ProcessSpec,
        *,
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` tells seconds since the epoch, for what is shown; `monotonic` those of a steady run."""
        self._clock, self._monotonic = clock, monotonic
        self.spec = spec
        self.state = ProcessState.STOPPED
        self.identity: ProcessIdentity | None = None
        self.endpoints: dict[str, str] = {}
        self.starts = 0
        self.exit_code: int | None = None
        self.since = clock()
        self.ever_ready = False
        self.log_start = 0
        """Where the log was, in bytes, when it was last wanted again: what is before is of earlier runs."""
        self.trouble = ""
        """What a process that is ready says is wrong with it."""
        self.release = ""
        """Which release of Hanse it runs; empty while that is not known, and for what is none."""
        self.environment: dict[str, str] = {}
        """Added to the environment of the next start, over that of the spec."""
        self.problem = ""
        """Why it could not be started, or has no log; empty if nothing is in the way."""
        self._ends: deque[float] = deque(maxlen=1000)
        self._on_change = on_change
        self._wanted = False
        self._wake = asyncio.Event()
        self._tasks = OwnedTasks()
        self._popen: asyncio.subprocess.Process | None = None

    @property
    def failed_to_start(self) -> bool:
        """Whether it ended so often without having been ready that waiting makes no sense."""
        ended = self.exit_code is not None or self.identity is None
        return not self.ever_ready and ended and len(self._ends) >= STARTS_BEFORE_FAILURE

    @property
    def wanted(self) -> bool:
        """Whether it should run."""
        return self._wanted

    def ends_within(self, seconds: float) -> int:
        """Return how often it ended by itself, or could not be started, in the last `seconds`."""
        since = self._clock() - seconds
        return sum(end >= since for end in self._ends)

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return max(0, self.starts - 1)

    def start(self) -> None:
        """Want it to run. `run` must be running."""
        if not self._wanted:
            with suppress(OSError):
                self.log_start = self.spec.log.stat().st_size
        self._wanted = True
        self._wake.set()

    def kill(self) -> None:
        """Lose it, as a machine that loses power: SIGKILL, and no restart until `start`."""
        self._wanted = False
        self._wake.set()
        self._signal(signal.SIGKILL)

    async def stop(self, *, grace: float | None = None) -> None:
        """Ask it to end, kill it after `grace` seconds (default: the spec's), wait until it is gone."""
        self._wanted = False
        self._wake.set()
        popen = self._popen
        if popen is None or popen.returncode is not None:
            return
        self._set(ProcessState.STOPPING)
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(popen.wait(), self.spec.grace if grace is None else grace)
        if popen.returncode is None:
            self._signal(signal.SIGKILL)
        await popen.wait()

    async def run(self) -> None:
        """Keep it as wanted, until cancelled. A process that runs then is killed."""
        pause = FIRST_PAUSE
        try:
            while True:
                if not self._wanted:
                    self._set(ProcessState.STOPPED)
                    await self._sleep(None)
                    pause = FIRST_PAUSE
                    continue
                started = self._monotonic()
                await self._attempt()
                if self._monotonic() - started > STEADY_SECONDS:
                    pause = FIRST_PAUSE
                if self._wanted:
                    self._ends.append(self._clock())
                    self._set(ProcessState.PAUSED)
                    await self._sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
        finally:
            self._signal(signal.SIGKILL)

    async def _attempt(self) -> None:
        try:
            await self._run_once()
        except Exception as error:  # noqa: BLE001 - the supervisor outlives whatever befalls one process
            self.problem = f"cannot be started: {error}"
            _log.error("%s cannot be started, trying again: %s", self.spec.name, error)
            self._signal(signal.SIGKILL)
            self.identity = None
            self.exit_code = None
            self.endpoints = {}

    async def _run_once(self) -> None:
        spec = self.spec
        if self.ever_ready and spec.keeps is not None and not spec.keeps.exists():
            raise DataLossError(f"{spec.keeps} is gone, and it would begin with nothing: restore a backup")
        spec.readiness.reset()
        guard = (sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()))
        with ExitStack() as stack:
            problem, output = "", asyncio.subprocess.DEVNULL
            try:
                output = stack.enter_context(spec.log.open("ab")).fileno()
            except OSError as error:
                problem = f"its log {spec.log} cannot be opened: {error.strerror or error}"
            popen = await asyncio.create_subprocess_exec(
                *guard,
                *spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **spec.environment, **self.environment},
            )
        self._popen = popen
        self.problem = problem
        self.identity = ProcessIdentity.of(popen.pid)
        self.starts += 1
        self._set(ProcessState.STARTING)
        if not self._wanted:  # stopped while it was being started
            self._signal(signal.SIGKILL)
        self._tasks.start(self._follow(popen.pid), name=f"watch {self.spec.name}")
        try:
            self.exit_code = await popen.wait()
        finally:
            await self._tasks.close()
        self.identity = None
        self.endpoints = {}
        self.trouble = self.release = ""

    async def _follow(self, pid: int) -> None:
        """Wait until it is ready, then ask it how it is, again and again."""
        endpoints: dict[str, str] | None = None
        while endpoints is None:
            await asyncio.sleep(_POLL)
            endpoints = await self.spec.readiness.endpoints(pid)
        self.endpoints = endpoints
        self.ever_ready = True
        self.release = await self.spec.readiness.release(endpoints)
        if self.state is ProcessState.STARTING:
            self._set(ProcessState.READY)
        before = ""
        while True:
            await asyncio.sleep(TROUBLE_SECONDS)
            found = await self.spec.readiness.trouble(endpoints)
            # One answer that did not come in time says nothing yet.
            self.trouble = found if found == before or not found else self.trouble
            before = found

    async def _sleep(self, seconds: float | None) -> None:
        """Wait until something is wanted again, at most `seconds`."""
        self._wake.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    def _signal(self, number: signal.Signals) -> None:
        if self._popen is not None and self._popen.returncode is None:
            with suppress(ProcessLookupError):
                self._popen.send_signal(number)

    def _set(self, state: ProcessState) -> None:
        if state is not self.state:
            self.state = state
            self.since = self._clock()
            try:
                self._on_change()
            except Exception as error:  # noqa: BLE001 - who is told must not end what is told of
                _log.error("a change of %s could not be told: %s", self.spec.name, error)
