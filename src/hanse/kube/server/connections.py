"""Connections of the API server: how many there may be, and which are closed for doing nothing.

Owns `GuardedSite`, which listens, and the protocol of each connection. A connection is closed that has not
sent the head of a request in time, from its start or from the first byte of the head; and one whose client
does not read what it is sent, be it a long list or a watch, so that nobody's buffer stays full. The body of a
request has a deadline of its own, in `hanse.kube.server.negotiation`; TLS has one for its handshake.

Concurrency: one loop; each connection has at most one timer for what it waits for. Next:
`hanse.kube.server.app`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from dataclasses import dataclass
from typing import cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.typedefs import Handler
from opentelemetry import metrics

from hanse.errors import InternalError, InvalidArgumentError, shown
from hanse.kube.model.status import REQUEST_TOO_LARGE
from hanse.kube.server.auth import bearer_token
from hanse.kube.server.errors import failure

MAX_LINE_BYTES = 256 * 1024
"""First line of a request: a selector of 64 KiB may take three times that in a URL."""
MAX_HEADER_BYTES = 16 * 1024
"""One header: the largest are bearer tokens."""
MAX_HEADERS = 64
"""Headers of one request; with their bytes, what kube-apiserver takes of all together (1 MiB)."""

_BUFFER_BYTES = 32 * 1024
"""What a connection takes for its client before the server waits; with TLS it would be 512 KiB."""
_PROGRESS_BYTES = 8 * 1024
"""What a client must read of what waits for it in `stall_seconds`."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of connections; all times in seconds."""

    connections: int = 10_000
    connections_per_address: int = 5000
    handshake_seconds: float = 10.0
    """Until TLS is agreed on."""
    head_seconds: float = 10.0
    """Until the head of a request is there."""
    body_seconds: float = 30.0
    """Until the body of a request is there."""
    stall_seconds: float = 15.0
    """How long a client may read nothing of what was sent to it."""
    idle_seconds: float = 180.0
    """How long a connection is kept open between two requests."""


class Connections:
    """Counts connections by the address of the client."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._addresses: Counter[str] = Counter()
        self._all = 0
        self._closed = metrics.get_meter("hanse").create_counter(
            "hanse.connections.closed",
            unit="{connection}",
            description="Connections that the server closed, by reason.",
        )

    def enter(self, address: str) -> bool:
        """Count a connection, and report whether it may stay."""
        self._addresses[address] += 1
        self._all += 1
        limits = self.limits
        return self._all <= limits.connections and self._addresses[address] <= limits.connections_per_address

    def leave(self, address: str) -> None:
        """Count a connection less."""
        self._all -= 1
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def closed(self, reason: str) -> None:
        """Say in the metrics why a connection was closed."""
        self._closed.add(1, {"hanse.reason": reason})


class GuardedConnection(web.RequestHandler):
    """aiohttp's protocol of one connection, with deadlines."""

    def __init__(self, server: web.Server, connections: Connections) -> None:
        self._connections = connections
        limits = connections.limits
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # aiohttp takes None for no log
            keepalive_timeout=limits.idle_seconds,
            lingering_time=1.0,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )
        self._address = ""
        self._busy = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._unread = 0
        self._stream: asyncio.Transport | None = None
        self.token: str | None = None
        """The bearer token of the request that is being handled."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, or close it if there are too many."""
        self._stream = cast(asyncio.Transport, transport)
        self._stream.set_write_buffer_limits(high=_BUFFER_BYTES)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) else ""
        welcome = self._connections.enter(self._address)
        super().connection_made(transport)
        if welcome:
            self._await_head()
        else:
            self._end("too many")

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._connections.leave(self._address)
        self._cancel_timers()
        self._stream = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in bytes; the first of a head begin its deadline."""
        super().data_received(data)
        if not self._busy and self._head_timer is None:
            self._await_head()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to what is no HTTP request, a Status as all others are; close the connection."""
        if status != 400:
            return super().handle_error(request, status, exc, message)
        if isinstance(exc, LineTooLong):
            error = InvalidArgumentError(
                f"the head of the request is too long: the path with its query may have {MAX_LINE_BYTES} "
                f"bytes, a header {MAX_HEADER_BYTES}; send less, or select by fewer labels",
                reason=REQUEST_TOO_LARGE,
            )
        else:
            error = InvalidArgumentError(f"this is no HTTP request: {shown(message or str(exc))}")
        response = failure(error)
        response.force_close()
        return response

    def pause_writing(self) -> None:
        """Take note that the client is behind: from now on it must read."""
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        """Take note that the client has read."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        super().resume_writing()

    def began(self, token: str | None = None) -> None:
        """Take note that a whole head has come; its request, with this bearer token, is being handled."""
        self._busy = True
        self.token = token
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def ended(self) -> None:
        """Take note that the request has been handled."""
        self._busy = False
        self.token = None

    def _await_head(self) -> None:
        self._head_timer = self._loop.call_later(self._connections.limits.head_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self._busy and self._stall_timer is None:
            self._end("no request")

    def _await_reading(self) -> None:
        if self._stream is not None:
            self._unread = self._stream.get_write_buffer_size()
            self._stall_timer = self._loop.call_later(
                self._connections.limits.stall_seconds, self._reading_is_late
            )

    def _reading_is_late(self) -> None:
        self._stall_timer = None
        if self._stream is None:
            return
        if self._stream.get_write_buffer_size() > self._unread - _PROGRESS_BYTES:
            self._end("not reading")
        else:
            self._await_reading()

    def _end(self, reason: str) -> None:
        """Close the connection at once; whoever did nothing is not waited for again."""
        self._connections.closed(reason)
        self._cancel_timers()
        if self._stream is not None:
            self._stream.abort()

    def _cancel_timers(self) -> None:
        for timer in (self._head_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._stall_timer = None


class GuardedSite(web.BaseSite):
    """Listens on one TCP address."""

    def __init__(
        self,
        runner: web.BaseRunner,
        *,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        limits: ConnectionLimits,
    ) -> None:
        super().__init__(runner, ssl_context=tls, backlog=1024)
        self._host = host
        self._port = port
        self._connections = Connections(limits)

    @property
    def name(self) -> str:
        """The URL, for messages."""
        return f"{'https' if self._ssl_context else 'http'}://{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises OSError."""
        await super().start()
        server = self._runner.server
        if server is None:
            raise InternalError("the runner has no server")
        tls = self._ssl_context
        self._server = await asyncio.get_running_loop().create_server(
            lambda: GuardedConnection(server, self._connections),
            self._host,
            self._port,
            ssl=tls,
            backlog=self._backlog,
            ssl_handshake_timeout=self._connections.limits.handshake_seconds if tls else None,
            ssl_shutdown_timeout=5.0 if tls else None,
        )


@web.middleware
async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell the request's connection when it is being handled."""
    connection = request.protocol
    if not isinstance(connection, GuardedConnection):
        return await handler(request)
    connection.began(bearer_token(request.headers.get("Authorization", "")))
    try:
        return await handler(request)
    finally:
        connection.ended()
