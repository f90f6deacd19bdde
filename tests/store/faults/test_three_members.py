"""An etcd of three members, of which some are lost: the store and its maintenance go on with the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from hanse.errors import ResourceExhaustedError, UnavailableError
from hanse.store import EtcdStore
from hanse.store.admin.maintenance import EtcdMaintenance
from hanse.store.admin.roles import ROOT
from tests.support.stores.etcd_cluster import EtcdCluster

QUOTA = 8 << 20


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EtcdCluster]:
    """Three members with TLS, authentication and a small quota."""
    with EtcdCluster(tmp_path, arguments=[f"--quota-backend-bytes={QUOTA}"]) as running:
        yield running


@pytest.fixture
async def store(cluster: EtcdCluster) -> AsyncIterator[EtcdStore]:
    """The store, as etcd's administrator."""
    await asyncio.to_thread(cluster.give_rights)
    made = await EtcdStore.connect(cluster.endpoints, tls=cluster.tls(ROOT))
    yield made
    await made.close()


async def fill(store: EtcdStore) -> None:
    """Fill it with history that nobody needs."""
    while not (await store.status()).full:
        try:
            await store.put("history", b"x" * 400_000)
        except ResourceExhaustedError:
            await asyncio.sleep(0.02)


async def written(store: EtcdStore, value: bytes) -> None:
    """Write it once, also where etcd loses its leader meanwhile and cannot say whether it was."""
    async with asyncio.timeout(30):
        while True:
            try:
                found = await store.get("n")
                if found is None or found.value != value:
                    await store.put("n", value)
            except UnavailableError:
                continue
            return


async def test_an_etcd_whose_first_member_is_lost_gets_room(cluster: EtcdCluster, store: EtcdStore) -> None:
    """The alarm of all is taken back, and those that are left are compacted and defragmented."""
    await fill(store)
    await asyncio.to_thread(cluster.kill, cluster.members[0])
    maintenance = await EtcdMaintenance.connect(cluster.endpoints, tls=cluster.tls(ROOT))
    assert (await maintenance.status()).full
    await maintenance.compact(await store.revision())
    await asyncio.sleep(0.5)
    await maintenance.defragment()
    await maintenance.disarm()
    status = await maintenance.status()
    await maintenance.close()
    assert not status.full
    assert status.size < QUOTA / 2
    assert await store.put("after", b"x")
    sizes = await asyncio.to_thread(cluster.statuses)
    assert [each.dbSize < QUOTA / 2 for each in sizes.values()] == [True, True]


async def test_an_etcd_of_which_nobody_answers_is_not_maintained(
    cluster: EtcdCluster, store: EtcdStore
) -> None:
    """That is an error, for each step."""
    for member in cluster.members:
        cluster.kill(member)
    maintenance = await EtcdMaintenance.connect(cluster.endpoints, tls=cluster.tls(ROOT))
    for step in (
        maintenance.status(),
        maintenance.defragment(),
        maintenance.disarm(),
        maintenance.compact(2),
    ):
        with pytest.raises(UnavailableError):
            await step
    await maintenance.close()


async def test_a_watch_goes_on_over_a_lost_leader_and_a_replaced_member(
    cluster: EtcdCluster, store: EtcdStore
) -> None:
    """Each write arrives once and in order, whichever member served the watch, and none is taken for another
    history."""
    seen: list[bytes] = []

    async def follow() -> None:
        async with aclosing(store.watch("n", start_revision=1)) as watch:
            async for batch in watch:
                seen.extend(event.kv.value for event in batch.events if event.kv)

    async def write(first: int) -> None:
        for number in range(first, first + 20):
            await written(store, str(number).encode())

    following = asyncio.create_task(follow())
    await write(0)
    leader = await asyncio.to_thread(cluster.leader)
    await asyncio.to_thread(cluster.kill, leader)
    await write(20)
    await asyncio.to_thread(cluster.restart, leader)
    lost = await asyncio.to_thread(cluster.follower)
    await asyncio.to_thread(cluster.kill, lost)
    await write(40)
    await asyncio.to_thread(cluster.replace, lost)
    await write(60)
    another = await asyncio.to_thread(cluster.leader)
    await asyncio.to_thread(cluster.kill, another)
    await write(80)
    async with asyncio.timeout(20):
        while len(seen) < 100 and not following.done():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert not following.done()
    following.cancel()
    assert seen == [str(number).encode() for number in range(100)]
