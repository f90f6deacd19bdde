"""The one client channel: mutual TLS, deadlines, retries, trace propagation, and HanseError raised.

Owns `RpcChannel`, a `grpc.aio.Channel` for generated stubs. A call raises the HanseError that the server
raised, with its reason and metadata. Unary calls have a deadline by default. Calls that are idempotent
(Get…, List…, Watch…, Explain…, Preview…, or so marked in the descriptor) are retried by gRPC itself while
the server is UNAVAILABLE. Nothing connects before the first call.

Concurrency: one loop. Leaving an `async for` over a stream cancels the stream.

Next: `hanse.rpc.calls`, the calls that it returns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Any, Self, cast

import grpc
import orjson
from google.protobuf import descriptor_pb2, descriptor_pool

from hanse.errors import ConfigError
from hanse.process.reconnecting import reconnecting
from hanse.process.settings import TlsFiles
from hanse.process.telemetry import Telemetry
from hanse.rpc.calls import CallObserver, StreamStreamCall, StreamUnaryCall, UnaryStreamCall, UnaryUnaryCall

DEFAULT_TIMEOUT = 10.0
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

_IDEMPOTENT = re.compile(r"^(Get|List|Watch|Explain|Preview|Diff|Check|Search|Resolve|Query)")
_RETRY = {
    "maxAttempts": 5,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.enable_retries", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    *reconnecting(first=0.1, most=2.0),
)


class RpcChannel(grpc.aio.Channel):
    """A lazy channel to one server. An async context manager; or call `close()`."""

    def __init__(
        self,
        target: str,
        *,
        tls: TlsFiles | None,
        timeout: float | None = DEFAULT_TIMEOUT,
        wait_for_ready: bool = False,
        idempotent: Collection[str] = (),
        server_name: str = "",
        telemetry: Telemetry | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        """`target` is host:port. `timeout` (seconds) is the deadline of unary calls that give none.

        With `wait_for_ready` a call waits for the server until its deadline, instead of failing at once
        while it is down: right between services, wrong for a person at a prompt. `idempotent` names more
        methods (`package.Service/Method`) that may be retried. `server_name` is the name to expect in the
        server's certificate, if it is not the target's host.
        """
        self.target = target
        self._tls = tls
        self._timeout = timeout
        self._wait_for_ready = wait_for_ready or None
        self._idempotent = frozenset(method.removeprefix("/") for method in idempotent)
        self._server_name = server_name
        self._max_message_bytes = max_message_bytes
        self._observer = CallObserver(telemetry, peer=server_name or target)
        self._methods: dict[str, set[str]] = {}
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._retired: list[grpc.aio.Channel] = []
        self._stamp: tuple[int, ...] = ()
        self._files: tuple[bytes, ...] = ()
        """What connections are made with: authorities, certificate and key."""
        self._closed = False

    # --- what generated stubs call ---

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._callable("unary_unary", UnaryUnaryCall, method, args, kwargs)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._callable("unary_stream", UnaryStreamCall, method, args, kwargs)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._callable("stream_unary", StreamUnaryCall, method, args, kwargs)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._callable("stream_stream", StreamStreamCall, method, args, kwargs)

    # --- life ---

    async def close(self, grace: float | None = None) -> None:
        """Close; calls in flight get `grace` seconds, then they raise CancelledByPeerError."""
        self._closed = True
        channels, self._channels = [*self._channels.values(), *self._retired], {}
        self._retired = []
        for channel in channels:
            await channel.close(grace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the connection."""
        return self._channel("").get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state differs."""
        await self._channel("").wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Connect and wait for it. Give it a deadline: `async with asyncio.timeout(…)`."""
        await self._channel("").channel_ready()

    # --- inside ---

    def _callable(
        self, kind: str, wrapper: type[Any], path: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Callable[..., Any]:
        service, _, name = path.removeprefix("/").partition("/")
        self._methods.setdefault(service, set()).add(name)
        timeout = self._timeout if kind == "unary_unary" else None
        made: Any = None
        owner: grpc.aio.Channel | None = None

        def call(request: Any = None, **options: Any) -> Any:
            nonlocal made, owner
            channel = self._channel(service)
            if channel is not owner:
                made, owner = getattr(channel, kind)(path, *args, **kwargs), channel
            if options.get("timeout") is None:
                options["timeout"] = timeout
            if options.get("wait_for_ready") is None:
                options["wait_for_ready"] = self._wait_for_ready
            observation = self._observer.start(f"{service}/{name}", self.target)
            options["metadata"] = observation.metadata(options.get("metadata"))
            return wrapper(made(request, **options), observation)

        return call

    def _channel(self, service: str) -> grpc.aio.Channel:
        """Return the channel for a service: retries are configured per service, when it is first called."""
        if self._closed:
            raise grpc.aio.UsageError(f"the channel to {self.target} is closed")
        self._renew()
        if not service and self._channels:
            return next(iter(self._channels.values()))
        channel = self._channels.get(service)
        if channel is None:
            channel = self._channels[service] = self._connect(service)
        return channel

    def _renew(self) -> None:
        """After the files have changed, make calls over new connections; calls in flight end on theirs."""
        if self._tls is None:
            return
        try:
            stamp = self._tls.stamp()
            if stamp == self._stamp:
                return
            self._files = self._tls.read()
        except (OSError, ConfigError):
            if not self._files:
                self._files = self._tls.read(again=3)
            return  # being replaced: what was read before is good
        self._retired += self._channels.values()
        self._channels.clear()
        self._stamp = stamp

    def _connect(self, service: str) -> grpc.aio.Channel:
        options: list[tuple[str, Any]] = [
            *_OPTIONS,
            ("grpc.max_receive_message_length", self._max_message_bytes),
            ("grpc.max_send_message_length", self._max_message_bytes),
            ("grpc.service_config", service_config(service, self._retried(service))),
        ]
        if self._tls is None:
            return grpc.aio.insecure_channel(self.target, options=options)
        if self._server_name:
            options.append(("grpc.ssl_target_name_override", self._server_name))
        ca, cert, key = self._files
        credentials = grpc.ssl_channel_credentials(
            root_certificates=ca, private_key=key, certificate_chain=cert
        )
        return grpc.aio.secure_channel(self.target, credentials, options=options)

    def _retried(self, service: str) -> list[str]:
        names = self._methods.get(service, set()) | described_methods(service).keys()
        marked = described_methods(service)
        return sorted(
            name
            for name in names
            if f"{service}/{name}" in self._idempotent or marked.get(name) or _IDEMPOTENT.match(name)
        )


def described_methods(service: str) -> dict[str, bool]:
    """Return the methods of a service in the default pool, and whether they are marked idempotent."""
    if not service:
        return {}
    try:
        descriptor = descriptor_pool.Default().FindServiceByName(service)
    except KeyError:
        return {}
    unknown = descriptor_pb2.MethodOptions.IDEMPOTENCY_UNKNOWN
    return {
        method.name: cast(Any, method.GetOptions()).idempotency_level != unknown
        for method in descriptor.methods
    }


def service_config(service: str, retried: Sequence[str]) -> str:
    """Return gRPC's service config, JSON, that retries the named methods of a service.

    Retries stop when more than half of the calls fail (retryThrottling), so that they never keep a
    struggling server down.
    """
    config: dict[str, Any] = {"retryThrottling": {"maxTokens": 10, "tokenRatio": 0.5}}
    if retried:
        names = [{"service": service, "method": method} for method in retried]
        config["methodConfig"] = [{"name": names, "retryPolicy": _RETRY}]
    return orjson.dumps(config).decode()


__all__ = ["DEFAULT_TIMEOUT", "RpcChannel", "described_methods", "service_config"]
