"""Tasks that no block of code encloses: who owns them, and how they end.

Work that one call starts and waits for is in an `asyncio.TaskGroup`, or in `first_of`, which runs several and
ends the others with the first. `OwnedTasks` is for what a group cannot be: an object that is opened by one
call and closed by another (a lease, a channel, a server, a follower that an exit stack closes), that starts
tasks from callbacks, or whose task may fail without cancelling whoever opened it. Nothing else in Hanse
starts a task by itself (a test looks). What an owner promises:
- a task is kept until it has ended, and none is left when `close` returns;
- an error is told in the log when it happens, once, unless whoever started the task tells it.

Concurrency: an owner belongs to one event loop; `start` may be called from callbacks.

Next: `hanse.control.leading` and `hanse.store.follow.list_watch`, which use both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class OwnedTasks:
    """The tasks of one object; `len` is how many run."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._untold: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, T], *, name: str, told: bool = False) -> asyncio.Task[T]:
        """Run `work`. With `told` its error is told by whoever asks the task for it."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        if not told:
            self._untold.add(task)
        task.add_done_callback(self._ended)
        return task

    async def drain(self) -> None:
        """Wait until all have ended by themselves, those too that they start."""
        while self._running:
            await asyncio.wait(self._running)
            await asyncio.sleep(0)  # for their callbacks

    async def close(self) -> None:
        """Cancel all, and wait until they have ended. They may be closed again, and started again."""
        for task in self._running:
            task.cancel()
        await self.drain()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if task in self._untold:
            self._untold.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("a task ended by an error", task=task.get_name(), exc_info=error)


async def first_of(*work: Coroutine[Any, Any, object]) -> None:
    """Run all until the first ends; the others are cancelled and have ended when this returns.

    Raises what one that ended by itself has raised.
    """
    tasks = [asyncio.get_running_loop().create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
