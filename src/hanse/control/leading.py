"""Whether this process leads, as a metric that is there from the start.

Owns the gauge `hanse.leader`: 1 for the one that leads an election, 0 for those that stand by. Nobody leads
where the sum over all processes is 0.

Concurrency: read when metrics are collected.

Next: `hanse.store.election`.
"""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.metrics import Meter, Observation


def observe_leading(meter: Meter, election: str, leads: Callable[[], bool]) -> None:
    """Have `meter` show whether this process leads `election`, by asking `leads`."""
    meter.create_observable_gauge(
        "hanse.leader",
        callbacks=[lambda _: [Observation(int(leads()), {"hanse.election": election})]],
        unit="1",
        description="1 while this process leads the election, 0 while it stands by.",
    )
