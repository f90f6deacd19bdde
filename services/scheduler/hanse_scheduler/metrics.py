"""The scheduler's instruments of what is so now. Every scheduler shows them, from what it follows.

Next: `hanse_scheduler.state.scheduler_state`, which counts.
"""

from __future__ import annotations

from opentelemetry.metrics import Meter, Observation

from hanse.control.leading import observe_leading
from hanse_scheduler.leading import ELECTION, PlacementController
from hanse_scheduler.state.scheduler_state import SchedulerState


def observe(meter: Meter, *, state: SchedulerState, scheduler: PlacementController) -> None:
    """Have `meter` show whether this scheduler leads, and how many replicas are in no cluster."""
    observe_leading(meter, ELECTION, scheduler.leading.is_set)
    meter.create_observable_gauge(
        "hanse.replicas.unplaced",
        callbacks=[lambda _: [Observation(state.unplaced)]],
        unit="{replica}",
        description="Replicas that are asked for and in no cluster that answers.",
    )
