"""Runs of Jobs: what is known of one only ever gets better known; sets of indexes are never expanded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.type.v1 import job_run_pb2 as job
from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.federation.jobs import job_runs
from hanse.federation.jobs.indexes import (
    below,
    count_indexes,
    indexes_text,
    not_in,
    parse_indexes,
    prefix_left,
    union,
)
from hanse.federation.jobs.job_work import JobEnding, account, ending_of
from hanse.federation.placements import unplaced_sentence

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OUTCOMES = st.sampled_from(job.RunOutcome.values())
RUNS = st.builds(
    JobRun,
    cluster=st.just("a"),
    number=st.just(1),
    outcome=OUTCOMES,
    member_uid=st.sampled_from(["", "u"]),
    completions=st.integers(0, 9),
    succeeded=st.integers(0, 9),
    failed=st.integers(0, 3),
)


def run(outcome: job.RunOutcome.ValueType, **more: Any) -> JobRun:
    return JobRun(cluster="a", number=1, outcome=outcome, **more)


@given(RUNS, RUNS)
def test_knowledge_only_grows(known: JobRun, seen: JobRun) -> None:
    """What succeeded is not forgotten, what ended stays ended, and to hear it twice changes nothing."""
    merged = job_runs.merged(known, seen)
    assert merged.succeeded >= max(known.succeeded, seen.succeeded)
    if known.outcome in job_runs.ENDED:
        assert merged.outcome in job_runs.ENDED
    if job_runs.was_started(known):
        assert not job_runs.may_start(merged, ttl=None, now=NOW)
    assert job_runs.merged(merged, seen) == merged


@given(RUNS, st.none() | st.integers(0, 60), st.integers(0, 100))
def test_what_was_started_is_not_started_again(known: JobRun, ttl: int | None, later: int) -> None:
    """Also when its Job is gone, however that was found out."""
    now = NOW + timedelta(seconds=later)
    claimed = job_runs.claimed(known, NOW)
    seen = job_runs.observed(claimed, uid="u", status={"active": 1})
    for after in (seen, job_runs.gone(seen, taken_away=False), job_runs.gone(seen, taken_away=True)):
        assert not job_runs.may_start(after, ttl=ttl, now=now)


def test_a_request_without_an_answer_is_sent_again_unless_it_may_have_run() -> None:
    """A Job that stays when it has finished would be there; one with a time to live can be gone by then."""
    claimed = job_runs.claimed(run(job.PENDING), NOW)
    assert job_runs.may_start(claimed, ttl=None, now=NOW + timedelta(days=1))
    assert job_runs.may_start(claimed, ttl=10, now=NOW + timedelta(seconds=9))
    assert not job_runs.may_start(claimed, ttl=10, now=NOW + timedelta(seconds=10))
    assert job_runs.may_start(job_runs.refused(claimed), ttl=0, now=NOW + timedelta(days=1))
    again = job_runs.claimed(claimed, NOW + timedelta(seconds=5))
    assert again.claim_time == claimed.claim_time


def test_a_request_that_was_refused_is_told_from_one_without_an_answer() -> None:
    """Whoever has seen that the cluster was asked learns that it said no; and that it is asked again."""
    asked = job_runs.claimed(run(job.PENDING), NOW)
    no = job_runs.refused(asked)
    known = job_runs.merged(run(job.PENDING), asked)
    assert known.outcome == job.STARTING
    assert job_runs.merged(known, run(job.PENDING)).outcome == job.STARTING, "it says nothing of the request"
    told = job_runs.merged(known, no)
    assert told.outcome == job.PENDING
    assert job_runs.never_started(told)
    assert job_runs.merged(told, asked) == told, "an older record"
    again = job_runs.claimed(no, NOW)
    assert job_runs.merged(told, again).outcome == job.STARTING
    assert job_runs.merged(job_runs.merged(told, again), job_runs.refused(again)).outcome == job.PENDING


def test_a_job_that_was_asked_for_with_a_time_to_live_may_have_had_it_for_ever() -> None:
    """It is kept only if no request for it had one; what is seen of it says more than what was sent."""
    first = job_runs.claimed(run(job.PENDING), NOW, kept=True)
    assert first.kept
    assert job_runs.claimed(first, NOW, kept=True).kept
    with_one = job_runs.claimed(first, NOW, kept=False)
    assert not with_one.kept
    assert not job_runs.claimed(with_one, NOW, kept=True).kept
    assert job_runs.claimed(job_runs.refused(with_one), NOW, kept=True).kept
    seen = job_runs.observed(with_one, uid="u", status={}, spec={"completions": 1})
    assert seen.kept
    changed = job_runs.observed(seen, uid="u", status={}, spec={"ttlSecondsAfterFinished": 5})
    assert not changed.kept
    assert not job_runs.merged(seen, changed).kept
    assert job_runs.merged(seen, run(job.PENDING)).kept


@pytest.mark.parametrize(
    ("known", "taken_away", "outcome"),
    [
        (run(job.RUNNING, member_uid="u", completions=2, succeeded=1), False, job.LOST),
        (run(job.RUNNING, member_uid="u", completions=2, succeeded=1), True, job.STOPPED),
        (run(job.RUNNING, member_uid="u", completions=2, succeeded=2), False, job.COMPLETE),
        (run(job.COMPLETE, member_uid="u"), False, job.COMPLETE),
        (run(job.FAILED, member_uid="u"), True, job.FAILED),
        (run(job.PENDING), False, job.STOPPED),
    ],
)
def test_what_a_missing_job_means(known: JobRun, taken_away: bool, outcome: job.RunOutcome.ValueType) -> None:
    """It ended as it was seen last; where that was no end, it is unknown unless we took it away."""
    assert job_runs.gone(known, taken_away=taken_away).outcome == outcome


def test_pods_that_are_not_counted_yet_have_succeeded() -> None:
    """A Job controller names them before it counts them."""
    status = {"succeeded": 1, "uncountedTerminatedPods": {"succeeded": ["x", "y"]}}
    assert job_runs.observed(run(job.PENDING), uid="u", status=status).succeeded == 3


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.integers())))
def test_a_member_may_say_anything(status: dict[str, Any]) -> None:
    """Whatever shape a status has, the run is one."""
    seen = job_runs.observed(run(job.PENDING), uid="u", status=status)
    assert seen.succeeded >= 0
    assert seen.member_uid == "u"


def test_a_lost_run_that_is_seen_again_is_known_again() -> None:
    """A cluster that left and came back with its Job."""
    lost = job_runs.lost(run(job.RUNNING, member_uid="u"), "ClusterGone", "it left")
    assert job_runs.observed(lost, uid="u", status={"active": 1}).outcome == job.RUNNING
    (remembered,) = job_runs.remembered([run(job.RUNNING)], {}, memberships={})
    assert remembered.outcome == job.LOST


@given(st.sets(st.integers(0, 40)))
def test_indexes_are_read_as_they_are_written(indexes: set[int]) -> None:
    """Sets are written as Kubernetes does, and read back."""
    intervals = union(*(((index, index),) for index in indexes))
    assert parse_indexes(indexes_text(intervals)) == intervals
    assert count_indexes(intervals) == len(indexes)
    left = prefix_left(intervals, 41)
    rest = set(range(41)) - indexes
    assert (left is not None) == (rest == set(range(len(rest))))


@pytest.mark.parametrize("text", ["x", "3-1", "-1", "1,,2", "1-", "0-" + "9" * 40, "1" * 70_000])
def test_what_is_no_set_of_indexes_is_unknown(text: str) -> None:
    """It is not the empty set."""
    assert parse_indexes(text) is None


def test_a_huge_interval_costs_nothing() -> None:
    """A member may claim a billion indexes."""
    assert count_indexes(parse_indexes("0-999999999") or ()) == 10**9


@pytest.mark.parametrize(
    ("runs", "ending"),
    [
        ([run(job.COMPLETE, completions=2, succeeded=2)], JobEnding.NONE),
        ([run(job.COMPLETE, completions=3, succeeded=3)], JobEnding.COMPLETE),
        ([run(job.STOPPED, completions=3, succeeded=3)], JobEnding.COMPLETE),
        ([run(job.FAILED, completions=3)], JobEnding.FAILED),
        ([run(job.FAILED, completions=2), run(job.RUNNING, active=1)], JobEnding.FAILING),
        ([run(job.COMPLETE, whole=True)], JobEnding.COMPLETE),
        ([], JobEnding.NONE),
    ],
)
def test_a_job_ends_as_batch_has_it(runs: list[JobRun], ending: JobEnding) -> None:
    """Complete when all of it succeeded, whoever ran it; failed when a part has, and no Pod runs."""
    assert ending_of(runs, completions=3) is ending


@given(st.lists(RUNS, max_size=4), st.integers(0, 20), st.booleans())
def test_every_completion_is_somewhere(runs: list[JobRun], completions: int, restart: bool) -> None:
    """Done, given, withheld or left: nothing is lost."""
    work = account(runs, completions=completions, restart=restart)
    assert work.done + work.given + work.withheld + work.left >= completions


@given(st.sets(st.integers(0, 40)), st.integers(0, 45))
def test_what_is_not_in_a_set_is_the_rest(indexes: set[int], total: int) -> None:
    """The set and the rest are all, and have nothing in common."""
    intervals = union(*(((index, index),) for index in indexes))
    rest = not_in(intervals, total)
    assert count_indexes(rest) + count_indexes(below(intervals, total)) == total
    assert union(rest, below(intervals, total)) == (((0, total - 1),) if total else ())


@pytest.mark.parametrize(
    ("indexes", "words"),
    [("0,2", "indexes 1,3-5 are left, and no Job"), ("4-5", "indexes 0-3 are left")],
)
def test_the_indexes_that_are_left_are_named(indexes: str, words: str) -> None:
    """With what can be done about those that no Job can run."""
    succeeded = count_indexes(parse_indexes(indexes) or ())
    stopped = run(job.STOPPED, completions=6, succeeded=succeeded, completed_indexes=indexes)
    said = unplaced_sentence(Placement(unplaced_replicas=6 - succeeded, runs=[stopped]))
    assert said.startswith(f"{6 - succeeded} of 6 completions have no cluster")
    assert words in said
    assert said.endswith("to run all") == ("no Job" in words)
