"""Which clusters an object goes to, of those that it may go to and those where it is already.

Owns `Candidates` and the two steps that make them: where the object is decides what eligibility means (a
taint keeps a new object out and lets one stay), and a policy can allow fewer clusters than are eligible. A
cluster that holds objects of a namespace keeps the namespace, whatever else holds.

What a limit allows are clusters that serve their share. One that has lost it does not count: for longer than
the toleration it is out of reach, or refuses the object or all its Pods, and nothing of it runs there. It
keeps its entry until it is back, and then those that have taken its place stay chosen.

Pure; time is an argument. Next: `hanse_scheduler.decide.filtering`, `hanse_scheduler.decide.spreading`,
`hanse_scheduler.decide.decision`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse_scheduler.decide.filtering import Eligibility
from hanse_scheduler.decide.inputs import Observed
from hanse_scheduler.decide.planner import Preferences
from hanse_scheduler.decide.policies import SpreadBy
from hanse_scheduler.decide.spreading import choose
from hanse_scheduler.reasons import LEFT_OUT_BY_LIMIT, Refusal
from hanse_scheduler.trace import DecisionTrace

_EVICTED: Final[Refusal] = (
    "Evicted",
    "it was evicted by request; rebalance the placement to let it in again",
)
_HOLDS_OBJECTS: Final[Refusal] = ("HoldsObjects", "objects in the namespace are or were placed there")
_FOLLOWS: Final[Refusal] = ("FollowsService", "its Service is placed there")
_NOWHERE: Final = ClusterPlacement()


@dataclass(slots=True)
class Candidates:
    """The clusters that have or get the object, and by cluster why the others do not.

    Both are of one decision, which takes clusters from one to the other; `reconsider_at` is in seconds since
    the epoch.
    """

    chosen: dict[str, Eligibility] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    reconsider_at: float = math.inf

    def choose(self, name: str, eligibility: Eligibility) -> None:
        """Take a cluster in, until the time at which the object must leave it."""
        self.chosen[name] = eligibility
        self.reconsider_at = min(self.reconsider_at, eligibility.leave_at)

    def refuse(self, name: str, refusal: Refusal) -> None:
        """Leave a cluster out."""
        self.chosen.pop(name, None)
        self.refused[name] = refusal


def candidates_of(
    eligible: Sequence[Eligibility],
    *,
    placed: Mapping[str, ClusterPlacement],
    contents: Collection[str],
    evicted: Collection[str],
    now: float,
    follows: bool = False,
) -> Candidates:
    """Return the clusters that have or get the object, and why the others do not.

    `placed` is where the object is placed now, `contents` where a namespace has something in it, `evicted`
    where somebody moved the object away from.
    """
    result, holding = Candidates(), _FOLLOWS if follows else _HOLDS_OBJECTS
    for each in eligible:
        name = each.cluster.name
        holds = name in contents
        if name in evicted and not holds:
            result.refuse(name, _EVICTED)
        elif now < each.leave_at and (name in placed or each.admits):
            result.choose(name, each)
        elif holds:
            result.choose(name, Eligibility(each.cluster, True, *holding, *holding))
        elif name in placed:
            result.refuse(name, (each.leave_reason, each.leave_message))
        else:
            result.refuse(name, (each.reason, each.message))
    return result


def note_candidates(
    candidates: Candidates, *, placed: Collection[str], trace: DecisionTrace, order: Sequence[Eligibility]
) -> None:
    """Note for every cluster whether it is a candidate, and why."""
    if not trace.enabled:
        return
    for name in (each.cluster.name for each in order):
        each = candidates.chosen.get(name)
        if each is None:
            reason, message = candidates.refused[name]
            trace.note("filter", f"no: {reason}: {message}", cluster=name)
            continue
        text = f"yes: {each.chosen_reason}: {each.chosen_message}"
        if name in placed:
            text += "; it is there already"
        if not each.admits:
            text += f"; a new object would be refused: {each.reason}: {each.message}"
        trace.note("filter", text, cluster=name)


@dataclass(frozen=True, slots=True)
class ClusterBound:
    """At most `clusters`, which differ in `spread_by` as far as they can; `message` says so of the others."""

    clusters: int
    spread_by: SpreadBy
    message: str


def without_share(
    candidates: Candidates,
    *,
    placed: Mapping[str, ClusterPlacement],
    observed: Mapping[str, Observed],
    toleration: float,
    now: float,
) -> frozenset[str]:
    """Return the clusters that have the object and have lost their share of it.

    `toleration` is in seconds, inf for an object that is not given to another cluster in such a case. The
    time at which the next one loses its share is a reason to decide again.
    """
    lost: set[str] = set()
    for name, each in candidates.chosen.items():
        entry, seen = placed.get(name), observed.get(name)
        if entry is None:
            continue
        if not each.cluster.reachable:
            until = -math.inf if entry.suspended else each.cluster.since + toleration
        elif seen is not None and seen.refusal and not (seen.removed or seen.replicas):
            until = seen.refused_since + toleration
        elif seen is not None and seen.refused_pods and seen.refused_pods >= (seen.replicas or 0):
            until = seen.refused_pods_since + toleration
        else:
            continue
        if now >= until:
            lost.add(name)
        else:
            candidates.reconsider_at = min(candidates.reconsider_at, until)
    return frozenset(lost)


def limit(
    candidates: Candidates,
    bound: ClusterBound,
    *,
    placed: Mapping[str, ClusterPlacement],
    lost: Collection[str],
    contents: Collection[str],
    preferences: Preferences,
    key: str,
) -> list[str]:
    """Refuse clusters until as many are left as the bound allows; return those that were refused.

    Those that are `lost` have no share, and do not count. `key` is `namespace/name`.
    """
    clusters = [each.cluster for _, each in sorted(candidates.chosen.items())]
    staying = {name for name, before in placed.items() if not (before.suspended or before.leaving)}
    running = {name for name in staying if _has_replicas(placed[name])}
    names = choose(
        [item for item in clusters if item.name not in lost],
        limit=bound.clusters,
        spread_by=bound.spread_by,
        placed=[running, staying, placed.keys()],
        preferences=preferences,
        key=key,
    )
    keep = {*lost, *names, *contents}
    left_out = [name for name in candidates.chosen if name not in keep]
    for name in left_out:
        candidates.refuse(name, (LEFT_OUT_BY_LIMIT, bound.message))
    return left_out


def replaced(candidates: Candidates, bound: ClusterBound, *, lost: Collection[str]) -> frozenset[str]:
    """Return which of the clusters out of reach others have taken the place of, after `limit`."""
    serving = [each for name, each in candidates.chosen.items() if name not in lost]
    if len(candidates.chosen) <= bound.clusters or not any(each.cluster.reachable for each in serving):
        return frozenset()
    return frozenset(name for name in lost if not candidates.chosen[name].cluster.reachable)


def _has_replicas(entry: ClusterPlacement) -> bool:
    """Return whether a cluster has any replicas in the end; what is not divided has."""
    if entry.HasField("target_replicas"):
        return entry.target_replicas > 0
    return entry.replicas > 0 or not entry.HasField("replicas")
