"""Answers one DNS message: bytes in, bytes out, no I/O.

The common question (one name, class IN, at most one EDNS option record) is read by hand, because that is all
that a busy name server does; whatever is unusual gets the error that the RFCs ask for. Implements RFC 1035,
2308 (negative answers), 6891 (EDNS), 7766 (TCP), 7873 (cookies), 8020 (empty non-terminals), 8482 (ANY).
`hanse_dns.serving.server` is next: it moves the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Protocol

from hanse_dns.serving.answers import ANY, CNAME, IN, QUESTION_NAME, CompiledZone, Node
from hanse_dns.serving.ratelimit import Verdict

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS, BADCOOKIE = 0, 1, 2, 3, 4, 5, 16, 23
HEADER = struct.Struct("!HHHHHH")
QR, AA, TC, RD = 0x8000, 0x0400, 0x0200, 0x0100
OPT, HINFO = 41, 13
COOKIE = 10
"""The EDNS option of RFC 7873."""
AXFR, IXFR = 252, 251
CLASSIC_LIMIT = 512
"""Bytes of a UDP response to somebody who does not speak EDNS, RFC 1035 section 2.3.4."""
EDNS_LIMIT = 1232
"""Bytes of a UDP response that travel unfragmented nearly everywhere (DNS flag day 2020)."""
TCP_LIMIT = 65_535
RFC8482 = b"\x07RFC8482\x00"


@dataclass(frozen=True, slots=True)
class Question:
    """What a message asks. `raw` is the question section as it came; `name` is in lower case wire format."""

    raw: bytes
    name: bytes
    kind: int
    klass: int


@dataclass(frozen=True, slots=True)
class Edns:
    """The EDNS of a message: its version, how many bytes its sender takes over UDP, and its cookie."""

    version: int
    size: int
    cookie: bytes = b""


class TurnedDownError(Exception):
    """The answer is an error code and nothing else."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class MalformedError(TurnedDownError):
    """The message cannot be read; the answer is FORMERR."""

    def __init__(self) -> None:
        super().__init__(FORMERR)


class Guard(Protocol):
    """Who may be answered: `hanse_dns.serving.guarding`."""

    def cookie(self, cookie: bytes, client: str) -> tuple[bytes, bool]:
        """Return the cookie to answer with, and whether the client's is good."""

    def judge(self, client: str, kind: Hashable) -> Verdict:
        """Return what becomes of a response of this kind."""


def respond(
    message: bytes,
    zone: CompiledZone | None,
    *,
    turn: int,
    tcp: bool,
    client: str = "",
    guard: Guard | None = None,
) -> tuple[bytes | None, int]:
    """Return the response to `message`, or None where none may be sent, and its response code.

    `zone` is None while nothing is known yet (SERVFAIL). `turn` rotates the order of addresses. Over UDP an
    answer that does not fit is sent empty with TC set, so that the resolver comes back over TCP. `guard` is
    asked about `client`; without one all are answered.
    """
    if len(message) < HEADER.size:
        return None, FORMERR
    ident, flags, questions, answers, authorities, additionals = HEADER.unpack_from(message)
    if flags & QR:
        return None, FORMERR
    reply = Reply(ident=ident, flags=QR | (flags & (RD | 0x7800)))
    question: Question | None = None
    known = False
    try:
        if (flags >> 11) & 0xF != 0:
            raise TurnedDownError(NOTIMP)
        if questions > 1 or answers or authorities:
            raise MalformedError
        position = HEADER.size
        if questions:
            question, position = read_question(message)
        edns = read_edns(message, position, additionals)
        cookie = edns.cookie if edns else b""
        if question is None and not cookie:
            raise MalformedError
        if cookie and guard is not None:
            reply.cookie, known = guard.cookie(cookie, client)
        reply.question = question.raw if question else b""
        reply.edns = edns
        if edns is not None and edns.version != 0:
            raise TurnedDownError(BADVERS)
        # Without a question it is one for a cookie, RFC 7873 section 5.4.
        code = fill(reply, question, zone, turn) if question else NOERROR
    except TurnedDownError as error:
        code = error.code
    if guard is not None and not tcp and not known:
        verdict = guard.judge(client, kind_of(reply, question, code, zone))
        if verdict is not Verdict.SEND:
            return limited(reply, code, verdict)
    return reply.encode(code, limit=TCP_LIMIT if tcp else reply.udp_limit), code


def limited(reply: Reply, code: int, verdict: Verdict) -> tuple[bytes | None, int]:
    """Return what is sent of a response that is over the rate, and its code."""
    if verdict is Verdict.DROP:
        return None, code
    return (reply.bare(BADCOOKIE), BADCOOKIE) if reply.cookie else (reply.bare(code, TC), code)


def kind_of(reply: Reply, question: Question | None, code: int, zone: CompiledZone | None) -> Hashable:
    """Return what a response says, as far as it counts for its rate: whoever asks for random names gets
    one kind.
    """
    if code == NXDOMAIN:
        return code, zone.origin if zone else b""
    if code != NOERROR or question is None:
        return code
    return code, question.name, question.kind if reply.answer else 0


def failure(message: bytes) -> bytes | None:
    """Return the response SERVFAIL to a message that could not be answered; None where none may be sent."""
    if len(message) < HEADER.size or message[2] & 0x80:
        return None
    ident, flags = struct.unpack_from("!HH", message)
    return HEADER.pack(ident, QR | (flags & (RD | 0x7800)) | SERVFAIL, 0, 0, 0, 0)


def fill(reply: Reply, question: Question, zone: CompiledZone | None, turn: int) -> int:
    """Put the records that answer `question` into `reply` and returns the response code."""
    if question.klass != IN or question.kind in {AXFR, IXFR}:
        return REFUSED
    if zone is None:
        return SERVFAIL
    if not zone.contains(question.name):
        return REFUSED
    reply.flags |= AA
    node = zone.nodes.get(question.name)
    if node is None:
        reply.authority.append(zone.negative_soa)
        return NXDOMAIN
    if question.kind == ANY:
        reply.answer.append(any_answer(node))
        return NOERROR
    group = node.get(question.kind)
    if group is not None:
        reply.answer.append(group.rotated(turn))
        reply.answers = len(group.records)
        return NOERROR
    alias = node.get(CNAME)
    if alias is not None:
        reply.answer.append(alias.rotated(0))
        return NOERROR
    reply.authority.append(zone.negative_soa)
    return NOERROR


def any_answer(node: Node) -> bytes:
    """Return one record group for ANY, or the HINFO of RFC 8482 for a name that has none."""
    for group in node.values():
        return group.records[0]
    return QUESTION_NAME + struct.pack("!HHIH", HINFO, IN, 3600, len(RFC8482)) + RFC8482


@dataclass(slots=True)
class Reply:
    """A response while it is put together."""

    ident: int
    flags: int
    question: bytes = b""
    edns: Edns | None = None
    cookie: bytes = b""
    answers: int = 0
    answer: list[bytes] = field(default_factory=list)
    authority: list[bytes] = field(default_factory=list)

    def encode(self, code: int, *, limit: int = CLASSIC_LIMIT) -> bytes:
        """Return the message in wire format, cut to its question with TC set if it is longer than `limit`
        bytes.
        """
        opt = self._opt(code)
        answers = self.answers or len(self.answer)
        body = b"".join((self.question, *self.answer, *self.authority, opt))
        counts = (1 if self.question else 0, answers, len(self.authority), 1 if opt else 0)
        if HEADER.size + len(body) > limit:
            body = self.question + opt
            return HEADER.pack(self.ident, self.flags | TC | (code & 0xF), counts[0], 0, 0, counts[3]) + body
        return HEADER.pack(self.ident, self.flags | (code & 0xF), *counts) + body

    @property
    def udp_limit(self) -> int:
        """How many bytes the response may have over UDP."""
        return max(CLASSIC_LIMIT, min(self.edns.size, EDNS_LIMIT)) if self.edns else CLASSIC_LIMIT

    def bare(self, code: int, flags: int = 0) -> bytes:
        """Return the message with its question and nothing else, which is no longer than what was asked."""
        opt = self._opt(code)
        counts = (1 if self.question else 0, 0, 0, 1 if opt else 0)
        head = HEADER.pack(self.ident, self.flags | flags | (code & 0xF), *counts)
        return head + self.question + opt

    def _opt(self, code: int) -> bytes:
        if self.edns is None:
            return b""
        option = struct.pack("!HH", COOKIE, len(self.cookie)) + self.cookie if self.cookie else b""
        return b"\x00" + struct.pack("!HHBBHH", OPT, EDNS_LIMIT, code >> 4, 0, 0, len(option)) + option


def read_question(message: bytes) -> tuple[Question, int]:
    """Return the only question of a message, and the offset behind it. Raises MalformedError."""
    end = read_name(message, HEADER.size)
    if end + 4 > len(message):
        raise MalformedError
    kind, klass = struct.unpack_from("!HH", message, end)
    name = message[HEADER.size : end].lower()
    return Question(raw=message[HEADER.size : end + 4], name=name, kind=kind, klass=klass), end + 4


def read_name(message: bytes, position: int) -> int:
    """Return the offset behind an uncompressed name that begins at `position`. Raises MalformedError."""
    start = position
    while True:
        if position >= len(message):
            raise MalformedError
        length = message[position]
        if length == 0:
            position += 1
            break
        if length > 63:
            raise MalformedError
        position += 1 + length
    if position - start > 255:
        raise MalformedError
    return position


def read_edns(message: bytes, position: int, additionals: int) -> Edns | None:
    """Return the EDNS record of the additional section, if there is one. Raises MalformedError on two of
    them.
    """
    found = None
    for _ in range(additionals):
        end = skip_owner(message, position)
        if end + 10 > len(message):
            raise MalformedError
        kind, size, ttl, length = struct.unpack_from("!HHIH", message, end)
        position = end + 10 + length
        if position > len(message):
            raise MalformedError
        if kind == OPT:
            if found is not None or message[end - 1] != 0:
                raise MalformedError
            cookie = read_cookie(message[position - length : position])
            found = Edns(version=(ttl >> 16) & 0xFF, size=size, cookie=cookie)
    return found


def read_cookie(options: bytes) -> bytes:
    """Return the first cookie among the options of an EDNS record, "" without one. Raises MalformedError."""
    position = 0
    while position + 4 <= len(options):
        code, length = struct.unpack_from("!HH", options, position)
        position += 4 + length
        if position > len(options):
            raise MalformedError
        if code == COOKIE:
            if length != 8 and not 16 <= length <= 40:
                raise MalformedError
            return options[position - length : position]
    if position != len(options):
        raise MalformedError
    return b""


def skip_owner(message: bytes, position: int) -> int:
    """Return the offset behind an owner name, which may end in a compression pointer. Raises
    MalformedError.
    """
    while True:
        if position >= len(message):
            raise MalformedError
        length = message[position]
        if length >= 0xC0:
            return position + 2
        if length == 0:
            return position + 1
        if length > 63:
            raise MalformedError
        position += 1 + length


Responder = Callable[[bytes, bool, str], bytes | None]
"""What the server calls: message, whether it came over TCP, and the client's address, to the response or
None."""
