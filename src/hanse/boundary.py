"""Where an exception about one object stops: one log line, one count, and the work on all others goes on.

Owns `Boundary`. Whoever calls code once per object (a follower's subscribers, a fold, a renderer, a row of a
table) catches `Exception` there and hands it to a boundary; what becomes of the object is the caller's to
decide, by one rule: its state is then unknown, and unknown moves and deletes nothing.

Concurrency: none of its own; a boundary belongs to one event loop. Next: `hanse.store.follow.collection` and
`hanse.kube.engine.cache`, which have one for all that they call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from opentelemetry import metrics

from hanse.errors import HanseError

_log = structlog.get_logger(__name__)

REMEMBERED: Final = 1024
"""Subjects of which a boundary knows what was said last, so that it does not say it again."""

MAX_REASON: Final = 512
"""Characters of a reason: what raised may quote the whole object."""


class Boundary:
    """Takes in the exceptions of one place, such as `follower clusters`."""

    def __init__(self, place: str) -> None:
        """`place` is what the log and the metric call it: few values, no names of objects."""
        self.place = place
        self._said: OrderedDict[str, str] = OrderedDict()
        self._errors = metrics.get_meter("hanse").create_counter(
            "hanse.object.errors",
            unit="{error}",
            description="Exceptions that were contained to one object, by place.",
        )

    def failed(self, subject: str, error: Exception) -> str:
        """Count the error and log it, once while it stays the same; return the reason in one line."""
        reason = reason_of(error)
        self._errors.add(1, {"place": self.place, "error.type": type(error).__name__})
        if self._said.get(subject) != reason:
            _log.error(
                "object_unreadable",
                place=self.place,
                subject=subject,
                error=reason,
                exc_info=None if isinstance(error, HanseError) else error,
            )
        self._said[subject] = reason
        self._said.move_to_end(subject)
        while len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        return reason

    @contextmanager
    def around(self, subject: str) -> Iterator[None]:
        """Contain what the block raises to `subject`."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - that is what a boundary is
            self.failed(subject, error)


def reason_of(error: Exception) -> str:
    """Return an exception in one line of bounded length."""
    said = error.message if isinstance(error, HanseError) else f"{type(error).__name__}: {error}"
    line = " ".join(said[: 2 * MAX_REASON].split())
    return line if len(line) <= MAX_REASON else f"{line[:MAX_REASON]}…"
