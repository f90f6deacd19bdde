"""The connection to etcd: addresses, mutual TLS, keepalive, and calls that wait for etcd to return.

One channel per store. It reconnects within about a second, and pings while a call is open, so that a dead
etcd is noticed within 15 s even by an idle watch. Safe for any number of tasks of one event loop.

Next: `hanse.store.etcd.wire` for what a failure means, `hanse.store.etcd.store` for the operations.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import grpc
import grpc.aio
from etcd3aio import _protobuf as pb

from hanse.background import OwnedTasks
from hanse.errors import OUTCOME_UNKNOWN, STORE_FULL, ConfigError, UnavailableError
from hanse.process.reconnecting import reconnecting
from hanse.process.settings import RELOAD_SECONDS, TlsFiles
from hanse.store.etcd.silence import Silence
from hanse.store.etcd.wire import Outcome, outcome, refusal

DEFAULT_OPERATION_TIMEOUT: Final = 10.0
"""Seconds that an operation waits for etcd to return."""

_RETRY_FIRST: Final = 0.02
_RETRY_MOST: Final = 0.5
_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # etcd closes connections that ping without a call (PermitWithoutStream is false there).
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    *reconnecting(first=0.05, most=1.0),
    ("grpc.use_local_subchannel_pool", 1),
)


class EtcdChannel:
    """A gRPC channel to an etcd cluster, with etcd's stubs on it."""

    def __init__(
        self,
        connect: Callable[[], grpc.aio.Channel],
        *,
        endpoints: Sequence[str],
        timeout: float,
        tls: TlsFiles | None = None,
    ) -> None:
        """`connect` makes the channel, and another one when the files of `tls` have changed."""
        self._connect = connect
        self._timeout = timeout
        self._where = ",".join(endpoints)
        self._tls = tls
        self._stamp = () if tls is None else tls.stamp()
        self._retired: list[grpc.aio.Channel] = []
        self.closed = False
        self.on_full: list[Callable[[], None]] = []
        """Called whenever etcd refuses a request because it is full."""
        self.silence = Silence(self._where)
        self._use(connect())
        self._following = OwnedTasks()
        self._following.start(self.follow_files(), name="etcd-certificate")
        self._following.start(self.silence.follow(), name="etcd-silence")

    def _use(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self.kv = pb.KVStub(channel)
        self.watches = pb.WatchStub(channel)
        self.leases = pb.LeaseStub(channel)
        self.maintenance = pb.MaintenanceStub(channel)
        self.auth = pb.AuthStub(channel)

    def renew(self) -> None:
        """If the certificate's files have changed, go on over a new connection; open streams stay."""
        if self._tls is None or self.closed:
            return
        try:
            stamp = self._tls.stamp()
            if stamp == self._stamp:
                return
            channel = self._connect()
        except (OSError, ConfigError):
            return  # being replaced
        self._retired.append(self._channel)
        self._use(channel)
        self._stamp = stamp

    async def follow_files(self) -> None:
        """Look at the files from time to time, until cancelled."""
        while self._tls is not None:
            await asyncio.sleep(RELOAD_SECONDS)
            self.renew()

    async def call(
        self, method: Any, request: Any, *, what: str, repeatable: bool, revision: int = 0
    ) -> tuple[Any, bool]:
        """Send a unary request; return the response, and whether an earlier attempt may have been done too.

        Waits for etcd up to the operation timeout. A request that is not `repeatable` is sent again only if
        it was certainly not done. Raises `UnavailableError`, with `OUTCOME_UNKNOWN` if it may have been.
        """
        with self.silence.waiting():
            return await self._call(method, request, what=what, repeatable=repeatable, revision=revision)

    async def _call(
        self, method: Any, request: Any, *, what: str, repeatable: bool, revision: int
    ) -> tuple[Any, bool]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        delay = _RETRY_FIRST
        in_doubt = False
        while True:
            if self.closed:
                raise closed()
            try:
                response = await method(request, timeout=max(deadline - loop.time(), 0.001))
                self.silence.answered()
                return response, in_doubt
            except grpc.aio.AioRpcError as error:
                code, details = error.code(), error.details() or ""
                meaning = outcome(code, details)
                if meaning is Outcome.REFUSED:
                    self.silence.answered()
                    refused = refusal(code, details, what=what, revision=revision)
                    if refused.reason == STORE_FULL:
                        for listener in tuple(self.on_full):
                            listener()
                    raise refused from error
                self.silence.failed(details or code.name)
                in_doubt = in_doubt or meaning is Outcome.UNKNOWN
                if (in_doubt and not repeatable) or loop.time() + delay >= deadline:
                    raise self._unavailable(what, details or code.name, in_doubt=in_doubt) from error
            except asyncio.CancelledError:
                self.raise_if_closed()
                raise
            await asyncio.sleep(delay)
            delay = min(delay * 2, _RETRY_MOST)

    async def read(self, method: Any, request: Any, *, what: str, revision: int = 0) -> Any:
        """Send a request that changes nothing."""
        try:
            return (await self.call(method, request, what=what, repeatable=True, revision=revision))[0]
        except UnavailableError as error:
            error.reason = (
                UnavailableError.default_reason if error.reason == OUTCOME_UNKNOWN else error.reason
            )
            raise

    def _unavailable(self, what: str, details: str, *, in_doubt: bool) -> UnavailableError:
        return UnavailableError(
            f"cannot {what}: etcd at {self._where} does not answer ({details})",
            reason=OUTCOME_UNKNOWN if in_doubt else None,
            metadata={"endpoints": self._where},
            retry_after=1.0,
        )

    def raise_if_closed(self) -> None:
        """Turn the cancellation that closing the channel causes into an error."""
        task = asyncio.current_task()
        if self.closed and task is not None and not task.cancelling():
            raise closed()

    async def close(self) -> None:
        """Close the connection; calls in flight fail."""
        self.closed = True
        await self._following.close()
        for channel in (self._channel, *self._retired):
            await channel.close()


async def open_channel(
    endpoints: Sequence[str], *, tls: TlsFiles | None, tls_server_name: str | None, timeout: float
) -> EtcdChannel:
    """Return a channel to any of the endpoints (host:port or URLs). Raises `ConfigError`."""
    hosts = [_host_port(endpoint) for endpoint in endpoints]
    if not hosts:
        raise ConfigError("no etcd endpoint is given: set etcd_endpoints")
    options: list[tuple[str, Any]] = list(_OPTIONS)
    if len(hosts) == 1:
        target = f"dns:///{_join(*hosts[0])}"
    else:
        target = await _addresses(hosts)
        options.append(("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})))
    if tls is None:
        return EtcdChannel(
            lambda: grpc.aio.insecure_channel(target, options=options), endpoints=endpoints, timeout=timeout
        )
    if tls_server_name or len(hosts) > 1:
        options.append(("grpc.ssl_target_name_override", tls_server_name or hosts[0][0]))
    files = tls

    def connect() -> grpc.aio.Channel:
        ca, cert, key = files.read()
        credentials = grpc.ssl_channel_credentials(ca, private_key=key, certificate_chain=cert)
        return grpc.aio.secure_channel(target, credentials, options=options)

    return EtcdChannel(connect, endpoints=endpoints, timeout=timeout, tls=files)


def closed() -> UnavailableError:
    """Return the error of a store that was closed."""
    return UnavailableError("the store is closed", reason="STORE_CLOSED")


def _host_port(endpoint: str) -> tuple[str, int]:
    parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ConfigError(f"the etcd endpoint {endpoint!r} is not host:port")
    return host, port or 2379


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _addresses(hosts: Sequence[tuple[str, int]]) -> str:
    """Return a gRPC target for several hosts, which must be all of one address family."""
    loop = asyncio.get_running_loop()
    found: list[tuple[str, int]] = []
    for host, port in hosts:
        try:
            infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise UnavailableError(f"the etcd endpoint {host} cannot be resolved: {error}") from error
        found.append((str(infos[0][4][0]), port))
    versions = {ipaddress.ip_address(address).version for address, _ in found}
    if len(versions) > 1:
        raise ConfigError("the etcd endpoints mix IPv4 and IPv6 addresses: give one kind")
    return f"ipv{versions.pop()}:" + ",".join(_join(*pair) for pair in found)
