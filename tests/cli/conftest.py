"""Real gRPC servers for the command: small services over a dictionary, on one port, without TLS."""

# ruff: noqa: N802 - methods have the names of the RPCs

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click.testing
import pytest
from google.protobuf.empty_pb2 import Empty

from hanse.api.dns.v1 import dns_service_pb2 as dns
from hanse.api.dns.v1 import dns_service_pb2_grpc as dns_grpc
from hanse.api.dns.v1.record_set_pb2 import RecordSet, Zone
from hanse.api.federation.v1 import federation_service_pb2 as federation
from hanse.api.federation.v1 import federation_service_pb2_grpc as federation_grpc
from hanse.api.federation.v1.federation_pb2 import Federation, Object, Resource
from hanse.api.registry.v1 import registry_service_pb2 as registry
from hanse.api.registry.v1 import registry_service_pb2_grpc as registry_grpc
from hanse.api.registry.v1.cluster_pb2 import Cluster, ClusterState
from hanse.api.scheduler.v1 import scheduler_service_pb2 as scheduler
from hanse.api.scheduler.v1 import scheduler_service_pb2_grpc as scheduler_grpc
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.syncer.v1 import syncer_service_pb2 as syncer
from hanse.api.syncer.v1 import syncer_service_pb2_grpc as syncer_grpc
from hanse.api.type.v1.change_pb2 import ChangeKind
from hanse.errors import (
    AlreadyExistsError,
    ConflictError,
    HanseError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from hanse.rpc.lists.filters import ListFilter
from hanse.rpc.policy import Policy
from hanse.rpc.server import RpcServer
from tests.support.waiting import until

RESOURCES = (
    Resource(
        group="",
        version="v1",
        resource="services",
        kind="Service",
        singular="service",
        short_names=["svc"],
        namespaced=True,
        propagates=True,
    ),
    Resource(
        group="",
        version="v1",
        resource="namespaces",
        kind="Namespace",
        singular="namespace",
        short_names=["ns"],
        propagates=True,
    ),
    Resource(
        group="",
        version="v1",
        resource="configmaps",
        kind="ConfigMap",
        singular="configmap",
        short_names=["cm"],
        namespaced=True,
        propagates=True,
    ),
    Resource(
        group="apps",
        version="v1",
        resource="deployments",
        kind="Deployment",
        singular="deployment",
        short_names=["deploy"],
        namespaced=True,
        propagates=True,
    ),
    Resource(
        group="extensions",
        version="v1beta1",
        resource="deployments",
        kind="Deployment",
        singular="deployment",
        short_names=["deploy"],
        namespaced=True,
        propagates=True,
    ),
    Resource(
        group="",
        version="v1",
        resource="pods",
        kind="Pod",
        singular="pod",
        short_names=["po"],
        namespaced=True,
    ),
    Resource(group="federation", version="v1beta1", resource="clusters", kind="Cluster", singular="cluster"),
    Resource(group="hanse.dev", version="v1alpha1", resource="clusters", kind="Cluster", singular="cluster"),
)


@dataclass
class World:
    """What the fake federation holds, and what it was asked."""

    clusters: dict[str, Cluster] = field(default_factory=dict)
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    explanation: scheduler.ExplainPlacementResponse | None = field(
        default_factory=scheduler.ExplainPlacementResponse
    )
    states: list[Any] = field(default_factory=list)
    later_states: list[Any] = field(default_factory=list)
    """What they are while somebody watches."""
    orphans: list[Any] = field(default_factory=list)
    exported: dict[str, Any] = field(default_factory=dict)
    """What an orphan is exported as."""
    records: list[RecordSet] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    refusals: dict[str, HanseError] = field(default_factory=dict)
    """What an apply of an object of that name is answered with."""
    creatable: set[str] = field(default_factory=set)
    """Names under which objects can be created; all others are taken."""
    looks_until_left: int = 0
    """How often a cluster that was unjoined is still there when it is looked at."""
    placements: dict[str, Placement] = field(default_factory=dict)
    diffs: list[syncer.ClusterDiff] = field(default_factory=list)
    changes: list[Any] = field(default_factory=list)
    """What a watch of objects or placements sends."""
    holds: bool = False
    """Whether a watch that has sent all stays open."""
    config: Path = Path()
    port: int = 0

    def last(self, kind: type[Any]) -> Any:
        """The last request of a kind."""
        return [each for each in self.requests if isinstance(each, kind)][-1]


class Registry(registry_grpc.RegistryServiceServicer):
    """Clusters in a dictionary."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def JoinCluster(self, request: registry.JoinClusterRequest, context: Any) -> Cluster:
        self.world.requests.append(request)
        name = f"clusters/{request.cluster_id}"
        if name in self.world.clusters:
            raise AlreadyExistsError(f"cluster {request.cluster_id} is a member already")
        cluster = Cluster(
            name=name, state=ClusterState.READY, region="eu", zones=["a"], kubernetes_version="v1.34.0"
        )
        if not request.validate_only:
            self.world.clusters[name] = cluster
        return cluster

    async def ReplaceCredential(self, request: registry.ReplaceCredentialRequest, context: Any) -> Cluster:
        self.world.requests.append(request)
        if request.name not in self.world.clusters:
            raise NotFoundError(f"there is no cluster {request.name}")
        return self.world.clusters[request.name]

    async def UnjoinCluster(self, request: registry.UnjoinClusterRequest, context: Any) -> Cluster:
        self.world.requests.append(request)
        if request.name not in self.world.clusters:
            raise NotFoundError(f"there is no cluster {request.name}")
        cluster = self.world.clusters[request.name]
        if self.world.looks_until_left:
            cluster.state = ClusterState.UNJOINING
        else:
            del self.world.clusters[request.name]
        return cluster

    async def GetCluster(self, request: registry.GetClusterRequest, context: Any) -> Cluster:
        if request.name not in self.world.clusters:
            raise NotFoundError(f"there is no cluster {request.name}")
        cluster = self.world.clusters[request.name]
        if cluster.state == ClusterState.UNJOINING:
            self.world.looks_until_left -= 1
            if self.world.looks_until_left == 0:
                del self.world.clusters[request.name]
        return cluster

    async def ListClusters(
        self, request: registry.ListClustersRequest, context: Any
    ) -> registry.ListClustersResponse:
        self.world.requests.append(request)
        names = sorted(self.world.clusters)
        start = int(request.page_token or 0)
        size = min(request.page_size or 2, 2)  # small pages, so that paging is seen
        page = names[start : start + size]
        return registry.ListClustersResponse(
            clusters=[self.world.clusters[name] for name in page],
            next_page_token=str(start + size) if start + size < len(names) else "",
            revision=7,
        )

    async def UpdateCluster(self, request: registry.UpdateClusterRequest, context: Any) -> Cluster:
        self.world.requests.append(request)
        return request.cluster

    async def WatchClusters(
        self, request: registry.WatchClustersRequest, context: Any
    ) -> AsyncIterator[registry.WatchClustersResponse]:
        for name in sorted(self.world.clusters):
            yield registry.WatchClustersResponse(
                kind=ChangeKind.UPDATED, cluster=self.world.clusters[name], revision=7
            )
        if request.revision == 0 or self.world.holds:
            await asyncio.sleep(600)

    async def GetApiCatalogue(self, request: registry.GetApiCatalogueRequest, context: Any) -> Any:
        raise PermissionDeniedError("you may not see this")

    async def ProbeCluster(self, request: registry.ProbeClusterRequest, context: Any) -> Cluster:
        await asyncio.sleep(600)
        return Cluster()


class Federated(federation_grpc.FederationServiceServicer):
    """Objects in a dictionary, by name."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def GetFederation(self, request: Any, context: Any) -> Federation:
        return Federation(
            name="federation", id="f-1", short_name="hanse", dns_suffix="example.org", version="0.1.0"
        )

    async def ListResources(self, request: Any, context: Any) -> federation.ListResourcesResponse:
        return federation.ListResourcesResponse(resources=RESOURCES)

    def _stored(self, name: str) -> Object:
        if name not in self.world.objects:
            raise NotFoundError(f"{name} does not exist")
        return Object(name=name, manifest=json.dumps(self.world.objects[name]).encode())

    async def GetObject(self, request: federation.GetObjectRequest, context: Any) -> Object:
        return self._stored(request.name)

    async def ListObjects(
        self, request: federation.ListObjectsRequest, context: Any
    ) -> federation.ListObjectsResponse:
        found = [
            self._stored(name) for name in sorted(self.world.objects) if name.startswith(request.parent + "/")
        ]
        return federation.ListObjectsResponse(objects=found, revision=7)

    async def CreateObject(self, request: federation.CreateObjectRequest, context: Any) -> Object:
        self.world.requests.append(request)
        manifest = json.loads(request.manifest)
        if manifest["metadata"]["name"] not in self.world.creatable:
            raise AlreadyExistsError("it exists")
        return Object(manifest=request.manifest)

    async def UpdateObject(self, request: Any, context: Any) -> Object:
        raise ConflictError("it changed meanwhile")

    async def ApplyObject(self, request: federation.ApplyObjectRequest, context: Any) -> Object:
        self.world.requests.append(request)
        manifest = json.loads(request.manifest)
        if manifest["metadata"]["name"] in self.world.refusals:
            raise self.world.refusals[manifest["metadata"]["name"]]
        group = manifest["apiVersion"].rpartition("/")[0]
        resource = next(each for each in RESOURCES if (each.group, each.kind) == (group, manifest["kind"]))
        place = manifest["metadata"].get("namespace", "_")
        name = f"objects/{group or 'core'}/{resource.resource}/{place}/{manifest['metadata']['name']}"
        if not request.validate_only:
            self.world.objects[name] = manifest
        return Object(name=name, manifest=request.manifest)

    async def PatchObject(self, request: Any, context: Any) -> Object:
        self.world.requests.append(request)
        return Object(name=request.name)

    async def DeleteObject(self, request: federation.DeleteObjectRequest, context: Any) -> Empty:
        self.world.requests.append(request)
        self._stored(request.name)
        del self.world.objects[request.name]
        return Empty()

    async def WatchObjects(
        self, request: Any, context: Any
    ) -> AsyncIterator[federation.WatchObjectsResponse]:
        self.world.requests.append(request)
        for change in self.world.changes:
            yield change
        if self.world.holds:
            await asyncio.sleep(600)


class Scheduler(scheduler_grpc.SchedulerServiceServicer):
    """Explains everything in the same way."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def ExplainPlacement(self, request: Any, context: Any) -> scheduler.ExplainPlacementResponse:
        self.world.requests.append(request)
        if self.world.explanation is None:
            raise NotFoundError("its kind is never placed: name one that exists")
        return self.world.explanation

    async def GetPlacement(self, request: Any, context: Any) -> Any:
        raise NotFoundError("no")

    PreviewPlacement = PreviewPolicy = GetPlacement

    async def ListPlacements(
        self, request: scheduler.ListPlacementsRequest, context: Any
    ) -> scheduler.ListPlacementsResponse:
        self.world.requests.append(request)
        chosen_by = ListFilter.parse(request.filter, Placement.DESCRIPTOR)
        below = [self.world.placements[name] for name in sorted(self.world.placements)]
        found = [each for each in below if each.name.startswith(request.parent) and chosen_by.matches(each)]
        return scheduler.ListPlacementsResponse(placements=found, revision=7)

    async def WatchPlacements(
        self, request: scheduler.WatchPlacementsRequest, context: Any
    ) -> AsyncIterator[scheduler.WatchPlacementsResponse]:
        self.world.requests.append(request)
        for change in self.world.changes:
            yield change

    async def RebalancePlacement(
        self, request: scheduler.RebalancePlacementRequest, context: Any
    ) -> Placement:
        self.world.requests.append(request)
        return self._placement(request.name)

    async def EvictPlacement(self, request: scheduler.EvictPlacementRequest, context: Any) -> Placement:
        self.world.requests.append(request)
        placement = self._placement(request.name)
        if request.name.endswith("/stuck"):
            raise UnavailableError("this scheduler does not lead")
        kept = [each for each in placement.clusters if each.cluster != request.cluster]
        del placement.clusters[:]
        placement.clusters.extend(kept)
        return placement

    def _placement(self, name: str) -> Placement:
        if name not in self.world.placements:
            raise NotFoundError(f"{name} does not exist")
        return self.world.placements[name]


class Syncer(syncer_grpc.SyncerServiceServicer):
    """Has the states that the test gave it."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def ListSyncStates(
        self, request: syncer.ListSyncStatesRequest, context: Any
    ) -> syncer.ListSyncStatesResponse:
        self.world.requests.append(request)
        return syncer.ListSyncStatesResponse(sync_states=self.world.states)

    async def GetSyncState(self, request: Any, context: Any) -> Any:
        raise NotFoundError("no")

    DryRunObject = RenderObject = Resync = GetSyncState

    async def WatchSyncStates(
        self, request: syncer.WatchSyncStatesRequest, context: Any
    ) -> AsyncIterator[syncer.WatchSyncStatesResponse]:
        """Tell of a change after each explanation, twice; the second makes no other page."""
        self.world.requests.append(request)
        for times in (2, 3):  # the watch itself has asked once

            def asked(times: int = times) -> bool:
                kind = syncer.ListSyncStatesRequest
                return sum(isinstance(each, kind) for each in self.world.requests) >= times

            await until(asked, what="another explanation")
            self.world.states = self.world.later_states
            yield syncer.WatchSyncStatesResponse(kind=ChangeKind.UPDATED, revision=8)

    async def DiffObject(self, request: syncer.DiffObjectRequest, context: Any) -> syncer.DiffObjectResponse:
        self.world.requests.append(request)
        found = [each for each in self.world.diffs if request.cluster in ("", each.cluster)]
        return syncer.DiffObjectResponse(diffs=found)

    async def ListOrphans(
        self, request: syncer.ListOrphansRequest, context: Any
    ) -> syncer.ListOrphansResponse:
        found = [each for each in self.world.orphans if request.cluster in ("", each.cluster)]
        return syncer.ListOrphansResponse(orphans=found, total_size=len(found) + 7 * bool(found))

    async def ExportOrphan(
        self, request: syncer.ExportOrphanRequest, context: Any
    ) -> syncer.ExportOrphanResponse:
        self.world.requests.append(request)
        return syncer.ExportOrphanResponse(manifest=json.dumps(self.world.exported).encode())

    async def DeleteOrphan(self, request: syncer.DeleteOrphanRequest, context: Any) -> Empty:
        self.world.requests.append(request)
        return Empty()


class Dns(dns_grpc.DnsServiceServicer):
    """One zone with the records that the test gave it."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def ListZones(self, request: Any, context: Any) -> dns.ListZonesResponse:
        zone = Zone(name="zones/example.org", origin="example.org.", server="127.0.0.1:5353")
        return dns.ListZonesResponse(zones=[zone])

    async def ListRecordSets(
        self, request: dns.ListRecordSetsRequest, context: Any
    ) -> dns.ListRecordSetsResponse:
        self.world.requests.append(request)
        chosen_by = ListFilter.parse(request.filter, RecordSet.DESCRIPTOR)
        found = [each for each in self.world.records if chosen_by.matches(each)]
        return dns.ListRecordSetsResponse(record_sets=found)

    async def GetZone(self, request: Any, context: Any) -> Any:
        raise NotFoundError("no")

    GetRecordSet = WatchRecordSets = Resolve = GetZone  # type: ignore[assignment]


def _server(world: World) -> RpcServer:
    server = RpcServer(listen="127.0.0.1:0", tls=None, policy=Policy.allow_all(), grace=0.1)
    server.add(registry_grpc.add_RegistryServiceServicer_to_server, Registry(world))
    server.add(federation_grpc.add_FederationServiceServicer_to_server, Federated(world))
    server.add(scheduler_grpc.add_SchedulerServiceServicer_to_server, Scheduler(world))
    server.add(syncer_grpc.add_SyncerServiceServicer_to_server, Syncer(world))
    server.add(dns_grpc.add_DnsServiceServicer_to_server, Dns(world))
    return server


@contextmanager
def _serving(world: World) -> Iterator[None]:
    """Serve `world` from a loop in a thread, because a command runs a loop of its own."""
    started, stopping = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with _server(world) as server:
            world.port = server.port
            started.set()
            await stopping.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield
    finally:
        loops[0].call_soon_threadsafe(stopping.set)
        thread.join(10)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A federation that is served; `config` is its client.toml."""
    made = World()
    with _serving(made):
        made.config = tmp_path / "client.toml"
        names = ("registry", "scheduler", "syncer", "dns", "federation")
        lines = [f'{name} = "127.0.0.1:{made.port}"' for name in names]
        made.config.write_text("[endpoints]\n" + "\n".join(lines) + "\n")
        yield made


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    status: int
    out: str
    err: str


Hanse = Callable[..., Result]


@pytest.fixture
def hanse(world: World, monkeypatch: pytest.MonkeyPatch) -> Hanse:
    """Runs `hanse` against the served federation, in this process, and returns how it ended."""
    from hanse_cli import main

    main._add_porcelain()
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str, stdin: str = "") -> Result:
        status = -1

        @click.command(context_settings={"ignore_unknown_options": True})
        def edge() -> None:
            nonlocal status
            status = main.run(main.hanse, ["--config", str(world.config), *arguments], program="hanse")

        outcome = click.testing.CliRunner().invoke(edge, [], input=stdin, catch_exceptions=False)
        return Result(status, outcome.stdout, outcome.stderr)

    return run
