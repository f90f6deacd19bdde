"""Waiting for what comes about by itself: until a condition holds, with a deadline, and never for time alone.

`until` is for coroutines and goes by the loop's clock, so that it works in virtual time; `wait_until` blocks
the thread that calls it. Both return the first true answer, and say in an AssertionError what was waited for,
and what was seen last.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, overload

T = TypeVar("T")

SECONDS: Final = 30.0
"""How long is waited: much longer than anything takes, since only a failing test waits so long."""


@overload
async def until(
    probe: Callable[[], Awaitable[T]],
    *,
    what: str = "it",
    seconds: float = SECONDS,
    every: float = 0.01,
    not_yet: tuple[type[Exception], ...] = (),
) -> T: ...


@overload
async def until(
    probe: Callable[[], T],
    *,
    what: str = "it",
    seconds: float = SECONDS,
    every: float = 0.01,
    not_yet: tuple[type[Exception], ...] = (),
) -> T: ...


async def until(
    probe: Callable[[], Any],
    *,
    what: str = "it",
    seconds: float = SECONDS,
    every: float = 0.01,
    not_yet: tuple[type[Exception], ...] = (),
) -> Any:
    """Call `probe`, await what it returns if that can be awaited, until the answer is true; return it.

    Errors of `not_yet` count as no answer. Raises AssertionError after `seconds`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        seen: object
        try:
            given = probe()
            answer = await given if isinstance(given, Awaitable) else given
            if answer:
                return answer
            seen = answer
        except not_yet as error:
            seen = f"{type(error).__name__}: {error}"
        if loop.time() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {seen}")
        await asyncio.sleep(every)


def wait_until(
    probe: Callable[[], T],
    *,
    what: str = "it",
    seconds: float = SECONDS,
    every: float = 0.05,
    not_yet: tuple[type[Exception], ...] = (),
) -> T:
    """Call `probe` until the answer is true; return it. Errors of `not_yet` count as no answer.

    Raises AssertionError after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen: object
        try:
            answer = probe()
            if answer:
                return answer
            seen = answer
        except not_yet as error:
            seen = f"{type(error).__name__}: {error}"
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {seen}")
        time.sleep(every)
