"""The documents that clients discover a server by: /api, /apis, /openapi, /version.

Documents are encoded once per generation of the catalogue and answered with an ETag. Used from one event
loop. Next: `hanse.kube.discovery` and `hanse.kube.openapi`, which make them.
"""

from __future__ import annotations

import asyncio
import hashlib
import platform
import sys
from collections.abc import Callable
from typing import Literal

import orjson
from aiohttp import web

from hanse.errors import InvalidArgumentError, NotFoundError
from hanse.kube import discovery, openapi
from hanse.kube.catalogue import Catalogue
from hanse.kube.objects import Object
from hanse.kube.server.negotiation import JSON
from hanse.kube.server.representation import respond
from hanse.kube.status import NOT_ACCEPTABLE

Maker = Callable[[], Object | None]


class DiscoveryHandlers:
    """Serves the discovery of one catalogue."""

    def __init__(self, catalogue: Catalogue, *, git_version: str, address: Callable[[], str]) -> None:
        """`git_version` is what /version says, such as v1.32.0; `address` returns host:port."""
        self._catalogue = catalogue
        self._git_version = git_version
        self._address = address
        self._generation = -1
        self._documents: dict[str, tuple[bytes, str]] = {}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer a request for one of the documents. Raises NotFoundError for any other path."""
        parts = [part for part in request.path.split("/") if part]
        match parts:
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
        if not any(media in accept for media in (JSON, "*/*", "application/*")):
            raise InvalidArgumentError(
                f"the OpenAPI v2 document is served as {JSON} only; read /openapi/v3", reason=NOT_ACCEPTABLE
            )
        return await self._send(request, lambda: openapi.v2(self._catalogue))

    async def _send(
        self, request: web.Request, make: Maker, *, key: str = "", content_type: str = ""
    ) -> web.StreamResponse:
        key = key or request.path
        if self._generation != self._catalogue.generation:
            self._documents.clear()
            self._generation = self._catalogue.generation
        if key not in self._documents:
            self._documents[key] = await self._make(key, make)
        body, etag = self._documents[key]
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        response = await respond(request, body, content_type=content_type)
        response.headers["ETag"] = etag
        response.headers["Vary"] = "Accept"
        return response

    async def _make(self, key: str, make: Maker) -> tuple[bytes, str]:
        # OpenAPI documents take up to a second to make; others must not wait for that.
        document = await asyncio.to_thread(make) if key.startswith("/openapi") else make()
        if document is None:
            raise NotFoundError("the server could not find the requested resource")
        body = orjson.dumps(document)
        return body, f'"{hashlib.sha256(body).hexdigest()[:32].upper()}"'


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
