"""Runs the syncer service: only wires."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from hanse.api.federation.v1.federation_service_pb2 import CreateObjectRequest
from hanse.api.federation.v1.federation_service_pb2_grpc import FederationServiceStub
from hanse.api.syncer.v1.syncer_service_pb2_grpc import add_SyncerServiceServicer_to_server
from hanse.rpc import RpcChannel, RpcServer
from hanse.security.credentials import Sealer
from hanse.security.revocation import DenyList
from hanse.security.rings import CREDENTIALS, SECRETS, RingKeeper, observe_rings
from hanse.security.sealing import ObjectSealer
from hanse.service.runtime import Runtime, run
from hanse.store import BatchWriter, EtcdStore
from hanse.store.sealed import SealedStore
from hanse.well_known import FIELD_MANAGER
from hanse_syncer.cluster.controller import ClusterController
from hanse_syncer.cluster.dependencies import SyncerDependencies
from hanse_syncer.decide.render import Renderer
from hanse_syncer.federation.state import FederationState
from hanse_syncer.orphans.janitor import Janitor
from hanse_syncer.report.events import EventSink
from hanse_syncer.report.metrics import SyncerMetrics
from hanse_syncer.report.state_table import SyncStateLoader
from hanse_syncer.service import POLICY, SyncerServicer
from hanse_syncer.settings import SyncerSettings
from hanse_syncer.sharing import Sharing


async def serve(runtime: Runtime[SyncerSettings]) -> None:
    """Sync until told to stop."""
    settings = runtime.settings
    identity = settings.identity or f"{socket.gethostname()}-{os.getpid()}"
    rings = {
        name: RingKeeper(
            name,
            key_file=getattr(settings, f"{name}_key_file"),
            kms_socket=getattr(settings, f"{name}_kms_socket"),
            tell=partial(runtime.health.warn, f"{name} keys"),
        )
        for name in (CREDENTIALS, SECRETS)
    }
    sealer = Sealer(rings[CREDENTIALS].ring)
    store = await EtcdStore.connect(
        settings.etcd_endpoints, prefix=settings.etcd_prefix, tls=settings.etcd_tls
    )
    runtime.follow_fullness(store)
    channel = (
        RpcChannel(
            settings.apiserver_endpoint,
            tls=settings.tls,
            server_name=settings.apiserver_name,
            telemetry=runtime.telemetry,
        )
        if settings.apiserver_endpoint
        else None
    )
    events = EventSink(_sender(channel) if channel is not None else None, identity=identity)
    try:
        opened = SealedStore(store, ObjectSealer(rings[SECRETS].ring))
        for ring in rings.values():
            await ring.prepare()
        async with FederationState(opened) as federation:
            renderer = Renderer()
            controllers: dict[str, ClusterController] = {}
            rings[SECRETS].follow_use(opened.in_use, lambda: len(opened.unreadable))
            rings[CREDENTIALS].follow_use(
                federation.keys_in_use, lambda: federation.unreadable_credentials(sealer)
            )
            sealer.ring.subscribe(lambda: _look_again(controllers))
            observe_rings(runtime.telemetry.meter, *rings.values())
            for ring in rings.values():
                runtime.tasks.create_task(ring.run(), name=f"{ring.name} keys")
            instruments = SyncerMetrics(runtime.telemetry.meter, controllers)
            janitor = Janitor(store, federation, identity=identity, lease_seconds=settings.lease_seconds)
            server = RpcServer(
                listen=settings.listen,
                tls=settings.tls,
                policy=POLICY if settings.tls is not None else POLICY.allow_all(),
                telemetry=runtime.telemetry,
                health=runtime.health,
                deny_list=DenyList(settings.deny_list_file, authorities=[settings.tls_ca]),
            )
            servicer = SyncerServicer(
                store=store,
                federation=federation,
                renderer=renderer,
                sealer=sealer,
                controllers=controllers,
                timeout=settings.member_timeout,
            )
            server.add(add_SyncerServiceServicer_to_server, servicer)
            async with server, asyncio.TaskGroup() as group:
                background = [group.create_task(events.run()), group.create_task(janitor.run())]
                runtime.tasks.create_task(federation.follower.failed(), name="follower")
                runtime.ready({"grpc": server.address})
                renderer.federation_id = await _founded(runtime, federation)
                if renderer.federation_id:
                    dependencies = SyncerDependencies(
                        store=store,
                        writer=BatchWriter(store, max_in_flight=4, spacing=0.0),
                        federation=federation,
                        sealer=sealer,
                        federation_id=renderer.federation_id,
                        renderer=renderer,
                        loader=SyncStateLoader(store),
                        events=events,
                        metrics=instruments,
                        tracer=runtime.telemetry.tracer if runtime.telemetry.recording else None,
                        concurrency=settings.member_concurrency,
                        request_seconds=settings.member_timeout,
                        report_window=settings.report_window,
                        orphan_interval=settings.orphan_interval,
                    )
                    sharing = Sharing(
                        dependencies,
                        identity=identity,
                        lease_seconds=settings.lease_seconds,
                        controllers=controllers,
                    )
                    await sharing.run(runtime.stopping)
                for task in background:
                    task.cancel()
    finally:
        if channel is not None:
            await channel.close()
        await store.close()


def _look_again(controllers: Mapping[str, ClusterController]) -> None:
    """A credential that could not be opened may be opened now."""
    for controller in controllers.values():
        controller.cluster_changed()


async def _founded(runtime: Runtime[SyncerSettings], federation: FederationState) -> str:
    """Wait for the federation to be founded and return its id; empty if told to stop before."""
    founded = asyncio.create_task(federation.federation_id())
    stopping = asyncio.create_task(runtime.stopping.wait())
    try:
        await asyncio.wait([founded, stopping], return_when=asyncio.FIRST_COMPLETED)
        return founded.result() if founded.done() else ""
    finally:
        founded.cancel()
        stopping.cancel()


def _sender(channel: RpcChannel) -> Callable[[bytes], Awaitable[object]]:
    stub = FederationServiceStub(channel)

    async def send(encoded: bytes) -> object:
        return await stub.CreateObject(CreateObjectRequest(manifest=encoded, field_manager=FIELD_MANAGER))

    return send


if __name__ == "__main__":
    sys.exit(run("syncer", SyncerSettings, serve))
