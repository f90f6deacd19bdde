"""Services in a simulated cluster: addresses, node ports, load balancers and endpoints."""

from __future__ import annotations

import ipaddress

import pytest
from hanse_simulator import addresses
from hanse_simulator.addresses import Pool

from hanse.errors import InvalidArgumentError
from hanse.kube.model.objects import Object, mapping
from tests.simulator.cluster import (
    DEPLOYMENTS,
    ENDPOINTS,
    SERVICES,
    SLICES,
    Cluster,
    image_patch,
    workload,
    zones,
)
from tests.support.objects import service


async def slices_of(cluster: Cluster, name: str) -> list[Object]:
    """Return the EndpointSlices of a Service."""
    return await cluster.all(SLICES, f"kubernetes.io/service-name={name}")


async def test_endpoints_follow_ready_pods(cluster: Cluster) -> None:
    """Slices and Endpoints name each ready Pod with its node and zone, and forget it when it goes."""
    await cluster.create(SERVICES, service("web"))
    await cluster.create(DEPLOYMENTS, workload("Deployment", "web", replicas=2))
    await cluster.status(DEPLOYMENTS, "web", availableReplicas=2)

    async def both() -> bool:
        return zones(await slices_of(cluster, "web")) == ["a", "b"]

    await cluster.until(both, what="one endpoint in each zone")
    pods = {p["status"]["podIP"]: p["spec"]["nodeName"] for p in await cluster.pods("web")}
    (found,) = await slices_of(cluster, "web")
    assert {e["addresses"][0]: e["nodeName"] for e in found["endpoints"]} == pods
    assert found["ports"] == [{"name": "", "port": 80, "protocol": "TCP"}]
    (subset,) = (await cluster.get(ENDPOINTS, "web"))["subsets"]
    assert {a["ip"] for a in subset["addresses"]} == pods.keys()
    await cluster.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 0}})

    async def none() -> bool:
        (found,) = await slices_of(cluster, "web")
        return not found.get("endpoints")

    await cluster.until(none, what="no endpoint")
    await cluster.client.delete(SERVICES, "web", namespace="shop")
    await cluster.gone(SLICES)
    await cluster.gone(ENDPOINTS)


async def test_broken_pods_are_endpoints_that_are_not_ready(cluster: Cluster) -> None:
    """A Pod that cannot start is listed as not ready."""
    await cluster.create(SERVICES, service("web"))
    await cluster.create(DEPLOYMENTS, workload("Deployment", "web", replicas=1))
    await cluster.patch(DEPLOYMENTS, "web", image_patch("web:broken"))

    async def listed() -> bool:
        found = await slices_of(cluster, "web")
        return any(not e["conditions"]["ready"] for s in found for e in s.get("endpoints") or ())

    await cluster.until(listed, what="an endpoint that is not ready")


async def test_a_load_balancer_gets_an_address_of_the_cluster(cluster: Cluster) -> None:
    """Each LoadBalancer has an address of its own in the cluster's range, and loses it with its type."""
    for name in ("one", "two"):
        await cluster.create(SERVICES, service(name, type="LoadBalancer"))

    async def given() -> set[str]:
        found = [await cluster.get(SERVICES, name) for name in ("one", "two")]
        ingress = [i for s in found for i in mapping(s, "status", "loadBalancer").get("ingress", [])]
        return {i["ip"] for i in ingress} if len(ingress) == 2 else set()

    ips = await cluster.until(given, what="two addresses")
    own = addresses.load_balancer_range("eu-west")
    assert len(ips) == 2
    assert all(ipaddress.IPv4Address(ip) in own for ip in ips)
    await cluster.patch(SERVICES, "one", {"spec": {"type": "ClusterIP"}})
    await cluster.status(SERVICES, "one", loadBalancer={})
    changed = await cluster.get(SERVICES, "one")
    assert "nodePort" not in changed["spec"]["ports"][0]


async def test_a_service_has_its_addresses_in_the_answer(cluster: Cluster) -> None:
    """Cluster addresses and node ports are given in the write itself, and stay."""
    made = await cluster.create(SERVICES, service("web", type="NodePort"))
    address, port = made["spec"]["clusterIP"], made["spec"]["ports"][0]["nodePort"]
    assert ipaddress.IPv4Address(address) in ipaddress.IPv4Network("10.96.0.0/16")
    assert 30000 <= port <= 32767
    changed = await cluster.patch(SERVICES, "web", {"metadata": {"labels": {"x": "y"}}})
    assert changed["spec"] == made["spec"]
    with pytest.raises(InvalidArgumentError, match="already allocated"):
        await cluster.create(SERVICES, service("other", clusterIP=address))
    other_port = {"port": 80, "nodePort": port}
    with pytest.raises(InvalidArgumentError, match="already allocated"):
        await cluster.create(SERVICES, service("other", type="NodePort", ports=[other_port]))
    await cluster.client.delete(SERVICES, "web", namespace="shop")
    again = await cluster.create(SERVICES, service("other", type="NodePort", ports=[other_port]))
    assert again["spec"]["ports"][0]["nodePort"] == port


async def test_a_headless_service_has_no_address(cluster: Cluster) -> None:
    """clusterIP None stays None, an ExternalName has none at all."""
    made = await cluster.create(SERVICES, service("db", clusterIP="None"))
    assert made["spec"]["clusterIP"] == "None"
    external = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "out"},
        "spec": {"type": "ExternalName", "externalName": "example.org"},
    }  # fmt: skip
    assert "clusterIP" not in (await cluster.create(SERVICES, external))["spec"]


def test_clusters_of_one_federation_have_ranges_of_their_own() -> None:
    """The clusters that `hanse up` makes never share load balancer addresses, nor have localhost."""
    regions = ["eu-west", "us-east", "on-prem", "ap-south", "eu-north", "us-west", "sa-east", "af-south"]
    names = [r if turn == 1 else f"{r}-{turn}" for turn in range(1, 14) for r in regions][:100]
    ranges = [addresses.load_balancer_range(name) for name in names]
    assert len(set(ranges)) == 100
    assert all(r.subnet_of(ipaddress.IPv4Network("127.0.0.0/8")) for r in ranges)
    assert not any(ipaddress.IPv4Address("127.0.0.1") in r for r in ranges)


def test_a_pool_gives_each_number_once() -> None:
    """A holder gets the same number again; others get others, until none is left."""
    pool = Pool("number", first=10, size=3)
    given = {name: pool.pick(name) for name in "abc"}
    assert sorted(given.values()) == [10, 11, 12]
    assert pool.pick("a") == given["a"]
    with pytest.raises(Exception, match="no number is free"):
        pool.pick("d")
    assert not pool.take(given["a"], "d")
    pool.release(given["a"], "a")
    assert pool.pick("d") == given["a"]
