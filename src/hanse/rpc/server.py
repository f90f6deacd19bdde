"""The one server builder: mutual TLS, health, reflection, policy, tracing, metrics, graceful stop.

Owns `RpcServer`. Use:

    server = RpcServer(listen=settings.listen, tls=settings.tls, policy=POLICY, telemetry=..., health=...)
    server.add(add_RegistryServiceServicer_to_server, Registry(...))
    async with server:
        runtime.ready({"grpc": server.address})
        await runtime.stopping.wait()

Clients must show a certificate of the same authority; renewed files are picked up by new connections.
gRPC health follows `Health` for "" and every service. A stop says NOT_SERVING, ends server streams with
UNAVAILABLE and waits up to `grace` for the other calls.

Concurrency: one loop; gRPC makes a task per call.

Next: `hanse.rpc.interceptor` for what a call goes through.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from hanse.background import OwnedTasks
from hanse.errors import ConfigError
from hanse.flow import Flow, FlowLimits
from hanse.process.health import Health
from hanse.process.settings import TlsFiles, split_address
from hanse.process.telemetry import Telemetry
from hanse.rpc.interceptor import BODY_SECONDS, STALL_SECONDS, Handler, Pipeline
from hanse.rpc.policy import AUTHENTICATED, Policy
from hanse.rpc.reflection import add_reflection
from hanse.security.auth import Identity
from hanse.security.revocation import DenyList

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Of a response. A page of a list may have objects of several MiB."""
MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""Of a request: an object as large as over REST, and what goes with it."""

_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),  # a port that is taken must be an error
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.bdp_probe", 0),  # else a request of MiB is taken in before anybody has read of it
    ("grpc.server_handshake_timeout_ms", 10_000),  # TLS and HTTP/2 must be agreed on by then
    ("grpc.max_connection_idle_ms", 600_000),  # of connections without a call
    ("grpc.max_concurrent_streams", 2000),  # of one connection; `Flow` has the bounds of users
)
_INFRASTRUCTURE = FlowLimits(
    requests=64, requests_per_user=8, queued=256, queued_per_user=32, watches=1000, watches_per_user=64
)
"""Of health and reflection. Health is for everybody with a certificate, so that one has little of it."""
_STATUS = health_pb2.HealthCheckResponse


class RpcServer:
    """A gRPC server with everything that a service of Hanse needs. An async context manager."""

    def __init__(
        self,
        *,
        listen: str,
        tls: TlsFiles | None,
        policy: Policy,
        telemetry: Telemetry | None = None,
        health: Health | None = None,
        deny_list: DenyList | None = None,
        grace: float = 5.0,
        flow: Flow | None = None,
        stall_seconds: float = STALL_SECONDS,
        body_seconds: float = BODY_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`listen` is host:port, port 0 for a free one; `grace` is in seconds. `flow` bounds what is worked
        at at once; a stream that is not read for `stall_seconds` ends, and so does a call whose request is
        not there after `body_seconds`.
        A certificate of `deny_list` may call nothing, and what it has open ends; nor may one that has ended
        by `clock`, in seconds since the epoch.

        Without `tls` nobody is authenticated, so only `Policy.allow_all()` lets anyone call.
        """
        self._host, self._port = split_address(listen, setting="listen")
        self._tls = tls
        self._policy = policy
        self._health = health or _always_ready()
        self._grace = grace
        self._deny_list = deny_list or DenyList()
        self._pipeline = Pipeline(
            policy=policy,
            telemetry=telemetry,
            flow=flow,
            clock=clock,
            deny_list=self._deny_list,
            stall_seconds=stall_seconds,
            body_seconds=body_seconds,
        )
        infrastructure = Policy.allow_all() if tls is None else _Infrastructure(policy)
        self._infrastructure = Pipeline(
            policy=infrastructure,
            telemetry=telemetry,
            flow=Flow(_INFRASTRUCTURE),
            deny_list=self._deny_list,
            body_seconds=body_seconds,
        )
        self._services: dict[str, Mapping[str, Handler]] = {}
        self._server: grpc.aio.Server | None = None
        self._health_servicer: health_pb2_grpc.HealthServicer | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._updates, self._following = OwnedTasks(), OwnedTasks()

    @property
    def port(self) -> int:
        """The port, the real one once the server has started."""
        return self._port

    @property
    def address(self) -> str:
        """host:port to call."""
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    def add(self, add_to_server: Callable[[Any, Any], None], servicer: object) -> None:
        """Add a service: the generated `add_…Servicer_to_server` and an object that implements it."""
        collector = _Collector()
        add_to_server(servicer, collector)
        self._services.update(collector.services)

    async def __aenter__(self) -> Self:
        self._policy.check(
            f"{service}/{method}" for service, methods in self._services.items() for method in methods
        )
        server = grpc.aio.server(
            options=(
                *_OPTIONS,
                ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            )
        )
        for service, methods in self._services.items():
            _register(server, self._pipeline, service, methods)
        servicer: Any = health.aio.HealthServicer()
        self._health_servicer = servicer
        collector = _Collector()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, collector)  # type: ignore[arg-type]
        add_reflection(collector, (*self._services, _HEALTH))
        for service, methods in collector.services.items():
            _register(server, self._infrastructure, service, methods)
        self._port = self._bind(server)
        await self._publish_health()
        self._unsubscribe = self._health.subscribe(self._health_changed)
        await server.start()
        self._server = server
        self._following.start(self._deny_list.follow(self._end_denied), name="deny-list")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop: refuse new calls, end streams, wait up to `grace` seconds for the rest. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        self._unsubscribe()
        await self._following.close()
        await self._updates.drain()
        servicer: Any = self._health_servicer
        await servicer.enter_graceful_shutdown()
        stop = asyncio.ensure_future(server.stop(self._grace))
        await asyncio.sleep(0)  # let the server refuse new calls before streams are sent away
        self._pipeline.end_streams()
        self._infrastructure.end_streams()
        await stop

    def _bind(self, server: grpc.aio.Server) -> int:
        address = self.address
        try:
            if self._tls is None:
                return server.add_insecure_port(address)
            return server.add_secure_port(address, _credentials(self._tls))
        except RuntimeError as error:
            raise ConfigError(
                f"cannot listen on {address} (setting listen): is the port in use?",
                metadata={"setting": "listen"},
            ) from error

    def _end_denied(self) -> None:
        self._pipeline.end_denied()
        self._infrastructure.end_denied()

    def _health_changed(self, ready: bool) -> None:
        self._updates.start(self._publish_health(), name="health")

    async def _publish_health(self) -> None:
        servicer: Any = self._health_servicer
        status = _STATUS.SERVING if self._health.ready else _STATUS.NOT_SERVING
        for service in ("", *self._services):
            await servicer.set(service, status)


class _Collector:
    """Stands in for a server while generated code adds handlers, so that they can be wrapped."""

    def __init__(self) -> None:
        self.services: dict[str, Mapping[str, Handler]] = {}

    def add_generic_rpc_handlers(self, handlers: Iterable[object]) -> None:
        """Ignore these: generated code adds the same handlers again below, which are the ones to keep."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        self.services[service] = handlers


class _Infrastructure(Policy):
    """Health is for everyone who may connect at all; reflection is for those who may call something."""

    def __init__(self, policy: Policy) -> None:
        super().__init__({f"{_HEALTH}/*": [AUTHENTICATED]})
        self._policy = policy

    def authorize(self, method: str, identity: Identity | None) -> None:
        """Raise as `Policy.authorize`."""
        if not self._policy.knows(identity):
            super().authorize(method, identity)


def _register(
    server: grpc.aio.Server, pipeline: Pipeline, service: str, methods: Mapping[str, Handler]
) -> None:
    wrapped = {name: pipeline.wrap(f"{service}/{name}", handler) for name, handler in methods.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))
    server.add_registered_method_handlers(service, wrapped)


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """Return credentials that require client certificates and follow changes of the files.

    gRPC asks at each connection, and puts what it is given in the place of what it has, while other
    connections may be using that: it must get something new only when there is something new, or connections
    that come close together end the process.
    """
    stamp = tls.stamp()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal stamp
        try:
            if (now := tls.stamp()) == stamp:
                return None
            renewed = _configuration(tls)
        except (ConfigError, OSError):
            return None  # files that are being replaced: keep the last good ones
        stamp = now
        return renewed

    return grpc.dynamic_ssl_server_credentials(
        _configuration(tls),
        fetch,  # type: ignore[arg-type]  # None is what gRPC's documentation asks for
        require_client_authentication=True,
    )


def _configuration(tls: TlsFiles) -> grpc.ServerCertificateConfiguration:
    ca, cert, key = tls.read()
    return grpc.ssl_server_certificate_configuration([(key, cert)], root_certificates=ca)


def _always_ready() -> Health:
    health = Health()
    health.set("serving", True)
    return health
