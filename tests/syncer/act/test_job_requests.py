"""What a syncer may conclude from a Job that is not there: how it was sent counts, not what is intended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hanse_syncer.act.request import SyncRequest, TransientState
from hanse_syncer.decide import job_claims
from hanse_syncer.decide.plan import Desired
from hanse_syncer.federation.intent import Intent
from hanse_syncer.member.client import MemberObject

from hanse.api.type.v1 import job_run_pb2 as job
from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.federation.jobs import job_runs
from hanse.store.keys import ObjectKey

KEY = ObjectKey("batch", "jobs", "shop", "web")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def request(run: JobRun, *, ttl: int | None = None) -> SyncRequest:
    """A request about a Job whose intent has a ttlSecondsAfterFinished, or none."""
    spec = {} if ttl is None else {"ttlSecondsAfterFinished": ttl}
    intent = Intent(
        encoded=orjson.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "spec": spec}),
        revision=1,
        uid="federated",
        generation=1,
        deleting=False,
        orphan=False,
        api_version="batch/v1",
        kind="Job",
        traceparent="",
    )
    return SyncRequest(
        path=KEY.path(),
        key=KEY,
        intent=intent,
        placement=None,
        placement_revision=1,
        desired=Desired.ABSENT,
        entry=None,
        state=None,
        target=MemberObject(KEY, "v1"),
        transient=TransientState(),
        run=run,
    )


def claimed(*, kept: bool) -> JobRun:
    """A run whose cluster was asked to start it an hour ago, and has not answered."""
    run = JobRun(cluster="a", number=1, outcome=job.PENDING, completions=3)
    return job_runs.claimed(run, NOW - timedelta(hours=1), kept=kept)


@pytest.mark.parametrize(("kept", "started"), [(True, False), (False, True)])
def test_a_job_that_an_override_removes_by_itself_may_have_run(kept: bool, started: bool) -> None:
    """The intent has no ttlSecondsAfterFinished; one was sent, since an override policy had set it."""
    asked = request(claimed(kept=kept))
    assert asked.run is not None
    assert job_claims.may_create(asked.run, ttl=asked.ttl, now=NOW) is not started
    gone = job_runs.gone(asked.run, taken_away=False, ttl=asked.ttl)
    assert gone.outcome == (job.LOST if started else job.STOPPED)


def test_a_job_that_was_not_asked_for_may_be_created() -> None:
    """Whether it was sent without one is not known of a run that nobody was asked to start."""
    pending = JobRun(cluster="a", number=1, outcome=job.PENDING)
    assert job_claims.may_create(pending, ttl=request(pending).ttl, now=NOW)


def test_what_was_refused_says_nothing_of_the_next_request() -> None:
    """An older syncer that asks next sends a ttlSecondsAfterFinished, and does not write that it does."""
    refused = job_runs.refused(claimed(kept=True))
    older = JobRun()
    older.CopyFrom(refused)
    older.outcome = job.STARTING
    older.claim_time.FromDatetime(NOW - timedelta(minutes=10))
    asked = request(older, ttl=30)
    assert not job_claims.may_create(older, ttl=asked.ttl, now=NOW)
