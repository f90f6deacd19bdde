"""Metrics of work queues and controllers, by OpenTelemetry's naming, in seconds.

Concurrency: recorded from one loop.

Next: `hanse.control.queue`.
"""

from __future__ import annotations

from opentelemetry import metrics
from opentelemetry.metrics import Meter

from hanse.telemetry import DURATION_BUCKETS


class QueueMetrics:
    """How many keys wait, how long they waited, and how long the work took."""

    def __init__(self, name: str, meter: Meter | None = None) -> None:
        """`name` is the queue's; metrics of all queues share instruments and differ in that attribute."""
        self._attributes = {"hanse.queue.name": name}
        self._meter = meter or metrics.get_meter("hanse")
        self._wait = self._meter.create_histogram(
            "hanse.queue.wait.duration",
            unit="s",
            description="Time that keys waited in a work queue.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )
        self._work = self._meter.create_histogram(
            "hanse.queue.work.duration",
            unit="s",
            description="Time that one look at a key took.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )
        self._adds = self._meter.create_counter(
            "hanse.queue.adds", unit="{key}", description="Keys added to a work queue."
        )
        self._retries = self._meter.create_counter(
            "hanse.queue.retries", unit="{key}", description="Keys added again because they failed."
        )
        self._depth = self._meter.create_up_down_counter(
            "hanse.queue.depth", unit="{key}", description="Keys that wait in a work queue."
        )
        self._started: dict[str, float] = {}

    def added(self) -> None:
        """A key was added."""
        self._adds.add(1, self._attributes)
        self._depth.add(1, self._attributes)

    def dropped(self, count: int) -> None:
        """Keys that waited do not any more, without having been taken."""
        self._depth.add(-count, self._attributes)

    def retried(self) -> None:
        """A key failed and will be looked at again."""
        self._retries.add(1, self._attributes)

    def taken(self, key: str, added: float, now: float) -> None:
        """A key that was added at `added` was taken at `now`, both in the loop's seconds."""
        self._started[key] = now
        self._depth.add(-1, self._attributes)
        self._wait.record(now - added, self._attributes)

    def finished(self, key: str, now: float) -> None:
        """The work on a key ended at `now`."""
        started = self._started.pop(key, None)
        if started is not None:
            self._work.record(now - started, self._attributes)
