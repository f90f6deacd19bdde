"""The connections to one HTTP server: kept open, handed out, at most so many.

Owns who has which connection. An answer is either had whole by `request`, or piece by piece by `stream`. A
GET that finds that the server has just closed the connection it was given is sent once more on a new one;
nothing else is ever sent twice.

Concurrency: any number of tasks of one event loop. Next: `hanse.kube.client.http.connection` for the wire,
`hanse.kube.client.client` for who asks.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import unquote, urlsplit

from hanse.errors import ConfigError, InternalError
from hanse.kube.client.bounds import OBJECT, Bound
from hanse.kube.client.http.connection import (
    BrokenConnectionError,
    HttpAnswer,
    HttpConnection,
    LongAnswerError,
)

IDLE_SECONDS: Final = 60.0
"""An idle connection is not used again after so long: whatever is between may have forgotten it."""

_MAX_HEAD: Final = 64 * 1024


class NotConnectedError(ConnectionError):
    """No connection could be made: nothing was sent."""


class ProxyError(NotConnectedError):
    """The proxy made none: whether the server behind it answers is not known. The message names the proxy."""


class HttpPool:
    """Connections to the server of one URL."""

    def __init__(
        self,
        server: str,
        *,
        tls: ssl.SSLContext | None,
        server_name: str = "",
        proxy: str = "",
        limit: int = 64,
        connect_seconds: float = 10.0,
        greet: Callable[[HttpConnection], Awaitable[None]] | None = None,
    ) -> None:
        """`server_name` is the name expected in the certificate, if not the URL's host; `proxy` an http URL.

        `limit` is how many connections there are at once; who asks for more waits. `greet` has the first
        exchange on each new connection: if it raises, the connection is not used, and the request that it
        was opened for fails with that error. Raises ConfigError.
        """
        self.host, self.port, self.root = _address(server, "the server's")
        self._tls = tls
        self._server_name = server_name or self.host
        self._proxy = _Proxy.of(proxy) if proxy else None
        self._connect_seconds = connect_seconds
        self._greet = greet
        self._idle: deque[tuple[HttpConnection, float]] = deque()
        self._open: set[HttpConnection] = set()
        self._places = asyncio.Semaphore(limit)
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.authority = f"{host}:{self.port}"
        # Without TLS a proxy is asked for the whole URL; with TLS it only connects.
        self._prefix = f"http://{self.authority}" if self._proxy and tls is None else ""
        self._via = self._proxy.authorization if self._proxy and tls is None else ""

    def head(self, method: str, target: str, headers: str) -> bytes:
        """Return the head of a request up to the last header; `headers` are whole lines, with their ends."""
        return (
            f"{method} {self._prefix}{self.root}{target} HTTP/1.1\r\nHost: {self.authority}\r\n"
            f"{self._via}{headers}"
        ).encode("latin-1")

    async def request(self, request: bytes, *, repeatable: bool = False, bound: Bound = OBJECT) -> HttpAnswer:
        """Send a request; return the whole answer. `repeatable` says that sending it twice is harmless.

        Raises NotConnectedError if nothing was sent, BrokenConnectionError if there was no whole answer,
        LongAnswerError for a body above `bound`.
        """
        async with self._places:
            connection, used = await self._take()
            try:
                try:
                    return await connection.send(request, bound=bound)
                except BrokenConnectionError as error:
                    if not (used and repeatable) or error.began:
                        raise
                self._drop(connection)
                connection = await self._connect()
                return await connection.send(request, bound=bound)
            finally:
                self._give_back(connection)

    @asynccontextmanager
    async def stream(
        self, request: bytes, *, head_seconds: float | None = None
    ) -> AsyncGenerator[tuple[HttpAnswer, AsyncIterator[bytes]], None]:
        """Send a request; give the head of the answer and its body in pieces. Raises as `request`.

        TimeoutError if the head does not come in `head_seconds`.
        """
        async with self._places:
            connection = await self._connect()
            try:
                async with asyncio.timeout(head_seconds):
                    answer = await connection.send(request, stream=True)
                yield answer, _pieces(connection)
            finally:
                self._give_back(connection)

    def close(self) -> None:
        """Close all connections, those in use too."""
        for connection in self._open:
            connection.close()
        self._open.clear()
        self._idle.clear()

    async def _take(self) -> tuple[HttpConnection, bool]:
        """Return a connection, and whether it was used before: the one that was given back last."""
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while self._idle:
            connection, since = self._idle.pop()
            if connection.reusable and since > oldest:
                return connection, True
            self._drop(connection)
        return await self._connect(), False

    def _give_back(self, connection: HttpConnection) -> None:
        if not connection.reusable or connection not in self._open:
            self._drop(connection)
            return
        now = asyncio.get_running_loop().time()
        self._idle.append((connection, now))
        while self._idle and (not self._idle[0][0].reusable or self._idle[0][1] <= now - IDLE_SECONDS):
            self._drop(self._idle.popleft()[0])

    def _drop(self, connection: HttpConnection) -> None:
        self._open.discard(connection)
        connection.close()

    async def _connect(self) -> HttpConnection:
        connection: HttpConnection | None = None
        greeted = False
        deadline = asyncio.get_running_loop().time() + self._connect_seconds
        try:
            through = await self._proxied(deadline) if self._proxy is not None else None
            async with asyncio.timeout_at(deadline):
                connection = await self._connected(through)
                if self._greet is not None:
                    await self._greet(connection)
                greeted = True
        except (LongAnswerError, ProxyError):
            raise
        except TimeoutError as error:
            raise NotConnectedError(f"no connection within {self._connect_seconds:g} s") from error
        except OSError as error:  # ssl.SSLError is one
            raise NotConnectedError(str(error) or type(error).__name__) from error
        finally:
            if connection is not None and not greeted:
                connection.close()
        self._open.add(connection)
        return connection

    async def _proxied(self, deadline: float) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Return a connection to the proxy, with TLS one that it has tunnelled. Raises ProxyError."""
        if self._proxy is None:
            raise InternalError("there is no proxy")
        proxy, loop = self._proxy, asyncio.get_running_loop()
        transport: asyncio.Transport | None = None
        try:
            async with asyncio.timeout_at(deadline):
                if self._tls is None:
                    return await loop.create_connection(HttpConnection, proxy.host, proxy.port)
                transport, tunnel = await loop.create_connection(_Tunnel, proxy.host, proxy.port)
                transport.write(
                    f"CONNECT {self.authority} HTTP/1.1\r\nHost: {self.authority}\r\n"
                    f"{proxy.authorization}\r\n".encode("latin-1")
                )
                await tunnel.opened
                return transport, tunnel
        except BaseException as error:
            if transport is not None:
                transport.abort()
            if isinstance(error, TimeoutError):
                said = f"does not answer within {self._connect_seconds:g} s"
            elif isinstance(error, NotConnectedError):
                said = str(error)
            elif isinstance(error, OSError):
                said = f"cannot be reached: {str(error) or type(error).__name__}"
            else:
                raise
            raise ProxyError(f"its proxy http://{proxy} {said}") from error

    async def _connected(
        self, through: tuple[asyncio.Transport, asyncio.BaseProtocol] | None
    ) -> HttpConnection:
        """Return a connection to the server: a new one, or `through` the proxy."""
        loop = asyncio.get_running_loop()
        name = self._server_name if self._tls is not None else None
        if through is None:
            _, connection = await loop.create_connection(
                HttpConnection, self.host, self.port, ssl=self._tls, server_hostname=name
            )
            return connection
        transport, protocol = through
        if isinstance(protocol, HttpConnection):
            return protocol
        if self._tls is None:
            raise InternalError("a tunnel is for TLS")
        try:
            connection = HttpConnection()
            secured = await loop.start_tls(transport, connection, self._tls, server_hostname=name)
            if secured is None:
                raise InternalError("the TLS handshake through the proxy gave no transport")
            connection.connection_made(secured)
            return connection
        except BaseException:
            transport.abort()
            raise


async def _pieces(connection: HttpConnection) -> AsyncIterator[bytes]:
    while piece := await connection.read():
        yield piece


class _Tunnel(asyncio.Protocol):
    """Waits for a proxy to say that it has connected."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head = b""

    def data_received(self, data: bytes) -> None:
        """Add a part of what the proxy says."""
        self._head += data
        if self.opened.done():
            return
        if b"\r\n\r\n" in self._head:
            line = self._head.split(b"\r\n", 1)[0].decode("latin-1")
            words = line.split(" ", 2)
            if len(words) > 1 and words[1].startswith("2"):
                self.opened.set_result(None)
            else:
                self.opened.set_exception(NotConnectedError(f"refuses to connect: {line[:200]}"))
        elif len(self._head) > _MAX_HEAD:
            self.opened.set_exception(NotConnectedError("answers what is no answer"))

    def connection_lost(self, error: Exception | None) -> None:
        """Take note that the proxy has gone."""
        if not self.opened.done():
            self.opened.set_exception(NotConnectedError("closes the connection"))


class _Proxy:
    """An HTTP proxy: where it is and what it wants to hear."""

    def __init__(self, host: str, port: int, authorization: str) -> None:
        self.host = host
        self.port = port
        self.authorization = authorization
        """A header line, or nothing."""

    def __str__(self) -> str:
        """Return where it is, without user and password."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def of(cls, url: str) -> _Proxy:
        """Read a proxy's URL. Raises ConfigError."""
        parts = urlsplit(url)
        if parts.scheme != "http":
            raise ConfigError(f"the proxy {parts.scheme}://{parts.hostname} must be an http:// URL")
        host, port, _ = _address(url, "the proxy's")
        if parts.username is None:
            return cls(host, port, "")
        said = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        return cls(host, port, f"Proxy-Authorization: Basic {base64.b64encode(said).decode()}\r\n")


def _address(url: str, whose: str) -> tuple[str, int, str]:
    """Return host, port and path of an http or https URL. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        said = "" if "@" in url else f": {error}"  # it may repeat a part of a password
        raise ConfigError(f"{whose} address {_bare(url)!r} is not a URL{said}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"{whose} address {_bare(url)!r} is not an http or https URL")
    return host, port or (443 if parts.scheme == "https" else 80), parts.path.rstrip("/")


def _bare(url: str) -> str:
    """Return a URL, or what was to be one, without user and password."""
    before, at, after = url.rpartition("@")
    return f"{before.partition('://')[0]}://{after}" if at and "://" in before else after
