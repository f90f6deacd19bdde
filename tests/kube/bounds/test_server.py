"""What is too deep, too large or no number is a 4xx with the bound in its message, never a 500."""

from __future__ import annotations

import gzip
import io
import json
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hanse_apiserver.access import TokenFileAuthenticator

from hanse.documents import MAX_DEPTH, MAX_VALUES
from hanse.errors import UnauthenticatedError
from hanse.kube.engine.resources.preparation import MAX_OBJECT_DEPTH
from hanse.kube.kinds.defaults import MAX_DEFAULTED_BYTES
from hanse.kube.merge.json_patch import MAX_COPIED_BYTES, MAX_OPERATIONS
from hanse.kube.merge.managed import MAX_ENTRIES
from hanse.kube.model.objects import Object
from hanse.kube.model.selectors import MAX_TEXT
from hanse.kube.server.auth import Credentials
from hanse.kube.server.connections import MAX_HEADER_BYTES, MAX_LINE_BYTES
from hanse.numbers import MAX_WHOLE
from hanse.store import MAX_REQUEST_BYTES, MemoryStore, Put
from hanse.store.keys import ObjectKey
from tests.kube.server.world import World, config_map, widget_crd
from tests.support.waiting import until

MAPS = "/api/v1/namespaces/default/configmaps"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
APPLY, JSON_PATCH = "application/apply-patch+yaml", "application/json-patch+json"
MERGE_PATCH, MIB = "application/merge-patch+json", 1024 * 1024
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


class Client:
    """Sends bodies as they are, with a token."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        media: str = "application/json",
        encoding: str = "",
    ) -> tuple[int, str]:
        """Return status and message, or the whole body, of the answer."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": media, **({"Content-Encoding": encoding} if encoding else {})}
        stream = io.BytesIO(data) if data is not None else None
        async with self._session.request(method, path, data=stream, headers=headers) as answer:
            text = await answer.text()
            is_status = answer.status >= 400 and text.startswith("{")
            return answer.status, str(json.loads(text)["message"]) if is_status else text


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A server with the namespace `default` and open Widgets."""
    async with World(MemoryStore(), tmp_path) as found:
        yield found


@pytest.fixture
async def send(world: World) -> AsyncIterator[Client]:
    """A client as administrator."""
    async with aiohttp.ClientSession(
        base_url=world.server.url,
        connector=aiohttp.TCPConnector(ssl=world.access(token="admin-token").ssl_context() or True),
        headers={"Authorization": "Bearer admin-token"},
    ) as session:
        client = Client(session)
        await client("POST", "/api/v1/namespaces", {"metadata": {"name": "default"}})
        crd = widget_crd(schema={"openAPIV3Schema": {"type": "object", "properties": {"spec": OPEN}}})
        assert (await client("POST", CRDS, crd))[0] == 201
        yield client


def widget(name: str, spec: Any) -> Object:
    """A Widget with any spec."""
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def deep(depth: int, *, lists: bool = False) -> bytes:
    """A spec of this depth as JSON, without a recursion limit of ours."""
    left, right = ("[", "]") if lists else ('{"a":', "}")
    return (left * depth + "1" + right * depth).encode()


@pytest.mark.parametrize("depth", [450, 600, 900, 5000])
@pytest.mark.parametrize("lists", [False, True])
async def test_a_deep_apply_is_a_400_with_the_bound(send: Client, depth: int, lists: bool) -> None:
    """Server-side apply of what is too deep is refused when it is decoded."""
    whole = json.dumps(widget("w", {})).encode().replace(b'"spec": {}', b'"spec": {"x": %b}')
    status, message = await send(
        "PATCH", f"{WIDGETS}/w?fieldManager=m", whole % deep(depth, lists=lists), media=APPLY
    )
    assert status == 400
    assert str(MAX_DEPTH) in message


@pytest.mark.parametrize("lists", [False, True])
async def test_what_is_as_deep_as_the_bound_is_stored(send: Client, lists: bool) -> None:
    """An object of the greatest depth is created, applied, changed, listed, watched and deleted."""
    spec = json.loads(deep(MAX_OBJECT_DEPTH - 2, lists=lists))
    obj = widget("w", {"x": spec})
    for manager in ("m", "n"):
        status, text = await send("PATCH", f"{WIDGETS}/w?fieldManager={manager}&force=true", obj, media=APPLY)
        assert status in (200, 201), text[:300]
    status, text = await send("PUT", f"{WIDGETS}/w", {**obj, "spec": {"x": spec, "y": spec}})
    assert status == 200, text[:300]
    other = {"spec": {"x": None, "z": spec}}
    status, text = await send("PATCH", f"{WIDGETS}/w", other, media="application/merge-patch+json")
    assert status == 200, text[:300]
    for path in (f"{WIDGETS}/w", WIDGETS):
        assert (await send("GET", path))[0] == 200
    status, text = await send("GET", f"{WIDGETS}/w")
    assert (await send("PUT", f"{WIDGETS}/w", text.encode()))[0] == 200
    status, text = await send("POST", WIDGETS, {**widget("v", {}), "spec": {"x": {"y": spec}}})
    assert (status, str(MAX_OBJECT_DEPTH) in text) == (400, True), text
    assert (await send("DELETE", f"{WIDGETS}/w"))[0] == 200


async def test_a_patch_cannot_make_what_could_not_be_written(send: Client) -> None:
    """Copies, depth and size of the result are bounded like a body."""
    assert (await send("POST", MAPS, config_map("c", a="x" * 1000)))[0] == 201
    copies = [{"op": "copy", "from": "/data", "path": f"/data/c{i}"} for i in range(20)]
    status, message = await send("PATCH", f"{MAPS}/c", copies, media=JSON_PATCH)
    assert (status, str(MAX_COPIED_BYTES) in message) == (413, True), message
    many = [{"op": "test", "path": "/kind", "value": "ConfigMap"}] * (MAX_OPERATIONS + 1)
    status, message = await send("PATCH", f"{MAPS}/c", many, media=JSON_PATCH)
    assert (status, str(MAX_OPERATIONS) in message) == (413, True), message
    assert (await send("POST", WIDGETS, widget("w", {})))[0] == 201
    steps = [{"op": "add", "path": "/spec" + "/a" * i, "value": {}} for i in range(1, MAX_DEPTH + 9)]
    status, message = await send("PATCH", f"{WIDGETS}/w", steps, media=JSON_PATCH)
    assert (status, str(MAX_DEPTH) in message) == (400, True), message
    large = [{"op": "add", "path": f"/spec/k{i}", "value": "x" * 500_000} for i in range(4)]
    status, message = await send("PATCH", f"{WIDGETS}/w", large, media=JSON_PATCH)
    assert (status, str(MAX_REQUEST_BYTES) in message) == (413, True), message


async def test_data_counts_as_it_is_and_not_as_json(send: Client) -> None:
    """A ConfigMap or Secret has a MiB of data, however long JSON makes it, as with kube-apiserver; a byte
    more is said in its words. It comes back as it was written."""
    full = '"' * MIB
    assert (await send("POST", MAPS, config_map("full", a=full)))[0] == 201
    status, text = await send("GET", f"{MAPS}/full")
    assert (status, json.loads(text)["data"]["a"]) == (200, full)
    status, text = await send("PATCH", f"{MAPS}/full", {"data": {"a": full[1:] + "\\"}}, media=MERGE_PATCH)
    assert (status, json.loads(text)["data"]["a"][-1]) == (200, "\\")
    status, text = await send(
        "PATCH", f"{MAPS}/applied?fieldManager=m", config_map("applied", a=full), media=APPLY
    )
    assert status == 201, text[:300]
    assert len(json.loads((await send("GET", MAPS))[1])["items"]) == 2
    status, message = await send("POST", MAPS, config_map("more", a=full, b="x"))
    assert status == 422
    assert message == 'ConfigMap "more" is invalid: []: Too long: may not be more than 1048576 bytes'
    binary = b64encode(full.encode()).decode()
    assert (await send("POST", MAPS, {**config_map("binary"), "binaryData": {"a": binary}}))[0] == 201
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "full"}, "data": {"a": binary}}
    assert (await send("POST", MAPS.replace("configmaps", "secrets"), secret))[0] == 201
    secret = {**secret, "metadata": {"name": "more"}, "data": {"a": b64encode(full.encode() + b"x").decode()}}
    status, message = await send("POST", MAPS.replace("configmaps", "secrets"), secret)
    assert status == 422
    assert message == 'Secret "more" is invalid: data: Too long: may not be more than 1048576 bytes'


async def test_what_members_could_not_store_is_refused(send: Client) -> None:
    """Of built-in kinds the texts count, which no form has fewer bytes of; custom resources are JSON in
    etcd."""
    labels = {"a": "b"}

    def deployment(argument: str) -> Object:
        containers = [{"name": "c", "image": "i", "args": [argument]}]
        template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "d"},
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        }

    path = "/apis/apps/v1/namespaces/default/deployments"
    status, message = await send("POST", path, deployment('"' + "x" * MAX_REQUEST_BYTES))
    assert (status, str(MAX_REQUEST_BYTES) in message) == (413, True), message[:300]
    assert (await send("POST", path, deployment('"' * MIB)))[0] == 201
    assert (await send("POST", CRDS, widget_crd()))[0] in (201, 409)
    status, message = await send("POST", WIDGETS, widget("quotes", {"text": '"' * MIB}))
    assert (status, str(MAX_REQUEST_BYTES) in message) == (413, True), message[:300]


@pytest.mark.parametrize("media", ["application/yaml", "application/json"])
async def test_brackets_without_end_are_a_400(send: Client, world: World, media: str) -> None:
    """25,000 brackets do not end the server, whoever sends them."""
    for body in (b"[" * 25_000, b"a: " + b"[" * 25_000, b"- " * 25_000):
        status, message = await send("POST", MAPS, body, media=media)
        assert status == 400, message
    async with world.client(token="admin-token") as client:
        assert await client.version()


async def test_selectors_may_be_as_long_as_their_bound_and_heads_no_longer(
    send: Client, world: World
) -> None:
    """A selector of nearly 64 KiB is taken, percent-encoded; a longer head is a Status with the bound."""
    labels = "%2C".join(f"example.com/k{number:03d}{'x' * 50}%21%3D{'v' * 60}" for number in range(500))
    assert len(labels) > MAX_TEXT
    status, message = await send("GET", f"{MAPS}?labelSelector={labels}")
    assert status == 200, message
    status, message = await send("GET", f"{MAPS}?labelSelector=a%3D{'b' * MAX_LINE_BYTES}")
    assert (status, str(MAX_LINE_BYTES) in message) == (413, True), message
    async with aiohttp.ClientSession(world.server.url) as session:
        trust = ssl.create_default_context(cadata=world.authority.ca_pem.decode())
        for headers in ({"X-Long": "x" * (MAX_HEADER_BYTES + 1)}, {f"X-{n}": "x" for n in range(200)}):
            async with session.get(MAPS, headers=headers, ssl=trust) as answer:
                said = await answer.json()
                assert (said["kind"], said["code"], answer.status) == ("Status", answer.status, answer.status)
                assert answer.status in (400, 413)


async def test_too_many_values_are_a_413(send: Client) -> None:
    """A body of empty lists is refused by their number."""
    status, message = await send("POST", MAPS, b'{"a":[' + b"[]," * 400_000 + b"0]}")
    assert (status, str(MAX_VALUES) in message) == (413, True), message


@pytest.mark.parametrize("number", ["%C2%B2", "%D9%A3", "-1", "1" * 400, "9" * 5000, "9223372036854775808"])
@pytest.mark.parametrize("name", ["limit", "resourceVersion", "timeoutSeconds", "gracePeriodSeconds"])
async def test_no_number_of_a_query_is_a_500(send: Client, name: str, number: str) -> None:
    """Digits of other scripts and endless numbers are a 400 that says what a number is."""
    method = "DELETE" if name == "gracePeriodSeconds" else "GET"
    watch = "&watch=true" if name == "timeoutSeconds" else ""
    status, message = await send(method, f"{MAPS}?{name}={number}{watch}")
    assert (status, str(MAX_WHOLE) in message) == (400, True), message


async def test_no_resource_version_of_a_body_is_a_500(send: Client) -> None:
    """A version that is no number is the object's fault."""
    assert (await send("POST", MAPS, config_map("c")))[0] == 201
    for version in ("²", "9" * 400, "x", "1.0"):
        changed = config_map("c")
        changed["metadata"]["resourceVersion"] = version
        status, message = await send("PUT", f"{MAPS}/c", changed)
        assert status == 422, message
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"resourceVersion": version}}
        assert (await send("DELETE", f"{MAPS}/c", options))[0] == 409
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"resourceVersion": 7}}
    assert (await send("DELETE", f"{MAPS}/c", options))[0] == 422


async def test_a_crd_cannot_take_the_place_of_a_built_in_kind(send: Client) -> None:
    """Neither by its group, nor by how the core group is stored."""
    for group in ("core", "apps", "hanse.dev", "networking.k8s.io"):
        crd = widget_crd()
        crd["metadata"]["name"] = f"secrets.{group}"
        crd["spec"] |= {"group": group, "names": {"plural": "secrets", "kind": "Secret"}}
        status, message = await send("POST", CRDS, crd)
        assert (status, "spec.group" in message) == (422, True), message
    for path in ("/apis/core/v1/namespaces/default/secrets", "/apis/core/v1/secrets"):
        assert (await send("GET", path))[0] == 404
    assert (await send("GET", "/api/v1/namespaces/_/configmaps/c"))[0] in (400, 404)


async def test_a_crd_that_an_older_release_stored_is_set_apart(tmp_path: Path) -> None:
    """Versions, groups and patterns that are refused today do not stop the server from starting."""
    store = MemoryStore()
    broken = widget_crd()
    broken["metadata"] |= {"uid": "1", "generation": 1, "name": "widgets.example.com"}
    broken["spec"]["versions"][0]["name"] = "v²"
    alias = json.loads(json.dumps(widget_crd()))
    alias["metadata"] |= {"uid": "2", "generation": 1, "name": "secrets.core"}
    alias["spec"] |= {"group": "core", "names": {"plural": "secrets", "kind": "Secret"}}
    pattern = widget_crd(
        schema={"openAPIV3Schema": {"type": "object", "properties": {"a": {"pattern": "(?=x)"}}}}
    )
    pattern["metadata"] |= {"uid": "3", "generation": 1, "name": "gadgets.example.com"}
    pattern["spec"]["names"] = {"plural": "gadgets", "kind": "Gadget"}
    unreadable: Object = {"metadata": {"name": "x.y.z", "uid": "4"}, "spec": {"versions": [7]}}
    for crd in (broken, alias, pattern, unreadable):
        key = ObjectKey("apiextensions.k8s.io", "customresourcedefinitions", "", crd["metadata"]["name"])
        await store.txn([], [Put(key.key(), json.dumps(crd).encode())])
    async with World(store, tmp_path) as world, world.client(token="admin-token") as client:
        assert await client.version()
        for name in ("widgets.example.com", "secrets.core", "gadgets.example.com"):
            assert world.engine.catalogue.storage(*reversed(name.split(".", 1))) is None


async def test_a_pattern_that_re2_does_not_take_is_a_422(send: Client) -> None:
    """A CRD with look-around, or a pattern too large, is refused with the place."""
    for pattern in ("(?=x)y", r"(a)\1", "x{1000}" * 20):
        schema = {"type": "object", "properties": {"spec": {"type": "string", "pattern": pattern}}}
        crd = widget_crd(schema={"openAPIV3Schema": schema})
        crd["metadata"]["name"] = "gadgets.example.com"
        crd["spec"]["names"] = {"plural": "gadgets", "kind": "Gadget"}
        status, message = await send("POST", CRDS, crd)
        assert (status, "properties[spec].pattern" in message) == (422, True), message


async def test_warnings_and_messages_do_not_grow_with_the_input(send: Client) -> None:
    """Ten thousand unknown fields, one of them with a control character, are an answer like any other."""
    body = {**config_map("c"), **{f"unknown{i}\x7f": 1 for i in range(10_000)}}
    status, text = await send("POST", MAPS, body)
    assert status == 201, text[:300]
    status, message = await send("POST", f"{MAPS}?fieldValidation=Strict", body)
    assert (status, len(message) < 20_000) == (400, True)
    labels = {**config_map("d"), "metadata": {"name": "d", "labels": {f"-{i}": "-" for i in range(50_000)}}}
    status, message = await send("POST", MAPS, labels)
    assert (status, "1000 items" in message) == (422, True)


async def test_headers_that_are_no_text_are_no_500(tmp_path: Path) -> None:
    """A token that is no UTF-8 is one that nobody knows."""
    (tmp_path / "tokens").write_text("token,bob,1\n")
    authenticator = TokenFileAuthenticator(tmp_path / "tokens")
    with pytest.raises(UnauthenticatedError):
        await authenticator.authenticate(Credentials(token="\udcff"))
    assert await authenticator.authenticate(Credentials(token="token")) is not None


async def test_null_items_are_zero_values(send: Client) -> None:
    """As Go reads them: an empty struct, of which then something is missing."""
    service = {"metadata": {"name": "s"}, "spec": {"ports": [None, {"port": 80}]}}
    status, message = await send("POST", "/api/v1/namespaces/default/services", service)
    assert status == 422, message
    assert "ports[0]" in message


async def test_compressed_bodies_are_refused(send: Client) -> None:
    """A body of some kilobytes that unpacks to a gigabyte is not unpacked, nor is one that cannot be."""
    for body in (gzip.compress(b" " * 10_000_000), b"not gzip"):
        status, message = await send("POST", MAPS, body, encoding="gzip")
        assert (status, "gzip" in message) == (415, True), message
    plain = json.dumps(config_map("c")).encode()
    assert (await send("POST", MAPS, plain, encoding="identity"))[0] == 201


async def test_defaults_do_not_multiply(send: Client) -> None:
    """A default of ten kilobytes in each of a thousand items is refused, with the bound."""
    item = {"type": "object", "properties": {"d": {"type": "string", "default": "x" * 10_000}}}
    spec = {"type": "object", "properties": {"l": {"type": "array", "items": item}}}
    crd = widget_crd(schema={"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}})
    crd["metadata"]["name"] = "gadgets.example.com"
    crd["spec"]["names"] = {"plural": "gadgets", "kind": "Gadget"}
    assert (await send("POST", CRDS, crd))[0] == 201
    gadgets = WIDGETS.replace("widgets", "gadgets")
    for count, expected in ((10, 201), (1000, 413)):
        obj = {**widget(f"g{count}", {"l": [{}] * count}), "kind": "Gadget"}
        status, message = await send("POST", gadgets, obj)
        assert status == expected, message[:300]
    assert str(MAX_DEFAULTED_BYTES) in message


async def test_managed_fields_of_a_request_are_bounded(send: Client) -> None:
    """Thousands of entries are not taken over; what was known stays."""
    assert (await send("POST", MAPS, config_map("c", a="1")))[0] == 201
    changed = config_map("c", a="2")
    entry = {"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1"}
    changed["metadata"]["managedFields"] = [
        {**entry, "fieldsV1": {"f:data": {f"f:k{i}": {}}}} for i in range(MAX_ENTRIES + 1)
    ]
    status, text = await send("PUT", f"{MAPS}/c", changed)
    assert status == 200, text[:300]
    assert len(json.loads(text)["metadata"]["managedFields"]) < 5


async def test_two_crds_cannot_share_a_kind(send: Client, world: World) -> None:
    """The second is not served, until the first is gone; the first keeps its schema."""
    other = widget_crd(schema={"openAPIV3Schema": {"type": "object", "properties": {"spec": OPEN}}})
    other["metadata"]["name"] = "copies.example.com"
    other["spec"]["names"] = {"plural": "copies", "kind": "Widget"}
    assert (await send("POST", CRDS, other))[0] == 201
    assert (await send("GET", WIDGETS.replace("widgets", "copies")))[0] == 404
    assert (await send("POST", WIDGETS, widget("w", {"x": 1})))[0] == 201
    assert (await send("DELETE", f"{CRDS}/widgets.example.com"))[0] == 200

    async def served() -> bool:
        return (await send("GET", WIDGETS.replace("widgets", "copies")))[0] == 200

    await until(served, what="the other CRD is served")
