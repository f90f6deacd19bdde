"""Runs of a Job that their cluster refuses: when what a cluster was given goes to another one.

Owns the rule. A cluster that answers and does not take its run (Forbidden, a quota, invalid, another object
of that name) loses it after the toleration, as replicas of a refusing cluster do, if

- it has certainly not started it, and
- another cluster can take it, which has not refused the Job itself within the toleration. Otherwise it stays
  where it is, and the cluster is asked again.

Clusters that have not refused it come first, those whose own part has ended included; then the others, one
after another.

It is taken away as everything is: released first, and given to another cluster when the one before has
confirmed that nothing of it is there. So it is not run twice, should the cluster change its mind meanwhile.

Pure. Next: `hanse.federation.jobs.job_runs` for the law, `hanse_scheduler.decide.once.job_division`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.federation.jobs.job_runs import REFUSED, latest, never_started, refused_until
from hanse_scheduler.decide.division import ClusterReplicas, Division


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """For how long a refusal is borne, in seconds, and the time, in seconds since the epoch."""

    toleration: float
    now: float


def take_back(
    holders: dict[str, JobRun],
    *,
    active: Sequence[ClusterReplicas],
    takers: Sequence[ClusterReplicas],
    runs: Sequence[JobRun],
    times: Times,
    result: Division,
) -> None:
    """Release the clusters that have refused their run for long enough, if one of `takers` can take it.

    `holders` are the clusters with a run that goes on: those that are released are taken out.
    """
    found = _refusing(active, runs=runs, times=times)
    result.reconsider_at = min(result.reconsider_at, found.reconsider_at)
    if not any(_may_take(item, runs=runs, times=times) for item in takers):
        later = [until for run in runs if (until := refused_until(run, times.toleration)) > times.now]
        result.reconsider_at = min([result.reconsider_at, *(later if found.clusters else ())])
        return
    for name, why in found.clusters.items():
        if holders.pop(name, None) is not None:
            result.taken_back[name] = why
            result.refused[name] = (REFUSED, f"it refuses the Job ({why}): what it was given goes elsewhere")


@dataclass(slots=True)
class _Refusing:
    """Why clusters refuse their run, for those that have done so for long enough; when others will have."""

    clusters: dict[str, str] = field(default_factory=dict)
    reconsider_at: float = math.inf


def _refusing(clusters: Sequence[ClusterReplicas], *, runs: Sequence[JobRun], times: Times) -> _Refusing:
    """Return the clusters that may lose the run that they have."""
    result = _Refusing()
    for item in clusters:
        run = latest(runs, item.cluster.name)
        if not (item.placed and item.refuses and item.cluster.reachable):
            continue
        if run is None or not never_started(run):
            continue
        until = item.refuses_since + times.toleration
        if times.now >= until:
            result.clusters[item.cluster.name] = item.refuses
        else:
            result.reconsider_at = min(result.reconsider_at, until)
    return result


def _may_take(item: ClusterReplicas, *, runs: Sequence[JobRun], times: Times) -> bool:
    """Return whether a cluster has not refused a run of the Job within the toleration."""
    run = latest(runs, item.cluster.name)
    return run is None or refused_until(run, times.toleration) <= times.now


def _has_refused(item: ClusterReplicas, *, runs: Sequence[JobRun]) -> bool:
    """Return whether the last run of the cluster is one that it has refused."""
    run = latest(runs, item.cluster.name)
    return run is not None and refused_until(run, 0.0) > 0


def eager(
    fresh: Sequence[ClusterReplicas], *, ended: bool, runs: Sequence[JobRun], times: Times
) -> list[ClusterReplicas]:
    """Return which of the clusters without a run are to be given one.

    Those that have not refused the Job; where it has `ended` in others, none of those that have, since the
    others can be called back; else those that have not refused it lately, or all.
    """
    willing = [item for item in fresh if not _has_refused(item, runs=runs)]
    if willing or ended:
        return willing
    return [item for item in fresh if _may_take(item, runs=runs, times=times)] or list(fresh)
