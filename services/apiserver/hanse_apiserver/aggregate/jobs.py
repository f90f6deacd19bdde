"""The status of a Job from its runs: what is done counts, wherever it was done and whatever became of the
cluster.

Owns the fold of Jobs. Counts of Pods that succeeded or failed are those of all runs that the federation
remembers; counts of Pods that run are those of the clusters that have the Job now. Conditions come in the
order of batch/v1: what leads to an end (SuccessCriteriaMet, FailureTarget) stands before the end (Complete,
Failed), and a Job is Complete only when what succeeded reaches what was asked. OutcomeUnknown is the
federation's own: nobody knows whether a part is done. Pure.

Next: `hanse.federation.jobs.job_work` for the law, `hanse_apiserver.aggregate.fold`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from hanse.api.type.v1 import job_run_pb2 as job
from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.federation.jobs.indexes import indexes_text, parse_indexes, union
from hanse.federation.jobs.job_runs import is_open, observed
from hanse.federation.jobs.job_work import JobEnding, ended_at, ending_of
from hanse.kube.model import untrusted
from hanse.kube.model.objects import Object, mapping
from hanse_apiserver.aggregate import conditions
from hanse_apiserver.aggregate.members import Decision, Member, time_of, total

OUTCOME_CONDITION: Final = "OutcomeUnknown"
_ENDS: Final = frozenset({"SuccessCriteriaMet", "Complete", "Failed"})
"""What the federation says itself, and does not fold: an end in one cluster is not the end of the Job."""


def fold_job(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold a Job: complete when all that was asked has succeeded, failed when a part has failed."""
    counted = [m for m in members if m.counted]
    runs = decision.runs or tuple(_run_of(m) for m in counted if m.status)
    completions = mapping(obj, "spec").get("completions")
    wanted = completions if type(completions) is int else None
    status: Object = {}
    for name in ("active", "terminating"):
        if value := total(counted, name):
            status[name] = value
    for name, value in (("succeeded", _sum(runs, "succeeded")), ("failed", _sum(runs, "failed"))):
        if value:
            status[name] = value
    if ready := total((m for m in counted if m.reports), "ready"):
        status["ready"] = ready
    if mapping(obj, "spec").get("completionMode") == "Indexed" and (found := _indexes(runs)):
        status["completedIndexes"] = found
    starts = [_text(run.start_time.ToDatetime(UTC)) for run in runs if run.HasField("start_time")]
    starts += [start for m in counted if (start := time_of(m, "startTime"))]
    if starts:
        status["startTime"] = min(starts)
    ending = ending_of(runs, completions=wanted)
    if ending is JobEnding.COMPLETE and decision.unplaced:
        ending = JobEnding.NONE  # what no cluster is to run is not done
    if ending is JobEnding.COMPLETE and (ended := ended_at(runs)):
        status["completionTime"] = _text(datetime.fromtimestamp(ended, UTC))
    # What does not hold of a Job is not worth saying.
    said = [
        c
        for c in conditions.fold(counted, now=now)
        if c["status"] == "True" and c["type"] not in _ENDS and not _is_said(c, ending)
    ]
    said += _end(runs, ending, wanted=wanted, now=now)
    said += _doubts(runs, members, decision, wanted=wanted, now=now)
    return status | ({"conditions": said} if said else {})


def _end(runs: Sequence[JobRun], ending: JobEnding, *, wanted: int | None, now: str) -> list[Object]:
    if ending is JobEnding.NONE:
        return []
    ended = ended_at(runs)
    when = _text(datetime.fromtimestamp(ended, UTC)) if ended else now
    if ending is JobEnding.COMPLETE:
        reason, message = _last_word(runs, job.COMPLETE) or (
            "CompletionsReached",
            "Reached expected number of succeeded pods",
        )
        return [_condition(kind, reason, message, when) for kind in ("SuccessCriteriaMet", "Complete")]
    failed = [run for run in runs if run.outcome == job.FAILED]
    reason = next((run.reason for run in failed if run.reason), "Failed")
    message = "; ".join(f"{run.cluster}: {run.message or run.reason or 'failed'}" for run in failed[:4])
    if len({run.cluster for run in runs}) == 1:
        message = failed[0].message
    kinds = ("FailureTarget", "Failed") if ending is JobEnding.FAILED else ("FailureTarget",)
    return [_condition(kind, reason, message, when) for kind in kinds]


def _doubts(
    runs: Sequence[JobRun], members: Sequence[Member], decision: Decision, *, wanted: int | None, now: str
) -> list[Object]:
    """Return what the federation says of work that it does not start."""
    result: list[Object] = []
    of = f" of {wanted} completions" if wanted is not None else ""
    if decision.withheld:
        away = {m.cluster for m in members if not m.reachable}
        doubtful = [run for run in runs if is_open(run) and (run.outcome == job.LOST or run.cluster in away)]
        why = "; ".join(
            f"{run.cluster}: {run.message if run.outcome == job.LOST else 'the cluster does not answer'}"
            for run in doubtful[:4]
        )
        message = (
            f"{decision.withheld}{of} may be done or not ({why or 'its clusters do not say'}), and are not "
            "started again; a policy with whenUnknown: Restart starts them"
        )
        result.append(_condition(OUTCOME_CONDITION, OUTCOME_CONDITION, message, now))
    return result


def _is_said(condition: Object, ending: JobEnding) -> bool:
    return condition["type"] == "FailureTarget" and ending in (JobEnding.FAILING, JobEnding.FAILED)


def _last_word(runs: Sequence[JobRun], outcome: job.RunOutcome.ValueType) -> tuple[str, str] | None:
    """Return reason and message that the clusters give, if all that ended so give the same."""
    found = {(run.reason, run.message) for run in runs if run.outcome == outcome and run.reason}
    return found.pop() if len(found) == 1 else None


def _condition(kind: str, reason: str, message: str, when: str) -> Object:
    said: Object = {"type": kind, "status": "True", "reason": reason, "message": message}
    return said | ({"lastProbeTime": when, "lastTransitionTime": when} if when else {})


def _run_of(member: Member) -> JobRun:
    """Return the run of a cluster that was given the Job before runs were counted."""
    known = JobRun(cluster=member.cluster, number=1, whole=True)
    return observed(known, uid="", status=member.status)


def _indexes(runs: Sequence[JobRun]) -> str:
    sets = [parse_indexes(run.completed_indexes) for run in runs]
    return indexes_text(union(*(each for each in sets if each)))


def _sum(runs: Sequence[JobRun], name: str) -> int:
    found: int = sum(getattr(run, name) for run in runs)
    return min(untrusted.MAX_COUNT, found)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
