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

from hanse.kube.objects import Object
from hanse.store import MemoryStore
from hanse.turns import Turns, is_light
from tests.kube.server.world import World, config_map
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
    found = [item["metadata"]["name"] for item in decoded["items"] if item["metadata"]["name"] in set(names)]
    assert found == names
    rows = orjson.loads(table)
    assert [row["cells"][0] for row in rows["rows"]] == [o["metadata"]["name"] for o in decoded["items"]]
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
    assert not is_light({"spec": {"x": value}})
    assert is_light({"spec": {"x": [value][:0], "y": "z" * 100_000}})
