"""The syncer's instruments: what operators look at first.

Owns their names and units. Recording is safe from anywhere. Next: `hanse_syncer.reconciler`.
"""

from __future__ import annotations

from opentelemetry.metrics import Meter

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
        self.orphans = meter.create_counter(
            "hanse.syncer.orphans",
            unit="{object}",
            description="Times that an object of ours was found in a member that nobody asked for.",
        )
        self.conflicts = meter.create_counter(
            "hanse.syncer.conflicts",
            unit="{object}",
            description="Times that an object was found in a member that is not ours.",
        )
