"""Which clusters an object may go to: the order in which things are asked, and what is remembered."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hanse_scheduler.decide.clusters import ClusterTable, ClusterTaint, MemberCluster, ServedKinds
from hanse_scheduler.decide.filtering import ClusterRequirements, Eligibility, EligibilityCache, eligibility
from hanse_scheduler.decide.policies import PlacementPolicy, compile_placement
from hanse_scheduler.decide.selector import EVERYTHING, ClusterSelector, Requirement
from hanse_scheduler.reasons import TEMPORARY, UNJOINING
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.registry.v1.cluster_pb2 import (
    CREDENTIAL_REFUSED,
    IDENTITY_MISMATCH,
    MISBEHAVING,
    OFFLINE,
    PENDING,
    READY,
)
from tests.scheduler.builders import NOW, offline, policy_object, view

NO_SCHEDULE = ClusterTaint(key="gpu", value="", execute=False, added=NOW)
NO_EXECUTE = ClusterTaint(key="gpu", value="", execute=True, added=NOW)
EU = ClusterSelector((Requirement("region", "In", ("eu",)),))


def policy(**spec: Any) -> PlacementPolicy:
    """A policy that selects Deployments."""
    return compile_placement(policy_object(**spec))


def requirements(
    *,
    selector: ClusterSelector | None = None,
    policy: PlacementPolicy | None = None,
    everywhere: bool = True,
    resource: str = "deployments",
) -> ClusterRequirements:
    """What a Deployment requires."""
    return ClusterRequirements(
        group="apps",
        resource=resource,
        selector=selector or EVERYTHING,
        annotated=selector is not None,
        policy=policy,
        everywhere=everywhere,
    )


def only(asked: ClusterRequirements, cluster: MemberCluster) -> Eligibility:
    """The eligibility of one cluster."""
    (found,) = eligibility(asked, ClusterTable.of([cluster]))
    return found


@pytest.mark.parametrize(
    ("asked", "cluster", "reason"),
    [
        (requirements(), view("a", leaving=True), "ClusterUnjoining"),
        (requirements(policy=policy(clusterNames=["b"])), view("a", leaving=True), "ClusterUnjoining"),
        (requirements(policy=policy(excludeClusters=["a"])), view("a"), "ExcludedByPolicy"),
        (requirements(policy=policy(clusterNames=["b"])), view("a"), "NotNamedByPolicy"),
        (
            requirements(policy=policy(clusterSelector={"matchLabels": {"region": "eu"}})),
            view("a"),
            "NotSelectedByPolicy",
        ),
        (requirements(everywhere=False), view("a"), "NotPlacedByDefault"),
        (requirements(selector=EU), view("a"), "SelectorDoesNotMatch"),
        (requirements(selector=EU), view("a", labels={"region": "us"}), "SelectorDoesNotMatch"),
    ],
)
def test_what_has_no_business_in_a_cluster_leaves_it_at_once(
    asked: ClusterRequirements, cluster: MemberCluster, reason: str
) -> None:
    """What is there is moved as well, for the reason that keeps new objects out."""
    found = only(asked, cluster)
    assert (found.admits, found.reason) == (False, reason)
    assert (found.leave_at, found.leave_reason, found.leave_message) == (0.0, reason, found.message)


@pytest.mark.parametrize(
    ("cluster", "reason"),
    [
        (view("a", taints=(NO_SCHEDULE,)), "TaintNotTolerated"),
        (view("a", unschedulable=True), "ClusterUnschedulable"),
        (offline("a"), "ClusterOffline"),
        (view("a", state=PENDING), "ClusterPending"),
        (view("a", state=IDENTITY_MISMATCH), "ClusterIdentityMismatch"),
        (view("a", state=MISBEHAVING), "ClusterMisbehaving"),
        (view("a", state=CREDENTIAL_REFUSED), "ClusterCredentialRefused"),
        (view("a", state=99), "ClusterNotReady"),
    ],
)
def test_what_keeps_new_objects_out_lets_those_stay_that_are_there(
    cluster: MemberCluster, reason: str
) -> None:
    """They are chosen as before, and have no time to leave."""
    found = only(requirements(), cluster)
    assert (found.admits, found.reason) == (False, reason)
    assert (found.chosen_reason, found.leave_at) == ("AllReadyClusters", math.inf)


def test_a_taint_that_moves_objects_says_when() -> None:
    """NoExecute without a toleration moves at once, with one after its seconds."""
    assert only(requirements(), view("a", taints=(NO_EXECUTE,))).leave_at == 0.0
    bearing = policy(tolerations=[{"key": "gpu", "operator": "Exists", "tolerationSeconds": 30}])
    found = only(requirements(policy=bearing), view("a", taints=(NO_EXECUTE,)))
    assert (found.admits, found.leave_at, found.leave_reason) == (True, NOW + 30, "TaintNotTolerated")


def test_a_cluster_that_does_not_serve_the_kind_gets_no_new_object() -> None:
    """Of one that is away it is not known: it may have changed since."""
    serving = ClusterTable(
        clusters={"a": view("a"), "b": offline("b")},
        served={name: ServedKinds(frozenset({("", "configmaps")})) for name in "ab"},
    )
    here, away = eligibility(requirements(), serving)
    assert (here.reason, here.message) == ("ApiNotServed", "the cluster does not serve deployments.apps")
    assert away.reason == "ClusterOffline"
    assert "whether it serves deployments.apps is not known" in away.message


def test_a_cluster_that_cannot_tell_of_a_group_gets_no_new_object_of_it() -> None:
    """Whether it serves the kind is unknown, which is neither yes nor no; what was known of a group stays."""
    known = frozenset({("apps", "deployments"), ("", "configmaps")})
    for kinds, unknown, reason in (
        (known, {"apps"}, ""),
        (known, {"batch"}, ""),
        (frozenset(), {"apps"}, "ApiUnknown"),
        (frozenset(), {"batch"}, "ApiNotServed"),
    ):
        served = {"a": ServedKinds(frozenset(kinds), frozenset(unknown))}
        (found,) = eligibility(requirements(), ClusterTable(clusters={"a": view("a")}, served=served))
        assert ("" if found.admits else found.reason) == reason


@pytest.mark.parametrize(
    ("asked", "reason", "message"),
    [
        (requirements(), "AllReadyClusters", "every ready cluster gets it"),
        (requirements(policy=policy()), "SelectedByPolicy", "ClusterPlacementPolicy p selects it"),
        (
            requirements(selector=EU),
            "SelectedByAnnotation",
            "its labels match region in (eu)",
        ),
        (
            requirements(selector=EVERYTHING, policy=policy()),
            "SelectedByAnnotation",
            "ClusterPlacementPolicy p selects it; the selector of the annotation selects all",
        ),
    ],
)
def test_who_chose_a_cluster_is_said(asked: ClusterRequirements, reason: str, message: str) -> None:
    """The annotation counts before the policy, the policy before the default."""
    found = only(asked, view("a", labels={"region": "eu"}))
    assert (found.admits, found.reason, found.message) == (True, reason, message)
    assert (found.chosen_reason, found.chosen_message) == (reason, message)


CLUSTERS = st.lists(
    st.builds(
        lambda name, state, leaving, unschedulable, taints: view(
            name, state=state, leaving=leaving, unschedulable=unschedulable, taints=taints
        ),
        st.sampled_from("abcd"),
        st.sampled_from([READY, OFFLINE, PENDING, MISBEHAVING]),
        st.booleans(),
        st.booleans(),
        st.sampled_from([(), (NO_SCHEDULE,), (NO_EXECUTE,)]),
    ),
    unique_by=lambda item: item.name,
)
ASKED = st.sampled_from(
    [
        requirements(),
        requirements(everywhere=False),
        requirements(selector=EU),
        requirements(policy=policy(clusterNames=["a", "b"])),
    ]
)


@given(CLUSTERS, ASKED)
def test_every_cluster_has_a_reason(clusters: list[MemberCluster], asked: ClusterRequirements) -> None:
    """In the order of their names; who leaves says why; a cluster that unjoins takes nothing."""
    found = eligibility(asked, ClusterTable.of(clusters))
    assert [each.cluster.name for each in found] == sorted(cluster.name for cluster in clusters)
    for each in found:
        assert each.reason
        assert each.message
        assert bool(each.leave_reason) is math.isfinite(each.leave_at)
        if each.cluster.leaving:
            assert (each.reason, each.message) == UNJOINING
        if each.admits:
            assert each.cluster.state == READY
            assert not each.cluster.unschedulable
        if each.reason in TEMPORARY:
            assert each.cluster.state != READY


def test_only_reasons_that_end_by_themselves_are_temporary() -> None:
    """Nothing that a person wrote is among them: such a refusal takes away what is there."""
    assert {
        "ClusterOffline",
        "ClusterPending",
        "ClusterIdentityMismatch",
        "ClusterMisbehaving",
        "ClusterCredentialRefused",
        "ClusterNotReady",
    } == TEMPORARY


def test_what_is_remembered_is_of_the_table_and_the_policy() -> None:
    """Equal requirements share a result; another table, or a policy of equal content, has its own."""
    cache = EligibilityCache()
    table = ClusterTable.of([view("a")])
    first, second = policy(), policy()
    found = cache.of(requirements(policy=first), table)
    assert cache.of(requirements(policy=first), table) is found
    assert cache.of(requirements(policy=second), table) is not found
    assert cache.of(requirements(policy=first), ClusterTable.of([view("a")])) is not found


@given(st.lists(st.tuples(CLUSTERS, ASKED), max_size=6), st.integers(1, 3))
def test_remembering_changes_no_answer(
    asked: list[tuple[list[MemberCluster], ClusterRequirements]], capacity: int
) -> None:
    """Whatever was asked before, and however little is kept, the answer is that of the function."""
    cache = EligibilityCache(capacity=capacity)
    tables: dict[int, ClusterTable] = {}
    for clusters, each in [*asked, *asked]:
        table = tables.setdefault(id(clusters), ClusterTable.of(clusters))
        assert cache.of(each, table) == eligibility(each, table)


def test_objects_in_two_versions_of_a_kind_are_judged_apart() -> None:
    """A cluster that serves the older version alone gets those that are stored in it, whoever was asked about
    first."""
    served = ServedKinds(
        frozenset({("autoscaling", "horizontalpodautoscalers")}),
        versions={("autoscaling", "horizontalpodautoscalers"): frozenset({"v1"})},
    )
    old = ClusterTable(clusters={"a": view("a")}, served={"a": served})
    cache = EligibilityCache()
    for version, reason in (("v1", ""), ("v2", "ApiNotServed"), ("v1", "")):
        asked = replace(
            requirements(resource="horizontalpodautoscalers"), group="autoscaling", version=version
        )
        (found,) = cache.of(asked, old)
        assert ("" if found.admits else found.reason) == reason
        if reason:
            assert "in v2, only in v1: they may mean other things" in found.message
