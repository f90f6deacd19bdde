"""Runs the registry: only wires."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from hanse.api.federation.v1.federation_service_pb2_grpc import FederationServiceStub
from hanse.api.registry.v1.registry_service_pb2_grpc import add_RegistryServiceServicer_to_server
from hanse.errors import ConfigError
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.client import KubeClient
from hanse.rpc import RpcChannel, RpcServer
from hanse.security.credentials import Sealer
from hanse.security.keyring import create_key_file
from hanse.security.revocation import DenyList
from hanse.security.rings import CREDENTIALS, RingKeeper, observe_rings
from hanse.service.runtime import Runtime, run
from hanse.store import EtcdStore
from hanse_registry.controller import Registrar
from hanse_registry.intent import Intent
from hanse_registry.member.probe import MemberApi
from hanse_registry.metrics import RegistryMetrics
from hanse_registry.service import POLICY, RegistryServicer
from hanse_registry.settings import RegistrySettings


@contextlib.asynccontextmanager
async def connect(access: ClusterAccess) -> AsyncIterator[MemberApi]:
    """A connection to a member."""
    async with KubeClient(access) as client:
        yield client


async def serve(runtime: Runtime[RegistrySettings]) -> None:
    """Attends to clusters until told to stop."""
    settings = runtime.settings
    if not (settings.credentials_key_file or settings.credentials_kms_socket):
        raise ConfigError("the registry needs credentials_key_file or credentials_kms_socket")
    if not settings.apiserver_endpoint:
        raise ConfigError("the registry needs apiserver_endpoint")
    if settings.credentials_key_file and not settings.credentials_kms_socket:
        create_key_file(Path(settings.credentials_key_file))
    ring = RingKeeper(
        CREDENTIALS,
        key_file=settings.credentials_key_file,
        kms_socket=settings.credentials_kms_socket,
        tell=lambda message: runtime.health.warn("credentials keys", message),
    )
    sealer = Sealer(ring.ring)
    store = await EtcdStore.connect(
        settings.etcd_endpoints, prefix=settings.etcd_prefix, tls=settings.etcd_tls
    )
    runtime.follow_fullness(store)
    async with RpcChannel(
        settings.apiserver_endpoint,
        tls=settings.tls,
        server_name=settings.apiserver_name,
        wait_for_ready=True,
        telemetry=runtime.telemetry,
    ) as channel:
        intents = Intent(FederationServiceStub(channel))
        registrar = Registrar(
            store=store,
            settings=settings,
            sealer=sealer,
            intents=intents,
            connect=connect,
            identity=f"{socket.gethostname()}-{os.getpid()}",
        )
        RegistryMetrics(runtime.telemetry.meter, registrar)
        ring.follow_use(registrar.keys_in_use, lambda: len(registrar.unreadable_credentials))
        observe_rings(runtime.telemetry.meter, ring)
        await ring.prepare()
        work = [
            runtime.tasks.create_task(registrar.follower.run()),
            runtime.tasks.create_task(ring.run(), name="credentials keys"),
        ]
        await registrar.follower.synced()
        work.append(runtime.tasks.create_task(registrar.run()))
        rpc = RpcServer(
            listen=settings.listen,
            tls=settings.tls,
            policy=POLICY,
            telemetry=runtime.telemetry,
            health=runtime.health,
            deny_list=DenyList(settings.deny_list_file, authorities=[settings.tls_ca]),
        )
        servicer = RegistryServicer(
            store=store, registrar=registrar, intents=intents, sealer=sealer, connect=connect
        )
        rpc.add(add_RegistryServiceServicer_to_server, servicer)
        async with rpc:
            runtime.ready({"grpc": rpc.address})
            await runtime.stopping.wait()
        for task in work:
            task.cancel()
        await asyncio.wait(work)  # they use the store to their end
    await store.close()


if __name__ == "__main__":
    sys.exit(run("registry", RegistrySettings, serve))
