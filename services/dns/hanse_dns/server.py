"""Moves DNS messages: UDP and TCP on one address, RFC 7766 framing on TCP.

One event loop, no task for a UDP question. A TCP connection is closed after `IDLE` seconds without a
question, and there are at most `MAX_CONNECTIONS`. `hanse_dns.responder` makes the answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from typing import Self, cast

from hanse.errors import ConfigError
from hanse_dns.responder import Responder

IDLE = 10.0
"""Seconds; RFC 7766 section 6.2.3 asks for a few."""
MAX_CONNECTIONS = 256


class NameServer:
    """Serves `respond` on `host`:`port` (0 picks one that is free for UDP and TCP alike)."""

    def __init__(self, respond: Responder, *, host: str, port: int) -> None:
        self._respond = respond
        self._host = host
        self._port = port
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

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
        """Stops to serve and closes every connection."""
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(list(self._connections), timeout=1.0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= MAX_CONNECTIONS:
            writer.close()
            return
        self._connections.add(task)
        try:
            await self._converse(reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            while True:
                async with asyncio.timeout(IDLE):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    message = await reader.readexactly(length)
                response = self._respond(message, True)
                if response is None:
                    return
                writer.write(struct.pack("!H", len(response)) + response)
                async with asyncio.timeout(IDLE):
                    await writer.drain()


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
        response = self._respond(data, False)
        if response is not None and self._transport is not None:
            self._transport.sendto(response, addr)
