"""An apiserver over an etcd that is full: users delete, it stays up, and it works again."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from hanse_apiserver.app import Apiserver

from hanse.errors import STORE_FULL, ResourceExhaustedError
from hanse.process.health import Health
from hanse.store import Compare, EtcdStore, Op, Put, TxnResult
from hanse.store.keys import ObjectKey
from tests.apiserver.world import World, config_map, namespace
from tests.support.stores.small_etcd import SmallEtcd, small_etcd
from tests.support.waiting import until

QUOTA = 16 << 20
MAPS = "/api/v1/namespaces/shop/configmaps"


class SmallWorld(World):
    """A federation whose etcd has a small quota, looked after by its apiserver."""

    def __init__(self, small: SmallEtcd, *, quota: int = QUOTA) -> None:
        super().__init__(small.store, etcd_quota_bytes=quota)
        self.health = Health()
        self.apiserver = Apiserver(
            small.store, self.settings, health=self.health, maintenance=small.maintenance
        )


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[SmallEtcd]:
    """An etcd with a small quota."""
    async with small_etcd(tmp_path / "etcd", quota=QUOTA) as running:
        yield running


async def test_users_delete_while_the_store_is_full(small: SmallEtcd) -> None:
    """A delete that must write (what it leaves in members) makes room for itself; afterwards writes are
    taken again. Without somebody to make room, it is refused with STORE_FULL's remedy."""
    async with SmallWorld(small) as world:
        await world.create("/api/v1/namespaces", namespace())
        for name in ("one", "two"):
            await world.create(MAPS, config_map(name))
            await world.place(ObjectKey("", "configmaps", "shop", name), {"eu": None})
        await small.fill()
        answer = await world.call("DELETE", f"{MAPS}/one")
        assert answer.status == 200, answer

        async def gone() -> bool:
            return (await world.call("GET", f"{MAPS}/one")).status == 404

        await until(gone, what="the object goes")
        await world.create(MAPS, config_map("three"))


async def test_a_full_store_keeps_no_apiserver_from_starting(small: SmallEtcd) -> None:
    """It starts, serves reads, and takes deletes."""
    async with SmallWorld(small) as world:
        await world.create("/api/v1/namespaces", namespace())
        await world.create(MAPS, config_map("one"))
        await world.place(ObjectKey("", "configmaps", "shop", "one"), {"eu": None})
    await small.fill()
    async with World(small.store) as world:  # nobody makes room
        assert (await world.get(f"{MAPS}/one"))["metadata"]["name"] == "one"
        refused = await world.call("POST", MAPS, config_map("two"))
        assert refused.status == 429, refused
        assert "database space exceeded" in refused.body["message"]
        assert (await world.call("DELETE", f"{MAPS}/one")).status == 429
    async with SmallWorld(small) as world:
        assert (await world.call("DELETE", f"{MAPS}/one")).status == 200


async def test_growth_is_refused_while_there_is_room_for_deletes(small: SmallEtcd) -> None:
    """Users fill the store: what grows it is refused before etcd is full, what shrinks it is taken, the
    health page says so, and after deletes it takes creations again."""
    async with SmallWorld(small) as world:
        await world.create("/api/v1/namespaces", namespace())
        refused, number, size = "", 0, 100_000

        async def filled() -> bool:
            nonlocal refused, number, size
            big = config_map(f"c{number}", x=os.urandom(size).hex())
            answer = await world.call("POST", MAPS, big)
            number += answer.status == 201
            refused = answer.body["message"] if answer.status == 429 else ""
            size = max(500, size // 2) if refused else size
            return bool(refused) and "STORE_FULL" in world.health.warnings.get("store", "")

        async def changed(data: str) -> int:
            patch = {"data": {"x": data}}
            merge = "application/merge-patch+json"
            return (await world.call("PATCH", f"{MAPS}/c0", patch, content_type=merge)).status

        async def growth_is_refused() -> bool:
            nonlocal size
            size = 100_000
            await until(filled, what="creation is refused, and the health page says so", every=0.1)
            assert "delete what is not needed" in refused
            assert not (await small.maintenance.status()).full
            grown = await changed(os.urandom(250_000).hex())
            assert await changed("small") == 200, "what shrinks is taken"
            return grown == 429  # it is 200 if upkeep has just made room of history

        await until(growth_is_refused, what="a change that grows is refused")
        for each in range(1, number // 2):
            assert (await world.call("DELETE", f"{MAPS}/c{each}")).status == 200

        async def works() -> bool:
            return (await world.call("POST", MAPS, config_map("late", x="y" * 100_000))).status in (201, 409)

        await until(works, what="there is room again")
        assert not (await small.maintenance.status()).full


async def test_a_deletion_that_etcd_writes_and_refuses_is_done(
    small: SmallEtcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """etcd looks at its quota again as it applies a write, and may say that there is no room though it is
    there. By the time that the step is taken again the object is gone."""
    async with SmallWorld(small) as world:
        await world.create("/api/v1/namespaces", namespace())
        await world.create(MAPS, config_map("one"))
        await world.place(ObjectKey("", "configmaps", "shop", "one"), {"eu": None})
        store = small.store
        write, refused = store.txn, 0

        async def write_and_refuse(
            compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
        ) -> TxnResult:
            nonlocal refused
            result = await write(compares, success, failure)
            if not refused and any(isinstance(op, Put) and op.key.endswith("/shop/one") for op in success):
                refused += 1
                gone = functools.partial(_is_gone, store, success[0].key)
                await until(gone, what="the object is gone")
                raise ResourceExhaustedError("no space", reason=STORE_FULL)
            return result

        monkeypatch.setattr(store, "txn", write_and_refuse)
        assert (await world.call("DELETE", f"{MAPS}/one")).status == 200
        assert refused == 1
        assert (await world.call("GET", f"{MAPS}/one")).status == 404


async def _is_gone(store: EtcdStore, key: str) -> bool:
    return await store.get(key) is None
