"""Objects on whose newest generation the scheduler has not decided yet, and until when that is waited for.

Owns `PendingDecisions`. An object and its placement come in one order of revisions, so a placement of an
earlier generation means that the scheduler's turn is now, which takes it some milliseconds. To act before
would write to each cluster twice, with the counts of the old decision first. If the scheduler takes longer,
or there is none, its last decision is acted on.

Concurrency: one event loop; one timer for each object, however many clusters it is placed in.

Next: `hanse_syncer.federation.state`, which asks and is called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.federation.references import is_same_object
from hanse_syncer.federation.intent import Intent

PATIENCE_SECONDS: Final = 1.0
"""How long a decision on the newest generation of an object is waited for."""


def is_decided(intent: Intent | None, placement: Placement | None) -> bool:
    """Return whether a placement is the decision on the object as it is now, or none is needed.

    None is needed on an object that is gone or being deleted, and without a placement it is nowhere.
    """
    if placement is None or intent is None or intent.deleting:
        return True
    same = is_same_object(intent.uid, placement.object.uid)
    return same and intent.generation == placement.generation


class PendingDecisions:
    """Waits for decisions, for `patience` seconds each; then calls `late` with the object's path."""

    def __init__(self, late: Callable[[str], None], *, patience: float = PATIENCE_SECONDS) -> None:
        self._late = late
        self._patience = patience
        self._timers: dict[str, asyncio.TimerHandle | None] = {}
        """None for one that is late."""

    def waits(self, path: str) -> bool:
        """Return whether a decision on the object is still waited for."""
        return self._timers.get(path) is not None

    def update(self, path: str, *, decided: bool) -> bool:
        """Take note of a change of an object or its placement; return whether to wait before acting on it.

        One whose decision is late is not waited for again before a decision has come.
        """
        if decided:
            timer = self._timers.pop(path, None)
            if timer is not None:
                timer.cancel()
            return False
        if path not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[path] = loop.call_later(self._patience, self._is_late, path)
        return self.waits(path)

    def close(self) -> None:
        """Wait for nothing any more."""
        for timer in self._timers.values():
            if timer is not None:
                timer.cancel()
        self._timers.clear()

    def _is_late(self, path: str) -> None:
        self._timers[path] = None
        self._late(path)
