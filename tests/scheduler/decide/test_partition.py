"""How a StatefulSet's partition is divided, and what is said of replicas that have no cluster."""

from __future__ import annotations

from typing import Any

import pytest
from hanse_scheduler.decide.stateful.ordinals import give_ordinals
from hanse_scheduler.decide.stateful.partition import divided, partition_of
from hanse_scheduler.placing.events import notices
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.scheduler.v1.placement_pb2 import SUM, ClusterPlacement, Placement
from hanse.federation.placements import unplaced_sentence
from hanse.kube.model.objects import Object
from hanse.store.keys import ObjectKey
from tests.scheduler.builders import (
    NOW,
    config,
    deployment,
    offline,
    placed,
    policy_object,
    run,
    table,
    workload,
)

CANARY = ObjectKey("apps", "statefulsets", "shop", "web")
SELECTED = [{"apiVersion": "apps/v1", "kind": "StatefulSet"}, {"apiVersion": "apps/v1", "kind": "Deployment"}]

shares = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 40), min_size=1)


def stateful_set(replicas: int, partition: int, **strategy: Any) -> Object:
    """A StatefulSet that updates from its partition on."""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    return workload("apps/v1", "StatefulSet", {"replicas": replicas, "updateStrategy": strategy or rolling})


def partitions(placement: Placement | None) -> dict[str, int | None]:
    """The partition of each cluster, None where the template's holds."""
    assert placement is not None
    return {
        each.cluster: each.partition if each.HasField("partition") else None for each in placement.clusters
    }


def divided_policy(**replicas: Any) -> Object:
    """A policy that divides replicas."""
    return policy_object(replicas={"mode": "Divided", **replicas}, resourceSelectors=SELECTED)


@given(shares, st.integers(0, 300), st.integers(0, 5))
def test_exactly_as_many_pods_update_as_the_partition_leaves(
    replicas: dict[str, int], partition: int, unplaced: int
) -> None:
    """The partitions add up to the whole; what has no cluster makes fewer Pods update, never more."""
    asked = sum(replicas.values()) + unplaced
    found = divided(partition, asked=asked, replicas=replicas)
    updated = sum(max(0, replicas[name] - found[name]) for name in replicas)
    assert updated == max(0, sum(replicas.values()) - partition)
    assert updated <= max(0, asked - partition)
    if partition < asked:
        assert all(0 <= found[name] <= replicas[name] for name in replicas)
        assert sum(found.values()) == min(partition, sum(replicas.values()))


@given(shares, st.integers(0, 3))
def test_a_smaller_partition_takes_no_update_back(replicas: dict[str, int], unplaced: int) -> None:
    """As the whole partition falls, that of no cluster rises: a Pod that was updated stays updated."""
    asked = sum(replicas.values()) + unplaced
    before = divided(0, asked=asked, replicas=replicas)
    for partition in range(1, asked + 2):
        now = divided(partition, asked=asked, replicas=replicas)
        assert all(now[name] >= before[name] for name in replicas)
        before = now


@given(shares, st.integers(0, 240))
def test_each_cluster_keeps_about_its_part(replicas: dict[str, int], partition: int) -> None:
    """A cluster's partition is in proportion to its replicas, to less than one Pod for each cluster."""
    running = sum(replicas.values())
    if 0 < partition < running:
        found = divided(partition, asked=running, replicas=replicas)
        for name, count in replicas.items():
            assert abs(found[name] - partition * count / running) <= len(replicas)


def test_a_divided_set_updates_exactly_as_many_pods_as_asked() -> None:
    """4 replicas with partition 2 in two clusters: one Pod of each is updated, which is 2 of 4."""
    decision = run(stateful_set(4, 2), table("eu-west", "us-east"), key=CANARY, policy=divided_policy())
    assert placed(decision) == {"eu-west": 2, "us-east": 2}
    assert partitions(decision.placement) == {"eu-west": 1, "us-east": 1}


def test_a_partition_that_updates_nothing_updates_nothing_anywhere() -> None:
    """A partition of all replicas or more is given to each cluster as it is: scaling up updates nothing."""
    decision = run(stateful_set(4, 7), table("a", "b"), key=CANARY, policy=divided_policy())
    assert partitions(decision.placement) == {"a": 7, "b": 7}


@pytest.mark.parametrize(
    "obj",
    [stateful_set(4, 0), stateful_set(4, 2, type="OnDelete"), deployment(4)],
    ids=["none", "OnDelete", "other"],
)
def test_what_has_no_partition_gets_none(obj: Object) -> None:
    """Without a partition, with OnDelete and for other kinds the template is passed on as it is."""
    assert partition_of(obj) == 0
    key = CANARY if obj["kind"] == "StatefulSet" else ObjectKey("apps", "deployments", "shop", "web")
    decision = run(obj, table("a", "b"), key=key, policy=divided_policy())
    assert set(partitions(decision.placement).values()) == {None}


def test_a_set_that_is_not_divided_keeps_the_partition_of_the_template() -> None:
    """Where each cluster runs the whole number, the template's partition holds in each."""
    decision = run(stateful_set(4, 2), table("a", "b"), key=CANARY)
    assert partitions(decision.placement) == {"a": None, "b": None}


def test_a_suspended_cluster_keeps_its_partition() -> None:
    """A cluster that is out of reach is left as it is; the others divide the whole partition.

    A StatefulSet is counted elsewhere only where the policy takes that risk.
    """
    risky = policy_object(replicas={"mode": "Divided"}, resourceSelectors=SELECTED, whenUnknown="Restart")
    before = run(stateful_set(4, 2), table("a", "b"), key=CANARY, policy=risky)
    after = run(
        stateful_set(4, 2),
        table(offline("a", since=NOW - 100), "b"),
        key=CANARY,
        policy=risky,
        previous=before,
    )
    assert partitions(after.placement) == {"a": 1, "b": 2}


def numbered(size: int | None, *clusters: str) -> Object:
    """A policy that divides replicas, with ordinals for each cluster."""
    replicas = {"mode": "Divided"} | ({"ordinalsPerCluster": size} if size else {})
    return policy_object(replicas=replicas, resourceSelectors=SELECTED, clusterNames=list(clusters))


def offsets(placement: Placement | None) -> dict[str, int | None]:
    """The ordinal offset of each cluster, None where the template's start holds."""
    assert placement is not None
    assert not placement.error
    return {
        each.cluster: each.ordinal_offset if each.HasField("ordinal_offset") else None
        for each in placement.clusters
    }


STEPS = st.lists(
    st.tuples(
        st.sets(st.sampled_from("abcde"), min_size=1), st.integers(0, 60), st.sampled_from([20, 20, 30, 7])
    ),
    max_size=8,
)


@given(STEPS)
def test_what_runs_is_never_renumbered(steps: list[tuple[set[str], int, int | None]]) -> None:
    """Through any rescale, move and change of the policy; and no two clusters that got their ordinals by
    a range have one in common."""
    before = run(stateful_set(6, 0), table(*"abcde"), key=CANARY, policy=numbered(20))
    for clusters, replicas, size in steps:
        policy = numbered(size, *sorted(clusters))
        total = min(replicas, len(clusters) * 20)
        after = run(stateful_set(total, 0), table(*"abcde"), key=CANARY, policy=policy, previous=before)
        known, now = offsets(before.placement), offsets(after.placement)
        for name in known.keys() & now.keys():
            assert known[name] == now[name], "it was there before"
        assert after.placement is not None
        used = [
            each.ordinal_offset + number
            for each in after.placement.clusters
            if each.HasField("ordinal_offset")
            for number in range(each.replicas)
        ]
        assert len(used) == len(set(used))
        before = after


def test_each_cluster_has_ordinals_of_its_own() -> None:
    """The message says which, beginning with the template's; more replicas than ordinals it does not get."""
    decision = run(stateful_set(5, 0), table("a", "b"), key=CANARY, policy=numbered(100))
    assert offsets(decision.placement) == {"a": 0, "b": 100}
    assert decision.placement is not None
    texts = [each.message for each in decision.placement.clusters]
    counts = placed(decision)
    assert texts[1].endswith(f"; its Pods have the ordinals 100 to {99 + (counts['b'] or 0)}")
    scaled = run(stateful_set(9, 0), table("a", "b"), key=CANARY, policy=numbered(4), previous=decision)
    assert placed(scaled) == {"a": 4, "b": 4}
    assert scaled.placement is not None
    assert scaled.placement.unplaced_replicas == 1


def test_what_moves_keeps_its_names() -> None:
    """The new cluster gets the range that was left, once the old one has let go."""
    before = run(stateful_set(2, 0), table("a", "b"), key=CANARY, policy=numbered(10, "a"))
    moving = run(stateful_set(2, 0), table("a", "b"), key=CANARY, policy=numbered(10, "b"), previous=before)
    assert offsets(moving.placement) == {}, "it stops first"
    again = run(stateful_set(2, 0), table("b"), key=CANARY, policy=numbered(10, "b"), previous=moving)
    assert offsets(again.placement) == {"b": 0}


def test_ordinals_that_are_asked_for_later_hold_for_what_comes() -> None:
    """What runs keeps its ordinals, and the message says that others have them, too."""
    before = run(stateful_set(4, 0), table("a", "b"), key=CANARY, policy=numbered(None))
    asked = run(stateful_set(4, 0), table("a", "b"), key=CANARY, policy=numbered(10), previous=before)
    assert offsets(asked.placement) == {"a": None, "b": None}
    assert asked.placement is not None
    assert all("not renumbered" in each.message for each in asked.placement.clusters)
    more = run(stateful_set(9, 0), table("a", "b", "c"), key=CANARY, policy=numbered(10), previous=asked)
    assert offsets(more.placement) == {"a": None, "b": None, "c": 10}


def test_a_policy_that_does_not_ask_any_more_renumbers_nothing() -> None:
    """What runs keeps the ordinals that it has."""
    before = run(stateful_set(4, 0), table("a", "b"), key=CANARY, policy=numbered(10))
    after = run(stateful_set(4, 0), table("a", "b"), key=CANARY, policy=numbered(None), previous=before)
    assert offsets(before.placement) == offsets(after.placement) == {"a": 0, "b": 10}


def test_a_set_that_is_not_divided_needs_ordinals_for_all() -> None:
    """Each cluster runs the whole number: with fewer ordinals than that nothing is placed."""
    policy = policy_object(replicas={"ordinalsPerCluster": 3}, resourceSelectors=SELECTED)
    decision = run(stateful_set(3, 0), table("a", "b"), key=CANARY, policy=policy)
    assert offsets(decision.placement) == {"a": 0, "b": 3}
    scaled = run(stateful_set(4, 0), table("a", "b"), key=CANARY, policy=policy, previous=decision)
    assert scaled.placement is not None
    assert "is to run 4 replicas, and has 3 ordinals" in scaled.placement.error
    assert len(scaled.placement.clusters) == 2


def test_ordinals_that_kubernetes_does_not_have_are_refused() -> None:
    """The error names the field; nothing that is placed changes."""
    policy = policy_object(replicas={"ordinalsPerCluster": 2_000_000_000}, resourceSelectors=SELECTED)
    decision = run(stateful_set(3, 0), table("a", "b", "c"), key=CANARY, policy=policy)
    assert decision.placement is not None
    assert "make replicas.ordinalsPerCluster of the policy smaller" in decision.placement.error


def test_a_cluster_with_a_great_many_ordinals_is_skipped_at_once() -> None:
    """A range is not looked for step by step behind one that is out of reach and was never bounded."""
    away = ClusterPlacement(cluster="a", replicas=2_000_000_000, suspended=True)
    fresh = ClusterPlacement(cluster="b", replicas=1)
    give_ordinals(stateful_set(1, 0), [away, fresh], before={"a": away}, size=1)
    assert fresh.ordinal_offset == 2_000_000_000


def test_replicas_without_a_cluster_are_counted_and_named() -> None:
    """With room for 5 of 12 the placement says that 7 have no cluster, and an Event names them once."""
    policy = divided_policy(clusters={"*": {"maxReplicas": 5, "weight": 1}})
    decision = run(deployment(12), table("a"), policy=policy)
    assert decision.placement is not None
    assert (placed(decision), decision.placement.unplaced_replicas) == ({"a": 5}, 7)
    (notice,) = notices(None, decision.placement)
    assert notice.reason == "ReplicasUnplaced"
    assert notice.warning
    assert notice.message.startswith("7 of 12 replicas have no cluster that may or can run them (a: ")
    assert list(notices(decision.placement, decision.placement)) == []
    again = run(deployment(12), table("a", "b", "c"), policy=policy, previous=decision)
    assert again.placement is not None
    assert again.placement.unplaced_replicas == 0
    (notice,) = notices(decision.placement, again.placement)
    assert (notice.reason, notice.warning) == ("ReplicasPlaced", False)


def test_what_an_override_sets_is_asked_for() -> None:
    """An override policy that makes a cluster run fewer leaves no replicas without a cluster."""
    override = policy_object("ClusterOverridePolicy", rules=[{"replicas": 1}])
    decision = run(deployment(4), table("a"), overrides=[override])
    assert decision.placement is not None
    assert (placed(decision), decision.placement.unplaced_replicas) == ({"a": 1}, 0)


def test_a_decision_that_fails_does_not_hide_replicas_without_a_cluster() -> None:
    """Who scales up and breaks the annotation at once is told of both."""
    before = run(deployment(4), table("a", "b"))
    bad = {"federation.kubernetes.io/deployment-preferences": "{"}
    after = run(deployment(12, **bad), table("a", "b"), previous=before)
    assert after.placement is not None
    assert after.placement.error
    assert after.placement.unplaced_replicas == 8


def test_an_object_without_any_cluster_has_none_of_its_replicas_placed() -> None:
    """Nothing is placed, so everything is missing; an object without replicas misses nothing."""
    decision = run(deployment(3), table())
    assert decision.placement is not None
    assert unplaced_sentence(decision.placement) == "3 of 3 replicas have no cluster that may or can run them"


def test_what_a_policy_says_of_the_status_is_in_the_placement() -> None:
    """As all that a policy decides is."""
    policy = policy_object(statusFields=[{"path": "replicas", "fold": "Sum"}])
    decision = run(config(), table("a"), policy=policy)
    assert decision.placement is not None
    assert [(each.path, each.fold) for each in decision.placement.status_fields] == [("replicas", SUM)]
