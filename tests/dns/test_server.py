"""The name server over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import hanse_dns.serving.server as server_module
import pytest
from hanse_dns.serving.answers import Name
from hanse_dns.serving.guarding import Guarding
from hanse_dns.serving.responder import respond
from hanse_dns.serving.server import NameServer
from hanse_dns.settings import DnsSettings

from hanse.errors import ConfigError
from tests.dns.zones import compile_zone
from tests.support.waiting import SECONDS

WEB = "web.shop.hanse.svc.example.org."
ZONE = compile_zone(
    origin="example.org.",
    serial=1,
    names=[Name(WEB, tuple(f"127.0.1.{i}" for i in range(1, 101)), 30)],
    name_servers=[("ns.example.org.", "127.0.0.1")],
    negative_ttl=5,
)


def answer(message: bytes, tcp: bool, client: str = "") -> bytes | None:
    """Answers from `ZONE`."""
    return respond(message, ZONE, turn=0, tcp=tcp)[0]


async def test_a_truncated_answer_is_fetched_over_tcp() -> None:
    """A stock client gets all hundred addresses."""
    async with NameServer(answer, host="127.0.0.1", port=0) as server:
        query = dns.message.make_query(WEB, "A")
        reply, over_tcp = await dns.asyncquery.udp_with_fallback(query, "127.0.0.1", 5, server.port)
    assert over_tcp
    assert len(reply.answer[0]) == 100


async def test_one_connection_answers_many_questions() -> None:
    """RFC 7766: questions may be sent one behind the other on a connection."""
    async with NameServer(answer, host="127.0.0.1", port=0) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(3):
            wire = dns.message.make_query(WEB, "A").to_wire()
            writer.write(struct.pack("!H", len(wire)) + wire)
        lengths = []
        for _ in range(3):
            (length,) = struct.unpack("!H", await asyncio.wait_for(reader.readexactly(2), SECONDS))
            await asyncio.wait_for(reader.readexactly(length), SECONDS)
            lengths.append(length)
        writer.close()
        await writer.wait_closed()
    assert len(set(lengths)) == 1


async def test_a_taken_address_is_one_clear_error() -> None:
    """The message names the address and the remedy."""
    async with NameServer(answer, host="127.0.0.1", port=0) as server:
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{server.port}.*--dns-listen"):
            async with NameServer(answer, host="127.0.0.1", port=server.port):
                pass


def framed(name: str) -> bytes:
    """A question as TCP carries it."""
    wire = dns.message.make_query(name, "A").to_wire()
    return struct.pack("!H", len(wire)) + wire


async def answered(reader: asyncio.StreamReader) -> bool:
    """Whether a response comes before the connection ends."""
    async with asyncio.timeout(10):
        try:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        return True


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(server: NameServer, *, source: str = "127.0.0.1") -> Connection:
    """A TCP connection from one of the loopback addresses."""
    return await asyncio.open_connection("127.0.0.1", server.port, local_addr=(source, 0))


async def test_a_network_has_so_many_connections_and_others_are_served() -> None:
    """What is more is closed; one that ends makes room."""
    async with NameServer(answer, host="127.0.0.1", port=0, connections_per_client=3) as server:
        held = [await connect(server) for _ in range(3)]
        for reader, writer in held:
            writer.write(framed(WEB))
            assert await answered(reader)
        extra = await connect(server, source="127.0.0.2")
        extra[1].write(framed(WEB))
        assert not await answered(extra[0])
        other = await connect(server, source="127.0.1.1")
        other[1].write(framed(WEB))
        assert await answered(other[0])
        held.pop()[1].close()
        async with asyncio.timeout(10):
            while True:
                again = await connect(server)
                again[1].write(framed(WEB))
                if await answered(again[0]):
                    break
        for _, writer in (*held, extra, other, again):
            writer.transport.abort()


async def test_where_all_are_taken_the_idlest_makes_room() -> None:
    """Nobody keeps others out by holding connections that ask nothing."""
    async with NameServer(answer, host="127.0.0.1", port=0, connections=3) as server:
        held = [await connect(server) for _ in range(3)]
        for reader, writer in held:
            writer.write(framed(WEB))
            assert await answered(reader)
        held[0][1].write(framed(WEB))
        assert await answered(held[0][0])
        late = await connect(server)
        late[1].write(framed(WEB))
        assert await answered(late[0])
        held[1][1].write(framed(WEB))
        assert not await answered(held[1][0])
        for each in (0, 2):
            held[each][1].write(framed(WEB))
            assert await answered(held[each][0])
        for _, writer in (*held, late):
            writer.transport.abort()


async def test_half_a_question_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However its bytes drip in."""
    monkeypatch.setattr(server_module, "IDLE", 0.3)
    async with NameServer(answer, host="127.0.0.1", port=0) as server:
        reader, writer = await connect(server)
        closed = asyncio.create_task(answered(reader))
        for byte in framed("x" * 60 + "." + WEB):
            if closed.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert not await closed
        writer.transport.abort()


async def test_a_client_that_does_not_read_its_answers_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks and asks; what it does not take is not kept for it."""
    monkeypatch.setattr(server_module, "IDLE", 0.3)
    async with NameServer(answer, host="127.0.0.1", port=0) as server:
        _, writer = await connect(server)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(framed(WEB) * 20_000)
        async with asyncio.timeout(15):
            while not server._connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            while server._connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        writer.transport.abort()


async def test_a_flood_over_udp_holds_nobody_up_and_gets_few_answers() -> None:
    """A resolver of the same network that asks again is told to come over TCP, and gets its answer there."""
    guard = Guarding(DnsSettings(dns_rate_limit=20))

    def guarded(message: bytes, tcp: bool, client: str) -> bytes | None:
        return respond(message, ZONE, turn=0, tcp=tcp, client=client, guard=guard)[0]

    one = Name("one.example.org.", ("127.0.1.1",), 30)
    ZONE.put(one)
    async with NameServer(guarded, host="127.0.0.1", port=0) as server:
        query = dns.message.make_query(one.fqdn, "A")
        wire = query.to_wire()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            flood.connect(("127.0.0.1", server.port))
            flood.setblocking(False)
            for _ in range(2000):
                flood.send(wire)
            replies = []
            for _ in range(4):  # every second is not answered over UDP
                with contextlib.suppress(dns.exception.Timeout):
                    found, _ = await dns.asyncquery.udp_with_fallback(query, "127.0.0.1", 1, server.port)
                    replies.append(found)
            assert replies
            assert all(reply.answer for reply in replies)
            whole = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    whole += not dns.message.from_wire(flood.recv(4096)).flags & dns.flags.TC
        assert 20 <= whole < 200
