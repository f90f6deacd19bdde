"""An apiserver over a store in memory, with real HTTPS and gRPC; the tests are the other services."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
import yaml
from hanse_apiserver.app import Apiserver
from hanse_apiserver.settings import ApiserverSettings

from hanse.api.federation.v1.federation_service_pb2_grpc import FederationServiceStub
from hanse.api.registry.v1 import cluster_pb2 as registry
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, ClusterRelease, Placement
from hanse.api.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.type.v1 import condition_pb2
from hanse.kube.model.objects import Object
from hanse.process.settings import TlsFiles
from hanse.rpc.channel import RpcChannel
from hanse.security.auth import service_name
from hanse.security.pki import CertificateAuthority
from hanse.store import MemoryStore, Store
from hanse.store.keys import ObjectKey
from tests.support import objects
from tests.support.machine.programs import Ran, run_program

DEADLINE = 30.0
WEB = ObjectKey("apps", "deployments", "shop", "web")


def deployment(name: str = "web", *, replicas: int = 4, namespace: str = "shop") -> Object:
    """A Deployment as a user writes it."""
    return objects.deployment(name, namespace=namespace, replicas=replicas)


def config_map(name: str, *, namespace: str = "shop", **data: str) -> Object:
    """A ConfigMap."""
    return objects.config_map(name, namespace=namespace, data=data)


def namespace(name: str = "shop") -> Object:
    """A Namespace."""
    return objects.namespaced(name)


def rolled_out(count: int, *, generation: int = 1) -> Object:
    """The status of a Deployment that is done."""
    return {
        "observedGeneration": generation,
        "replicas": count,
        "updatedReplicas": count,
        "readyReplicas": count,
        "availableReplicas": count,
        "conditions": [
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": "ok"},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": "ok"},
        ],
    }


@dataclass(frozen=True, slots=True)
class Answer:
    """What the REST API answered."""

    status: int
    body: Any


class World:
    """One federation's apiserver and everything around it."""

    def __init__(
        self,
        store: Store | None = None,
        *,
        scheduler: SchedulerServiceStub | None = None,
        **settings: Any,
    ) -> None:
        self.store: Store = store or MemoryStore()
        self.directory = Path(tempfile.mkdtemp(prefix="hanse-apiserver-"))
        self.authority = CertificateAuthority.load_or_create(self.directory)
        self.settings = ApiserverSettings(**{**self._tls_settings(), **settings})
        self.apiserver = Apiserver(self.store, self.settings, scheduler=scheduler)
        self._stack = AsyncExitStack()
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    def _tls_settings(self) -> dict[str, str]:
        files = self.identity(service_name("apiserver"), "hanse:services")
        return {"tls_ca": str(files.ca), "tls_cert": str(files.cert), "tls_key": str(files.key)}

    def identity(self, name: str, *groups: str) -> TlsFiles:
        """The files of an identity's certificate."""
        file = name.replace(":", "-")
        return self.authority.ensure_local(self.directory, file, common_name=name, organizations=groups)

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.apiserver)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in self._sessions.values():
            await session.close()
        await self._stack.aclose()
        shutil.rmtree(self.directory, ignore_errors=True)

    # Clients.

    def session(self, name: str, *groups: str) -> aiohttp.ClientSession:
        """An HTTP session with the certificate of an identity; none for the empty name."""
        if name not in self._sessions:
            context = ssl.create_default_context(cafile=str(self.directory / "ca.crt"))
            if name:
                files = self.identity(name, *groups)
                context.load_cert_chain(files.cert, files.key)
            self._sessions[name] = aiohttp.ClientSession(
                base_url=f"https://{self.apiserver.https}",
                connector=aiohttp.TCPConnector(ssl=context),
                timeout=aiohttp.ClientTimeout(total=DEADLINE),
            )
        return self._sessions[name]

    @property
    def admin(self) -> aiohttp.ClientSession:
        """The administrator's session."""
        return self.session("hanse-admin", "system:masters", "hanse:admins")

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
        session: aiohttp.ClientSession | None = None,
        params: dict[str, str] | None = None,
    ) -> Answer:
        """One REST call, by the administrator unless told otherwise."""
        data = None if body is None else orjson.dumps(body)
        given = {"Content-Type": content_type, **(headers or {})}
        async with (session or self.admin).request(
            method, path, data=data, headers=given, params=params
        ) as response:
            text = await response.read()
            is_json = response.content_type == "application/json"
            return Answer(response.status, orjson.loads(text) if is_json else text)

    async def get(self, path: str) -> Object:
        """An object that must be there."""
        answer = await self.call("GET", path)
        assert answer.status == 200, answer
        assert isinstance(answer.body, dict)
        return answer.body

    async def create(self, path: str, obj: Object) -> Object:
        """Create an object."""
        answer = await self.call("POST", path, obj)
        assert answer.status == 201, answer
        assert isinstance(answer.body, dict)
        return answer.body

    async def watch(self, path: str, *, resource_version: str) -> AsyncGenerator[tuple[str, Object]]:
        """The events of a watch."""
        params = {"watch": "true", "resourceVersion": resource_version}
        async with self.admin.get(path, params=params) as response:
            assert response.status == 200, await response.text()
            async for line in response.content:
                event = orjson.loads(line)
                yield event["type"], event["object"]

    def rpc(self, name: str = "hanse-admin", *groups: str) -> FederationServiceStub:
        """A FederationService client, by the administrator unless told otherwise."""
        files = self.identity(name, *(groups or ("hanse:admins",)))
        channel = RpcChannel(self.apiserver.grpc, tls=files)
        self._stack.push_async_callback(channel.close)
        return FederationServiceStub(channel)

    async def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> Ran:
        """Run kubectl as the administrator."""
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig()), "HOME": str(self.directory)}
        ran = await run_program("kubectl", *arguments, environment=environment, stdin=stdin)
        assert not check or ran.code == 0, ran
        return ran

    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        path = self.directory / "kubeconfig"
        files = self.identity("hanse-admin", "system:masters", "hanse:admins")
        cluster = {"server": f"https://{self.apiserver.https}", "certificate-authority": str(files.ca)}
        user = {"client-certificate": str(files.cert), "client-key": str(files.key)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "hanse", "cluster": cluster}],
            "users": [{"name": "hanse", "user": user}],
            "contexts": [{"name": "hanse", "context": {"cluster": "hanse", "user": "hanse"}}],
            "current-context": "hanse",
        }
        path.write_text(yaml.safe_dump(document))
        return path

    # The other services.

    async def place(
        self,
        key: ObjectKey,
        clusters: dict[str, int | None],
        *,
        generation: int = 1,
        releasing: Sequence[str] = (),
        suspended: Sequence[str] = (),
        after: int = 0,
    ) -> int:
        """Write a placement as the scheduler does; returns its revision."""
        placement = Placement(
            name=key.key("placements"),
            generation=generation,
            clusters=[
                ClusterPlacement(
                    cluster=name,
                    replicas=count,
                    reason="Test",
                    suspended=name in suspended,
                    after_revision=after,
                )
                for name, count in sorted(clusters.items())
            ],
            releasing=[ClusterRelease(cluster=name) for name in releasing],
        )
        placement.create_time.FromSeconds(1_780_000_000)
        placement.update_time.FromSeconds(1_790_000_000)
        return await self._put(key.key("placements"), placement.SerializeToString())

    async def unplace(self, key: ObjectKey) -> None:
        """Delete a placement."""
        await self.store.delete(key.key("placements"))

    async def report(
        self,
        key: ObjectKey,
        cluster: str,
        *,
        phase: sync.SyncPhase.ValueType = sync.APPLIED,
        status: Object | None = None,
        generation: int = 1,
        member_generation: int = 1,
        message: str = "",
        replicas: int | None = None,
        uid: str = "",
        acted_on: int | None = None,
    ) -> int:
        """Write a sync state as the syncer does, about the present placement; returns its revision."""
        placed = await self.store.get(key.key("placements"))
        if acted_on is None:
            acted_on = placed.mod_revision if placed else 0
        state = sync.SyncState(
            name=key.sync_state(cluster),
            cluster=cluster,
            phase=phase,
            message=message,
            health=sync.HEALTHY,
            applied_generation=generation,
            member_generation=member_generation,
            status=json.dumps(status).encode() if status else b"",
            replicas=replicas,
            placement_revision=acted_on,
        )
        state.object.uid = uid
        state.transition_time.FromSeconds(1_790_000_001)
        return await self._put(key.sync_state(cluster), state.SerializeToString())

    async def removed(self, key: ObjectKey, *clusters: str) -> None:
        """Confirm that nothing is left in these clusters."""
        for cluster in clusters:
            await self.report(key, cluster, phase=sync.REMOVED)

    async def cluster(self, name: str, state: registry.ClusterState.ValueType = registry.READY) -> None:
        """Write what the registry knows of a cluster."""
        cluster = registry.Cluster(
            name=f"clusters/{name}",
            region="eu-west",
            zones=["eu-west-a", "eu-west-b"],
            state=state,
            kubernetes_version="v1.34.1",
            capacity=registry.Capacity(allocatable={"cpu": "4"}, ready_nodes=2, total_nodes=3),
        )
        ready = condition_pb2.TRUE if state == registry.READY else condition_pb2.FALSE
        cluster.conditions.add(type="Ready", status=ready, reason="Probed", message="answers")
        await self._put(f"clusters/{name}", cluster.SerializeToString())

    async def _put(self, key: str, value: bytes) -> int:
        revision = await self.store.put(key, value)
        await self.apiserver.engine.cache.reached(revision)
        return revision
