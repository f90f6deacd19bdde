"""Runs of a Job that their cluster refuses: when what a cluster was given goes to another one.

Owns the rule. A cluster that answers and does not take its run (Forbidden, a quota, invalid, another object
of that name) loses it after the toleration, as replicas of a refusing cluster do, if

- it has certainly not started it, and
- another cluster can take it, which has not refused the Job itself within the toleration. Otherwise it stays
  where it is, and the cluster is asked again.

It is taken away as everything is: released first, and given to another cluster when the one before has
confirmed that nothing of it is there. So it is not run twice, should the cluster change its mind meanwhile.

Pure. Next: `hanse.federation.jobs.job_runs` for the law, `hanse_scheduler.decide.once.job_division`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.federation.jobs.job_runs import latest, never_started, refused_until
from hanse_scheduler.decide.division import ClusterReplicas


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """For how long a refusal is borne, in seconds, and the time, in seconds since the epoch."""

    toleration: float
    now: float


@dataclass(slots=True)
class Refusing:
    """Why clusters refuse their run, for those that have done so for long enough; when others will have."""

    clusters: dict[str, str] = field(default_factory=dict)
    reconsider_at: float = math.inf


def refusing(clusters: Sequence[ClusterReplicas], *, runs: Sequence[JobRun], times: Times) -> Refusing:
    """Return the clusters that may lose the run that they have."""
    result = Refusing()
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


def may_take(item: ClusterReplicas, *, runs: Sequence[JobRun], times: Times) -> bool:
    """Return whether a cluster has not refused a run of the Job within the toleration."""
    run = latest(runs, item.cluster.name)
    return run is None or refused_until(run, times.toleration) <= times.now


def eager(fresh: Sequence[ClusterReplicas], *, runs: Sequence[JobRun], times: Times) -> list[ClusterReplicas]:
    """Return the clusters that have not refused the Job lately; all if there is none of those."""
    found = [item for item in fresh if may_take(item, runs=runs, times=times)]
    return found or list(fresh)
