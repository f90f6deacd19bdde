"""DNS: packets to the name server, over UDP and TCP.

Owns `Packets`. An answer that no resolver can read is a failure, and so is an exception or a dead server.

Next: `tests.fuzz.surfaces.members`.
"""

from __future__ import annotations

import socket
import struct
from random import Random

import dns.edns
import dns.exception
import dns.message
from hanse_dns.serving.answers import CompiledZone, Name
from hanse_dns.serving.responder import respond
from hanse_dns.serving.server import NameServer

from tests.dns.zones import compile_zone
from tests.fuzz import mutations
from tests.fuzz.engine import Input
from tests.fuzz.loops import WatchedLoop
from tests.fuzz.surfaces.served import Quiet

_WEB = "web.shop.hanse.svc.example.org."
_DEADLINE = 10.0


def _zone() -> CompiledZone:
    return compile_zone(
        origin="example.org.",
        serial=1,
        names=[
            Name(_WEB, tuple(f"127.0.1.{i}" for i in range(1, 101)), 30),
            Name("none.shop.hanse.svc.example.org.", (), 30),
            Name("host.shop.hanse.svc.example.org.", ("lb.cloud.example",), 30),
        ],
        name_servers=[("ns.example.org.", "127.0.0.1")],
        negative_ttl=5,
    )


class Packets:
    """The name server."""

    name = "packets"

    def __init__(self) -> None:
        self._zone = _zone()
        self._loop: WatchedLoop | None = None
        self._server: NameServer | None = None
        self._errors: list[BaseException] = []

    def _respond(self, message: bytes, tcp: bool, client: str) -> bytes | None:
        try:
            return respond(message, self._zone, turn=0, tcp=tcp, client=client)[0]
        except BaseException as error:
            self._errors.append(error)
            raise

    def start(self) -> None:
        """Serve a zone."""
        self._quiet = Quiet()
        self._loop = WatchedLoop()
        self._server = NameServer(self._respond, host="127.0.0.1", port=0)
        self._loop.call(self._server.__aenter__())

    def stop(self) -> None:
        """Stop it."""
        assert self._loop is not None
        assert self._server is not None
        self._loop.call(self._server.__aexit__(None, None, None))
        self._loop.close()
        self._quiet.end()

    def lag(self) -> float:
        """How long the last packet held the loop."""
        assert self._loop is not None
        return self._loop.settle()

    def seeds(self) -> list[Input]:
        """Questions of all sorts."""
        found = [dns.message.make_query(_WEB, kind) for kind in ("A", "AAAA", "ANY", "SOA", "TXT", "AXFR")]
        found += [
            dns.message.make_query(name, "A", use_edns=0, payload=4096)
            for name in (".", "example.org.", "x." * 60)
        ]
        cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
        found += [
            dns.message.make_query(_WEB, "A", use_edns=0, options=[cookie]),
            dns.message.make_query(_WEB, "A", use_edns=1),
        ]
        return [
            {"packet": query.to_wire().decode("latin-1"), "tcp": tcp}
            for query in found
            for tcp in (False, True)
        ]

    def mutated(self, rng: Random, seed: Input) -> Input:
        """Change the bytes, or point a compression pointer somewhere."""
        packet = seed["packet"].encode("latin-1")
        if rng.random() < 0.2 and len(packet) > 14:
            at = rng.randrange(12, len(packet) - 1)
            packet = (
                packet[:at] + struct.pack("!H", 0xC000 | rng.randrange(0, len(packet))) + packet[at + 2 :]
            )
        else:
            packet = mutations.mutate_bytes(rng, packet)
        return {"packet": packet[:4096].decode("latin-1"), "tcp": seed["tcp"]}

    def run(self, step: Input) -> str:
        """Send the packet, then a question that must be answered."""
        assert self._loop is not None
        self._loop.reset()
        self._errors.clear()
        packet = step["packet"].encode("latin-1")
        reply = self._tcp(packet) if step["tcp"] else self._udp(packet)
        if self._errors:
            return f"the responder raised {self._errors[0]!r}"
        if reply is not None and (problem := _judge(packet, reply)):
            return problem
        probe = dns.message.make_query("ns.example.org.", "A")
        answer = self._udp(probe.to_wire(), wait=_DEADLINE)
        return "" if answer else "the server answers no more"

    def _udp(self, packet: bytes, *, wait: float = 0.02) -> bytes | None:
        assert self._server is not None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(wait)
            client.sendto(packet, ("127.0.0.1", self._server.port))
            try:
                return client.recv(65_535)
            except TimeoutError:
                return None

    def _tcp(self, packet: bytes) -> bytes | None:
        assert self._server is not None
        with socket.create_connection(("127.0.0.1", self._server.port), timeout=0.05) as client:
            try:
                client.sendall(struct.pack("!H", len(packet)) + packet)
                data = b""
                while len(data) < 2 or len(data) < 2 + struct.unpack_from("!H", data)[0]:
                    piece = client.recv(65_535)
                    if not piece:
                        return None
                    data += piece
            except (TimeoutError, ConnectionError):
                return None
        return data[2:]


def _judge(packet: bytes, reply: bytes) -> str:
    """Say what is wrong with a reply."""
    if len(reply) < 12 or reply[:2] != packet[:2] or not reply[2] & 0x80:
        return f"the reply {reply[:40]!r} is none to the packet"
    try:
        dns.message.from_wire(reply)
    except dns.exception.DNSException as error:
        return f"the reply cannot be read: {error!r}"
    return ""
