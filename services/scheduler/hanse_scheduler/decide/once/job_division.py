"""How the work of a Job is shared out: what is left of it, and never what is done or may be done.

Owns which cluster gets a run of a Job, with how many completions and how many Pods at a time. Rules:

- A run keeps its completions, which a member cannot change. What is left (`hanse.federation.jobs.job_work`)
  goes to clusters that have no run, then, when a run has ended, to its cluster again: it is released first,
  so that the member's Job is gone before another one of that name.
- What a cluster was given that does not answer, or whose Job is gone, stays given: it is started elsewhere
  only if the policy says `whenUnknown: Restart`, after the toleration.
- When a part of a Job has failed, no other part starts Pods any more.
- An Indexed Job runs whole in one cluster. What is left of it runs elsewhere only if it is the indexes from
  0 to some n, since a Job cannot leave indexes out; where its rules speak of all indexes (a successPolicy, a
  backoffLimitPerIndex), only if no index has ended.
- What a cluster refuses and has certainly not started goes to another one (`once.refused_runs`).
- Of a Job without a fixed number of completions each cluster works on all of it: once one has succeeded, or
  may have, no other begins.

Pure. Next: `hanse.federation.jobs.job_runs` for the law, `hanse_scheduler.decide.division` for other
workloads.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hanse.api.type.v1 import job_run_pb2 as job
from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.federation.jobs.indexes import prefix_left
from hanse.federation.jobs.job_runs import ENDED, is_open, latest
from hanse.federation.jobs.job_work import WorkAccount, account, done_by, indexes_done, share_of
from hanse_scheduler.decide.division import LEFT_OUT, ClusterReplicas, Division, Share, split
from hanse_scheduler.decide.once.refused_runs import Times, eager, take_back
from hanse_scheduler.decide.planner import ClusterPreference, Preferences, order, plan
from hanse_scheduler.decide.workloads import Totals
from hanse_scheduler.reasons import NO_REPLICAS

RUN_ENDED: Final = "RunEnded"
"""Reason of the release of a cluster that is to get another run of the Job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSituation:
    """What is known of a Job besides its totals: its runs, where it is still being removed, what the policy
    says.

    `toleration` is in seconds, `now` in seconds since the epoch, `key` is `namespace/name`.
    """

    runs: Sequence[JobRun]
    removing: Collection[str]
    restart: bool
    preferences: Preferences
    toleration: float
    now: float
    key: str


def divide_job(totals: Totals, *, clusters: Sequence[ClusterReplicas], situation: JobSituation) -> Division:
    """Return which clusters have a run, and which get one."""
    result = Division()
    active: list[ClusterReplicas] = list(clusters)
    moved: list[ClusterReplicas] = []
    if situation.restart:
        going_on = [item for item in clusters if _goes_on(item, situation)]
        _, moved = split(going_on, toleration=situation.toleration, now=situation.now, result=result)
        active = [item for item in clusters if item not in moved]
    for item in moved:
        result.shares[item.cluster.name] = Share(
            replicas=item.current or 0,
            completions=item.assigned_completions,
            suspended=True,
            message="out of reach for longer than the toleration: what it has not done counts elsewhere",
            run=_number(situation.runs, item.cluster.name),
        )
    result.reconsider_at = min(result.reconsider_at, _silent_at(clusters, situation))
    away = [item.cluster.name for item in moved]
    work = _account(totals, clusters=clusters, moved=away, situation=situation)
    holders = _holders(active, totals=totals, work=work, situation=situation, result=result)
    fresh = [] if work.failed else [item for item in active if _is_fresh(item, situation)]
    if not work.failed:
        times = Times(toleration=situation.toleration, now=situation.now)
        ended = [item for item in active if _can_return(item, situation)]
        fresh = eager(fresh, ended=bool(ended), runs=situation.runs, times=times)
        takers = [item for item in (*fresh, *ended) if not item.closed]
        take_back(holders, active=active, takers=takers, runs=situation.runs, times=times, result=result)
    busy = any(is_open(run) for run in holders.values())
    given = _given(totals, work=work, fresh=fresh, busy=busy, situation=situation)
    _share_out(totals, holders=holders, given=given, active=active, situation=situation, result=result)
    result.withheld = work.withheld
    result.unplaced = 0 if work.failed else max(0, work.left - sum(given.values()))
    if result.unplaced:
        missing = f"{result.unplaced} of {work.wanted} completions"
        result.notes.append(f"{missing} have no cluster that may run them")
        if not totals.indivisible or not busy:
            _call_back(result, totals=totals, active=active, situation=situation)
    return result


def whole_runs(
    clusters: Mapping[str, bool], *, runs: Sequence[JobRun], restart: bool, removing: Collection[str]
) -> dict[str, int]:
    """Return the number of the run of each cluster that has a copy of the whole Job.

    `clusters` says whether the Job is placed in a cluster already. A copy that ended or may have run is not
    started again, unless the federation took it away itself, or nobody knows and `restart`.
    """
    result: dict[str, int] = {}
    for name, placed in clusters.items():
        newest = latest(runs, name)
        again = newest is not None and (
            newest.outcome == job.STOPPED or (restart and newest.outcome == job.LOST)
        )
        number = newest.number if newest is not None else 1
        result[name] = number + 1 if again and not placed and name not in removing else number
    return result


def _goes_on(item: ClusterReplicas, situation: JobSituation) -> bool:
    """Return whether the cluster has no run that has ended."""
    run = latest(situation.runs, item.cluster.name)
    return run is None or is_open(run)


def _silent_at(clusters: Sequence[ClusterReplicas], situation: JobSituation) -> float:
    """Return when the next cluster will have been out of reach for the toleration; inf if there is none."""
    return min(
        (
            until
            for item in clusters
            if not item.cluster.reachable
            and (until := item.cluster.since + situation.toleration) > situation.now
            and (run := latest(situation.runs, item.cluster.name)) is not None
            and is_open(run)
        ),
        default=math.inf,
    )


def _can_return(item: ClusterReplicas, situation: JobSituation) -> bool:
    """Return whether the cluster can be called back."""
    return item.placed and item.cluster.reachable and _can_be_called_back(item.cluster.name, situation)


def _account(
    totals: Totals, *, clusters: Sequence[ClusterReplicas], moved: Collection[str], situation: JobSituation
) -> WorkAccount:
    """Return how far the Job is; one without a fixed number counts the clusters that may work on it as
    one."""
    silent = {
        item.cluster.name
        for item in clusters
        if not item.cluster.reachable and situation.now >= item.cluster.since + situation.toleration
    }
    if totals.completions is not None:
        return account(
            situation.runs,
            completions=totals.completions,
            silent=silent,
            moved=moved,
            restart=situation.restart,
        )
    begun = [run for run in situation.runs if run.outcome == job.COMPLETE or run.succeeded]
    unknown = [
        run
        for run in situation.runs
        if is_open(run)
        and run.cluster not in moved
        and (run.cluster in silent or (run.outcome == job.LOST and not situation.restart))
    ]
    going_on = any(is_open(run) and run not in unknown for run in situation.runs)
    return WorkAccount(
        wanted=totals.replicas,
        done=totals.replicas if begun else 0,
        given=totals.replicas if going_on else 0,
        withheld=0 if begun else totals.replicas if unknown else 0,
        failed=any(run.outcome == job.FAILED for run in situation.runs),
    )


def _holders(
    active: Sequence[ClusterReplicas],
    *,
    totals: Totals,
    work: WorkAccount,
    situation: JobSituation,
    result: Division,
) -> dict[str, JobRun]:
    """Return the clusters that have a run which goes on or has ended there; note those that must start no
    more.

    A cluster that was thought lost and is back can have a run that others have taken over.
    """
    holders: dict[str, JobRun] = {}
    room = max(0, work.wanted - work.done)
    for item in sorted(active, key=lambda each: (each.suspended, each.cluster.name)):
        name = item.cluster.name
        run = latest(situation.runs, name)
        if run is None or not (item.placed or _returns(run, situation)):
            continue
        rest = 0
        if totals.completions is not None and is_open(run):
            rest = share_of(run, totals.completions) - done_by(run, totals.completions)
        paused = "a part of the Job has failed, so it starts no more Pods" if work.failed else ""
        if rest > room:
            paused = "other clusters have taken its completions over, so it starts no more Pods"
        if paused and is_open(run):
            completions = run.completions if run.HasField("completions") else None
            result.shares[name] = Share(0, completions, message=paused, run=run.number)
            continue
        room -= rest
        holders[name] = run
    return holders


def _returns(run: JobRun, situation: JobSituation) -> bool:
    """Return whether the Job may still be in a cluster where it is not placed any more, and is to be seen
    there."""
    return (
        is_open(run)
        and run.cluster not in situation.removing
        and not (situation.restart and run.outcome == job.LOST)
    )


def _is_fresh(item: ClusterReplicas, situation: JobSituation) -> bool:
    """Return whether the cluster can be given another run."""
    if item.placed or not item.cluster.reachable or item.cluster.name in situation.removing:
        return False
    run = latest(situation.runs, item.cluster.name)
    return run is None or not _returns(run, situation)


def _given(
    totals: Totals,
    *,
    work: WorkAccount,
    fresh: Sequence[ClusterReplicas],
    busy: bool,
    situation: JobSituation,
) -> dict[str, int]:
    """Return what of the work that is left goes to which cluster that has none."""
    names = [item.cluster.name for item in fresh]
    left, preferences, key = work.left, situation.preferences, situation.key
    if not left or not names:
        return {}
    if totals.indivisible:
        done = indexes_done(situation.runs, work.wanted)
        runs = prefix_left(done, work.wanted) if done is not None else None
        if runs is None or work.given or work.withheld or not _may_be_left(totals, situation.runs):
            return {}
        return dict.fromkeys(order(names, preferences, key)[:1], runs)
    slots = plan(max(totals.replicas, 1), clusters=names, preferences=preferences, key=key).replicas
    if totals.completions is None:
        return {} if busy else {name: count for name, count in slots.items() if count > 0}
    running = [name for name in names if slots[name] > 0]
    shares = plan(left, clusters=running, preferences=_weights_only(preferences), key=key).replicas
    return {name: count for name, count in shares.items() if count > 0}


def _share_out(
    totals: Totals,
    *,
    holders: Mapping[str, JobRun],
    given: Mapping[str, int],
    active: Sequence[ClusterReplicas],
    situation: JobSituation,
    result: Division,
) -> None:
    """Write down the share of each cluster that works, and why the others have none."""
    whole = totals.completions
    parallel = _parallelism(totals, working=[*holders, *given], active=active, situation=situation)
    for item in active:
        name = item.cluster.name
        if name in result.shares or name in result.taken_back:
            continue
        if name not in parallel:
            why = "the Job runs whole in another cluster" if totals.indivisible else "nothing is left for it"
            left_out = situation.preferences.of(name) is None
            result.refused[name] = LEFT_OUT if left_out else (NO_REPLICAS, why)
            continue
        run = holders.get(name)
        if run is None:
            completions, number = given[name], _number(situation.runs, name) + 1
        else:
            completions, number = run.completions if run.HasField("completions") else 0, run.number
        done = f", {completions} of {whole} completions" if whole is not None else ""
        result.shares[name] = Share(
            replicas=parallel[name],
            completions=completions if whole is not None else None,
            message=f"parallelism {parallel[name]} of {totals.replicas}{done}{_said_of(run, item)}",
            run=number,
        )


def _said_of(run: JobRun | None, item: ClusterReplicas) -> str:
    """Return what to say of a run that does not go on as it should."""
    if run is None or not is_open(run):
        return ""
    if not item.cluster.reachable:
        return "; the cluster does not answer: what it has not done is not started elsewhere"
    if run.outcome != job.LOST:
        return ""
    return f"; its Job is not there, {run.message}: it is not started again"


def _call_back(
    result: Division, *, totals: Totals, active: Sequence[ClusterReplicas], situation: JobSituation
) -> None:
    """Release clusters whose run has ended, so that they can be given what nobody else can take."""
    if totals.completions is None or (
        totals.indivisible
        and (
            _indexes_left(situation.runs, totals.completions) is None
            or not _may_be_left(totals, situation.runs)
        )
    ):
        return
    ended = [item.cluster.name for item in active if _can_return(item, situation)]
    for name in order(ended, situation.preferences, situation.key)[: result.unplaced]:
        result.shares.pop(name, None)
        result.refused[name] = (
            RUN_ENDED,
            "its run has ended; it can take more of the Job when that is gone",
        )


def _can_be_called_back(name: str, situation: JobSituation) -> bool:
    run = latest(situation.runs, name)
    return run is not None and (run.outcome in ENDED or (situation.restart and run.outcome == job.LOST))


def _may_be_left(totals: Totals, runs: Sequence[JobRun]) -> bool:
    """Return whether a Job with fewer indexes can run what is left of an Indexed one."""
    return not totals.by_index or not any(run.succeeded or run.failed for run in runs)


def _indexes_left(runs: Sequence[JobRun], completions: int) -> int | None:
    done = indexes_done(runs, completions)
    return prefix_left(done, completions) if done is not None else None


def _parallelism(
    totals: Totals,
    *,
    working: Collection[str],
    active: Sequence[ClusterReplicas],
    situation: JobSituation,
) -> dict[str, int]:
    """Return parallelism for the clusters that work: at least 1 each unless the Job is paused with 0."""
    if totals.replicas == 0 or not working:
        return dict.fromkeys(working, 0)
    current = {item.cluster.name: item.current for item in active if item.placed and item.current}
    shares = plan(
        totals.replicas,
        clusters=list(working),
        preferences=situation.preferences,
        current={name: count for name, count in current.items() if count is not None and name in working},
        key=situation.key,
    ).replicas
    return {name: max(1, count) for name, count in shares.items()}


def _number(runs: Sequence[JobRun], cluster: str) -> int:
    newest = latest(runs, cluster)
    return newest.number if newest is not None else 0


def _weights_only(preferences: Preferences) -> Preferences:
    """Return the preferences without minima and maxima, which are about parallelism; as v1 did."""
    return replace(
        preferences,
        clusters={name: ClusterPreference(weight=item.weight) for name, item in preferences.clusters.items()},
        rebalance=True,
    )
