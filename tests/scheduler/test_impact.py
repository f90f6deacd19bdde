"""What a change would take away, counted before it is made: PreviewPolicy."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hanse_scheduler.decide.decision import PlacementDecision
from hanse_scheduler.decide.inputs import Rules
from hanse_scheduler.placing.evaluator import Evaluator
from hanse_scheduler.placing.impact import ImpactPreview, replicas_by_cluster
from hanse_scheduler.state.scheduler_state import SchedulerState

from hanse.api.registry.v1.cluster_pb2 import NO_EXECUTE, Taint
from hanse.api.scheduler.v1 import scheduler_service_pb2 as pb
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, Placement
from hanse.api.type.v1.job_run_pb2 import COMPLETE, FAILED, LOST, RUNNING, JobRun
from hanse.errors import ConflictError, InvalidArgumentError
from hanse.federation.policies.impact import Impact
from hanse.kube.model.objects import Object
from hanse.store.keys import ObjectKey
from tests.scheduler.builders import SELECTOR, config, deployment, policy_object
from tests.support.federation.federation import Federation, where
from tests.support.waiting import until

from .test_service import serve

POLICY = ObjectKey("hanse.dev", "clusterplacementpolicies", "", "p")
CLUSTER_A = ObjectKey("hanse.dev", "clusters", "", "a")
WEBS = [ObjectKey("apps", "deployments", "shop", f"web-{number}") for number in range(6)]


def web(number: int, *, selected: str = "") -> Object:
    """The Deployment with this number, for clusters that the annotation selects."""
    found = deployment(4, uid=f"u{number}", **({SELECTOR: selected} if selected else {}))
    found["metadata"]["name"] = WEBS[number].name
    return found


def cluster(**spec: Any) -> Object:
    """The Cluster a as users write it."""
    labels = spec.pop("labels", {})
    return {
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": "a", "labels": labels},
        "spec": spec,
    }


@pytest.fixture
async def stub(federation: Federation) -> Any:
    """Six Deployments of four replicas, whose policy has them in cluster a of a and b."""
    await federation.clusters("a", "b")
    process = await federation.start_scheduler()
    await federation.apply(POLICY, policy_object(clusterNames=["a"]))
    for number, key in enumerate(WEBS):
        await federation.apply(key, web(number))
    for key in WEBS:
        await federation.placed(key, {"a": 4})
    await federation.settled(process)
    return await serve(federation, process)


async def preview(stub: Any, obj: Object, *, deleted: bool = False) -> pb.PreviewPolicyResponse:
    """What a change would take away."""
    request = pb.PreviewPolicyRequest(manifest=orjson.dumps(obj), deleted=deleted)
    response = await stub.PreviewPolicy(request)
    assert isinstance(response, pb.PreviewPolicyResponse)
    return response


def numbers(response: pb.PreviewPolicyResponse) -> tuple[int, int, int]:
    """Removed, moved, and how many lose the last one."""
    return response.removed_replicas, response.moved_replicas, response.emptied_count


async def test_one_wrong_letter(stub: Any) -> None:
    """A policy that names a cluster which is not there removes everything."""
    found = await preview(stub, policy_object(clusterNames=["aa"]))
    assert numbers(found) == (24, 0, 6)
    assert found.objects == 6
    assert list(found.emptied) == [key.path() for key in WEBS]
    assert found.confirmation == "removed=24,moved=0"


async def test_a_move(stub: Any) -> None:
    """What runs in another cluster afterwards is not removed."""
    assert numbers(await preview(stub, policy_object(clusterNames=["b"]))) == (0, 24, 0)
    assert numbers(await preview(stub, policy_object(clusterNames=["a"]))) == (0, 0, 0)


async def test_a_policy_that_is_no_more(stub: Any) -> None:
    """Its objects are placed by the default rules, which take nothing away here."""
    assert numbers(await preview(stub, policy_object(clusterNames=["a"]), deleted=True)) == (0, 0, 0)


async def test_a_new_policy_that_takes_precedence(stub: Any) -> None:
    """It is the youngest, so it decides only by its priority."""
    other = policy_object(name="other", clusterNames=["nowhere"])
    del other["metadata"]["creationTimestamp"]
    assert numbers(await preview(stub, other)) == (0, 0, 0)
    other["spec"]["priority"] = 1
    assert numbers(await preview(stub, other)) == (24, 0, 6)


async def test_a_policy_that_selects_less(stub: Any) -> None:
    """What it selected before is decided on without it."""
    other = policy_object(clusterNames=["a"], resourceSelectors=[{"apiVersion": "v1", "kind": "ConfigMap"}])
    assert numbers(await preview(stub, other)) == (0, 0, 0)


async def test_an_override_of_replicas(stub: Any) -> None:
    """A policy that sets replicas to 0 takes them away, too."""
    rules = [{"clusterNames": ["a"], "replicas": 0}]
    assert numbers(await preview(stub, policy_object("ClusterOverridePolicy", rules=rules))) == (24, 0, 6)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, (0, 0, 0)),
        ({"unschedulable": True}, (0, 0, 0)),
        ({"taints": [{"key": "down", "effect": "NoSchedule"}]}, (0, 0, 0)),
        ({"taints": [{"key": "down", "effect": "NoExecute"}]}, (24, 0, 6)),
    ],
)
async def test_a_change_of_a_cluster(stub: Any, change: Object, expected: tuple[int, int, int]) -> None:
    """A taint empties the only cluster that the policy names; what keeps new objects out takes nothing."""
    assert numbers(await preview(stub, cluster(**change))) == expected


async def test_a_change_of_labels(federation: Federation, stub: Any) -> None:
    """A cluster that a selector no longer selects is left, and so is one that an object no longer selects."""
    policy = policy_object(clusterSelector={"matchLabels": {"tier": "gold"}})
    await federation.cluster("a", labels={"tier": "gold"})
    await federation.apply(POLICY, policy)
    assert numbers(await preview(stub, cluster(labels={"tier": "gold"}))) == (0, 0, 0)
    assert numbers(await preview(stub, cluster(labels={"tier": "lead"}))) == (24, 0, 6)
    selected = [{"key": "tier", "operator": "In", "values": ["lead"]}]
    found = await preview(stub, web(0, selected=orjson.dumps(selected).decode()))
    assert numbers(found) == (4, 0, 1)


async def test_it_counts_what_then_happens(federation: Federation, stub: Any) -> None:
    """The change is stored, and what was counted is gone."""
    changed = policy_object(clusterNames=["aa"])
    assert numbers(await preview(stub, changed)) == (24, 0, 6)
    await federation.apply(POLICY, changed)
    for key in WEBS:
        placement = await federation.placed(key, {})
        assert [release.cluster for release in placement.releasing] == ["a"]
        assert where(placement) == {}
    await federation.cluster("a", taints=[Taint(key="x", effect=NO_EXECUTE)])
    assert numbers(await preview(stub, changed)) == (0, 0, 0)


async def test_changes_that_follow_each_other(federation: Federation) -> None:
    """What the one before takes away, and is not placed yet, is added to what the next one takes; one that
    makes no difference takes nothing."""
    await federation.clusters("a", "b")
    async with SchedulerState(federation.store, clock=lambda: federation.clock.now) as state:
        evaluator = Evaluator(
            store=federation.store, state=state, rules=Rules(), clock=lambda: federation.clock.now
        )
        impact = ImpactPreview(federation.store, state, evaluator, pace=lambda: federation.clock.now)
        keys = WEBS[:2]
        policies = [
            policy_object(
                name=key.name,
                clusterNames=["a"],
                resourceSelectors=[{"apiVersion": "apps/v1", "kind": "Deployment", "name": key.name}],
            )
            for key in keys
        ]
        where_to = [ObjectKey("hanse.dev", POLICY.resource, "", key.name) for key in keys]
        for number, (key, path, stored) in enumerate(zip(keys, where_to, policies, strict=True)):
            await federation.apply(path, stored)
            await federation.apply(key, web(number))
            placement = Placement(clusters=[ClusterPlacement(cluster="a", replicas=4)])
            placement.object.uid = f"u{number}"
            await federation.store.put(key.key("placements"), placement.SerializeToString())
        moved = [{**each, "spec": {**each["spec"], "clusterNames": ["b"]}} for each in policies]
        await state.follower.current()
        assert await impact.of(where_to[0], moved[0]) == Impact(objects=1, replicas=4, moved=4)
        assert await impact.of(where_to[1], moved[1]) == Impact(objects=1, replicas=4, moved=4)
        await federation.apply(where_to[0], moved[0])
        await state.follower.current()
        assert await impact.of(where_to[1], moved[1]) == Impact(objects=2, replicas=8, moved=8)
        assert await impact.of(where_to[1], policies[1]) == Impact()
        federation.clock.now += 60
        assert await impact.of(where_to[1], moved[1]) == Impact(objects=1, replicas=4, moved=4)


class Restless(Evaluator):
    """Decides on nothing for so many times: the object changed while it was read."""

    def __init__(self, *arguments: Any, times: int, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.times = times

    async def decide(self, path: str, **more: Any) -> PlacementDecision | None:
        """Return None while it is restless."""
        self.times -= 1
        return None if self.times >= 0 else await super().decide(path, **more)


@pytest.mark.parametrize("times", [4, 5])
async def test_an_object_that_keeps_changing(federation: Federation, times: int) -> None:
    """It is decided on again, five times in all; then what it loses is not known, which is an error."""
    await federation.clusters("a", "b")
    process = await federation.start_scheduler()
    await federation.apply(POLICY, policy_object(clusterNames=["a"]))
    await federation.apply(WEBS[0], web(0))
    await federation.placed(WEBS[0], {"a": 4})
    await federation.settled(process)
    async with SchedulerState(federation.store, clock=lambda: federation.clock.now) as state:
        await state.follower.current()
        evaluator = Restless(
            store=federation.store,
            state=state,
            rules=Rules(),
            clock=lambda: federation.clock.now,
            times=times,
        )
        impact = ImpactPreview(federation.store, state, evaluator)
        counting = impact.of(POLICY, policy_object(clusterNames=["aa"]))
        if times < 5:
            assert (await counting).removed == 4
        else:
            with pytest.raises(ConflictError, match="keeps changing"):
                await counting


async def test_what_has_no_say(stub: Any) -> None:
    """A ConfigMap has no replicas; an Event is never placed, which is an error."""
    assert numbers(await preview(stub, config())) == (0, 0, 0)
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "x", "namespace": "shop"}}
    with pytest.raises(InvalidArgumentError, match="has no say in where objects go"):
        await preview(stub, event)


def test_a_job_that_has_ended_runs_nowhere() -> None:
    """Whatever moves it takes nothing away; one of which nobody knows the end may still run."""
    path = "batch/jobs/shop/report"
    job = {"spec": {"parallelism": 3}}
    for outcome, expected in ((RUNNING, {"a": 3}), (LOST, {"a": 3}), (COMPLETE, {}), (FAILED, {})):
        placement = Placement(
            clusters=[ClusterPlacement(cluster="a", replicas=3, run=1)],
            runs=[JobRun(cluster="a", number=1, outcome=outcome)],
        )
        assert replicas_by_cluster(path, job, placement) == expected


def stateful_set() -> Object:
    """A StatefulSet of three."""
    metadata = {"name": "db", "namespace": "shop", "uid": "s1"}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": {"replicas": 3}}


def running_job() -> Object:
    """A Job of three Pods."""
    metadata = {"name": "db", "namespace": "shop", "uid": "s1"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"parallelism": 3}}


@pytest.mark.parametrize(
    ("resource", "obj"),
    [(("apps", "statefulsets"), stateful_set()), (("batch", "jobs"), running_job())],
    ids=["StatefulSet", "Job"],
)
async def test_what_stops_first_is_moved_and_not_removed(
    federation: Federation, resource: tuple[str, str], obj: Object
) -> None:
    """The other cluster gets it when this one has let go, which is no loss."""
    key = ObjectKey(*resource, "shop", "db")
    selectors = [{"apiVersion": obj["apiVersion"], "kind": obj["kind"]}]
    await federation.clusters("a", "b")
    process = await federation.start_scheduler()
    await federation.apply(POLICY, policy_object(clusterNames=["a"], resourceSelectors=selectors))
    await federation.apply(key, obj)

    async def placed() -> bool:
        found = await federation.placement(key)
        return found is not None and set(where(found)) == {"a"}

    await until(placed)
    await federation.settled(process)
    stub = await serve(federation, process)
    moved = await preview(stub, policy_object(clusterNames=["b"], resourceSelectors=selectors))
    assert numbers(moved) == (0, 3, 0)
    gone = await preview(stub, policy_object(clusterNames=["bb"], resourceSelectors=selectors))
    assert numbers(gone) == (3, 0, 1)
