"""The status of policies, and what whoever writes one is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from hanse_apiserver.views.policy_use import NOBODY, PolicyNames, PolicyUse
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, Placement
from hanse.kube.model.objects import Object
from hanse.store.keys import ObjectKey
from tests.apiserver.world import World

POLICIES = "/apis/hanse.dev/v1alpha1/namespaces/shop/placementpolicies"
TITLES = [f"PlacementPolicy shop/p{n}" for n in range(4)]


def policy(name: str = "web", **spec: Any) -> Object:
    """A PlacementPolicy about Deployments."""
    selectors = [{"apiVersion": "apps/v1", "kind": "Deployment"}]
    return {
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "PlacementPolicy",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"resourceSelectors": selectors, **spec},
    }


async def placed(
    world: World, name: str, *clusters: str, policy: str, shadowed: tuple[str, ...] = ()
) -> None:
    """Write a placement as the scheduler does."""
    key = ObjectKey("apps", "deployments", "shop", name)
    placement = Placement(
        name=key.key("placements"),
        clusters=[ClusterPlacement(cluster=cluster, reason="Test") for cluster in clusters],
        policy=policy,
        shadowed_policies=shadowed,
    )
    revision = await world.store.put(key.key("placements"), placement.SerializeToString())
    await world.apiserver.engine.cache.reached(revision)


def condition(obj: Object, kind: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition."""
    found = next(each for each in obj["status"]["conditions"] if each["type"] == kind)
    return found["status"], found["reason"], found["message"]


async def test_the_status_says_what_a_policy_selects(world: World) -> None:
    """How many objects and where, as the placements come and go."""
    await world.create(POLICIES, policy())
    mine = await world.get(f"{POLICIES}/web")
    assert condition(mine, "InUse")[:2] == ("False", "SelectsNothing")
    await placed(world, "a", "eu", "us", policy="PlacementPolicy shop/web")
    await placed(world, "b", "eu", policy="PlacementPolicy shop/web")
    mine = await world.get(f"{POLICIES}/web")
    assert mine["status"]["objects"] == 2
    assert mine["status"]["clusters"] == [{"name": "eu", "objects": 2}, {"name": "us", "objects": 1}]
    assert condition(mine, "InUse") == (
        "True",
        "SelectsObjects",
        "it is in force for 2 objects in 2 clusters",
    )
    await world.unplace(ObjectKey("apps", "deployments", "shop", "a"))
    await placed(world, "b", "us", policy="PlacementPolicy shop/web")
    mine = await world.get(f"{POLICIES}/web")
    assert mine["status"]["clusters"] == [{"name": "us", "objects": 1}]


async def test_the_status_says_who_takes_precedence(world: World) -> None:
    """A policy that another shadows decides about nothing, and says why."""
    await world.create(POLICIES, policy("low"))
    await placed(
        world, "a", "eu", policy="ClusterPlacementPolicy high", shadowed=("PlacementPolicy shop/low",)
    )
    low = await world.get(f"{POLICIES}/low")
    assert condition(low, "InUse") == (
        "False",
        "Shadowed",
        "ClusterPlacementPolicy high takes precedence for all 1 object that it selects",
    )
    assert low["status"]["shadowedBy"] == [{"policy": "ClusterPlacementPolicy high", "objects": 1}]


async def test_what_names_nothing_is_said_at_once_and_until_it_is_there(world: World) -> None:
    """As a warning to whoever writes it, and as a condition that a joining cluster ends."""
    await world.cluster("eu-west")
    ran = await world.kubectl(
        "apply", "-f", "-", stdin=str(policy(clusterNames=["eu-wset"])).replace("'", '"')
    )
    assert "Warning: spec.clusterNames: there is no cluster 'eu-wset': did you mean 'eu-west'?" in ran.err
    mine = await world.get(f"{POLICIES}/web")
    assert condition(mine, "ReferencesResolved")[:2] == ("False", "NamesNothing")
    table = await world.kubectl("get", "placementpolicies", "-n", "shop")
    assert table.out.split()[:6] == ["NAME", "PRIORITY", "OBJECTS", "CLUSTERS", "RESOLVED", "SHADOWED"]
    await world.cluster("eu-wset")
    mine = await world.get(f"{POLICIES}/web")
    assert condition(mine, "ReferencesResolved")[0] == "True"


async def test_a_watcher_of_a_policy_sees_its_status_change(world: World) -> None:
    """As `kubectl wait` does."""
    await world.create(POLICIES, policy())
    mine = await world.get(f"{POLICIES}/web")
    events = world.watch(POLICIES, resource_version=mine["metadata"]["resourceVersion"])
    await placed(world, "a", "eu", policy="PlacementPolicy shop/web")
    async with asyncio.timeout(30):
        kind, seen = await anext(events)
    await events.aclose()
    assert (kind, seen["status"]["objects"]) == ("MODIFIED", 1)


async def test_the_status_is_not_stored(world: World) -> None:
    """What was read can be written back, and changes nothing."""
    made = await world.create(POLICIES, policy())
    await placed(world, "a", "eu", policy="PlacementPolicy shop/web")
    shown = await world.get(f"{POLICIES}/web")
    answer = await world.call("PUT", f"{POLICIES}/web", shown)
    assert answer.status == 200
    assert answer.body["metadata"]["generation"] == made["metadata"]["generation"]
    stored = await world.store.get("objects/hanse.dev/placementpolicies/shop/web")
    assert stored is not None
    assert b'"objects"' not in stored.value


NAMED = st.builds(
    PolicyNames,
    decides=st.sampled_from(TITLES),
    shadowed=st.lists(st.sampled_from(TITLES), max_size=2, unique=True).map(tuple),
    overriding=st.lists(st.just("OverridePolicy shop/o"), max_size=1).map(tuple),
    clusters=st.lists(st.sampled_from(["eu", "us", "ap"]), unique=True).map(tuple),
)


@given(st.lists(st.tuples(st.integers(0, 3), st.one_of(st.just(NOBODY), NAMED)), max_size=30))
def test_counts_are_those_of_the_placements(changes: list[tuple[int, PolicyNames]]) -> None:
    """However placements change, each count is what counting all of them gives."""
    use, placements = PolicyUse(), dict[int, PolicyNames]()
    for number, names in changes:
        use.change(placements.get(number, NOBODY), names)
        placements[number] = names
    for title in (*TITLES, "OverridePolicy shop/o"):
        mine = [each for each in placements.values() if title == each.decides or title in each.overriding]
        shadowing = [each.decides for each in placements.values() if title in each.shadowed]
        found = use.of(title)
        assert found.objects == len(mine)
        assert found.clusters == Counter(cluster for each in mine for cluster in each.clusters)
        assert found.shadowed == Counter(shadowing)
