"""What the body of a request may be: its type, its form, and what its text says more than once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from hanse.store import MemoryStore
from tests.kube.server.world import World
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


async def test_of_several_documents_the_first_is_taken_and_the_answer_says_so(send: Sender) -> None:
    """kube-apiserver takes it too, and says nothing."""
    body = TWICE_YAML.replace(b"  a: '2'\n  a: '3'\n", b"") + b"---\nkind: Secret\n"
    status, answer, warnings = await send("POST", MAPS, body, content=YAML, fieldValidation="Strict")
    assert (status, answer["kind"]) == (201, "ConfigMap")
    assert warnings == ["the body has several YAML documents, and only the first is taken"]
