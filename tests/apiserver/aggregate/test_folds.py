"""The laws of folding, for each built-in kind whose status has a meaning of its own.

One cluster's status is passed on as it is; more clusters never make the whole better than it is in any of
them; in which order they are named changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from hanse_apiserver.aggregate import Decision, Member, aggregate
from hypothesis import given
from hypothesis import strategies as st

from hanse.kube.model.quantity import Quantity
from tests.apiserver.test_aggregate import GENERATION, member

Status = dict[str, Any]
Draw = Callable[[Any], Any]
NOW: Final = "2026-01-01T00:00:00Z"
COUNTS: Final = st.integers(0, 5)
GOOD: Final = frozenset(
    {
        "readyReplicas", "availableReplicas", "updatedReplicas", "fullyLabeledReplicas", "numberReady",
        "numberAvailable", "updatedNumberScheduled", "currentHealthy", "disruptionsAllowed",
    }
)  # fmt: skip
"""Counts of which more is better."""


def said(kind: str, status: bool | None, reason: str, **more: Any) -> Status:
    """A condition."""
    word = "Unknown" if status is None else str(status)
    times = {"lastTransitionTime": NOW}
    return {"type": kind, "status": word, "reason": reason, "message": reason, **times, **more}


def positive(**counts: int) -> Status:
    """The counts that are not 0: Kubernetes leaves those out."""
    return {name: count for name, count in counts.items() if count}


@st.composite
def deployments(draw: Draw) -> Status:
    """In any phase of a rollout: paused, surging, with Pods that are not ready."""
    old, new = draw(COUNTS), draw(COUNTS)
    available = draw(st.integers(0, old + new))
    ready = draw(st.integers(available, old + new))
    unavailable = draw(st.integers(0, 3)) + old + new - available
    progressing = draw(
        st.sampled_from(
            [
                said("Progressing", None, "DeploymentPaused"),
                said("Progressing", True, "ReplicaSetUpdated"),
                said("Progressing", False, "ProgressDeadlineExceeded"),
            ]
        )
    )
    return {
        "observedGeneration": 1,
        **positive(
            replicas=old + new,
            updatedReplicas=new,
            readyReplicas=ready,
            availableReplicas=available,
            unavailableReplicas=unavailable,
            terminatingReplicas=draw(COUNTS),
            collisionCount=draw(COUNTS),
        ),
        "conditions": [said("Available", draw(st.booleans()), "Minimum"), progressing],
    }


@st.composite
def stateful_sets(draw: Draw) -> Status:
    """Rolling, or updated when Pods are deleted: some have the new revision."""
    replicas = draw(COUNTS)
    updated = draw(st.integers(0, replicas))
    available = draw(st.integers(0, replicas))
    moving = draw(st.booleans())
    return {
        "observedGeneration": 1,
        "replicas": replicas,
        "availableReplicas": available,
        "currentRevision": "web-1",
        "updateRevision": "web-2" if moving else "web-1",
        "collisionCount": 0,
        **positive(
            readyReplicas=draw(st.integers(available, replicas)),
            updatedReplicas=updated,
            currentReplicas=replicas - updated if moving else replicas,
        ),
    }


@st.composite
def daemon_sets(draw: Draw) -> Status:
    """With nodes that have none, or one that is not ready."""
    desired = draw(COUNTS)
    available = draw(st.integers(0, desired))
    return {
        "observedGeneration": 1,
        "currentNumberScheduled": draw(st.integers(available, desired)),
        "numberMisscheduled": draw(COUNTS),
        "desiredNumberScheduled": desired,
        "numberReady": draw(st.integers(available, desired)),
        **positive(
            updatedNumberScheduled=draw(st.integers(0, desired)),
            numberAvailable=available,
            numberUnavailable=desired - available,
        ),
    }


@st.composite
def claims(draw: Draw) -> Status:
    """Bound, waiting or lost, while it is made larger."""
    phase = draw(st.sampled_from(["Bound", "Bound", "Pending", "Lost"]))
    if phase == "Pending":
        return {"phase": phase}
    modes = draw(st.lists(st.sampled_from(["ReadWriteOnce", "ReadOnlyMany"]), min_size=1, unique=True))
    size = draw(st.sampled_from(["1Gi", "1500Mi", "2Gi"]))
    more = draw(
        st.sampled_from(
            [{}, {"allocatedResources": {"storage": "2Gi"}}, {"currentVolumeAttributesClassName": "fast"}]
        )
    )
    return {"phase": phase, "accessModes": modes, "capacity": {"storage": size}, **more}


@st.composite
def budgets(draw: Draw) -> Status:
    """With Pods that may be disrupted, and one that is being."""
    expected = draw(COUNTS)
    healthy = draw(st.integers(0, expected))
    desired = draw(st.integers(0, expected))
    allowed = max(0, healthy - desired)
    condition = said("DisruptionAllowed", allowed > 0, "SufficientPods", observedGeneration=1)
    return {
        "observedGeneration": 1,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "expectedPods": expected,
        **draw(st.sampled_from([{}, {"disruptedPods": {"web-0": NOW}}])),
        "conditions": [condition],
    }


@st.composite
def autoscalers(draw: Draw) -> Status:
    """That scale, or cannot."""
    metric = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 60}}}
    return {
        "currentReplicas": draw(st.integers(1, 5)),
        "desiredReplicas": draw(st.integers(1, 5)),
        "lastScaleTime": NOW,
        **draw(st.sampled_from([{}, {"currentMetrics": [metric]}])),
        "conditions": [
            said("AbleToScale", draw(st.booleans()), "ReadyForNewScale"),
            said("ScalingActive", draw(st.booleans()), "ValidMetricFound"),
        ],
    }


@st.composite
def balanced(draw: Draw) -> Status:
    """Addresses of a load balancer, or none yet."""
    numbers = draw(st.lists(st.integers(1, 200), max_size=3, unique=True))
    found = [{"ip": f"192.0.2.{number}"} for number in numbers]
    return {"loadBalancer": {"ingress": found} if found else {}}


KINDS: Final[dict[tuple[str, str], tuple[st.SearchStrategy[Status], Status]]] = {
    ("apps", "deployments"): (deployments(), {"replicas": 3}),
    ("apps", "statefulsets"): (stateful_sets(), {"replicas": 3, "updateStrategy": {"type": "OnDelete"}}),
    ("apps", "daemonsets"): (daemon_sets(), {}),
    ("", "persistentvolumeclaims"): (claims(), {}),
    ("policy", "poddisruptionbudgets"): (budgets(), {}),
    ("autoscaling", "horizontalpodautoscalers"): (autoscalers(), {}),
    ("networking.k8s.io", "ingresses"): (balanced(), {}),
    ("", "services"): (balanced(), {}),
}
EVERY: Final = pytest.mark.parametrize("kind", [pytest.param(kind, id=kind[1]) for kind in KINDS])


def folded(kind: tuple[str, str], *members: Member) -> Status:
    """The status of the whole, without the detail."""
    obj = {"metadata": {"name": "web", "generation": GENERATION}, "spec": KINDS[kind][1]}
    decision = Decision(generation=GENERATION)
    status = aggregate(
        *kind, obj, members=sorted(members, key=lambda m: m.cluster), decision=decision, now=NOW
    )
    return {name: value for name, value in status.items() if name != "clusters"}


def comparable(status: Status) -> Status:
    """A status without generations, which each cluster counts for itself, and with conditions by type."""
    kept = {
        name: value for name, value in status.items() if name not in ("observedGeneration", "desiredReplicas")
    }
    conditions = kept.pop("conditions", [])
    told = {c["type"]: {n: v for n, v in c.items() if n != "observedGeneration"} for c in conditions}
    return {**kept, "conditions": told}


def members_of(statuses: list[Status], away: set[int]) -> list[Member]:
    """A member for each status; those in `away` cannot be reached."""
    return [
        member(f"c{number}", status, reachable=number not in away) for number, status in enumerate(statuses)
    ]


@EVERY
@given(st.data())
def test_one_cluster_is_passed_on(kind: tuple[str, str], data: st.DataObject) -> None:
    """The federation of one cluster looks as that cluster does."""
    status = data.draw(KINDS[kind][0])
    assert comparable(folded(kind, member("a", status))) == comparable(status)


@EVERY
@given(st.data())
def test_the_whole_is_never_better_than_its_parts(kind: tuple[str, str], data: st.DataObject) -> None:
    """No count of what is good is more than the members' that can be seen, no condition holds that does not
    hold in each, no claim is larger than the smallest, and what one more cluster adds is its own at most."""
    statuses = data.draw(st.lists(KINDS[kind][0], min_size=1, max_size=4))
    away = data.draw(st.sets(st.integers(0, 3)))
    whole = folded(kind, *members_of(statuses, away))
    seen = [status for number, status in enumerate(statuses) if number not in away]
    for name in GOOD & whole.keys():
        of = statuses if name.startswith("updated") else seen
        assert whole[name] <= sum(status.get(name, 0) for status in of)
    for condition in whole.get("conditions", []):
        if condition["status"] == "True":
            states = [{c["type"]: c["status"] for c in status["conditions"]} for status in statuses]
            assert all(state.get(condition["type"]) == "True" for state in states)
            assert len(seen) == len(statuses)
    assert whole.get("observedGeneration", 0) <= GENERATION
    if whole.get("phase") == "Bound":
        assert all(status["phase"] == "Bound" for status in statuses)
    if "capacity" in whole:
        size = Quantity.parse(whole["capacity"]["storage"])
        assert all(size <= Quantity.parse(s["capacity"]["storage"]) for s in statuses if "capacity" in s)
    for mode in whole.get("accessModes", []):
        assert all(mode in status["accessModes"] for status in statuses if "accessModes" in status)
    addresses = [each for status in seen for each in status.get("loadBalancer", {}).get("ingress", [])]
    assert all(each in addresses for each in whole.get("loadBalancer", {}).get("ingress", []))


@EVERY
@given(st.data())
def test_a_cluster_that_is_lost_makes_nothing_better(kind: tuple[str, str], data: st.DataObject) -> None:
    """Counts of what is good fall or stay, and no condition begins to hold."""
    statuses = data.draw(st.lists(KINDS[kind][0], min_size=1, max_size=4))
    lost = data.draw(st.integers(0, len(statuses) - 1))
    before = folded(kind, *members_of(statuses, set()))
    after = folded(kind, *members_of(statuses, {lost}))
    for name in GOOD & after.keys():
        assert after[name] <= before.get(name, 0)
    held = {c["type"] for c in before.get("conditions", []) if c["status"] == "True"}
    assert {c["type"] for c in after.get("conditions", []) if c["status"] == "True"} <= held
    assert after.get("observedGeneration", 0) <= before.get("observedGeneration", 0)


@EVERY
@given(st.data())
def test_the_names_of_clusters_change_no_number(kind: tuple[str, str], data: st.DataObject) -> None:
    """Whichever cluster is named first."""
    statuses = data.draw(st.lists(KINDS[kind][0], min_size=1, max_size=4))
    one = folded(kind, *members_of(statuses, set()))
    other = folded(kind, *members_of(statuses[::-1], set()))
    assert {n: v for n, v in one.items() if isinstance(v, int)} == {
        n: v for n, v in other.items() if isinstance(v, int)
    }
    assert {c["type"]: c["status"] for c in one.get("conditions", [])} == {
        c["type"]: c["status"] for c in other.get("conditions", [])
    }


def test_conditions_of_a_budget_say_which_generation_they_are_of() -> None:
    """In the federation's count: `kubectl wait` takes no old one for new."""
    kind = ("policy", "poddisruptionbudgets")
    condition = said("DisruptionAllowed", True, "SufficientPods", observedGeneration=1)
    status = {"observedGeneration": 1, "conditions": [condition]}
    (found,) = folded(kind, member("a", status))["conditions"]
    assert found["observedGeneration"] == GENERATION
    (late,) = folded(kind, member("a", status, member_generation=2))["conditions"]
    assert late["observedGeneration"] < GENERATION


@pytest.mark.parametrize("elsewhere", [[], [said("Complete", True, "CompletionsReached")]])
def test_a_job_that_is_suspended_in_a_cluster_says_so(elsewhere: list[Status]) -> None:
    """And is not complete, though a part of it may be; what it has done counts."""
    obj = {"metadata": {"generation": GENERATION}, "spec": {"completions": 4, "suspend": True}}
    members = [
        member("a", {"conditions": [said("Suspended", True, "JobSuspended")], "failedIndexes": "1"}),
        member("b", {"succeeded": 1, "conditions": elsewhere, "failedIndexes": "1"}),
    ]
    decision = Decision(generation=GENERATION)
    status = aggregate("batch", "jobs", obj, members=members, decision=decision, now=NOW)
    held = {each["type"] for each in status["conditions"] if each["status"] == "True"}
    assert held == {"Suspended"}
    assert (status["succeeded"], status["failedIndexes"]) == (1, "1")
