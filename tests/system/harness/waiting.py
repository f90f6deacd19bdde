"""Waiting for a federation or a member: what has not come yet, and what failed on the way, is no answer.

Concurrency: blocks the calling thread. Next: `tests.support.waiting`; `api`, whose answers are waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tests.support.waiting import SECONDS, wait_until

from .api import ApiError

T = TypeVar("T")
# What may happen while something is on its way.
NOT_YET = (AssertionError, ApiError, LookupError, OSError)


def until(condition: Callable[[], T], *, what: str, seconds: float = SECONDS) -> T:
    """Return the first true answer of `condition`. Raises AssertionError after `seconds` without one."""
    return wait_until(condition, what=what, seconds=seconds, not_yet=NOT_YET)


def until_passes(check: Callable[[], object], *, what: str, seconds: float = SECONDS) -> None:
    """Wait until `check`, a function of assertions, raises nothing."""

    def passes() -> bool:
        check()
        return True

    until(passes, what=what, seconds=seconds)
