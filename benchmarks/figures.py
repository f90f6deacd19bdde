"""The arithmetic: from times of calls and arrivals to throughput and percentiles, and their ratios.

Pure functions and values. All times are seconds of CLOCK_MONOTONIC.

Next: `sections`, which says what is compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Figures:
    """What one step came to."""

    objects: int
    """Objects that arrived in all members."""
    missing: int
    """Objects that did not, or whose call failed."""
    seconds: float
    """From the first call to the last arrival in the last member."""
    p50: float
    """Seconds from the client's call to the last member's watch event, median over the objects."""
    p99: float
    """The same, 99th percentile."""
    answer_p50: float
    """Seconds from the client's call to the answer (of the slowest target), median."""
    overlapped: int = 0
    """Objects whose arrival was later than the next object's call: then it was not one at a time."""
    errors: tuple[str, ...] = ()

    @property
    def per_second(self) -> float:
        """Objects that were complete in all members per second."""
        return self.objects / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Call:
    """One object at all targets."""

    name: str
    start: float
    end: float
    error: str = ""


def percentile(values: Sequence[float], fraction: float) -> float:
    """Return the smallest value that at least `fraction` of the values do not exceed (nearest rank); NaN of
    none.
    """
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def figures(calls: Sequence[Call], arrivals: Mapping[str, Mapping[str, float]]) -> Figures:
    """Join the calls with `arrivals` (member to name to time)."""
    complete: dict[str, float] = {}
    for call in calls:
        times = [seen.get(call.name) for seen in arrivals.values()]
        found = [time for time in times if time is not None]
        if times and len(found) == len(times) and not call.error:
            complete[call.name] = max(found)
    delays = [complete[call.name] - call.start for call in calls if call.name in complete]
    ordered = sorted(calls, key=lambda call: call.start)
    following = {call.name: after.start for call, after in pairwise(ordered)}
    return Figures(
        objects=len(complete),
        missing=len(calls) - len(complete),
        seconds=max(complete.values()) - ordered[0].start if complete else 0.0,
        p50=percentile(delays, 0.5),
        p99=percentile(delays, 0.99),
        answer_p50=percentile([call.end - call.start for call in calls if not call.error], 0.5),
        overlapped=sum(1 for name, time in complete.items() if time > following.get(name, math.inf)),
        errors=tuple(dict.fromkeys(call.error for call in calls if call.error))[:5],
    )


def median_run(runs: Sequence[Figures]) -> Figures:
    """Return the run with the median throughput, so that its figures belong together. Raises on no runs."""
    ordered = sorted(runs, key=lambda run: (run.objects, run.per_second))
    return ordered[(len(ordered) - 1) // 2]
