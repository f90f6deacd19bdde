"""Write and watch histories of one and of several apiservers over a real etcd, while both are killed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hanse.store import EtcdStore
from tests.apiserver.world import World, namespace
from tests.chaos.recorders import Recording
from tests.support.stores.etcd import EtcdServer
from tests.system.harness import Api

KEYS = [f"k{number}" for number in range(6)]


def api_of(world: World, stack: list[Api]) -> Api:
    """A client of a world's REST API."""
    files = world.identity("hanse-admin", "system:masters", "hanse:admins")
    context = ssl.create_default_context(cafile=str(files.ca))
    context.load_cert_chain(files.cert, files.key)
    stack.append(Api(f"https://{world.apiserver.https}", context, {}))
    return stack[-1]


@pytest.fixture
async def stores(etcd: EtcdServer) -> AsyncIterator[list[EtcdStore]]:
    """Two connections to one etcd."""
    made = [await EtcdStore.connect([etcd.endpoint]) for _ in range(2)]
    yield made
    for store in made:
        await store.close()


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    """An etcd of the test's own."""
    with EtcdServer(tmp_path / "etcd") as server:
        yield server


@pytest.mark.parametrize("count", [1, 2])
async def test_histories_are_right_while_etcd_is_killed_and_compacted(
    etcd: EtcdServer, stores: list[EtcdStore], count: int
) -> None:
    """Concurrent writers, readers and watchers, over REST and gRPC, of one apiserver and of two that share an
    etcd: through kills of etcd and compactions nothing is lost, skipped, repeated, reordered, or read again
    as it was before."""
    apis: list[Api] = []
    async with World(stores[0], shared=count > 1) as one, World(stores[1], shared=True) as other:
        await one.create("/api/v1/namespaces", namespace())
        worlds = [one, other][:count]
        recording = Recording("shop", seed=count)
        recording.store(etcd.endpoint)
        for number, world in enumerate(worlds):
            files = world.identity("hanse-admin", "hanse:admins")
            recording.writer(f"rest-{number}", api_of(world, apis), KEYS)
            recording.rpc_writer(f"rpc-{number}", world.apiserver.grpc, files, KEYS)
            recording.reader(f"reader-{number}", api_of(world, apis))
            recording.watcher(f"watch-{number}", api_of(world, apis))
            recording.rpc_watcher(f"rpc-watch-{number}", world.apiserver.grpc, files)

        async def writes(more: int) -> None:
            wanted = len(recording.history.writes) + more
            async with asyncio.timeout(60):
                while len(recording.history.writes) < wanted:  # noqa: ASYNC110 - of other threads
                    await asyncio.sleep(0.02)

        await asyncio.to_thread(recording.__enter__)
        try:
            for _ in range(2):
                await writes(60)
                await asyncio.to_thread(etcd.kill)
                await asyncio.sleep(0.3)
                await asyncio.to_thread(etcd.start)
                await writes(60)
                await stores[0].compact(await stores[0].revision())
            await writes(60)
        finally:
            await asyncio.to_thread(recording.__exit__, None, None, None)
        recording.check(writes=100)
        for api in apis:
            api.close()
