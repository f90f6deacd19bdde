"""One connection to an HTTP/1.1 server, for one exchange at a time.

Owns the bytes on the wire: a request goes out in one write, the answer comes in through httptools (llhttp),
either whole or piece by piece. A connection that broke, was cut in the middle of an answer, or whose answer
nobody waits for any more, is closed and never used again.

Concurrency: callbacks of one transport and one waiting task, in one event loop. Next:
`hanse.kube.client.http.pool`, which opens connections and hands them out.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from hanse.errors import InternalError
from hanse.kube.client.bounds import FRAMING_PER_BYTE, HEAD_BYTES, OBJECT, Bound

_HIGH_WATER: Final = 1024 * 1024
_LOW_WATER: Final = 256 * 1024
_PIECE_COST: Final = 64
_GZIP: Final = 16 + zlib.MAX_WBITS


class BrokenConnectionError(ConnectionError):
    """The connection ended, or something that is not HTTP came, before the answer was complete.

    `began` says whether any of the answer had come.
    """

    def __init__(self, message: str, *, began: bool) -> None:
        super().__init__(message)
        self.began = began


class LongAnswerError(BrokenConnectionError):
    """An answer is longer than its `bound`, and was read no further."""

    def __init__(self, bound: Bound) -> None:
        super().__init__(f"the answer is longer than {bound.bytes} bytes", began=True)
        self.bound = bound


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A status and headers by lower-case name; `body` is empty where the answer is streamed."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


class HttpConnection(asyncio.Protocol):
    """One connection. `send` and then, for a streamed answer, `read`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: HttpResponseParser | None = None
        self._answer: asyncio.Future[HttpAnswer] | None = None
        self._streamed = False
        self._began = False
        self._complete = True
        self._closing = False
        self._status = 0
        self._headers: dict[str, str] = {}
        self._bound = OBJECT
        self._received = 0
        self._body_size = 0
        self._whole = bytearray()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        """Of the pieces, each with what it costs to keep it."""
        self._paused = False
        self._more: asyncio.Future[None] | None = None
        self._error: BrokenConnectionError | None = None

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent: the last answer is complete and the server stays."""
        return self._complete and not self._closing

    def send(
        self, request: bytes, *, stream: bool = False, bound: Bound = OBJECT
    ) -> asyncio.Future[HttpAnswer]:
        """Send a request, head and body; return the answer to come. Its head only, with `stream`.

        The future raises BrokenConnectionError, LongAnswerError for a body above `bound`, packed or not; what
        is streamed has no bound. Whoever stops waiting for it must `close`.
        """
        if self._transport is None:
            raise InternalError("the connection is not open")
        if not self.reusable:
            raise InternalError("a connection that cannot be used again was given a request")
        self._parser = HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        self._streamed = stream
        self._bound = bound
        self._received = 0
        self._began = self._complete = False
        self._reset()
        self._transport.write(request)
        return self._answer

    async def read(self) -> bytes:
        """Return the next piece of a streamed answer's body, b"" at its end. Raises BrokenConnectionError."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._complete:
                return b""
            self._more = asyncio.get_running_loop().create_future()
            try:
                await self._more
            finally:
                self._more = None
        piece = self._pieces.popleft()
        self._size -= len(piece) + _PIECE_COST
        if self._paused and self._size <= _LOW_WATER:
            self._paused = False
            if self._transport is not None and not self._closing:
                self._transport.resume_reading()
        return piece

    def close(self) -> None:
        """Close the connection at once; whatever is under way is lost. Doing it twice is harmless."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    # --- told by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note that the connection stands."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take note that bytes came."""
        if self._complete or self._parser is None:
            self.close()  # an answer that nobody asked for
            return
        self._began = True
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(f"the server sent something that is not HTTP: {error}")
        self._received += len(data)
        if self._received - self._body_size > HEAD_BYTES + FRAMING_PER_BYTE * self._body_size:
            self._fail(f"the head, or what is between the body's parts, is longer than {HEAD_BYTES} bytes")

    def eof_received(self) -> bool:
        """Let the transport close itself: the server sends no more."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Take note that the connection is gone."""
        self._closing = True
        if self._complete:
            return
        if error is None and self._status and self._ends_with_connection():
            self.on_message_complete()
            return
        broken = f"the connection broke: {error}" if error else "the server closed the connection"
        self._fail(broken, cause=error)

    # --- told by the parser

    def on_message_begin(self) -> None:
        """Take note that an answer begins; after the last one that is one that nobody asked for."""
        self._headers = {}
        self._closing = self._closing or self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; those of the same name are joined."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self._headers.get(key)
        self._headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        """Take note that the head of the answer is in."""
        if self._parser is None:
            raise InternalError("no answer is expected")
        self._status = self._parser.get_status_code()
        if self._streamed and self._status >= 200:
            self._settle(HttpAnswer(self._status, self._headers))

    def on_body(self, body: bytes) -> None:
        """Add a piece of the body."""
        if self._error is not None:
            return
        self._body_size += len(body)
        if not self._streamed:
            if self._body_size > self._bound.bytes:
                self._fail_with(LongAnswerError(self._bound))
            else:
                self._whole += body
            return
        self._pieces.append(body)
        self._size += len(body) + _PIECE_COST
        if self._size > _HIGH_WATER and not self._paused and not self._closing:
            self._paused = True
            if self._transport is None:
                raise InternalError("the connection is not open")
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        """Take note that the answer is in."""
        if self._status < 200:  # 100 Continue and the like: the answer is to come
            self._reset()
            return
        if self._complete or self._error is not None:
            return
        self._complete = True
        if self._parser is None:
            raise InternalError("no answer is expected")
        if not self._parser.should_keep_alive() or self._parser.should_upgrade():
            self._closing = True
        if self._streamed:
            self._wake()
            return
        body, self._whole = bytes(self._whole), bytearray()
        if self._headers.get("content-encoding") == "gzip":
            try:
                body = _unzipped(body, self._bound)
            except (zlib.error, ValueError) as error:
                self._complete = False
                self._fail(f"the answer cannot be unpacked: {error}")
                return
            except LongAnswerError as error:
                self._complete = False
                self._fail_with(error)
                return
        self._settle(HttpAnswer(self._status, self._headers, body))

    def _ends_with_connection(self) -> bool:
        """Return whether the body has no length of its own, so that the end of the connection is its end."""
        return "content-length" not in self._headers and "transfer-encoding" not in self._headers

    def _reset(self) -> None:
        self._status, self._headers = 0, {}
        self._whole = bytearray()
        self._pieces.clear()
        self._size = self._body_size = 0

    def _settle(self, answer: HttpAnswer) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    def _fail(self, message: str, *, cause: Exception | None = None) -> None:
        error = BrokenConnectionError(message, began=self._began)
        error.__cause__ = cause
        self._fail_with(error)

    def _fail_with(self, error: BrokenConnectionError) -> None:
        if self._error is not None:
            return
        self._error = error
        self._whole = bytearray()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(self._error)
        self._wake()
        self.close()


def _unzipped(body: bytes, bound: Bound) -> bytes:
    """Unpack gzip, as far as `bound`. Raises zlib.error, ValueError, LongAnswerError."""
    unpacker = zlib.decompressobj(_GZIP)
    unpacked = unpacker.decompress(body, bound.bytes + 1)
    if len(unpacked) > bound.bytes:
        raise LongAnswerError(bound)
    if not unpacker.eof:
        raise ValueError("it is cut short")
    return unpacked
