"""Fewer clusters than there are: one that has lost its share of an object does not count among them."""

from __future__ import annotations

from typing import Any

import pytest
from hanse_scheduler.decide.clusters import MemberCluster
from hanse_scheduler.decide.decision import PlacementDecision
from hanse_scheduler.decide.inputs import Observed
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.scheduler.v1.placement_pb2 import MOVING
from hanse.kube.model.objects import Object
from hanse.store.keys import ObjectKey
from tests.scheduler.builders import (
    NOW,
    config,
    deployment,
    leaving,
    offline,
    placed,
    policy_object,
    ready,
    releasing,
    run,
    suspended,
    table,
    view,
    workload,
)

DAEMON = ObjectKey("apps", "daemonsets", "shop", "web")
SET = ObjectKey("apps", "statefulsets", "shop", "web")
SELECTED = [
    {"apiVersion": "apps/v1", "kind": "Deployment"},
    {"apiVersion": "apps/v1", "kind": "DaemonSet"},
    {"apiVersion": "apps/v1", "kind": "StatefulSet"},
    {"apiVersion": "v1", "kind": "ConfigMap"},
]
CASES: dict[str, tuple[Object, dict[str, Any]]] = {
    "divided": (deployment(4), {}),
    "duplicated": (deployment(4), {"replicas": {"mode": "Duplicated"}}),
    "daemonset": (workload("apps/v1", "DaemonSet", {}), {}),
    "config": (config(), {}),
}


def one(**spec: Any) -> Object:
    """A policy that allows one cluster."""
    return policy_object(resourceSelectors=SELECTED, maxClusters=1, **spec)


def key_of(obj: Object) -> ObjectKey | None:
    """The key of kinds that the builders do not know."""
    return {"DaemonSet": DAEMON, "StatefulSet": SET}.get(str(obj["kind"]))


@pytest.mark.parametrize("case", CASES)
def test_another_cluster_takes_the_place_of_one_that_is_lost(case: str) -> None:
    """After the toleration, and not before; the lost one is suspended, and keeps nothing when it is back."""
    obj, spec = CASES[case]
    more: dict[str, Any] = {"key": key_of(obj), "policy": one(**spec)}
    first = run(obj, table("a", "b"), **more)
    (old,) = placed(first)
    (new,) = {"a", "b"} - {old}
    lost = table(offline(old, since=NOW), new)
    within = run(obj, lost, previous=first, now=NOW + 59, **more)
    assert placed(within) == placed(first)
    assert within.reconsider_at == NOW + 60
    moved = run(obj, lost, previous=within, now=NOW + 60, **more)
    assert set(placed(moved)) == {new}
    assert suspended(moved) == {old}
    assert releasing(moved) == []
    assert not run(obj, lost, previous=moved, now=NOW + 500, **more).changed
    generation = 0 if case == "config" else 1
    there = {new: ready(4, generation=generation)}
    back = run(obj, table("a", "b"), previous=moved, now=NOW + 600, observed=there, **more)
    assert (set(placed(back)), releasing(back)) == ({new}, [old])
    assert suspended(back) == set()


@pytest.mark.parametrize("case", CASES)
def test_what_is_back_stays_until_its_place_is_really_taken(case: str) -> None:
    """Where the other cluster never got it ready, the one that is back keeps what runs there."""
    obj, spec = CASES[case]
    more: dict[str, Any] = {"key": key_of(obj), "policy": one(**spec)}
    first = run(obj, table("a", "b"), **more)
    (old,) = placed(first)
    (new,) = {"a", "b"} - {old}
    moved = run(obj, table(offline(old, since=NOW), new), previous=first, now=NOW + 60, **more)
    back = run(obj, table("a", "b"), previous=moved, now=NOW + 600, **more)
    assert list(leaving(back)) == [old]
    assert releasing(back) == []
    assert back.placement is not None
    assert back.placement.move.phase == MOVING
    assert not run(obj, table("a", "b"), previous=back, now=NOW + 601, **more).changed
    generation = 0 if case == "config" else 1
    there = {new: ready(4, generation=generation)}
    done = run(obj, table("a", "b"), previous=back, now=NOW + 602, observed=there, **more)
    assert (set(placed(done)), releasing(done)) == ({new}, [old])


def test_what_returns_is_not_taken_away_before_what_replaced_it_is_ready() -> None:
    """The same without a limit: the replicas that count elsewhere are proven first."""
    policy = policy_object(replicas={"rebalance": False})
    first = run(deployment(4), table("a"), policy=policy)
    moved = run(
        deployment(4), table(offline("a", since=NOW), "b"), previous=first, policy=policy, now=NOW + 60
    )
    assert placed(moved) == {"b": 4}
    back = run(deployment(4), table("a", "b"), previous=moved, policy=policy, now=NOW + 90)
    assert (placed(back)["a"], placed(back)["b"]) == (4, 4)
    observed = {"a": ready(4), "b": ready(4)}
    done = run(deployment(4), table("a", "b"), previous=back, policy=policy, now=NOW + 91, observed=observed)
    assert sum(count or 0 for count in placed(done).values()) == 4


def test_a_cluster_that_refuses_the_object_gives_its_place_away() -> None:
    """After the toleration; what runs there keeps it, and it does not come back by itself."""
    policy = one()
    first = run(deployment(4), table("a", "b"), policy=policy)
    (old,) = placed(first)
    (new,) = {"a", "b"} - {old}
    no = {old: Observed(refusal="Forbidden", refused_since=NOW)}
    soon = run(deployment(4), table("a", "b"), policy=policy, previous=first, observed=no, now=NOW + 59)
    assert placed(soon) == {old: 4}
    late = run(deployment(4), table("a", "b"), policy=policy, previous=first, observed=no, now=NOW + 60)
    assert placed(late)[new] == 4
    taken = {old: Observed(), new: ready(4)}
    after = run(deployment(4), table("a", "b"), policy=policy, previous=late, observed=taken, now=NOW + 70)
    assert placed(after) == {new: 4}
    assert releasing(after) == [old]
    some = {old: Observed(replicas=1, refusal="Forbidden", refused_since=NOW)}
    kept = run(deployment(4), table("a", "b"), policy=policy, previous=first, observed=some, now=NOW + 60)
    assert set(placed(kept)) == {old}


def test_what_must_not_run_twice_stays() -> None:
    """Nobody knows that a StatefulSet has stopped in a cluster that does not answer; a policy can risk it."""
    obj = workload("apps/v1", "StatefulSet", {"replicas": 3})
    for policy, moves in ((one(), False), (one(whenUnknown="Restart"), True)):
        first = run(obj, table("a", "b"), key=SET, policy=policy)
        (old,) = placed(first)
        lost = table(*(offline(name, since=0) if name == old else view(name) for name in "ab"))
        after = run(obj, lost, key=SET, policy=policy, previous=first, now=NOW + 500)
        assert (set(placed(after)) == {old}) is not moves


def test_a_spread_is_kept_when_one_of_them_is_lost() -> None:
    """Of two regions one is lost: the replacement is the one in the third region."""
    clusters = [
        view("a", region="eu"),
        view("b", region="us"),
        view("c", region="eu"),
        view("d", region="ap"),
    ]
    policy = policy_object(maxClusters=2, spreadBy="region")
    first = run(deployment(4), table(*clusters[:2]), policy=policy)
    lost = offline("a", since=NOW, region="eu")
    after = run(deployment(4), table(lost, *clusters[1:]), policy=policy, previous=first, now=NOW + 60)
    assert set(placed(after)) <= {"b", "c", "d"}
    assert len(placed(after)) == 2
    assert "b" in placed(after)
    assert suspended(after) == {"a"}


NAMES = "abcd"
ROUNDS = st.lists(st.frozensets(st.sampled_from(NAMES), max_size=3), min_size=1, max_size=8)


def clusters_of(away: frozenset[str], since: dict[str, float]) -> list[MemberCluster]:
    """All clusters, of which some are away."""
    return [offline(name, since=since[name]) if name in away else view(name) for name in NAMES]


@given(rounds=ROUNDS, most=st.integers(1, 3), case=st.sampled_from(sorted(CASES)))
def test_clusters_that_are_lost_and_come_back(*, rounds: list[frozenset[str]], most: int, case: str) -> None:
    """Whatever is lost for how long: as many clusters as are allowed have the object, all its replicas are in
    clusters that answer, deciding again changes nothing, and who comes back drives nobody out."""
    obj, spec = CASES[case]
    policy = policy_object(resourceSelectors=SELECTED, maxClusters=most, **spec)
    generation = 0 if case == "config" else 1
    revision, now = 20, float(NOW)
    observed: dict[str, Observed] = {}
    since: dict[str, float] = {}
    decision: PlacementDecision | None = None
    for away in rounds:
        before = set(placed(decision)) if decision is not None else set()
        since = {name: since.get(name, now) for name in away}
        now += 61
        for _ in range(3):  # the moves that a return begins are over then, since all is ready
            decision = run(
                obj,
                table(*clusters_of(away, since)),
                key=key_of(obj),
                policy=policy,
                previous=decision,
                observed=observed,
                now=now,
            )
            observed = {
                name: ready(count if count is not None else 4, generation=generation, revision=revision)
                for name, count in placed(decision).items()
            }
        assert decision is not None
        has = placed(decision)
        assert not leaving(decision)
        serving = set(has) - away
        if case == "divided":  # which may need fewer clusters
            assert set(has) == serving
            assert 0 < len(has) <= most
            assert sum(count or 0 for count in has.values()) == 4
        else:  # one whose place nobody could take keeps it
            assert len(serving) == min(most, len(NAMES) - len(away))
            assert len(has) <= most
        assert before - away <= set(has)
