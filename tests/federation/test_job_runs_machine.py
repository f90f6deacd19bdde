"""No sequence of losses, moves, removals and restarts does the work of a Job twice.

A model of a federation with three clusters: decisions and the records of runs are the product's own,
clusters and the store are simple values. What is counted is what Pods did, whether anybody saw it or not.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hanse_scheduler.decide.clusters import ClusterTable
from hanse_scheduler.decide.decision import decide
from hanse_scheduler.decide.inputs import DecisionInput, Observed, Rules
from hanse_scheduler.decide.policies import compile_placement
from hanse_scheduler.handshake.previous import PreviousPlacement
from hanse_syncer.decide.job_claims import current_run
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.api.type.v1 import job_run_pb2 as job
from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.federation.confirmation import confirmation_of
from hanse.federation.jobs import job_runs
from hanse.federation.jobs.indexes import indexes_text, union
from hanse.federation.jobs.job_work import JobEnding, ending_of
from hanse.federation.placements import is_releasing, placement_in
from hanse.store.keys import ObjectKey
from tests.scheduler.builders import offline, policy_object, view, workload

KEY = ObjectKey("batch", "jobs", "shop", "web")
NAMES = ("a", "b", "c")
CLUSTERS = st.sampled_from(NAMES)
TOLERATION = 60.0


@dataclass
class MemberJob:
    """A Job in a cluster, with what its Pods have done."""

    uid: str
    completions: int
    parallelism: int
    done: list[int] = field(default_factory=list)
    failed: bool = False

    @property
    def finished(self) -> bool:
        return self.failed or len(self.done) >= self.completions

    def status(self) -> dict[str, Any]:
        kind = "Failed" if self.failed else "Complete"
        ended = {"conditions": [{"type": kind, "status": "True"}]} if self.finished else {}
        return {
            "succeeded": len(self.done),
            "completedIndexes": indexes_text(union(*(((index, index),) for index in self.done))),
            **ended,
        }


@dataclass
class Member:
    """A cluster: whether it is in the federation and answers, its Job, and the syncer's record of it."""

    joined: bool = True
    uid: str = "joined-0"
    away_since: float = 0.0
    job: MemberJob | None = None
    state: SyncState | None = None
    refuses_since: float = 0.0
    """Since when it refuses to create a Job; 0 if it does not."""


class JobOfAFederation(RuleBasedStateMachine):
    """Everything that can happen to a Job, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000.0
        self.revision = 1
        self.members = {name: Member() for name in NAMES}
        self.placement: Placement | None = None
        self.excluded: list[str] = []
        self.uids = 0
        self.worked: list[int] = []
        """Every completion that a Pod has reached, by index for an Indexed Job."""

    @initialize(
        completions=st.integers(1, 6),
        parallelism=st.integers(1, 3),
        indexed=st.booleans(),
        ttl=st.booleans(),
    )
    def begin(self, completions: int, parallelism: int, indexed: bool, ttl: bool) -> None:
        self.completions, self.indexed, self.ttl = completions, indexed, ttl
        spec: dict[str, Any] = {"completions": completions, "parallelism": parallelism}
        if indexed:
            spec["completionMode"] = "Indexed"
        self.obj = workload("batch/v1", "Job", spec)
        self.place()

    @rule()
    def place(self) -> None:
        """The scheduler decides."""
        joined = {name: each for name, each in self.members.items() if each.joined}
        policy = policy_object(
            resourceSelectors=[{"apiVersion": "batch/v1", "kind": "Job"}], excludeClusters=self.excluded
        )
        inputs = DecisionInput(
            key=KEY,
            obj=self.obj,
            table=ClusterTable.of(
                offline(name, since=each.away_since, uid=each.uid)
                if each.away_since
                else view(name, uid=each.uid)
                for name, each in joined.items()
            ),
            previous=PreviousPlacement(self.placement, self.revision if self.placement else 0),
            observed={
                name: Observed(
                    confirmation=confirmation_of(each.state),
                    run=each.state.run if each.state.HasField("run") else None,
                    uid=each.state.object.uid,
                    refusal="Forbidden" if each.state.phase == sync.FAILED else "",
                    refused_since=each.refuses_since,
                )
                for name, each in joined.items()
                if each.state is not None
            },
            policy=compile_placement(policy),
        )
        decision = decide(inputs, rules=Rules(toleration=TOLERATION), now=self.now)
        if decision.changed:
            self.revision += 1
            self.placement = decision.placement

    @rule(name=CLUSTERS, crash=st.booleans())
    def look(self, name: str, crash: bool) -> None:
        """The syncer looks at one cluster; with `crash` it dies between the request and its record."""
        member, placement = self.members[name], self.placement
        if not member.joined or member.away_since or placement is None:
            return
        entry = placement_in(placement, name)
        releasing = is_releasing(placement, name)
        run = current_run(
            KEY,
            placement=placement,
            entry=entry,
            state=member.state,
            cluster=name,
            uid="u1",
            membership=member.uid,
        )
        if entry is not None and run is not None:
            self._present(member, run, completions=entry.completions, parallelism=entry.replicas, crash=crash)
        elif releasing and run is not None:
            self._absent(member, run, crash=crash)
        elif not releasing and entry is None and member.state and member.state.phase == sync.REMOVED:
            member.state = None

    def _present(
        self, member: Member, run: JobRun, *, completions: int, parallelism: int, crash: bool
    ) -> None:
        if member.job is not None:
            member.job.parallelism = parallelism
            run = job_runs.observed(run, uid=member.job.uid, status=member.job.status())
        elif job_runs.may_start(run, ttl=30 if self.ttl else None, now=self._time()):
            self._record(member, job_runs.claimed(run, self._time()))
            if member.refuses_since:
                self.place()  # the scheduler sees that it was asked
                refused = job_runs.refused(job_runs.claimed(run, self._time()))
                self._record(member, refused, phase=sync.FAILED)
                return
            self.uids += 1
            member.job = MemberJob(f"uid-{self.uids}", completions, parallelism)
            if crash:
                return
            run = job_runs.observed(
                job_runs.claimed(run, self._time()), uid=member.job.uid, status=member.job.status()
            )
        else:
            run = job_runs.gone(run, taken_away=False, ttl=30 if self.ttl else None)
        self._record(member, run)

    def _absent(self, member: Member, run: JobRun, *, crash: bool) -> None:
        if member.job is not None:
            run = job_runs.observed(run, uid=member.job.uid, status=member.job.status())
            self._record(member, job_runs.stopping(run))
            member.job = None
            if crash:
                return
            run = job_runs.gone(run, taken_away=True)
        else:
            run = job_runs.gone(run, taken_away=False, ttl=30 if self.ttl else None)
        self._record(member, run, phase=sync.REMOVED)

    def _record(self, member: Member, run: JobRun, *, phase: sync.SyncPhase.ValueType = sync.APPLIED) -> None:
        state = SyncState(phase=phase, run=run, placement_revision=self.revision)
        state.object.uid = "u1"
        member.state = state

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    @rule(name=CLUSTERS)
    def succeed(self, name: str) -> None:
        """A Pod ends, whoever sees it: also in a cluster that is out of reach, or not in the federation."""
        each = self.members[name].job
        if each is None or each.finished or not each.parallelism:
            return
        index = next(i for i in range(each.completions) if i not in each.done)
        each.done.append(index)
        self.worked.append(index if self.indexed else len(self.worked))

    @rule(name=CLUSTERS)
    def fail(self, name: str) -> None:
        """A Job has failed more often than it may."""
        each = self.members[name].job
        if each is not None and not each.finished and each.parallelism and len(each.done) % 3 == 2:
            each.failed = True

    @rule(name=CLUSTERS, seconds=st.sampled_from([31.0, 100.0]))
    def time_to_live_is_over(self, name: str, seconds: float) -> None:
        each = self.members[name].job
        if self.ttl and each is not None and each.finished:
            self.now += seconds
            self.members[name].job = None

    @rule(name=CLUSTERS)
    def deleted_by_hand(self, name: str) -> None:
        """Unless nobody has seen yet that the Job was made: that nothing tells from one that was not."""
        member = self.members[name]
        if member.state is not None and member.state.run.outcome == job.STARTING:
            return
        member.job = None

    @rule(name=CLUSTERS, refuses=st.booleans())
    def refuses(self, name: str, refuses: bool) -> None:
        """A quota is full, or is not any more."""
        self.members[name].refuses_since = self.now if refuses else 0.0

    @rule(name=CLUSTERS)
    def lose(self, name: str) -> None:
        member = self.members[name]
        member.away_since = member.away_since or self.now

    @rule(name=CLUSTERS)
    def come_back(self, name: str) -> None:
        self.members[name].away_since = 0.0

    @rule(seconds=st.sampled_from([1.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(excluded=st.lists(CLUSTERS, unique=True, max_size=2))
    def policy_moves_it(self, excluded: list[str]) -> None:
        self.excluded = excluded

    @rule(name=CLUSTERS)
    def dropped_by_force(self, name: str) -> None:
        """The cluster leaves without an answer; what is stored of it goes."""
        self.members[name] = replace(self.members[name], joined=False, state=None)

    @rule(name=CLUSTERS, rebuilt=st.booleans())
    def joins(self, name: str, rebuilt: bool) -> None:
        """A cluster joins by that name: the old one as it is, or an empty one."""
        member = self.members[name]
        if not member.joined:
            self.uids += 1
            self.members[name] = Member(uid=f"joined-{self.uids}", job=None if rebuilt else member.job)

    @invariant()
    def nothing_is_done_twice(self) -> None:
        assert len(self.worked) == len(set(self.worked))
        assert not self.worked or len(self.worked) <= self.completions

    @invariant()
    def what_was_seen_is_never_more_than_what_was_done(self) -> None:
        if self.placement is not None:
            assert sum(run.succeeded for run in self.placement.runs) <= len(self.worked)
            if ending_of(self.placement.runs, completions=self.completions) is JobEnding.COMPLETE:
                assert len(self.worked) == self.completions
                assert all(run.outcome != job.FAILED for run in self.placement.runs)


TestNothingIsDoneTwice = JobOfAFederation.TestCase
TestNothingIsDoneTwice.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("indexed", [False, True])
def test_what_a_cluster_refuses_is_run_by_others(indexed: bool) -> None:
    """After the toleration; with two clusters that refuse it the third one runs all."""
    machine = JobOfAFederation()
    for name in NAMES[:2]:
        machine.refuses(name, refuses=True)
    machine.begin(completions=5, parallelism=3, indexed=indexed, ttl=False)
    for _ in range(12):
        for name in NAMES:
            machine.look(name, crash=False)
            machine.succeed(name)
            machine.look(name, crash=False)
        machine.wait(TOLERATION)
        machine.place()
    assert machine.placement is not None
    assert ending_of(machine.placement.runs, completions=5) is JobEnding.COMPLETE
    assert len(machine.worked) == 5
    assert machine.members["c"].job is not None
    assert all(machine.members[name].job is None for name in NAMES[:2])


def test_a_job_that_all_refuse_remembers_no_more_than_the_last_try() -> None:
    """It is offered to one after the other, for as long as it takes, and then it is run."""
    machine = JobOfAFederation()
    for name in NAMES:
        machine.refuses(name, refuses=True)
    machine.begin(completions=2, parallelism=2, indexed=True, ttl=False)

    def go_on(steps: int) -> None:
        for _ in range(steps):
            for name in NAMES:
                machine.look(name, crash=False)
                machine.succeed(name)
            machine.wait(TOLERATION)
            machine.place()

    go_on(60)
    assert machine.placement is not None
    assert len(machine.placement.runs) <= len(NAMES)
    for name in NAMES:
        machine.refuses(name, refuses=False)
    go_on(12)
    assert machine.placement is not None
    assert ending_of(machine.placement.runs, completions=2) is JobEnding.COMPLETE


def test_left_alone_a_job_completes() -> None:
    """Safe is not enough: without faults everything that was asked is done, once."""
    machine = JobOfAFederation()
    machine.begin(completions=5, parallelism=2, indexed=False, ttl=True)
    for _ in range(8):
        for name in NAMES:
            machine.look(name, crash=False)
            machine.succeed(name)
            machine.look(name, crash=False)
        machine.place()
    assert machine.placement is not None
    assert ending_of(machine.placement.runs, completions=5) is JobEnding.COMPLETE
    assert len(machine.worked) == 5
