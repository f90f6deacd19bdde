"""What becomes of a run whose cluster has confirmed that nothing of the Job is there, and says no more."""

from __future__ import annotations

import pytest
from hanse_scheduler.decide.inputs import DecisionInput
from hanse_scheduler.decide.once.run_ledger import ledger_of
from hanse_scheduler.handshake.previous import PreviousPlacement

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.type.v1 import job_run_pb2 as job
from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.store.keys import ObjectKey
from tests.scheduler.builders import table, workload

KEY = ObjectKey("batch", "jobs", "shop", "web")


@pytest.mark.parametrize(
    ("outcome", "kept", "then"),
    [
        (job.PENDING, False, job.STOPPED),
        (job.STARTING, True, job.STOPPED),
        (job.STARTING, False, job.LOST),
        (job.RUNNING, True, job.LOST),
        (job.COMPLETE, False, job.COMPLETE),
    ],
)
def test_what_may_have_run_before_it_was_gone_is_not_given_to_others(
    outcome: job.RunOutcome.ValueType, kept: bool, then: job.RunOutcome.ValueType
) -> None:
    """As one that was to start and may have been sent with a ttlSecondsAfterFinished."""
    obj = workload("batch/v1", "Job", {"completions": 3})
    before = Placement(runs=[JobRun(cluster="a", number=1, outcome=outcome, completions=3, kept=kept)])
    before.object.uid = obj["metadata"]["uid"]
    inputs = DecisionInput(key=KEY, obj=obj, table=table("a", "b"), previous=PreviousPlacement(before, 1))
    assert [run.outcome for run in ledger_of(inputs, confirmed={"a"})] == [then]
