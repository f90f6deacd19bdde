"""What kube-apiserver serves is served here too: the same kinds; what differs is named with its reason."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from hanse.kube.client.access import ClusterAccess
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.strategies.kubernetes import kubernetes
from hanse.kube.model.objects import Object
from hanse.kube.wire import discovery
from tests.real.realcluster import ClusterSpec, RealClusters
from tests.support.machine.raw import raw
from tests.support.object_client import ObjectClient

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
Resource = tuple[str, str, str]
"""Group, version and plural."""

_STREAM = "a stream to one pod of one cluster: ask that cluster"
LEFT_OUT: dict[Resource, str] = {
    (
        "",
        "v1",
        "componentstatuses",
    ): "deprecated since 1.19, and no object: the health of one cluster's parts",
}
"""Resources that kube-apiserver serves and Hanse does not."""
SUBRESOURCES_LEFT_OUT: dict[tuple[Resource, str], str] = {
    (("", "v1", "pods"), "attach"): _STREAM,
    (("", "v1", "pods"), "exec"): _STREAM,
    (("", "v1", "pods"), "portforward"): _STREAM,
    (("", "v1", "pods"), "proxy"): _STREAM,
    (("", "v1", "services"), "proxy"): "a Service is in several clusters: ask the one that is meant",
}
"""Subresources that kube-apiserver serves and Hanse does not."""


def resources(documents: Iterable[Object]) -> dict[Resource, dict[str, Any]]:
    """Return the entry of every resource in aggregated discovery documents."""
    return {
        (group["metadata"].get("name", ""), version["version"], entry["resource"]): entry
        for document in documents
        for group in document["items"]
        for version in group["versions"]
        for entry in version["resources"]
    }


def looks(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what clients go by. Lists of names are in no order."""
    return {
        "kind": entry["responseKind"]["kind"],
        "scope": entry["scope"],
        "singular": entry["singularResource"],
        "short names": sorted(entry.get("shortNames", ())),
        "categories": sorted(entry.get("categories", ())),
        "verbs": sorted(entry["verbs"]),
    }


def subresources(entry: dict[str, Any]) -> dict[str, tuple[str, list[str]]]:
    """Return kind and verbs of every subresource."""
    return {
        each["subresource"]: (each["responseKind"]["kind"], sorted(each["verbs"]))
        for each in entry.get("subresources", ())
    }


@pytest.fixture(scope="module")
def ours() -> list[Object]:
    """The discovery documents of the built-in kinds."""
    return [discovery.aggregated(Catalogue(kubernetes()), core=core) for core in (True, False)]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def real(assets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[Object]]:
    """Those of a kube-apiserver as it is by default."""
    directory = tmp_path_factory.mktemp("discovery")
    async with RealClusters(assets_dir, directory, [ClusterSpec("real", throttle=False)]) as clusters:
        access = ClusterAccess.from_kubeconfig(clusters["real"].kubeconfig_path)
        documents: list[Object] = []
        async with ObjectClient(access, user_agent="discovery") as client:
            for path in ("/api", "/apis"):
                status, _, body = await raw(client, "GET", path, headers={"Accept": AGGREGATED})
                assert status == 200, body
                documents.append(orjson.loads(body))
        yield documents


async def test_every_resource_is_served(ours: list[Object], real: list[Object]) -> None:
    """But for those that are left out on purpose; and nothing that Kubernetes does not have."""
    mine, theirs = resources(ours).keys(), resources(real).keys()
    assert sorted(theirs - mine) == sorted(LEFT_OUT)
    assert sorted(mine - theirs) == []


async def test_resources_look_the_same(ours: list[Object], real: list[Object]) -> None:
    """Kind, scope, names, categories and verbs."""
    theirs = resources(real)
    for resource, entry in resources(ours).items():
        assert looks(entry) == looks(theirs[resource]), resource


async def test_subresources_are_the_same(ours: list[Object], real: list[Object]) -> None:
    """Their kinds and verbs too, but for those that are left out on purpose."""
    mine, theirs = resources(ours), resources(real)
    missing = []
    for resource, entry in mine.items():
        found, wanted = subresources(entry), subresources(theirs[resource])
        missing += [(resource, name) for name in wanted.keys() - found.keys()]
        assert found == {name: wanted.get(name) for name in found}, resource
    assert sorted(missing) == sorted(SUBRESOURCES_LEFT_OUT)


async def test_groups_come_in_the_same_order(ours: list[Object], real: list[Object]) -> None:
    """It decides which resource a short name means."""
    orders = [
        [
            (group["metadata"].get("name", ""), [each["version"] for each in group["versions"]])
            for document in documents
            for group in document["items"]
        ]
        for documents in (ours, real)
    ]
    assert orders[0] == orders[1]
