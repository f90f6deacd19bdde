"""Clusters that take nothing new, or refuse what they are given."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hanse_scheduler.decide.clusters import ServedKinds
from hanse_scheduler.decide.inputs import Observed

from hanse.store.keys import ObjectKey
from tests.scheduler.builders import (
    NOW,
    deployment,
    placed,
    policy_object,
    ready,
    run,
    table,
    taint,
    view,
    workload,
)

DEPLOYMENTS = frozenset({("apps", "deployments")})
CLOSED = [view("b", unschedulable=True), view("b", taints=(taint("maintenance"),))]


@pytest.mark.parametrize("closed", CLOSED, ids=["cordoned", "tainted"])
def test_gets_no_more_when_scaled_up(closed: object) -> None:
    """A cluster that is cordoned or tainted keeps what it has; what is new goes elsewhere, or nowhere."""
    before = run(deployment(4), table("a", "b"))
    assert placed(before) == {"a": 2, "b": 2}
    scaled = run(deployment(8), table("a", closed), previous=before)  # type: ignore[arg-type]
    assert placed(scaled) == {"a": 6, "b": 2}
    assert scaled.placement is not None
    assert "it gets no more" in scaled.placement.clusters[1].message
    alone = run(deployment(4), table("b"))
    more = run(deployment(8), table(closed), previous=alone)  # type: ignore[arg-type]
    assert placed(more) == {"b": 4}
    assert more.placement is not None
    assert more.placement.unplaced_replicas == 4


def test_may_have_fewer() -> None:
    """A cordon does not keep an object from being scaled down."""
    before = run(deployment(8), table("b"))
    assert placed(run(deployment(2), table(CLOSED[0]), previous=before)) == {"b": 2}


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_what_is_not_divided_keeps_its_number(kind: str) -> None:
    """Of an object that every cluster has whole, a cordoned cluster keeps as many as run there."""
    key = ObjectKey("apps", f"{kind.lower()}s", "shop", "web")
    policy = policy_object(
        resourceSelectors=[{"apiVersion": "apps/v1", "kind": kind}], replicas={"mode": "Duplicated"}
    )
    before = run(workload("apps/v1", kind, {"replicas": 2}), table("a", "b"), key=key, policy=policy)
    more = workload("apps/v1", kind, {"replicas": 4})
    observed = {"b": Observed(replicas=2)}
    scaled = run(more, table("a", CLOSED[0]), key=key, policy=policy, previous=before, observed=observed)
    assert placed(scaled) == {"a": None, "b": 2}
    again = run(more, table("a", "b"), key=key, policy=policy, previous=scaled, observed=observed)
    assert placed(again) == {"a": None, "b": None}


def test_what_is_refused_for_long_counts_elsewhere() -> None:
    """A cluster that refuses the object keeps its share for the toleration, then others run it."""
    before = run(deployment(4), table("a", "b"))
    refused = {"b": Observed(refusal="Forbidden", refused_since=NOW)}
    soon = run(deployment(4), table("a", "b"), previous=before, observed=refused, now=NOW + 59)
    assert placed(soon) == {"a": 2, "b": 2}
    assert soon.reconsider_at == NOW + 60
    late = run(deployment(4), table("a", "b"), previous=before, observed=refused, now=NOW + 60)
    assert placed(late)["a"] == 4
    assert late.placement is not None
    assert "it refuses the object (Forbidden)" in late.placement.clusters[1].message


def test_what_runs_where_a_change_is_refused_stays() -> None:
    """Only what does not run counts elsewhere: a quota that is used up takes nothing from what is there."""
    before = run(deployment(4), table("a", "b"))
    refused = {"b": Observed(replicas=1, refusal="Forbidden", refused_since=NOW)}
    late = run(deployment(4), table("a", "b"), previous=before, observed=refused, now=NOW + 60)
    assert placed(late)["a"] == 3
    assert (placed(late)["b"] or 0) >= 1


def test_pods_that_are_refused_count_elsewhere() -> None:
    """A quota lets two of four come into being: after the toleration others run the rest, and it stays so."""
    before = run(deployment(8), table("a", "b"))
    refused = {"b": Observed(replicas=4, refused_pods=2, refused_pods_since=NOW)}
    soon = run(deployment(8), table("a", "b"), previous=before, observed=refused, now=NOW + 59)
    assert placed(soon) == {"a": 4, "b": 4}
    assert soon.reconsider_at == NOW + 60
    late = run(deployment(8), table("a", "b"), previous=before, observed=refused, now=NOW + 60)
    assert late.placement is not None
    assert "refused to create 2 of its Pods" in late.placement.clusters[1].message
    targets = {
        each.cluster: each.target_replicas if each.HasField("target_replicas") else each.replicas
        for each in late.placement.clusters
    }
    assert targets == {"a": 6, "b": 2}
    fits = {"a": ready(6), "b": ready(2)}
    after = run(deployment(8), table("a", "b"), previous=late, observed=fits, now=NOW + 70)
    assert placed(after) == {"a": 6, "b": 2}


def test_a_cluster_that_refuses_all_pods_gives_its_place_away() -> None:
    """Where one cluster is allowed, another one has the object after the toleration."""
    policy = policy_object(maxClusters=1)
    before = run(deployment(4), table("a", "b"), policy=policy)
    (old,) = placed(before)
    refused = {old: Observed(replicas=4, refused_pods=4, refused_pods_since=NOW)}
    soon = run(deployment(4), table("a", "b"), policy=policy, previous=before, observed=refused, now=NOW + 59)
    assert set(placed(soon)) == {old}
    late = run(deployment(4), table("a", "b"), policy=policy, previous=before, observed=refused, now=NOW + 60)
    assert placed(late)[({"a", "b"} - {old}).pop()] == 4


def test_refused_everywhere_stays_asked_for() -> None:
    """Where no other cluster can take the replicas, they stay asked for, and are tried again."""
    before = run(deployment(4), table("b"))
    refused = {"b": Observed(refusal="Forbidden", refused_since=NOW)}
    late = run(deployment(4), table("b"), previous=before, observed=refused, now=NOW + 600)
    assert placed(late) == {"b": 4}


def test_a_version_that_is_served_no_more_is_a_refusal() -> None:
    """Nothing leaves the cluster; what its old version does not run is counted elsewhere after the toleration
    of every refusal, and comes back when the version does."""
    before = run(deployment(4), table("a", "b"))
    old = ServedKinds(DEPLOYMENTS, versions={("apps", "deployments"): frozenset({"v1beta2"})})
    downgraded = replace(table("a", "b"), served={"b": old})
    refused = {"b": Observed(refusal="ApiNotServed", refused_since=NOW)}
    soon = run(deployment(4), downgraded, previous=before, observed=refused, now=NOW + 59)
    assert placed(soon) == {"a": 2, "b": 2}
    late = run(deployment(4), downgraded, previous=before, observed=refused, now=NOW + 60)
    assert placed(late)["a"] == 4
    assert "b" in placed(late)
    assert late.placement is not None
    assert not late.placement.releasing
    assert "it refuses the object (ApiNotServed)" in late.placement.clusters[1].message
    running = {"b": replace(refused["b"], replicas=2)}
    kept = run(deployment(4), downgraded, previous=before, observed=running, now=NOW + 60)
    assert placed(kept) == {"a": 2, "b": 2}
