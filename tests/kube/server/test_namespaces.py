"""What a namespace takes in while it changes: nothing once it is being emptied, everything before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import orjson
import pytest

from hanse.errors import NotFoundError, PermissionDeniedError
from hanse.kube.engine.engine import KubeEngine
from hanse.kube.engine.hooks import AdmissionRequest
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.kinds.strategies.kubernetes import kubernetes
from hanse.kube.model.objects import Object
from hanse.store import Compare, MemoryStore, Op, Store, TxnResult
from hanse.store.keys import ObjectKey
from tests.kube.server.world import config_map
from tests.support.waiting import until

SHOP = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
SHOP_KEY = ObjectKey("", "namespaces", "", "shop").key()
LATE_KEY = ObjectKey("", "configmaps", "shop", "late").key()


class Held:
    """Admission that keeps the create of `late` waiting, after its namespace was looked at."""

    def __init__(self) -> None:
        self.inside = asyncio.Event()
        self.go_on = asyncio.Event()

    async def admit(self, request: AdmissionRequest) -> Object:
        """Wait, if it is that one."""
        if request.operation == "CREATE" and request.key.name == "late":
            self.inside.set()
            await self.go_on.wait()
        return request.object


def _infos(engine: KubeEngine) -> tuple[ResourceInfo, ResourceInfo]:
    """Namespaces and ConfigMaps."""
    require = engine.catalogue.require
    return require("", "v1", "namespaces"), require("", "v1", "configmaps")


async def test_nothing_slips_into_a_namespace_that_was_emptied(store: Store) -> None:
    """A create that looked at the namespace before its deletion and comes after the collector is refused."""
    held = Held()
    async with KubeEngine(store, catalogue=Catalogue(kubernetes()), admission=[held]) as engine:
        spaces, config_maps = _infos(engine)
        kept = {**SHOP, "metadata": {"name": "shop", "finalizers": ["example.com/hold"]}}
        await engine.resources.create(spaces, kept)
        late = asyncio.create_task(
            engine.resources.create(config_maps, config_map("late", namespace="shop"), namespace="shop")
        )
        await held.inside.wait()
        await engine.resources.delete(spaces, name="shop")

        async def emptied() -> bool:
            found = await store.get(SHOP_KEY)
            assert found is not None
            return not orjson.loads(found.value)["spec"]["finalizers"]

        await until(emptied, what="the collector is done with the namespace")
        held.go_on.set()
        with pytest.raises(PermissionDeniedError, match="being terminated"):
            await late
        assert await store.get(LATE_KEY) is None


async def test_nothing_is_created_in_a_namespace_that_went_meanwhile(store: Store) -> None:
    """A create that looked at the namespace before it went is told that there is none."""
    held = Held()
    async with KubeEngine(store, catalogue=Catalogue(kubernetes()), admission=[held]) as engine:
        spaces, config_maps = _infos(engine)
        await engine.resources.create(spaces, SHOP)
        late = asyncio.create_task(
            engine.resources.create(config_maps, config_map("late", namespace="shop"), namespace="shop")
        )
        await held.inside.wait()
        await engine.resources.delete(spaces, name="shop")

        async def gone() -> bool:
            return await store.get(SHOP_KEY) is None

        await until(gone, what="the namespace goes")
        held.go_on.set()
        with pytest.raises(NotFoundError, match='namespaces "shop" not found'):
            await late
        assert await store.get(LATE_KEY) is None


async def test_a_change_of_the_namespace_meanwhile_does_no_harm(store: Store) -> None:
    """Labels that somebody gives the namespace while an object is created there do not refuse the object."""
    held = Held()
    async with KubeEngine(store, catalogue=Catalogue(kubernetes()), admission=[held]) as engine:
        spaces, config_maps = _infos(engine)
        await engine.resources.create(spaces, SHOP)
        late = asyncio.create_task(
            engine.resources.create(config_maps, config_map("late", namespace="shop"), namespace="shop")
        )
        await held.inside.wait()
        labels = {"metadata": {"labels": {"a": "b"}}}
        await engine.resources.patch(spaces, name="shop", patch=labels, patch_type="merge")
        held.go_on.set()
        assert (await late)["metadata"]["namespace"] == "shop"


class Counting(MemoryStore):
    """Counts the transactions."""

    transactions = 0

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        """Count, and do."""
        self.transactions += 1
        return await super().txn(compares, success, failure)


async def test_creates_in_one_namespace_do_not_conflict() -> None:
    """Twenty objects at once in one namespace take twenty transactions."""
    store = Counting()
    async with KubeEngine(store, catalogue=Catalogue(kubernetes())) as engine:
        spaces, config_maps = _infos(engine)
        await engine.resources.create(spaces, SHOP)
        before = store.transactions
        names = [f"c{number}" for number in range(20)]
        await asyncio.gather(
            *(
                engine.resources.create(config_maps, config_map(n, namespace="shop"), namespace="shop")
                for n in names
            )
        )
        assert store.transactions - before == len(names)
