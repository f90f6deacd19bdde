"""The syncer's instruments: what operators look at first.

Owns their names and units. Recording is safe from anywhere. Next: `hanse_syncer.act.reconciler`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from hanse.api.syncer.v1.sync_state_pb2 import SyncPhase
from hanse.process.telemetry import DURATION_BUCKETS

PHASES = tuple(SyncPhase.items())[1:]


class CountedStates(Protocol):
    """What is counted of the sync states of a cluster."""

    @property
    def phases(self) -> Mapping[int, int]:
        """How many there are of each phase."""


class CountedCluster(Protocol):
    """A cluster that this process keeps."""

    @property
    def states(self) -> CountedStates:
        """Its sync states."""


class SyncerMetrics:
    """The instruments, made once per process."""

    def __init__(self, meter: Meter, held: Mapping[str, CountedCluster] | None = None) -> None:
        """`held` has the clusters that this process keeps, as of now, by name."""
        self._held: Mapping[str, CountedCluster] = {} if held is None else held
        meter.create_observable_gauge(
            "hanse.syncer.clusters",
            callbacks=[lambda _: [Observation(len(self._held))]],
            unit="{cluster}",
            description="Clusters that this process keeps.",
        )
        meter.create_observable_gauge(
            "hanse.syncer.sync_states",
            callbacks=[self._observe_states],
            unit="{object}",
            description="Objects in clusters that this process keeps, by cluster and phase.",
        )
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

    def begin(self, cluster: str) -> None:
        """Take note that this process keeps a cluster from now on: what is counted of it is there, and 0."""
        for counter in (self.deletes, self.repairs, self.conflicts):
            counter.add(0, {"hanse.cluster": cluster})

    def _observe_states(self, options: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(each.states.phases.get(number, 0), {"hanse.cluster": name, "hanse.phase": phase})
            for name, each in self._held.items()
            for phase, number in PHASES
        ]

    def _observe_orphans(self, options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(count, {"hanse.cluster": name}) for name, count in self.orphans.items()]
