"""Lists, pages and watches, and what happens to them when history is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import orjson
import pytest

from hanse.errors import CompactedError, InvalidArgumentError
from hanse.kube.client.requests import GroupVersionResource
from hanse.kube.engine import cache
from hanse.store import MemoryStore, Store, WatchBatch
from tests.kube.server.world import CONFIGMAPS, CRDS, DEPLOYMENTS, World, config_map, deployment, widget_crd
from tests.support.machine.raw import raw
from tests.support.object_client import ObjectClient
from tests.support.waiting import until


async def _fill(client: ObjectClient, count: int) -> None:
    await asyncio.gather(*(client.create(CONFIGMAPS, config_map(f"c{i:03}", n=str(i))) for i in range(count)))


async def _take(
    client: ObjectClient, count: int, *, resource: GroupVersionResource = CONFIGMAPS, **options: Any
) -> list[tuple[str, str]]:
    """Take events of ConfigMaps, or of another resource, until there are `count`."""
    events = []
    async with asyncio.timeout(10):
        async for kind, obj in client.watch(resource, **options):
            if kind != "BOOKMARK":
                events.append((kind, obj["metadata"]["name"]))
            if len(events) == count:
                break
    return events


async def test_a_list_in_pages_is_complete_and_in_order(both: World) -> None:
    """Pages put together are the list, whatever the page size."""
    async with both.client() as client:
        await _fill(client, 25)
        whole = await client.list(CONFIGMAPS, namespace="default", limit=0)
        paged = await client.list(CONFIGMAPS, namespace="default", limit=7)
    assert [o["metadata"]["name"] for o in whole.items] == [f"c{i:03}" for i in range(25)]
    assert paged.items == whole.items


async def _page(client: ObjectClient, path: str) -> dict[str, Any]:
    """GET a page of a list."""
    _, _, body = await raw(client, "GET", path)
    page: dict[str, Any] = orjson.loads(body)
    return page


async def test_a_paged_list_stays_as_it_was_at_its_first_page(both: World) -> None:
    """What is written between two pages is not in the later ones."""
    path = "/api/v1/namespaces/default/configmaps"
    async with both.client() as client:
        await _fill(client, 4)
        first = await _page(client, f"{path}?limit=2")
        await client.delete(CONFIGMAPS, "c002", namespace="default")
        await client.create(CONFIGMAPS, config_map("c0025"))
        second = await _page(client, f"{path}?limit=9&continue={first['metadata']['continue']}")
    assert [o["metadata"]["name"] for o in second["items"]] == ["c002", "c003"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_selectors_select(world: World) -> None:
    """Labels and fields narrow lists."""
    async with world.client() as client:
        for name in ("a", "b"):
            body = config_map(name)
            body["metadata"]["labels"] = {"tier": name}
            await client.create(CONFIGMAPS, body)
        by_label = await client.list(CONFIGMAPS, label_selector="tier in (a,z)")
        by_field = await client.list(CONFIGMAPS, field_selector="metadata.name=b")
        with pytest.raises(InvalidArgumentError):
            await client.list(CONFIGMAPS, label_selector="tier in (")
    assert [o["metadata"]["name"] for o in by_label.items] == ["a"]
    assert [o["metadata"]["name"] for o in by_field.items] == ["b"]


async def test_a_watch_delivers_every_change_once_and_in_order(both: World) -> None:
    """From the list's version on: added, modified, deleted."""
    async with both.client() as client:
        start = (await client.list(CONFIGMAPS)).resource_version
        await client.create(CONFIGMAPS, config_map("a", x="1"))
        await client.update(CONFIGMAPS, config_map("a", x="2"))
        await client.delete(CONFIGMAPS, "a", namespace="default")
        events = await _take(client, 3, resource_version=start)
    assert events == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_a_watch_with_a_selector_sees_objects_come_and_go(world: World) -> None:
    """An object that begins or ceases to match is added or deleted to that watch."""
    async with world.client() as client:
        start = (await client.list(CONFIGMAPS)).resource_version
        await client.create(CONFIGMAPS, config_map("a"))
        for labels in ({"on": "1"}, {"on": "1", "x": "y"}, {"on": None}):
            await client.patch(CONFIGMAPS, "a", {"metadata": {"labels": labels}}, namespace="default")
        events = await _take(client, 3, resource_version=start, label_selector="on")
    assert events == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_a_watch_with_initial_events_ends_them_with_a_bookmark(world: World) -> None:
    """sendInitialEvents streams the list, then a bookmark that says so."""
    path = "/api/v1/configmaps?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    path += "&allowWatchBookmarks=true&timeoutSeconds=1"
    async with world.client() as client:
        await _fill(client, 2)
        _, _, body = await raw(client, "GET", path)
    lines = body.splitlines()
    assert [b"ADDED" in line for line in lines[:2]] == [True, True]
    assert b'"k8s.io/initial-events-end":"true"' in lines[2]


async def test_a_scale_as_a_table_says_how_many_are_wanted_and_there(world: World) -> None:
    """`kubectl get deploy web --subresource=scale` shows the columns of Kubernetes."""
    path = "/apis/apps/v1/namespaces/default/deployments/web/scale"
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    async with world.client() as client:
        await client.create(DEPLOYMENTS, deployment(replicas=3))
        _, _, got = await raw(client, "GET", path, headers=accept)
        body = orjson.dumps({"spec": {"replicas": 5}})
        merge = {**accept, "Content-Type": "application/merge-patch+json"}
        _, _, patched = await raw(client, "PATCH", path, headers=merge, body=body)
    for answer, wanted in ((got, 3), (patched, 5)):
        table = orjson.loads(answer)
        assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
        assert table["rows"][0]["cells"][:3] == ["web", wanted, 0]


async def test_the_root_lists_the_paths(world: World) -> None:
    """As kube-apiserver does; a custom resource's group comes when it is served."""
    async with world.client() as client:
        status, _, body = await raw(client, "GET", "/")
        paths = orjson.loads(body)["paths"]
        assert status == 200
        wanted = {
            "/api",
            "/api/v1",
            "/apis",
            "/apis/apps",
            "/apis/apps/v1",
            "/livez",
            "/livez/ping",
            "/readyz",
        }
        assert {*wanted, "/healthz", "/openapi/v2", "/openapi/v3", "/version", "/readyz/engine"} <= set(paths)
        assert paths == sorted(paths)
        for path in paths:
            assert (await raw(client, "GET", path))[0] == 200, path
        assert "/apis/example.com/v1" not in paths
        await client.create(CRDS, widget_crd())

        async def listed() -> bool:
            return b'"/apis/example.com/v1"' in (await raw(client, "GET", "/"))[2]

        await until(listed, what="the new group is listed")
    async with world.client(token="low-token") as client:
        status, _, body = await raw(client, "GET", "/")
    assert status == 403
    assert orjson.loads(body)["message"] == 'forbidden: User "eve" cannot get path "/"'


async def test_a_watch_of_a_version_to_come_is_told_so_whatever_its_time(world: World) -> None:
    """kube-apiserver is silent until the version is there, and its client misses what happens until then."""
    async with world.client() as client:
        path = "/api/v1/configmaps?watch=1&resourceVersion=99999999&timeoutSeconds=1"
        status, _, body = await raw(client, "GET", path)
    assert (status, orjson.loads(body)["details"]["retryAfterSeconds"]) == (504, 1)


async def test_a_watch_from_before_the_window_is_told_to_list_again(
    memory: MemoryStore, tmp_path: Path
) -> None:
    """410 Expired as an ERROR event, which the client raises as CompactedError."""
    async with World(memory, tmp_path, window=3) as world, world.client() as client:
        start = (await client.list(CONFIGMAPS)).resource_version
        await _fill(client, 6)
        with pytest.raises(CompactedError, match="too old resource version"):
            await _take(client, 1, resource_version=start)


class Interrupted(MemoryStore):
    """A store whose watches can be held up until history is lost, as by a long partition."""

    def __init__(self) -> None:
        super().__init__(progress_interval=0.05)
        self.held = asyncio.Event()
        self.resumed = asyncio.Event()
        self.watches = 0

    async def watch(
        self, prefix: str, *, start_revision: int, prev: bool = False, through: str = ""
    ) -> AsyncGenerator[WatchBatch, None]:
        """Deliver until held; then nothing, and at the end CompactedError."""
        self.watches += 1
        async for batch in super().watch(prefix, start_revision=start_revision, prev=prev, through=through):
            if self.held.is_set() and self.watches == 1:
                await self.resumed.wait()
                raise CompactedError("history is gone", compact_revision=await self.revision())
            yield batch


async def test_watches_end_when_history_is_lost(tmp_path: Path) -> None:
    """Behind a compaction nobody knows what a watch has missed: it gets 410 Expired, as does who resumes from
    before; a list has everything, and a watch from there goes on."""
    store = Interrupted()
    async with World(store, tmp_path) as world, world.client() as client:
        await _fill(client, 2)
        start = (await client.list(CONFIGMAPS)).resource_version
        watching = asyncio.create_task(_take(client, 3, resource_version=start))
        idle = asyncio.create_task(_take(client, 1, resource=DEPLOYMENTS, resource_version=start))
        logs = [
            world.engine.cache.log(group, name)
            for group, name in (("", "configmaps"), ("apps", "deployments"))
        ]

        async def open_both() -> bool:
            return all(log._wakers for log in logs)

        await until(open_both, what="both watches are open")
        store.held.set()
        raw = await store.get("objects/core/configmaps/default/c001")
        assert raw is not None
        await store.delete("objects/core/configmaps/default/c000")
        await store.put("objects/core/configmaps/default/c009", raw.value.replace(b"c001", b"c009"))
        await store.put(raw.key, raw.value.replace(b'"n":"1"', b'"n":"2"'))
        store.resumed.set()
        for task in (watching, idle):
            with pytest.raises(CompactedError):
                await task
        with pytest.raises(CompactedError, match="too old resource version"):
            await _take(client, 1, resource_version=start)
        listed = await client.list(CONFIGMAPS)
        assert [each["metadata"]["name"] for each in listed.items] == ["c001", "c009"]
        following = asyncio.create_task(_take(client, 1, resource_version=listed.resource_version))
        await client.create(CONFIGMAPS, config_map("later"))
        assert await following == [("ADDED", "later")]
    await store.close()


async def test_a_shared_store_is_read_consistently(
    store: Store, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With two servers over one store, what one has acknowledged the other shows in its next answer."""
    async with (
        World(store, tmp_path_factory.mktemp("a"), shared=True) as first,
        World(store, tmp_path_factory.mktemp("b"), shared=True) as second,
        first.client() as writer,
        second.client() as reader,
    ):
        for number in range(10):
            await writer.apply(CONFIGMAPS, config_map("a", n=str(number)))
            seen = await reader.get(CONFIGMAPS, "a", namespace="default")
            assert seen["data"] == {"n": str(number)}


async def test_a_restart_serves_what_was_there(both: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A second engine over the same store serves the same objects at the same versions."""
    async with both.client() as client:
        await _fill(client, 3)
        before = await client.list(CONFIGMAPS)
    async with World(both.store, tmp_path_factory.mktemp("again")) as again, again.client() as client:
        after = await client.list(CONFIGMAPS)
    assert after.items == before.items


async def test_metadata_only_lists_have_no_spec(world: World) -> None:
    """PartialObjectMetadata is what it says."""
    async with world.client() as client:
        await client.create(DEPLOYMENTS, deployment())
        found = await client.list_metadata(DEPLOYMENTS)
    assert [set(o) for o in found.items] == [{"kind", "apiVersion", "metadata"}]


async def test_a_big_list_is_compressed_and_complete(world: World) -> None:
    """Lists from 128 KiB on travel as gzip."""
    async with world.client() as client:
        await asyncio.gather(
            *(client.create(CONFIGMAPS, config_map(f"c{i}", x="y" * 10_000)) for i in range(20))
        )
        status, headers, body = await raw(client, "GET", "/api/v1/configmaps")
    assert status == 200
    assert headers["content-encoding"] == "gzip"
    assert body.count(b'"kind":"ConfigMap"') == 20


async def test_watches_end_when_the_server_stops(memory: MemoryStore, tmp_path: Path) -> None:
    """Stopping does not wait for open watches to run out."""
    async with World(memory, tmp_path) as world, world.client() as client:
        start = (await client.list(CONFIGMAPS)).resource_version
        watching = asyncio.create_task(_take(client, 99, resource_version=start))
        await client.create(CONFIGMAPS, config_map("a"))
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await world.server.__aexit__(None, None, None)
            await watching


@pytest.mark.parametrize(
    "query",
    [
        "?resourceVersion={}",
        "?resourceVersion={}&resourceVersionMatch=NotOlderThan",
        "?resourceVersion={}&resourceVersionMatch=Exact",
        "?watch=true&resourceVersion={}",
        "?watch=true&resourceVersion={}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
        "/a?resourceVersion={}",
    ],
)
async def test_a_version_that_the_store_has_not_reached_is_too_large(
    world: World, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    """As after a restore of etcd: client-go lists again by this very cause, instead of waiting until the
    version is reached by other writes and missing those. It is told at once."""

    async def waited(*_: object) -> None:
        raise AssertionError("nothing can come that is worth waiting for")

    monkeypatch.setattr(cache, "caught_up", waited)
    async with world.client() as client:
        await client.create(CONFIGMAPS, config_map("a"))
        now = world.engine.cache.revision
        path = "/api/v1/namespaces/default/configmaps" + query.format(now + 1000)
        status, headers, body = await raw(client, "GET", path)
    found = orjson.loads(body)
    assert (status, found["reason"]) == (504, "Timeout")
    assert found["message"].startswith(f"Timeout: Too large resource version: {now + 1000}, current: ")
    assert found["details"] == {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    assert headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("?resourceVersion=0&resourceVersionMatch=Exact", 422, "is forbidden for resourceVersion"),
        ("?resourceVersionMatch=Exact", 422, "is forbidden unless resourceVersion is provided"),
        ("?resourceVersion=1&resourceVersionMatch=No", 422, "must be Exact or NotOlderThan"),
        ("?limit=1&continue={token}&resourceVersionMatch=Exact", 422, "forbidden when continue is provided"),
        ("?limit=1&continue={token}&resourceVersion=1", 400, "is not allowed when using continue"),
        ("?watch=true&sendInitialEvents=true&resourceVersionMatch=Exact", 422, "NotOlderThan and no other"),
        ("/a?resourceVersion=x", 400, "must be a whole number"),
    ],
)
async def test_versions_that_make_no_sense_are_refused(
    world: World, query: str, code: int, words: str
) -> None:
    """What Kubernetes refuses is not answered with something else."""
    async with world.client() as client:
        await _fill(client, 2)
        base = "/api/v1/namespaces/default/configmaps"
        token = (await _page(client, f"{base}?limit=1"))["metadata"]["continue"]
        status, _, body = await raw(client, "GET", base + query.format(token=token))
    assert (status, words in orjson.loads(body)["message"]) == (code, True)
