"""Objects that must not run in two clusters at the same time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hanse_scheduler.decide.clusters import MemberCluster
from hanse_scheduler.decide.decision import PlacementDecision
from hanse_scheduler.decide.inputs import Observed
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.federation.confirmation import Confirmation
from hanse.federation.exclusive import in_one_cluster, stops_first
from hanse.kube.model.objects import Object
from hanse.store.keys import ObjectKey
from tests.scheduler.builders import (
    NOW,
    deployment,
    offline,
    placed,
    policy_object,
    refused,
    releasing,
    run,
    table,
    view,
)

CRON = ObjectKey("batch", "cronjobs", "shop", "report")
SET = ObjectKey("apps", "statefulsets", "shop", "db")
KINDS = [
    {"apiVersion": "batch/v1", "kind": "CronJob"},
    {"apiVersion": "apps/v1", "kind": "StatefulSet"},
    {"apiVersion": "apps/v1", "kind": "Deployment"},
]
STATES = ["ready", "offline", "cordoned"]
EVERYTHING = view("a"), view("b"), view("c")


def cron_job() -> Object:
    """A CronJob."""
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "report", "namespace": "shop", "uid": "u1"},
        "spec": {},
    }


def stateful_set() -> Object:
    """A StatefulSet of three."""
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "shop", "uid": "u1"},
        "spec": {"replicas": 3},
    }


def marked(obj: Object) -> Object:
    """The object with the label."""
    return {**obj, "metadata": {**obj["metadata"], "labels": {"hanse.dev/at-most-one": "true"}}}


def about(**spec: Any) -> Object:
    """A policy about all these kinds."""
    return policy_object(resourceSelectors=KINDS, **spec)


def gone(*clusters: str) -> dict[str, Observed]:
    """Sync states that confirm that nothing is left."""
    return {name: Observed(Confirmation("u1", 1000)) for name in clusters}


def test_a_schedule_runs_in_one_cluster() -> None:
    """Unless a policy wants it in each."""
    first = run(cron_job(), table(*EVERYTHING), key=CRON)
    (where,) = placed(first)
    assert refused(first) == dict.fromkeys({"a", "b", "c"} - {where}, "NotAmongMaxClusters")
    every = run(cron_job(), table(*EVERYTHING), key=CRON, policy=about(replicas={"mode": "Duplicated"}))
    assert set(placed(every)) == {"a", "b", "c"}


def test_it_stays_where_it_is() -> None:
    """A cluster that joins, is cordoned, or is lost moves no schedule."""
    first = run(cron_job(), table(view("b")), key=CRON)
    for clusters in (
        EVERYTHING,
        (view("a"), view("b", unschedulable=True)),
        (view("a"), offline("b", since=0)),
    ):
        after = run(cron_job(), table(*clusters), key=CRON, previous=first, now=NOW + 10_000)
        assert set(placed(after)) == {"b"}


@pytest.mark.parametrize(
    ("obj", "key"),
    [(cron_job(), CRON), (stateful_set(), SET), (marked(deployment(3)), None)],
    ids=["CronJob", "StatefulSet", "marked"],
)
def test_it_begins_where_it_goes_when_it_has_stopped_where_it_was(obj: Object, key: ObjectKey | None) -> None:
    """The policy moves it from a to b; b waits until a has confirmed."""
    first = run(obj, table(*EVERYTHING), key=key, policy=about(clusterNames=["a"]))
    assert set(placed(first)) == {"a"}
    to_b = about(clusterNames=["b"])
    moving = run(obj, table(*EVERYTHING), key=key, policy=to_b, previous=first)
    assert (set(placed(moving)), releasing(moving)) == (set(), ["a"])
    assert refused(moving)["b"] == "WaitsForRelease"
    lost = run(
        obj, table(offline("a", since=0), view("b")), key=key, policy=to_b, previous=moving, now=NOW * 2
    )
    assert (set(placed(lost)), releasing(lost)) == (set(), ["a"])
    after = run(obj, table(*EVERYTHING), key=key, policy=to_b, previous=moving, observed=gone("a"))
    assert (set(placed(after)), releasing(after)) == ({"b"}, [])


def test_what_is_marked_is_in_one_cluster() -> None:
    """By its label or by its policy, divided or not, and whatever number the policy allows."""
    for obj, policy in (
        (marked(deployment(9)), about(maxClusters=3)),
        (deployment(9), about(atMostOne=True)),
        (marked(deployment(9)), about(replicas={"mode": "Duplicated"})),
    ):
        decision = run(obj, table(*EVERYTHING), policy=policy)
        assert len(placed(decision)) == 1
        assert decision.placement is not None
        assert decision.placement.at_most_one


def test_a_lost_cluster_keeps_what_must_not_run_twice() -> None:
    """Its replicas count there for ever; those of a divided StatefulSet unless the policy takes the risk."""
    for obj, key, policy in (
        (marked(deployment(3)), None, about()),
        (stateful_set(), SET, about(replicas={"mode": "Divided"}, clusterNames=["a", "b"])),
    ):
        first = run(obj, table(view("a"), view("b")), key=key, policy=policy)
        for name in placed(first):
            others = [view(each) for each in ("a", "b", "c") if each != name]
            lost = table(offline(name, since=0), *others)
            after = run(obj, lost, key=key, policy=policy, previous=first, now=NOW * 2)
            assert placed(after) == placed(first)
    risky = about(replicas={"mode": "Divided"}, clusterNames=["a", "b"], whenUnknown="Restart")
    first = run(stateful_set(), table(view("a"), view("b")), key=SET, policy=risky)
    away = table(offline("a", since=0), view("b"))
    after = run(stateful_set(), away, key=SET, policy=risky, previous=first, now=NOW * 2)
    assert placed(after) == {"b": 3}


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abc"), st.sampled_from(STATES)),
            st.lists(st.sampled_from("abc"), unique=True),
            st.sets(st.sampled_from("abc")),
        ),
        max_size=8,
    )
)
def test_it_is_never_in_two_clusters(steps: list[tuple[dict[str, str], list[str], set[str]]]) -> None:
    """Whatever clusters and policy do: who got it has it until it has confirmed that it is gone."""
    made: dict[str, Callable[[str], MemberCluster]] = {
        "ready": view,
        "offline": lambda name: offline(name, since=0),
        "cordoned": lambda name: view(name, unschedulable=True),
    }
    may_run: set[str] = set()
    previous: PlacementDecision | None = None
    now = NOW
    for states, names, confirming in steps:
        now += 1000
        clusters = table(*(made[states.get(name, "ready")](name) for name in "abc"))
        told = set(releasing(previous)) & confirming if previous is not None else set()
        decision = run(
            marked(deployment(3)), clusters, policy=about(clusterNames=names), previous=previous,
            observed=gone(*told), now=now,
        )  # fmt: skip
        may_run = (may_run - told) | set(placed(decision))
        assert len(may_run) <= 1
        previous = decision


@given(st.sampled_from([("apps", "deployments"), ("batch", "cronjobs"), ("", "configmaps")]), st.booleans())
def test_a_mark_overrules_everything(resource: tuple[str, str], duplicated: bool) -> None:
    """Also what a policy wants in each cluster."""
    assert in_one_cluster(*resource, marked=True, duplicated=duplicated)
    assert stops_first(*resource, marked=True)
