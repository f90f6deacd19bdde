"""Members that say too much: each is MISBEHAVING for itself, says why, and is fine when it behaves again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hanse_registry.member.inventory import MAX_ZONES, capacity, catalogue, topology
from hanse_registry.member.probe import list_nodes, probe, take_inventory

from hanse.api.registry.v1 import cluster_pb2, registry_service_pb2
from hanse.api.type.v1 import condition_pb2
from hanse.errors import HanseError
from hanse.kube.client.answer import Answer, verified
from hanse.kube.client.bounds import CATALOGUE_RESOURCES, PAGE, WORDS, MisbehavingMemberError
from hanse.kube.client.discovery import read_discovery
from hanse.kube.client.requests import ApiRequest
from hanse.store import keys
from tests.registry import test_service
from tests.registry.test_service import World
from tests.support.looplag import responsive

world = test_service.world


def discovery(count: int, **fields: Any) -> bytes:
    """Return a discovery document of so many resources."""
    kind = {"group": "", "version": "v1", "kind": "Thing"}
    served = [
        {"resource": f"things{number}", "responseKind": kind, "verbs": ["get", "list"], "scope": "Namespaced"}
        | fields
        for number in range(count)
    ]
    group = {"metadata": {"name": "example.com"}, "versions": [{"version": "v1", "resources": served}]}
    body = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": [group]}
    return orjson.dumps(body)


def lie(world: World, count: int) -> None:
    """Have eu-west list so many resources."""
    world.lies["eu-west", "/apis"] = ("application/json", discovery(count))


async def probed(world: World, name: str) -> None:
    """Have a cluster looked at now."""
    await world.stub.ProbeCluster(registry_service_pb2.ProbeClusterRequest(name=f"clusters/{name}"))


async def test_a_member_with_30000_resources_disturbs_no_other(world: World) -> None:
    """It is MISBEHAVING and says why; the others are probed on time, and the leader goes on leading."""
    for name in ("eu-west", "us-east", "on-prem"):
        await world.join(name)
    leaders = await world.store.range(keys.election("registry"), keys_only=True)
    lie(world, 29_999)  # with the namespaces
    async with responsive(1.0):  # the member itself runs in this loop, on a machine that may be busy
        with pytest.raises(HanseError, match="lists 30000 resources"):
            await probed(world, "eu-west")
        found = await world.until("eu-west", cluster_pb2.MISBEHAVING)
    ready = next(condition for condition in found.conditions if condition.type == "Ready")
    assert (ready.status, ready.reason) == (condition_pb2.UNKNOWN, "MisbehavingMember")
    assert f"30000 resources, more than {CATALOGUE_RESOURCES}" in ready.message
    world.lost.add("us-east")
    await world.until("us-east", cluster_pb2.OFFLINE)
    listed = await world.stub.ListClusters(registry_service_pb2.ListClustersRequest())
    assert {c.name.rpartition("/")[2]: c.state for c in listed.clusters} == {
        "eu-west": cluster_pb2.MISBEHAVING,
        "us-east": cluster_pb2.OFFLINE,
        "on-prem": cluster_pb2.READY,
    }
    assert (await world.store.range(keys.election("registry"), keys_only=True)).items == leaders.items


async def test_a_member_that_behaves_again_is_ready_again(world: World) -> None:
    """Nobody has to do anything for it; what was known of it stayed meanwhile."""
    joined = await world.join("eu-west")
    lie(world, CATALOGUE_RESOURCES + 1)
    with pytest.raises(HanseError):
        await probed(world, "eu-west")
    found = await world.until("eu-west", cluster_pb2.MISBEHAVING)
    assert found.catalogue_hash == joined.catalogue_hash
    assert (found.region, found.cluster_id) == (joined.region, joined.cluster_id)
    world.lies.clear()
    await probed(world, "eu-west")
    await world.until("eu-west", cluster_pb2.READY)


async def test_what_the_syncer_finds_is_the_state_of_the_cluster(world: World) -> None:
    """While its report is there the cluster is MISBEHAVING with its words; without it, READY."""
    await world.join("eu-west")
    await world.join("us-east")
    report = condition_pb2.Condition(
        type="Behaves", status=condition_pb2.FALSE, reason="MisbehavingMember", message="a list has no end"
    )
    await world.store.put(keys.member_report("eu-west"), report.SerializeToString())  # nobody's: no lease
    await probed(world, "eu-west")
    await world.until("eu-west", cluster_pb2.READY)
    lease = await world.store.grant(60)
    await world.store.put(keys.member_report("eu-west"), report.SerializeToString(), lease=lease.id)
    found = await world.until("eu-west", cluster_pb2.MISBEHAVING)
    assert [c.message for c in found.conditions if c.type == "Ready"] == ["a list has no end"]
    await lease.revoke()
    await world.until("eu-west", cluster_pb2.READY)
    listed = await world.stub.ListClusters(registry_service_pb2.ListClustersRequest())
    assert {c.state for c in listed.clusters} == {cluster_pb2.READY}


async def test_a_catalogue_at_its_bound_is_stored(world: World) -> None:
    """As many resources as are allowed fit into the store, with the cluster."""
    await world.join("eu-west")
    lie(world, CATALOGUE_RESOURCES - 1)  # with the namespaces
    await probed(world, "eu-west")
    async with asyncio.timeout(20):
        while True:
            stored = await world.store.get(keys.catalogue("eu-west"))
            assert stored is not None
            if len(cluster_pb2.ApiCatalogue.FromString(stored.value).resources) == CATALOGUE_RESOURCES:
                break
            await asyncio.sleep(0.05)
    await world.until("eu-west", cluster_pb2.READY)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"resource": "x" * 64}, "a name that is none"),
        ({"resource": "../secrets"}, "a name that is none"),
        ({"resource": ""}, "a name that is none"),
        ({"shortNames": ["a b"]}, "a name that is none"),
        ({"verbs": ["get", "x" * 100]}, "a name that is none"),
        ({"verbs": [f"v{n}" for n in range(3000)]}, "bytes, more than"),
    ],
)
def test_a_catalogue_has_names_and_a_size(fields: dict[str, Any], says: str) -> None:
    """What could not be asked for, or not be stored, is refused with its bound."""
    with pytest.raises(MisbehavingMemberError, match=says):
        catalogue("eu-west", read_discovery([orjson.loads(discovery(200, **fields))]))


class Nodes:
    """A member that lists nodes as a test has it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.asked: list[Mapping[str, str]] = []

    async def ask(self, request: ApiRequest) -> Answer:
        """One request."""
        assert request.body is None
        self.asked.append(dict(request.params or {}))
        page = orjson.dumps(self.page(request.params or {}))
        headers = {"content-type": "application/json"}
        return verified(request.expect, status=200, headers=headers, body=page, asked=str(request))


def nodes(start: int, count: int, token: str = "") -> dict[str, Any]:
    """Return a page of nodes."""
    labels = {"topology.kubernetes.io/zone": "a"}
    status = {"images": ["x"], "allocatable": {"cpu": "1"}, "conditions": [{"type": "Ready"}]}
    items = [
        {
            "metadata": {"name": f"n{n}", "uid": "u", "resourceVersion": "1", "labels": labels},
            "status": status,
        }
        for n in range(start, start + count)
    ]
    metadata = {"resourceVersion": "1", "continue": token}
    return {"kind": "NodeList", "apiVersion": "v1", "metadata": metadata, "items": items}


async def test_nodes_without_end_are_misbehaving_and_never_a_part_of_a_list() -> None:
    """Today's first pages would pass for all of the nodes."""
    number = itertools.count()
    member = Nodes(lambda _: nodes(next(number) * 100, 100, f"t{next(number)}"))
    with pytest.raises(MisbehavingMemberError, match="more than 20000 nodes"):
        await list_nodes(member, timeout=10)
    with pytest.raises(MisbehavingMemberError, match="twice"):
        await list_nodes(Nodes(lambda _: nodes(0, 10, f"t{next(number)}")), timeout=10)


async def test_large_nodes_are_asked_for_in_smaller_pages() -> None:
    """A page that is too long is no list that is too long; of a node no more is kept than is summed up."""

    def page(params: Mapping[str, str]) -> dict[str, Any]:
        limit, start = int(params["limit"]), int(params.get("continue") or 0)
        if limit > 10:
            raise PAGE.exceeded("https://eu-west")
        return nodes(start, limit, str(start + limit) if start < 20 else "")

    found = await list_nodes(Nodes(page), timeout=10)
    assert len(found) == 30
    assert "images" not in found[0]["status"]


async def test_a_probe_that_is_too_long_is_misbehaving() -> None:
    """What a probe finds has the bound in its message, and is not taken for an outage."""

    def page(_: Mapping[str, str]) -> Any:
        raise WORDS.exceeded("https://eu-west")

    outcome = await probe(Nodes(page), timeout=1)
    assert (outcome.reason, outcome.standing.name) == ("MisbehavingMember", "MISBEHAVING")
    assert str(WORDS.bytes) in outcome.message


@pytest.mark.parametrize("answer", [{"items": [1]}, {"items": {"a": 1}}, {"items": [[]]}, {"items": "abc"}])
async def test_documents_of_another_shape_are_misbehaving(answer: dict[str, Any]) -> None:
    """What cannot be read is never a defect of the registry's."""
    with pytest.raises(HanseError):
        await take_inventory(Nodes(lambda _: answer), "eu-west", timeout=1)


def test_what_nodes_say_is_bounded() -> None:
    """Zones and resources have names and numbers; what is no label or no amount counts as nothing."""
    many = [{"metadata": {"labels": {"topology.kubernetes.io/zone": f"z{n}"}}} for n in range(MAX_ZONES + 1)]
    with pytest.raises(MisbehavingMemberError, match="zones"):
        topology(many)
    odd = {"topology.kubernetes.io/zone": "z" * 64, "topology.kubernetes.io/region": 7}
    assert topology([{"metadata": {"labels": odd}}]).zones == ()
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    odd_amounts = {"cpu": "1e9999", "memory": "9" * 40, "x" * 400: "1", "pods": "110"}
    assert dict(capacity([{"status": {**ready, "allocatable": odd_amounts}}]).allocatable) == {"pods": "110"}
    names = {f"example.com/r{n}": "1" for n in range(1000)}
    with pytest.raises(MisbehavingMemberError, match="kinds of resources"):
        capacity([{"status": {**ready, "allocatable": names}}])
