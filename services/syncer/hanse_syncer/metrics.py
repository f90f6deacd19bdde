"""The syncer's instruments: what operators look at first.

Owns their names and units. Recording is safe from anywhere. Next: `hanse_syncer.reconciler`.
"""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from hanse.telemetry import DURATION_BUCKETS


class SyncerMetrics:
    """The instruments, made once per process."""

    def __init__(self, meter: Meter) -> None:
        self.applies = meter.create_histogram(
            "hanse.syncer.apply.duration",
            unit="s",
            description="Time of one apply to a member, by cluster and verdict.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )
        self.deletes = meter.create_counter(
            "hanse.syncer.removals", unit="{object}", description="Objects removed from members."
        )
        self.repairs = meter.create_counter(
            "hanse.syncer.drift.repairs",
            unit="{object}",
            description="Members' objects that were put right.",
        )
        self.orphans: dict[str, int] = {}
        """By cluster that this process holds: the orphans in it."""
        meter.create_observable_gauge(
            "hanse.syncer.orphans",
            callbacks=[self._observe_orphans],
            unit="{object}",
            description="Objects of ours in a member that nobody wants there.",
        )
        self.conflicts = meter.create_counter(
            "hanse.syncer.conflicts",
            unit="{object}",
            description="Times that an object was found in a member that is not ours.",
        )

    def _observe_orphans(self, options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(count, {"hanse.cluster": name}) for name, count in self.orphans.items()]
