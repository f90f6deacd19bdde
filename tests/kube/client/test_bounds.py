"""What a member sends is bounded while it is read, whatever was asked, and only so much of it is kept."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.kube.client import bounds
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.bounds import (
    DISCOVERY,
    EVENT,
    OBJECT,
    PAGE,
    SCHEMA,
    WORDS,
    AnswerTooLongError,
    Bound,
    ListBudget,
    MisbehavingMemberError,
    answer_bound,
)
from hanse.kube.client.pace import Bucket, Pace
from hanse.kube.client.requests import GroupVersionResource
from tests.kube.client.test_http import Handler, Scripted, head_of, ok
from tests.support import objects
from tests.support.object_client import ObjectClient

MIB = 1024 * 1024
MAPS = GroupVersionResource("v1", "configmaps")


@asynccontextmanager
async def member(handler: Handler, *, timeout: float = 5.0) -> AsyncIterator[ObjectClient]:
    """A client of a server that runs `handler`."""
    async with Scripted(handler).serving() as server:
        access = ClusterAccess(server=f"http://127.0.0.1:{server.port}", token="t")
        async with ObjectClient(access, timeout=timeout) as client:
            yield client


def answering(answer: Callable[[str], bytes]) -> Handler:
    """Answer each request with what `answer` makes of its head."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(answer(await head_of(reader)))
            await writer.drain()

    return handle


def endless(head: bytes, piece: bytes) -> Handler:
    """Answer with `head`, then with `piece` for ever."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()

    return handle


TYPE = "Content-Type: application/json"


def config_map(name: str, **more: Any) -> dict[str, Any]:
    """Return a ConfigMap as a server has it."""
    return {**objects.config_map(name, namespace="default", uid="u", resourceVersion="1"), **more}


CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"
BOMB = gzip.compress(b" " * 64 * MIB)


@pytest.mark.parametrize(
    "handler",
    [
        endless(CHUNKS, b"10000\r\n" + b" " * 0x10000 + b"\r\n"),
        endless(CHUNKS, (b"40\r\n" + b" " * 64 + b"\r\n") * 1000),
        endless(CHUNKS + b"2\r\n{}\r\n0\r\n", b"Trailer: " + b"t" * 1000 + b"\r\n"),
        endless(CHUNKS, b"1;" + b"x" * 100_000),
        endless(LENGTH, b" " * 0x10000),
        endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 0x10000),
        endless(b"HTTP/1.1 200 OK\r\n", b"X-Header: " + b"y" * 1000 + b"\r\n"),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        answering(lambda _: ok(BOMB, "Content-Encoding: gzip")),
    ],
    ids=["chunks", "tiny-chunks", "trailers", "extensions", "length", "until-closed", "headers", "interim",
         "gzip-bomb"],
)  # fmt: skip
async def test_an_answer_without_end_costs_no_more_than_its_bound(handler: Handler) -> None:
    """Whatever of it has no end, it ends the request, and little of it is ever in memory."""
    async with member(handler, timeout=8.0) as client:
        tracemalloc.start()
        try:
            with pytest.raises(Exception, match=r"more than|longer than|bytes") as raised:
                await client.get(MAPS, "web", namespace="default")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert "UnavailableError" in [cls.__name__ for cls in type(raised.value).__mro__]
    assert peak < 4 * OBJECT.bytes


async def test_an_answer_that_is_too_long_says_what_and_how_much() -> None:
    """The error is of its own class: which server, of what, and the bound."""
    async with member(answering(lambda _: ok(b" " * (OBJECT.bytes + 1)))) as client:
        with pytest.raises(
            AnswerTooLongError, match=rf"127.0.0.1.*{OBJECT.bytes} bytes as an object"
        ) as raised:
            await client.get(MAPS, "web", namespace="default")
    assert raised.value.reason == "MISBEHAVING_MEMBER"
    assert raised.value.metadata["bound"] == str(OBJECT.bytes)


async def test_an_answer_at_its_bound_is_taken() -> None:
    """The bound itself is allowed, packed or not."""
    obj = config_map("web")
    body = orjson.dumps(obj).ljust(OBJECT.bytes)
    for answer in (ok(body, TYPE), ok(gzip.compress(body), TYPE, "Content-Encoding: gzip")):
        async with member(answering(lambda _, answer=answer: answer)) as client:  # type: ignore[misc]
            assert await client.get(MAPS, "web", namespace="default") == obj


@pytest.mark.parametrize("data", [{f"{number:x}": 0 for number in range(260_000)}, [[]] * 900_000])
async def test_an_answer_that_is_too_dense_is_not_decoded(data: Any) -> None:
    """Keys, maps and lists count, since decoding them holds the loop; the same bytes as text are fine."""
    dense = orjson.dumps({**config_map("web"), "data": data})
    assert len(dense) < OBJECT.bytes
    async with member(answering(lambda _: ok(dense, TYPE))) as client:
        with pytest.raises(AnswerTooLongError, match="too many keys, maps and lists as an object"):
            await client.get(MAPS, "web", namespace="default")
    text = {**config_map("web"), "data": {"a": orjson.dumps(data).decode()}}
    async with member(answering(lambda _: ok(orjson.dumps(text), TYPE))) as client:
        assert await client.get(MAPS, "web", namespace="default") == text


async def test_a_dense_page_is_asked_for_again_with_fewer_objects() -> None:
    """As one that is too long."""
    asked: list[int] = []

    def pages(request: str) -> bytes:
        (limit,) = parse_qs(urlsplit(request.split()[1]).query)["limit"]
        asked.append(int(limit))
        more: dict[str, Any] = {"data": {f"key{number}": "" for number in range(500)}}
        return page([f"c{number}" for number in range(int(limit))], **more)

    async with member(answering(pages)) as client:
        assert len((await client.list(MAPS)).items) == 50
    assert asked == [500, 50]


@pytest.mark.parametrize(
    ("method", "path", "bound"),
    [
        ("GET", "/readyz", WORDS),
        ("GET", "/version", WORDS),
        ("GET", "/api", DISCOVERY),
        ("GET", "/apis", DISCOVERY),
        ("GET", "/api/v1", DISCOVERY),
        ("GET", "/apis/apps/v1", DISCOVERY),
        ("GET", "/openapi/v3/apis/apps/v1", SCHEMA),
        ("GET", "/api/v1/nodes", PAGE),
        ("GET", "/api/v1/namespaces", PAGE),
        ("GET", "/api/v1/namespaces/kube-system", OBJECT),
        ("GET", "/api/v1/namespaces/default/pods?limit=5", PAGE),
        ("GET", "/api/v1/namespaces/default/pods/web", OBJECT),
        ("GET", "/apis/apps/v1/deployments?watch=", PAGE),
        ("PATCH", "/apis/apps/v1/namespaces/default/deployments/web?force=true", OBJECT),
        ("POST", "/apis/apps/v1/namespaces/default/deployments", OBJECT),
    ],
)
def test_each_kind_of_request_has_its_bound(method: str, path: str, bound: Bound) -> None:
    """What is asked says how long the answer may be."""
    assert answer_bound(method, path) is bound


def page(names: list[str], token: str = "", **more: Any) -> bytes:
    """Return the answer that is a page of ConfigMaps."""
    items = [config_map(name, **more) for name in names]
    metadata = {"resourceVersion": "7", **({"continue": token} if token else {})}
    body = {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata, "items": items}
    return ok(orjson.dumps(body), TYPE)


async def test_a_list_that_leads_to_itself_is_misbehaving() -> None:
    """The same token again: the list has no end."""
    numbers = iter(range(100_000_000))
    async with member(answering(lambda _: page([f"c{next(numbers)}"], "token"))) as client:
        with pytest.raises(MisbehavingMemberError, match="has no end"):
            await client.list(MAPS)


async def test_a_list_in_a_circle_is_misbehaving() -> None:
    """Pages that lead to one another, and have nothing new or nothing at all, have no end either."""
    asked = itertools.count()
    async with member(answering(lambda _: page([], f"token-{next(asked) % 3}"))) as client:
        with pytest.raises(MisbehavingMemberError, match="has no end"):
            await client.list(MAPS)
    assert next(asked) == 4


async def test_a_list_that_repeats_itself_is_misbehaving() -> None:
    """The same objects again behind another token."""
    numbers = iter(range(100_000_000))
    async with member(answering(lambda _: page(["web"], f"token-{next(numbers)}"))) as client:
        with pytest.raises(MisbehavingMemberError, match="'web' twice"):
            await client.list_metadata(MAPS)


async def test_a_list_without_end_is_cut_at_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """New objects and new tokens for ever: so many objects, bytes or pages, and no more."""
    numbers = iter(range(100_000_000))

    def more(_: str) -> bytes:
        return page([f"c{next(numbers)}" for _ in range(100)], f"token-{next(numbers)}")

    monkeypatch.setattr(bounds, "LIST_ITEMS", 1000)
    async with member(answering(more)) as client:
        with pytest.raises(MisbehavingMemberError, match="more than 1000 objects"):
            await client.list(MAPS)
        with pytest.raises(MisbehavingMemberError, match="more than 20000 bytes"):
            async for _ in client.pages(MAPS, bytes_in_all=20_000):
                pass
        monkeypatch.setattr(bounds, "LIST_PAGES", 3)
        with pytest.raises(MisbehavingMemberError, match="more than 3 pages"):
            await client.list(MAPS)


async def test_a_page_of_large_objects_is_asked_for_in_smaller_ones() -> None:
    """Objects of 1 MiB are listed all the same, a few at a time, and none twice."""
    limits: list[int] = []

    def large(head: str) -> bytes:
        query = head.split(" ")[1].partition("?")[2]
        asked = dict(part.split("=") for part in query.split("&"))
        start, limit = int(asked.get("continue", 0)), int(asked["limit"])
        limits.append(limit)
        end = min(7, start + limit)
        names = [f"c{n}" for n in range(start, end)]
        return page(names, str(end) if end < 7 else "", data={"a": "x" * MIB})

    async with member(answering(large)) as client:
        listed = await client.list(MAPS)
    assert [item["metadata"]["name"] for item in listed.items] == [f"c{n}" for n in range(7)]
    assert limits[:3] == [500, 50, 5]


@given(st.lists(st.integers(min_value=0, max_value=30), max_size=8))
def test_any_honest_list_is_within_its_budget(sizes: list[int]) -> None:
    """Pages of any sizes, empty ones too, with tokens that lead on."""
    budget = ListBudget("the list")
    for number, size in enumerate(sizes):
        budget.received(100)
        budget.page([{"metadata": {"name": f"c{number}-{n}"}} for n in range(size)], f"t{number}")


async def test_an_event_without_end_is_cut() -> None:
    """A watch that sends one line for ever is misbehaving, and little of it is in memory."""
    async with member(endless(CHUNKS, b"10000\r\n" + b" " * 0x10000 + b"\r\n")) as client:
        tracemalloc.start()
        try:
            with pytest.raises(MisbehavingMemberError, match=f"{EVENT.bytes} bytes as an event"):
                async for _ in client.watch(MAPS, resource_version="1"):
                    pass
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4 * EVENT.bytes


async def test_a_watch_whose_head_does_not_come_ends() -> None:
    """A member that takes the request and says nothing is given up."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await reader.read()

    async with member(silent) as client:
        with pytest.raises(Exception, match="did not answer in time"):
            async for _ in client.watch(MAPS, resource_version="1", idle_seconds=0.2):
                pass


def event(number: int, size: int = 10) -> bytes:
    """Return a chunk with one event."""
    obj = config_map("web", data={"x": "y" * size})
    obj["metadata"]["resourceVersion"] = str(number)
    line = orjson.dumps({"type": "MODIFIED", "object": obj}) + b"\n"
    return b"%x\r\n%b\r\n" % (len(line), line)


async def test_a_flood_of_events_holds_the_member_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes too fast waits in the member: none is dropped, and little is kept here."""
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await head_of(reader)
        writer.transport.set_write_buffer_limits(high=1 << 16)
        writer.write(CHUNKS)
        while True:
            writer.write(event(sent, 4000))
            await writer.drain()
            sent += 1

    async with member(flood) as client:
        client._pace = Pace("the member", rate=200.0, burst=100.0)
        got: list[int] = []
        async with aclosing(client.watch(MAPS, resource_version="1")) as events:  # type: ignore[type-var]
            async for _, obj in events:
                got.append(int(obj["metadata"]["resourceVersion"]))
                if len(got) == 300:
                    break
    assert got == list(range(300))
    assert sent < 300 + 20 * MIB // 4000


async def test_a_flood_that_does_not_end_is_misbehaving() -> None:
    """More than is read for longer than patience lasts."""
    async with member(endless(CHUNKS, event(1) * 100)) as client:
        client._pace = Pace("the member", rate=1000.0, burst=10.0, patience=0.3)
        with pytest.raises(MisbehavingMemberError, match="more than 1000 events a second"):
            async for _ in client.watch(MAPS, resource_version="1"):
                pass


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 50)), min_size=1, max_size=60))
def test_no_more_than_rate_and_burst_pass(steps: list[tuple[float, int]]) -> None:
    """By any sequence of gaps and weights, all that was let pass is at most burst and rate times time."""
    bucket = Bucket(rate=10.0, burst=20.0, tokens=20.0, at=0.0)
    now = taken = 0.0
    for gap, weight in steps:
        now += gap
        assert taken <= 20.0 + 10.0 * now + 1e-6
        taken += weight
        now += bucket.take(now, weight)


def test_who_is_quiet_for_a_while_is_not_behind() -> None:
    """A burst that was read in the end does not count against the next one."""
    bucket = Bucket(rate=10.0, burst=20.0, tokens=20.0, at=0.0)
    assert bucket.take(0.0, 50) == pytest.approx(3.0)
    assert bucket.behind_since == 0.0
    bucket.take(3.0, 1)
    assert bucket.behind_since == 0.0
    bucket.take(5.0, 1)
    assert bucket.behind_since is None
