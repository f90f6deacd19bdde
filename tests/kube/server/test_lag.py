"""What is legitimate and long is done in turns: nobody else waits for it."""

from __future__ import annotations

import asyncio
import gc
import http.client
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import orjson
import pytest

from hanse.kube.model.objects import Object
from hanse.store import MemoryStore
from hanse.turns import Turns, is_heavy
from tests.kube.server.world import World, config_map, deployment, widget_crd
from tests.support.looplag import responsive

OBJECTS = 10_000
PATH = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


@contextmanager
def settled_heap() -> Iterator[None]:
    """What is there is no garbage, as after the start of a service."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@asynccontextmanager
async def big_world(tmp_path: Path, objects: int) -> AsyncIterator[World]:
    """A server with so many ConfigMaps of 1 KiB."""
    store = MemoryStore(progress_interval=0.1)
    async with World(store, tmp_path) as world:
        info = world.engine.catalogue.require("", "v1", "configmaps")
        for number in range(objects):
            made = config_map(f"c{number:05d}", data="x" * 1000)
            await world.engine.resources.create(info, made, namespace="default")
        await world.engine.cache.fresh()
        with settled_heap():
            yield world
    await store.close()


async def ask(
    world: World, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, bytes]:
    """Ask from another thread, so that what the client computes does not count."""

    def work() -> tuple[int, bytes]:
        context = ssl.create_default_context(cadata=world.authority.ca_pem.decode())
        connection = http.client.HTTPSConnection("127.0.0.1", world.server.port, context=context, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Authorization": "Bearer admin-token", **sent})
        answer = connection.getresponse()
        read = answer.read()
        connection.close()
        return answer.status, read

    return await asyncio.to_thread(work)


async def test_a_list_of_ten_thousand_holds_nobody_up(tmp_path: Path) -> None:
    """As JSON, as a Table, metadata only, by a selector; and it is whole and in order."""
    names = [f"c{number:05d}" for number in range(OBJECTS)]
    async with big_world(tmp_path, OBJECTS) as world, responsive():
        _, whole = await ask(world, PATH)
        _, table = await ask(world, PATH, Accept=TABLE)
        _, metadata = await ask(world, PATH, Accept=METADATA)
        _, selected = await ask(world, f"{PATH}?fieldSelector=metadata.name%21%3Dc00000")
    decoded = orjson.loads(whole)
    assert (decoded["kind"], decoded["apiVersion"]) == ("ConfigMapList", "v1")
    listed = [item["metadata"]["name"] for item in decoded["items"]]
    assert [name for name in listed if name.startswith("c")] == names
    rows = orjson.loads(table)
    assert [row["cells"][0] for row in rows["rows"]] == listed
    assert [column["name"] for column in rows["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert len(orjson.loads(metadata)["items"]) == len(decoded["items"])
    assert len(orjson.loads(selected)["items"]) == len(decoded["items"]) - 1


async def test_a_list_as_yaml_is_written_beside_the_loop_and_bounded(tmp_path: Path) -> None:
    """YAML costs a second for each MiB; a large list is to be asked for as JSON."""
    async with big_world(tmp_path, 4000) as world, responsive():
        status, some = await ask(world, f"{PATH}?limit=500", Accept="application/yaml")
        refused, why = await ask(world, PATH, Accept="application/yaml")
    assert status == 200
    assert some.count(b"kind: ConfigMap\n") == 500
    assert refused == 406
    assert b"limit" in why


async def test_a_large_object_is_written_beside_the_loop(world: World) -> None:
    """Created, changed by each kind of patch, replaced, applied, refused: as many fields as may be."""
    deployments = "/apis/apps/v1/namespaces/default/deployments"
    made = deployment("big")
    env = [{"name": f"E{number}", "value": "v" * 20} for number in range(12_000)]
    made["spec"]["template"]["spec"]["containers"][0]["env"] = env
    changed = orjson.dumps(
        {"spec": {"template": {"spec": {"containers": [{"name": "web", "env": env[7:8]}]}}}}
    )
    merge, strategic, json_patch, apply = (
        {"Content_Type": f"application/{kind}"}
        for kind in ("merge-patch+json", "strategic-merge-patch+json", "json-patch+json", "apply-patch+yaml")
    )
    json = {"Content_Type": "application/json"}
    label = orjson.dumps({"metadata": {"labels": {"a": "b"}}})
    op = orjson.dumps([{"op": "add", "path": "/metadata/labels/c", "value": "d"}])
    body = orjson.dumps(made)
    keys = {f"key-{number:06d}": "v" for number in range(130_000)}
    too_much = orjson.dumps({**config_map("huge"), "data": keys})
    applied = f"{deployments}/big?fieldManager=me&force=true"
    with settled_heap():
        async with responsive():
            answers = [
                await ask(world, deployments, method="POST", body=body, **json),
                await ask(world, f"{deployments}/big", method="PATCH", body=label, **merge),
                await ask(world, f"{deployments}/big", method="PATCH", body=changed, **strategic),
                await ask(world, f"{deployments}/big", method="PATCH", body=op, **json_patch),
            ]
            _, current = await ask(world, f"{deployments}/big")
            answers += [
                await ask(
                    world, f"{deployments}/big", method="PUT", body=current, Content_Type="application/json"
                ),
                await ask(world, PATH, method="POST", body=too_much, **json),
                await ask(world, applied, method="PATCH", body=body, **apply),
            ]
    statuses = [status for status, _ in answers]
    assert statuses[:5] == [201, 200, 200, 200, 200]
    assert 400 <= statuses[5] < 500
    assert statuses[6] == 413  # with what two managers own it is more than a kube-apiserver stores
    read = orjson.loads(current)
    assert {"a": "b", "c": "d"}.items() <= read["metadata"]["labels"].items()
    names = [each["name"] for each in read["spec"]["template"]["spec"]["containers"][0]["env"]]
    assert sorted(names) == sorted(each["name"] for each in env)


@pytest.mark.parametrize("piece", [b'{"name":"c123","value":"v"}', b"[]", b'"a,b"'])
async def test_a_body_of_three_megabytes_is_decoded_beside_the_loop(world: World, piece: bytes) -> None:
    """Also one that is refused."""
    many = 2_900_000 // (len(piece) + 1)
    body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":['
    body += (piece + b",") * many + piece + b"]}"
    async with responsive():
        status, _ = await ask(world, PATH, method="POST", body=body, Content_Type="application/json")
    assert 400 <= status < 500


async def test_a_large_crd_is_served_without_holding_the_loop(world: World) -> None:
    """Twenty thousand schemas: created, changed, shown, used, and taken away again."""
    crd = widget_crd()
    del crd["spec"]["versions"][1]
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for number in range(200):
        fields = {f"f{field}": {"type": "string"} for field in range(99)}
        spec["properties"][f"p{number}"] = {"type": "object", "properties": fields}
    body = await asyncio.to_thread(orjson.dumps, crd)
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    label = orjson.dumps({"metadata": {"labels": {"a": "b"}}})
    made = orjson.dumps(
        {
            "apiVersion": "example.com/v1",
            "kind": "Widget",
            "metadata": {"name": "w"},
            "spec": {"size": 1, "p1": {"f1": "x", "no": 1}},
        }
    )
    widgets = "/apis/example.com/v1/namespaces/default/widgets"
    json, merge = ({"Content_Type": f"application/{kind}"} for kind in ("json", "merge-patch+json"))
    with settled_heap():
        async with responsive():
            answers = [
                await ask(world, crds, method="POST", body=body, **json),
                await ask(world, widgets, method="POST", body=made, **json),
                await ask(world, f"{crds}/widgets.example.com", method="PATCH", body=label, **merge),
                await ask(world, f"{crds}/widgets.example.com"),
                await ask(world, f"{widgets}/w", method="DELETE"),
                await ask(world, f"{crds}/widgets.example.com", method="DELETE"),
            ]
    assert [status for status, _ in answers] == [201, 201, 200, 200, 200, 200]
    assert orjson.loads(answers[1][1])["spec"] == {"size": 1, "color": "red", "p1": {"f1": "x"}}


async def test_work_in_slices_gives_the_loop_its_turn() -> None:
    """However long it is altogether, and several at a time."""

    def pieces() -> Iterator[bytes]:
        for number in range(200_000):
            yield b"%d," % number

    async def joined(turns: Turns) -> bytes:
        return b"".join([batch async for batch in turns.batches(pieces())])

    turns = Turns()
    async with responsive():
        results = await asyncio.gather(*(joined(turns) for _ in range(5)))
    assert results == [b"".join(pieces())] * 5


@pytest.mark.parametrize("value", [{"a": [1] * 3000}, [{"a": i} for i in range(2500)]])
def test_what_is_heavy_is_found(value: Object | list[Object]) -> None:
    """By the number of values, wherever they are."""
    assert is_heavy({"spec": {"x": value}})
    assert not is_heavy({"spec": {"x": [value][:0], "y": "z" * 100_000}})
