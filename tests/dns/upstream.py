"""A resolver on 127.0.0.0/8 that answers what a test says, for the host names of load balancers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

UDP_BYTES = 1232
Said = dict[str, tuple[int, list[str]]]


@dataclass
class FakeResolver(asyncio.DatagramProtocol):
    """Answers by `records`: TTL and addresses by host name. A name that it lacks does not exist."""

    records: Said = field(default_factory=dict)
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR
    """What it answers to everything, if it is another than this."""
    silent: bool = False
    lies: bool = False
    """It answers another question than it was asked."""
    aliases: dict[str, tuple[int, str]] = field(default_factory=dict)
    """TTL and target of each name that is an alias."""
    over_tcp: int = 0
    """Questions that came over TCP."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to answer."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Answer one question; what is too large for UDP is cut short, so that it is asked over TCP."""
        reply = self.reply(data)
        if reply is None:
            return
        wire = reply.to_wire(max_size=65535)
        if len(wire) > UDP_BYTES:
            reply.answer.clear()
            reply.flags |= dns.flags.TC
            wire = reply.to_wire()
        self._transport.sendto(wire, address)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one question over TCP."""
        length = int.from_bytes(await reader.readexactly(2), "big")
        reply = self.reply(await reader.readexactly(length))
        self.over_tcp += 1
        if reply is not None:
            wire = reply.to_wire(max_size=65535)
            writer.write(len(wire).to_bytes(2, "big") + wire)
            await writer.drain()
        writer.close()

    def reply(self, data: bytes) -> dns.message.Message | None:
        """Return the answer to a question; None if it is silent."""
        query = dns.message.from_wire(data)
        (question,) = query.question
        host, kind = question.name.to_text().rstrip("."), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((host, kind))
        if self.silent:
            return None
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        if self.rcode != dns.rcode.NOERROR:
            reply.set_rcode(self.rcode)
        elif host not in self.records and host not in self.aliases:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        else:
            followed: set[str] = set()
            while host in self.aliases and host not in followed:
                followed.add(host)
                ttl, target = self.aliases[host]
                reply.answer.append(dns.rrset.from_text(f"{host}.", ttl, "IN", "CNAME", f"{target}."))
                host = target
            ttl, addresses = self.records.get(host, (0, []))
            of_kind = [each for each in addresses if (":" in each) == (kind == "AAAA")]
            if of_kind:
                reply.answer.append(dns.rrset.from_text(f"{host}.", ttl, "IN", kind, *of_kind))
        if self.lies:
            reply.question = [dns.rrset.from_text("elsewhere.example.net.", 0, "IN", kind)]
        return reply


@asynccontextmanager
async def resolver() -> AsyncIterator[FakeResolver]:
    """Run one on a free port."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(FakeResolver, local_addr=("127.0.0.53", 0))
    protocol.port = transport.get_extra_info("sockname")[1]
    server = await asyncio.start_server(protocol.connected, "127.0.0.53", protocol.port)
    try:
        yield protocol
    finally:
        transport.close()
        server.close()
