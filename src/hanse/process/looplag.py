"""How late the event loop is: a metric in every service, and the stack of whatever holds it.

Owns `LoopWatchdog`. A beat on the loop measures how much later than due it comes; a thread looks at the
loop's stack when a beat is overdue by more than the bound, so that the log says what held it. No request,
member or policy may hold the loop for longer than `BOUND`: everybody else waits meanwhile.

Concurrency: the beat runs on the loop, one daemon thread beside it; they share plain attributes that each
writes alone.

Next: `hanse.service.runtime`, which runs one in every service.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from opentelemetry import metrics

from hanse.errors import InternalError
from hanse.process.telemetry import get_logger

BOUND = 0.05
"""Seconds for which nothing may hold the loop."""
BEAT = 0.02
"""Seconds between two measurements."""

_BUCKETS = (0.001, 0.005, 0.01, 0.025, BOUND, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_STUCK = 2.0  # seconds after which the stack is logged while the loop is still held
_LOG_GAP = 1.0  # seconds between two lines, so that a slow loop is not slowed by saying so
_FRAMES = 30
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """One time that the loop was held for longer than the bound.

    `seconds` is how late the beat was, `cpu_seconds` how much of that the loop's thread computed at most: on
    a busy machine the rest is somebody else's. `stack` is where the loop's thread was, "" if it was not seen.
    """

    seconds: float
    cpu_seconds: float
    stack: str


class LoopWatchdog:
    """Measures the running loop while it is entered. An async context manager."""

    def __init__(
        self,
        *,
        bound: float = BOUND,
        meter: metrics.Meter | None = None,
        on_held: Callable[[Held], None] | None = None,
    ) -> None:
        """`bound` is in seconds. `on_held` is called on the loop for every time it was exceeded; by default
        such times are logged, at most one a second."""
        self._bound = bound
        self._on_held = on_held or self._say
        self._lag = (meter or metrics.get_meter("hanse")).create_histogram(
            "hanse.event_loop.lag",
            unit="s",
            description="How much later than due the event loop came to run what was due.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._cpu = self._said = 0.0
        self._thread = 0
        self._seen = ""
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    async def __aenter__(self) -> Self:
        """Begin to measure the loop that runs this."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._schedule()
        self._watcher = threading.Thread(target=self._watch, name="loop-watchdog", daemon=True)
        self._watcher.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Measure what is left, and stop."""
        await asyncio.sleep(BEAT)
        self._stop.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.join(1.0)

    def _schedule(self) -> None:
        if self._loop is None:
            raise InternalError("the watchdog was not started")
        self._cpu = time.thread_time()
        self._due = time.monotonic() + BEAT
        self._timer = self._loop.call_later(BEAT, self._beat)

    def _beat(self) -> None:
        lag = max(0.0, time.monotonic() - self._due)
        self._lag.record(lag)
        if lag > self._bound:
            computed = min(lag, time.thread_time() - self._cpu)
            self._on_held(Held(lag, computed, self._seen))
        self._seen = ""
        self._schedule()

    def _watch(self) -> None:
        told = 0.0
        while not self._stop.wait(self._bound):
            due = self._due
            late = time.monotonic() - due
            if late > self._bound and not self._seen:
                self._seen = self._stack()
            if late > _STUCK and told != due:
                told = due
                _log.error("the event loop is held", seconds=round(late, 3), stack=self._seen)

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._thread)
        return "".join(traceback.format_stack(frame, _FRAMES)) if frame is not None else ""

    def _say(self, held: Held) -> None:
        now = time.monotonic()
        if now - self._said < _LOG_GAP:
            return
        self._said = now
        _log.warning(
            "the event loop was held",
            seconds=round(held.seconds, 3),
            cpu_seconds=round(held.cpu_seconds, 3),
            stack=held.stack,
        )
