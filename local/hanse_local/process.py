"""One process that is kept running.

Owns its life: start, readiness, restart with growing pauses when it ends by itself, stop, kill. Its
output goes to its log. It dies with the supervisor (see `hanse_local.guard`) and is deaf to Ctrl-C at
the terminal, which is for the supervisor.

Concurrency: `run` is the only task that starts and reaps the process; other methods set what is wanted
and wake it. All in one loop.

Next: `hanse_local.supervisor`, which orders several.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from hanse_local.identity import ProcessIdentity
from hanse_local.readiness import Always, Readiness

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 10.0
STEADY_SECONDS = 30.0
"""After running this long, a process that ends is restarted with the first pause again."""
STARTS_BEFORE_FAILURE = 3
"""A process that ended this often without ever having been ready makes the start of the federation fail."""
_POLL = 0.05
_GUARD = Path(__file__).with_name("guard.py")


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


class Process:
    """One supervised process."""

    def __init__(self, spec: ProcessSpec, *, on_change: Callable[[], None] = lambda: None) -> None:
        self.spec = spec
        self.state = ProcessState.STOPPED
        self.identity: ProcessIdentity | None = None
        self.endpoints: dict[str, str] = {}
        self.starts = 0
        self.exit_code: int | None = None
        self.since = time.time()
        self.ever_ready = False
        self.log_start = 0
        """Where the log was, in bytes, when it was last wanted anew: what is before is of earlier runs."""
        self._on_change = on_change
        self._wanted = False
        self._wake = asyncio.Event()
        self._popen: asyncio.subprocess.Process | None = None

    @property
    def failed_to_start(self) -> bool:
        """Whether it ended so often without having been ready that waiting makes no sense."""
        return not self.ever_ready and self.exit_code is not None and self.starts >= STARTS_BEFORE_FAILURE

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return max(0, self.starts - 1)

    def start(self) -> None:
        """Want it to run. `run` must be running."""
        if not self._wanted:
            with suppress(FileNotFoundError):
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
                started = time.monotonic()
                await self._run_once()
                if time.monotonic() - started > STEADY_SECONDS:
                    pause = FIRST_PAUSE
                if self._wanted:
                    self._set(ProcessState.PAUSED)
                    await self._sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
        finally:
            self._signal(signal.SIGKILL)

    async def _run_once(self) -> None:
        spec = self.spec
        spec.readiness.reset()
        guard = (sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()))
        with spec.log.open("ab") as log:
            popen = await asyncio.create_subprocess_exec(
                *guard,
                *spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **spec.environment},
            )
        self._popen = popen
        self.identity = ProcessIdentity.of(popen.pid)
        self.starts += 1
        self._set(ProcessState.STARTING)
        if not self._wanted:  # stopped while it was being started
            self._signal(signal.SIGKILL)
        watcher = asyncio.create_task(self._await_ready(popen.pid))
        try:
            self.exit_code = await popen.wait()
        finally:
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher
        self.identity = None
        self.endpoints = {}

    async def _await_ready(self, pid: int) -> None:
        endpoints: dict[str, str] | None = None
        while endpoints is None:
            await asyncio.sleep(_POLL)
            endpoints = await self.spec.readiness.endpoints(pid)
        self.endpoints = endpoints
        self.ever_ready = True
        if self.state is ProcessState.STARTING:
            self._set(ProcessState.READY)

    async def _sleep(self, seconds: float | None) -> None:
        """Wait until something is wanted anew, at most `seconds`."""
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
            self.since = time.time()
            self._on_change()
