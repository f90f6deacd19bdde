"""Control loops: one vocabulary for everything that makes the world what it should be.

- `reconcile`: Request, Result, Reconciler, TerminalError
- `queue`: WorkQueue, with two lanes, deduplication, delays and backoff
- `controller`: Controller, which takes keys and reconciles them
- `leading`: lead, the one loop in which a process leads an election
- `ring`: HashRing, which shares keys out among processes
- `metrics`: what is measured of them

Next: `hanse.control.reconcile`.
"""

from hanse.control.controller import Controller
from hanse.control.metrics import QueueMetrics
from hanse.control.queue import QueueClosed, WorkQueue
from hanse.control.reconcile import Reconciler, Request, Result, TerminalError
from hanse.control.ring import HashRing

__all__ = [
    "Controller",
    "HashRing",
    "QueueClosed",
    "QueueMetrics",
    "Reconciler",
    "Request",
    "Result",
    "TerminalError",
    "WorkQueue",
]
