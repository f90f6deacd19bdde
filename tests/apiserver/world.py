"""An apiserver over a store in memory, with real HTTPS and gRPC; the tests are the other services."""

from __future__ import annotations

import os
import shutil
import ssl
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
import yaml
from google.protobuf.timestamp_pb2 import Timestamp
from hanse_apiserver.app import Apiserver
from hanse_apiserver.settings import ApiserverSettings

from hanse.api.federation.v1.federation_service_pb2_grpc import FederationServiceStub
from hanse.api.registry.v1 import cluster_pb2 as registry
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.api.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.syncer_service_pb2_grpc import SyncerServiceStub
from hanse.api.type.v1 import condition_pb2
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.kube.model.objects import Object
from hanse.process.settings import TlsFiles
from hanse.rpc.channel import RpcChannel
from hanse.security.auth import service_name
from hanse.security.pki import CertificateAuthority
from hanse.store import Store
from hanse.store.keys import ObjectKey
from tests.support import objects
from tests.support.federation.records import Chosen, Clock, Key, Records
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


class World(Records):
    """One federation's apiserver and everything around it."""

    def __init__(
        self,
        store: Store | None = None,
        *,
        scheduler: SchedulerServiceStub | None = None,
        syncer: SyncerServiceStub | None = None,
        bootstrap: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(store, clock=Clock(1_790_000_001))
        self.directory = Path(tempfile.mkdtemp(prefix="hanse-apiserver-"))
        self.authority = CertificateAuthority.load_or_create(self.directory)
        self.settings = ApiserverSettings(**{**self._tls_settings(), **settings})
        self.apiserver = Apiserver(
            self.store, self.settings, scheduler=scheduler, syncer=syncer, bootstrap=bootstrap
        )
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

    async def write(self, key: str, value: bytes) -> int:
        """Write a value, and wait until the apiserver has seen it."""
        revision = await super().write(key, value)
        await self.apiserver.engine.cache.reached(revision)
        return revision

    async def place(
        self,
        key: Key,
        *clusters: Chosen,
        releasing: Sequence[str] = (),
        generation: int | None = 1,
        suspended: Sequence[str] = (),
        after: int = 0,
        **fields: Any,
    ) -> int:
        """Write a placement; `after` is the least revision of the object that is applied."""
        return await super().place(
            key,
            *(
                ClusterPlacement(
                    cluster=name,
                    replicas=count,
                    reason="Test",
                    suspended=name in suspended,
                    after_revision=after,
                )
                for each in clusters
                if isinstance(each, Mapping)
                for name, count in sorted(each.items())
            ),
            *(each for each in clusters if not isinstance(each, Mapping)),
            releasing=releasing,
            generation=generation,
            create_time=Timestamp(seconds=1_780_000_000),
            update_time=Timestamp(seconds=1_790_000_000),
            **fields,
        )

    async def report(
        self,
        key: Key,
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
        """Write what the syncer reports of a healthy object, about the present placement."""
        about = {} if acted_on is None else {"placement_revision": acted_on}
        return await self.synced(
            key,
            cluster,
            phase=phase,
            message=message,
            health=sync.HEALTHY,
            applied_generation=generation,
            member_generation=member_generation,
            status=orjson.dumps(status) if status else b"",
            replicas=replicas,
            object=ObjectReference(uid=uid),
            **about,
        )

    async def cluster(
        self, name: str, state: registry.ClusterState.ValueType = registry.READY, **fields: Any
    ) -> int:
        """Write a cluster with all that a table shows."""
        ready = condition_pb2.TRUE if state == registry.READY else condition_pb2.FALSE
        shown: dict[str, Any] = {
            "region": "eu-west",
            "zones": ["eu-west-a", "eu-west-b"],
            "kubernetes_version": "v1.34.1",
            "capacity": registry.Capacity(allocatable={"cpu": "4"}, ready_nodes=2, total_nodes=3),
            "conditions": [
                condition_pb2.Condition(type="Ready", status=ready, reason="Probed", message="answers")
            ],
        }
        return await super().cluster(name, state, **shown | fields)
