"""Moves DNS messages: UDP and TCP on one address, RFC 7766 framing on TCP.

One event loop, no task for a UDP question. A TCP connection is closed after `IDLE` seconds without a whole
question, or if its client does not read. There are bounds for each network of clients and in all; where all
are taken a new connection takes the place of the one that has been idle longest, so that nobody keeps others
out by doing nothing. `hanse_dns.serving.responder` makes the answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast

from hanse.errors import ConfigError
from hanse_dns.serving.ratelimit import network_of
from hanse_dns.serving.responder import Responder

IDLE = 10.0
"""Seconds; RFC 7766 section 6.2.3 asks for a few."""
MAX_CONNECTIONS = 256
MAX_PER_CLIENT = 32
TURN = 16
"""Questions of one connection after which others have their turn."""
UNSENT = 1 << 20
"""Bytes of UDP responses that wait to be sent; what is more is dropped, as the network would."""


@dataclass(eq=False, slots=True)
class _Connection:
    task: asyncio.Task[None]
    network: bytes
    asked: float
    """When its last question came."""


class NameServer:
    """Serves `respond` on `host`:`port` (0 picks one that is free for UDP and TCP alike)."""

    def __init__(
        self,
        respond: Responder,
        *,
        host: str,
        port: int,
        connections: int = MAX_CONNECTIONS,
        connections_per_client: int = MAX_PER_CLIENT,
    ) -> None:
        self._respond = respond
        self._most = connections
        self._most_per_client = connections_per_client
        self._host = host
        self._port = port
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._networks: Counter[bytes] = Counter()

    @property
    def port(self) -> int:
        """The port it serves at; 0 before it does."""
        return self._port

    async def __aenter__(self) -> Self:
        """Binds and starts to serve. Raises ConfigError if the address is taken or not of this machine."""
        loop = asyncio.get_running_loop()
        attempts = 1 if self._port else 20
        for attempt in range(attempts):
            try:
                server = await asyncio.start_server(self._accept, self._host, self._port)
                port = int(server.sockets[0].getsockname()[1])
            except OSError as error:
                raise ConfigError(
                    f"cannot serve DNS at {self._host}:{self._port}: {error.strerror or error}; "
                    "choose another address with --dns-listen"
                ) from error
            try:
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: DatagramResponder(self._respond), local_addr=(self._host, port)
                )
            except OSError as error:
                server.close()
                if attempt + 1 == attempts:
                    raise ConfigError(f"cannot serve DNS at {self._host}:{port} over UDP: {error}") from error
                continue
            udp = transport.get_extra_info("socket")
            if udp is not None:
                with contextlib.suppress(OSError):
                    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            self._server, self._transport, self._port = server, transport, port
            return self
        raise ConfigError(f"no port of {self._host} is free for both UDP and TCP")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to serve and closes every connection."""
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.close()
        tasks = [each.task for each in self._connections]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        peer = writer.get_extra_info("peername")
        if task is None or not peer:
            writer.close()
            return
        network = network_of(peer[0])
        if self._networks[network] >= self._most_per_client:
            writer.transport.abort()
            return
        if len(self._connections) >= self._most:
            longest = min(self._connections, key=lambda each: each.asked)
            self._forget(longest)
            longest.task.cancel()
        connection = _Connection(task, network, asyncio.get_running_loop().time())
        self._connections.add(connection)
        self._networks[network] += 1
        try:
            await self._converse(connection, peer[0], reader, writer)
        except asyncio.CancelledError:  # it made room for another, or the server stops
            writer.transport.abort()
        finally:
            self._forget(connection)
            writer.close()
            # Whoever does not read what is left is not waited for either.
            asyncio.get_running_loop().call_later(IDLE, writer.transport.abort)

    def _forget(self, connection: _Connection) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            self._networks[connection.network] -= 1
            if not self._networks[connection.network]:
                del self._networks[connection.network]

    async def _converse(
        self, connection: _Connection, client: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            for count in itertools.count(1):
                async with asyncio.timeout(IDLE):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    message = await reader.readexactly(length)
                connection.asked = loop.time()
                response = self._respond(message, True, client)
                if response is None:
                    return
                writer.write(struct.pack("!H", len(response)) + response)
                async with asyncio.timeout(IDLE):
                    await writer.drain()
                if count % TURN == 0:
                    await asyncio.sleep(0)


class DatagramResponder(asyncio.DatagramProtocol):
    """Answers each datagram as it comes."""

    def __init__(self, respond: Responder) -> None:
        self._respond = respond
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remembers where to send."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answers."""
        transport = self._transport
        # Both loops' transports say how much they hold; the type does not.
        if transport is None or transport.get_write_buffer_size() > UNSENT:  # type: ignore[attr-defined]
            return
        response = self._respond(data, False, addr[0])
        if response is not None:
            transport.sendto(response, addr)
