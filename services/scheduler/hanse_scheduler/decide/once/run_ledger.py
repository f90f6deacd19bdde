"""The runs of a Job from one placement to the next: what the decision before knew, and what was seen since.

Owns what goes into `Placement.runs`. A run is added when a cluster is given one, and is not dropped while
the Job exists, unless it was never started and its cluster has a later one. Pure functions; messages that
are given are never changed.

Next: `hanse.federation.jobs.job_runs` for the law, `hanse_scheduler.decide.once.job_division`, which gives
runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.api.type.v1 import job_run_pb2 as job
from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.federation.jobs.job_runs import (
    given_back,
    gone,
    is_open,
    latest,
    remembered,
    run_of,
    without_idle,
)
from hanse.federation.references import is_same_object
from hanse.kube.kinds.kubernetes import batch
from hanse.kube.model.objects import mapping
from hanse_scheduler.decide.inputs import DecisionInput
from hanse_scheduler.decide.workloads import WORKLOADS, totals_of


@dataclass(frozen=True, slots=True)
class JobsHeld:
    """The runs of a Job, and the clusters that it still has to leave; nothing for other objects."""

    runs: Sequence[JobRun] = ()
    removing: Collection[str] = ()


def unconfirmed_releases(inputs: DecisionInput, confirmed: Collection[str]) -> frozenset[str]:
    """Return the clusters that the object, or an earlier one of its name, has to leave and may still be
    in."""
    before = inputs.previous.placement
    return frozenset(
        release.cluster
        for release in (before.releasing if before is not None else ())
        if release.cluster not in confirmed and release.cluster in inputs.table.clusters
    )


def is_job(inputs: DecisionInput) -> bool:
    """Return whether the object is a Job."""
    return (inputs.key.group, inputs.key.resource) == batch.JOB.group_plural


def ledger_of(inputs: DecisionInput, *, confirmed: Collection[str]) -> list[JobRun]:
    """Return all runs of the Job as they are known now; none of other objects.

    `confirmed` are the clusters whose release is confirmed: there is nothing of the Job there any more. One
    that was to start, and may have been sent with a ttlSecondsAfterFinished, can have run before.
    """
    if not is_job(inputs):
        return []
    uid = str(mapping(inputs.obj, "metadata").get("uid", ""))
    memberships = {name: each.uid for name, each in inputs.table.clusters.items()}
    before = inputs.previous.placement
    known: list[JobRun] = []
    if before is not None and inputs.previous.is_about(inputs.obj):
        known = [*before.runs, *_uncounted(before.clusters, before.runs)]
    seen = {
        name: observed.run
        for name, observed in inputs.observed.items()
        if observed.run is not None and is_same_object(uid, observed.uid)
    }
    newest = {run.cluster: run.number for run in known}
    return [
        gone(run, taken_away=False, ttl=None if run.kept else 0)
        if run.cluster in confirmed and is_open(run) and run.number == newest.get(run.cluster)
        else run
        for run in remembered(known, seen, memberships=memberships)
    ]


def with_given(
    runs: Sequence[JobRun],
    clusters: Iterable[ClusterPlacement],
    *,
    inputs: DecisionInput,
    whole: bool,
    taken_back: Mapping[str, str],
    now: float,
) -> list[JobRun]:
    """Return the runs with those that the clusters are given now. `whole`: each has the Job for itself.

    `taken_back` says why clusters lose the run that they refuse; `now` is in seconds since the epoch.
    """
    if not is_job(inputs):
        return []
    workload = WORKLOADS[batch.JOB.group_plural]
    total = totals_of(inputs.obj, workload).completions
    moment = datetime.fromtimestamp(now, UTC)
    result = [
        given_back(run, taken_back[run.cluster], moment) if run.cluster in taken_back else run for run in runs
    ]
    for entry in clusters:
        if entry.run and run_of(runs, entry.cluster, entry.run) is None:
            completions = entry.completions if entry.HasField("completions") else total
            result.append(
                JobRun(
                    cluster=entry.cluster,
                    number=entry.run,
                    outcome=job.PENDING,
                    completions=completions,
                    whole=whole,
                    membership=inputs.table.clusters[entry.cluster].uid,
                )
            )
    return sorted(without_idle(result), key=lambda run: (run.cluster, run.number))


def _uncounted(clusters: Iterable[ClusterPlacement], runs: Sequence[JobRun]) -> list[JobRun]:
    """Return the runs of clusters that were placed before runs were counted."""
    return [
        JobRun(
            cluster=entry.cluster,
            number=1,
            outcome=job.PENDING,
            completions=entry.completions if entry.HasField("completions") else None,
        )
        for entry in clusters
        if not entry.run and latest(runs, entry.cluster) is None
    ]
