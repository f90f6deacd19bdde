"""A watch that is resumed anywhere loses nothing, however many objects one transaction changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import orjson

from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.served import ObjectChange, ServedObject
from hanse.store import MemoryStore, Put, Store
from hanse.store.keys import ObjectKey
from tests.kube.server.world import CONFIGMAPS, World, config_map


def _key(name: str) -> ObjectKey:
    return ObjectKey("", "configmaps", "default", name)


def _put(name: str, **data: str) -> Put:
    obj = config_map(name, **data)
    obj["metadata"]["uid"] = f"uid-of-{name}"
    return Put(_key(name).key(), orjson.dumps(obj))


def _change(name: str, revision: int) -> ObjectChange:
    obj = {"metadata": {"name": name, "namespace": "default", "resourceVersion": str(revision)}}
    entry = ServedObject(_key(name), obj=obj, intent={}, intent_revision=revision, revision=revision)
    return ObjectChange(revision, "ADDED", entry.key, entry, None)


@asynccontextmanager
async def _following(store: Store) -> AsyncIterator[ObjectCache]:
    """A cache that follows a store."""
    cache = ObjectCache(store)
    running = asyncio.create_task(cache.run())
    try:
        async with asyncio.timeout(10):
            await cache.synced()
            yield cache
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_a_watch_that_resumes_within_a_transaction_gets_the_rest(memory: MemoryStore) -> None:
    """Two objects of one transaction: who got the first only and resumes at its version gets the second."""
    async with _following(memory) as cache:
        base = cache.revision
        await cache.reached((await memory.txn([], [_put("a"), _put("b")])).revision)
        log = cache.log("", "configmaps")
        first = log.read(log.after(base))[0]
        version = int(first.entry.object["metadata"]["resourceVersion"])
        assert "b" in [change.key.name for change in log.read(log.resume(version))]
        assert log.read(log.after(version)) == ()


async def test_what_was_written_alone_is_not_repeated(memory: MemoryStore) -> None:
    """Each of two transactions has a version of its own, and resuming at it gives what came after."""
    async with _following(memory) as cache:
        first = (await memory.txn([], [_put("a")])).revision
        second = (await memory.txn([], [_put("b")])).revision
        await cache.reached(second)
        log = cache.log("", "configmaps")
        assert [change.key.name for change in log.read(log.resume(first))] == ["b"]
        assert log.read(log.resume(second)) == ()


async def test_a_restart_remembers_the_transaction_that_it_listed_at(memory: MemoryStore) -> None:
    """Who got a part of the newest transaction from a process before this one gets the rest from this one."""
    await memory.txn([], [_put("old")])
    last = (await memory.txn([], [_put("a"), _put("b")])).revision
    async with _following(memory) as cache:
        log = cache.log("", "configmaps")
        assert {change.key.name for change in log.read(log.resume(last))} == {"a", "b"}
        assert {entry.key.name for entry in log.at(last, None)} == {"old", "a", "b"}


async def test_a_client_that_breaks_off_after_the_first_line_gets_the_others(both: World) -> None:
    """Over HTTP, too: no object of the transaction is lost; a list's version repeats none if it is newer."""
    async with both.client() as client:
        start = (await client.list(CONFIGMAPS)).resource_version
        await both.store.txn([], [_put("a"), _put("b"), _put("c")])
        async with asyncio.timeout(10):
            async for _, obj in client.watch(CONFIGMAPS, resource_version=start):
                version = obj["metadata"]["resourceVersion"]
                break
            names = set()
            async for _, obj in client.watch(CONFIGMAPS, resource_version=version):
                names.add(obj["metadata"]["name"])
                if len(names) == 3:
                    break
            await client.create(CONFIGMAPS, config_map("d"))
            listed = (await client.list(CONFIGMAPS)).resource_version
            await client.create(CONFIGMAPS, config_map("e"))
            async for _, obj in client.watch(CONFIGMAPS, resource_version=listed):
                assert obj["metadata"]["name"] == "e"
                break
