"""What the body of a request may be: its type, its form, and what its text says more than once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from hanse.store import MemoryStore
from tests.kube.server.world import World, widget_crd
from tests.support.machine.raw import raw
from tests.support.object_client import ObjectClient

MAPS = "/api/v1/namespaces/default/configmaps"
JSON, YAML = "application/json", "application/yaml"
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"
TWICE_JSON = (
    b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"1","a":"2"},"no":1,"no":2}'
)
TWICE_YAML = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: '1'\n  a: '2'\n  a: '3'\n"


class Sender:
    """Sends bodies as they are."""

    def __init__(self, client: ObjectClient) -> None:
        self._client = client

    async def __call__(
        self, method: str, path: str, body: bytes, *, content: str = JSON, **query: str
    ) -> tuple[int, Any, list[str]]:
        """Return status, decoded answer and warnings."""
        headers = {"Content-Type": content} if content else {}
        params = {"dryRun": "All", "fieldManager": "m", **query}
        status, said, answer = await raw(
            self._client, method, path, params=params, body=body, headers=headers
        )
        warnings = [each.strip() for each in said.get("warning", "").split("299 - ") if each.strip()]
        return status, orjson.loads(answer), [each.rstrip(",")[1:-1] for each in warnings]

    async def read(self, path: str, accept: str) -> bytes:
        """Return the body of the answer to a read."""
        status, _, body = await raw(self._client, "GET", path, headers={"Accept": accept})
        assert status == 200, body
        return body

    async def warnings(self, path: str) -> list[str]:
        """Return what the answer to a read warns of."""
        _, said, _ = await raw(self._client, "GET", path)
        found = [each.strip() for each in said.get("warning", "").split("299 - ") if each.strip()]
        return [each.rstrip(",")[1:-1] for each in found]


@pytest_asyncio.fixture
async def send(tmp_path: Path) -> AsyncIterator[Sender]:
    """A sender, in a world with one ConfigMap."""
    store = MemoryStore(progress_interval=0.1)
    async with World(store, tmp_path) as world, world.client() as client:
        sender = Sender(client)
        body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"there"},"data":{"a":"b"}}'
        made = await raw(client, "POST", MAPS, body=body, headers={"Content-Type": JSON})
        assert made[0] == 201
        yield sender
    await store.close()


PATCHES = {
    MERGE: b'{"data":{"a":"1","a":"2"}}',
    STRATEGIC: b'{"data":{"a":"1","a":"2"}}',
    JSON_PATCH: b'[{"op":"add","path":"/data/q","value":"1","op":"add","also":1}]',
}
DUPLICATE = 'duplicate field \\"data.a\\"'
OPERATIONS = ['json patch duplicate field \\"[0].op\\"', 'json patch unknown field \\"[0].also\\"']
LINES = [f'line {line}: key \\"a\\" already set in map' for line in (6, 7)]


@pytest.mark.parametrize(
    ("method", "path", "content", "body", "warnings", "refused"),
    [
        ("POST", "", JSON, TWICE_JSON, [DUPLICATE, 'unknown field \\"no\\"'], 400),
        ("POST", "", YAML, TWICE_YAML, LINES, 400),
        (
            "PUT",
            "/there",
            JSON,
            TWICE_JSON.replace(b'"x"', b'"there"'),
            [DUPLICATE, 'unknown field \\"no\\"'],
            400,
        ),
        ("PATCH", "/there", MERGE, PATCHES[MERGE], [DUPLICATE], 422),
        ("PATCH", "/there", STRATEGIC, PATCHES[STRATEGIC], [DUPLICATE], 422),
        ("PATCH", "/there", JSON_PATCH, PATCHES[JSON_PATCH], OPERATIONS, 422),
        ("PATCH", "/x", APPLY, TWICE_YAML, LINES, 400),
        ("PATCH", "/x", APPLY, TWICE_JSON.replace(b',"no":1,"no":2', b""), [LINES[0].replace("6", "1")], 400),
    ],
)
async def test_what_is_said_more_than_once_is_named(
    send: Sender, method: str, path: str, content: str, body: bytes, warnings: list[str], refused: int
) -> None:
    """Strict refuses it, Warn warns in kube-apiserver's words, Ignore takes the last."""
    status, answer, said = await send(method, MAPS + path, body, content=content)
    assert (status in (200, 201), said) == (True, warnings), answer
    status, answer, said = await send(method, MAPS + path, body, content=content, fieldValidation="Ignore")
    assert (status in (200, 201), said) == (True, []), answer
    status, answer, said = await send(method, MAPS + path, body, content=content, fieldValidation="Strict")
    assert (status, said) == (refused, [])
    for warning in warnings:
        assert warning.replace("\\", "") in answer["message"]


async def test_a_scale_says_each_field_once(send: Sender) -> None:
    """A subresource with a kind of its own is no exception."""
    web = "/apis/apps/v1/namespaces/default/deployments/web/scale"
    body = b'{"spec":{"replicas":1,"replicas":2}}'
    status, answer, _ = await send("PATCH", web, body, content=MERGE, fieldValidation="Strict")
    assert status == 400
    assert 'duplicate field "spec.replicas"' in answer["message"]


@pytest.mark.parametrize(
    ("content", "body", "status"),
    [
        ("", TWICE_JSON, 201),
        ("application/json; charset=utf-8", TWICE_JSON, 201),
        ("text/plain", TWICE_JSON, 415),
        ("application/x-www-form-urlencoded", TWICE_JSON, 415),
        ("application/octet-stream", TWICE_JSON, 415),
        (JSON, TWICE_YAML, 400),
        (YAML, b'{"apiVersion": "v1",\n\t"kind": "ConfigMap", metadata: {name: x}}', 201),
        (YAML, TWICE_JSON, 201),
        (YAML, b"a: b: c", 400),
        (MERGE, b"{}", 415),
    ],
)
async def test_a_body_is_what_its_type_says(send: Sender, content: str, body: bytes, status: int) -> None:
    """JSON is not looked at as YAML; without a type it is JSON; other types are refused."""
    answered, answer, _ = await send("POST", MAPS, body, content=content)
    assert answered == status, answer
    if status == 415:
        assert answer["message"].endswith(f"include: {JSON}, {YAML}, application/vnd.kubernetes.protobuf")
    if status == 400:
        assert answer["message"].startswith(
            "the object provided is unrecognized (must be of type ConfigMap): "
        )


async def test_an_apply_that_looks_like_json_is_yaml(send: Sender) -> None:
    """Flow style with plain keys, comments and 1:30 is an apply configuration like any other."""
    body = b"{apiVersion: v1, kind: ConfigMap, # x\n metadata: {name: x}, data: {a: 1:30, b: 2020-01-01}}"
    status, answer, _ = await send("PATCH", f"{MAPS}/x", body, content=APPLY)
    assert status == 201, answer
    assert answer["data"] == {"a": "1:30", "b": "2020-01-01"}


@pytest.mark.parametrize(
    ("timeout", "fits"),
    [("", True), ("0", True), ("30s", True), ("1h2m", True), ("1.5s", True), ("-1s", True), ("abc", False),
     ("5", False), ("5d", False), ("+5s", True), ("s", False)],
)  # fmt: skip
async def test_a_timeout_is_a_duration(send: Sender, timeout: str, fits: bool) -> None:
    """Any other is 400 for every verb but watch, which has a parameter of its own."""
    body = b'{"metadata":{"name":"t"}}'
    status, answer, _ = await send("POST", MAPS, body, timeout=timeout)
    assert status == (201 if fits else 400)
    assert fits or answer["message"].startswith("invalid timeout specified in the request URL - ")
    assert (await send("GET", MAPS, b"", timeout=timeout))[0] == (200 if fits else 400)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("1.2.3.4", ""),
        ("::1", ""),
        ("a", "must be a valid IP address"),
        ("01.2.3.4", "must not have leading 0s"),
        ("0:0::1", 'must be in canonical form ("::1")'),
    ],
)
async def test_an_ip_address_is_named_for_itself(send: Sender, name: str, problem: str) -> None:
    """In its canonical form, as kube-apiserver has it."""
    reference = {"resource": "services", "name": "a", "namespace": "b"}
    body = orjson.dumps({"metadata": {"name": name}, "spec": {"parentRef": reference}})
    status, answer, _ = await send("POST", "/apis/networking.k8s.io/v1/ipaddresses", body)
    assert status == (422 if problem else 201), answer
    assert problem in answer.get("message", "")


async def test_the_times_of_a_lease_are_in_microseconds(send: Sender) -> None:
    """Whatever a client sends: what is read back by another is one form."""
    spec = {"renewTime": "2020-01-01T00:00:00Z", "acquireTime": "2020-01-01T02:00:00.25+02:00"}
    body = orjson.dumps({"metadata": {"name": "l"}, "spec": spec})
    _, answer, _ = await send("POST", "/apis/coordination.k8s.io/v1/namespaces/default/leases", body)
    assert answer["spec"] == {
        "renewTime": "2020-01-01T00:00:00.000000Z", "acquireTime": "2020-01-01T00:00:00.250000Z"
    }  # fmt: skip


async def test_a_table_is_of_the_version_that_is_asked_for(send: Sender) -> None:
    """Each event of a watch says the version of its object, as client-go resumes there."""
    for version in ("v1", "v1beta1"):
        for form, kinds in (
            ("Table", ("Table", "PartialObjectMetadata")),
            ("PartialObjectMetadataList", ("PartialObjectMetadataList", "PartialObjectMetadata")),
        ):
            accept = f"application/json;as={form};v={version};g=meta.k8s.io"
            listed = orjson.loads(await send.read(MAPS, accept))
            assert (listed["kind"], listed["apiVersion"]) == (kinds[0], f"meta.k8s.io/{version}")
            (one,) = [row["object"] for row in listed.get("rows", [])] or listed["items"]
            assert (one["kind"], one["apiVersion"]) == (kinds[1], f"meta.k8s.io/{version}")
        accept = f"application/json;as=Table;v={version};g=meta.k8s.io"
        event = orjson.loads((await send.read(f"{MAPS}?watch=1&timeoutSeconds=1", accept)).splitlines()[0])
        table = event["object"]
        assert table["apiVersion"] == f"meta.k8s.io/{version}"
        shown = table["rows"][0]["object"]["metadata"]["resourceVersion"]
        assert table["metadata"] == {"resourceVersion": shown}


@pytest.mark.parametrize("path", ["", "/e", "?watch=1&timeoutSeconds=1"])
async def test_whoever_uses_a_deprecated_version_is_warned(send: Sender, path: str) -> None:
    """In kube-apiserver's words, whatever the verb."""
    body = b'{"metadata":{"name":"e"}}'
    said = ["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"]
    collection = "/api/v1/namespaces/default/endpoints"
    assert (await send("POST", collection, body))[2] == said
    assert await send.warnings(collection + path) == said
    assert await send.warnings(MAPS) == []


@pytest.mark.parametrize(
    ("text", "said"), [("", "example.com/v1 Widget is deprecated"), ("use gadgets", "use gadgets")]
)
async def test_a_deprecated_version_of_a_custom_resource_warns(send: Sender, text: str, said: str) -> None:
    """By its own text, or one that is made of its names."""
    crd = widget_crd()
    version = crd["spec"]["versions"][0]
    version |= {"deprecated": True} | ({"deprecationWarning": text} if text else {})
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    status, answer, _ = await send("POST", definitions, orjson.dumps(crd), dryRun="")
    assert status == 201, answer
    assert await send.warnings(f"/apis/example.com/{version['name']}/namespaces/default/widgets") == [said]


async def test_of_several_documents_the_first_is_taken_and_the_answer_says_so(send: Sender) -> None:
    """kube-apiserver takes it too, and says nothing."""
    body = TWICE_YAML.replace(b"  a: '2'\n  a: '3'\n", b"") + b"---\nkind: Secret\n"
    status, answer, warnings = await send("POST", MAPS, body, content=YAML, fieldValidation="Strict")
    assert (status, answer["kind"]) == (201, "ConfigMap")
    assert warnings == ["the body has several YAML documents, and only the first is taken"]
