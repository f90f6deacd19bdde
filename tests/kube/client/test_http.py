"""The HTTP connections of ObjectClient, against a server that says byte for byte what a test wants."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.errors import ConfigError
from hanse.kube.client.bounds import Bound
from hanse.kube.client.http.connection import BrokenConnectionError, HttpConnection
from hanse.kube.client.http.pool import HttpPool, NotConnectedError, ProxyError
from hanse.security.pki import CertificateAuthority

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
DEADLINE = 10.0


class Scripted:
    """A server on 127.0.0.1 that runs `handler` per connection, and counts them."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.connections = 0
        self.port = 0

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
        """Serve until left."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            try:
                await self._handler(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            async with asyncio.timeout(DEADLINE):
                yield self
        finally:
            server.close()


async def head_of(reader: asyncio.StreamReader) -> str:
    """Return the head of the next request, and read its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    for line in head.lower().split("\r\n"):
        if line.startswith("content-length:"):
            await reader.readexactly(int(line.partition(":")[2]))
    return head


def saying(*answers: bytes, stay: bool = True) -> Handler:
    """Answer one request after the other with these bytes; then end, or wait with `stay`."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await head_of(reader)
            writer.write(answer)
            await writer.drain()
        if stay:
            await reader.read()

    return handle


def ok(body: bytes, *headers: str) -> bytes:
    """Return an answer 200 with a length."""
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body


@asynccontextmanager
async def pooled(handler: Handler, **options: object) -> AsyncIterator[tuple[HttpPool, Scripted]]:
    """A pool of connections to a server that runs `handler`."""
    async with Scripted(handler).serving() as server:
        pool = HttpPool(f"http://127.0.0.1:{server.port}", tls=None, **options)  # type: ignore[arg-type]
        try:
            yield pool, server
        finally:
            pool.close()


def get(pool: HttpPool, target: str = "/x") -> bytes:
    """Return a GET."""
    return pool.head("GET", target, "\r\n")


class Wire(asyncio.Transport):
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nWarning: a\r\nwarning: b\r\n\r\n"
    b"4\r\nabcd\r\n6;x=y\r\nefghij\r\n0\r\nTrailer: t\r\n\r\n"
)


@given(st.lists(st.integers(min_value=0, max_value=len(CHUNKED)), max_size=12))
@settings(max_examples=200)
def test_an_answer_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    """Interim answers, chunks, extensions, repeated headers and trailers, split anywhere."""

    async def scenario() -> None:
        wire, connection = Wire(), HttpConnection()
        connection.connection_made(wire)
        answer = connection.send(b"request")
        edges = [0, *sorted(cuts), len(CHUNKED)]
        for start, end in itertools.pairwise(edges):
            assert not answer.done()
            if start < end:
                connection.data_received(CHUNKED[start:end])
            if end == len(CHUNKED):
                break
        got = answer.result()
        assert (got.status, got.body, got.headers["warning"]) == (201, b"abcdefghij", "a, b")
        assert wire.sent == b"request"
        assert connection.reusable
        assert not wire.aborted

    asyncio.run(scenario())


async def test_a_connection_is_used_again() -> None:
    """One after the other needs one connection; at once, as many as there are requests, up to the limit."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await head_of(reader)
            await asyncio.sleep(0.01)
            writer.write(ok(head.split(" ")[1].encode()))

    async with pooled(handle, limit=3) as (pool, server):
        for _ in range(5):
            assert (await pool.request(get(pool))).body == b"/x"
        assert server.connections == 1
        answers = await asyncio.gather(*(pool.request(get(pool, f"/{n}")) for n in range(9)))
        assert [answer.body for answer in answers] == [b"/%d" % n for n in range(9)]
        assert server.connections == 3


async def test_a_server_that_says_close_is_believed() -> None:
    """Connection: close, and a body that ends with the connection, end it; the next request makes another."""
    without_length = b"HTTP/1.1 200 OK\r\n\r\nall of it"

    async with pooled(saying(ok(b"one", "Connection: close"))) as (pool, server):
        assert (await pool.request(get(pool))).body == b"one"
        assert (await pool.request(get(pool))).body == b"one"
        assert server.connections == 2
    async with pooled(saying(without_length, stay=False)) as (pool, server):
        assert (await pool.request(get(pool))).body == b"all of it"
        assert (await pool.request(get(pool))).body == b"all of it"
        assert server.connections == 2


async def test_a_stale_connection_is_replaced_for_what_may_be_repeated_only() -> None:
    """A server that closes an idle connection as it is used again: a read is sent again, a write is not."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(ok(b"first"))
        await head_of(reader)  # and no answer to the second

    async with pooled(handle) as (pool, server):
        await pool.request(get(pool))
        assert (await pool.request(get(pool), repeatable=True)).body == b"first"
        assert server.connections == 2
        with pytest.raises(BrokenConnectionError) as raised:
            await pool.request(get(pool))
        assert not raised.value.began
        assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nother",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Encoding: gzip\r\n\r\njunk",
    ],
    ids=["cut", "cut-chunks", "not-http", "upgrade", "not-gzip"],
)
async def test_half_an_answer_is_an_error(answer: bytes) -> None:
    """What was cut short or makes no sense is never taken for an answer, nor asked for again."""
    async with pooled(saying(answer, stay=False)) as (pool, server):
        with pytest.raises(BrokenConnectionError) as raised:
            await pool.request(get(pool), repeatable=True)
        assert raised.value.began
        assert server.connections == 1


async def test_what_nobody_asked_for_ends_the_connection() -> None:
    """A second answer to one request is not taken for that to the next."""
    async with pooled(saying(ok(b"one") + ok(b"two"))) as (pool, server):
        assert (await pool.request(get(pool))).body == b"one"
        assert (await pool.request(get(pool))).body == b"one"
        assert server.connections == 2


async def test_an_answer_without_end_is_cut() -> None:
    """A body, packed or not, or a head that is longer than any honest one is an error."""
    bound = Bound("a test", 1000)
    bomb = gzip.compress(b"0" * 5000)
    assert len(bomb) < 1000
    endless = b"HTTP/1.1 200 OK\r\nX-Header: " + b"y" * 1_000_000
    for answer in (ok(b"0" * 5000), ok(bomb, "Content-Encoding: gzip"), endless):
        async with pooled(saying(answer)) as (pool, _):
            with pytest.raises(BrokenConnectionError, match="longer than"):
                await pool.request(get(pool), bound=bound)


async def test_giving_up_closes_the_connection() -> None:
    """After a cancelled request its connection is gone, so that its answer cannot reach another."""
    async with pooled(saying(stay=True)) as (pool, server):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.request(get(pool))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.request(get(pool))
        assert server.connections == 2


async def test_nobody_there_is_told_apart_from_no_answer() -> None:
    """A refused connection says that nothing was sent."""
    async with pooled(saying()) as (pool, server):
        port = server.port
    pool = HttpPool(f"http://127.0.0.1:{port}", tls=None)
    with pytest.raises(NotConnectedError):
        await pool.request(get(pool))


async def test_a_stream_comes_in_pieces_and_waits_for_its_reader() -> None:
    """Pieces come as they are sent; a reader that is slow holds the sender, and loses nothing."""
    sent = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        writer.transport.set_write_buffer_limits(high=1 << 16)
        piece = b"10000\r\n" + b"p" * 0x10000 + b"\r\n"
        for _ in range(1000):
            writer.write(piece)
            await writer.drain()
            sent += 1
        writer.write(b"0\r\n\r\n")

    async with pooled(handle) as (pool, _), pool.stream(get(pool)) as (answer, pieces):
        assert answer.status == 200
        first = await anext(pieces)
        assert first.startswith(b"first")
        stopped_at = -1
        while stopped_at != sent:
            stopped_at = sent
            await asyncio.sleep(0.1)
        assert stopped_at < 1000
        size = len(first) + sum([len(piece) async for piece in pieces])
        assert size == 5 + 1000 * 0x10000


async def test_a_stream_that_breaks_says_so() -> None:
    """What came before is had; then the break is an error, not an end."""
    cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
    async with pooled(saying(cut, stay=False)) as (pool, _), pool.stream(get(pool)) as (_, pieces):
        assert await anext(pieces) == b"first"
        with pytest.raises(BrokenConnectionError):
            await anext(pieces)


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


async def test_a_proxy_tunnels_to_a_server_with_tls(tmp_path: object) -> None:
    """CONNECT with credentials, then TLS with the server itself through it; a refusal says what it says."""
    authority = CertificateAuthority.create()
    pair = authority.issue_local("server")
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    files = pair.write(tmp_path, "server", ca_pem=authority.ca_pem)  # type: ignore[arg-type]
    serving.load_cert_chain(files.cert, files.key)
    trusting.load_verify_locations(files.ca)
    asked: list[str] = []

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await head_of(reader)
        asked.append(head)
        if "Proxy-Authorization: Basic dTpw" not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return
        host, _, port = head.split(" ")[1].rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_relay(reader, far_writer), _relay(far_reader, writer))

    async with (
        Scripted(saying(ok(b"one"), ok(b"two"))).serving(serving) as server,
        Scripted(connect).serving() as proxy,
    ):
        url = f"https://127.0.0.1:{server.port}"
        pool = HttpPool(url, tls=trusting, proxy=f"http://u:p@127.0.0.1:{proxy.port}")
        assert [(await pool.request(get(pool))).body for _ in range(2)] == [b"one", b"two"]
        assert proxy.connections == 1
        assert asked[0].startswith(f"CONNECT 127.0.0.1:{server.port} ")
        pool.close()
        refused = HttpPool(url, tls=trusting, proxy=f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(ProxyError, match=rf"its proxy http://127.0.0.1:{proxy.port} refuses .* 407"):
            await refused.request(get(refused))


@pytest.mark.parametrize("tls", [True, False])
async def test_a_dead_proxy_is_named_as_the_proxy(tls: bool) -> None:
    """And not the server behind it, whether it refuses connections or answers nothing."""
    context = ssl.create_default_context() if tls else None
    url = f"{'https' if tls else 'http'}://127.0.0.1:1"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        pool = HttpPool(url, tls=context, proxy=f"http://u:p@127.0.0.1:{port}")
        with pytest.raises(ProxyError, match=f"its proxy http://127.0.0.1:{port} cannot be reached"):
            await pool.request(get(pool))
        if not tls:
            return
        taken.listen()
        silent = HttpPool(url, tls=context, proxy=f"http://127.0.0.1:{port}", connect_seconds=0.1)
        with pytest.raises(ProxyError, match=f"its proxy http://127.0.0.1:{port} does not answer within"):
            await silent.request(get(silent))


@pytest.mark.parametrize("url", ["ftp://host", "https://", "http://[::1", "http://host:port"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """The error names the address."""
    with pytest.raises(ConfigError, match="address"):
        HttpPool(url, tls=None)


@pytest.mark.parametrize(
    "url", ["http://u:secret@h:99999", "http://u:secret@", "http://u:secret/x@h", "http://u:a@secret@h:x"]
)
def test_a_proxy_is_named_without_its_password(url: str) -> None:
    """Errors are logged and shown."""
    with pytest.raises(ConfigError) as caught:
        HttpPool("http://127.0.0.1:1", tls=None, proxy=url)
    assert "secret" not in str(caught.value)
