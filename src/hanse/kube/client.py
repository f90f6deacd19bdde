"""A lean asynchronous client of one Kubernetes API server.

Owns what requests look like and what answers mean; used from the event loop that entered it, by any number of
tasks at once. Bodies are orjson; errors are `HanseError`s made from the server's Status. It retries what the
server refused with 429 and a time to wait, and nothing else: whoever calls decides about everything that may
have happened. Next: `hanse.kube.http_pool` for the connections, `hanse.kube.access` for where they lead.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote, urlencode

import orjson
from opentelemetry import propagate

from hanse.errors import OUTCOME_UNKNOWN as UNKNOWN
from hanse.errors import (
    ConfigError,
    DeadlineError,
    HanseError,
    InternalError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
)
from hanse.kube.access import ClusterAccess
from hanse.kube.http_pool import HttpPool, NotConnectedError
from hanse.kube.objects import Object, mapping, name_of, namespace_of, parse_api_version
from hanse.kube.resource_info import ResourceInfo
from hanse.kube.status import from_status

JSON = "application/json"
AS_METADATA_LIST = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
AS_METADATA = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
MAX_LINE_BYTES = 64 * 1024 * 1024
"""Longest event of a watch that is taken in."""

PAGE = 500
"""Objects per page of a list."""

CONNECT_SECONDS = 10.0
"""How long a connection may take to be made, within a request's own time."""

PatchType = Literal["merge", "json", "strategic"]
Propagation = Literal["", "Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class ResourcePath:
    """Names a resource in a version: `ResourcePath("apps/v1", "deployments")`."""

    api_version: str
    plural: str

    def url(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the URL path of the collection or, with a name, of an object or its subresource."""
        group, version = parse_api_version(self.api_version)
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        if namespace:
            path += f"/namespaces/{quote(namespace, safe='')}"
        path += f"/{self.plural}"
        if name:
            path += f"/{quote(name, safe='')}"
        return f"{path}/{subresource}" if subresource else path


@dataclass(frozen=True, slots=True)
class ObjectList:
    """A complete list and the resourceVersion to watch from."""

    items: list[Object]
    resource_version: str


class KubeClient:
    """Requests to one API server."""

    def __init__(
        self,
        access: ClusterAccess,
        *,
        field_manager: str = "hanse",
        timeout: float = 30.0,
        connections: int = 64,
        retries: int = 3,
        user_agent: str = "hanse",
    ) -> None:
        """`timeout` is for one request in seconds, watches excepted; `retries` is for 429 answers."""
        self.access = access
        self._field_manager = field_manager
        self._timeout = timeout
        self._connections = connections
        self._retries = retries
        self._standing = _standing_headers(access, user_agent)
        self._pool: HttpPool | None = None

    async def __aenter__(self) -> Self:
        """Get ready; nothing is sent. Raises ConfigError if the address or certificates cannot be used."""
        access = self.access
        self._pool = HttpPool(
            access.server,
            tls=access.ssl_context(),
            server_name=access.tls_server_name,
            proxy=access.proxy_url,
            limit=self._connections,
            connect_seconds=min(self._timeout, CONNECT_SECONDS),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self.close()

    async def close(self) -> None:
        """Close all connections. Doing it twice is harmless."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.close()

    # Reading.

    async def get(self, resource: ResourcePath, name: str, *, namespace: str = "") -> Object:
        """Return an object. Raises NotFoundError."""
        return await self._json("GET", resource.url(namespace, name))

    async def list(
        self,
        resource: ResourcePath,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = PAGE,
    ) -> ObjectList:
        """Return all objects of a resource, read in pages of `limit`; the list is complete or an error.

        Raises CompactedError if it took too long between two pages. Items have apiVersion and kind.
        """
        return await self._list(
            resource, JSON, namespace=namespace, label_selector=label_selector,
            field_selector=field_selector, resource_version=resource_version, limit=limit,
        )  # fmt: skip

    async def list_metadata(
        self,
        resource: ResourcePath,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = PAGE,
    ) -> ObjectList:
        """Return the metadata of all objects of a resource; as `list` otherwise."""
        return await self._list(
            resource, AS_METADATA_LIST, namespace=namespace, label_selector=label_selector,
            field_selector=field_selector, resource_version=resource_version, limit=limit,
        )  # fmt: skip

    async def _list(
        self, resource: ResourcePath, accept: str, *, namespace: str, label_selector: str,
        field_selector: str, resource_version: str, limit: int,
    ) -> ObjectList:  # fmt: skip
        params = _params(
            labelSelector=label_selector, fieldSelector=field_selector, limit=str(limit) if limit else ""
        )
        first = {**params, **_params(resourceVersion=resource_version)}
        page = await self._json("GET", resource.url(namespace), params=first, accept=accept)
        items: list[Object] = []
        while True:
            found = page.get("items")
            if not isinstance(found, list) and not (found is None and "metadata" in page):
                raise InternalError(
                    f"{self.access.server} answered a list of {resource.plural} without items"
                )
            items += _typed(found or [], page)
            token = mapping(page, "metadata").get("continue")
            if not token:
                version = str(mapping(page, "metadata").get("resourceVersion") or "")
                return ObjectList(items, version)
            page = await self._json(
                "GET", resource.url(namespace), params={**params, "continue": token}, accept=accept
            )

    async def watch(
        self,
        resource: ResourcePath,
        *,
        resource_version: str,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        bookmarks: bool = True,
        timeout_seconds: int = 300,
        metadata_only: bool = False,
        idle_seconds: float | None = None,
    ) -> AsyncIterator[tuple[str, Object]]:
        """Yield (type, object) for every change after `resource_version`; ends when the server ends it.

        The type is ADDED, MODIFIED, DELETED or BOOKMARK (of which only the resourceVersion means anything).
        Raises CompactedError if the server no longer knows the revision; UnavailableError if the connection
        breaks, or nothing at all comes for `idle_seconds`.
        """
        params = _params(
            watch="true", resourceVersion=resource_version, labelSelector=label_selector,
            fieldSelector=field_selector, timeoutSeconds=str(timeout_seconds),
            allowWatchBookmarks="true" if bookmarks else "",
        )  # fmt: skip
        idle = idle_seconds or timeout_seconds + 30
        accept = AS_METADATA if metadata_only else JSON
        request = self._request("GET", resource.url(namespace), params, {"Accept": accept}, b"")
        try:
            async with self._open().stream(request) as (answer, pieces):
                if answer.status != 200:
                    async with asyncio.timeout(self._timeout):
                        body = b"".join([piece async for piece in pieces])
                    raise _error(answer.status, body, answer.headers)
                async with aclosing(_lines(_within(pieces, idle))) as lines:
                    async for line in lines:
                        yield _event(line)
        except (OSError, TimeoutError) as error:
            raise _unreachable(self.access.server, error, sent=False) from error

    # Writing.

    async def apply(
        self,
        resource: ResourcePath,
        obj: Object,
        *,
        force: bool = False,
        field_manager: str = "",
        dry_run: bool = False,
        subresource: str = "",
    ) -> Object:
        """Server-side apply an object, which names its namespace; return what it is now.

        Raises ConflictError with `causes` if another manager owns a field, unless `force`.
        """
        params = _params(
            fieldManager=field_manager or self._field_manager,
            force="true" if force else "",
            dryRun="All" if dry_run else "",
        )
        url = resource.url(namespace_of(obj), name_of(obj), subresource)
        return await self._json(
            "PATCH", url, params=params, body=orjson.dumps(obj), content=_PATCHES["apply"]
        )

    async def create(self, resource: ResourcePath, obj: Object, *, dry_run: bool = False) -> Object:
        """Create an object and return it. Raises AlreadyExistsError."""
        params = _params(fieldManager=self._field_manager, dryRun="All" if dry_run else "")
        url = resource.url(namespace_of(obj))
        return await self._json("POST", url, params=params, body=orjson.dumps(obj))

    async def update(
        self, resource: ResourcePath, obj: Object, *, subresource: str = "", dry_run: bool = False
    ) -> Object:
        """Replace an object and return it. A resourceVersion in it is an optimistic lock: ConflictError."""
        params = _params(fieldManager=self._field_manager, dryRun="All" if dry_run else "")
        url = resource.url(namespace_of(obj), name_of(obj), subresource)
        return await self._json("PUT", url, params=params, body=orjson.dumps(obj))

    async def patch(
        self,
        resource: ResourcePath,
        name: str,
        patch: Any,
        *,
        namespace: str = "",
        patch_type: PatchType = "merge",
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Patch an object and return it."""
        params = _params(fieldManager=self._field_manager, dryRun="All" if dry_run else "")
        url = resource.url(namespace, name, subresource)
        return await self._json(
            "PATCH", url, params=params, body=orjson.dumps(patch), content=_PATCHES[patch_type]
        )

    async def delete(
        self,
        resource: ResourcePath,
        name: str,
        *,
        namespace: str = "",
        uid: str = "",
        resource_version: str = "",
        propagation: Propagation = "Background",
        grace_seconds: int | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Delete an object; return it if it waits for something, else a Status. Raises NotFoundError.

        With `uid` or `resource_version` only that very object: ConflictError for another one.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        preconditions = _params(uid=uid, resourceVersion=resource_version)
        if preconditions:
            options["preconditions"] = preconditions
        if propagation:
            options["propagationPolicy"] = propagation
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if dry_run:
            options["dryRun"] = ["All"]
        return await self._json("DELETE", resource.url(namespace, name), body=orjson.dumps(options))

    # The server itself.

    async def version(self) -> Object:
        """Return what /version says."""
        return await self._json("GET", "/version")

    async def healthy(self) -> None:
        """Return if the server says that it is ready. Raises UnavailableError with what it says instead."""
        status, _, body = await self.raw("GET", "/readyz")
        if status != 200:
            said = body.decode(errors="replace").strip()[:200]
            raise UnavailableError(f"{self.access.server} is not ready ({status}): {said}")

    async def openapi_v3(self, api_version: str) -> Object:
        """Return the OpenAPI v3 document of a group and version such as apps/v1. Raises NotFoundError."""
        group, version = parse_api_version(api_version)
        path = f"apis/{group}/{version}" if group else f"api/{version}"
        return await self._json("GET", f"/openapi/v3/{path}")

    async def discover(self) -> Sequence[ResourceInfo]:
        """Return all resources that the server serves, the preferred version of each group first.

        Uses aggregated discovery where the server has it. Raises UnavailableError if a part is missing: an
        incomplete catalogue would read as if kinds were gone.
        """
        from hanse.kube.discovered import discover

        return await discover(self)

    async def json(self, path: str, *, accept: str = JSON) -> tuple[Object, str]:
        """Return the decoded answer to a GET and its content type. Raises the error that it means."""
        status, headers, body = await self.raw("GET", path, headers={"Accept": accept})
        if status != 200:
            raise _error(status, body, headers)
        return _decoded(body, self.access.server), headers.get("content-type", "")

    async def raw(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send a request; return status, headers by lower-case name, and body, whatever the status is.

        Raises UnavailableError or DeadlineError if there is no answer; for a write with reason
        OUTCOME_UNKNOWN if it may have happened.
        """
        carrier = dict(headers or {})
        propagate.inject(carrier)
        reading = method == "GET"
        if reading:
            carrier["Accept-Encoding"] = "gzip"
        request = self._request(method, path, params, carrier, body or b"")
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._open().request(request, repeatable=reading)
        except (OSError, TimeoutError) as error:
            raise _unreachable(self.access.server, error, sent=not reading) from error
        return answer.status, answer.headers, answer.body

    async def _json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content: str = JSON,
        accept: str = JSON,
    ) -> Object:
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content
        for attempt in range(self._retries + 1):
            status, answered, raw = await self.raw(method, path, params=params, body=body, headers=headers)
            if status < 300:
                return _decoded(raw, self.access.server)
            error = _error(status, raw, answered)
            wait = error.retry_after
            if not isinstance(error, ResourceExhaustedError) or wait is None or attempt == self._retries:
                raise error
            await asyncio.sleep(min(wait, self._timeout))
        raise AssertionError("unreachable")

    def _open(self) -> HttpPool:
        if self._pool is None:
            raise ConfigError("the client is not open: use it with `async with`")
        return self._pool

    def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str],
        body: bytes,
    ) -> bytes:
        """Return a request as it goes over the wire."""
        if params:
            path = f"{path}?{urlencode(params, quote_via=quote)}"
        if any(char in path for char in " \r\n"):
            raise InvalidArgumentError(f"the path {path!r} is not part of a URL")
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        length = f"Content-Length: {len(body)}\r\n" if body or method != "GET" else ""
        head = self._open().head(method, path, f"{self._standing}{lines}{length}\r\n")
        return head + body if body else head


def _standing_headers(access: ClusterAccess, user_agent: str) -> str:
    """Return the headers of every request. Raises ConfigError for credentials that no header can carry."""
    lines = f"User-Agent: {user_agent}\r\n"
    if access.token:
        if not access.token.isascii() or any(char.isspace() for char in access.token):
            raise ConfigError(f"the token for {access.server} has characters that no token has")
        return f"{lines}Authorization: Bearer {access.token}\r\n"
    if access.username:
        said = base64.b64encode(f"{access.username}:{access.password}".encode()).decode()
        return f"{lines}Authorization: Basic {said}\r\n"
    return lines


def _params(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _typed(items: Any, page: Object) -> list[Object]:
    """Give the items of a list the apiVersion and kind that real API servers leave out."""
    kind = str(page.get("kind", "")).removesuffix("List")
    version = page.get("apiVersion")
    return [item if "kind" in item else {"apiVersion": version, "kind": kind, **item} for item in items]


def _decoded(body: bytes, server: str) -> Object:
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InternalError(f"{server} answered something that is not JSON: {body[:100]!r}") from error
    if not isinstance(decoded, dict):
        raise InternalError(f"{server} answered JSON that is no object: {body[:100]!r}")
    return decoded


def _error(status: int, body: bytes, headers: Mapping[str, str]) -> HanseError:
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        decoded = None
    retry = headers.get("retry-after", "")
    return from_status(
        status,
        decoded if isinstance(decoded, dict) else None,
        text=body.decode(errors="replace").strip(),
        retry_after=float(retry) if retry.isdigit() else None,
    )


def _unreachable(server: str, error: Exception, *, sent: bool) -> HanseError:
    """Return the error for a request without an answer; `sent` says that it was a write."""
    said = str(error) or type(error).__name__
    reason = UNKNOWN if sent and not isinstance(error, NotConnectedError) else None
    if isinstance(error, TimeoutError):
        return DeadlineError(f"{server} did not answer in time: {said}", reason=reason)
    return UnavailableError(f"{server} cannot be reached: {said}", reason=reason)


async def _within(pieces: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """Yield the pieces of a stream. Raises TimeoutError if nothing comes for so long."""
    while True:
        async with asyncio.timeout(seconds):
            piece = await anext(pieces, b"")
        if not piece:
            return
        yield piece


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the lines of a stream, however long they are."""
    pending: list[bytes] = []
    size = 0
    async for chunk in pieces:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            line = b"".join((*pending, chunk[start:end]))
            pending, size, start = [], 0, end + 1
            if line:
                yield line
        if start < len(chunk):
            pending.append(chunk[start:])
            size += len(chunk) - start
            if size > MAX_LINE_BYTES:
                raise InternalError(f"an event of a watch is longer than {MAX_LINE_BYTES} bytes")


def _event(line: bytes) -> tuple[str, Object]:
    try:
        event = orjson.loads(line)
        kind, obj = str(event["type"]), event["object"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UnavailableError(f"a watch delivered something that is no event: {line[:100]!r}") from error
    if kind == "ERROR":
        raise from_status(int(obj.get("code") or 500), obj)
    return kind, obj


def path_of(info: ResourceInfo) -> ResourcePath:
    """Return the path of a resource that was discovered or is in a catalogue."""
    return ResourcePath(info.api_version, info.plural)
