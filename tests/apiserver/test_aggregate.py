"""How the members' statuses become one: examples and laws."""

from __future__ import annotations

from typing import Any

import pytest
from hanse_apiserver.aggregate import Decision, Member, aggregate
from hanse_apiserver.aggregate.workloads import deployment_complete
from hypothesis import given
from hypothesis import strategies as st

GENERATION = 3
DECIDED = Decision(generation=GENERATION)
SPEC = 6


def deployment(replicas: int = SPEC) -> dict[str, Any]:
    """A federated Deployment."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "generation": GENERATION},
        "spec": {"replicas": replicas},
    }


def rolled_out(count: int, **more: Any) -> dict[str, Any]:
    """The status of a Deployment that runs so many pods, all new and all available."""
    return {
        "observedGeneration": 1,
        "replicas": count,
        "updatedReplicas": count,
        "readyReplicas": count,
        "availableReplicas": count,
        "conditions": [
            {
                "type": "Available",
                "status": "True",
                "reason": "MinimumReplicasAvailable",
                "message": "Deployment has minimum availability.",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            },
            {
                "type": "Progressing",
                "status": "True",
                "reason": "NewReplicaSetAvailable",
                "message": "done",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            },
        ],
        **more,
    }


def member(cluster: str, status: dict[str, Any], **more: Any) -> Member:
    """A member that has applied the newest generation."""
    given_ = {
        "phase": "Applied",
        "health": "Healthy",
        "applied_generation": GENERATION,
        "member_generation": 1,
    }
    return Member(cluster=cluster, status=status, **{**given_, **more})


def fold(*members: Member, obj: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The aggregated status of a Deployment."""
    return aggregate("apps", "deployments", obj or deployment(), members=members, decision=DECIDED, **more)


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    """One condition of a status."""
    found = [c for c in status["conditions"] if c["type"] == kind]
    assert len(found) == 1, status["conditions"]
    return dict(found[0])


def rollout_status_done(obj: dict[str, Any], status: dict[str, Any]) -> bool:
    """What `kubectl rollout status` says of a Deployment (polymorphichelpers/rollout_status.go)."""
    if obj["metadata"]["generation"] > status.get("observedGeneration", 0):
        return False
    updated, replicas = status.get("updatedReplicas", 0), status.get("replicas", 0)
    if updated < obj["spec"]["replicas"] or replicas > updated:
        return False
    return bool(status.get("availableReplicas", 0) >= updated)


def test_counts_are_summed_and_each_cluster_is_shown() -> None:
    """Replicas add up over the clusters, and `clusters` says which has what."""
    status = fold(member("a", rolled_out(2), desired=2), member("b", rolled_out(4), desired=4))
    assert status["replicas"] == status["readyReplicas"] == status["availableReplicas"] == 6
    assert "unavailableReplicas" not in status
    assert status["observedGeneration"] == GENERATION
    assert [(c["name"], c["readyReplicas"], c["desiredReplicas"]) for c in status["clusters"]] == [
        ("a", 2, 2),
        ("b", 4, 4),
    ]
    assert condition(status, "Available")["status"] == "True"
    assert rollout_status_done(deployment(), status)


def test_available_is_true_only_if_it_is_true_everywhere() -> None:
    """One cluster that is not available makes the federated object not available, and is named."""
    bad = rolled_out(2)
    bad["conditions"] = [{"type": "Available", "status": "False", "reason": "Few", "message": "1 of 2"}]
    available = condition(fold(member("a", rolled_out(4)), member("b", bad)), "Available")
    assert (available["status"], available["reason"], available["message"]) == ("False", "Few", "b: 1 of 2")


def test_a_cluster_that_has_not_reported_makes_a_condition_unknown() -> None:
    """Unknown is not false: before the first report nobody can tell."""
    status = fold(member("a", rolled_out(4)), Member(cluster="b", desired=2))
    assert condition(status, "Available")["status"] == "Unknown"
    assert status["unavailableReplicas"] == 2
    assert status["clusters"][1]["phase"] == "Pending"


def test_a_cluster_that_refuses_the_credential_is_said_to_do_so() -> None:
    """Nobody knows how many are ready there; it is not called unreachable."""
    status = fold(member("a", rolled_out(4)), member("b", rolled_out(2), reachable=False, refused=True))
    assert (status["replicas"], status["readyReplicas"]) == (6, 4)
    assert status["clusters"][1]["reason"] == "CredentialRefused"
    assert "refuses the credential" in status["clusters"][1]["message"]
    (available,) = [each for each in status["conditions"] if each["type"] == "Available"]
    assert (available["status"], available["reason"]) == ("Unknown", "CredentialRefused")


def test_an_unreachable_cluster_has_pods_but_none_that_are_ready() -> None:
    """What it said last counts as existing and not as ready, and its detail says so."""
    status = fold(member("a", rolled_out(4)), member("b", rolled_out(2), reachable=False))
    assert status["replicas"] == 6
    assert status["readyReplicas"] == 4
    assert status["unavailableReplicas"] == 2
    assert condition(status, "Available")["status"] == "Unknown"
    detail = status["clusters"][1]
    assert (detail["phase"], detail["reason"], detail["readyReplicas"]) == (
        "Unreachable",
        "ClusterUnreachable",
        2,
    )
    assert not rollout_status_done(deployment(), status)


def test_a_suspended_cluster_does_not_count() -> None:
    """Once its replicas have moved, the rollout is complete without it."""
    status = fold(member("a", rolled_out(6)), member("b", rolled_out(2), reachable=False, suspended=True))
    assert status["replicas"] == status["readyReplicas"] == 6
    assert condition(status, "Available")["status"] == "True"
    assert status["clusters"][1]["reason"] == "Suspended"
    assert rollout_status_done(deployment(), status)


def test_a_cluster_that_is_left_is_shown_and_does_not_count() -> None:
    """Pods of a cluster that the object is leaving are not part of what it is to be."""
    leaving = member("b", rolled_out(2), placed=False, releasing=True, phase="Removing")
    status = fold(member("a", rolled_out(6)), leaving)
    assert status["replicas"] == 6
    assert status["clusters"][1]["phase"] == "Removing"
    assert rollout_status_done(deployment(), status)


@pytest.mark.parametrize(
    "late",
    [
        {"applied_generation": GENERATION - 1},
        {"member_generation": 2},
        {"phase": ""},
    ],
)
def test_observed_generation_waits_for_every_cluster(late: dict[str, Any]) -> None:
    """It advances only when the change was applied, and observed, everywhere."""
    status = fold(member("a", rolled_out(3)), member("b", rolled_out(3), **late))
    assert status["observedGeneration"] == GENERATION - 1


def test_observed_generation_waits_for_the_scheduler() -> None:
    """While the scheduler has not decided on the new generation, nothing is observed."""
    status = aggregate(
        "apps",
        "deployments",
        deployment(),
        members=[member("a", rolled_out(6))],
        decision=Decision(generation=GENERATION - 1),
    )
    assert status["observedGeneration"] == GENERATION - 1


def test_observed_generation_waits_for_a_new_division() -> None:
    """A member that acted on an older placement has not observed the new one."""
    decided = Decision(generation=GENERATION, revision=50)
    behind = member("a", rolled_out(6), placement_revision=40)
    status = aggregate("apps", "deployments", deployment(), members=[behind], decision=decided)
    assert status["observedGeneration"] == GENERATION - 1
    current = member("a", rolled_out(6), placement_revision=50)
    status = aggregate("apps", "deployments", deployment(), members=[current], decision=decided)
    assert status["observedGeneration"] == GENERATION


def test_a_duplicated_deployment_is_complete_when_its_last_cluster_is() -> None:
    """The first cluster to finish satisfies the sums; the rollout is not complete all the same."""
    fresh = {"observedGeneration": 1}
    obj = deployment(4)
    waiting = member("b", fresh, replicas=4)
    status = fold(member("a", rolled_out(4), replicas=4), waiting, obj=obj)
    assert not rollout_status_done(obj, status)
    status = fold(member("a", rolled_out(4), replicas=4), member("b", rolled_out(4), replicas=4), obj=obj)
    assert rollout_status_done(obj, status)


def test_an_object_without_clusters_is_not_available_and_says_why() -> None:
    """A placement with no clusters gives conditions that carry the scheduler's words."""
    decision = Decision(generation=GENERATION, error="the annotation is not JSON")
    status = aggregate("apps", "deployments", deployment(), members=[], decision=decision)
    available = condition(status, "Available")
    assert (available["status"], available["message"]) == ("False", "the annotation is not JSON")


def test_trouble_anywhere_is_trouble() -> None:
    """ReplicaFailure holds if it holds in one cluster, and is absent if no cluster has it."""
    bad = rolled_out(2)
    bad["conditions"] = [
        *bad["conditions"],
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"},
    ]
    status = fold(member("a", rolled_out(4)), member("b", bad))
    assert condition(status, "ReplicaFailure")["message"] == "b: quota"
    assert all(c["type"] != "ReplicaFailure" for c in fold(member("a", rolled_out(4)))["conditions"])


counts = st.integers(min_value=0, max_value=9)


@st.composite
def members(draw: st.DrawFn) -> list[Member]:
    """Members in every state that they can be in."""
    found = []
    for name in draw(st.lists(st.sampled_from("abcdef"), unique=True, max_size=6)):
        wanted = draw(counts)
        replicas = draw(counts)
        updated = draw(st.integers(0, replicas))
        available = draw(st.integers(0, replicas))
        status: dict[str, Any] = {
            "observedGeneration": draw(st.integers(0, 2)),
            "replicas": replicas,
            "updatedReplicas": updated,
            "readyReplicas": available,
            "availableReplicas": available,
        }
        if draw(st.booleans()):
            status["conditions"] = [{"type": "Available", "status": draw(st.sampled_from(["True", "False"]))}]
        found.append(
            Member(
                cluster=name,
                status=draw(st.sampled_from([status, rolled_out(wanted), {}])),
                placed=draw(st.booleans()),
                suspended=draw(st.booleans()),
                reachable=draw(st.booleans()),
                phase=draw(st.sampled_from(["", "Applied", "Failed", "Removed", "Unreachable"])),
                applied_generation=draw(st.integers(GENERATION - 1, GENERATION)),
                member_generation=draw(st.integers(1, 2)),
                replicas=draw(st.sampled_from([None, wanted])),
                desired=wanted,
            )
        )
    return sorted(found, key=lambda m: m.cluster)


@given(members(), st.integers(0, 12))
def test_rollout_status_says_done_exactly_when_every_counted_cluster_is(
    found: list[Member], spec: int
) -> None:
    """kubectl calls the federated rollout complete if and only if it is complete everywhere.

    The "if" needs what is placed to reach the number that the object asks for.
    """
    obj = deployment(spec)
    status = fold(*found, obj=obj)
    counted = [m for m in found if m.counted]
    everywhere = all(
        m.reports
        and m.applied_generation == GENERATION
        and m.status.get("observedGeneration", m.member_generation) >= m.member_generation
        and deployment_complete(m.status, m.wanted(obj))
        for m in counted
    )
    done = rollout_status_done(obj, status)
    if done:
        assert everywhere
    if everywhere and sum(m.number("updatedReplicas") for m in counted) >= spec:
        assert done


@given(members())
def test_nobody_unseen_is_ready_and_ready_never_exceeds_what_exists(found: list[Member]) -> None:
    """Ready and available pods are those of clusters that can be seen."""
    status = fold(*found)
    seen = [m for m in found if m.counted and m.reports]
    assert status.get("readyReplicas", 0) == sum(m.number("readyReplicas") for m in seen)
    assert status.get("availableReplicas", 0) <= status.get("replicas", 0)
    assert 0 <= status["observedGeneration"] <= GENERATION
    assert [c["name"] for c in status.get("clusters", [])] == [m.cluster for m in found]


@given(members())
def test_available_holds_exactly_when_every_counted_cluster_says_so(found: list[Member]) -> None:
    """A folded condition is True if and only if all that count and can be seen say True."""
    counted = [m for m in found if m.counted]
    everywhere = bool(counted) and all(
        m.reports
        and any(c["type"] == "Available" and c["status"] == "True" for c in m.status.get("conditions", []))
        for m in counted
    )
    assert (condition(fold(*found), "Available")["status"] == "True") == everywhere


@given(counts)
def test_one_cluster_is_passed_on_as_it_is(count: int) -> None:
    """With a single cluster the federated numbers are that cluster's."""
    own = rolled_out(count)
    status = fold(member("a", own, replicas=count), obj=deployment(count))
    for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"):
        assert status.get(name, 0) == own[name]
    assert [(c["type"], c["status"], c["message"]) for c in status["conditions"]] == [
        (c["type"], c["status"], c["message"]) for c in own["conditions"]
    ]


def other(group: str, resource: str, *statuses: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The aggregated status of another kind, in clusters a, b, ..."""
    found = [member(chr(ord("a") + i), status) for i, status in enumerate(statuses)]
    obj = {"metadata": {"generation": GENERATION}, **more}
    return aggregate(group, resource, obj, members=found, decision=DECIDED)


def test_a_service_has_the_addresses_of_all_clusters() -> None:
    """Load balancer addresses are put one after another, each once."""
    one, two = {"ip": "127.1.0.1"}, {"ip": "127.2.0.1"}
    status = other(
        "", "services", {"loadBalancer": {"ingress": [one]}}, {"loadBalancer": {"ingress": [two, one]}}
    )
    assert status["loadBalancer"] == {"ingress": [one, two]}
    assert status["clusters"][1]["loadBalancer"] == {"ingress": [two, one]}


def test_a_job_is_complete_when_it_is_complete_everywhere() -> None:
    """Complete needs all clusters, Failed one; times span them all."""
    done = {
        "succeeded": 2,
        "startTime": "2026-01-01T00:00:01Z",
        "completionTime": "2026-01-01T00:01:00Z",
        "conditions": [{"type": "Complete", "status": "True"}],
    }
    running = {"active": 1, "startTime": "2026-01-01T00:00:00Z"}
    status = other("batch", "jobs", done, running)
    assert (status["succeeded"], status["active"], status["startTime"]) == (2, 1, "2026-01-01T00:00:00Z")
    assert "completionTime" not in status
    assert "conditions" not in status
    status = other("batch", "jobs", done, {**done, "completionTime": "2026-01-01T00:02:00Z"})
    assert status["completionTime"] == "2026-01-01T00:02:00Z"
    assert condition(status, "Complete")["status"] == "True"
    failed = {"failed": 1, "conditions": [{"type": "Failed", "status": "True", "message": "deadline"}]}
    assert condition(other("batch", "jobs", done, failed), "Failed")["message"] == "b: deadline"


def test_a_claim_is_bound_when_it_is_bound_everywhere() -> None:
    """PersistentVolumeClaims: Bound by all, Lost by one; the smallest capacity is what counts."""
    small = {"phase": "Bound", "capacity": {"storage": "900Mi"}, "accessModes": ["ReadWriteOnce"]}
    big = {"phase": "Bound", "capacity": {"storage": "1Gi"}}
    assert other("", "persistentvolumeclaims", small, big)["phase"] == "Bound"
    assert other("", "persistentvolumeclaims", big, small)["capacity"] == {"storage": "900Mi"}
    assert other("", "persistentvolumeclaims", small, {"phase": "Pending"})["phase"] == "Pending"
    assert other("", "persistentvolumeclaims", small, {"phase": "Lost"})["phase"] == "Lost"


def test_a_stateful_set_is_up_to_date_when_every_cluster_is() -> None:
    """The revisions are equal only if no cluster is between two of them."""
    done = {"observedGeneration": 1, "replicas": 1, "currentRevision": "x-1", "updateRevision": "x-1"}
    moving = {**done, "currentRevision": "x-0"}
    status = other("apps", "statefulsets", done, moving)
    assert status["currentRevision"] != status["updateRevision"]
    status = other("apps", "statefulsets", done, {**done, "currentRevision": "y", "updateRevision": "y"})
    assert status["currentRevision"] == status["updateRevision"]


def test_a_daemon_set_adds_up_its_nodes() -> None:
    """DaemonSet counts are summed and what is missing is unavailable."""
    done = {"observedGeneration": 1, "desiredNumberScheduled": 2, "numberReady": 2, "numberAvailable": 2}
    status = other("apps", "daemonsets", done, {**done, "numberAvailable": 1})
    assert (status["desiredNumberScheduled"], status["numberAvailable"]) == (4, 3)
    assert status["numberUnavailable"] == 1


def test_an_unknown_kind_keeps_what_was_written_and_folds_conditions() -> None:
    """Custom resources: stored status underneath, conditions folded, the whole status per cluster."""
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "url": "https://a"}
    status = other("example.org", "widgets", ready, ready, status={"note": "by hand"})
    assert status["note"] == "by hand"
    assert condition(status, "Ready")["status"] == "True"
    assert status["clusters"][0]["status"] == ready


def test_what_the_federation_says_itself_stays() -> None:
    """A namespace's phase and a CRD's conditions are the federation's own."""
    status = other("", "namespaces", {"phase": "Active"}, status={"phase": "Terminating"})
    assert status["phase"] == "Terminating"
    assert status["clusters"][0]["memberPhase"] == "Active"
