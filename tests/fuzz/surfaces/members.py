"""Answers of members: what a cluster's API server may say, to the clients and readers of registry and syncer.

Owns `Members`. A plain socket plays the member and answers with what the input says. Whatever it is, a client
returns it or raises a HanseError. That something is absent or deleted is believed only of an answer that says
so.

Concurrency: the client runs in a watched loop, the member in it, too.

Next: `tests.fuzz.surfaces.decoders`.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from random import Random
from typing import Any

from hanse_registry.member.probe import probe, take_inventory
from hanse_syncer.decide.verdicts import MemberVerdict, verdict_of

from hanse.errors import HanseError, NotFoundError
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.requests import GroupVersionResource, get_object
from tests.apiserver.world import deployment, rolled_out
from tests.fuzz import mutations
from tests.fuzz.engine import Input
from tests.fuzz.loops import WatchedLoop
from tests.fuzz.surfaces.served import Quiet
from tests.support.object_client import ObjectClient

_DEPLOYMENTS = GroupVersionResource("apps/v1", "deployments")
_TIMEOUT = 0.3
ANSWERS = 4
"""How often the member gives the same answer before it gives none, so that pages have an end."""

_STATUS = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "reason": "NotFound",
    "code": 404,
    "details": {"name": "web", "kind": "deployments", "retryAfterSeconds": 1, "causes": [{"reason": "x"}]},
}
_STORED = {"uid": "u", "resourceVersion": "7"}
_MADE = deployment(namespace="shop")
_LIVE = {**_MADE, "metadata": {**_MADE["metadata"], **_STORED}, "status": rolled_out(4)}
_NODE = {
    "metadata": {
        **_STORED,
        "name": "n",
        "labels": {"topology.kubernetes.io/zone": "a", "topology.kubernetes.io/region": "r"},
    },
    "spec": {"unschedulable": False},
    "status": {
        "allocatable": {"cpu": "4", "memory": "1Gi"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}
_GROUP = {
    "metadata": {"name": "apps"},
    "versions": [
        {
            "version": "v1",
            "freshness": "Current",
            "resources": [
                {
                    "resource": "deployments",
                    "responseKind": {"group": "apps", "version": "v1", "kind": "Deployment"},
                    "scope": "Namespaced",
                    "singularResource": "deployment",
                    "verbs": ["get", "list"],
                    "shortNames": ["deploy"],
                    "subresources": [{"subresource": "status", "verbs": ["get"]}],
                }
            ],
        }
    ],
}
_DISCOVERY = {
    "kind": "APIGroupDiscoveryList",
    "apiVersion": "apidiscovery.k8s.io/v2",
    "metadata": {},
    "items": [_GROUP],
}
_DOCUMENTS = {
    "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.0"},
    "/api/v1/namespaces/kube-system": {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {"name": "kube-system", "uid": "u", "resourceVersion": "1"},
    },
    "/api/v1/nodes": {
        "kind": "NodeList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "7"},
        "items": [_NODE],
    },
    "/api": {**_DISCOVERY, "items": [{**_GROUP, "metadata": {}}]},
    "/apis": _DISCOVERY,
}
_LIST = {
    "kind": "DeploymentList",
    "apiVersion": "apps/v1",
    "metadata": {"resourceVersion": "7", "continue": ""},
    "items": [_LIVE],
}


def _input(
    call: str, body: Any, *, code: int = 200, media: str = "application/json", **headers: str
) -> Input:
    text = body if isinstance(body, str) else json.dumps(body)
    return {
        "call": call,
        "code": code,
        "headers": [["Content-Type", media], *map(list, headers.items())],
        "body": text,
    }


class Members:
    """The clients of members."""

    name = "members"

    def __init__(self) -> None:
        self._loop: WatchedLoop | None = None
        self._server: asyncio.Server | None = None
        self._answer = b""
        self._documents: dict[str, Any] = {}
        self._asked = 0
        self._url = ""

    def start(self) -> None:
        """Listen as a member."""
        self._quiet = Quiet()
        self._loop = WatchedLoop()
        self._loop.call(self._listen())

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            self._asked += 1
            if self._asked <= ANSWERS or self._documents:
                writer.write(self._documented(head) if self._documents else self._answer)
                await writer.drain()
        writer.close()

    def _documented(self, head: bytes) -> bytes:
        """The document of the path that is asked for."""
        path = head.split(b" ")[1].partition(b"?")[0].decode("latin-1")
        body = json.dumps(self._documents.get(path)).encode()
        media = b"application/json"
        if path in ("/api", "/apis"):
            media += b";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (
            media,
            len(body),
            body,
        )

    def stop(self) -> None:
        """Listen no more."""
        assert self._loop is not None
        self._loop.call(self._end())
        self._loop.close()
        self._quiet.end()

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def lag(self) -> float:
        """How long reading the last answer held the loop."""
        assert self._loop is not None
        return self._loop.settle()

    def seeds(self) -> list[Input]:
        """What a member answers."""
        event = json.dumps({"type": "MODIFIED", "object": _LIVE}) + "\n"
        error = json.dumps({"type": "ERROR", "object": {**_STATUS, "code": 410}}) + "\n"
        return [
            _input("get", _LIVE),
            _input("get", _STATUS, code=404),
            _input("list", _LIST),
            _input("delete", _STATUS, code=200),
            _input("watch", event + error),
            _input("apply", _LIVE),
            _input("apply", _STATUS, code=409),
            _input("get", _STATUS, code=429, **{"Retry-After": "1"}),
            _input("read", _LIVE),
            _input("read", _STATUS, code=500),
            _input("get", "<html>", media="text/html"),
            _input("list", "{}"),
            _input("probe", "ok", media="text/plain"),
            _input("inventory", _DOCUMENTS),
            _input("inventory", _DOCUMENTS),
            _input("read", _STATUS, code=404),
            _input("delete", {**_STATUS, "status": "Success", "reason": "", "code": 200}),
        ]

    def mutated(self, rng: Random, seed: Input) -> Input:
        """Change body, status, headers or framing."""
        out: Input = {**seed, "headers": [list(header) for header in seed["headers"]]}
        kind = rng.random()
        if kind < 0.6:
            try:
                out["body"] = json.dumps(mutations.mutate_json(rng, json.loads(out["body"])))
            except (ValueError, RecursionError):
                out["body"] = mutations.mutate_text(rng, out["body"])
        elif kind < 0.75:
            out["body"] = mutations.mutate_bytes(rng, out["body"].encode("utf-8", "replace")).decode(
                "latin-1"
            )
        elif kind < 0.8:
            out["body"] = mutations.costly(rng).decode("latin-1")
        elif kind < 0.9:
            out["code"] = rng.choice(
                (100, 101, 200, 201, 204, 301, 400, 401, 403, 404, 409, 410, 429, 500, 503, 999, 0)
            )
        else:
            name = rng.choice(
                ("Content-Length", "Transfer-Encoding", "Retry-After", "Content-Encoding", "Content-Type")
            )
            said = rng.choice(("chunked", "gzip", "text/html", "application/json", *mutations.NUMBERS))
            out["headers"] = [each for each in out["headers"] if each[0] != name] + [[name, said]]
        return out

    def run(self, step: Input) -> str:
        """Let a client ask, and say what is wrong with what it makes of the answer."""
        assert self._loop is not None
        body = step["body"].encode("utf-8", "replace")[: mutations.MAX_BODY * 4]
        lines = [f"HTTP/1.1 {step['code']} Said"] + [f"{name}: {said}" for name, said in step["headers"]]
        if step["call"] != "watch" and not any(
            name in ("Content-Length", "Transfer-Encoding") for name, _ in step["headers"]
        ):
            lines.append(f"Content-Length: {len(body)}")
        self._answer = "\r\n".join(lines).encode("utf-8", "replace") + b"\r\n\r\n" + body
        self._documents = {}
        if step["call"] == "inventory":
            with suppress(ValueError, RecursionError):
                found = json.loads(body)
                self._documents = found if isinstance(found, dict) else {}
        self._asked = 0
        self._loop.reset()
        try:
            return self._loop.call(self._ask(step), timeout=10 * _TIMEOUT)
        except TimeoutError:
            return f"{step['call']} did not end"

    async def _ask(self, step: Input) -> str:
        call = step["call"]
        try:
            async with (
                asyncio.timeout(4 * _TIMEOUT),
                ObjectClient(ClusterAccess(self._url), timeout=_TIMEOUT) as client,
            ):
                gone = await _asked(client, call)
        except NotFoundError:
            gone = True
        except (HanseError, TimeoutError):
            return ""
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure
            return f"{call} raised {type(error).__name__}: {str(error)[:200]}"
        if gone and not _says_gone(step):
            return f"{call} believes that nothing is there, of an answer {step['code']} that does not say so"
        return ""


def _says_gone(step: Input) -> bool:
    """Whether an answer says that the object that was asked for is not there, or was deleted."""
    try:
        said = json.loads(step["body"])
    except (ValueError, RecursionError):
        return False
    if not isinstance(said, dict) or said.get("apiVersion") not in ("v1", "apps/v1"):
        return False
    if step["code"] == 404:
        return said.get("kind") == "Status" and said.get("reason") == "NotFound"
    return step["code"] in range(200, 300) and said.get("kind") in ("Status", "Deployment")


async def _asked(client: ObjectClient, call: str) -> bool:
    """Make one request; report whether its answer was taken to say that the object is gone."""
    match call:
        case "get":
            await client.get(_DEPLOYMENTS, "web", namespace="shop")
        case "list":
            await client.list(_DEPLOYMENTS)
        case "delete":
            await client.delete(_DEPLOYMENTS, "web", namespace="shop")
            return True
        case "apply":
            await client.apply(_DEPLOYMENTS, deployment(namespace="shop"))
        case "watch":
            async for _ in client.watch(_DEPLOYMENTS, resource_version="1"):
                pass
        case "probe":
            await probe(client, timeout=_TIMEOUT)
        case "inventory":
            await take_inventory(client, "eu", timeout=_TIMEOUT)
        case _:
            asked = _DEPLOYMENTS.object("shop", "web")
            answer = await client.ask(get_object(_DEPLOYMENTS, "web", namespace="shop"))
            _ = answer.message
            answer.retry_after()
            _ = answer.reason
            return verdict_of(answer, asked) is MemberVerdict.ABSENT
    return False
