"""The pure rules of the controllers: rollouts, capacity, Jobs, templates and conditions."""

from __future__ import annotations

from typing import Any

import pytest
from hanse_simulator.controllers import capacity, pods, podstatus
from hanse_simulator.controllers.conditions import set_condition
from hanse_simulator.workloads import jobrules, rollout
from hanse_simulator.workloads.rollout import Bounds, Replicas
from hypothesis import given
from hypothesis import strategies as st

from hanse.kube.model.objects import Object
from tests.simulator.cluster import template


@st.composite
def sets(draw: st.DrawFn, name: str) -> Replicas:
    """Draw a ReplicaSet with at most as many available as wanted."""
    wanted = draw(st.integers(0, 12))
    return Replicas(name, wanted, draw(st.integers(0, wanted)))


limits = st.builds(Bounds, st.integers(0, 4), st.integers(0, 4)).filter(lambda b: b.surge + b.unavailable > 0)


@given(new=sets("new"), old=sets("old"), replicas=st.integers(0, 12), bounds=limits)
def test_growing_respects_the_surge(new: Replicas, old: Replicas, replicas: int, bounds: Bounds) -> None:
    """A new ReplicaSet grows only into the room that the surge leaves, and never beyond what is wanted."""
    target = rollout.grow(new, [old], replicas=replicas, limits=bounds)
    assert target <= max(replicas, new.wanted)
    if target > new.wanted:
        assert target + old.wanted <= replicas + bounds.surge
    assert target >= min(new.wanted, replicas)


@given(new=sets("new"), first=sets("a"), second=sets("b"), replicas=st.integers(0, 12), bounds=limits)
def test_shrinking_keeps_enough_available(
    new: Replicas, first: Replicas, second: Replicas, replicas: int, bounds: Bounds
) -> None:
    """Old ReplicaSets give up Pods only as long as enough available ones stay."""
    olds = [first, second]
    wanted = rollout.shrink(new, olds, replicas=replicas, limits=bounds)
    assert all(0 <= wanted.get(o.name, o.wanted) <= o.wanted for o in olds)
    available = new.available + sum(o.available for o in olds)
    left = new.available + sum(min(o.available, wanted.get(o.name, o.wanted)) for o in olds)
    assert left >= min(available, replicas - bounds.unavailable)


@given(replicas=st.integers(1, 12), bounds=limits)
def test_a_rollout_ends(replicas: int, bounds: Bounds) -> None:
    """Growing and shrinking in turn, with every Pod ready at once, replaces all Pods in finite steps."""
    bounds = Bounds(bounds.surge, min(bounds.unavailable, replicas))
    if not bounds.surge and not bounds.unavailable:
        return
    new, old = Replicas("new", 0), Replicas("old", replicas, replicas)
    for _ in range(3 * replicas):
        count = rollout.grow(new, [old], replicas=replicas, limits=bounds)
        new = Replicas("new", count, count)
        count = rollout.shrink(new, [old], replicas=replicas, limits=bounds).get("old", old.wanted)
        old = Replicas("old", count, count)
        assert new.available + old.available >= replicas - bounds.unavailable
        assert new.wanted + old.wanted <= replicas + bounds.surge
    assert (new.wanted, old.wanted) == (replicas, 0)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(0, 60))
def test_a_share_is_complete_and_fair(wanted: list[int], total: int) -> None:
    """Sharing out replicas gives away exactly the total, nobody more than one beside the proportion."""
    replicas = [Replicas(str(i), w) for i, w in enumerate(wanted)]
    shares = rollout.share(replicas, total=total)
    assert sum(shares.values()) == total
    for one in replicas:
        assert abs(shares[one.name] - one.wanted * total / sum(wanted)) <= 1


@pytest.mark.parametrize(
    ("value", "total", "up", "expected"),
    [
        (3, 10, True, 3),
        ("25%", 10, True, 3),
        ("25%", 10, False, 2),
        ("0%", 10, True, 0),
        ("100%", 7, False, 7),
    ],
)
def test_percentages_round_as_told(value: int | str, total: int, up: bool, expected: int) -> None:
    """maxSurge rounds up, maxUnavailable down."""
    assert rollout.scaled(value, total, up=up) == expected


@given(st.sets(st.integers(0, 40)))
def test_intervals_say_exactly_the_indexes(indexes: set[int]) -> None:
    """completedIndexes can be read back."""
    text = jobrules.intervals(indexes)
    read: set[int] = set()
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        read |= set(range(int(low), int(high or low) + 1))
    assert read == indexes


def test_a_template_hash_ignores_what_does_not_matter() -> None:
    """Empty fields, the order of keys and the hash's own label make no other template; an image does."""
    one = template("web")
    same: Object = {"spec": {**one["spec"], "volumes": [], "nodeSelector": {}}, "metadata": one["metadata"]}
    label = "pod-template-hash"
    assert pods.template_hash(one, ignoring=label) == pods.template_hash(same, ignoring=label)
    labelled = pods.with_label(one, label, "x")
    assert pods.template_hash(labelled, ignoring=label) == pods.template_hash(one, ignoring=label)
    assert pods.same_template(labelled, one, ignoring=label)
    assert pods.template_hash(template("web", image="web:2")) != pods.template_hash(one)


def node(**allocatable: str) -> Object:
    """Return a ready node."""
    ready = {"type": "Ready", "status": "True"}
    return {
        "metadata": {"name": "n", "labels": {"disk": "ssd"}},
        "spec": {},
        "status": {"allocatable": {"pods": "10", **allocatable}, "conditions": [ready]},
    }


def pod(requests: dict[str, str] | None = None, **spec: Any) -> Object:
    """Return a Pod with one container."""
    container = {"name": "c", "image": "x", "resources": {"requests": requests or {}}}
    return {"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [container], **spec}}


def test_requests_count_init_containers_by_their_maximum() -> None:
    """A Pod takes the sum of its containers, or its biggest init container if that is more."""
    init = [{"name": "i", "resources": {"requests": {"cpu": "3", "memory": "1Gi"}}}]
    amount = capacity.requested(pod({"cpu": "500m", "memory": "2Gi"}, initContainers=init))
    assert amount == capacity.Amount(3000, 2 * 2**30, 1)


def test_a_full_node_refuses_only_those_who_ask() -> None:
    """CPU that is short refuses a Pod that asks for CPU; one that asks for none is taken."""
    full = node(cpu="1", memory="1Gi")
    used = capacity.Amount(1000, 0, 1)
    assert capacity.refusal(pod({"cpu": "1m"}), full, used=used) == "Insufficient cpu"
    assert capacity.refusal(pod({}), full, used=used) == ""
    assert capacity.refusal(pod({}), full, used=capacity.Amount(0, 0, 10)) == "Too many pods"
    assert capacity.refusal(pod({"memory": "2Gi"}), full, used=capacity.Amount()) == "Insufficient memory"


def test_selectors_and_affinity_choose_nodes() -> None:
    """nodeSelector and required node affinity must both allow a node."""
    here = node(cpu="4", memory="4Gi")
    assert capacity.selected(pod(nodeSelector={"disk": "ssd"}), here)
    assert not capacity.selected(pod(nodeSelector={"disk": "hdd"}), here)
    term = {"matchExpressions": [{"key": "disk", "operator": "NotIn", "values": ["ssd"]}]}
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    }
    assert not capacity.selected(pod(affinity=affinity), here)


def test_a_condition_keeps_its_transition_time() -> None:
    """lastTransitionTime changes with the status and not with the reason."""
    first = set_condition([], "Ready", status=False, reason="Starting", now="t1")
    second = set_condition(first, "Ready", status=False, reason="Waiting", now="t2")
    third = set_condition(second, "Ready", status=True, now="t3")
    assert [c[0]["lastTransitionTime"] for c in (first, second, third)] == ["t1", "t1", "t3"]
    assert third == [{"type": "Ready", "status": "True", "lastTransitionTime": "t3"}]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_quality_of_service_follows_resources(resources: Object, expected: str) -> None:
    """The class is derived as in Kubernetes."""
    assert podstatus.qos_class({"spec": {"containers": [{"resources": resources}]}}) == expected


def test_a_running_pods_changed_image_is_a_restart() -> None:
    """A container whose image changes in place starts again: its restarts count."""
    started = podstatus.running(pod(), host_ip="h", pod_ip="p", now="t1")
    changed = pod() | {"status": started}
    changed["spec"] = {"containers": [{"name": "c", "image": "y"}]}
    assert not podstatus.runs(changed)
    again = podstatus.running(changed, host_ip="h", pod_ip="p", now="t2")
    assert [s["restartCount"] for s in again["containerStatuses"]] == [1]
    assert again["startTime"] == "t1"
