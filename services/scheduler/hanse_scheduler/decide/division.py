"""How a workload's number is shared out over the clusters that it goes to.

Owns what is fed into the planner and what comes of it: which clusters count while some cannot be reached,
what runs where now, and what a cluster without replicas gets. Rules:

- What a cluster was assigned last is what runs there now; what it reports counts where it was told nothing.
- A cluster that is out of reach keeps its replicas for the toleration. Then it is suspended: its replicas
  count elsewhere until it is back, if there is a reachable cluster to take them.
- A cluster that refuses the credential is up: what was placed there stays, what was suspended stays
  suspended, and it gets no more than it has.
- A cluster whose share is 0 gets nothing, unless it has the object already: there it is scaled to 0. An
  object that is to run 0 replicas in all goes everywhere with 0.
- Without `rebalance` what runs stays where it runs, as far as the total allows. Where that gives a cluster
  more or less than its share, the message says so.
- A cluster that takes nothing new (it is cordoned, or has a taint) keeps what it has and gets no more.
- What a cluster has refused for longer than the toleration counts elsewhere, as far as it does not run there:
  the object, or Pods of it (a quota).

Pure. Next: `hanse_scheduler.decide.planner` for the arithmetic, `hanse_scheduler.decide.once.job_division`
for Jobs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hanse_scheduler.decide.clusters import MemberCluster
from hanse_scheduler.decide.planner import ClusterPreference, Preferences, plan
from hanse_scheduler.reasons import NO_REPLICAS

LEFT_OUT = ("NotInPreferences", "the replica preferences name neither it nor *")
"""Reason and message for a cluster that the preferences leave out."""


@dataclass(frozen=True, slots=True)
class ClusterReplicas:
    """A cluster that takes part, and how many replicas it has now.

    `assigned` is what it was assigned last, None if the object is not placed there; `reported` what it says
    that it runs, `unschedulable` how many of those it cannot run. `closed` says why it takes nothing new, and
    `has` how many it has then; `refuses` why it does not take what it is given, and `refuses_since` since
    when, in seconds since the epoch. Both are empty where that is not so. Of the replicas that it has,
    `refused_pods` cannot be created there.
    """

    cluster: MemberCluster
    placed: bool = False
    suspended: bool = False
    assigned: int | None = None
    assigned_completions: int | None = None
    reported: int | None = None
    unschedulable: int = 0
    closed: str = ""
    has: int | None = None
    refuses: str = ""
    refuses_since: float = 0.0
    refused_pods: int = 0
    refused_pods_since: float = 0.0

    @property
    def current(self) -> int | None:
        """Return how many replicas run there, as far as is known."""
        return self.assigned if self.assigned is not None else self.reported

    @property
    def capacity(self) -> int | None:
        """Return how many it can run, None if it is not known to be full."""
        if self.cluster.since == math.inf:
            return self.current if self.current is not None else 0
        if self.refuses:
            return max(0, (self.reported or 0) - self.unschedulable - self.refused_pods)
        stuck = max(0, self.unschedulable) + self.refused_pods
        if not stuck:
            return None
        running = self.reported if self.reported is not None else self.assigned
        return None if running is None else max(0, running - stuck)


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
    what may be done and is not started again. `taken_back` says why a cluster that refuses its run of a Job
    loses it.
    """

    shares: dict[str, Share] = field(default_factory=dict)
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    reconsider_at: float = math.inf
    notes: list[str] = field(default_factory=list)
    unplaced: int = 0
    withheld: int = 0
    taken_back: dict[str, str] = field(default_factory=dict)


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
    clusters = [_judged(item, toleration=toleration, now=now, result=result) for item in clusters]
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


def _judged(item: ClusterReplicas, *, toleration: float, now: float, result: Division) -> ClusterReplicas:
    """Return the cluster as one that takes what it is given, unless it has refused that for long enough."""
    if item.refused_pods:
        until = item.refused_pods_since + toleration
        if item.cluster.reachable and now < until:
            result.reconsider_at = min(result.reconsider_at, until)
        if not item.cluster.reachable or now < until:
            item = replace(item, refused_pods=0)
    if not item.refuses:
        return item
    until = item.refuses_since + toleration
    if item.cluster.reachable and now >= until:
        return item
    if item.cluster.reachable:
        result.reconsider_at = min(result.reconsider_at, until)
    return replace(item, refuses="")


def _with_closed(preferences: Preferences, closed: Mapping[str, int]) -> Preferences:
    """Return preferences by which clusters that take nothing new get no more than `closed` says, by name."""
    bounded: dict[str, ClusterPreference] = {}
    for name, has in closed.items():
        own = preferences.of(name)
        if own is None:
            continue
        most = has if own.max_replicas is None else min(own.max_replicas, has)
        bounded[name] = replace(own, min_replicas=min(own.min_replicas, most), max_replicas=most)
    if not bounded:
        return preferences
    return replace(preferences, clusters={**preferences.clusters, **bounded})


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
    closed = [item for item in active if item.closed]
    asked = preferences
    preferences = _with_closed(asked, {item.cluster.name: item.has or 0 for item in closed})
    current = {item.cluster.name: item.current for item in active if item.current is not None}
    capacity = {item.cluster.name: item.capacity for item in active if item.capacity is not None}
    planned = plan(
        total, clusters=names, preferences=preferences, current=current, capacity=capacity, key=key
    )
    shares = planned
    if not preferences.rebalance and any(current.values()):
        kept = {item.cluster.name: planned.replicas[item.cluster.name] for item in closed}
        even = Preferences(clusters=_with_closed(asked, kept).clusters, rebalance=True)
        shares = plan(total, clusters=names, preferences=even, capacity=capacity, key=key)
    targets = planned.targets()
    weights = sum(_preference(preferences, item).weight for item in active)
    for item in active:
        name = item.cluster.name
        own = asked.of(name)
        stays = _stays(planned.replicas[name], share=shares.replicas[name])
        if not targets[name] and not item.placed and (total or own is None):
            result.refused[name] = (
                LEFT_OUT
                if own is None
                else (
                    NO_REPLICAS,
                    f"none of the {total} replicas is left for it ({_terms(own, weights)}){stays}",
                )
            )
            continue
        cut = planned.overflow.get(name, 0)
        message = f"{targets[name]} of {total} replicas; {_terms(own, weights)}{stays}"
        if item.capacity is not None:
            message += f", can run {item.capacity}"
        if item.refuses:
            message += (
                f"; it refuses the object ({item.refuses}), so what does not run there counts elsewhere"
            )
        if item.refused_pods:
            message += (
                f"; its API server has refused to create {item.refused_pods} of its Pods for longer than the "
                "toleration, so they count elsewhere"
            )
        if item.closed:
            message += f"; it gets no more: {item.closed}"
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
