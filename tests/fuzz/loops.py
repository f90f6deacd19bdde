"""An event loop in a thread of its own, watched for how long it is held.

Owns `WatchedLoop`. A task wakes up every few milliseconds and compares how much processor time the thread has
used since: more than the bound means that something did not let the loop go on. Processor time, and not the
clock, so that other processes on the machine are not counted.

Next: `tests.fuzz.surfaces`, which serve in one and send from the thread of the fuzzer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

LAG_SECONDS = 0.050
"""How long no input may hold an event loop."""

_BEAT = 0.005


class WatchedLoop:
    """Runs coroutines in its thread; `worst` is the longest time for which one step has held it."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="watched", daemon=True)
        self._thread.start()
        self._beating: Future[None] = asyncio.run_coroutine_threadsafe(self._beat(), self._loop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _beat(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(_BEAT)
            self.worst = max(self.worst, time.thread_time() - before)

    def call(self, coroutine: Coroutine[Any, Any, T], *, timeout: float = 60.0) -> T:
        """Run a coroutine there and return what it returns. Raises TimeoutError."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    def reset(self) -> None:
        """Begin to measure again, after what runs now."""
        self.call(asyncio.sleep(0))
        self.worst = 0.0

    def settle(self) -> float:
        """Return the longest hold since the reset, with what is running now."""
        self.call(asyncio.sleep(2 * _BEAT))
        return self.worst

    def close(self) -> None:
        """Stop the loop and its thread."""
        self._beating.cancel()
        self.call(asyncio.sleep(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
