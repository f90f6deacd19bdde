"""The federation's ttlSecondsAfterFinished: a Job is deleted when it has ended and its time is over."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hanse_scheduler.placing.finished_jobs import RETRY_SECONDS, FinishedJobCollector, expires_at
from hanse_scheduler.times import timestamp_of

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.type.v1 import job_run_pb2 as job
from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.errors import ConflictError, HanseError, NotFoundError, UnavailableError
from tests.scheduler.builders import NOW, workload

PATH = "batch/jobs/shop/web"


def a_job(**spec: Any) -> dict[str, Any]:
    return workload("batch/v1", "Job", {"completions": 2, "ttlSecondsAfterFinished": 60, **spec})


def placement(*outcomes: job.RunOutcome.ValueType, active: int = 0) -> Placement:
    """Runs of one completion each; those that ended did so before NOW, one second apart."""
    return Placement(
        runs=[
            JobRun(
                cluster=f"c{number}",
                number=1,
                outcome=outcome,
                completions=1,
                active=active,
                succeeded=int(outcome == job.COMPLETE),
                end_time=timestamp_of(NOW - number),
            )
            for number, outcome in enumerate(outcomes)
        ],
        update_time=timestamp_of(NOW),
    )


@pytest.mark.parametrize(
    ("outcomes", "when"),
    [
        ([job.COMPLETE, job.COMPLETE], NOW + 60),
        ([job.FAILED, job.COMPLETE], NOW + 60),
        ([job.COMPLETE, job.RUNNING], math.inf),
        ([job.COMPLETE, job.LOST], math.inf),
        ([job.COMPLETE], math.inf),
        ([], math.inf),
    ],
)
def test_time_counts_from_the_end(outcomes: list[job.RunOutcome.ValueType], when: float) -> None:
    """Of the part that ended last; what has not ended, or may not have, stays."""
    assert expires_at(a_job(), placement(*outcomes)) == when


def test_what_has_no_time_to_live_stays() -> None:
    """And what is being deleted is not deleted again; Pods that still run of a failed Job keep it."""
    done = placement(job.COMPLETE, job.COMPLETE)
    assert expires_at(a_job(ttlSecondsAfterFinished=None), done) == math.inf
    deleting = a_job()
    deleting["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert expires_at(deleting, done) == math.inf
    assert expires_at(a_job(), placement(job.FAILED, active=1)) == math.inf


@pytest.mark.parametrize(
    ("answer", "again"),
    [
        (None, math.inf),
        (NotFoundError("gone"), math.inf),
        (ConflictError("another uid"), math.inf),
        (UnavailableError("later"), NOW + 61 + RETRY_SECONDS),
    ],
)
async def test_it_is_deleted_once_and_by_uid(answer: HanseError | None, again: float) -> None:
    """An apiserver that is away is asked again; what is gone, or another, is left alone."""
    asked: list[tuple[str, str]] = []
    now = NOW

    async def delete(path: str, uid: str) -> None:
        asked.append((path, uid))
        if answer is not None:
            raise answer

    collector = FinishedJobCollector(delete, clock=lambda: now)
    done = placement(job.COMPLETE, job.COMPLETE)
    assert await collector.collect(PATH, a_job(), done) == NOW + 60
    assert not asked
    now = NOW + 61
    assert await collector.collect(PATH, a_job(), done) == again
    assert asked == [(PATH, "u1")]
    assert await collector.collect("apps/deployments/shop/web", a_job(), done) == math.inf
    assert len(asked) == 1
