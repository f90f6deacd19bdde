"""The API catalogue of a cluster keeps what was known of the APIs that the cluster cannot tell of now."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hanse_registry.member.inventory import catalogue
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.registry.v1 import registry_service_pb2
from hanse.api.registry.v1.cluster_pb2 import ApiCatalogue
from hanse.kube.client.discovery import GroupVersion, ServedApis, ServedResource
from tests.registry import test_service
from tests.registry.test_service import World

world = test_service.world

WIDGETS = ServedResource("example.org", "v1", "widgets", "Widget", verbs=frozenset({"get", "list"}))
PARTS = ServedResource("example.org", "v1", "parts", "Part", verbs=frozenset({"get", "list"}))
AWAY = frozenset({GroupVersion("example.org", "v1")})


def names(found: ApiCatalogue) -> list[str]:
    """The resources of a catalogue."""
    return [resource.resource for resource in found.resources]


@pytest.mark.parametrize("still_listed", [(), (PARTS,), (PARTS, WIDGETS)])
def test_an_api_that_is_away_keeps_what_was_known_of_it(still_listed: tuple[ServedResource, ...]) -> None:
    """Whatever the API server still lists of it; the catalogue says that it is unknown."""
    before = catalogue("eu", ServedApis((WIDGETS, PARTS)))
    found = catalogue("eu", ServedApis(still_listed, AWAY), before)
    assert names(found) == names(before) == ["parts", "widgets"]
    assert [(each.group, each.version) for each in found.unknown] == [("example.org", "v1")]
    assert found.hash != before.hash, "so that it is stored"
    again = catalogue("eu", ServedApis((), AWAY), found)
    assert again == found, "for as long as it is away"
    assert catalogue("eu", ServedApis((WIDGETS, PARTS)), again) == before


def test_an_api_that_was_never_known_has_what_the_server_still_lists() -> None:
    """And is unknown all the same."""
    found = catalogue("eu", ServedApis((WIDGETS,), AWAY), None)
    assert (names(found), len(found.unknown)) == (["widgets"], 1)
    assert names(catalogue("eu", ServedApis((), AWAY), None)) == []


def test_an_api_that_is_gone_is_gone() -> None:
    """What the server tells of counts, and so does a version that it does not serve any more."""
    before = catalogue("eu", ServedApis((WIDGETS, PARTS)))
    assert names(catalogue("eu", ServedApis((PARTS,)), before)) == ["parts"]
    assert names(catalogue("eu", ServedApis(()), before)) == []


def test_what_is_served_by_subresources_only_is_no_place_for_objects() -> None:
    """Such as the console of the virtual machines of another group."""
    console = ServedResource("sub.example.org", "v1", "machines", subresources=(("console", frozenset()),))
    assert names(catalogue("eu", ServedApis((WIDGETS, console)))) == ["widgets"]


async def test_kinds_of_an_api_that_is_away_stay_stored(world: World) -> None:
    """What the cluster serves is taken again while the API is away: it is stored as unknown, and told so."""
    world.groups.append(group(read_widgets=True))
    joined = await world.join("eu-west")
    before = await told(world)
    assert ("example.org", "widgets") in kinds(before)
    world.groups[:] = [group(read_widgets=False)]
    probed = await world.stub.ProbeCluster(registry_service_pb2.ProbeClusterRequest(name="clusters/eu-west"))
    async with asyncio.timeout(10):
        async for change in world.stub.WatchClusters(registry_service_pb2.WatchClustersRequest()):
            if change.cluster.catalogue_hash not in ("", joined.catalogue_hash):
                break
    during = await told(world)
    assert probed.catalogue_hash == change.cluster.catalogue_hash == during.hash
    assert kinds(during) == kinds(before)
    assert [(each.group, each.version) for each in during.unknown] == [("example.org", "v1")]


def group(*, read_widgets: bool) -> dict[str, Any]:
    """The group example.org in discovery, read or away."""
    widgets = {"resource": "widgets", "responseKind": {"kind": "Widget"}, "verbs": ["list"]}
    version = (
        {"version": "v1", "resources": [widgets]} if read_widgets else {"version": "v1", "freshness": "Stale"}
    )
    return {"metadata": {"name": "example.org"}, "versions": [version]}


async def told(world: World) -> ApiCatalogue:
    """The catalogue as GetApiCatalogue has it."""
    name = "clusters/eu-west/apiCatalogue"
    return await world.stub.GetApiCatalogue(registry_service_pb2.GetApiCatalogueRequest(name=name))


def kinds(found: ApiCatalogue) -> set[tuple[str, str]]:
    """The kinds in a catalogue."""
    return {(resource.group, resource.resource) for resource in found.resources}


RESOURCES = st.lists(
    st.builds(
        ServedResource,
        group=st.sampled_from(["", "a"]),
        version=st.sampled_from(["v1", "v2"]),
        resource=st.sampled_from(["x", "y", "z"]),
        verbs=st.just(frozenset({"list"})),
    ),
    max_size=8,
)
UNKNOWN = st.frozensets(st.builds(GroupVersion, st.sampled_from(["", "a"]), st.sampled_from(["v1", "v2"])))


@given(before=RESOURCES, now=RESOURCES, unknown=UNKNOWN)
def test_a_resource_goes_only_if_its_version_is_known(
    before: list[ServedResource], now: list[ServedResource], unknown: frozenset[GroupVersion]
) -> None:
    """The law: known before and not listed now stays exactly if its group and version are unknown."""

    def told(resources: list[ServedResource]) -> set[tuple[str, str, str]]:
        return {(r.group, r.version, r.resource) for r in resources}

    found = catalogue("eu", ServedApis(tuple(now), unknown), catalogue("eu", ServedApis(tuple(before))))
    kept = {each for each in told(before) if each[:2] in unknown}
    assert [(r.group, r.version, r.resource) for r in found.resources] == sorted(told(now) | kept)
