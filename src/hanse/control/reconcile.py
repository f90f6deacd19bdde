"""The vocabulary of control loops: Request, Result, Reconciler, TerminalError.

A reconciler is level-based: it is given a key, never an event. It reads the world, computes the
difference with a pure function, applies it, and says when to look again. Running twice equals running
once.

Concurrency: a reconciler is never run for the same key twice at once; it is run for different keys at
once.

Next: `hanse.control.queue`, which decides what is looked at when.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hanse.errors import HanseError


@dataclass(frozen=True, slots=True)
class Request:
    """Look at this key. What it means is the controller's business; `hanse.store.keys` for most."""

    key: str


@dataclass(frozen=True, slots=True)
class Result:
    """How a look ended. `requeue_after` (seconds) asks for another look; None waits for a change."""

    requeue_after: float | None = None


class Reconciler(Protocol):
    """Brings what a key names to what it should be."""

    async def reconcile(self, request: Request) -> Result | None:
        """Do it. An exception means: try again with backoff; TerminalError means: do not."""


class TerminalError(HanseError):
    """Trying again does not help until something changes. Raise it `from` the error that says why."""

    default_reason = "TERMINAL"
