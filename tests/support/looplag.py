"""Fails a test in which the event loop was held for longer than the product may hold it.

What counts is what the loop's thread computed, so that a busy machine fails nobody. A test that sends or
reads much does so from another thread (`asyncio.to_thread`), or it measures itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hanse.process.looplag import BOUND, Held, LoopWatchdog


@asynccontextmanager
async def responsive(bound: float = BOUND) -> AsyncIterator[list[Held]]:
    """Let the block hold the loop for at most `bound` seconds of computing at a time."""
    held: list[Held] = []
    async with LoopWatchdog(bound=bound, on_held=held.append):
        yield held
    found = [each for each in held if each.cpu_seconds > bound]
    worst = max(found, key=lambda each: each.cpu_seconds, default=None)
    assert worst is None, (
        f"the event loop was held {len(found)} times, at worst for {worst.cpu_seconds:.3f} s:\n{worst.stack}"
    )
