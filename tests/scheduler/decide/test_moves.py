"""Moves between clusters: whatever their cause, what is old stays until as much is ready elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from hanse_scheduler.decide.decision import PlacementDecision
from hanse_scheduler.decide.inputs import Observed

from hanse.api.scheduler.v1.placement_pb2 import ABORTED, LATE, MOVING
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
    refused,
    releasing,
    run,
    table,
    taint,
    view,
    workload,
)

BOTH = table("a", "b")
CAUSES: dict[str, dict[str, Any]] = {
    "policy": {"policy": policy_object(clusterNames=["b"])},
    "taint": {"clusters": table(view("a", taints=(taint("drain", execute=True),)), "b")},
    "unjoin": {"clusters": table(view("a", leaving=True, ready=False, reachable=True), "b")},
    "eviction": {"evict": "a"},
}


def in_a(obj: Object, **more: Any) -> PlacementDecision:
    """The object, placed in cluster a alone."""
    return run(obj, BOTH, policy=policy_object(clusterNames=["a"]), **more)


def to_b(obj: Object, previous: PlacementDecision, move: dict[str, Any] | None = None, **more: Any) -> Any:
    """A decision by a policy that places the object in b alone."""
    more_spec: dict[str, Any] = {"move": move} if move else {}
    policy = policy_object(clusterNames=["b"], **more_spec)
    return run(obj, more.pop("clusters", BOTH), previous=previous, policy=policy, **more)


def of(a: int, b: int) -> dict[str, Observed]:
    """So many replicas are ready in a and b."""
    return {"a": ready(a), "b": ready(b)}


def phase(decision: PlacementDecision) -> int | None:
    """How far the move is; None if there is none."""
    assert decision.placement is not None
    return decision.placement.move.phase if decision.placement.HasField("move") else None


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("kind", ["divided", "duplicated", "config"])
def test_every_cause_leaves_no_gap(cause: str, kind: str) -> None:
    """A Deployment, one that every cluster has whole, and a ConfigMap stay in a until b has them."""
    mode: dict[str, Any] = {"replicas": {"mode": "Duplicated"}} if kind == "duplicated" else {}
    obj = config() if kind == "config" else deployment(4)
    before = run(obj, table("a"), policy=policy_object(**mode))
    more = dict(CAUSES[cause])
    clusters = more.pop("clusters", BOTH)
    more.setdefault("policy", policy_object())
    more["policy"] = {**more["policy"], "spec": {**more["policy"]["spec"], **mode}}
    begun = run(obj, clusters, previous=before, **more)
    assert list(leaving(begun)) == ["a"]
    assert set(placed(begun)) == {"a", "b"}
    assert releasing(begun) == []
    assert phase(begun) == MOVING
    more.pop("evict", None)
    again = run(obj, clusters, previous=begun, **more)
    assert not again.changed
    stale = run(obj, clusters, previous=begun, observed={"b": ready(4, revision=10)}, **more)
    assert list(leaving(stale)) == ["a"]
    generation = 0 if kind == "config" else 1
    there = {"b": ready(4, generation=generation)}
    done = run(obj, clusters, previous=begun, observed=there, **more)
    assert releasing(done) == ["a"]
    assert set(placed(done)) == {"b"}
    assert phase(done) is None


def test_goes_one_by_one_within_the_surge() -> None:
    """Of four replicas at most one runs too many."""
    move = {"maxSurge": "25%"}
    now = to_b(deployment(4), in_a(deployment(4)), move)
    for count in range(4):
        assert placed(now) == {"a": 4 - count, "b": count + 1}
        now = to_b(deployment(4), now, move, observed=of(4 - count, count + 1))
    assert placed(now) == {"b": 4}
    assert releasing(now) == ["a"]


def test_waits_on_after_the_deadline() -> None:
    """By default nothing goes that is not ready elsewhere, and the move counts as late."""
    begun = to_b(deployment(4), in_a(deployment(4)))
    assert begun.reconsider_at == NOW + 600
    late = to_b(deployment(4), begun, now=NOW + 600)
    assert phase(late) == LATE
    assert placed(late) == {"a": 4, "b": 4}
    assert "a keeps 4 old ones" in late.placement.move.message


def test_proceeds_after_the_deadline() -> None:
    """Proceed takes the old replicas away, ready or not."""
    move = {"deadlineSeconds": 30, "onDeadline": "Proceed"}
    begun = to_b(deployment(4), in_a(deployment(4)), move)
    assert placed(to_b(deployment(4), begun, move, now=NOW + 29)) == {"a": 4, "b": 4}
    over = to_b(deployment(4), begun, move, now=NOW + 30)
    assert placed(over) == {"b": 4}
    assert releasing(over) == ["a"]
    assert not to_b(deployment(4), over, move, now=NOW + 31).changed


def test_is_given_up_after_the_deadline() -> None:
    """Abort keeps what is ready on either side, and tries again when the object changes or on request."""
    move = {"deadlineSeconds": 30, "onDeadline": "Abort"}
    begun = to_b(deployment(4), in_a(deployment(4)), move)
    half = to_b(deployment(4), begun, move, observed=of(4, 1))
    assert placed(half) == {"a": 3, "b": 4}
    over = to_b(deployment(4), half, move, observed=of(4, 1), now=NOW + 30)
    assert phase(over) == ABORTED
    assert placed(over) == {"a": 3, "b": 1}
    assert not to_b(deployment(4), over, move, observed=of(4, 1), now=NOW + 99).changed
    none = to_b(deployment(4), begun, move, now=NOW + 30)
    assert placed(none) == {"a": 4}
    assert releasing(none) == ["b"]
    gone = to_b(deployment(4), none, move, now=NOW + 99)
    assert placed(gone) == {"a": 4}
    updated = deployment(4)
    updated["metadata"]["generation"] = 2
    assert placed(to_b(updated, none, move, now=NOW + 99)) == {"a": 4, "b": 4}
    assert placed(to_b(deployment(4), none, move, now=NOW + 99, rebalance=True)) == {"a": 4, "b": 4}


def test_the_policy_changes_its_mind() -> None:
    """Half-way back to a: what is ready there stays, and what is ready in b stays until a has it again."""
    begun = to_b(deployment(4), in_a(deployment(4)))
    untouched = in_a(deployment(4), previous=begun)
    assert placed(untouched) == {"a": 4}
    half = to_b(deployment(4), begun, observed=of(4, 2))
    assert placed(half) == {"a": 2, "b": 4}
    back = in_a(deployment(4), previous=half, observed={"a": ready(2), "b": ready(2)})
    assert placed(back) == {"a": 4, "b": 2}
    assert list(leaving(back)) == ["b"]
    done = in_a(deployment(4), previous=back, observed={"a": ready(4), "b": ready(2)})
    assert placed(done) == {"a": 4}


def test_updated_and_scaled_on_the_way() -> None:
    """Replicas of an older generation do not count; scaling changes what is wanted on both sides."""
    begun = to_b(deployment(4), in_a(deployment(4)))
    updated = deployment(6)
    updated["metadata"]["generation"] = 2
    now = to_b(updated, begun, observed={"b": ready(4)})
    assert placed(now) == {"a": 4, "b": 6}
    now = to_b(updated, now, observed={"b": ready(4, generation=2), "a": ready(4, generation=2)})
    assert placed(now) == {"a": 2, "b": 6}
    fewer = deployment(1)
    fewer["metadata"]["generation"] = 3
    now = to_b(fewer, begun, observed={"a": ready(4, generation=3)})
    assert placed(now) == {"a": 1, "b": 1}


def test_the_new_cluster_is_lost_on_the_way() -> None:
    """What an unreachable cluster said last does not count; the old one keeps what it has."""
    begun = to_b(deployment(4), in_a(deployment(4)))
    half = to_b(deployment(4), begun, observed=of(4, 2))
    lost = to_b(deployment(4), half, observed={"b": ready(4)}, clusters=table("a", offline("b")), now=NOW + 1)
    assert placed(lost)["a"] == 2


def test_an_old_cluster_that_is_lost_is_not_waited_for() -> None:
    """It keeps what it has for the toleration, and is released then, as without a move."""
    begun = to_b(deployment(4), in_a(deployment(4)))
    clusters = table(offline("a", since=NOW), "b")
    assert list(leaving(to_b(deployment(4), begun, clusters=clusters, now=NOW + 59))) == ["a"]
    assert releasing(to_b(deployment(4), begun, clusters=clusters, now=NOW + 60)) == ["a"]


def test_waits_for_a_cluster_that_is_closed_for_the_moment() -> None:
    """Nothing leaves a while b is cordoned; with nowhere to go at all it is no move."""
    closed = table("a", view("b", unschedulable=True))
    waiting = to_b(deployment(4), in_a(deployment(4)), clusters=closed)
    assert placed(waiting) == {"a": 4}
    assert waiting.placement.unplaced_replicas == 0
    nowhere = run(deployment(4), BOTH, previous=in_a(deployment(4)), policy=policy_object(clusterNames=["c"]))
    assert releasing(nowhere) == ["a"]


def test_a_cluster_that_keeps_its_objects_needs_no_time() -> None:
    """It is let go of at once, with all its replicas."""
    clusters = table(view("a", leaving=True, ready=False, reachable=True, keeps_objects=True), "b")
    decision = run(deployment(4), clusters, previous=in_a(deployment(4)))
    assert releasing(decision) == ["a"]


@pytest.mark.parametrize(("group", "kind"), [("apps", "StatefulSet"), ("batch", "Job"), ("batch", "CronJob")])
def test_what_must_not_run_twice_stops_first(group: str, kind: str) -> None:
    """One identity, and one schedule, is never in two clusters because of a move."""
    key = ObjectKey(group, f"{kind.lower()}s", "shop", "web")
    obj = workload(f"{group}/v1", kind, {"replicas": 2})
    selectors = [{"apiVersion": f"{group}/v1", "kind": kind}]
    first = policy_object(resourceSelectors=selectors, clusterNames=["a"])
    second = policy_object(resourceSelectors=selectors, clusterNames=["b"])
    before = run(obj, BOTH, key=key, policy=first)
    moved = run(obj, BOTH, key=key, policy=second, previous=before)
    assert releasing(moved) == ["a"]
    assert leaving(moved) == {}


def test_a_rebalance_is_remembered() -> None:
    """What a rebalance decided stands until it is done, though it is asked for once."""
    before = run(deployment(4), table("a"))
    begun = run(deployment(4), BOTH, previous=before, rebalance=True)
    assert placed(begun) == {"a": 4, "b": 2}
    later = run(deployment(4), BOTH, previous=begun, observed=of(4, 1))
    assert placed(later) == {"a": 3, "b": 2}
    assert placed(run(deployment(4), BOTH, previous=later, observed=of(4, 2))) == {"a": 2, "b": 2}


def test_what_is_needed_stays_with_its_workloads() -> None:
    """A ConfigMap that is in b already leaves a only when no workload of its namespace needs it there."""
    policy = policy_object(clusterNames=["b"])
    before = run(config(), BOTH)
    needed = run(config(), BOTH, previous=before, policy=policy, needed_in={"a"})
    assert list(leaving(needed)) == ["a"]
    assert needed.reconsider_at == float("inf")
    assert releasing(run(config(), BOTH, previous=needed, policy=policy)) == ["a"]
    assert refused(run(config(), BOTH, policy=policy)) == {"a": "NotNamedByPolicy"}


def test_a_cluster_to_which_nothing_is_left_is_no_origin() -> None:
    """A cluster that keeps the object with 0 replicas hands them over, and stays placed."""
    before = run(deployment(4), BOTH)
    full = {"b": Observed(replicas=2, refusal="Forbidden", refused_since=NOW - 60)}
    moved = run(deployment(4), BOTH, previous=before, observed={"b": Observed(refusal="x", refused_since=1)})
    assert leaving(moved) == {}
    assert placed(run(deployment(4), BOTH, previous=before, observed=full)) == {"a": 2, "b": 2}
