"""Work that must not be done twice: the runs of a Job, and what is known of each.

Owns the law that a run, which is a share of a Job's work in one cluster, is started at most once. A run is
known by its cluster and its number. What becomes of it only ever gets better known: what succeeded is never
forgotten, and a run that ended stays ended. The rules:

- A cluster may create a Job for a run that was not started, and for no other. A request to create one is
  recorded before it is sent. If its outcome was never seen and there is no Job, it was not started, unless
  the Job may have run and been removed by a `ttlSecondsAfterFinished` since. (That somebody deleted it by
  hand in that moment is the one thing that cannot be told.)
- So that a Job is there until its end was seen, members get none: the federation acts on it, for its own Job
  and with that for all of them. A run is `kept` where the member's Job was sent without one, or was seen to
  have none: an override policy, or somebody in the cluster, can set it there.
- A Job that was there and is gone has ended as was seen last. If it was not seen to end it is LOST: nobody
  knows what it has done. It is STOPPED, which is known, where the federation took it away.
- A run that its cluster refuses, and has certainly not started, can be given back: it is STOPPED by REFUSED
  once the cluster has confirmed that nothing of it is there. One that may have been started is not.
- A run whose cluster is not in the federation any more, and did not end before, is LOST.

The syncer that has the cluster writes what it sees into `SyncState.run`; the scheduler, which has the last
word, keeps the runs of all clusters in `Placement.runs` for as long as the federation's Job exists (ADR
35).

Pure functions; messages that are given are never changed. Next: `hanse.federation.jobs.job_work`, for what is
left to be done, and `hanse.federation.jobs.indexes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from hanse.api.type.v1 import job_run_pb2 as job
from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.federation.jobs.indexes import indexes_text, parse_indexes, union
from hanse.kube.model import untrusted
from hanse.kube.model.times import parse_time

ENDED: Final = frozenset({job.COMPLETE, job.FAILED, job.STOPPED})
"""Outcomes that are known and final."""
UNSTARTED: Final = frozenset({job.RUN_OUTCOME_UNSPECIFIED, job.PENDING})
STOPPING: Final = "Stopping"
"""Reason of a run whose Job is being deleted, and is known to be until it is gone."""
REFUSED: Final = "Refused"
"""Reason of a run that is taken away from a cluster because that refuses it."""
MAX_RUN_MESSAGE: Final = 256


def is_open(run: JobRun) -> bool:
    """Return whether the run has not ended, or nobody knows that it has."""
    return run.outcome not in ENDED


def was_started(run: JobRun) -> bool:
    """Return whether the cluster had a Job for the run at some time."""
    return bool(run.member_uid) or run.outcome in (job.RUNNING, job.COMPLETE, job.FAILED, job.LOST)


def observed(
    run: JobRun, *, uid: str, status: Mapping[str, Any], spec: Mapping[str, Any] | None = None
) -> JobRun:
    """Return the run after its cluster was seen to have the Job `uid` with `status`, which may have any
    shape. `spec` is that of the Job, None where it was not seen."""
    result = _copy(run)
    if run.outcome in (job.COMPLETE, job.FAILED) and run.member_uid and uid != run.member_uid:
        return result  # somebody there made another of that name; what this run has done does not change
    result.member_uid = uid
    if spec:
        result.kept = ttl_of(spec) is None
    uncounted = untrusted.mapping(status.get("uncountedTerminatedPods"))
    result.succeeded = max(run.succeeded, _count(status, "succeeded") + _names(uncounted.get("succeeded")))
    result.failed = max(run.failed, _count(status, "failed") + _names(uncounted.get("failed")))
    result.active = min(untrusted.MAX_COUNT, _count(status, "active") + _count(status, "terminating"))
    result.completed_indexes = _more_indexes(
        run.completed_indexes, untrusted.text(status.get("completedIndexes"), 2**20)
    )
    if not run.HasField("start_time"):
        _set_time(result.start_time, status.get("startTime"))
    if run.outcome in ENDED:
        return result
    conditions = untrusted.conditions(status)
    for kind, outcome in (("Complete", job.COMPLETE), ("Failed", job.FAILED)):
        said = conditions.get(kind, {})
        if said.get("status") == "True":
            result.outcome = outcome
            result.reason = str(said.get("reason", ""))[:MAX_RUN_MESSAGE]
            result.message = str(said.get("message", ""))[:MAX_RUN_MESSAGE]
            _set_time(result.end_time, status.get("completionTime") or said.get("lastTransitionTime"))
            return result
    result.outcome = job.RUNNING
    if run.outcome == job.LOST or run.reason == REFUSED:
        result.reason = result.message = ""
        result.ClearField("end_time")
    return result


def ttl_of(spec: Mapping[str, Any]) -> int | None:
    """Return for how many seconds a Job with `spec` stays after it has finished; None if it stays."""
    ttl = spec.get("ttlSecondsAfterFinished")
    return ttl if type(ttl) is int else None


def claimed(run: JobRun, now: datetime, *, kept: bool = False) -> JobRun:
    """Return the run when the cluster is asked to start it; the time of the first such request stays.

    `kept`: the Job is sent without a ttlSecondsAfterFinished, as all requests before were.
    """
    result = _copy(run)
    result.kept = kept and (run.kept or run.outcome != job.STARTING)
    result.outcome = job.STARTING
    if run.outcome != job.STARTING or not run.HasField("claim_time"):
        result.claim_time.FromDatetime(now)
    return result


def refused(run: JobRun) -> JobRun:
    """Return the run when the cluster has said that it did not start it."""
    result = _copy(run)
    if run.outcome == job.STARTING and not run.member_uid:
        result.outcome = job.PENDING
        result.refusals = run.refusals + 1
        result.kept = False  # a syncer that does not write it yet may be the next to ask
        result.ClearField("claim_time")
    return result


def may_start(run: JobRun, *, ttl: int | None, now: datetime) -> bool:
    """Return whether a cluster that has no Job for the run may create one at `now`.

    `ttl` is the Job's ttlSecondsAfterFinished, None if it has none.
    """
    if was_started(run) or run.outcome in ENDED:
        return False
    if run.outcome in UNSTARTED or ttl is None:
        return True
    if not run.HasField("claim_time"):
        return False
    return now.timestamp() < _seconds(run.claim_time) + ttl


def gone(run: JobRun, *, taken_away: bool, ttl: int | None = None) -> JobRun:
    """Return the run when its cluster has no Job for it: `taken_away` if the federation deleted that."""
    result = _copy(run)
    result.active = 0
    if run.outcome in ENDED:
        return result
    if run.HasField("completions") and 0 < run.completions <= run.succeeded:
        result.outcome, result.reason, result.message = job.COMPLETE, "CompletionsReached", ""
    elif run.reason == REFUSED and run.outcome in UNSTARTED and not was_started(run):
        result.outcome = job.STOPPED
    elif taken_away or run.reason == STOPPING or (not was_started(run) and _never_ran(run, ttl)):
        result.outcome, result.reason, result.message = job.STOPPED, "Stopped", "the federation took it away"
    else:
        return lost(result, "JobGone", "its Job is gone and was not seen to end")
    return result


def stopping(run: JobRun) -> JobRun:
    """Return the run while its Job is being deleted, and can start nothing any more."""
    result = _copy(run)
    if is_open(run):
        result.reason = STOPPING
    return result


def never_started(run: JobRun) -> bool:
    """Return whether the cluster has certainly not started the run."""
    return run.outcome in UNSTARTED and not was_started(run)


def given_back(run: JobRun, why: str, now: datetime) -> JobRun:
    """Return a run that its cluster refuses when it is taken away from there, for the reason `why`."""
    result = _copy(run)
    if never_started(run) and run.reason != REFUSED:
        result.reason, result.message = REFUSED, why[:MAX_RUN_MESSAGE]
        result.end_time.FromDatetime(now)
    return result


def refused_until(run: JobRun, toleration: float) -> float:
    """Return until when the run's cluster counts as one that refuses the Job, in seconds since the epoch.

    0 if it does not. `toleration` is in seconds.
    """
    told = run.outcome == job.STOPPED and run.reason == REFUSED
    return _seconds(run.end_time) + toleration if told else 0.0


def without_idle(runs: Iterable[JobRun]) -> list[JobRun]:
    """Return the runs without those that were never started and that a later one of their cluster follows."""
    known = list(runs)
    newest = {run.cluster: 0 for run in known}
    for run in known:
        newest[run.cluster] = max(newest[run.cluster], run.number)
    return [
        run
        for run in known
        if run.number == newest[run.cluster]
        or run.outcome != job.STOPPED
        or was_started(run)
        or run.succeeded
        or run.failed
    ]


def lost(run: JobRun, reason: str, message: str) -> JobRun:
    """Return the run when nobody knows how it ended, or will end; one that ended stays as it is."""
    result = _copy(run)
    if is_open(run):
        result.outcome, result.reason, result.message = job.LOST, reason, message
    return result


def merged(known: JobRun, seen: JobRun) -> JobRun:
    """Return what is known of a run by two records of it, of which `seen` is the newer one."""
    result = _copy(known)
    result.refusals = max(known.refusals, seen.refusals)
    if known.outcome == job.STARTING and seen.outcome in UNSTARTED and seen.refusals > known.refusals:
        result.outcome = job.PENDING  # what was asked for has been refused since
        result.ClearField("claim_time")
    elif seen.outcome == job.STARTING and seen.refusals < known.refusals:
        return result  # that request has been refused since
    elif seen.outcome not in UNSTARTED and not (
        known.outcome in ENDED and (known.outcome != job.STOPPED or seen.outcome not in ENDED)
    ):
        unseen = seen.outcome == job.STARTING and was_started(known)
        if not unseen:
            result.outcome, result.reason, result.message = seen.outcome, seen.reason, seen.message
    result.member_uid = seen.member_uid or known.member_uid
    result.succeeded = max(known.succeeded, seen.succeeded)
    result.failed = max(known.failed, seen.failed)
    result.active = seen.active if seen.outcome not in UNSTARTED else known.active
    result.completed_indexes = _more_indexes(known.completed_indexes, seen.completed_indexes)
    for name in ("claim_time", "start_time", "end_time"):
        if seen.HasField(name):
            getattr(result, name).CopyFrom(getattr(seen, name))
    if not known.HasField("completions") and seen.HasField("completions"):
        result.completions = seen.completions
    result.whole = known.whole or seen.whole
    result.kept = seen.kept if seen.outcome not in UNSTARTED else known.kept
    result.membership = seen.membership or known.membership
    return result


def remembered(
    known: Iterable[JobRun], seen: Mapping[str, JobRun], *, memberships: Mapping[str, str]
) -> list[JobRun]:
    """Return all runs of a Job, sorted: those that are known, with what clusters were seen to do since.

    `seen` is by cluster, `memberships` has the uids of the clusters that there are. What was not seen to
    end in a cluster that has left is lost, also if another has its name now.
    """
    runs = {(run.cluster, run.number): run for run in known}
    for cluster, run in seen.items():
        if run.number > 0 and run.cluster == cluster:
            before = runs.get((cluster, run.number))
            runs[cluster, run.number] = merged(before, run) if before is not None else run
    return [
        run
        if run.cluster in memberships and is_of(run, memberships[run.cluster])
        else lost(run, "ClusterGone", "its cluster left before it was seen to end")
        for _, run in sorted(runs.items())
    ]


def is_of(run: JobRun, membership: str) -> bool:
    """Return whether the run was given to a cluster while it was the member with that uid; "" may be any."""
    return not run.membership or not membership or run.membership == membership


def in_membership(run: JobRun, membership: str) -> JobRun:
    """Return what a cluster that is the member `membership` knows of a run when it has not looked yet.

    What another member of its name was to start may have been started.
    """
    result = _copy(run)
    if not is_of(run, membership) and not was_started(run):
        result = lost(run, "ClusterGone", "its cluster left before it was seen to start")
    if membership:
        result.membership = membership
    return result


def latest(runs: Iterable[JobRun], cluster: str) -> JobRun | None:
    """Return the newest run of a cluster; None if it never had one."""
    return max((run for run in runs if run.cluster == cluster), key=lambda run: run.number, default=None)


def run_of(runs: Iterable[JobRun], cluster: str, number: int) -> JobRun | None:
    """Return the run of a cluster with a number; None if there is none."""
    return next((run for run in runs if run.cluster == cluster and run.number == number), None)


def _never_ran(run: JobRun, ttl: int | None) -> bool:
    """Return whether a run without a Job was certainly not started."""
    return run.outcome in UNSTARTED or ttl is None


def _copy(run: JobRun) -> JobRun:
    result = JobRun()
    result.CopyFrom(run)
    return result


def _more_indexes(known: str, seen: str) -> str:
    """Return both sets of indexes together; the known one if the other cannot be read."""
    more, before = parse_indexes(seen), parse_indexes(known)
    return indexes_text(union(before or (), more)) if more else known


def _count(status: Mapping[str, Any], name: str) -> int:
    return untrusted.count(status.get(name))


def _names(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0


def _set_time(stamp: Timestamp, value: Any) -> None:
    moment = parse_time(untrusted.time(value))
    if moment is not None:
        stamp.FromDatetime(moment)


def _seconds(stamp: Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9
