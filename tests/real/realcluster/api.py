"""A small client of one Kubernetes API server: requests, lists that are followed by watches, conditions.

Owns one aiohttp session; use it from the loop that made it. It retries nothing but `follow`, which goes on
through any outage until it is cancelled. The next modules are `podreadier` and `loadbalancers`.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import aiohttp
import orjson

from tests.support import waiting
from tests.support.waiting import SECONDS

Json: TypeAlias = dict[str, Any]
T = TypeVar("T")

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
RETRY_SECONDS = 0.25
REQUEST_SECONDS = 30.0

# What a request may raise while a cluster is lost.
LOST = (aiohttp.ClientError, TimeoutError, ConnectionError, ssl.SSLError)


class ApiError(Exception):
    """An answer of the API server other than 2xx: its HTTP `status`, its `reason`, its message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


class KubeApi:
    """Requests to one API server with a client certificate; paths are as in the Kubernetes REST API."""

    def __init__(self, server: str, *, authority: Path, certificate: Path, key: Path) -> None:
        self.server = server
        context = ssl.create_default_context(cafile=str(authority))
        context.load_cert_chain(certificate, key)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=64),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def get(self, path: str, **query: str) -> Json:
        """One object, a list, or another JSON answer."""
        return await self._request("GET", path, query=query)

    async def create(self, path: str, body: Json) -> Json:
        """POST to a collection or a subresource."""
        return await self._request("POST", path, body=body)

    async def replace(self, path: str, body: Json) -> Json:
        """PUT."""
        return await self._request("PUT", path, body=body)

    async def merge(self, path: str, body: Json) -> Json:
        """PATCH by JSON merge patch (RFC 7386)."""
        return await self._request("PATCH", path, body=body, content_type=MERGE_PATCH)

    async def apply(self, path: str, body: Json, *, manager: str = "test") -> Json:
        """Server-side apply, with force."""
        query = {"fieldManager": manager, "force": "true"}
        return await self._request("PATCH", path, body=body, query=query, content_type=APPLY_PATCH)

    async def delete(self, path: str, options: Json | None = None) -> Json:
        """DELETE with DeleteOptions."""
        return await self._request("DELETE", path, body=options)

    async def ready(self) -> bool:
        """Whether /readyz says so; False too while nothing answers."""
        soon = aiohttp.ClientTimeout(total=2)
        try:
            async with self._session.get(f"{self.server}/readyz", timeout=soon) as answer:
                return answer.status == 200
        except LOST:
            return False

    async def watch(
        self, path: str, resource_version: str, **more: str
    ) -> AsyncGenerator[tuple[str, Json], None]:
        """The changes of a collection after `resource_version`: (ADDED, MODIFIED or DELETED, object).

        `more` are further parameters, such as `labelSelector`. Close it (`contextlib.aclosing`) if you leave.
        Ends when the server ends it; raises `ApiError` where the server reports an error in the stream.
        """
        query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": resource_version} | more
        timeout = aiohttp.ClientTimeout(total=None, connect=5)
        async with self._session.get(f"{self.server}{path}", params=query, timeout=timeout) as answer:
            if answer.status != 200:
                raise _error(answer.status, await answer.read())
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise _error(event["object"].get("code", 500), orjson.dumps(event["object"]))
                    if event["type"] != "BOOKMARK":
                        yield event["type"], event["object"]

    async def follow(
        self, path: str, *, replace: Callable[[list[Json]], None], change: Callable[[str, Json], None]
    ) -> None:
        """Tell `replace` what a collection holds and `change` what happens to it, until cancelled.

        After an outage or a compaction it lists again, so `replace` can be called more than once.
        """
        while True:
            try:
                listed = await self.get(path)
                replace(listed["items"])
                async for kind, item in self.watch(path, listed["metadata"]["resourceVersion"]):
                    change(kind, item)
            except (ApiError, *LOST):
                await asyncio.sleep(RETRY_SECONDS)

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        async with self._session.request(
            method,
            f"{self.server}{path}",
            data=None if body is None else orjson.dumps(body),
            params=query,
            headers={"Content-Type": content_type},
        ) as answer:
            content = await answer.read()
            if answer.status >= 300:
                raise _error(answer.status, content)
            decoded: Json = orjson.loads(content)
            return decoded


async def until(probe: Callable[[], Awaitable[T]], *, what: str, seconds: float = SECONDS) -> T:
    """Call `probe` until its answer is true, and return it; an ApiError or a lost connection is no answer.

    Raises AssertionError after `seconds`.
    """
    return await waiting.until(probe, what=what, seconds=seconds, every=0.05, not_yet=(ApiError, *LOST))


def _error(status: int, content: bytes) -> ApiError:
    try:
        body = orjson.loads(content)
        return ApiError(status, body.get("reason", ""), body.get("message", ""))
    except (orjson.JSONDecodeError, AttributeError):
        return ApiError(status, "", content[:200].decode(errors="replace"))
