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
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to answer."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Answer one question."""
        query = dns.message.from_wire(data)
        (question,) = query.question
        host, kind = question.name.to_text().rstrip("."), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((host, kind))
        if self.silent:
            return
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        if self.rcode != dns.rcode.NOERROR:
            reply.set_rcode(self.rcode)
        elif host not in self.records:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        else:
            ttl, addresses = self.records[host]
            of_kind = [each for each in addresses if (":" in each) == (kind == "AAAA")]
            if of_kind:
                reply.answer.append(dns.rrset.from_text(f"{host}.", ttl, "IN", kind, *of_kind))
        if self.lies:
            reply.question = [dns.rrset.from_text("elsewhere.example.net.", 0, "IN", kind)]
        self._transport.sendto(reply.to_wire(), address)


@asynccontextmanager
async def resolver() -> AsyncIterator[FakeResolver]:
    """Run one on a free port."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(FakeResolver, local_addr=("127.0.0.53", 0))
    protocol.port = transport.get_extra_info("sockname")[1]
    try:
        yield protocol
    finally:
        transport.close()
