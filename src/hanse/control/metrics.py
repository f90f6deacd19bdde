"""Metrics of work queues, by OpenTelemetry's naming, in seconds.

Owns `QueueMetrics`. Queues that belong together (one per cluster, say) share one. What happens for every
key costs two measurements; the depth is a number that is read when metrics are collected.

Concurrency: recorded from one loop; the depth is read by an exporter's thread.

Next: `hanse.control.queue`.
"""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from hanse.process.telemetry import DURATION_BUCKETS


class QueueMetrics:
    """How many keys wait, how long they waited, how long the work took, and how often it failed."""

    def __init__(self, name: str, provider: MeterProvider | None = None) -> None:
        """`name` is the attribute by which queues differ. One object per name and process."""
        self._attributes = {"hanse.queue.name": name}
        # One meter per name: a meter keeps only the first callback of instruments of one name.
        meter = (provider or metrics.get_meter_provider()).get_meter(f"hanse.queue.{name}")
        self._wait = meter.create_histogram(
            "hanse.queue.wait.duration",
            unit="s",
            description="Time that keys waited in a work queue.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )
        self._work = meter.create_histogram(
            "hanse.queue.work.duration",
            unit="s",
            description="Time that one look at a key took.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )
        self._retries = meter.create_counter(
            "hanse.queue.retries", unit="{key}", description="Keys added again because they failed."
        )
        meter.create_observable_gauge(
            "hanse.queue.depth",
            callbacks=[self._observe],
            unit="{key}",
            description="Keys that wait in a work queue.",
        )
        self._depth = 0

    def added(self) -> None:
        """Take note that a key was added."""
        self._depth += 1

    def dropped(self, count: int) -> None:
        """Keys that waited do not any more, without having been taken."""
        self._depth -= count

    def retried(self) -> None:
        """Take note that a key failed and will be looked at again."""
        self._retries.add(1, self._attributes)

    def taken(self, waited: float) -> None:
        """Take note that a key was taken after it had waited for some seconds."""
        self._depth -= 1
        self._wait.record(waited, self._attributes)

    def finished(self, worked: float) -> None:
        """Take note that the work on a key ended after some seconds."""
        self._work.record(worked, self._attributes)

    def _observe(self, options: CallbackOptions) -> Iterable[Observation]:
        return (Observation(self._depth, self._attributes),)
