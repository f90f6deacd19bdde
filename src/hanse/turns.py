"""Long work in short turns, so that the event loop is never held for long by what is legitimate.

Owns `Turns`, one for each process that has such work. What can be cut is done in slices, and of all slices
one is done in a turn of the loop; what cannot be cut is done in a thread, one piece at a time, where the
interpreter changes between it and the loop every few milliseconds. Code in C that keeps the interpreter for
longer than the bound of `hanse.process.looplag` must be neither: it is bounded by the size of what it gets.

Concurrency: one loop. Next: `hanse.kube.server.representation` for lists, `hanse.kube.engine.resources.store`
for writes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SLICE_SECONDS = 0.005
"""How long one slice may take."""
SLICE_BYTES = 128 * 1024
"""How much one slice may make."""
LIGHT = 2000
"""Values in what is worked at in place; with more it goes to a thread."""


class Turns:
    """Gives long work its turns."""

    def __init__(self) -> None:
        self._slice = asyncio.Lock()
        self._thread = asyncio.Lock()

    async def batches(self, pieces: Iterable[bytes], *, size: int = SLICE_BYTES) -> AsyncIterator[bytes]:
        """Yield what `pieces` makes, joined, a slice of about `size` bytes at a time; empty pieces only give
        the loop its turn.

        Little work is done at once and waits for nobody.
        """
        iterator = iter(pieces)
        batch, done = _slice(iterator, size=size, seconds=SLICE_SECONDS / 5)
        if batch:
            yield batch
        while not done:
            async with self._slice:
                batch, done = _slice(iterator, size=size, seconds=SLICE_SECONDS)
                await asyncio.sleep(0)
            if batch:
                yield batch

    async def run(self, heavy: bool, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns: from a thread if it is `heavy`, else from here.

        The function must be pure: nothing that it reads may be changed in place meanwhile.
        """
        if heavy:
            return await self.in_thread(function, *args, **kwargs)
        return function(*args, **kwargs)

    async def in_thread(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns, from a thread."""
        async with self._thread:
            return await asyncio.to_thread(function, *args, **kwargs)


def is_heavy(value: object, limit: int = LIGHT) -> bool:
    """Report whether nested dicts and lists have more than `limit` values. Looks at no more than that."""
    left = limit
    rest: list[Any] = [value]
    while rest:
        each = rest.pop()
        if isinstance(each, dict):
            left -= len(each)
            if left < 0:
                return True
            rest.extend(each.values())
        elif isinstance(each, list):
            left -= len(each)
            if left < 0:
                return True
            rest.extend(each)
    return False


def _slice(pieces: Iterable[bytes], *, size: int, seconds: float) -> tuple[bytes, bool]:
    """Return the next pieces, and whether they were the last."""
    until = time.perf_counter() + seconds
    made: list[bytes] = []
    left = size
    for piece in pieces:
        made.append(piece)
        left -= len(piece)
        if left <= 0 or time.perf_counter() >= until:
            return b"".join(made), False
    return b"".join(made), True
