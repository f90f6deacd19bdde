"""Objects that must not run in two clusters at the same time: where one may be, and when it may begin there.

Owns `Exclusivity`, what `hanse.federation.exclusive` says of one object and its policy, and `hold_back`: as
long as a cluster that the object leaves has not confirmed that nothing is left, no new cluster gets it. Of a
cluster that does not answer nobody knows that, however long it takes.

Pure. Next: `hanse_scheduler.decide.decision`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from hanse.federation.exclusive import in_one_cluster, is_marked, stops_first
from hanse.kube.kinds.kubernetes import batch
from hanse_scheduler.decide.candidates import Candidates
from hanse_scheduler.decide.inputs import DecisionInput

WAITS: Final = "WaitsForRelease"
"""Reason of the refusal of a cluster that gets the object as soon as another has let go of it."""
ONE_CLUSTER: Final = "it must not run in two clusters, and another was chosen"
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Exclusivity:
    """Whether an object is in one cluster at most, whether it stops first, and whether it is marked so."""

    one_cluster: bool
    stops_first: bool
    marked: bool


def exclusivity_of(inputs: DecisionInput) -> Exclusivity:
    """Return what holds for the object of a decision."""
    key, policy = inputs.key, inputs.policy
    marked = is_marked(inputs.obj) or (policy is not None and policy.at_most_one)
    duplicated = policy is not None and policy.mode == "Duplicated"
    return Exclusivity(
        one_cluster=in_one_cluster(key.group, key.resource, marked=marked, duplicated=duplicated),
        stops_first=stops_first(key.group, key.resource, marked=marked),
        marked=marked,
    )


def waits_for_release(inputs: DecisionInput, exclusivity: Exclusivity) -> bool:
    """Return whether new clusters have to wait; the runs of a Job say that for each share of its work."""
    is_job = (inputs.key.group, inputs.key.resource) == batch.JOB.group_plural
    return exclusivity.stops_first and (exclusivity.marked or not is_job)


def hold_back(candidates: Candidates, *, placed: Collection[str], leaving: Sequence[str]) -> list[str]:
    """Refuse the clusters that would get the object while `leaving` may still run it; return them."""
    if not leaving:
        return []
    more = f" and {len(leaving) - _NAMED} more" if len(leaving) > _NAMED else ""
    others = f"{', '.join(leaving[:_NAMED])}{more}"
    message = (
        f"it must not run in two clusters, and nothing says yet that it has stopped in {others}; if that is "
        "gone for good, unjoin it with --force"
    )
    held = [name for name in candidates.chosen if name not in placed]
    for name in held:
        candidates.refuse(name, (WAITS, message))
    return held
