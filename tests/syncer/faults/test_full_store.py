"""A syncer whose store is full stays up, and goes on when there is room."""

from __future__ import annotations

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from tests.support.federation.federation import Federation, federation
from tests.support.stores.full import FullableStore
from tests.support.waiting import until
from tests.syncer.harness import config_map

WEB = "core/configmaps/default/web"
LATE = "core/configmaps/default/late"


async def moved(fed: Federation) -> FullableStore:
    """Give the federation a store that can be full, with all that it has."""
    store = FullableStore()
    for kv in (await fed.store.range("")).items:
        await store.put(kv.key, kv.value)
    await fed.store.close()
    fed.store = store
    return store


async def test_a_syncer_that_can_have_no_lease_waits() -> None:
    """A store that is full at the start ends no syncer: it registers and works once there is room."""
    async with federation("a") as fed:
        store = await moved(fed)
        await fed.put(WEB, config_map())
        await fed.place(WEB, "a")
        store.full = True
        async with fed.syncer() as sharing:
            await until(lambda: store.refused > 2, what="a lease is refused several times")
            assert not sharing.controllers
            store.full = False
            await fed.reaches(WEB, "a", sync.APPLIED, seconds=20)


async def test_states_wait_for_room() -> None:
    """What was applied while the store is full is reported later, by the same controller."""
    async with federation("a") as fed:
        store = await moved(fed)
        async with fed.syncer() as sharing:
            await until(lambda: "a" in sharing.controllers, what="the cluster is held")
            controller = sharing.controllers["a"]
            await fed.put(LATE, config_map())
            await fed.place(LATE, "a")
            store.full = True
            await until(lambda: store.refused > 2, what="a report is refused several times")
            assert sharing.controllers.get("a") is controller
            store.full = False
            await fed.reaches(LATE, "a", sync.APPLIED, seconds=20)
            assert sharing.controllers.get("a") is controller
