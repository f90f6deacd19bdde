"""Asking a member how it is and what it has. Reads only; the member notices no more than a few GETs.

Owns `probe`, which is cheap and frequent, and `take_inventory`, which is thorough and rare. A probe turns
what a member does wrong into a `ProbeOutcome`; an inventory raises HanseError, of which `outcome_of` makes
one, and the caller keeps what it knew. What takes long to read is read in a thread.

Next: `hanse_registry.member.inventory`, which reads the documents, and `hanse.kube.client.requests`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from hanse.api.registry.v1 import cluster_pb2
from hanse.errors import (
    HanseError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
)
from hanse.federation.clusters import CREDENTIAL_REFUSED
from hanse.kube.client import requests
from hanse.kube.client.answer import Answer, IdentityMismatchError, WrongAnswerError
from hanse.kube.client.bounds import NODES as MAX_NODES
from hanse.kube.client.bounds import MisbehavingMemberError
from hanse.kube.client.discovery import read_discovery
from hanse.kube.client.paging import list_pages
from hanse.kube.client.requests import ApiRequest, GroupVersionResource
from hanse.kube.kinds.kubernetes import core
from hanse.kube.model.objects import Object, mapping, sequence
from hanse_registry.member.health import ProbeOutcome, Standing
from hanse_registry.member.inventory import Topology, capacity, catalogue, topology

NODES: Final = GroupVersionResource.of_kind(core.NODE)
PAGE: Final = 100
"""Nodes of one request: one has some 20 KiB, most of it the names of its images."""
INVENTORY_SECONDS = 60.0
"""How long all requests of an inventory together may take."""
MAX_WORD_CHARS = 128
"""Longest uid and version: they have 36 and some 20 characters."""
MISBEHAVING = "MisbehavingMember"
"""Reason of the condition Ready of a cluster that is misbehaving."""


class MemberApi(Protocol):
    """What is needed of a client; `hanse.kube.client.client.KubeClient` has it."""

    async def ask(self, request: ApiRequest) -> Answer:
        """Send a request; return the answer that was expected, or the refusal."""


KnownCatalogue = Callable[[], Awaitable[cluster_pb2.ApiCatalogue | None]]
"""Returns what is known of the APIs of a cluster; None if nothing is."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a member has and serves."""

    cluster_id: str
    kubernetes_version: str
    topology: Topology
    capacity: cluster_pb2.Capacity
    catalogue: cluster_pb2.ApiCatalogue
    """With what was known of the groups and versions that it cannot tell of now, which it names."""


async def probe(api: MemberApi, *, timeout: float) -> ProbeOutcome:
    """Ask whether the API server is ready, and whether it answers as one; for at most `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            answer = await api.ask(requests.READY)
            if answer.ok:  # which it may be for anybody; the next one is for whom the cluster knows
                known = await api.ask(requests.IDENTITY)
                answer = known if known.status in {401, 403} else answer
    except TimeoutError:
        return ProbeOutcome("ProbeTimedOut", f"no answer to /readyz within {timeout:g} s")
    except (HanseError, OSError) as error:
        return outcome_of(error)
    if answer.status in {401, 403}:
        return refused(answer.status, answer.message if answer.document else "")
    if not answer.ok:
        said = answer.body[:200].decode(errors="replace").strip()
        return ProbeOutcome("NotReady", f"/readyz answers HTTP {answer.status}: {said}")
    return ProbeOutcome()


def outcome_of(error: HanseError | OSError) -> ProbeOutcome:
    """Return what an error says of a member: it is another one, it lies, or it does not answer."""
    message = str(error) or type(error).__name__
    if isinstance(error, IdentityMismatchError):
        return ProbeOutcome("IdentityMismatch", message, Standing.IDENTITY_MISMATCH)
    if isinstance(error, WrongAnswerError):
        return ProbeOutcome("WrongAnswer", message, Standing.MISBEHAVING)
    if isinstance(error, MisbehavingMemberError):
        return ProbeOutcome(MISBEHAVING, message, Standing.MISBEHAVING)
    if isinstance(error, UnauthenticatedError | PermissionDeniedError):
        return refused(401 if isinstance(error, UnauthenticatedError) else 403, message)
    return ProbeOutcome("Unreachable", message)


def refused(status: int, said: str) -> ProbeOutcome:
    """Return what a refusal of the credential says of a member; `said` is empty if no API server said it."""
    if status == 401:
        what = "the cluster answers, but does not accept the credential (HTTP 401)"
    else:
        what = (
            "the cluster answers, but the credential may not even read its namespace kube-system (HTTP 403)"
        )
    said = f": {said}" if said else ""
    remedy = "give another one with `hanse update-credentials`"
    return ProbeOutcome(
        CREDENTIAL_REFUSED,
        f"{what}{said}; {remedy}",
        Standing.CREDENTIAL_REFUSED,
        unauthenticated=status == 401,
    )


async def take_inventory(
    api: MemberApi, cluster: str, *, timeout: float, known: KnownCatalogue | None = None
) -> Inventory:
    """Read identity, version, nodes and APIs; every request takes at most `timeout` seconds.

    What the catalogue that was `known` has of an API that cannot be told of now stays.

    Raises UnauthenticatedError or PermissionDeniedError if the credential does not reach, UnavailableError if
    the member does not answer, WrongAnswerError if it answers what no API server answers,
    MisbehavingMemberError for more than any answers.
    """
    try:
        async with asyncio.timeout(INVENTORY_SECONDS):
            return await _inventory(api, cluster, timeout=timeout, known=known)
    except TimeoutError as error:
        raise UnavailableError(
            f"its version, nodes and APIs could not be read within {INVENTORY_SECONDS:g} s"
        ) from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise WrongAnswerError(f"cluster {cluster} says what no API server says: {error}") from error


async def _inventory(
    api: MemberApi, cluster: str, *, timeout: float, known: KnownCatalogue | None
) -> Inventory:
    version = await fetch(api, requests.VERSION, timeout=timeout)
    system = await fetch(api, requests.IDENTITY, timeout=timeout)
    nodes = await list_nodes(api, timeout=timeout)
    documents = [await fetch(api, request, timeout=timeout) for request in requests.DISCOVERY]
    served = await asyncio.to_thread(read_discovery, [answer.document for answer in documents])
    previous = await known() if served.unknown and known is not None else None
    return Inventory(
        cluster_id=_word(system.document["metadata"]["uid"]),
        kubernetes_version=_word(version.document["gitVersion"]),
        topology=topology(nodes),
        capacity=capacity(nodes),
        catalogue=await asyncio.to_thread(catalogue, cluster, served, previous),
    )


def _word(value: object) -> str:
    word = str(value or "")
    if len(word) > MAX_WORD_CHARS:
        raise MisbehavingMemberError(
            f"its uid or version has {len(word)} characters: at most {MAX_WORD_CHARS}"
        )
    return word


async def list_nodes(api: MemberApi, *, timeout: float) -> list[Object]:
    """Return all nodes, with no more of each than is summed up; pages shrink where nodes are large."""
    nodes: list[Object] = []
    send = partial(fetch, api, timeout=timeout)
    pages = list_pages(send, requests.list_objects(NODES), what="its list of nodes", limit=PAGE)
    async with aclosing(pages):
        async for page in pages:
            nodes += map(_summed_up, page.items)
            if len(nodes) > MAX_NODES:
                raise MisbehavingMemberError(
                    f"it lists more than {MAX_NODES} nodes", metadata={"bound": str(MAX_NODES)}
                )
    return nodes


def _summed_up(node: Object) -> Object:
    status = mapping(node, "status")
    return {
        "metadata": {"labels": mapping(node, "metadata", "labels")},
        "spec": {"unschedulable": mapping(node, "spec").get("unschedulable")},
        "status": {
            "allocatable": mapping(status, "allocatable"),
            "conditions": [c for c in sequence(status, "conditions") if mapping(c).get("type") == "Ready"],
        },
    }


async def fetch(api: MemberApi, request: ApiRequest, *, timeout: float) -> Answer:
    """Send a request; return what was asked for. Raises as `take_inventory`."""
    try:
        async with asyncio.timeout(timeout):
            answer = await api.ask(request)
    except (TimeoutError, OSError) as error:
        raise UnavailableError(
            f"no answer to {request}: {str(error) or 'timed out'}; check the address and the network"
        ) from error
    if answer.status == 401:
        raise UnauthenticatedError(f"{request} answers 401: the credential is not accepted")
    if answer.status == 403:
        raise PermissionDeniedError(f"{request} answers 403: the credential lacks the right to read it")
    if not answer.ok:
        raise UnavailableError(f"{request} answers HTTP {answer.status}: {answer.message[:200]}")
    return answer
