"""How a workload's number is shared out over the clusters that it goes to.

Owns what is fed into the planner and what comes of it: which clusters count while some cannot be reached,
what runs where now, and what a cluster without replicas gets. Rules:

- What a cluster was assigned last is what runs there now; what it reports counts where it was told nothing.
- A cluster that is out of reach keeps its replicas for the toleration. Then it is suspended: its replicas
  count elsewhere until it is back, if there is a reachable cluster to take them.
- A cluster whose share is 0 gets nothing, unless it has the object already: there it is scaled to 0. An
  object that is to run 0 replicas in all goes everywhere with 0.
- Without `rebalance` what runs stays where it runs, as far as the total allows. Where that gives a cluster
  more or less than its share, the message says so.

Pure. Next: `hanse_scheduler.decide.planner` for the arithmetic, `hanse_scheduler.decide.once.job_division`
for Jobs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from hanse_scheduler.decide.clusters import MemberCluster
from hanse_scheduler.decide.planner import ClusterPreference, Preferences, plan

LEFT_OUT = ("NotInPreferences", "the replica preferences name neither it nor *")
"""Reason and message for a cluster that the preferences leave out."""


@dataclass(frozen=True, slots=True)
class ClusterReplicas:
    """A cluster that takes part, and how many replicas it has now.

    `assigned` is what it was assigned last, None if the object is not placed there; `reported` what it says
    that it runs, `unschedulable` how many of those it cannot run.
    """

    cluster: MemberCluster
    placed: bool = False
    suspended: bool = False
    assigned: int | None = None
    assigned_completions: int | None = None
    reported: int | None = None
    unschedulable: int = 0

    @property
    def current(self) -> int | None:
        """Return how many replicas run there, as far as is known."""
        return self.assigned if self.assigned is not None else self.reported

    @property
    def capacity(self) -> int | None:
        """Return how many it can run, None if it is not known to be full."""
        if self.unschedulable <= 0:
            return None
        running = self.reported if self.reported is not None else self.assigned
        return None if running is None else max(0, running - self.unschedulable)


@dataclass(frozen=True, slots=True)
class Share:
    """What one cluster gets. `run` is the number of a Job's run, 0 for other objects."""

    replicas: int
    completions: int | None = None
    suspended: bool = False
    message: str = ""
    run: int = 0


@dataclass(slots=True)
class Division:
    """Shares and refusals (reason, message) by cluster; `reconsider_at` is in seconds since the epoch.

    `unplaced` is how many replicas (completions, of a Job with a number of them) no cluster gets, `withheld`
    what may be done and is not started again.
    """

    shares: dict[str, Share] = field(default_factory=dict)
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    reconsider_at: float = math.inf
    notes: list[str] = field(default_factory=list)
    unplaced: int = 0
    withheld: int = 0


def divide(
    total: int,
    *,
    clusters: Sequence[ClusterReplicas],
    preferences: Preferences,
    toleration: float,
    now: float,
    key: str,
) -> Division:
    """Return how `total` is shared out. `toleration` is in seconds, `key` is `namespace/name`."""
    result = Division()
    active, away = split(clusters, toleration=toleration, now=now, result=result)
    for item in away:
        result.shares[item.cluster.name] = Share(
            replicas=item.current or 0,
            completions=item.assigned_completions,
            suspended=True,
            message="out of reach for longer than the toleration: its replicas count elsewhere meanwhile",
        )
    _divide_replicas(total, active=active, preferences=preferences, key=key, result=result)
    return result


def split(
    clusters: Sequence[ClusterReplicas], *, toleration: float, now: float, result: Division
) -> tuple[list[ClusterReplicas], list[ClusterReplicas]]:
    """Return who takes part and who is suspended."""
    active: list[ClusterReplicas] = []
    away: list[ClusterReplicas] = []
    overdue: list[ClusterReplicas] = []
    for item in clusters:
        if item.cluster.reachable:
            active.append(item)
        elif item.suspended:
            away.append(item)
        else:
            until = item.cluster.since + toleration
            if item.placed and now >= until:
                overdue.append(item)
                continue
            active.append(item)
            if item.placed:
                result.reconsider_at = min(result.reconsider_at, until)
    if overdue and not any(item.cluster.reachable for item in active):
        result.notes.append("no reachable cluster could take the replicas over, so they stay where they are")
        active += overdue
        active.sort(key=lambda item: item.cluster.name)
    else:
        away += overdue
    return active, away


def _divide_replicas(
    total: int, *, active: Sequence[ClusterReplicas], preferences: Preferences, key: str, result: Division
) -> None:
    names = [item.cluster.name for item in active]
    current = {item.cluster.name: item.current for item in active if item.current is not None}
    capacity = {item.cluster.name: item.capacity for item in active if item.capacity is not None}
    planned = plan(
        total, clusters=names, preferences=preferences, current=current, capacity=capacity, key=key
    )
    shares = planned
    if not preferences.rebalance and any(current.values()):
        even = Preferences(clusters=preferences.clusters, rebalance=True)
        shares = plan(total, clusters=names, preferences=even, capacity=capacity, key=key)
    targets = planned.targets()
    weights = sum(_preference(preferences, item).weight for item in active)
    for item in active:
        name = item.cluster.name
        own = preferences.of(name)
        stays = _stays(planned.replicas[name], share=shares.replicas[name])
        if not targets[name] and not item.placed and (total or own is None):
            result.refused[name] = (
                LEFT_OUT
                if own is None
                else (
                    "NoReplicas",
                    f"none of the {total} replicas is left for it ({_terms(own, weights)}){stays}",
                )
            )
            continue
        cut = planned.overflow.get(name, 0)
        message = f"{targets[name]} of {total} replicas; {_terms(own, weights)}{stays}"
        if item.capacity is not None:
            message += f", can run {item.capacity}"
        if cut:
            message += f", {cut} more are asked for than it can run now"
        result.shares[name] = Share(replicas=targets[name], message=message)
    missing = total - sum(planned.replicas.values())
    if missing > 0:
        result.unplaced = missing
        result.notes.append(f"{missing} of {total} replicas have no cluster that may or can run them")


def _preference(preferences: Preferences, item: ClusterReplicas) -> ClusterPreference:
    return preferences.of(item.cluster.name) or ClusterPreference()


def _stays(has: int, *, share: int) -> str:
    """Return what to say of a cluster that has more or less than its share because what runs stays."""
    if has < share:
        return f"; its share is {share}, but what runs elsewhere stays there until rebalance-placement"
    if has > share:
        return f"; its share is {share}, but what runs here stays until rebalance-placement"
    return ""


def _terms(own: ClusterPreference | None, weights: int) -> str:
    if own is None:
        return "not in the preferences"
    parts = [f"weight {own.weight} of {weights}"]
    if own.min_replicas:
        parts.append(f"at least {own.min_replicas}")
    if own.max_replicas is not None:
        parts.append(f"at most {own.max_replicas}")
    return ", ".join(parts)
