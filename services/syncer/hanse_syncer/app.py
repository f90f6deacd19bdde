"""The syncer, wired: what `python -m hanse_syncer` runs.

Owns `serve`: what the syncer is made of, and the order of its start. It serves before it knows the id of the
federation, and syncs once it does. Concurrency: that of `hanse.service.shell`. Next: `hanse_syncer.sharing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hanse.api.syncer.v1.syncer_service_pb2_grpc import add_SyncerServiceServicer_to_server
from hanse.federation.events import EventRecorder, event_sender
from hanse.security.credentials import Sealer
from hanse.security.rings import CREDENTIALS, SECRETS
from hanse.security.sealing import ObjectSealer
from hanse.service.shell import ServiceShell
from hanse.store import BatchWriter
from hanse.store.sealed import SealedStore
from hanse_syncer.cluster.controller import ClusterController
from hanse_syncer.cluster.dependencies import SyncerDependencies
from hanse_syncer.decide.render import ManifestRenderer
from hanse_syncer.federation.state import FederationState
from hanse_syncer.orphans.departed import DepartedClusterCollector
from hanse_syncer.report.metrics import SyncerMetrics
from hanse_syncer.report.state_loader import SyncStateLoader
from hanse_syncer.service import POLICY, SyncerServicer
from hanse_syncer.settings import SyncerSettings
from hanse_syncer.sharing import Sharing

COMPONENT: Final = "hanse-syncer"
QUIET_SECONDS: Final = 60.0
"""The same of one object in one cluster is recorded as an Event once in so many seconds."""


async def serve(shell: ServiceShell[SyncerSettings]) -> None:
    """Sync until told to stop."""
    settings = shell.settings
    identity = settings.identity or shell.identity
    credentials, secrets = shell.key_ring(CREDENTIALS), shell.key_ring(SECRETS)
    sealer = Sealer(credentials.ring)
    store = await shell.connect_store()
    send = None
    if settings.apiserver_endpoint:
        send = event_sender(await shell.apiserver(), component=COMPONENT)
    events = EventRecorder(send, component=COMPONENT, host=identity, quiet=QUIET_SECONDS)
    opened = SealedStore(store, ObjectSealer(secrets.ring))
    for ring in (credentials, secrets):
        await ring.prepare()
    federation = await shell.enter(FederationState(opened))
    renderer = ManifestRenderer()
    controllers: dict[str, ClusterController] = {}
    secrets.follow_use(opened.in_use, lambda: len(opened.unreadable))
    credentials.follow_use(federation.keys_in_use, lambda: federation.unreadable_credentials(sealer))
    sealer.ring.subscribe(lambda: _look_again(controllers))
    shell.follow_key_rings(credentials, secrets)
    servicer = SyncerServicer(
        store=store,
        federation=federation,
        renderer=renderer,
        sealer=sealer,
        controllers=controllers,
        timeout=settings.member_timeout,
    )
    server = await shell.serve(add_SyncerServiceServicer_to_server, servicer, policy=POLICY)
    collector = DepartedClusterCollector(
        store, federation, identity=identity, lease_seconds=settings.lease_seconds
    )
    metrics = SyncerMetrics(shell.telemetry.meter, controllers)
    shell.start(events.run(), name="events")
    shell.start(collector.run(), name="collector")
    shell.start(federation.follower.failed(), name="follower")
    shell.ready({"grpc": server.address})
    federation_id = await shell.unless_stopped(federation.federation_id())
    if federation_id is None:
        return
    renderer.federation_id = federation_id
    dependencies = SyncerDependencies(
        store=store,
        writer=BatchWriter(store, max_in_flight=4, spacing=0.0),
        federation=federation,
        sealer=sealer,
        federation_id=federation_id,
        renderer=renderer,
        loader=SyncStateLoader(store),
        events=events,
        metrics=metrics,
        tracer=shell.telemetry.tracer if shell.telemetry.recording else None,
        concurrency=settings.member_concurrency,
        request_seconds=settings.member_timeout,
        report_window=settings.report_window,
        orphan_interval=settings.orphan_interval,
    )
    sharing = Sharing(
        dependencies, identity=identity, lease_seconds=settings.lease_seconds, controllers=controllers
    )
    await sharing.run(shell.stopping)


def _look_again(controllers: Mapping[str, ClusterController]) -> None:
    """Look again at credentials that could not be opened."""
    for controller in controllers.values():
        controller.cluster_changed()
