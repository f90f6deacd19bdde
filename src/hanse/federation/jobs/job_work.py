"""What of a Job's work is done, is being done, cannot be known, and is left.

Owns `WorkAccount`, by which the scheduler gives work to clusters and the apiserver says how far the Job is,
and `ending_of`, by which a Job is complete or failed for the federation as batch/v1 has it for a cluster:
complete when what succeeded reaches `completions`, failed when a part of it has failed and no Pod of any
part runs any more.

Nothing is counted twice: each completion is done, or given to a run, or withheld because nobody knows
whether it is done, or left. Whoever starts no more than what is left runs nothing twice.

Pure functions. Next: `hanse.federation.jobs.job_runs`, for what is known of each run.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from hanse.api.type.v1 import job_run_pb2 as job
from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.federation.jobs.indexes import (
    Intervals,
    below,
    count_indexes,
    indexes_text,
    not_in,
    parse_indexes,
    prefix_left,
    union,
)
from hanse.federation.jobs.job_runs import is_open


@dataclass(frozen=True, slots=True)
class WorkAccount:
    """Completions of a Job with a fixed number of them. All add up to at least `wanted`."""

    wanted: int
    done: int
    given: int
    withheld: int
    failed: bool = False

    @property
    def left(self) -> int:
        """Completions that no run has, and that are not done."""
        return max(0, self.wanted - self.done - self.given - self.withheld)


def account(
    runs: Sequence[JobRun],
    *,
    completions: int,
    silent: Collection[str] = (),
    moved: Collection[str] = (),
    restart: bool = False,
) -> WorkAccount:
    """Return how far the Job is.

    `silent` are clusters that do not answer: what they were given and is not done is withheld. Of those in
    `moved` others have taken it over. With `restart` what nobody knows to be done counts as not done.
    """
    done = given = withheld = 0
    for run in runs:
        share = share_of(run, completions)
        succeeded = done_by(run, completions)
        done += succeeded
        rest = share - succeeded if is_open(run) else 0
        if run.outcome == job.LOST:
            withheld += 0 if restart else rest
        elif run.cluster in moved:
            continue
        elif run.cluster in silent:
            withheld += rest
        else:
            given += rest
    return WorkAccount(
        wanted=completions,
        done=min(done, completions),
        given=given,
        withheld=withheld,
        failed=any(run.outcome == job.FAILED for run in runs),
    )


def share_of(run: JobRun, completions: int) -> int:
    """Return how many of the Job's completions the run is to reach."""
    return min(run.completions, completions) if run.HasField("completions") else completions


def done_by(run: JobRun, completions: int) -> int:
    """Return how many completions the run has reached; all of its share if its cluster says so."""
    share = share_of(run, completions)
    return share if run.outcome == job.COMPLETE else min(run.succeeded, share)


def indexes_done(runs: Sequence[JobRun], completions: int) -> Intervals | None:
    """Return the indexes of an Indexed Job that have succeeded; None if it is not known which those are."""
    sets: list[Intervals] = []
    for run in runs:
        share = share_of(run, completions)
        found = parse_indexes(run.completed_indexes)
        if run.outcome == job.COMPLETE:
            found = ((0, share - 1),) if share else ()
        if found is None or count_indexes(below(found, share)) < min(run.succeeded, share):
            return None
        sets.append(below(found, share))
    return union(*sets)


def words_of_indexes_left(runs: Sequence[JobRun]) -> str:
    """Return what is said of the indexes that are left of an Indexed Job, if some are done; else "".

    A Job runs the indexes from 0 to some n. What is left that is nothing of the kind no Job can run.
    """
    if not any(run.completed_indexes for run in runs):
        return ""
    completions = max(run.completions for run in runs)
    done = indexes_done(runs, completions)
    if done is None:
        return "which of its indexes have succeeded is not known"
    left = indexes_text(not_in(done, completions))
    if not left or prefix_left(done, completions) is not None:
        return f"indexes {left} are left" if left else ""
    return (
        f"indexes {left} are left, and no Job can run these alone, since its indexes begin with 0: run their "
        "work in a Job of your own, or delete this one and create it again to run all"
    )


class JobEnding(enum.Enum):
    """Whether a Job has ended for the federation."""

    NONE = "none"
    FAILING = "failing"
    """A part has failed, and Pods of others still run."""
    FAILED = "failed"
    COMPLETE = "complete"


def ending_of(runs: Sequence[JobRun], *, completions: int | None) -> JobEnding:
    """Return whether the Job has ended. `completions` is None for a Job without a fixed number."""
    if any(run.outcome == job.FAILED for run in runs):
        return JobEnding.FAILING if any(run.active for run in runs) else JobEnding.FAILED
    newest = {run.cluster: run for run in runs}
    counted = [run for run in newest.values() if run.outcome != job.STOPPED]
    if any(run.whole for run in counted) or completions is None:
        whole = bool(counted) and all(run.outcome == job.COMPLETE for run in counted)
        return JobEnding.COMPLETE if whole else JobEnding.NONE
    reached = account(runs, completions=completions).done >= completions
    return JobEnding.COMPLETE if reached and not any(run.active for run in runs) else JobEnding.NONE


def ended_at(runs: Sequence[JobRun]) -> float:
    """Return when the last of the runs ended, in seconds since the epoch; 0 if no run says."""
    return max((run.end_time.seconds + run.end_time.nanos / 1e9 for run in runs), default=0.0)
