"""Wrong is unknown: what is not the answer to what was asked is no answer, whoever asks for what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import CompactedError, HanseError, InternalError, NotFoundError
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.answer import IdentityMismatchError, WrongAnswerError, verified
from hanse.kube.client.expect import (
    DISCOVERY,
    GROUPS,
    READY,
    VERSION,
    ADeletion,
    AList,
    AnObject,
    Expected,
    resource_list,
)
from hanse.kube.client.requests import GroupVersionResource
from tests.support.object_client import ObjectClient

JSON = {"content-type": "application/json; charset=utf-8"}
HTML = {"content-type": "text/html"}
CONFIGMAPS = GroupVersionResource("v1", "configmaps", "ConfigMap")
CONFIGMAP: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "uid": "u",
        "resourceVersion": "7",
        "labels": {"a": "b"},
    },
    "data": {"k": "v"},
}
LIST: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMapList",
    "metadata": {"resourceVersion": "9"},
    "items": [{"metadata": CONFIGMAP["metadata"]}],
}
PARTIAL: dict[str, Any] = {
    "apiVersion": "meta.k8s.io/v1",
    "kind": "PartialObjectMetadataList",
    "metadata": {"resourceVersion": "9"},
    "items": [
        {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": CONFIGMAP["metadata"]}
    ],
}
DELETED: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Status",
    "metadata": {},
    "status": "Success",
    "details": {"name": "web", "kind": "configmaps", "uid": "u"},
}
GONE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Status",
    "metadata": {},
    "status": "Failure",
    "reason": "NotFound",
    "message": 'configmaps "web" not found',
    "details": {"name": "web", "kind": "configmaps"},
    "code": 404,
}
RESOURCES: dict[str, Any] = {
    "kind": "APIResourceList",
    "groupVersion": "v1",
    "resources": [{"name": "configmaps", "kind": "ConfigMap", "namespaced": True, "verbs": ["get"]}],
}
OBJECT = CONFIGMAPS.object("shop", "web")
THIS = CONFIGMAPS.object("shop", "web", uid="u")
GOOD: list[tuple[Expected, dict[str, Any]]] = [
    (OBJECT, CONFIGMAP),
    (AList("v1", "ConfigMap", namespace="shop"), LIST),
    (AList("v1", namespace="shop"), LIST),
    (AList("v1", "ConfigMap", partial=True), PARTIAL),
    (AList("v1", "ConfigMap", partial=True), {**PARTIAL, "items": None}),
    (ADeletion(THIS), DELETED),
    (ADeletion(THIS), CONFIGMAP),
    (VERSION, {"major": "1", "gitVersion": "v1.37.2"}),
    (resource_list("v1"), RESOURCES),
    (DISCOVERY, {"kind": "APIGroupDiscoveryList", "items": [{"metadata": {}}]}),
    (GROUPS, {"kind": "APIVersions", "versions": ["v1"]}),
]


def answered(expected: Expected, document: Any, status: int = 200) -> bool:
    """Whether an answer counts."""
    try:
        verified(expected, status=status, headers=JSON, body=orjson.dumps(document), asked="GET /x")
    except WrongAnswerError:
        return False
    return True


@pytest.mark.parametrize(("expected", "document"), GOOD)
def test_what_was_asked_for_counts_and_nothing_else_does(
    expected: Expected, document: dict[str, Any]
) -> None:
    """Another answer that is good for another question, an empty one, a page and a cut one are no answers."""
    assert answered(expected, document)
    body = orjson.dumps(document)
    no_json = (b"", b"{}", b"[]", b"null", b"<html>", body[:-1], body + b"}", b'"x"', b"7")
    for headers, said in ((HTML, b"<html>"), (HTML, body), ({}, body), *((JSON, each) for each in no_json)):
        with pytest.raises(WrongAnswerError, match="GET /x"):
            verified(expected, status=200, headers=headers, body=said, asked="GET /x")
    failure = {**GONE, "code": 200}
    assert not answered(expected, failure)


LIES: list[tuple[Expected, dict[str, Any], dict[tuple[str, ...], Any]]] = [
    (THIS, CONFIGMAP, {("metadata", "uid"): "u-2"}),
    (OBJECT, CONFIGMAP, {("kind",): "Secret"}),
    (OBJECT, CONFIGMAP, {("apiVersion",): "v2"}),
    (OBJECT, CONFIGMAP, {("metadata", "name"): "other"}),
    (OBJECT, CONFIGMAP, {("metadata", "namespace"): "other"}),
    (OBJECT, CONFIGMAP, {("metadata", "namespace"): None}),
    (OBJECT, CONFIGMAP, {("metadata", "uid"): ""}),
    (OBJECT, CONFIGMAP, {("metadata", "uid"): 7}),
    (OBJECT, CONFIGMAP, {("metadata", "resourceVersion"): None}),
    (OBJECT, CONFIGMAP, {("metadata", "labels"): "x"}),
    (OBJECT, CONFIGMAP, {("metadata", "labels"): {"a": {}}}),
    (OBJECT, CONFIGMAP, {("metadata", "ownerReferences"): {"uid": "x"}}),
    (OBJECT, CONFIGMAP, {("metadata", "finalizers"): [7]}),
    (OBJECT, CONFIGMAP, {("metadata",): []}),
    (AnObject("v1", "ConfigMap"), CONFIGMAP, {("metadata", "uid"): "x" * 129}),
    (
        AList("v1", "ConfigMap"),
        LIST,
        {
            ("items",): [
                {"metadata": {"name": "x", "namespace": "y", "uid": "u", "resourceVersion": "7" * 129}}
            ]
        },
    ),
    (AList("v1", "ConfigMap"), LIST, {("items",): None}),
    (AList("v1", "ConfigMap"), LIST, {("items",): {}}),
    (AList("v1", "ConfigMap"), LIST, {("items",): [None]}),
    (AList("v1", "ConfigMap"), LIST, {("items",): [{}]}),
    (AList("v1", "ConfigMap"), LIST, {("items",): [{"kind": "Pod", "metadata": CONFIGMAP["metadata"]}]}),
    (AList("v1", "ConfigMap"), LIST, {("kind",): "PodList"}),
    (AList("v1", "ConfigMap"), LIST, {("apiVersion",): "apps/v1"}),
    (AList("v1", "ConfigMap"), LIST, {("metadata",): None}),
    (AList("v1", "ConfigMap"), LIST, {("metadata", "resourceVersion"): None}),
    (AList("v1", "ConfigMap"), LIST, {("metadata", "continue"): 7}),
    (AList("v1", "ConfigMap", namespace="other"), LIST, {}),
    (AList("v1", "ConfigMap"), PARTIAL, {}),
    (AList("v1", "ConfigMap", partial=True), {k: v for k, v in PARTIAL.items() if k != "items"}, {}),
    (ADeletion(THIS), DELETED, {("status",): "Failure"}),
    (ADeletion(THIS), DELETED, {("details", "name"): "other"}),
    (ADeletion(THIS), DELETED, {("details", "uid"): "u-2"}),
    (ADeletion(THIS), CONFIGMAP, {("metadata", "uid"): "u-2"}),
    (VERSION, {"gitVersion": "v1"}, {("gitVersion",): ""}),
    (resource_list("v1"), RESOURCES, {("resources",): []}),
    (resource_list("v1"), RESOURCES, {("groupVersion",): "apps/v1"}),
    (DISCOVERY, {"kind": "APIGroupDiscoveryList", "items": []}, {}),
]


@pytest.mark.parametrize(("expected", "document", "lie"), LIES)
def test_each_part_of_an_answer_is_checked(
    expected: Expected, document: dict[str, Any], lie: dict[tuple[str, ...], Any]
) -> None:
    """One wrong part makes the whole no answer."""
    changed = deepcopy(document)
    for path, value in lie.items():
        at = changed
        for name in path[:-1]:
            at = at[name]
        at[path[-1]] = value
    assert not answered(expected, changed)


def test_readyz_is_a_word() -> None:
    """Nothing but "ok" in plain text says that a server is ready."""
    assert verified(READY, status=200, headers={"content-type": "text/plain"}, body=b"ok\n", asked="x").ok
    for headers, body in ((HTML, b"ok"), ({"content-type": "text/plain"}, b"<html>ok"), (JSON, b"{}")):
        with pytest.raises(WrongAnswerError):
            verified(READY, status=200, headers=headers, body=body, asked="x")


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*CONFIGMAP, *LIST, *GONE, *CONFIGMAP["metadata"]]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from(GOOD), JSONS, st.integers(200, 599))
def test_nothing_that_comes_in_is_an_accident(
    good: tuple[Expected, dict[str, Any]], document: Any, status: int
) -> None:
    """Any JSON with any status counts or is a WrongAnswerError; what counts as a refusal is a Status."""
    try:
        answer = verified(good[0], status=status, headers=JSON, body=orjson.dumps(document), asked="x")
    except WrongAnswerError:
        return
    if not answer.ok:
        assert answer.document == {} or answer.document["kind"] == "Status"
        assert answer.document or status >= 500 or status in (401, 403, 404, 408, 429)


# Over HTTP.


class Server:
    """An API server of one ConfigMap that says what a test has it say; keeps who asked for what."""

    def __init__(self) -> None:
        self.cluster_id = "cluster-1"
        self.says: dict[tuple[str, str], tuple[int, str, bytes]] = {}
        self.requests: list[tuple[str, str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.requests.append((request.method, request.path))
        if request.path == "/api/v1/namespaces/kube-system":
            system = {"name": "kube-system", "uid": self.cluster_id, "resourceVersion": "1"}
            return web.json_response({"apiVersion": "v1", "kind": "Namespace", "metadata": system})
        kind = "WATCH" if "watch" in request.query else request.method
        status, media_type, body = self.says[kind, request.path.rpartition("/")[2]]
        return web.Response(status=status, body=body, content_type=media_type)


@asynccontextmanager
async def serving(server: Server, **access: Any) -> AsyncIterator[ObjectClient]:
    """A client of the server."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        where = ClusterAccess(f"http://127.0.0.1:{runner.addresses[0][1]}", **access)
        async with ObjectClient(where, timeout=5, retries=0) as client:
            yield client
    finally:
        await runner.cleanup()


def said(document: Any, status: int = 200) -> tuple[int, str, bytes]:
    """An answer in JSON."""
    return status, "application/json", orjson.dumps(document)


@pytest.mark.parametrize(
    "answer",
    [
        (404, "text/plain", b"404 page not found"),
        (404, "text/html", b"<html>"),
        (404, "application/json", b"{}"),
        said({**GONE, "kind": "Oops"}, 404),
        said({**GONE, "code": 500}, 404),
        said({**GONE, "reason": "Unknown"}, 404),
        said({**GONE, "details": {"name": "other", "kind": "configmaps"}}, 404),
        said({**GONE, "details": {"name": "web", "kind": "secrets"}}, 404),
        said({k: v for k, v in GONE.items() if k != "details"}, 404),
        (301, "text/html", b""),
        (410, "text/html", b"gone"),
        (409, "text/plain", b""),
        (200, "text/html", b"<html>"),
        said({}),
        said(LIST),
    ],
)
async def test_only_the_server_itself_says_that_an_object_is_gone(answer: tuple[int, str, bytes]) -> None:
    """By a Status with the code of the answer, about that very object; then it is a NotFoundError."""
    server = Server()
    async with serving(server) as client:
        server.says = {("GET", "web"): answer, ("DELETE", "web"): answer}
        with pytest.raises(WrongAnswerError):
            await client.get(CONFIGMAPS, "web", namespace="shop")
        with pytest.raises(WrongAnswerError):
            await client.delete(CONFIGMAPS, "web", namespace="shop", uid="u")
        server.says = {("GET", "web"): said(GONE, 404), ("DELETE", "web"): said(GONE, 404)}
        with pytest.raises(NotFoundError):
            await client.get(CONFIGMAPS, "web", namespace="shop")
        with pytest.raises(NotFoundError):
            await client.delete(CONFIGMAPS, "web", namespace="shop", uid="u")


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"type": "ADDED", "object": CONFIGMAP}, None),
        ({"type": "BOOKMARK", "object": {**CONFIGMAP, "metadata": {"resourceVersion": "8"}}}, None),
        ({"type": "ADDED", "object": {**CONFIGMAP, "kind": "Secret"}}, WrongAnswerError),
        ({"type": "DELETED", "object": {"kind": "ConfigMap", "apiVersion": "v1"}}, WrongAnswerError),
        ({"type": "DELETED", "object": None}, WrongAnswerError),
        ({"type": "BOOKMARK", "object": {**CONFIGMAP, "metadata": {}}}, WrongAnswerError),
        ({"type": "FOO", "object": CONFIGMAP}, WrongAnswerError),
        ({"object": CONFIGMAP}, WrongAnswerError),
        ({}, WrongAnswerError),
        ({"type": "ERROR", "object": {**GONE, "reason": "Expired", "code": 410}}, CompactedError),
        ({"type": "ERROR", "object": {"code": "x"}}, InternalError),
        ({"type": "ERROR", "object": []}, InternalError),
    ],
)
async def test_each_event_of_a_watch_is_checked(event: Any, error: type[HanseError] | None) -> None:
    """What is no event about an object of the kind ends the watch."""
    server = Server()
    server.says["WATCH", "configmaps"] = (200, "application/json", orjson.dumps(event) + b"\n")
    async with serving(server) as client:
        watch = client.watch(CONFIGMAPS, resource_version="1", namespace="shop")
        if error is None:
            assert [kind async for kind, _ in watch] == [event["type"]]
            return
        with pytest.raises(error):
            _ = [kind async for kind, _ in watch]


async def test_another_cluster_gets_no_request() -> None:
    """Each new connection asks who is there; where another cluster is, nothing else is sent."""
    server = Server()
    server.says = {("GET", "web"): said(CONFIGMAP), ("DELETE", "web"): said(DELETED)}
    async with serving(server, cluster_id="cluster-1") as client:
        await client.get(CONFIGMAPS, "web", namespace="shop")
        await client.get(CONFIGMAPS, "web", namespace="shop")
        assert [path.rpartition("/")[2] for _, path in server.requests] == ["kube-system", "web", "web"]
    server.cluster_id = "cluster-2"
    server.requests.clear()
    async with serving(server, cluster_id="cluster-1") as client:
        for attempt in (client.get, client.delete):
            with pytest.raises(IdentityMismatchError, match="cluster-2, not cluster-1") as caught:
                await attempt(CONFIGMAPS, "web", namespace="shop")
            assert caught.value.reason == "IDENTITY_MISMATCH"
        with pytest.raises(IdentityMismatchError):
            _ = [event async for event in client.watch(CONFIGMAPS, resource_version="1")]
        assert {path for _, path in server.requests} == {"/api/v1/namespaces/kube-system"}
        server.cluster_id = "cluster-1"
        assert (await client.get(CONFIGMAPS, "web", namespace="shop"))["data"] == {"k": "v"}


def test_a_create_by_generate_name_is_checked_as_far_as_it_is_known() -> None:
    """Without a name any will do, in the namespace that was asked for."""
    asked = AnObject("v1", "ConfigMap", namespace="shop")
    assert answered(asked, CONFIGMAP)
    assert not answered(AnObject("v1", "ConfigMap", namespace="x"), CONFIGMAP)
