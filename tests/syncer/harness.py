"""A federation for the syncer's tests: a store, members that are real API servers, and ways to break them.

The members are the engine of `hanse.kube` over HTTP; what is between them and the syncer can refuse, stall,
lie and hang up. The store is in memory. What the apiserver, the scheduler and the registry would write is
written by the tests.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

import orjson
from aiohttp import web
from hanse_syncer.cluster.dependencies import SyncerDependencies
from hanse_syncer.decide.render import ManifestRenderer
from hanse_syncer.federation.state import FederationState
from hanse_syncer.report.metrics import SyncerMetrics
from hanse_syncer.report.state_loader import SyncStateLoader
from hanse_syncer.sharing import Sharing
from opentelemetry.metrics import NoOpMeter

from hanse.api.federation.v1.federation_pb2 import Federation as FederationMessage
from hanse.api.registry.v1.cluster_pb2 import READY, ApiCatalogue, ApiResource, Cluster, ClusterCredential
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, ClusterRelease, Placement
from hanse.api.syncer.v1.sync_state_pb2 import APPLIED, SyncPhase, SyncState
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.backoff import Backoff
from hanse.federation.events import EventRecorder
from hanse.kube.engine.engine import KubeEngine
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.strategies.kubernetes import kubernetes
from hanse.kube.model.identity import User
from hanse.kube.server.app import KubeServer, ServerOptions
from hanse.kube.server.auth import AllowGroups
from hanse.security.credentials import Sealer
from hanse.security.keyring import new_key
from hanse.store import BatchWriter, MemoryStore, Store, keys
from hanse.store.keys import ObjectKey
from tests.support import objects
from tests.support.access import FixedTokens
from tests.support.waiting import until

FEDERATION_ID = "6f1d2c3b-aaaa-4bbb-8ccc-0123456789ab"
TOKEN = "member-token"
Object = dict[str, Any]
Fault = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class Member:
    """One member cluster. `writes` are the (method, path) of all requests that could change something."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.store = MemoryStore()
        self.engine = KubeEngine(self.store, catalogue=Catalogue(kubernetes()))
        self.writes: list[tuple[str, str]] = []
        self.requests: list[tuple[str, str]] = []
        self.fault: Fault | None = None
        self._server = KubeServer(
            self.engine,
            authenticator=FixedTokens({TOKEN: User("hanse", ("system:masters",))}),
            authorizer=AllowGroups(),
            options=ServerOptions(),
        )
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.engine.__aenter__()
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self.engine.__aexit__(None, None, None)
        await self.store.close()

    async def start(self) -> None:
        """Serve; on the same port as before if it was stopped."""
        app = self._server.app()
        app.middlewares.insert(0, self._middleware)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop serving, hanging up on everybody. What is stored stays."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs))
        if self.fault is not None:
            answer = await self.fault(request)
            if answer is not None:
                return answer
        if request.method not in ("GET", "HEAD"):
            self.writes.append((request.method, request.path))
        response: web.StreamResponse = await handler(request)
        return response

    # --- what is in it, without HTTP

    def get(self, path: str) -> Object | None:
        """Return the live object at `<group|core>/<resource>/<namespace|_>/<name>`."""
        entry = self.engine.cache.get(ObjectKey.parse(f"objects/{path}"))
        return entry.object if entry is not None else None

    async def create(self, path: str, obj: Object) -> Object:
        """Create an object as somebody in the member would."""
        key = ObjectKey.parse(f"objects/{path}")
        created = await self.engine.resources.create(
            self._info(key, obj["apiVersion"]), obj, namespace=key.namespace
        )
        await until(lambda: self.get(path), what=f"{path} is in the cache of {self.name}")
        return created

    async def change(
        self, path: str, change: Callable[[Object], Object | None], *, subresource: str = ""
    ) -> Object:
        """Change an object as somebody in the member would."""
        key = ObjectKey.parse(f"objects/{path}")
        found = self.get(path)
        assert found is not None
        return await self.engine.resources.modify(
            self._info(key, found["apiVersion"]),
            namespace=key.namespace,
            name=key.name,
            change=change,
            subresource=subresource,
        )

    async def delete(self, path: str) -> None:
        """Delete an object as somebody in the member would."""
        key = ObjectKey.parse(f"objects/{path}")
        found = self.get(path)
        assert found is not None
        await self.engine.resources.delete(
            self._info(key, found["apiVersion"]), namespace=key.namespace, name=key.name
        )

    def _info(self, key: ObjectKey, api_version: str) -> Any:
        group, slash, version = api_version.partition("/")
        return self.engine.catalogue.get(group if slash else "", version or group, key.resource)


class Federation:
    """The store, and what others than the syncer write into it."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.store: Store = MemoryStore()
        self.members = {member.name: member for member in members}
        self.sealer = Sealer([new_key()])
        self.events: list[Object] = []

    async def found(self) -> None:
        """Found the federation and join the members."""
        founded = FederationMessage(name="federation", id=FEDERATION_ID, short_name="hanse")
        await self.store.put(keys.FEDERATION, founded.SerializeToString())
        for member in self.members.values():
            await self.join(member)

    async def join(self, member: Member) -> None:
        """Make a cluster READY."""
        credential = ClusterCredential(server=f"http://127.0.0.1:{member.port}", token=TOKEN)
        sealed = self.sealer.seal(member.name, credential.SerializeToString())
        await self.store.put(keys.credential(member.name), sealed)
        catalogue = ApiCatalogue(
            name=f"clusters/{member.name}/apiCatalogue",
            hash="1",
            resources=[
                ApiResource(
                    group=info.group,
                    version=info.version,
                    resource=info.plural,
                    kind=info.kind,
                    namespaced=info.namespaced,
                    verbs=info.verbs,
                    preferred=True,
                )
                for info in member.engine.catalogue
            ],
        )
        await self.store.put(keys.catalogue(member.name), catalogue.SerializeToString())
        await self.set_cluster(member.name)

    async def set_cluster(self, name: str, **fields: Any) -> None:
        """Write the compiled view of a cluster."""
        cluster = Cluster(name=f"clusters/{name}", **{"state": READY, **fields})
        await self.store.put(keys.cluster(name), cluster.SerializeToString())

    async def put(self, path: str, obj: Object) -> Object:
        """Store an intent as the apiserver would: uid, generation and finalizer are there."""
        metadata = obj.setdefault("metadata", {})
        key = ObjectKey.parse(f"objects/{path}")
        metadata.setdefault("name", key.name)
        if key.namespace:
            metadata.setdefault("namespace", key.namespace)
        before = await self.store.get(key.key())
        known = orjson.loads(before.value)["metadata"]["uid"] if before is not None else str(uuid.uuid4())
        metadata.setdefault("uid", known)
        metadata.setdefault("generation", 1)
        metadata.setdefault("finalizers", ["hanse.dev/sync"])
        await self.store.put(key.key(), orjson.dumps(obj))
        return obj

    async def place(
        self,
        path: str,
        *clusters: str | ClusterPlacement,
        releasing: Sequence[str] = (),
        **fields: Any,
    ) -> None:
        """Write a placement as the scheduler would."""
        key = ObjectKey.parse(f"objects/{path}")
        intent = await self.store.get(key.key())
        metadata = orjson.loads(intent.value)["metadata"] if intent is not None else {}
        placement = Placement(
            name=f"placements/{path}",
            object=ObjectReference(
                group=key.group,
                resource=key.resource,
                namespace=key.namespace,
                name=key.name,
                uid=metadata.get("uid", ""),
            ),
            generation=metadata.get("generation", 0),
            clusters=[
                entry if isinstance(entry, ClusterPlacement) else ClusterPlacement(cluster=entry)
                for entry in clusters
            ],
            releasing=[ClusterRelease(cluster=name) for name in releasing],
            **fields,
        )
        await self.store.put(key.key("placements"), placement.SerializeToString())

    async def spread(self, paths: Sequence[str]) -> None:
        """Place a ConfigMap at each path in all members."""
        for path in paths:
            await self.put(path, config_map())
            await self.place(path, *self.members)

    async def arrived(self, paths: Sequence[str], *clusters: str) -> None:
        """Wait until each is applied in each of the clusters."""
        for path in paths:
            for name in clusters:
                await self.reaches(path, name, APPLIED, seconds=20)

    async def unplace(self, path: str) -> None:
        """Delete a placement."""
        await self.store.delete(f"placements/{path}")

    async def forget(self, path: str) -> None:
        """Delete an intent."""
        await self.store.delete(f"objects/{path}")

    async def mark_deleted(self, path: str, *, orphan: bool = False) -> None:
        """Give an intent a deletionTimestamp."""
        found = await self.store.get(f"objects/{path}")
        assert found is not None
        obj = orjson.loads(found.value)
        obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        if orphan:
            obj["metadata"]["finalizers"].append("orphan")
        await self.store.put(f"objects/{path}", orjson.dumps(obj))

    async def state(self, path: str, cluster: str) -> SyncState | None:
        """Return a sync state as stored."""
        found = await self.store.get(f"syncstates/{path}/{cluster}")
        return SyncState.FromString(found.value) if found is not None else None

    async def reaches(
        self, path: str, cluster: str, phase: SyncPhase.ValueType, *, seconds: float = 10.0
    ) -> SyncState:
        """Wait until a sync state is in `phase`, and return it."""

        async def probe() -> bool:
            state = await self.state(path, cluster)
            return state is not None and state.phase == phase

        await until(probe, what=f"{path} in {cluster} is {SyncPhase.Name(phase)}", seconds=seconds)
        state = await self.state(path, cluster)
        assert state is not None
        return state

    @asynccontextmanager
    async def syncer(
        self, identity: str = "one", *, timeout: float = 5.0, orphan_interval: float = 300.0
    ) -> AsyncIterator[Sharing]:
        """Run a syncer; leaving stops it in order."""
        async with AsyncExitStack() as stack:
            state = await stack.enter_async_context(FederationState(self.store))
            group = await stack.enter_async_context(asyncio.TaskGroup())
            events = EventRecorder(
                self._record, component="hanse-syncer", host=identity, quiet=60.0, per_second=1000
            )
            background = group.create_task(events.run())
            dependencies = SyncerDependencies(
                store=self.store,
                writer=BatchWriter(self.store, spacing=0.0),
                federation=state,
                sealer=self.sealer,
                federation_id=await state.federation_id(),
                renderer=ManifestRenderer(FEDERATION_ID),
                loader=SyncStateLoader(self.store),
                events=events,
                metrics=SyncerMetrics(NoOpMeter("test")),
                request_seconds=timeout,
                report_window=0.05,
                pauses=Backoff(base=0.2, limit=1.0),
                orphan_interval=orphan_interval,
                orphan_settle=0.1,
            )
            sharing = Sharing(dependencies, identity=identity, lease_seconds=2)
            stop = asyncio.Event()
            running = group.create_task(sharing.run(stop))
            try:
                yield sharing
            finally:
                stop.set()
                background.cancel()
                if running.cancelling() == 0:
                    await asyncio.wait([running], timeout=15)

    async def _record(self, encoded: bytes) -> None:
        self.events.append(orjson.loads(encoded))


@asynccontextmanager
async def federation(*names: str) -> AsyncIterator[Federation]:
    """A founded federation with members of these names."""
    async with AsyncExitStack() as stack:
        members = [await stack.enter_async_context(Member(name)) for name in names]
        fed = Federation(members)
        await fed.found()
        try:
            yield fed
        finally:
            await fed.store.close()


def config_map(data: str = "1", **metadata: Any) -> Object:
    """Return a ConfigMap without name."""
    return objects.config_map(data={"value": data}, **metadata)


def deployment(replicas: int = 2, **metadata: Any) -> Object:
    """Return a Deployment without name."""
    nginx = objects.container(image="nginx")
    return objects.deployment("", app="web", replicas=replicas, containers=(nginx,), metadata=metadata)
