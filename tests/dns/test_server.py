"""The name server over real sockets."""

from __future__ import annotations

import asyncio
import struct

import dns.asyncquery
import dns.message
import pytest
from hanse_dns.answers import Name, compile_zone
from hanse_dns.responder import respond
from hanse_dns.server import NameServer

from hanse.errors import ConfigError

WEB = "web.shop.hanse.svc.example.org."
ZONE = compile_zone(
    origin="example.org.",
    serial=1,
    names=[Name(WEB, tuple(f"127.0.1.{i}" for i in range(1, 101)), 30)],
    name_servers=[("ns.example.org.", "127.0.0.1")],
    negative_ttl=5,
)


def answer(message: bytes, tcp: bool) -> bytes | None:
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
            (length,) = struct.unpack("!H", await asyncio.wait_for(reader.readexactly(2), 5))
            await asyncio.wait_for(reader.readexactly(length), 5)
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
