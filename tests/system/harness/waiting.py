"""Waiting for a condition with a deadline; the failure says what was last seen.

Concurrency: blocks the calling thread. Next: `api`, whose answers are waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from .api import ApiError

T = TypeVar("T")
POLL_SECONDS = 0.05
SECONDS = 30.0
# What may happen while something is on its way.
NOT_YET = (AssertionError, ApiError, LookupError, OSError)


def until(condition: Callable[[], T], *, what: str, seconds: float = SECONDS) -> T:
    """Return the first true answer of `condition`. Raises AssertionError after `seconds` without one."""
    deadline = time.monotonic() + seconds
    while True:
        seen: object
        try:
            answer = condition()
            if answer:
                return answer
            seen = answer
        except NOT_YET as error:
            seen = f"{type(error).__name__}: {error}"
        if time.monotonic() > deadline:
            raise AssertionError(f"not after {seconds:g} s: {what}; last seen: {seen}")
        time.sleep(POLL_SECONDS)


def until_passes(check: Callable[[], object], *, what: str, seconds: float = SECONDS) -> None:
    """Wait until `check`, a function of assertions, raises nothing."""

    def passes() -> bool:
        check()
        return True

    until(passes, what=what, seconds=seconds)
