"""Answers that are more than any cluster gives: for tests of those who must not take them in.

Owns how each looks; `hanse_simulator.faults` says which requests get them. What has no end ends when the
client goes. One event loop.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
from contextlib import suppress
from typing import Any, Final

import orjson
from aiohttp import web

from hanse.kube.kinds.resource_info import ResourceInfo

_MIB: Final = 1024 * 1024
_PAGE: Final = 500
_BOMB_BYTES: Final = 64 * _MIB


def endless(info: ResourceInfo, namespace: str, position: str) -> web.StreamResponse:
    """Return a page of a list whose last page never comes; `position` is the token of the page before."""
    start = int(position) if position.isdecimal() else 0
    items = [item(info, namespace, f"x{number}", 1) for number in range(start, start + _PAGE)]
    metadata = {"resourceVersion": "1", "continue": str(start + _PAGE)}
    body = {"apiVersion": info.api_version, "kind": f"{info.kind}List", "metadata": metadata, "items": items}
    return web.Response(body=orjson.dumps(body), content_type="application/json")


async def flood(request: web.Request, info: ResourceInfo, namespace: str) -> web.StreamResponse:
    """Return a watch that brings events as fast as they are taken."""
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    await answer.prepare(request)
    with suppress(ConnectionError):
        for version in itertools.count(1):
            event = {"type": "MODIFIED", "object": item(info, namespace, "x", version)}
            await answer.write(orjson.dumps(event) + b"\n")
            await asyncio.sleep(0)  # a write to somebody who reads at once does not let others have a turn
    return answer


async def huge(request: web.Request) -> web.StreamResponse:
    """Return a body without end."""
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    await answer.prepare(request)
    with suppress(ConnectionError):
        while True:
            await answer.write(b" " * 65536)
            await asyncio.sleep(0)
    return answer


def bomb() -> web.StreamResponse:
    """Return a small body that is large when it is unpacked."""
    headers = {"Content-Encoding": "gzip"}
    return web.Response(
        body=gzip.compress(b" " * _BOMB_BYTES), content_type="application/json", headers=headers
    )


def catalogue(size: int) -> web.StreamResponse:
    """Return a discovery document with so many resources."""
    kind = {"group": "", "version": "", "kind": "Thing"}
    resources = [
        {"resource": f"things{number}", "responseKind": kind, "scope": "Namespaced", "verbs": ["list"]}
        for number in range(size)
    ]
    versions = [{"version": "v1", "resources": resources, "freshness": "Current"}]
    body = {
        "apiVersion": "apidiscovery.k8s.io/v2",
        "kind": "APIGroupDiscoveryList",
        "metadata": {},
        "items": [{"metadata": {"name": "things.example.com"}, "versions": versions}],
    }
    return web.Response(body=orjson.dumps(body), content_type="application/json")


def item(info: ResourceInfo, namespace: str, name: str, version: int) -> dict[str, Any]:
    """Return an object of a resource."""
    metadata = {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    if info.namespaced:
        metadata["namespace"] = namespace or "default"
    return {"apiVersion": info.api_version, "kind": info.kind, "metadata": metadata}
