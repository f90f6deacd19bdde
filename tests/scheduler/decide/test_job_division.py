"""Sharing a Job out: what is done, or may be done, is given to nobody again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hanse_scheduler.decide.division import ClusterReplicas, Division
from hanse_scheduler.decide.inputs import DecisionInput
from hanse_scheduler.decide.once.job_division import RUN_ENDED, JobSituation, divide_job, whole_runs
from hanse_scheduler.decide.once.run_ledger import ledger_of
from hanse_scheduler.decide.planner import DEFAULT_PREFERENCES
from hanse_scheduler.decide.workloads import Totals
from hanse_scheduler.handshake.previous import PreviousPlacement
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.type.v1 import job_run_pb2 as job
from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.federation.jobs.job_runs import given_back, gone, is_open, latest
from hanse.federation.jobs.job_work import account
from hanse.store.keys import ObjectKey
from tests.scheduler.builders import NOW, offline, table, view, workload

TOLERATION = 60.0
NAMES = ("a", "b", "c", "d")
JOB_KEY = ObjectKey("batch", "jobs", "shop", "web")


def in_cluster(
    name: str,
    *,
    placed: bool = True,
    away_since: float | None = None,
    assigned: int = 1,
    refuses_since: float | None = None,
) -> ClusterReplicas:
    """A candidate, which has the Job if it is placed."""
    return ClusterReplicas(
        cluster=view(name) if away_since is None else offline(name, since=away_since),
        placed=placed,
        assigned=assigned if placed else None,
        refuses="" if refuses_since is None else "Forbidden",
        refuses_since=refuses_since or 0.0,
    )


def ran(
    cluster: str,
    outcome: job.RunOutcome.ValueType = job.RUNNING,
    *,
    completions: int | None = None,
    succeeded: int = 0,
    number: int = 1,
    indexes: str = "",
) -> JobRun:
    """A run of the Job."""
    return JobRun(
        cluster=cluster,
        number=number,
        outcome=outcome,
        completions=completions,
        succeeded=succeeded,
        completed_indexes=indexes,
        member_uid="u" if outcome != job.PENDING else "",
    )


def share(
    totals: Totals,
    clusters: list[ClusterReplicas],
    *runs: JobRun,
    restart: bool = False,
    removing: tuple[str, ...] = (),
) -> Division:
    """Divide at NOW."""
    situation = JobSituation(
        runs=runs,
        removing=removing,
        restart=restart,
        preferences=DEFAULT_PREFERENCES,
        toleration=TOLERATION,
        now=NOW,
        key="shop/web",
    )
    return divide_job(totals, clusters=clusters, situation=situation)


RUNS = st.lists(
    st.builds(
        ran,
        st.sampled_from(NAMES),
        st.sampled_from(
            [job.PENDING, job.STARTING, job.RUNNING, job.COMPLETE, job.STOPPED, job.LOST, job.FAILED]
        ),
        completions=st.integers(0, 9),
        succeeded=st.integers(0, 9),
    ),
    unique_by=lambda run: run.cluster,
)
CLUSTERS = st.lists(
    st.builds(
        in_cluster,
        st.sampled_from(NAMES),
        placed=st.booleans(),
        away_since=st.sampled_from([None, None, NOW - 10, NOW - 100]),
        assigned=st.integers(0, 4),
        refuses_since=st.sampled_from([None, None, NOW - 10, NOW - 100]),
    ),
    unique_by=lambda item: item.cluster.name,
    min_size=1,
)


@given(st.integers(0, 9), st.integers(0, 12), CLUSTERS, RUNS, st.booleans())
def test_no_completion_is_started_twice(
    parallelism: int, completions: int, clusters: list[ClusterReplicas], runs: list[JobRun], restart: bool
) -> None:
    """What is newly given is no more than what is neither done, nor given, nor withheld."""
    division = share(Totals(parallelism, completions), clusters, *runs, restart=restart)
    moved = [name for name, item in division.shares.items() if item.suspended]
    work = account(runs, completions=completions, moved=moved, restart=restart)
    new = {
        name: item.completions or 0
        for name, item in division.shares.items()
        if not item.suspended and (run := latest(runs, name), item.run)[1] > (run.number if run else 0)
    }
    assert sum(new.values()) <= work.left
    assert not (work.failed and new)
    for name, item in division.shares.items():
        run = latest(runs, name)
        if run is not None and item.run == run.number and not item.suspended:
            assert (item.completions or 0) == run.completions, "a member cannot change its completions"
    for name in new:
        run = latest(runs, name)
        assert run is None or not is_open(run) or (restart and run.outcome == job.LOST)


@given(CLUSTERS)
def test_an_indexed_job_runs_in_one_cluster(clusters: list[ClusterReplicas]) -> None:
    """Each Pod of an Indexed Job has an index that counts once."""
    fresh = [in_cluster(item.cluster.name, placed=False) for item in clusters]
    division = share(Totals(4, 6, indivisible=True), fresh)
    assert [item.completions for item in division.shares.values()] == [6]


@pytest.mark.parametrize(
    ("indexes", "succeeded", "left"),
    [("", 0, 6), ("4-5", 2, 4), ("0", 1, None), ("0,5", 2, None), ("", 2, None)],
)
def test_finished_indexes_are_not_repeated(indexes: str, succeeded: int, left: int | None) -> None:
    """What is left of an Indexed Job runs elsewhere if it is the indexes up to some n, and else nowhere."""
    stopped = ran("a", job.STOPPED, completions=6, succeeded=succeeded, indexes=indexes)
    division = share(Totals(2, 6, indivisible=True), [in_cluster("b", placed=False)], stopped)
    assert [item.completions for item in division.shares.values()] == ([left] if left else [])
    assert division.unplaced == (0 if left else 6 - succeeded)


def test_a_finished_job_is_given_to_nobody() -> None:
    """Wherever its cluster is now: `job-rerun`."""
    done = ran("a", job.COMPLETE, completions=1, succeeded=1)
    for clusters in (
        [in_cluster("a", away_since=NOW - 100), in_cluster("b", placed=False)],
        [in_cluster("b", placed=False)],
        [in_cluster("a", placed=False), in_cluster("b", placed=False)],
    ):
        for restart in (False, True):
            division = share(Totals(1, 1), clusters, done, restart=restart)
            assert {item.run for item in division.shares.values()} <= {1}
            assert division.unplaced == division.withheld == 0


def test_the_remainder_is_divided() -> None:
    """What succeeded before the federation took a Job away counts, and the rest is run elsewhere."""
    stopped = ran("a", job.STOPPED, completions=6, succeeded=4)
    division = share(Totals(2, 6), [in_cluster("b", placed=False)], stopped)
    assert {name: item.completions for name, item in division.shares.items()} == {"b": 2}


def test_a_cluster_that_ended_is_called_back_for_what_nobody_else_can_run() -> None:
    """It is released first, and has a run of another number when its Job is gone."""
    runs = (
        ran("a", job.COMPLETE, completions=3, succeeded=3),
        ran("b", job.STOPPED, completions=3, succeeded=1),
    )
    division = share(Totals(2, 6), [in_cluster("a")], *runs)
    assert division.refused["a"][0] == RUN_ENDED
    division = share(Totals(2, 6), [in_cluster("a", placed=False)], *runs, removing=("a",))
    assert not division.shares
    division = share(Totals(2, 6), [in_cluster("a", placed=False)], *runs)
    assert (division.shares["a"].run, division.shares["a"].completions) == (2, 2)


@pytest.mark.parametrize("outcome", [job.RUNNING, job.PENDING, job.LOST])
def test_what_may_be_done_is_withheld_unless_a_policy_says_restart(
    outcome: job.RunOutcome.ValueType,
) -> None:
    """A cluster that is silent for the toleration, or whose Job is gone, may have done its part."""
    clusters = [in_cluster("a", away_since=NOW - 100), in_cluster("b", placed=False)]
    run = ran("a", outcome, completions=4, succeeded=1)
    division = share(Totals(2, 4), clusters, run)
    assert (division.withheld, division.unplaced, division.shares.get("b")) == (3, 0, None)
    division = share(Totals(2, 4), clusters, run, restart=True)
    assert division.shares["b"].completions == 3


def test_when_a_part_has_failed_no_other_starts_pods() -> None:
    """As the Pods of a Job that has failed are stopped."""
    runs = ran("a", job.FAILED, completions=3), ran("b", completions=3, succeeded=1)
    division = share(Totals(2, 6), [in_cluster("a"), in_cluster("b"), in_cluster("c", placed=False)], *runs)
    assert division.shares["b"].replicas == 0
    assert "c" in division.refused
    assert division.unplaced == 0


def test_a_job_without_completions_is_not_begun_again() -> None:
    """Once one has succeeded, or may have, no other cluster begins to work on it."""
    clusters = [in_cluster("a"), in_cluster("b", placed=False)]
    for run in (ran("a", job.COMPLETE, succeeded=1), ran("a", job.LOST), ran("a", succeeded=1), ran("a")):
        assert "b" in share(Totals(4), clusters, run).refused
    assert share(Totals(4), clusters, ran("a", job.STOPPED)).shares["b"].replicas > 0
    assert len(share(Totals(4), [in_cluster("a", placed=False), in_cluster("b", placed=False)]).shares) == 2


def test_completions_that_nobody_can_run_are_counted() -> None:
    """Where every cluster is away and has none, all are left."""
    division = share(Totals(2, 6), [in_cluster("a", placed=False, away_since=NOW - 10)])
    assert division.notes == ["6 of 6 completions have no cluster that may run them"]
    assert division.unplaced == 6


def test_a_run_that_is_refused_is_given_back() -> None:
    """Released first, after the toleration, if another cluster can take it; it is given away once the release
    is confirmed, and not to a cluster that has refused it lately."""
    refuses = in_cluster("a", refuses_since=NOW - 100)
    pending, other = ran("a", job.PENDING, completions=4), in_cluster("b", placed=False)
    division = share(Totals(2, 4), [refuses, other], pending)
    assert division.refused["a"][0] == "Refused"
    assert division.taken_back == {"a": "Forbidden"}
    assert not division.shares, "nobody has it before the other has confirmed"
    assert share(Totals(2, 4), [refuses], pending).shares["a"].completions == 4, "no other can take it"
    early = share(Totals(2, 4), [in_cluster("a", refuses_since=NOW - 10), other], pending)
    assert early.shares["a"].completions == 4
    assert early.reconsider_at == NOW - 10 + TOLERATION
    back = given_back(pending, "Forbidden", datetime.fromtimestamp(NOW, UTC))
    stopped = gone(back, taken_away=False)
    assert (stopped.outcome, stopped.reason) == (job.STOPPED, "Refused")
    free = in_cluster("a", placed=False)
    assert set(share(Totals(2, 4), [free, other], stopped).shares) == {"b"}
    assert share(Totals(2, 4), [free], stopped).shares["a"].run == 2, "it is asked again where no other is"


@pytest.mark.parametrize("outcome", [job.STARTING, job.RUNNING, job.LOST, job.COMPLETE])
def test_a_run_that_may_have_started_is_not_given_back(outcome: job.RunOutcome.ValueType) -> None:
    """Whatever the cluster refuses now, it may have taken the request before."""
    clusters = [in_cluster("a", refuses_since=NOW - 100), in_cluster("b", placed=False)]
    division = share(Totals(2, 4), clusters, ran("a", outcome, completions=4))
    assert not division.taken_back
    assert "b" not in division.shares


def test_a_job_with_rules_about_its_indexes_is_not_cut() -> None:
    """A successPolicy names indexes of the whole Job: what is left of it is run elsewhere only if that is
    all."""
    totals = Totals(2, 6, indivisible=True, by_index=True)
    clusters = [in_cluster("b", placed=False)]
    begun = ran("a", job.STOPPED, completions=6, succeeded=2, indexes="4-5")
    assert not share(totals, clusters, begun).shares
    assert share(totals, clusters, ran("a", job.STOPPED, completions=6)).shares["b"].completions == 6
    done = ran("a", job.COMPLETE, completions=6, succeeded=2, indexes="4-5")
    assert share(totals, clusters, done).unplaced == 0, "its cluster says that this is success"


def test_more_pods_at_a_time_than_completions() -> None:
    """As many clusters as there are completions work on them, and no completion is given twice."""
    clusters = [in_cluster(name, placed=False) for name in NAMES]
    division = share(Totals(40, 2), clusters)
    assert sum(item.completions or 0 for item in division.shares.values()) == 2
    assert all(item.completions and item.replicas for item in division.shares.values())
    assert share(Totals(0, 2), clusters).unplaced == 0, "a Job that is paused by parallelism 0 is placed"


def test_a_copy_is_started_again_only_where_it_was_stopped() -> None:
    """With the mode Duplicated each cluster has the Job for itself, once."""
    runs = [ran("a", job.STOPPED), ran("b", job.COMPLETE), ran("c", job.LOST)]
    clusters = {"a": False, "b": False, "c": False, "d": False}
    assert whole_runs(clusters, runs=runs, restart=False, removing=()) == {"a": 2, "b": 1, "c": 1, "d": 1}
    assert whole_runs(clusters, runs=runs, restart=True, removing=("a",)) == {"a": 1, "b": 1, "c": 2, "d": 1}


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
    inputs = DecisionInput(key=JOB_KEY, obj=obj, table=table("a", "b"), previous=PreviousPlacement(before, 1))
    assert [run.outcome for run in ledger_of(inputs, confirmed={"a"})] == [then]
