"""An aggregated API server that is away takes nothing away: its kinds stay in the catalogue, as unknown."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from hanse_registry.member.probe import take_inventory
from hanse_syncer.member.client import MemberClient
from hanse_syncer.member.limiter import Limiter

from hanse.api.registry.v1.cluster_pb2 import ApiCatalogue
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.client import KubeClient
from hanse.kube.client.discovery import GroupVersion, ServedApis
from hanse.security.pki import CertificateAuthority
from tests.real.realcluster import ClusterSpec, RealCluster, RealClusters, until
from tests.support.machine.ports import free_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")

WIDGETS = GroupVersion("example.org", "v1")
PATH = "/apis/example.org/v1"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_SECONDS = 150.0
"""kube-apiserver looks at an aggregated API server at least every minute."""


def _discovery() -> web.Response:
    """What the aggregated API server says of itself."""
    kind = {"group": WIDGETS.group, "version": WIDGETS.version, "kind": "Widget"}
    widgets = {
        "resource": "widgets", "responseKind": kind, "scope": "Namespaced", "singularResource": "widget",
        "verbs": ["create", "delete", "get", "list", "patch", "watch"],
    }  # fmt: skip
    version = {"version": WIDGETS.version, "resources": [widgets], "freshness": "Current"}
    document = {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [{"metadata": {"name": WIDGETS.group}, "versions": [version]}],
    }
    return web.json_response(document, headers={"Content-Type": AGGREGATED})


async def _answer(request: web.Request) -> web.Response:
    if request.path == "/apis":
        return _discovery()
    if request.path == PATH:
        widgets = {"name": "widgets", "namespaced": True, "kind": "Widget", "verbs": ["list"]}
        listed = {"kind": "APIResourceList", "groupVersion": str(WIDGETS), "resources": [widgets]}
        return web.json_response({"apiVersion": "v1", **listed})
    return web.json_response({"kind": "Status", "apiVersion": "v1", "code": 404}, status=404)


@asynccontextmanager
async def aggregated(directory: Path, port: int) -> AsyncIterator[None]:
    """Run the aggregated API server."""
    issued = CertificateAuthority.create("aggregated").issue_local("localhost", names=["localhost"])
    for name, pem in (("tls.crt", issued.cert_pem), ("tls.key", issued.key_pem)):
        (directory / name).write_bytes(pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    server = web.AppRunner(_application())
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", port, ssl_context=context).start()
    try:
        yield
    finally:
        await server.cleanup()


def _application() -> web.Application:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", _answer)
    return application


async def register(cluster: RealCluster, port: int) -> None:
    """Have the API server of the cluster pass the group on."""
    service = {
        "metadata": {"name": "widgets"},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    }
    await cluster.api.create("/api/v1/namespaces/default/services", service)
    registered = {
        "metadata": {"name": f"{WIDGETS.version}.{WIDGETS.group}"},
        "spec": {
            "group": WIDGETS.group,
            "version": WIDGETS.version,
            "groupPriorityMinimum": 1000,
            "versionPriority": 10,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": "default", "name": "widgets", "port": port},
        },
    }
    await cluster.api.create("/apis/apiregistration.k8s.io/v1/apiservices", registered)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def clusters(assets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealClusters]:
    """One cluster."""
    directory = tmp_path_factory.mktemp("aggregated")
    async with RealClusters(assets_dir, directory, [ClusterSpec("one", throttle=False)]) as running:
        yield running


async def until_served(client: KubeClient, condition: Callable[[ServedApis], bool]) -> ServedApis:
    """Return what is served as soon as it is as it should be."""
    found: list[ServedApis] = []

    async def met() -> bool:
        found[:] = [await client.served()]
        return condition(found[0])

    await until(met, what="the API server tells of the group as it should", seconds=_SECONDS)
    return found[0]


def told(served: ServedApis) -> bool:
    """Whether the API server knows of the group what there is to know."""
    listed = any(resource.resource == "widgets" for resource in served.resources)
    return listed and WIDGETS not in served.unknown


def away(served: ServedApis) -> bool:
    """Whether the API server cannot tell of the group."""
    return WIDGETS in served.unknown


def kinds(catalogue: ApiCatalogue) -> set[tuple[str, str]]:
    """The kinds in a catalogue."""
    return {(resource.group, resource.resource) for resource in catalogue.resources}


async def test_kinds_stay_while_their_api_server_is_away(clusters: RealClusters, tmp_path: Path) -> None:
    """Also when kube-apiserver starts again meanwhile, and has nothing of them to list any more."""
    cluster = clusters["one"]
    access = ClusterAccess.from_kubeconfig(cluster.kubeconfig_path)
    (port,) = free_ports(1)

    async def known(catalogue: ApiCatalogue) -> ApiCatalogue:
        return catalogue

    async with KubeClient(access, retries=0) as client:
        member = MemberClient(client, cluster="one", limiter=Limiter())
        async with aggregated(tmp_path, port):
            await register(cluster, port)
            await until_served(client, told)
            before = (await take_inventory(client, "one", timeout=20)).catalogue
            assert ("example.org", "widgets") in kinds(before)
            assert list(before.unknown) == []
        await until_served(client, away)
        during = (await take_inventory(client, "one", timeout=20, known=partial(known, before))).catalogue
        assert kinds(during) == kinds(before)
        assert [(each.group, each.version) for each in during.unknown] == [WIDGETS]
        assert during.hash != before.hash
        assert not await member.lacks(str(WIDGETS), "widgets"), "that it is not served is not said"

        await cluster.stop()
        await cluster.start()
        served = await until_served(client, away)
        assert not any(resource.group == WIDGETS.group for resource in served.resources), "nothing is left"
        after = (await take_inventory(client, "one", timeout=20, known=partial(known, during))).catalogue
        assert after == during
        assert not await member.lacks(str(WIDGETS), "widgets")

        async with aggregated(tmp_path, port):
            await until_served(client, told)
            again = (await take_inventory(client, "one", timeout=20, known=partial(known, after))).catalogue
            assert again == before
        await cluster.api.delete(
            f"/apis/apiregistration.k8s.io/v1/apiservices/{WIDGETS.version}.{WIDGETS.group}"
        )
        await until_served(client, lambda served: not told(served) and not away(served))
        gone = (await take_inventory(client, "one", timeout=20, known=partial(known, again))).catalogue
        assert kinds(gone) == kinds(before) - {("example.org", "widgets")}
