"""The documents that clients discover a server by: /, /api, /apis, /openapi, /version.

Documents are encoded once per generation of the catalogue and answered with an ETag. Used from one event
loop. Next: `hanse.kube.wire.discovery` and `hanse.kube.wire.openapi`, which make them.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import orjson
from aiohttp import web

from hanse.errors import InvalidArgumentError, NotFoundError
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.model.objects import Object
from hanse.kube.model.status import NOT_ACCEPTABLE
from hanse.kube.server.negotiation import JSON
from hanse.kube.server.representation import COMPRESS_FROM, respond
from hanse.kube.wire import discovery, openapi
from hanse.kube.wire.openapi_protobuf import encode_document

Maker = Callable[[], Object | bytes | None]

_OPENAPI_PROTOBUF = (
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
)
"""What kubectl accepts of /openapi/v2: today's name, and the one that older clients send."""
_DOCUMENTS = ("/openapi/v2", "/openapi/v3", "/version")
"""Paths of documents that are of no group."""


@dataclass(slots=True)
class _Document:
    """An encoded document; `compressed` is None for a small one."""

    body: bytes
    etag: str
    compressed: bytes | None = None


class DiscoveryHandlers:
    """Serves the discovery of one catalogue."""

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        git_version: str,
        address: Callable[[], str],
        others: Iterable[str] = (),
    ) -> None:
        """`git_version` is what /version says, such as v1.32.0; `address` returns host:port.

        `others` are paths that others serve, for the list at /.
        """
        self._catalogue = catalogue
        self._git_version = git_version
        self._address = address
        self._others = (*others, *_DOCUMENTS)
        self._generation = -1
        self._documents: dict[str, _Document] = {}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer a request for one of the documents. Raises NotFoundError for any other path."""
        parts = [part for part in request.path.split("/") if part]
        match parts:
            case []:
                return await self._send(request, lambda: discovery.root(self._catalogue, self._others))
            case ["version"]:
                return await respond(request, orjson.dumps(self.version()))
            case ["api"] | ["apis"]:
                return await self._root(request, core=parts[0] == "api")
            case ["api", version]:
                return await self._send(
                    request, lambda: discovery.resource_list(self._catalogue, "", version)
                )
            case ["apis", group]:
                return await self._send(request, lambda: discovery.api_group(self._catalogue, group))
            case ["apis", group, version]:
                return await self._send(
                    request, lambda: discovery.resource_list(self._catalogue, group, version)
                )
            case ["openapi", "v2"]:
                return await self._openapi_v2(request)
            case ["openapi", "v3"]:
                return await self._send(request, lambda: openapi.v3_index(self._catalogue))
            case ["openapi", "v3", "api", version]:
                return await self._send(request, lambda: openapi.v3(self._catalogue, "", version))
            case ["openapi", "v3", "apis", group, version]:
                return await self._send(request, lambda: openapi.v3(self._catalogue, group, version))
        raise NotFoundError("the server could not find the requested resource")

    def version(self) -> Object:
        """Return what /version answers."""
        major, minor = self._git_version.removeprefix("v").split(".")[:2]
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        return {
            "major": major,
            "minor": minor,
            "gitVersion": self._git_version,
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": f"python{platform.python_version()}",
            "compiler": sys.implementation.name,
            "platform": f"{sys.platform}/{machine}",
        }

    async def _root(self, request: web.Request, *, core: bool) -> web.StreamResponse:
        version = _aggregated_version(request.headers.get("Accept", ""))
        if version is None:
            if core:
                return await self._send(request, lambda: discovery.api_versions(self._address()))
            return await self._send(request, lambda: discovery.api_group_list(self._catalogue))
        return await self._send(
            request,
            lambda: discovery.aggregated(self._catalogue, core=core, version=version),
            key=f"{version} {core}",
            content_type=f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList",
        )

    async def _openapi_v2(self, request: web.Request) -> web.StreamResponse:
        accept = request.headers.get("Accept", "*/*")
        for clause in accept.split(","):
            media = clause.split(";")[0].strip()
            if media in _OPENAPI_PROTOBUF:
                return await self._send(
                    request,
                    lambda: encode_document(openapi.v2(self._catalogue)),
                    key="/openapi/v2 protobuf",
                    content_type=_OPENAPI_PROTOBUF[0],
                )
            if media in (JSON, "*/*", "application/*"):
                return await self._send(request, lambda: openapi.v2(self._catalogue))
        raise InvalidArgumentError(
            f"the OpenAPI v2 document is served as {JSON} and {_OPENAPI_PROTOBUF[0]},"
            f" the client accepts {accept!r}",
            reason=NOT_ACCEPTABLE,
        )

    async def _send(
        self, request: web.Request, make: Maker, *, key: str = "", content_type: str = ""
    ) -> web.StreamResponse:
        key = key or "/" + "/".join(part for part in request.path.split("/") if part)
        if self._generation != self._catalogue.generation:
            self._documents.clear()
            self._generation = self._catalogue.generation
        document = self._documents.get(key)
        if document is None:
            document = self._documents[key] = await _make(make, aside=key.startswith("/openapi"))
        headers = {"ETag": document.etag, "Vary": "Accept"}
        if request.headers.get("If-None-Match") == document.etag:
            return web.Response(status=304, headers=headers)
        if document.compressed is None or "gzip" not in request.headers.get("Accept-Encoding", ""):
            response: web.StreamResponse = (
                web.Response(body=document.body, headers={"Content-Type": content_type})
                if content_type in _OPENAPI_PROTOBUF
                else await respond(request, document.body, content_type=content_type)
            )
        else:
            headers |= {"Content-Encoding": "gzip", "Content-Type": content_type or JSON}
            response = web.Response(body=document.compressed)
        response.headers.update(headers)
        return response


async def _make(make: Maker, *, aside: bool) -> _Document:
    """Make and encode a document; `aside` in a thread: those take up to a second, and nobody must wait."""

    def encoded() -> _Document | None:
        made = make()
        if made is None:
            return None
        body = made if isinstance(made, bytes) else orjson.dumps(made)
        etag = f'"{hashlib.sha256(body).hexdigest()[:32].upper()}"'
        return _Document(body, etag, gzip.compress(body, 4) if len(body) >= COMPRESS_FROM else None)

    document = await asyncio.to_thread(encoded) if aside else encoded()
    if document is None:
        raise NotFoundError("the server could not find the requested resource")
    return document


def _aggregated_version(accept: str) -> Literal["v2", "v2beta1"] | None:
    """Return the first version of aggregated discovery that the client takes; None for the legacy one."""
    for clause in accept.split(","):
        parameters = [part.strip() for part in clause.split(";")]
        if "as=APIGroupDiscoveryList" not in parameters:
            if parameters[0] == JSON:
                return None
            continue
        if "v=v2" in parameters:
            return "v2"
        if "v=v2beta1" in parameters:
            return "v2beta1"
    return None
