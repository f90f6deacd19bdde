"""The apiserver put together: one engine, REST and gRPC in front of it, the finalizer behind it.

`serve(shell)` is the whole life of the process: connect, found, load, serve, drain. `Apiserver` is the same
without a process, for tests: an async context manager over any store.

Everything runs in one event loop. Next: `hanse_apiserver.views.view` for what is served,
`hanse_apiserver.finalize` for how things end, `hanse.kube.server.app` for HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hanse.api.federation.v1.federation_pb2 import Federation
from hanse.api.federation.v1.federation_service_pb2_grpc import add_FederationServiceServicer_to_server
from hanse.api.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from hanse.api.syncer.v1.syncer_service_pb2_grpc import SyncerServiceStub
from hanse.control import Controller, WorkQueue
from hanse.errors import ConfigError, UnavailableError
from hanse.federation.policies.member_admission import mode_of
from hanse.federation.strategies import federation_kinds
from hanse.flow import Flow
from hanse.kube.engine.engine import KubeEngine
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.model.times import utc_now
from hanse.kube.server.app import KubeServer, ServerOptions
from hanse.kube.server.auth import (
    Authenticator,
    CertificateAuthenticator,
    Credentials,
    UnionAuthenticator,
)
from hanse.kube.server.connections import ConnectionLimits
from hanse.process.health import Health
from hanse.process.settings import RELOAD_SECONDS, TlsFiles, split_address
from hanse.process.telemetry import Telemetry, get_logger
from hanse.rpc.server import RpcServer
from hanse.security.auth import ADMINS
from hanse.security.revocation import DenyList
from hanse.security.rings import SECRETS, RingKeeper, observe_rings
from hanse.security.sealing import ObjectSealer, kinds_to_seal
from hanse.service.shell import ServiceShell, end, process_identity
from hanse.store import Store
from hanse.store.admin.maintenance import EtcdMaintenance, Maintenance
from hanse.store.admin.upkeep import Upkeep
from hanse.store.batch import BatchWriter
from hanse.store.sealed import SealedStore
from hanse_apiserver import founding
from hanse_apiserver.access import FederationAuthorizer, TokenFileAuthenticator
from hanse_apiserver.admission import HIDDEN, FederationAdmission
from hanse_apiserver.bootstrap.keeper import BootstrapKeeper
from hanse_apiserver.finalize import SyncFinalizer
from hanse_apiserver.impact_admission import ImpactAdmission
from hanse_apiserver.leaving import FederatedEnds
from hanse_apiserver.member_admission import MemberAdmission, MemberAdmissionOptions
from hanse_apiserver.policy_admission import PolicyAdmission
from hanse_apiserver.resealing import keep_sealed
from hanse_apiserver.rpc import service as federation_service
from hanse_apiserver.rpc.service import FederationService
from hanse_apiserver.settings import ApiserverSettings
from hanse_apiserver.tombstones import TombstoneCollector
from hanse_apiserver.views.view import FederationView

CreateTask = Callable[..., asyncio.Task[Any]]
"""Starts a coroutine, given its `name`."""
_CHECK_SECONDS = 5.0
_log = get_logger(__name__)


class Apiserver:
    """One apiserver over a store. `https` and `grpc` are where it serves once it has started; `finalizing`
    has the objects whose end is being looked at."""

    def __init__(
        self,
        store: Store,
        settings: ApiserverSettings,
        *,
        telemetry: Telemetry | None = None,
        health: Health | None = None,
        maintenance: Maintenance | None = None,
        scheduler: SchedulerServiceStub | None = None,
        syncer: SyncerServiceStub | None = None,
        create_task: CreateTask = asyncio.create_task,
        bootstrap: bool = True,
    ) -> None:
        """Prepare; nothing is read or written before it is entered. `maintenance` is that of the store, which
        is looked after by nobody here without it. `scheduler` says what changes would take away from what
        runs; without it they are not asked about. `syncer` asks members whether they would take an object;
        without one, or without a scheduler, no member is asked. `create_task` is that of a task group, so
        that an error in the background is told. `bootstrap` makes what every cluster has from its first
        second.
        """
        self._bootstrap = bootstrap
        self._create_task = create_task
        self._keys = RingKeeper(
            SECRETS,
            key_file=settings.secrets_key_file,
            kms_socket=settings.secrets_kms_socket,
            tell=lambda message: health.warn("secrets keys", message) if health is not None else None,
        )
        sealer = ObjectSealer(self._keys.ring, kinds=kinds_to_seal(settings.sealed_kinds))
        self._plain_store = store
        self._store = store = SealedStore(store, sealer)
        self._keys.follow_use(self._store.in_use, lambda: len(self._store.unreadable))
        if telemetry is not None:
            observe_rings(telemetry.meter, self._keys)
        self._settings = settings
        self._telemetry = telemetry
        self._health = health
        # One for REST and gRPC: a user's bounds hold for both together.
        self._flow = Flow(settings.flow, groups=(*settings.admin_groups, *settings.viewer_groups, ADMINS))
        self.upkeep = self._upkeep(maintenance) if maintenance is not None else None
        catalogue = Catalogue(federation_kinds())
        self.view = FederationView(catalogue)
        self._ends = FederatedEnds(self.view, clock=utc_now, sealed=kinds_to_seal(settings.sealed_kinds))
        self.engine = KubeEngine(
            store,
            catalogue=catalogue,
            view=self.view,
            admission=[
                FederationAdmission(node_ports=settings.node_ports()),
                PolicyAdmission(self.view.unresolved),
                ImpactAdmission(
                    scheduler.PreviewPolicy if scheduler is not None else None,
                    limits=settings.impact_limits,
                    is_placed=self.view.is_placed,
                ),
            ],
            validating=lambda cache: [
                MemberAdmission(
                    cache,
                    preview=scheduler.PreviewPlacement if scheduler is not None else None,
                    dry_run=syncer.DryRunObject if syncer is not None else None,
                    options=_member_admission(settings),
                )
            ],
            hidden_annotations=HIDDEN,
            shared=settings.shared,
            event_ttl=settings.event_ttl,
            room=self.upkeep,
            ends=self._ends,
        )
        self._deny_list = DenyList(settings.deny_list_file, authorities=[settings.tls_ca, settings.client_ca])
        self.finalizing = WorkQueue("finalize")
        self.collecting = WorkQueue("tombstones")
        self.bootstrapping = WorkQueue("bootstrap")
        self.federation = Federation()
        self.https = ""
        self.grpc = ""
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Found the federation if need be, load everything, and serve."""
        settings = self._settings
        async with contextlib.AsyncExitStack() as stack:
            self.federation = await founding.found(
                self._store,
                short_name=settings.federation_name,
                dns_suffix=settings.dns_suffix,
                expected=settings.federation_id,
                clock=self.engine.clock,
            )
            if self.upkeep is not None:
                looking = self._create_task(self.upkeep.run(), name="upkeep of etcd")
                stack.push_async_callback(end, looking)
            await self._keys.prepare()
            following = self._create_task(self._keys.run(), name="secrets keys")
            stack.push_async_callback(end, following)
            await stack.enter_async_context(self.engine)
            sealing = keep_sealed(self._store, self._plain_store, identity=process_identity())
            stack.push_async_callback(end, self._create_task(sealing, name="sealing"))
            await self._start_finalizer(stack)
            authorizer = FederationAuthorizer(
                admin_groups=settings.admin_groups, viewer_groups=settings.viewer_groups
            )
            await self._serve_rest(stack, authorizer)
            if self._bootstrap:
                await self._start_keeper(stack)
            await self._serve_grpc(stack, authorizer)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving, then everything else."""
        await self._stack.aclose()

    def _upkeep(self, maintenance: Maintenance) -> Upkeep:
        settings, health = self._settings, self._health
        return Upkeep(
            maintenance,
            revision=self._store.revision,
            quota=settings.etcd_quota_bytes,
            compact_seconds=settings.etcd_compact_seconds,
            give_up=self._give_up,
            tell=lambda message: health.warn("store", message) if health is not None else None,
            meter=self._telemetry.meter if self._telemetry is not None else None,
        )

    async def _give_up(self) -> int:
        return await self.engine.events.give_up()

    async def _start_finalizer(self, stack: contextlib.AsyncExitStack) -> None:
        writer = BatchWriter(self._store)
        stack.push_async_callback(writer.close)
        queue = self.finalizing
        cache, view, workers = self.engine.cache, self.view, self._settings.finalize_workers
        finalizer = SyncFinalizer(cache=cache, view=view, ends=self._ends, writer=writer, queue=queue)
        controller = Controller("finalize", finalizer, queue, workers=workers)
        task = self._create_task(controller.run(), name="finalize")
        stack.push_async_callback(end, task)
        finalizer.start()
        collector = TombstoneCollector(cache=cache, view=view, writer=writer, queue=self.collecting)
        controller = Controller("tombstones", collector, self.collecting, workers=workers)
        stack.push_async_callback(end, self._create_task(controller.run(), name="tombstones"))
        collector.start()

    async def _start_keeper(self, stack: contextlib.AsyncExitStack) -> None:
        queue = self.bootstrapping
        keeper = BootstrapKeeper(
            self.engine, queue=queue, authorities=self._authorities, port=split_address(self.https)[1]
        )
        controller = Controller("bootstrap", keeper, queue)
        keeper.start()
        for name, work in (("bootstrap", controller.run()), ("authorities", keeper.follow())):
            stack.push_async_callback(end, self._create_task(work, name=name))

    def _authorities(self) -> str:
        """Return the PEM of who signs the certificate of the REST API; "" without TLS."""
        ca = self._settings.tls_ca  # between certificates there may be names in any language
        return Path(ca).read_text("utf-8", errors="replace") if ca else ""

    async def _serve_rest(self, stack: contextlib.AsyncExitStack, authorizer: FederationAuthorizer) -> None:
        settings = self._settings
        authenticators: list[Authenticator] = [CertificateAuthenticator(deny_list=self._deny_list)]
        tokens = TokenFileAuthenticator(Path(settings.token_file)) if settings.token_file else None
        if tokens is not None:
            authenticators.append(tokens)
        tls = RestTls(_files(settings)) if settings.tls is not None else None
        server = KubeServer(
            self.engine,
            authenticator=UnionAuthenticator(*authenticators),
            authorizer=authorizer,
            options=ServerOptions(
                listen=settings.https_listen,
                tls=tls.context if tls is not None else None,
                advertise=settings.advertise_address,
                connections=ConnectionLimits(
                    connections=settings.max_connections,
                    connections_per_address=settings.max_connections_per_address,
                ),
            ),
            checks={"etcd": self._check_store},
            flow=self._flow,
        )
        await stack.enter_async_context(server)
        for name, work in (
            ("deny-list", self._deny_list.follow(lambda: server.disconnect(self._is_denied))),
            ("tokens", _disconnect_tokens(server, tokens)),
            ("certificates", _renew(tls)),
        ):
            stack.push_async_callback(end, self._create_task(work, name=name))
        self.https = settings.advertise_address or server.address
        scheme = "https" if settings.tls else "http"
        self.federation.server = f"{scheme}://{self.https}"

    async def _serve_grpc(self, stack: contextlib.AsyncExitStack, authorizer: FederationAuthorizer) -> None:
        settings = self._settings
        server = RpcServer(
            listen=settings.listen,
            tls=settings.tls,
            policy=federation_service.policy(
                admin_groups=settings.admin_groups, viewer_groups=settings.viewer_groups
            ),
            telemetry=self._telemetry,
            health=self._health,
            flow=self._flow,
            deny_list=self._deny_list,
        )
        service = FederationService(self.engine, authorizer=authorizer, federation=self.federation)
        server.add(add_FederationServiceServicer_to_server, service)
        await stack.enter_async_context(server)
        self.grpc = server.address

    def _is_denied(self, credentials: Credentials) -> bool:
        return credentials.certificate is not None and self._deny_list.denies(credentials.certificate)

    async def _check_store(self) -> None:
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await self._store.revision()
        except TimeoutError:
            raise UnavailableError(f"etcd did not answer within {_CHECK_SECONDS:g} s") from None


class RestTls:
    """TLS of the REST API: client certificates are verified, and may be absent.

    A context trusts for ever what it was once given. So a new one is made when the files change, and each new
    connection is moved to it when its handshake begins.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Raise ConfigError for files that cannot be used."""
        self.files = files
        self.context = self._current = self._made()
        """What the server listens with."""
        self.context.sni_callback = self._moved

    def renew(self) -> None:
        """Use the files as they are now for new connections. Raises ConfigError."""
        self.files.read()
        self._current = self._made()

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.files.load(context)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _moved(self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: object) -> None:
        """OpenSSL calls this for each handshake, with a name or without."""
        connection.context = self._current


def _member_admission(settings: ApiserverSettings) -> MemberAdmissionOptions:
    return MemberAdmissionOptions(
        federation=mode_of(settings.member_admission),
        seconds=settings.member_admission_timeout,
        sealed=frozenset(kinds_to_seal(settings.sealed_kinds)),
    )


def _files(settings: ApiserverSettings) -> TlsFiles:
    """Return the files of the REST API."""
    return TlsFiles(
        ca=Path(settings.client_ca or settings.tls_ca),
        cert=Path(settings.https_cert or settings.tls_cert),
        key=Path(settings.https_key or settings.tls_key),
    )


async def _disconnect_tokens(server: KubeServer, tokens: TokenFileAuthenticator | None) -> None:
    """Cut off what is open by tokens that are gone from the token file, or are somebody else's there."""
    if tokens is not None:
        await tokens.tokens.follow(
            lambda gone: server.disconnect(lambda found: found.token is not None and gone(found.token))
        )


async def _renew(tls: RestTls | None) -> None:
    """Use renewed certificates for new connections, from soon after the files have changed."""
    if tls is None:
        return
    stamp = tls.files.stamp()
    while True:
        await asyncio.sleep(RELOAD_SECONDS)
        try:
            if (now := tls.files.stamp()) != stamp:
                tls.renew()
                stamp = now
                _log.info("the certificate of the REST API was renewed", file=str(tls.files.cert))
        except (OSError, ConfigError) as error:  # being replaced: the last good one still serves
            _log.debug("the renewed certificate cannot be used yet", error=str(error))


async def serve(shell: ServiceShell[ApiserverSettings]) -> None:
    """Run the apiserver until the process is told to stop."""
    settings = shell.settings
    # Objects in the cache live long and have no cycles: collect seldom, or collections walk all of them.
    gc.set_threshold(50_000, 20, 50)
    store = await shell.connect_store()
    maintenance = await EtcdMaintenance.connect(settings.etcd_endpoints, tls=settings.etcd_maintenance_tls)
    shell.at_end(maintenance.close)
    channel, syncers = await shell.peer("scheduler"), await shell.peer("syncer")
    apiserver = await shell.enter(
        Apiserver(
            store,
            settings,
            telemetry=shell.telemetry,
            health=shell.health,
            maintenance=maintenance,
            scheduler=SchedulerServiceStub(channel) if channel is not None else None,
            syncer=SyncerServiceStub(syncers) if syncers is not None else None,
            create_task=shell.create_task,
        )
    )
    shell.start(apiserver.engine.failed(), name="engine")
    await shell.until_stopped({"grpc": apiserver.grpc, "https": apiserver.https})
