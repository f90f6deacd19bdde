"""Status against the intent: what is asked for, what is placed, and what all members say alike."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hanse_apiserver.aggregate import Decision, Member, aggregate
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.scheduler.v1.placement_pb2 import EQUAL, HIDDEN, MAX, MIN, SUM, StatusField
from hanse.federation.policies.validation import placement_policy_errors
from hanse.federation.strategies import WORKLOADS, federation_kinds
from hanse.kube.model.objects import Object
from tests.apiserver.test_aggregate import GENERATION, condition, deployment, member, rolled_out

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SHORT = Decision(generation=GENERATION, unplaced=7, shortage="7 of 12 replicas have no cluster")
DECIDED = Decision(generation=GENERATION)


def stateful_set(replicas: int, partition: int | None = None, kind: str = "RollingUpdate") -> Object:
    """A StatefulSet as the API server stores it."""
    rolling = {} if partition is None else {"rollingUpdate": {"partition": partition}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "web", "generation": GENERATION},
        "spec": {"replicas": replicas, "updateStrategy": {"type": kind, **rolling}},
    }


def pods(count: int, updated: int, *, old: str = "web-1", new: str = "web-2") -> dict[str, Any]:
    """The status of a StatefulSet of which so many Pods are updated."""
    done = updated == count
    return {
        "observedGeneration": 1,
        "replicas": count,
        "readyReplicas": count,
        "availableReplicas": count,
        "currentReplicas": count if done else count - updated,
        "updatedReplicas": updated,
        "currentRevision": new if done else old,
        "updateRevision": new,
    }


def folded(obj: Object, *members: Member, resource: str, decision: Decision = DECIDED) -> Object:
    """The aggregated status of an object of group apps."""
    return aggregate("apps", resource, obj, members=members, decision=decision)


def stateful_set_done(obj: Object, status: Object) -> bool:
    """What `kubectl rollout status` says of a StatefulSet (polymorphichelpers/rollout_status.go)."""
    if status.get("observedGeneration", 0) < obj["metadata"]["generation"]:
        return False
    replicas = obj["spec"]["replicas"]
    if status.get("readyReplicas", 0) < replicas:
        return False
    rolling = obj["spec"]["updateStrategy"].get("rollingUpdate")
    if rolling is not None:
        return bool(status.get("updatedReplicas", 0) >= replicas - rolling["partition"])
    return bool(status.get("updateRevision") == status.get("currentRevision"))


def test_what_is_placed_is_not_what_was_asked_for() -> None:
    """5 of 12 replicas run, and each cluster is content: the Deployment is not available, and says why."""
    status = folded(
        deployment(12), member("a", rolled_out(5), desired=5), resource="deployments", decision=SHORT
    )
    for kind in ("Available", "Progressing"):
        found = condition(status, kind)
        assert (found["status"], found["reason"], found["message"]) == (
            "False",
            "ReplicasUnplaced",
            "7 of 12 replicas have no cluster",
        )
    placed = condition(status, "Placed")
    assert (placed["status"], placed["message"]) == (
        "False",
        "7 of 12 replicas have no cluster; `hanse explain` says why",
    )
    assert (status["unavailableReplicas"], status["desiredReplicas"]) == (7, 12)


@pytest.mark.parametrize("trouble", [{"phase": "Failed"}, {"contested": True}], ids=str)
def test_a_cluster_that_refuses_replicas_is_not_content_with_fewer(trouble: dict[str, Any]) -> None:
    """Its own Deployment is available with the replicas that it has; the federation's asks for more there."""
    status = folded(
        deployment(6),
        member("a", rolled_out(4), desired=4, replicas=4),
        member("b", rolled_out(1), desired=2, replicas=1, **trouble),
        resource="deployments",
    )
    available = condition(status, "Available")
    assert (available["status"], available["message"]) == ("False", "b is to run 2 replicas, and has 1")
    assert status["observedGeneration"] == GENERATION or trouble.get("phase") == "Failed"


@pytest.mark.parametrize("kind", WORKLOADS, ids=repr)
def test_every_workload_says_that_replicas_have_no_cluster(kind: Any) -> None:
    """The condition is that of the federation, whatever conditions the kind has itself."""
    found = aggregate(
        kind.group, kind.plural, deployment(12), members=[member("a", rolled_out(5))], decision=SHORT
    )
    assert condition(found, "Placed")["reason"] == "ReplicasUnplaced"
    assert not any(c["status"] == "True" for c in found["conditions"])


def test_a_job_of_which_completions_have_no_cluster_is_not_complete() -> None:
    """Complete in every cluster is not complete while completions are in none."""
    done = {"succeeded": 5, "conditions": [{"type": "Complete", "status": "True"}]}
    obj = {"metadata": {"generation": GENERATION}, "spec": {"completions": 12}}
    status = aggregate("batch", "jobs", obj, members=[member("a", done)], decision=SHORT)
    assert not any(c["type"] == "Complete" and c["status"] == "True" for c in status["conditions"])
    assert condition(status, "Placed")["status"] == "False"


def test_a_scheduler_that_cannot_decide_is_a_condition() -> None:
    """What kept the scheduler from a decision is said by the object, which stays where it is."""
    decision = Decision(generation=GENERATION, error="the annotation is not JSON")
    status = folded(deployment(4), member("a", rolled_out(4)), resource="deployments", decision=decision)
    placed = condition(status, "Placed")
    assert (placed["reason"], placed["message"]) == ("PlacementFailed", "the annotation is not JSON")


def test_a_contested_object_says_so_with_the_cluster() -> None:
    """A member that undoes every repair is a condition of the object, and its health is not good."""
    fought = member("b", {}, health="Degraded", contested=True, reason="Contested", message="removed 4 times")
    status = folded(deployment(4), member("a", rolled_out(2)), fought, resource="deployments")
    found = condition(status, "Contested")
    assert (found["status"], found["message"]) == ("True", "b: removed 4 times")
    assert condition(status, "Available")["status"] == "Unknown"
    assert status["clusters"][1]["health"] == "Degraded"


def test_what_a_member_refused_is_the_first_condition() -> None:
    """Of any kind with a status, whatever the rule of the kind; with the words and the name of each."""
    refused = member("b", {}, phase="Failed", reason="Forbidden", message="no team")
    taken = member("c", {}, phase="Conflict", reason="AlreadyExists", message="not ours")
    for group, resource in (("apps", "deployments"), ("", "namespaces"), ("x.example.org", "carts")):
        members = [member("a", rolled_out(2)), refused, taken]
        status = aggregate(group, resource, deployment(4), members=members, decision=SHORT)
        first = status["conditions"][0]
        assert (first["type"], first["status"], first["reason"]) == ("Delivered", "False", "Forbidden")
        assert first["message"] == "b: no team; c: not ours"
        assert status["conditions"][1]["type"] == "Placed"


@pytest.mark.parametrize(
    "state",
    [
        {"phase": "Applied"},
        {"phase": "Waiting", "reason": "NamespaceMissing"},
        {"phase": "Failed", "placed": False},
        {"phase": "Failed", "suspended": True},
        {"phase": "Failed", "reachable": False},
    ],
    ids=str,
)
def test_what_is_not_refused_or_not_known_is_no_such_condition(state: dict[str, Any]) -> None:
    """Waiting is not refused; of a cluster that is out of reach, or does not count, nobody knows."""
    status = folded(deployment(4), member("a", {}, **state), resource="deployments")
    assert not [each for each in status["conditions"] if each["type"] == "Delivered"]


def test_a_reason_that_is_none_is_not_passed_on() -> None:
    """A webhook may say anything; a condition's reason is one word."""
    odd = member("a", {}, phase="Failed", reason="not a word!", message="no")
    assert folded(deployment(4), odd, resource="deployments")["conditions"][0]["reason"] == "Refused"


@pytest.mark.parametrize("kind", WORKLOADS, ids=repr)
def test_the_table_counts_the_replicas_of_all_clusters(kind: Any) -> None:
    """A set of 3 in three clusters is 9/9 and not 9/3; with 5 of 12 placed it is 5/12."""
    layout = federation_kinds().strategy(kind).table
    assert layout is not None
    three = [member(name, {**pods(3, 3), "updatedReplicas": 3}, replicas=3) for name in "abc"]
    for members, decision, obj, cells in (
        (three, DECIDED, stateful_set(3, 0), {"9/9", 9}),
        ([member("a", pods(5, 5), desired=5)], SHORT, stateful_set(12, 0), {"5/12", 12}),
    ):
        status = aggregate(kind.group, kind.plural, obj, members=members, decision=decision)
        row = layout.render({**obj, "status": status}, NOW)
        assert cells & {cell for cell in row if isinstance(cell, str | int)}
        assert obj["spec"]["replicas"] in (3, 12), "the object itself is not changed"


def test_a_canary_that_is_divided_is_done_when_each_cluster_is() -> None:
    """2 of 4 Pods update, one in each of two clusters; kubectl waits for the second."""
    obj = stateful_set(4, 2)
    waiting = member("b", pods(2, 0), replicas=2, desired=2, partition=1)
    done = member("a", pods(2, 1), replicas=2, desired=2, partition=1)
    status = folded(obj, done, waiting, resource="statefulsets")
    assert not stateful_set_done(obj, status)
    finished = member("b", pods(2, 1), replicas=2, desired=2, partition=1)
    status = folded(obj, done, finished, resource="statefulsets")
    assert stateful_set_done(obj, status)
    assert (status["updatedReplicas"], status["currentReplicas"]) == (2, 2)


def test_a_duplicated_canary_waits_for_the_last_cluster() -> None:
    """The sums of the first clusters satisfy kubectl; the rollout is held open all the same."""
    obj = stateful_set(3, 1)
    done = [member(name, pods(3, 2), replicas=3) for name in "ab"]
    status = folded(obj, *done, member("c", pods(3, 0), replicas=3), resource="statefulsets")
    assert not stateful_set_done(obj, status)
    assert stateful_set_done(
        obj, folded(obj, *done, member("c", pods(3, 2), replicas=3), resource="statefulsets")
    )


def test_pods_of_a_finished_cluster_are_not_of_the_old_revision() -> None:
    """currentReplicas are Pods of the shown currentRevision, not of whatever each cluster calls current."""
    status = folded(
        stateful_set(6, 0),
        member("a", pods(3, 3), replicas=3, desired=3),
        member("b", pods(3, 2), replicas=3, desired=3),
        resource="statefulsets",
    )
    assert (status["currentRevision"], status["currentReplicas"]) == ("web-1", 1)
    assert (status["updateRevision"], status["updatedReplicas"]) == ("web-2", 5)


@pytest.mark.parametrize("resource", ["statefulsets", "daemonsets"])
def test_what_is_updated_on_delete_has_no_rollout_to_wait_for(resource: str) -> None:
    """With OnDelete the generation counts as observed though Pods are of two revisions."""
    found = member("a", {**pods(3, 1), "desiredNumberScheduled": 3, "updatedNumberScheduled": 1}, replicas=3)
    obj = stateful_set(3, kind="OnDelete")
    assert folded(obj, found, resource=resource)["observedGeneration"] == GENERATION


@pytest.mark.parametrize("resource", ["deployments", "statefulsets"])
def test_what_a_member_that_lags_calls_updated_is_not(resource: str) -> None:
    """Pods of the generation before are ready, and not up to date."""
    late = member("b", rolled_out(3), member_generation=2)
    status = folded(deployment(6), member("a", rolled_out(3)), late, resource=resource)
    assert (status["updatedReplicas"], status["readyReplicas"]) == (3, 6)
    assert status["observedGeneration"] == GENERATION - 1


@pytest.mark.parametrize(
    ("group", "resource"),
    [("apps", "deployments"), ("apps", "statefulsets"), ("apps", "daemonsets"), ("apps", "replicasets"),
     ("policy", "poddisruptionbudgets")],
)  # fmt: skip
def test_a_controller_that_has_said_nothing_has_observed_nothing(group: str, resource: str) -> None:
    """An object without a status has not been seen by its controller, whatever was applied."""
    status = aggregate(group, resource, deployment(0), members=[member("a", {})], decision=DECIDED)
    assert status["observedGeneration"] == GENERATION - 1


def test_an_autoscaler_says_what_its_members_say_of_generations() -> None:
    """Kubernetes' controller says nothing of them; one that does is waited for."""

    def observed(*statuses: dict[str, Any]) -> Any:
        found = [member(name, status) for name, status in zip("ab", statuses, strict=False)]
        folded = aggregate(
            "autoscaling", "horizontalpodautoscalers", deployment(), members=found, decision=DECIDED
        )
        return folded.get("observedGeneration")

    assert observed({"currentReplicas": 1}, {}) is None
    assert observed({"observedGeneration": 1}, {"observedGeneration": 1}) == GENERATION
    assert observed({"observedGeneration": 1}, {}) == GENERATION - 1


def widget(*statuses: dict[str, Any], **more: Any) -> Object:
    """The aggregated status of a custom resource in clusters a, b, ..."""
    found = [member(name, status, **more) for name, status in zip("abcdef", statuses, strict=False)]
    obj = {"metadata": {"generation": GENERATION}, "status": {"phase": "Written", "note": "by hand"}}
    return aggregate("example.org", "widgets", obj, members=found, decision=DECIDED)


def test_what_all_members_say_alike_is_at_the_top() -> None:
    """`kubectl wait --for=jsonpath` finds equal fields, also inside objects; what differs is per cluster."""
    one = {"phase": "Ready", "address": {"port": 80, "host": "a"}, "tags": ["x", "y"], "count": 1}
    two = {"phase": "Ready", "address": {"port": 80, "host": "b"}, "tags": ["y", "x"], "count": True}
    status = widget(one, two)
    assert (status["phase"], status["address"], status["note"]) == ("Ready", {"port": 80}, "by hand")
    assert "tags" not in status
    assert "count" not in status
    assert [each["status"] for each in status["clusters"]] == [one, two]


@pytest.mark.parametrize("silent", [{"reachable": False}, {"phase": ""}, {"status": {}}])
def test_one_silent_cluster_keeps_a_field_from_the_top(silent: dict[str, Any]) -> None:
    """What is not known of one cluster is not said of all; nor is what was written there before."""
    ready = {"phase": "Ready"}
    found = [member("a", ready), member("b", silent.pop("status", ready), **silent)]
    obj = {"metadata": {"generation": GENERATION}, "status": {"phase": "Written"}}
    status = aggregate("example.org", "widgets", obj, members=found, decision=DECIDED)
    assert "phase" not in status


def test_conditions_of_a_custom_resource_say_which_generation_they_are_of() -> None:
    """kubectl wait takes a condition only if its observedGeneration is that of the object."""
    ready = {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 77}]}
    assert condition(widget(ready, ready), "Ready")["observedGeneration"] == GENERATION
    late = widget(ready, ready, applied_generation=GENERATION - 1)
    assert condition(late, "Ready")["observedGeneration"] == GENERATION - 1
    assert "observedGeneration" not in late
    old = {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}]}
    assert condition(widget(ready, old, member_generation=2), "Ready")["observedGeneration"] == GENERATION - 1


values: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, True, 1, 2, "x", "", []]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("pqr"), inner, max_size=3),
    max_leaves=8,
)


def leaves(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """The fields of an object that are no objects, by path."""
    if isinstance(value, dict) and value:
        return {k: v for name, each in value.items() for k, v in leaves(each, (*path, name)).items()}
    return {path: value}


@given(st.lists(st.dictionaries(st.sampled_from("pqr"), values, min_size=1), min_size=1, max_size=4))
def test_no_field_at_the_top_is_anything_else_in_a_member(statuses: list[dict[str, Any]]) -> None:
    """Whatever is at the top is so in every member, and what is so in every member is at the top."""
    found = [member(name, status) for name, status in zip("abcd", statuses, strict=False)]
    obj = {"metadata": {"generation": GENERATION}}
    top = aggregate("example.org", "widgets", obj, members=found, decision=DECIDED)
    del top["clusters"]
    shown = leaves(top) if top else {}
    each = [leaves(status) for status in statuses]
    for path, value in shown.items():
        assert all(path in other and repr(other[path]) == repr(value) for other in each)
    for path, value in each[0].items():
        if all(path in other and repr(other[path]) == repr(value) for other in each):
            assert path in shown


def test_a_rule_says_otherwise_of_a_field() -> None:
    """Numbers are summed, or the least or largest counts; a field is hidden; all others are."""
    one = {"replicas": 2, "address": {"ip": "a", "port": 80}, "phase": "Ready", "load": 3}
    two = {"replicas": 3, "address": {"ip": "a", "port": 80}, "phase": "Ready", "load": "high"}
    found = [member("a", one), member("b", two)]
    obj = {"metadata": {"generation": GENERATION}}

    def top(*rules: tuple[str, Any]) -> Object:
        decision = Decision(
            generation=GENERATION, status_fields=tuple(StatusField(path=p, fold=f) for p, f in rules)
        )
        status = aggregate("example.org", "widgets", obj, members=found, decision=decision)
        return {name: value for name, value in status.items() if name != "clusters"}

    shown = {"address": {"ip": "a", "port": 80}, "phase": "Ready"}
    assert top() == shown
    assert top(("replicas", SUM)) == {**shown, "replicas": 5}
    assert top(("replicas", MIN), ("phase", HIDDEN)) == {"address": shown["address"], "replicas": 2}
    assert top(("replicas", MAX), ("load", SUM)) == {**shown, "replicas": 3}
    assert top(("address.ip", HIDDEN)) == {**shown, "address": {"port": 80}}
    assert top(("*", HIDDEN), ("address.port", EQUAL)) == {"address": {"port": 80}}
    assert top(("absent.field", MAX), ("absent", EQUAL)) == shown


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ([{"path": "conditions.x", "fold": "Hidden"}], "spec.statusFields[0].path"),
        ([{"path": "a..b", "fold": "Equal"}], "spec.statusFields[0].path"),
        ([{"path": "*", "fold": "Sum"}], "spec.statusFields[0].path"),
        ([{"path": "a", "fold": "Sum"}, {"path": "a", "fold": "Min"}], "spec.statusFields[1].path"),
        ([{"path": "a", "fold": "Sum"}, {"path": "*", "fold": "Hidden"}], ""),
    ],
)
def test_a_rule_of_a_field_that_is_none_is_refused(fields: list[Object], bad: str) -> None:
    """The error names the entry."""
    errors = [error.field for error in placement_policy_errors({"spec": {"statusFields": fields}})]
    assert errors == ([bad] if bad else [])
