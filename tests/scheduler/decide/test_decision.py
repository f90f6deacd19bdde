"""Where objects go, what is released, and what never happens by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hanse_scheduler.decide.clusters import MemberCluster, ServedKinds
from hanse_scheduler.decide.decision import MAX_PLACEMENT_BYTES
from hanse_scheduler.decide.inputs import Observed, Rules
from hanse_scheduler.placing.events import notices
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hanse.api.registry.v1.cluster_pb2 import (
    CREDENTIAL_REFUSED,
    IDENTITY_MISMATCH,
    MISBEHAVING,
    OFFLINE,
    PENDING,
    UNJOINING,
    ClusterState,
)
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, Placement
from hanse.federation.confirmation import Confirmation
from hanse.store.keys import ObjectKey
from tests.scheduler.builders import (
    CONFIG,
    NOW,
    PREFERENCES,
    SELECTOR,
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
    selector,
    suspended,
    table,
    taint,
    view,
    workload,
)

REMOVED = Observed(Confirmation("", 11))
PRESENT = Observed()


def test_default_is_every_ready_cluster() -> None:
    """Without annotation and policy an object goes to every ready cluster, and says why not to others."""
    decision = run(config(), table("a", "b", offline("c"), view("d", state=PENDING)))
    assert placed(decision) == {"a": None, "b": None}
    assert refused(decision) == {"c": "ClusterOffline", "d": "ClusterPending"}
    assert decision.changed


def test_default_none_places_only_what_asks() -> None:
    """With default_placement none nothing goes anywhere, but for what a selector or policy selects."""
    rules = Rules(everywhere=False)
    assert placed(run(config(), table("a"), rules=rules)) == {}
    assert placed(run(config(annotations=selector()), table("a"), rules=rules)) == {"a": None}
    assert placed(run(config(), table("a"), rules=rules, policy=policy_object())) == {"a": None}


def test_deciding_twice_changes_nothing() -> None:
    """A decision on top of itself is the same decision."""
    first = run(deployment(10), table("a", "b", "c"))
    assert not run(deployment(10), table("a", "b", "c"), previous=first, now=NOW + 5).changed


def test_a_new_decision_does_not_make_a_placement_younger() -> None:
    """Its age is that of the first decision about the object, also if it was stored without one."""
    first = run(deployment(4), table("a"))
    later = run(deployment(5), table("a"), previous=first, now=NOW + 60)
    assert first.placement is not None
    assert later.placement is not None
    assert later.changed
    assert (later.placement.create_time.seconds, later.placement.update_time.seconds) == (NOW, NOW + 60)
    old = Placement()
    old.CopyFrom(first.placement)
    old.ClearField("create_time")
    again = run(deployment(4), table("a"), previous=old, now=NOW + 60)
    assert not again.changed, "an age alone is not worth a write"
    assert again.placement is not None
    assert again.placement.create_time.seconds == NOW
    again = run(deployment(4, uid="u2"), table("a"), previous=first, now=NOW + 60)
    assert again.placement is not None
    assert again.placement.create_time.seconds == NOW + 60, "another object of that name"


def test_selector_moves_an_object() -> None:
    """A cluster that the selector no longer matches is released, and stays listed until it is confirmed."""
    clusters = table(view("a", labels={"tier": "prod"}), view("b", labels={"tier": "test"}))
    everywhere = run(config(), clusters)
    chosen = config(annotations=selector({"key": "tier", "operator": "In", "values": ["prod"]}))
    moved = run(chosen, clusters, previous=everywhere)
    assert placed(moved) == {"a": None}
    assert releasing(moved) == ["b"]
    assert refused(moved) == {}
    waiting = run(chosen, clusters, previous=moved, observed={"b": PRESENT}, now=NOW + 100)
    assert not waiting.changed
    done = run(chosen, clusters, previous=moved, observed={"b": REMOVED})
    assert releasing(done) == []
    assert refused(done) == {"b": "SelectorDoesNotMatch"}


UNREACHABLE = [
    (OFFLINE, "ClusterOffline"),
    (PENDING, "ClusterPending"),
    (IDENTITY_MISMATCH, "ClusterIdentityMismatch"),
    (MISBEHAVING, "ClusterMisbehaving"),
    (CREDENTIAL_REFUSED, "ClusterCredentialRefused"),
]


@pytest.mark.parametrize("state", [state for state, _ in UNREACHABLE])
def test_what_is_found_in_a_cluster_that_does_not_answer_is_not_taken_out(
    state: ClusterState.ValueType,
) -> None:
    """It may be placed there when the cluster answers; then it is, or it is released."""
    found = {"b": PRESENT}
    waiting = run(config(), table("a", view("b", state=state)), observed=found)
    assert (placed(waiting), releasing(waiting)) == ({"a": None}, [])
    answered = run(config(), table("a", "b"), previous=waiting, observed=found)
    assert (placed(answered), releasing(answered)) == ({"a": None, "b": None}, [])
    only_a = config(annotations=selector({"key": "hanse.dev/cluster", "operator": "In", "values": ["a"]}))
    assert releasing(run(only_a, table("a", "b"), previous=waiting, observed=found)) == ["b"]


def test_old_confirmation_does_not_end_a_new_release() -> None:
    """A confirmation of an earlier release never counts; the syncer gives a new one."""
    clusters = table("a", "b")
    only_a = config(annotations=selector({"key": "hanse.dev/cluster", "operator": "In", "values": ["a"]}))
    moved = run(only_a, clusters, previous=run(config(), clusters))
    stale = Observed(Confirmation("", 10))
    assert releasing(run(only_a, clusters, previous=moved, observed={"b": stale}, now=NOW + 1000)) == ["b"]
    fresh = Observed(Confirmation("", 11))
    assert releasing(run(only_a, clusters, previous=moved, observed={"b": fresh}, now=NOW + 1)) == []


def test_old_confirmation_says_nothing_of_a_cluster_that_is_placed_again() -> None:
    """A placement says which confirmations are older than it, and goes on saying so."""
    clusters = table("a", "b")
    only_a = config(annotations=selector({"key": "hanse.dev/cluster", "operator": "In", "values": ["a"]}))
    moved = run(only_a, clusters, previous=run(config(), clusters))
    again = run(config(), clusters, previous=moved)
    assert again.placement is not None
    assert [item.after_revision for item in again.placement.clusters] == [0, 10]
    later = run(config(), clusters, previous=again, observed={"b": PRESENT})
    assert not later.changed


def test_object_deleted_before_it_was_ever_placed_ends() -> None:
    """An object made and deleted before anybody looked is not held by the placement of an earlier one."""
    clusters = table("a", "b")
    before = run(config(uid="old"), clusters)
    obj = config(uid="new")
    obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    first = run(obj, clusters, previous=before, observed={"a": PRESENT})
    assert placed(first) == {}
    assert releasing(first) == ["a", "b"]
    assert first.placement is not None
    assert first.placement.object.uid == "new"
    done = Observed(Confirmation("", 11))
    second = run(obj, clusters, previous=first, observed={"a": done, "b": done})
    assert releasing(second) == ["a", "b"]
    assert not second.changed


def test_release_is_taken_back_when_it_is_wanted_again() -> None:
    """An object that is wanted again before it left simply stays."""
    clusters = table("a", "b")
    only_a = config(annotations=selector({"key": "hanse.dev/cluster", "operator": "In", "values": ["a"]}))
    moved = run(only_a, clusters, previous=run(config(), clusters))
    assert placed(run(config(), clusters, previous=moved)) == {"a": None, "b": None}


@pytest.mark.parametrize(
    ("annotation", "value", "names"),
    [
        (SELECTOR, "{not json", "not JSON"),
        (SELECTOR, '[{"key":"a","operator":"Near"}]', "Near"),
        (PREFERENCES, "[]", "not a JSON object"),
        (PREFERENCES, '{"clusters":{"a":{"wieght":1}}}', "did you mean weight"),
        (PREFERENCES, '{"clusters":{"a":{"weight":-1}}}', "weight is -1"),
    ],
)
def test_what_cannot_be_understood_changes_nothing(annotation: str, value: str, names: str) -> None:
    """A wrong annotation leaves the placement as it is and says what is wrong, with its name."""
    clusters = table("a", "b", "c")
    before = run(deployment(9), clusters)
    after = run(deployment(9, **{annotation: value}), clusters, previous=before)
    assert after.placement is not None
    assert before.placement is not None
    assert placed(after) == placed(before)
    assert list(after.placement.releasing) == []
    assert annotation in after.placement.error
    assert names in after.placement.error
    healed = run(deployment(9), clusters, previous=after)
    assert healed.placement is not None
    assert healed.placement.error == ""


def test_what_cannot_be_understood_holds_no_cluster_that_leaves() -> None:
    """A mistake in an annotation keeps no cluster from leaving the federation."""
    before = run(config(), table("a", "b"))
    leaving = table("a", view("b", state=UNJOINING, leaving=True))
    after = run(config(annotations={SELECTOR: "{not json"}), leaving, previous=before)
    assert after.placement is not None
    assert after.placement.error
    assert placed(after) == {"a": None}
    assert releasing(after) == ["b"]


def test_wrong_from_the_start_places_nothing() -> None:
    """A new object with a wrong annotation gets a placement that only has the error."""
    decision = run(deployment(9, **{SELECTOR: "x"}), table("a"))
    assert decision.placement is not None
    assert placed(decision) == {}
    assert decision.placement.error


def test_offline_cluster_keeps_objects_without_replicas() -> None:
    """Nothing of a ConfigMap changes when a cluster goes away, however long; so nothing is written."""
    before = run(config(), table("a", "b"))
    after = run(config(), table("a", offline("b")), previous=before, now=NOW + 10_000)
    assert not after.changed
    assert after.reconsider_at == float("inf")


def test_offline_cluster_loses_replicas_after_the_toleration() -> None:
    """Replicas stay for the toleration, then count elsewhere; the cluster is suspended, not released."""
    before = run(deployment(9), table("a", "b", "c"))
    gone = table("a", "b", offline("c", since=NOW))
    within = run(deployment(9), gone, previous=before, now=NOW + 59)
    assert placed(within) == placed(before)
    assert within.reconsider_at == NOW + 60
    moved = run(deployment(9), gone, previous=within, now=NOW + 60)
    assert suspended(moved) == {"c"}
    assert sum(count or 0 for count in placed(moved).values()) == 9
    assert releasing(moved) == []
    assert not run(deployment(9), gone, previous=moved, now=NOW + 500).changed


def test_returning_cluster_takes_part_at_once() -> None:
    """A cluster that is back is not suspended any more, and the sum is the total again."""
    gone = table("a", "b", offline("c"))
    before = run(deployment(9), table("a", "b", "c"))
    moved = run(deployment(9), gone, previous=before, now=NOW + 60)
    back = run(deployment(9), table("a", "b", "c"), previous=moved, now=NOW + 90)
    assert suspended(back) == set()
    assert sum(count or 0 for count in placed(back).values()) == 12  # until they are known to be ready
    observed = {name: ready(count) for name, count in placed(back).items()}
    done = run(deployment(9), table("a", "b", "c"), previous=back, now=NOW + 91, observed=observed)
    assert sum(count or 0 for count in placed(done).values()) == 9
    assert placed(done)["c"] == 3


def test_replicas_stay_when_no_cluster_can_take_them() -> None:
    """When every cluster is out of reach (or we are), nothing is suspended."""
    before = run(deployment(9), table("a", "b"))
    decision = run(deployment(9), table(offline("a"), offline("b")), previous=before, now=NOW + 600)
    assert placed(decision) == placed(before)
    assert suspended(decision) == set()


def test_policy_sets_the_toleration() -> None:
    """A policy's tolerationSeconds replaces the setting."""
    policy = policy_object(tolerationSeconds=5)
    before = run(deployment(9), table("a", "b"), policy=policy)
    moved = run(deployment(9), table("a", offline("b")), previous=before, policy=policy, now=NOW + 5)
    assert suspended(moved) == {"b"}


def test_unjoining_cluster_is_left() -> None:
    """A cluster on its way out is released by everything, and gets nothing new."""
    before = run(config(), table("a", "b"))
    leaving = table("a", view("b", state=UNJOINING, leaving=True))
    assert releasing(run(config(), leaving, previous=before)) == ["b"]
    assert refused(run(config(), leaving)) == {"b": "ClusterUnjoining"}


def test_cluster_that_does_not_exist_is_dropped() -> None:
    """A cluster that is gone by force is no longer in the placement at all."""
    before = run(config(), table("a", "b"))
    after = run(config(), table("a"), previous=before, observed={"b": PRESENT})
    assert placed(after) == {"a": None}
    assert releasing(after) == []


def test_cordon_and_missing_api_keep_new_objects_out_only() -> None:
    """What is there stays in a cordoned cluster and in one that does not serve the kind now."""
    before = run(config(), table("a", "b"))
    closed = table(view("a", unschedulable=True), "b")
    assert refused(run(config(), closed)) == {"a": "ClusterUnschedulable"}
    assert not run(config(), closed, previous=before).changed
    mute = table("a", "b")
    told = frozenset({("apps", "deployments")})
    for served, reason in (
        (ServedKinds(told), "ApiNotServed"),
        (ServedKinds(told, frozenset({""})), "ApiUnknown"),
    ):
        mute = type(mute)(clusters=mute.clusters, served={"a": served})
        assert refused(run(config(), mute)) == {"a": reason}
        assert not run(config(), mute, previous=before).changed


@pytest.mark.parametrize(("state", "reason"), UNREACHABLE)
def test_what_an_unreachable_cluster_serves_is_not_known(state: ClusterState.ValueType, reason: str) -> None:
    """Unknown is not empty: it is not said that the cluster does not serve the kind."""
    away = table(view("a", state=state), "b")
    away = type(away)(clusters=away.clusters, served={"a": ServedKinds(frozenset({("apps", "deployments")}))})
    decision = run(config(), away)
    assert refused(decision) == {"a": reason}
    assert decision.placement is not None
    assert "whether it serves configmaps is not known" in decision.placement.refused[0].message


def test_taints() -> None:
    """NoSchedule keeps out, NoExecute moves away; a toleration bears it, or for its seconds."""
    before = run(config(), table("a", "b"))
    noschedule = table(view("a", taints=(taint("gpu"),)), "b")
    assert refused(run(config(), noschedule)) == {"a": "TaintNotTolerated"}
    assert not run(config(), noschedule, previous=before).changed
    noexecute = table(view("a", taints=(taint("gpu", execute=True),)), "b")
    assert releasing(run(config(), noexecute, previous=before)) == ["a"]
    borne = policy_object(tolerations=[{"key": "gpu", "operator": "Exists"}])
    assert placed(run(config(), noexecute, policy=borne)) == {"a": None, "b": None}
    limited = policy_object(tolerations=[{"key": "gpu", "operator": "Exists", "tolerationSeconds": 30}])
    here = run(config(), table("a", "b"), policy=limited)
    stays = run(config(), noexecute, policy=limited, previous=here, now=NOW + 29)
    assert placed(stays) == {"a": None, "b": None}
    assert stays.reconsider_at == NOW + 30
    assert releasing(run(config(), noexecute, policy=limited, previous=stays, now=NOW + 30)) == ["a"]


def test_deleting_object_moves_nothing() -> None:
    """While an object is deleted its placement stays, whatever clusters and annotations say."""
    before = run(config(), table("a", "b"))
    dying = config(annotations={SELECTOR: "garbage"})
    dying["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not run(dying, table("a", offline("b")), previous=before).changed
    gone = run(dying, table("a"), previous=before)
    assert placed(gone) == {"a": None}
    assert run(dying, table("a")).placement is None


def test_leaving_cluster_does_not_wait_for_others_to_delete() -> None:
    """An object that another cluster has not deleted yet holds no cluster that leaves and has deleted it."""
    before = run(config(), table("a", "b"))
    dying = config()
    dying["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    leaving = table(view("a", leaving=True), offline("b"))
    early = Observed(Confirmation("", 9))
    released = run(dying, leaving, previous=before, observed={"a": early})
    assert (placed(released), releasing(released)) == ({"b": None}, ["a"])
    assert not run(dying, leaving, previous=released, observed={"a": early}).changed
    confirmed = {"a": Observed(Confirmation("", 11))}
    after = run(dying, leaving, previous=released, observed=confirmed)
    assert (placed(after), releasing(after)) == ({"b": None}, [])
    assert not run(dying, leaving, previous=after, observed=confirmed).changed


def test_what_is_found_somewhere_else_is_released() -> None:
    """A sync state in a cluster that is not placed means that something is there, which must leave."""
    clusters = table("a", view("b", labels={"x": "1"}))
    chosen = config(annotations=selector({"key": "x", "operator": "DoesNotExist"}))
    before = run(chosen, clusters)
    assert releasing(run(chosen, clusters, previous=before, observed={"b": PRESENT})) == ["b"]


def test_new_incarnation_starts_anew_but_loses_nothing() -> None:
    """An object created again under its name inherits no replicas, and what the old one left is released."""
    before = run(deployment(9, uid="old"), table("a", "b"))
    only_a = deployment(
        4, uid="new", **selector({"key": "hanse.dev/cluster", "operator": "In", "values": ["a"]})
    )
    after = run(only_a, table("a", "b"), previous=before)
    assert placed(after) == {"a": 4}
    assert releasing(after) == ["b"]


def test_kinds_that_stay_are_not_placed_unless_selected() -> None:
    """What does not propagate has no placement, until a policy selects it, and loses it again."""
    assert run(config(), table("a"), propagates=False).placement is None
    selected = run(config(), table("a"), propagates=False, policy=policy_object())
    assert placed(selected) == {"a": None}
    assert releasing(run(config(), table("a"), propagates=False, previous=selected)) == ["a"]


def test_what_stays_says_so() -> None:
    """An object of a kind that goes nowhere says what would change that."""
    (step,) = run(config(), table("a"), key=ObjectKey("", "pods", "shop", "p"), propagates=False).steps
    assert step.step == "propagate"
    assert "unless a placement policy selects" in step.message


def own(resource: str, name: str, *, namespace: str = "", **annotations: str) -> dict[str, Any]:
    """An object of the core group, and where it is stored, as arguments of `run`."""
    kind = {"namespaces": "Namespace", "nodes": "Node", "configmaps": "ConfigMap", "services": "Service"}
    metadata: dict[str, Any] = {"name": name, "uid": "u1", "annotations": annotations}
    if namespace:
        metadata["namespace"] = namespace
    return {
        "obj": {"apiVersion": "v1", "kind": kind[resource], "metadata": metadata},
        "key": ObjectKey("", resource, namespace, name),
    }


def selecting(obj: dict[str, Any], **more: str) -> dict[str, Any]:
    """A policy that adopts objects of the kind."""
    chosen = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], **more}
    return policy_object(resourceSelectors=[chosen], conflictResolution="Adopt")


BELONGING = [
    own("namespaces", "default"),
    own("namespaces", "kube-node-lease"),
    own("nodes", "n1"),
    own("configmaps", "kube-root-ca.crt", namespace="shop"),
    own("configmaps", "any", namespace="kube-system"),
    own("services", "kubernetes", namespace="default"),
]


@pytest.mark.parametrize("which", BELONGING, ids=lambda which: which["key"].path())
def test_what_belongs_to_clusters_is_never_selected(which: dict[str, Any]) -> None:
    """No wide selector, no default and no contents place it, and what was placed before is let go of."""
    policy = selecting(which["obj"])
    for more in ({}, {"policy": policy}, {"contents": frozenset("a")}):
        decision = run(clusters=table("a", "b"), **which, **more)
        assert decision.placement is None
        assert [step.step for step in decision.steps] == ["propagate"]
    before = Placement(clusters=[ClusterPlacement(cluster="a")])
    after = run(clusters=table("a", "b"), **which, policy=policy, previous=before)
    assert (placed(after), releasing(after)) == ({}, ["a"])


@pytest.mark.parametrize("which", BELONGING, ids=lambda which: which["key"].path())
def test_naming_what_belongs_to_clusters_is_refused(which: dict[str, Any]) -> None:
    """A policy that names it, or an annotation on it, places it nowhere, and every cluster says why."""
    key = which["key"]
    named = run(clusters=table("a", "b"), **which, policy=selecting(which["obj"], name=key.name))
    which = own(key.resource, key.name, namespace=key.namespace, **{SELECTOR: "[]"})
    annotated = run(clusters=table("a", "b"), **which)
    for decision in (named, annotated):
        assert placed(decision) == {}
        assert refused(decision) == {"a": "BelongsToCluster", "b": "BelongsToCluster"}
        assert decision.placement is not None
        (notice,) = notices(None, decision.placement)
        assert (notice.reason, notice.warning) == ("PlacementRefused", True)
        assert list(notices(decision.placement, decision.placement)) == []


def test_what_a_controller_made_is_never_selected() -> None:
    """An object that carries a controller's marks is not placed by a policy that selects its kind."""
    decision = run(config(), table("a"), belongs="a controller makes it", policy=policy_object())
    assert decision.placement is None


def test_namespace_goes_where_its_contents_are() -> None:
    """A namespace stays wherever something in it is, though its own selector says otherwise."""
    key = ObjectKey("", "namespaces", "", "shop")
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": "shop",
            "uid": "n",
            "annotations": selector({"key": "hanse.dev/cluster", "operator": "In", "values": ["a"]}),
        },
    }
    clusters = table("a", "b", offline("c"))
    decision = run(namespace, clusters, key=key, contents=frozenset({"b", "c"}))
    assert placed(decision) == {"a": None, "b": None, "c": None}
    assert releasing(run(namespace, clusters, key=key, contents=frozenset({"b"}), previous=decision)) == ["c"]


def test_preferences_divide() -> None:
    """The annotation's preferences divide; clusters that get nothing do not have the object."""
    preferences = orjson.dumps({"clusters": {"a": {"weight": 1}, "b": {"weight": 2}}}).decode()
    decision = run(deployment(60, **{PREFERENCES: preferences}), table("a", "b", "c"))
    assert placed(decision) == {"a": 20, "b": 40}
    assert refused(decision) == {"c": "NotInPreferences"}


def test_says_that_what_runs_stays() -> None:
    """Scaling down may divide unevenly, by Federation v1's rule: the reasons say why, and what helps."""
    clusters = table("a", "b", "c")
    before = run(deployment(9), clusters)
    decision = run(deployment(6), clusters, previous=before)
    assert placed(before) == {"a": 3, "b": 3, "c": 3}
    assert decision.placement is not None
    messages = {(item.replicas, item.message.partition("; its")[2]) for item in decision.placement.clusters}
    assert messages == {
        (0, " share is 2, but what runs elsewhere stays there until rebalance-placement"),
        (3, " share is 2, but what runs here stays until rebalance-placement"),
    }
    assert not run(deployment(6), clusters, previous=decision).changed
    begun = run(deployment(6), clusters, previous=decision, rebalance=True)
    even = run(deployment(6), clusters, previous=begun, observed={name: ready(2) for name in ("a", "b", "c")})
    assert placed(even) == {"a": 2, "b": 2, "c": 2}
    assert "stays" not in str(even.placement)
    joined = run(deployment(9), table("a", "b", "c", "d"), previous=before).placement
    assert joined is not None
    assert "stays there until rebalance-placement" in joined.refused[0].message


def test_capacity_moves_replicas_on() -> None:
    """Pods that a cluster cannot schedule go elsewhere, and stay there."""
    before = run(deployment(9), table("a", "b", "c"))
    full = {"a": Observed(replicas=3, unschedulable=2)}
    moved = run(deployment(9), table("a", "b", "c"), previous=before, observed=full)
    assert placed(moved)["a"] == 1
    assert sum(count or 0 for count in placed(moved).values()) == 9
    settled = {"a": Observed(replicas=1)}
    assert placed(run(deployment(9), table("a", "b", "c"), previous=moved, observed=settled)) == placed(moved)


def test_scaled_to_zero_stays_where_it_is() -> None:
    """A cluster that has the object is told 0, and does not lose it."""
    before = run(deployment(9), table("a", "b", "c"))
    assert placed(run(deployment(0), table("a", "b", "c"), previous=before)) == {"a": 0, "b": 0, "c": 0}


def test_rebalance_once() -> None:
    """A rebalance divides again; without it replicas stay where they run."""
    before = run(deployment(9), table("a"))
    joined = run(deployment(9), table("a", "b", "c"), previous=before)
    assert placed(joined) == {"a": 9}
    again = run(deployment(9), table("a", "b", "c"), previous=joined, rebalance=True)
    assert placed(again) == {"a": 9, "b": 3, "c": 3}
    done = run(deployment(9), table("a", "b", "c"), previous=again, observed={"b": ready(3), "c": ready(3)})
    assert placed(done) == {"a": 3, "b": 3, "c": 3}


def test_eviction_lasts_until_rebalance() -> None:
    """An evicted object leaves when it is ready elsewhere, and does not come back by itself."""
    before = run(deployment(9), table("a", "b"))
    begun = run(deployment(9), table("a", "b"), previous=before, evict="b")
    assert placed(begun)["a"] == 9
    assert list(leaving(begun)) == ["b"]
    gone = run(deployment(9), table("a", "b"), previous=begun, observed={"a": ready(9)})
    assert placed(gone) == {"a": 9}
    assert releasing(gone) == ["b"]
    later = run(deployment(9), table("a", "b"), previous=gone, observed={"b": REMOVED})
    assert placed(later) == {"a": 9}
    assert refused(later) == {"b": "Evicted"}
    back = run(deployment(9), table("a", "b"), previous=later, rebalance=True)
    assert set(placed(back)) == {"a", "b"}


def test_max_clusters_spread_over_regions() -> None:
    """A limit picks clusters in different regions, and keeps what was picked."""
    clusters = table(
        view("a", region="eu"), view("b", region="eu"), view("c", region="us"), view("d", region="us")
    )
    policy = policy_object(maxClusters=2, spreadBy="region")
    decision = run(config(), clusters, policy=policy)
    names = set(placed(decision))
    assert len(names) == 2
    assert len({clusters.clusters[name].region for name in names}) == 2
    assert not run(config(), clusters, policy=policy, previous=decision).changed
    assert set(refused(decision).values()) == {"NotAmongMaxClusters"}


def test_policy_duplicates() -> None:
    """Mode Duplicated gives every cluster the template's number; a StatefulSet is divided only on request."""
    duplicated = policy_object(replicas={"mode": "Duplicated"})
    assert placed(run(deployment(5), table("a", "b"), policy=duplicated)) == {"a": None, "b": None}
    key = ObjectKey("apps", "statefulsets", "shop", "db")
    stateful = workload("apps/v1", "StatefulSet", {"replicas": 4}, name="db")
    assert placed(run(stateful, table("a", "b"), key=key)) == {"a": None, "b": None}
    divided = policy_object(replicas={"mode": "Divided"})
    assert placed(run(stateful, table("a", "b"), key=key, policy=divided)) == {"a": 2, "b": 2}


def test_broken_policy_changes_nothing() -> None:
    """A policy that cannot be used is an error of the objects that it selects, which stay where they are."""
    before = run(config(), table("a", "b"))
    broken = policy_object(spreadBy="planet")
    after = run(config(), table("a", "b"), previous=before, policy=broken)
    assert after.placement is not None
    assert "ClusterPlacementPolicy p" in after.placement.error
    assert placed(after) == placed(before)


JOB = ObjectKey("batch", "jobs", "shop", "web")


RESTART = policy_object(resourceSelectors=[{"apiVersion": "batch/v1", "kind": "Job"}], whenUnknown="Restart")
"""What nobody knows to be done is started elsewhere."""


def job(**spec: Any) -> dict[str, Any]:
    return workload("batch/v1", "Job", spec)


def test_job_divides_parallelism_and_completions() -> None:
    """Parallelism and completions are both divided, and no completion is where nothing runs."""
    decision = run(job(parallelism=2, completions=10), table("a", "b", "c"), key=JOB)
    assert decision.placement is not None
    shares = {item.cluster: (item.replicas, item.completions) for item in decision.placement.clusters}
    assert sum(parallel for parallel, _ in shares.values()) == 2
    assert sum(completions for _, completions in shares.values()) == 10
    assert all(parallel > 0 and completions > 0 for parallel, completions in shares.values())


@pytest.mark.parametrize("spec", [{"completions": 4}, {"completions": 4, "completionMode": "Indexed"}, {}])
def test_job_says_that_its_preferences_leave_a_cluster_out(spec: dict[str, Any]) -> None:
    """As a Deployment does; a cluster that is named and gets nothing has another reason."""
    preferences = '{"clusters": {"a": {"weight": 1}, "b": {"weight": 0}}}'
    obj = job(parallelism=2, **spec)
    obj["metadata"]["annotations"] = {"federation.kubernetes.io/job-preferences": preferences}
    decision = run(obj, table("a", "b", "c"), key=JOB)
    assert refused(decision) == {"b": "NoReplicas", "c": "NotInPreferences"}


def test_jobs_completions_stay() -> None:
    """Completions cannot change in a member, so a cluster that joins later gets none of them."""
    before = run(job(parallelism=2, completions=10), table("a", "b"), key=JOB)
    after = run(job(parallelism=2, completions=10), table("a", "b", "c"), key=JOB, previous=before)
    assert placed(after) == placed(before)


def test_jobs_completions_are_taken_over_once() -> None:
    """A cluster out of reach gives its completions to a new one, and starts no Pods when it is back."""
    before = run(job(parallelism=4, completions=10), table("a", "b"), key=JOB)
    moved = run(
        job(parallelism=4, completions=10),
        table("a", offline("b"), "c"),
        key=JOB,
        previous=before,
        policy=RESTART,
        now=NOW + 60,
    )
    assert suspended(moved) == {"b"}
    assert set(placed(moved)) == {"a", "c"}
    back = run(
        job(parallelism=4, completions=10),
        table("a", "b", "c"),
        key=JOB,
        previous=moved,
        policy=RESTART,
        now=NOW + 90,
    )
    assert placed(back)["b"] == 0


def test_completions_that_may_be_done_are_not_taken_over() -> None:
    """What a cluster that is out of reach was given is not started elsewhere if no policy says so."""
    before = run(job(parallelism=4, completions=10), table("a", "b"), key=JOB)
    away = table("a", offline("b"), "c")
    waiting = run(job(parallelism=4, completions=10), away, key=JOB, previous=before, now=NOW + 1)
    assert waiting.placement is not None
    assert (waiting.placement.withheld, waiting.reconsider_at) == (0, NOW + 60)
    later = run(job(parallelism=4, completions=10), away, key=JOB, previous=waiting, now=NOW + 60)
    assert later.placement is not None
    assert placed(later) == placed(before)
    assert later.placement.withheld == 5


def test_indexed_job_runs_whole_in_one_cluster() -> None:
    """Each index of an Indexed Job exists once in the federation."""
    decision = run(job(parallelism=3, completions=3, completionMode="Indexed"), table("a", "b", "c"), key=JOB)
    assert list(placed(decision).values()) == [3]


def test_overrides_are_compiled_for_each_cluster() -> None:
    """Override rules become JSON patch operations of the clusters that they mean."""
    obj = deployment(2)
    container = {"name": "web", "image": "shop/web:1@sha256:aa"}
    obj["spec"]["template"] = {"spec": {"containers": [container]}}
    override = policy_object(
        "ClusterOverridePolicy",
        rules=[
            {"clusterNames": ["a"], "image": {"registry": "eu.example.org", "tag": "2"}},
            {"clusterNames": ["a"], "labels": {"app": "", "where": "a"}, "annotations": {"x/y": "1"}},
            {"clusterNames": ["b"], "replicas": 7},
        ],
    )
    decision = run(obj, table("a", "b"), overrides=[override])
    assert decision.placement is not None
    by_name = {item.cluster: item for item in decision.placement.clusters}
    assert orjson.loads(by_name["a"].overrides) == [
        {
            "op": "replace",
            "path": "/spec/template/spec/containers/0/image",
            "value": "eu.example.org/shop/web:2",
        },
        {"op": "remove", "path": "/metadata/labels/app"},
        {"op": "add", "path": "/metadata/labels/where", "value": "a"},
        {"op": "add", "path": "/metadata/annotations", "value": {}},
        {"op": "add", "path": "/metadata/annotations/x~1y", "value": "1"},
    ]
    assert by_name["b"].replicas == 7


def test_override_that_does_not_apply_changes_nothing() -> None:
    """A patch of something that is not there is an error that names policy and cluster."""
    bad = policy_object(
        "ClusterOverridePolicy", rules=[{"jsonPatch": [{"op": "remove", "path": "/spec/nothing"}]}]
    )
    before = run(config(), table("a"))
    after = run(config(), table("a"), previous=before, overrides=[bad])
    assert after.placement is not None
    assert "ClusterOverridePolicy p" in after.placement.error
    assert placed(after) == {"a": None}


def test_a_placement_that_cannot_be_stored_changes_nothing() -> None:
    """Overrides that are too large for all clusters together are an error with the bound."""
    large = policy_object("ClusterOverridePolicy", rules=[{"annotations": {"x/y": "v" * 200_000}}])
    names = [f"c{number}" for number in range(10)]
    before = run(config(), table("c0"))
    after = run(config(), table(*names), previous=before, overrides=[large])
    assert after.placement is not None
    assert f"at most {MAX_PLACEMENT_BYTES} can be stored" in after.placement.error
    assert placed(after) == {"c0": None}
    assert after.placement.ByteSize() < MAX_PLACEMENT_BYTES
    again = run(config(), table(*names), previous=after, overrides=[large])
    assert not again.changed


def test_reasons_that_quote_what_users_wrote_are_cut_off() -> None:
    """A selector of 100 KB in a hundred clusters makes no placement that cannot be stored."""
    chosen = selector({"key": "x", "operator": "In", "values": [f"v{n:050}" for n in range(2000)]})
    names = [f"c{number}" for number in range(100)]
    decision = run(config(annotations=chosen), table(*names))
    assert decision.placement is not None
    assert len(refused(decision)) == 100
    assert decision.placement.ByteSize() < 200_000


NAMES = ["a", "b", "c", "d"]
states = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(["ready", "offline", "leaving", "cordoned"]) for name in NAMES}
)
operators = st.sampled_from(["", "In", "NotIn", "bad"])
marks = st.dictionaries(st.sampled_from(NAMES), st.booleans(), max_size=4)


def world_of(states: dict[str, str]) -> Any:
    made: dict[str, Callable[[str], MemberCluster]] = {
        "ready": view,
        "offline": lambda name: offline(name, since=NOW - 30),
        "leaving": lambda name: view(name, leaving=True),
        "cordoned": lambda name: view(name, unschedulable=True),
    }
    return table(*(made[state](name) for name, state in states.items()))


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(states, marks, st.integers(0, 20), st.sampled_from(["", "In", "NotIn", "bad"])), max_size=6
    ),
    st.booleans(),
)
@example([({"a": "ready", "d": "ready"}, {}, 0, ""), ({"a": "ready", "d": "cordoned"}, {}, 1, "")], True)
@example(
    [
        ({"a": "ready", "b": "ready", "d": "ready"}, {}, 3, "In"),
        ({"a": "ready", "b": "cordoned", "c": "offline", "d": "offline"}, {}, 2, ""),
    ],
    True,
)
def test_no_cluster_is_ever_forgotten(
    history: list[tuple[dict[str, str], dict[str, bool], int, str]], divided: bool
) -> None:
    """Whatever happens, a cluster leaves a placement only confirmed or gone, and deciding twice is stable."""
    previous = None
    now = NOW
    for states_now, marks_now, replicas, operator in history:
        now += 40
        annotations = {}
        if operator == "bad":
            annotations = {SELECTOR: "{"}
        elif operator:
            annotations = selector({"key": "hanse.dev/cluster", "operator": operator, "values": ["a", "b"]})
        obj = deployment(replicas, **annotations) if divided else config(annotations=annotations)
        clusters = world_of(states_now)
        observed = {
            name: Observed(Confirmation("", 1000) if gone else None) for name, gone in marks_now.items()
        }
        decision = run(obj, clusters, previous=previous, observed=observed, now=now)
        placement = decision.placement
        assert placement is not None
        here = {item.cluster for item in placement.clusters}
        leaving = {item.cluster for item in placement.releasing}
        not_here = {item.cluster for item in placement.refused}
        assert not here & leaving
        assert not not_here & (here | leaving)
        assert here | leaving <= set(clusters.clusters)
        if previous is not None:
            for item in previous.clusters:
                if item.cluster in clusters.clusters:
                    assert item.cluster in here | leaving
            for release in previous.releasing:
                if release.cluster in clusters.clusters and release.cluster not in here | leaving:
                    assert marks_now.get(release.cluster)
        again = run(obj, clusters, previous=decision, observed={}, now=now)
        assert not again.changed
        previous = placement


def test_explains_every_cluster() -> None:
    """There is a step for every cluster, and one for the policy."""
    decision = run(config(), table("a", offline("b")))
    assert {step.cluster for step in decision.steps if step.step == "filter"} == {"a", "b"}
    assert CONFIG.name
