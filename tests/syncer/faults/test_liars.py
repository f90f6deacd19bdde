"""Members that lie: an answer that is not the one to the request confirms, removes and overwrites nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import orjson
import pytest
from aiohttp import web

from hanse.api.registry.v1.cluster_pb2 import ClusterCredential
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.store import keys
from tests.support.federation.federation import Federation
from tests.support.federation.member import TOKEN, Member
from tests.support.waiting import until
from tests.syncer.harness import config_map

WEB: Final = "core/configmaps/shop/web"
SHOP: Final = "core/namespaces/_/shop"
NAMESPACE: Final = {"apiVersion": "v1", "kind": "Namespace"}


def said(status: int, document: Any, media_type: str = "application/json") -> web.Response:
    """An answer."""
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    return web.Response(status=status, body=body, content_type=media_type)


def missing(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    """The Status of an API server that knows no such object."""
    details = {"name": name, "kind": kind}
    return {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
        "message": "not found", "details": details, **fields,
    }  # fmt: skip


LIES: Final[dict[str, Callable[[], web.Response]]] = {
    "a page": lambda: said(200, b"<html>", "text/html"),
    "a page called JSON": lambda: said(200, b"<html>"),
    "an empty object": lambda: said(200, {}),
    "an empty list": lambda: said(200, []),
    "nothing": lambda: said(200, b""),
    "half an object": lambda: said(200, b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"na'),
    "another kind": lambda: said(200, {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "web"}}),
    "a success of another": lambda: said(
        200, {"kind": "Status", "apiVersion": "v1", "status": "Success", "details": {"name": "other"}}
    ),
    "a list without items": lambda: said(
        200, {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}}
    ),
    "a page that says 404": lambda: said(404, b"<html>", "text/html"),
    "{} that says 404": lambda: said(404, {}),
    "a 404 about another": lambda: said(404, missing("other", "configmaps")),
    "a 404 about another kind": lambda: said(404, missing("web", "secrets")),
    "a 404 about another group": lambda: said(
        404, missing("web", "configmaps", details={"name": "web", "kind": "configmaps", "group": "x.dev"})
    ),
    "a 404 with another code": lambda: said(404, missing("web", "configmaps", code=500)),
    "a redirection": lambda: said(302, b"", "text/html"),
    "a page that says 410": lambda: said(410, b"gone", "text/html"),
}

SOME_LIES: Final = list(LIES)[::3]


def lie(member: Member, says: Callable[[], web.Response], *, about: str, methods: str) -> list[str]:
    """Have a member lie when it is asked about a path that contains `about`; return the list of who asked."""
    struck: list[str] = []

    async def fault(request: web.Request) -> web.StreamResponse | None:
        if about not in request.path or request.method not in methods.split():
            return None
        struck.append(f"{request.method} {request.path}")
        return says()

    member.fault = fault
    return struck


@pytest.mark.parametrize("says", LIES)
async def test_a_lie_is_no_confirmation_of_a_removal(fed: Federation, says: str) -> None:
    """DELETE and GET answered with a lie: the object is not let go of, and is removed when the lying ends."""
    member = fed.members["a"]
    await member.create(SHOP, dict(NAMESPACE, metadata={"name": "shop"}))
    async with fed.syncer():
        await fed.put(WEB, config_map())
        await fed.place(WEB, "a")
        await fed.reaches(WEB, "a", sync.APPLIED)
        struck = lie(member, LIES[says], about="/configmaps/web", methods="GET DELETE")
        await fed.mark_deleted(WEB)
        await until(lambda: len(struck) >= 3, what="it was tried again and again")
        state = await fed.state(WEB, "a")
        assert state is not None
        assert state.phase != sync.REMOVED
        assert member.get(WEB) is not None
        member.fault = None
        await fed.reaches(WEB, "a", sync.REMOVED)
        assert member.get(WEB) is None


@pytest.mark.parametrize("bare", [False, True])
async def test_a_delete_answered_without_its_uid_confirms_nothing(fed: Federation, bare: bool) -> None:
    """DELETE answered with the living object, as from a cache, or with Success alone: it counts as removed
    when it is."""
    member = fed.members["a"]
    await member.create(SHOP, dict(NAMESPACE, metadata={"name": "shop"}))
    async with fed.syncer():
        await fed.put(WEB, config_map())
        await fed.place(WEB, "a")
        await fed.reaches(WEB, "a", sync.APPLIED)
        success = {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        told = success if bare else member.get(WEB)
        struck = lie(member, lambda: said(200, told), about="/configmaps/web", methods="DELETE")
        await fed.mark_deleted(WEB)
        await until(lambda: len(struck) >= 2, what="it was tried again")
        state = await fed.state(WEB, "a")
        assert state is not None
        assert state.phase != sync.REMOVED
        member.fault = None
        await fed.reaches(WEB, "a", sync.REMOVED)
        assert member.get(WEB) is None


@pytest.mark.parametrize("says", SOME_LIES)
async def test_a_lie_is_no_confirmation_of_an_apply(fed: Federation, says: str) -> None:
    """PATCH answered with a lie: the object does not count as applied until the member says so."""
    member = fed.members["a"]
    await member.create(SHOP, dict(NAMESPACE, metadata={"name": "shop"}))
    struck = lie(member, LIES[says], about="/configmaps/web", methods="PATCH")
    async with fed.syncer():
        await fed.put(WEB, config_map())
        await fed.place(WEB, "a")
        await until(lambda: struck, what="it was tried")
        await until(lambda: _has_phase_other_than(fed, sync.APPLIED), what="the trouble is told")
        member.fault = None
        member_state = await fed.reaches(WEB, "a", sync.APPLIED, seconds=20)
        live = member.get(WEB)
        assert live is not None
        assert live["metadata"]["uid"] == member_state.member_uid


async def _has_phase_other_than(fed: Federation, phase: sync.SyncPhase.ValueType) -> bool:
    state = await fed.state(WEB, "a")
    return state is not None and state.phase != phase


@pytest.mark.parametrize("says", LIES)
async def test_a_lying_list_removes_no_namespace(fed: Federation, says: str) -> None:
    """A namespace with a foreign object in it stays, whatever the list of what is in it is answered with."""
    member = fed.members["a"]
    async with fed.syncer():
        await fed.put(SHOP, dict(NAMESPACE))
        await fed.place(SHOP, "a")
        await fed.reaches(SHOP, "a", sync.APPLIED)
        await member.create("core/secrets/shop/foreign", {"apiVersion": "v1", "kind": "Secret", "metadata": {
            "name": "foreign", "namespace": "shop"}})  # fmt: skip
        struck = lie(member, LIES[says], about="/namespaces/shop/secrets", methods="GET")
        await fed.mark_deleted(SHOP)
        await until(lambda: len(struck) >= 2, what="it was asked again and again")
        state = await fed.state(SHOP, "a")
        assert state is not None
        assert state.phase != sync.REMOVED
        assert not [path for method, path in member.writes if method == "DELETE"]
        member.fault = None
        removed = await fed.reaches(SHOP, "a", sync.REMOVED)
        assert "secrets foreign" in removed.message
        assert member.get(SHOP) is not None
        assert member.get("core/secrets/shop/foreign") is not None


@pytest.mark.parametrize("says", SOME_LIES)
async def test_lying_lists_and_watches_change_nothing(fed: Federation, says: str) -> None:
    """A member that lies to lists and watches loses nothing and is sent no more than the change."""
    member = fed.members["a"]
    for each in fed.members.values():
        await each.create(SHOP, dict(NAMESPACE, metadata={"name": "shop"}))
    async with fed.syncer():
        await fed.put(WEB, config_map())
        await fed.place(WEB, "a", "b")
        await fed.reaches(WEB, "a", sync.APPLIED)
    before = member.get(WEB)
    assert before is not None
    member.writes.clear()
    struck = lie(member, LIES[says], about="/api/v1/configmaps", methods="GET")
    async with fed.syncer("two"):
        await until(lambda: len(struck) >= 2, what="it was asked again and again")
        await fed.put(WEB, config_map("2", generation=2))
        await fed.place(WEB, "a", "b")
        await until(
            lambda: [_data(fed, name) for name in ("a", "b")] == [{"value": "2"}] * 2,
            what="both have the change",
        )
        live = member.get(WEB)
        assert live is not None
        assert live["metadata"]["uid"] == before["metadata"]["uid"]
        assert {method for method, _ in member.writes} == {"PATCH"}
        member.fault = None


def _data(fed: Federation, name: str) -> Any:
    return (fed.members[name].get(WEB) or {}).get("data")


async def test_another_cluster_at_the_address_gets_no_write_and_confirms_nothing(fed: Federation) -> None:
    """Where a member's address leads to another cluster nothing is written, read or concluded."""
    right, other = fed.members["a"], fed.members["b"]
    system = "core/namespaces/_/kube-system"
    for member in (right, other):
        if member.get(system) is None:
            await member.create(system, dict(NAMESPACE, metadata={"name": "kube-system"}))
        await member.create(SHOP, dict(NAMESPACE, metadata={"name": "shop"}))
    live = right.get(system)
    assert live is not None
    credential = ClusterCredential(
        server=f"http://127.0.0.1:{right.port}", token=TOKEN, cluster_id=live["metadata"]["uid"]
    )
    sealed = fed.sealer.seal("a", credential.SerializeToString())
    await fed.store.put(keys.credential("a"), sealed)
    async with fed.syncer():
        await fed.put(WEB, config_map())
        await fed.place(WEB, "a")
        await fed.reaches(WEB, "a", sync.APPLIED)
        await other.create(
            WEB, dict(config_map(), metadata={**_marks(right), "name": "web", "namespace": "shop"})
        )
        await right.stop()
        await other.stop()
        port, other.port = other.port, right.port
        other.writes.clear()
        other.requests.clear()
        await other.start()
        await fed.mark_deleted(WEB)
        await until(lambda: len(other.requests) >= 3, what="the address was tried")
        await asyncio.sleep(0.3)
        assert {path for _, path in other.requests} == {"/api/v1/namespaces/kube-system"}
        assert other.writes == []
        state = await fed.state(WEB, "a")
        assert state is not None
        assert state.phase != sync.REMOVED
        await other.stop()
        other.port = port
        await right.start()
        await fed.reaches(WEB, "a", sync.REMOVED, seconds=20)
        assert right.get(WEB) is None
        assert other.get(WEB) is not None


def _marks(member: Member) -> dict[str, Any]:
    live = member.get(WEB)
    assert live is not None
    return {"labels": live["metadata"]["labels"]}
