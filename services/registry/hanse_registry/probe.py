"""Asks a member how it is and what it has. Reads only; the member notices no more than a few GETs.

`probe` is cheap and frequent, `take_inventory` is thorough and rare. Neither raises for what a member does
wrong: a probe turns it into an `Outcome`, an inventory raises HanseError and the caller keeps what it knew.
`hanse_registry.inventory` reads the documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from hanse.api.registry.v1 import cluster_pb2
from hanse.errors import (
    HanseError,
    InternalError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
)
from hanse.kube.objects import Object
from hanse_registry.health import Outcome
from hanse_registry.inventory import Topology, capacity, catalogue, topology

DISCOVERY = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
)
PAGE = 500
"""Nodes of one request."""
MAX_PAGES = 40


class MemberApi(Protocol):
    """What is needed of a client; `hanse.kube.client.KubeClient` has it."""

    async def raw(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None,
        body: bytes | None = None, headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:  # fmt: skip
        """Sends a request and returns status, headers and body."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a member has and serves."""

    cluster_id: str
    kubernetes_version: str
    topology: Topology
    capacity: cluster_pb2.Capacity
    catalogue: cluster_pb2.ApiCatalogue


async def probe(api: MemberApi, *, timeout: float) -> Outcome:
    """Asks whether the API server is ready; at most `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            status, _, body = await api.raw("GET", "/readyz")
    except TimeoutError:
        return Outcome("ProbeTimedOut", f"no answer to /readyz within {timeout:g} s")
    except (HanseError, OSError) as error:
        return Outcome("Unreachable", str(error) or type(error).__name__)
    if status in {401, 403}:
        return Outcome("CredentialRefused", f"the API server refuses the credential (HTTP {status})")
    if status != 200:
        text = body[:200].decode(errors="replace").strip()
        return Outcome("NotReady", f"/readyz answers HTTP {status}: {text}")
    return Outcome()


async def take_inventory(api: MemberApi, cluster: str, *, timeout: float) -> Inventory:
    """Reads identity, version, nodes and APIs; every request takes at most `timeout` seconds.

    Raises UnauthenticatedError or PermissionDeniedError if the credential does not reach, UnavailableError if
    the member does not answer, InternalError if it answers what no API server answers.
    """
    version = await fetch(api, "/version", timeout=timeout)
    system = await fetch(api, "/api/v1/namespaces/kube-system", timeout=timeout)
    nodes = await list_nodes(api, timeout=timeout)
    documents = [await fetch(api, path, timeout=timeout, accept=DISCOVERY) for path in ("/api", "/apis")]
    return Inventory(
        cluster_id=str((system.get("metadata") or {}).get("uid", "")),
        kubernetes_version=str(version.get("gitVersion", "")),
        topology=topology(nodes),
        capacity=capacity(nodes),
        catalogue=catalogue(cluster, documents),
    )


async def list_nodes(api: MemberApi, *, timeout: float) -> list[Object]:
    """All nodes, in pages."""
    nodes: list[Object] = []
    params = {"limit": str(PAGE)}
    for _ in range(MAX_PAGES):
        page = await fetch(api, "/api/v1/nodes", timeout=timeout, params=params)
        nodes.extend(page.get("items") or ())
        following = (page.get("metadata") or {}).get("continue")
        if not following:
            break
        params["continue"] = following
    return nodes


async def fetch(
    api: MemberApi,
    path: str,
    *,
    timeout: float,
    accept: str = "application/json",
    params: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """GETs a JSON object. Raises as `take_inventory`."""
    try:
        async with asyncio.timeout(timeout):
            status, _, body = await api.raw("GET", path, params=params, headers={"Accept": accept})
    except (TimeoutError, OSError) as error:
        raise UnavailableError(
            f"no answer to GET {path}: {str(error) or 'timed out'}; check the address and the network"
        ) from error
    if status == 401:
        raise UnauthenticatedError(f"GET {path} answers 401: the credential is not accepted")
    if status == 403:
        raise PermissionDeniedError(f"GET {path} answers 403: the credential lacks the right to read it")
    if status != 200:
        raise UnavailableError(f"GET {path} answers HTTP {status}: {body[:200].decode(errors='replace')}")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InternalError(f"GET {path} does not answer JSON; is this a Kubernetes API server?") from error
    if not isinstance(document, dict):
        raise InternalError(f"GET {path} answers JSON that is no object")
    return document
