"""What one client may hold: connections that do nothing are closed, floods wait or are refused."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from hanse.flow import FlowLimits
from hanse.kube.model.identity import User
from hanse.kube.server.connections import ConnectionLimits
from hanse.security.auth import SERVICES
from hanse.store import MemoryStore
from tests.kube.server.world import CONFIGMAPS, World, config_map
from tests.support.waiting import until

QUICK = ConnectionLimits(
    connections=12,
    connections_per_address=8,
    handshake_seconds=0.3,
    head_seconds=0.3,
    body_seconds=0.3,
    stall_seconds=0.3,
)
FEW = FlowLimits(
    requests=3,
    requests_per_user=2,
    service_requests=2,
    queued=2,
    queued_per_user=1,
    queue_seconds=0.5,
    watches=3,
    watches_per_user=2,
)
TOKENS = {
    "carol-token": User("carol", ("system:masters",)),
    "dave-token": User("dave", ("system:masters",)),
    "service-token": User("hanse:service:syncer", (SERVICES, "system:masters")),
}
PATIENCE = 10.0
LIST = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
async def quick(memory: MemoryStore, tmp_path: Path) -> AsyncIterator[World]:
    """A server with short deadlines."""
    async with World(memory, tmp_path, connections=QUICK, tokens=TOKENS) as made:
        yield made


@pytest.fixture
async def few(memory: MemoryStore, tmp_path: Path) -> AsyncIterator[World]:
    """A server that works at few requests at once."""
    async with World(memory, tmp_path, flow=FEW, tokens=TOKENS) as made:
        yield made


class Raw:
    """A connection of which a test sends and reads every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, text: str) -> None:
        """Send as it is."""
        self.writer.write(text.encode())

    def ask(self, path: str, *, user: str = "admin", method: str = "GET", length: int = 0) -> None:
        """Send the head of a request; with a `length` of a body that does not follow."""
        token = f"{user}-token"
        body = f"Content-Type: application/json\r\nContent-Length: {length}\r\n" if length else ""
        self.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{body}\r\n")

    async def answer(self) -> tuple[int, dict[str, str]]:
        """The status and the headers of the next answer; its body is read too."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
            await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(first.split()[1]), headers

    async def closed(self) -> bytes:
        """Wait until the server closes the connection; return what it said before."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read(1 << 16)
            except ConnectionError:
                return b""

    async def gone(self) -> None:
        """Wait until the server closes the connection, reading all that it sent."""
        async with asyncio.timeout(PATIENCE):
            try:
                while await self.reader.read(1 << 20):
                    pass
            except (ConnectionError, ssl.SSLError):
                pass


@asynccontextmanager
async def raw(world: World, *, tls: bool = True, buffer: int = 0) -> AsyncIterator[Raw]:
    """A connection; `buffer` is how much the kernel takes in for a client that does not read."""
    connected = socket.socket()
    if buffer:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connected.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connected, ("127.0.0.1", world.server.port))
    context = ssl.create_default_context(cadata=world.authority.ca_pem.decode()) if tls else None
    reader, writer = await asyncio.open_connection(
        sock=connected, ssl=context, server_hostname="127.0.0.1" if tls else None, limit=1 << 16
    )
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("tls", [False, True])
async def test_a_connection_that_asks_nothing_is_closed(quick: World, tls: bool) -> None:
    """Before TLS is agreed on, and after."""
    async with raw(quick, tls=tls) as connection:
        assert await connection.closed() == b""


async def test_a_request_that_cannot_be_read_writes_no_log(
    quick: World, caplog: pytest.LogCaptureFixture
) -> None:
    """It is answered with 400; whoever may connect could fill the disk with tracebacks."""
    async with raw(quick) as connection:
        connection.writer.write(b"GET / HTTP/1.1\r\nbad header\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            assert b" 400 " in await connection.reader.readline()
        await connection.gone()
    assert not [record for record in caplog.records if record.name == "aiohttp.server"]


async def test_half_a_head_is_not_waited_for(quick: World) -> None:
    """However busily its bytes drip in, be it the first request of a connection or the next."""
    async with raw(quick) as connection:
        connection.ask("/version")
        assert (await connection.answer())[0] == 200
        connection.send("GET /version HTTP/1.1\r\nslow: ")
        closed = asyncio.create_task(connection.closed())
        while not closed.done():
            connection.send("x")
            await asyncio.sleep(0.02)
        assert closed.result() == b""


async def test_an_unknown_expectation_is_refused(quick: World) -> None:
    """Whatever bytes it has: one that is not ASCII was a 500."""
    async with raw(quick) as connection:
        connection.writer.write(b"GET /version HTTP/1.1\r\nHost: x\r\nExpect: \xb2\r\n\r\n")
        assert (await connection.answer())[0] == 417


async def test_only_whoever_may_send_a_body_is_told_to(quick: World) -> None:
    """Others get their answer at once, and the body of none of them is waited for."""
    body = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}'
    head = f"POST {LIST} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    async with raw(quick) as connection:
        connection.send(f"{head}Content-Length: 999999999\r\n\r\n")
        assert await connection.reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"
    async with raw(quick) as connection:
        token = "Authorization: Bearer carol-token\r\n"
        connection.send(f"{head}{token}Content-Length: {len(body)}\r\n\r\n")
        assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(body)
        assert (await connection.answer())[0] == 201


async def test_half_a_body_is_answered_with_408(quick: World) -> None:
    """And the connection is closed, since nobody knows where the next request begins."""
    async with raw(quick) as connection:
        connection.ask(LIST, method="POST", length=1000)
        connection.send('{"kind"')
        status, _ = await connection.answer()
        assert status == 408
        assert await connection.closed() == b""


async def test_a_connection_rests_between_two_requests(quick: World) -> None:
    """Whoever has asked once may keep the connection; its deadline is another."""
    async with raw(quick) as connection:
        for _ in range(2):
            connection.ask("/version")
            assert (await connection.answer())[0] == 200
            await asyncio.sleep(QUICK.head_seconds * 2)


async def test_one_address_has_so_many_connections_and_no_more(quick: World) -> None:
    """Those that it has go on, and when one ends there is room for another."""
    async with AsyncExitStack() as held:
        for _ in range(QUICK.connections_per_address):
            connection = await held.enter_async_context(raw(quick))
            connection.ask(f"{LIST}?watch=true")
            assert (await connection.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        async with raw(quick) as connection:
            connection.ask("/version")
            assert await connection.closed() == b""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with raw(quick) as connection:
                connection.ask("/version")
                if (await connection.closed()).startswith(b"HTTP/1.1 200"):
                    return
            await asyncio.sleep(0.02)


async def fill(world: World, *, objects: int) -> None:
    """Store so many ConfigMaps of 100 KiB each."""
    async with world.client() as client:
        for number in range(objects):
            await client.create(CONFIGMAPS, config_map(f"big-{number}", data="x" * 100_000))


async def test_a_client_that_does_not_read_its_list_is_cut_off(quick: World) -> None:
    """The answer does not wait in memory for ever."""
    await fill(quick, objects=60)
    async with raw(quick, buffer=4096) as lazy:
        lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
        lazy.ask(LIST)
        await wait_for_close(quick, lazy)


async def test_a_client_that_reads_slowly_gets_its_list(quick: World) -> None:
    """What counts is that it goes on."""
    await fill(quick, objects=30)
    async with raw(quick, buffer=4096) as slow:
        slow.ask(LIST)
        loop = asyncio.get_running_loop()
        began = loop.time()
        size, end = 0, b""
        while not end.endswith(b"0\r\n\r\n"):
            pace = 100_000 if loop.time() - began < 4 * QUICK.stall_seconds else 1 << 20
            read = await slow.reader.read(pace)
            assert read, "the connection was closed"
            size, end = size + len(read), (end + read)[-8:]
            if pace < 1 << 20:
                await asyncio.sleep(0.05)
        assert size > 3_000_000


async def test_a_watcher_that_does_not_read_is_cut_off_and_others_are_not(quick: World) -> None:
    """Its buffer is full, and nobody keeps events for it."""
    async with raw(quick, buffer=4096) as lazy, raw(quick) as eager:
        for connection in (lazy, eager):
            connection.ask(f"{LIST}?watch=true")
            await connection.reader.readuntil(b"\r\n\r\n")
        lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
        reading = asyncio.create_task(eager.gone())
        await fill(quick, objects=100)
        await wait_for_close(quick, lazy)
        assert not reading.done()
        reading.cancel()


async def wait_for_close(world: World, connection: Raw) -> None:
    """Wait until the server has closed a connection whose client does not read."""
    own = connection.writer.get_extra_info("sockname")[1]

    async def closed() -> bool:
        return own not in open_ports(world)

    await until(closed, what="the server closes the connection")


def open_ports(world: World) -> set[int]:
    """The client ports of the connections that the server has."""
    runner = world.server._runner
    assert runner is not None
    assert runner.server is not None
    transports = [each.transport for each in runner.server.connections if each.transport is not None]
    peers = [transport.get_extra_info("peername") for transport in transports]
    return {peer[1] for peer in peers if peer}  # one that is being closed has none any more


async def test_a_flood_waits_and_then_is_refused_with_a_time_to_come_back(few: World) -> None:
    """Two of a user's requests are at work, one waits, the next is turned away; it harms nobody else."""
    async with asyncio.timeout(PATIENCE * 3):
        async with raw(few) as a, raw(few) as b, raw(few) as c, raw(few) as d:
            for connection in (a, b):
                connection.ask(LIST, method="POST", length=1000, user="carol")
            await seats(few, taken=2)
            c.ask(LIST, user="carol")
            await seats(few, taken=2, waiting=1)
            d.ask(LIST, user="carol")
            status, headers = await d.answer()
            assert (status, headers["retry-after"]) == (429, "1")
            d.ask(LIST, user="dave")
            assert (await d.answer())[0] == 200
            assert (await c.answer())[0] == 429  # it waited as long as a request may
        async with raw(few) as again:  # the clients have gone, and their seats are free
            again.ask(LIST, user="carol")
            assert (await again.answer())[0] == 200


async def test_users_cannot_take_the_seats_of_services(few: World) -> None:
    """The federation works on, whatever its users do."""
    async with raw(few) as a, raw(few) as b, raw(few) as c, raw(few) as service:
        for connection, user in ((a, "carol"), (b, "carol"), (c, "dave")):
            connection.ask(LIST, method="POST", length=1000, user=user)
        await seats(few, taken=3)
        service.ask(LIST, user="service")
        assert (await service.answer())[0] == 200


async def test_watches_are_counted_apart_from_requests(few: World) -> None:
    """They take no seat, each user has a bound, and closing one makes room."""
    async with raw(few) as a, raw(few) as b, raw(few) as c:
        for connection in (a, b):
            connection.ask(f"{LIST}?watch=true", user="carol")
            await connection.reader.readuntil(b"\r\n\r\n")
        c.ask(f"{LIST}?watch=true", user="carol")
        status, headers = await c.answer()
        assert (status, headers["retry-after"]) == (429, "5")
        c.ask(LIST, user="carol")
        assert (await c.answer())[0] == 200
        a.writer.transport.abort()
        async with asyncio.timeout(PATIENCE):
            while True:
                c.ask(f"{LIST}?watch=true", user="carol")
                head = (await c.reader.readuntil(b"\r\n\r\n")).decode()
                if head.startswith("HTTP/1.1 200"):
                    return
                await c.reader.readexactly(int(head.lower().split("content-length:")[1].split()[0]))
                await asyncio.sleep(0.02)


async def test_a_refusal_is_a_status_that_names_the_remedy(few: World) -> None:
    """kubectl shows its message and waits as long as it says."""
    async with raw(few) as a, raw(few) as b, raw(few) as c:
        for connection in (a, b):
            connection.ask(f"{LIST}?watch=true", user="carol")
            await connection.reader.readuntil(b"\r\n\r\n")
        c.ask(f"{LIST}?watch=true", user="carol")
        head = (await c.reader.readuntil(b"\r\n\r\n")).decode().lower()
        body = json.loads(await c.reader.readexactly(int(head.split("content-length:")[1].split()[0])))
        assert body["reason"] == "TooManyRequests"
        assert body["details"]["retryAfterSeconds"] == 5
        assert "carol" in body["message"]


async def seats(world: World, *, taken: int, waiting: int = 0) -> None:
    """Wait until so many requests of users are at work, and so many wait."""
    share = world.server._dispatcher._flow._users

    async def reached() -> bool:
        return (share.taken, share.waiting) == (taken, waiting)

    await until(reached, what=f"{taken} at work, {waiting} waiting")
