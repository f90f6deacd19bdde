"""A list is read to its end, in pages that get smaller where objects are large, or it is an error."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import UnavailableError
from hanse.kube.client import requests
from hanse.kube.client.answer import Answer
from hanse.kube.client.bounds import PAGE, MisbehavingMemberError
from hanse.kube.client.paging import ListPage, list_pages
from hanse.kube.client.requests import ApiRequest, GroupVersionResource

PODS = GroupVersionResource("v1", "pods", "Pod")


class Server:
    """A server with so many pods, which sends no page of more than `largest` of them."""

    def __init__(self, count: int, largest: int) -> None:
        self.count = count
        self.largest = largest
        self.limits: list[int] = []

    async def send(self, request: ApiRequest) -> Answer:
        """Return a page."""
        params = request.params or {}
        limit, start = int(params["limit"]), int(params.get("continue") or 0)
        self.limits.append(limit)
        if limit > self.largest:
            raise PAGE.exceeded("the server")
        end = min(start + limit, self.count)
        items = [{"metadata": {"name": f"p{number}", "uid": "u"}} for number in range(start, end)]
        return answer(items, token=str(end) if end < self.count else "")


def answer(items: list[dict[str, Any]] | None, *, token: str = "", version: str = "7") -> Answer:
    """A page as an answer that counts."""
    metadata = {"resourceVersion": version, "continue": token}
    document = {"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items}
    return Answer(200, {}, orjson.dumps(document), document)


async def read(
    send: Callable[[ApiRequest], Any], *, limit: int = 500, **options: Any
) -> tuple[list[ListPage], list[str]]:
    """Read a list; return its pages and the names in it."""
    pages = list_pages(send, requests.list_objects(PODS), what="the list", limit=limit, **options)
    async with aclosing(pages):
        found = [page async for page in pages]
    return found, [item["metadata"]["name"] for page in found for item in page.items]


@given(count=st.integers(0, 120), largest=st.integers(1, 50), limit=st.integers(1, 60))
async def test_every_object_comes_once_in_whatever_pages(count: int, largest: int, limit: int) -> None:
    """The law: a list that ends without an error is complete, and says where to watch from."""
    server = Server(count, largest)
    pages, names = await read(server.send, limit=limit)
    assert names == [f"p{number}" for number in range(count)]
    assert [page.more for page in pages] == [True] * (len(pages) - 1) + [False]
    assert pages[-1].resource_version == "7"
    assert sorted(server.limits, reverse=True) == server.limits, "a page never grows again"
    assert all((item["kind"], item["apiVersion"]) == ("Pod", "v1") for page in pages for item in page.items)


async def test_one_object_that_is_too_large_is_an_error() -> None:
    """No page is smaller than of one."""
    server = Server(3, 0)
    with pytest.raises(MisbehavingMemberError):
        await read(server.send)
    assert server.limits == [500, 50, 5, 1]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([answer([{"metadata": {"name": "a"}}], token="t"), answer([{"metadata": {"name": "a"}}])], "twice"),
        ([answer([], token="t"), answer([], token="u"), answer([], token="t")], "no end"),
    ],
)
async def test_a_list_without_end_is_misbehaviour(answers: list[Answer], words: str) -> None:
    """Neither the same object twice nor a page that leads back."""
    left = list(answers)

    async def send(request: ApiRequest) -> Answer:
        return left.pop(0)

    with pytest.raises(MisbehavingMemberError, match=words):
        await read(send)


async def test_a_list_has_a_bound_of_bytes_in_all() -> None:
    """Whatever the pages are."""
    with pytest.raises(MisbehavingMemberError, match="bytes"):
        await read(Server(100, 100).send, limit=10, bytes_in_all=1000)


async def test_what_the_sender_raises_ends_the_list() -> None:
    """After the pages that came before; an empty list of metadata has null for items."""
    left: list[Answer | Exception] = [
        answer([{"metadata": {"name": "a"}}], token="t"),
        UnavailableError("gone"),
    ]

    async def send(request: ApiRequest) -> Answer:
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async with aclosing(list_pages(send, requests.list_objects(PODS), what="the list")) as pages:
        assert len((await anext(pages)).items) == 1
        with pytest.raises(UnavailableError, match="gone"):
            await anext(pages)
    left[:] = [answer(None)]
    assert await read(send) == ([ListPage([], "7")], [])
