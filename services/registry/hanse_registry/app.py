"""The registry, wired: what `python -m hanse_registry` runs.

Owns `serve`: what the registry is made of, and the order of its start. Concurrency: that of
`hanse.service.shell`. Next: `hanse_registry.controller`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from hanse.api.registry.v1.registry_service_pb2_grpc import add_RegistryServiceServicer_to_server
from hanse.errors import ConfigError
from hanse.federation.events import EventRecorder, event_sender
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.client import KubeClient
from hanse.security.credentials import Sealer
from hanse.security.keyring import create_key_file
from hanse.security.rings import CREDENTIALS
from hanse.service.shell import ServiceShell
from hanse_registry.controller import Registrar
from hanse_registry.intent import ClusterIntents
from hanse_registry.member.events import COMPONENT
from hanse_registry.member.probe import MemberApi
from hanse_registry.metrics import RegistryMetrics
from hanse_registry.service import POLICY, RegistryServicer
from hanse_registry.settings import RegistrySettings


@contextlib.asynccontextmanager
async def connect(access: ClusterAccess) -> AsyncIterator[MemberApi]:
    """Provide a connection to a member."""
    async with KubeClient(access) as client:
        yield client


async def serve(shell: ServiceShell[RegistrySettings]) -> None:
    """Keep the views of all clusters true until told to stop."""
    settings = shell.settings
    if not (settings.credentials_key_file or settings.credentials_kms_socket):
        raise ConfigError("the registry needs credentials_key_file or credentials_kms_socket")
    if settings.credentials_key_file and not settings.credentials_kms_socket:
        create_key_file(Path(settings.credentials_key_file))
    ring = shell.key_ring(CREDENTIALS)
    sealer = Sealer(ring.ring)
    store = await shell.connect_store()
    intents = ClusterIntents(await shell.apiserver(wait_for_ready=True))
    recorder = EventRecorder(event_sender(await shell.apiserver(), component=COMPONENT), component=COMPONENT)
    shell.start(recorder.run(), name="events")
    registrar = Registrar(
        store=store,
        settings=settings,
        sealer=sealer,
        intents=intents,
        connect=connect,
        identity=shell.identity,
        recorder=recorder,
    )
    RegistryMetrics(shell.telemetry.meter, registrar)
    ring.follow_use(registrar.keys_in_use, lambda: len(registrar.unreadable_credentials))
    await ring.prepare()
    shell.start(registrar.follower.run(), name="registry state")
    shell.follow_key_rings(ring)
    await registrar.follower.synced()
    shell.start(registrar.run(), name="registry")
    servicer = RegistryServicer(
        store=store, registrar=registrar, intents=intents, sealer=sealer, connect=connect
    )
    server = await shell.serve(add_RegistryServiceServicer_to_server, servicer, policy=POLICY)
    await shell.until_stopped({"grpc": server.address})
