"""The controller: takes keys from a queue and reconciles them, some at once.

Owns `Controller`. A failure is retried with the queue's backoff (later if the error says so), a
TerminalError is logged and not retried, a look that takes longer than `timeout` fails. Nothing that a
reconciler raises stops the controller.

Concurrency: one task per key in work, at most `workers` at once, which may be changed while it runs (a
pipeline that adapts to a member does). The same key is never in two tasks. All tasks end before `run`
returns.

Next: `hanse.control.ring`, for sharing keys out among processes.
"""

from __future__ import annotations

import asyncio

from opentelemetry import metrics

from hanse.control.queue import QueueClosed, WorkQueue
from hanse.control.reconcile import Reconciler, Request, Result, TerminalError
from hanse.errors import DeadlineError, HanseError
from hanse.process.telemetry import get_logger

DEFAULT_TIMEOUT = 60.0


class Controller:
    """Runs a reconciler over the keys of a queue."""

    def __init__(
        self,
        name: str,
        reconciler: Reconciler,
        queue: WorkQueue,
        *,
        workers: int = 4,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> None:
        """`workers` is how many keys are worked on at once; `timeout` (seconds) is for one look."""
        self.name = name
        self.queue = queue
        self._reconciler = reconciler
        self._workers = max(1, workers)
        self._timeout = timeout
        self._active = 0
        self._changed = asyncio.Event()
        self._log = get_logger(__name__, controller=name)
        self._failed = metrics.get_meter("hanse").create_counter(
            "hanse.reconcile.failures", unit="{key}", description="Looks at keys that failed, by how."
        )

    @property
    def workers(self) -> int:
        """How many keys are worked on at once. May be set while running; never below 1."""
        return self._workers

    @workers.setter
    def workers(self, count: int) -> None:
        self._workers = max(1, count)
        self._changed.set()

    @property
    def active(self) -> int:
        """How many keys are being worked on now."""
        return self._active

    async def run(self) -> None:
        """Work until the queue is closed and empty, or the task is cancelled.

        On cancellation the looks in flight are cancelled too, and have ended when this returns.
        """
        async with asyncio.TaskGroup() as group:
            while True:
                while self._active >= self._workers:
                    self._changed.clear()
                    await self._changed.wait()
                try:
                    key = await self.queue.get()
                except QueueClosed:
                    return
                self._active += 1
                group.create_task(self._work(key), name=f"{self.name} {key}")

    async def drain(self, *, timeout: float) -> bool:
        """Close the queue and wait until `run` has nothing left. Returns whether it ended in time."""
        self.queue.close()
        try:
            async with asyncio.timeout(timeout):
                while self._active or len(self.queue):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _work(self, key: str) -> None:
        try:
            await self._look(key)
        finally:
            self._active -= 1
            self.queue.done(key)
            self._changed.set()

    async def _look(self, key: str) -> None:
        try:
            async with asyncio.timeout(self._timeout) as deadline:
                result = await self._reconciler.reconcile(Request(key))
        except TerminalError as error:
            self.queue.forget(key)
            self._log.warning("cannot be reconciled", key=key, error=str(error), reason=error.reason)
            self._count(error.reason)
        except TimeoutError as error:
            if not deadline.expired():
                self._retry(key, error)
            else:
                self._retry(key, DeadlineError(f"{self.name} took more than {self._timeout} s for {key}"))
        except Exception as error:  # noqa: BLE001 - the edge of the loop: logged and retried, never lost
            self._retry(key, error)
        else:
            self.queue.forget(key)
            self._again(key, result)

    def _again(self, key: str, result: Result | None) -> None:
        if result is not None and result.requeue_after is not None:
            # A look that wants another one at once still lets the loop and other keys have a turn.
            self.queue.add_after(key, max(result.requeue_after, 0.001))

    def _retry(self, key: str, error: Exception) -> None:
        at_least = error.retry_after or 0.0 if isinstance(error, HanseError) else 0.0
        delay = self.queue.retry(key, at_least=at_least)
        failures = self.queue.failures(key)
        self._count(error.reason if isinstance(error, HanseError) else type(error).__name__)
        if isinstance(error, HanseError):
            self._log.warning(
                "will be tried again",
                key=key,
                error=str(error),
                reason=error.reason,
                failures=failures,
                delay_seconds=round(delay, 3),
            )
        else:
            self._log.error("failed unexpectedly", key=key, failures=failures, exc_info=error)

    def _count(self, kind: str) -> None:
        self._failed.add(1, {"hanse.controller.name": self.name, "error.type": kind})
