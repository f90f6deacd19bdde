"""Asks a member how it is and what it has. Reads only; the member notices no more than a few GETs.

`probe` is cheap and frequent, `take_inventory` is thorough and rare. A probe turns what a member does wrong
into an `Outcome`; an inventory raises HanseError, of which `outcome_of` makes one, and the caller keeps what
it knew. What takes long to read is read in a thread. `hanse_registry.member.inventory` reads the documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hanse.api.registry.v1 import cluster_pb2
from hanse.errors import (
    HanseError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
)
from hanse.kube.client.bounds import NODES, AnswerTooLongError, ListBudget, MisbehavingMemberError
from hanse.kube.client.client import AS_DISCOVERY
from hanse.kube.client.discovery import DISCOVERY_PATHS, read_discovery
from hanse.kube.client.expect import (
    DISCOVERY,
    READY,
    VERSION,
    AList,
    Answer,
    Expected,
    IdentityMismatchError,
    WrongAnswerError,
)
from hanse.kube.client.transport import IDENTITY, IDENTITY_PATH
from hanse.kube.model.objects import Object, mapping, sequence
from hanse_registry.member.health import Outcome, Standing
from hanse_registry.member.inventory import Topology, capacity, catalogue, topology

PAGE = 100
"""Nodes of one request: one has some 20 KiB, most of it the names of its images."""
INVENTORY_SECONDS = 60.0
"""How long all requests of an inventory together may take."""
MAX_WORD_CHARS = 128
"""Longest uid and version: they have 36 and some 20 characters."""
MISBEHAVING = "MisbehavingMember"
"""Reason of the condition Ready of a cluster that is misbehaving."""


class MemberApi(Protocol):
    """What is needed of a client; `hanse.kube.client.client.KubeClient` has it."""

    async def ask(
        self, method: str, path: str, *, expect: Expected, params: Mapping[str, str] | None = None,
        accept: str = ..., body: bytes | None = None,
    ) -> Answer:  # fmt: skip
        """Sends a request and returns the answer that was expected, or the refusal."""


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


async def probe(api: MemberApi, *, timeout: float) -> Outcome:
    """Asks whether the API server is ready, and whether it answers as one; at most `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            answer = await api.ask("GET", "/readyz", expect=READY, accept="*/*")
            if answer.ok:  # which it may be for anybody; the next one is for whom the cluster knows
                known = await api.ask("GET", IDENTITY_PATH, expect=IDENTITY)
                answer = known if known.status in {401, 403} else answer
    except TimeoutError:
        return Outcome("ProbeTimedOut", f"no answer to /readyz within {timeout:g} s")
    except (HanseError, OSError) as error:
        return outcome_of(error)
    if answer.status in {401, 403}:
        return Outcome("CredentialRefused", f"the API server refuses the credential (HTTP {answer.status})")
    if not answer.ok:
        said = answer.body[:200].decode(errors="replace").strip()
        return Outcome("NotReady", f"/readyz answers HTTP {answer.status}: {said}")
    return Outcome()


def outcome_of(error: HanseError | OSError) -> Outcome:
    """What an error says of a member: that it is another one, that it lies, or that it does not answer."""
    message = str(error) or type(error).__name__
    if isinstance(error, IdentityMismatchError):
        return Outcome("IdentityMismatch", message, Standing.IDENTITY_MISMATCH)
    if isinstance(error, WrongAnswerError):
        return Outcome("WrongAnswer", message, Standing.MISBEHAVING)
    if isinstance(error, MisbehavingMemberError):
        return Outcome(MISBEHAVING, message, Standing.MISBEHAVING)
    if isinstance(error, UnauthenticatedError | PermissionDeniedError):
        return Outcome("CredentialRefused", message)
    return Outcome("Unreachable", message)


async def take_inventory(
    api: MemberApi, cluster: str, *, timeout: float, known: KnownCatalogue | None = None
) -> Inventory:
    """Reads identity, version, nodes and APIs; every request takes at most `timeout` seconds.

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
    version = await fetch(api, "/version", expect=VERSION, timeout=timeout)
    system = await fetch(api, IDENTITY_PATH, expect=IDENTITY, timeout=timeout)
    nodes = await list_nodes(api, timeout=timeout)
    documents = [
        await fetch(api, path, expect=DISCOVERY, timeout=timeout, accept=AS_DISCOVERY)
        for path in DISCOVERY_PATHS
    ]
    served = await asyncio.to_thread(read_discovery, documents)
    previous = await known() if served.unknown and known is not None else None
    return Inventory(
        cluster_id=_word(system["metadata"]["uid"]),
        kubernetes_version=_word(version["gitVersion"]),
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
    """All nodes, with no more of each than is summed up, in pages that shrink where nodes are large."""
    nodes: list[Object] = []
    budget = ListBudget("its list of nodes")
    limit = PAGE
    position: dict[str, str] = {}
    while True:
        params = {"limit": str(limit), **position}
        try:
            page = await fetch(
                api, "/api/v1/nodes", expect=AList("v1", "Node"), timeout=timeout, params=params
            )
        except AnswerTooLongError:
            if limit == 1:
                raise
            limit = max(1, limit // 10)
            continue
        items = page["items"]
        token = page["metadata"].get("continue") or ""
        budget.page(items, token)
        nodes += map(_summed_up, items)
        if len(nodes) > NODES:
            raise MisbehavingMemberError(f"it lists more than {NODES} nodes", metadata={"bound": str(NODES)})
        if not token:
            return nodes
        position = {"continue": token}


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


async def fetch(
    api: MemberApi,
    path: str,
    *,
    expect: Expected,
    timeout: float,
    accept: str = "application/json",
    params: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """GETs a JSON object. Raises as `take_inventory`."""
    try:
        async with asyncio.timeout(timeout):
            answer = await api.ask("GET", path, expect=expect, params=params, accept=accept)
    except (TimeoutError, OSError) as error:
        raise UnavailableError(
            f"no answer to GET {path}: {str(error) or 'timed out'}; check the address and the network"
        ) from error
    if answer.status == 401:
        raise UnauthenticatedError(f"GET {path} answers 401: the credential is not accepted")
    if answer.status == 403:
        raise PermissionDeniedError(f"GET {path} answers 403: the credential lacks the right to read it")
    if not answer.ok:
        said = answer.body[:200].decode(errors="replace")
        raise UnavailableError(f"GET {path} answers HTTP {answer.status}: {said}")
    return answer.document
