"""What the syncer knows of the federation: of one revision at all times, and who is told of a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
from hanse_syncer.federation.decisions import PATIENCE_SECONDS, PendingDecisions, is_decided
from hanse_syncer.federation.intent import decode_intent
from hanse_syncer.federation.state import FederationState
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.registry.v1.cluster_pb2 import Cluster
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, ClusterRelease, Placement
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.store import KeyValue, MemoryStore, Put, Store, keys
from hanse.store.keys import ObjectKey

KEY = ObjectKey("", "configmaps", "shop", "settings")
PATH = KEY.path()


def encoded(generation: int = 1, *, uid: str = "u", deleting: bool = False) -> bytes:
    """Return a stored object."""
    metadata = {"name": "settings", "namespace": "shop", "uid": uid, "generation": generation}
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


def placed(generation: int, *clusters: str, uid: str = "u", releasing: tuple[str, ...] = ()) -> Placement:
    """Return a placement."""
    return Placement(
        object=ObjectReference(resource="configmaps", namespace="shop", name="settings", uid=uid),
        generation=generation,
        clusters=[ClusterPlacement(cluster=name) for name in clusters],
        releasing=[ClusterRelease(cluster=name) for name in releasing],
    )


class Listening:
    """Takes down what one cluster is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def concerned(self, path: str, *, urgent: bool) -> None:
        """Take it down."""
        self.told.append(path)

    def cluster_changed(self) -> None:
        """Take it down."""
        self.told.append("cluster")


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    """An empty store."""
    made = MemoryStore()
    yield made
    await made.close()


async def place(store: Store, placement: Placement) -> int:
    """Write a placement; return the revision."""
    return await store.put(KEY.key("placements"), placement.SerializeToString())


async def test_object_cluster_and_placement_come_in_one_order(store: MemoryStore) -> None:
    """Whenever a placement is told, the object and the cluster that it was decided on are known."""
    async with FederationState(store) as state:
        behind: list[int] = []

        def check(key: str, old: Placement | None, new: Placement | None, revision: int) -> None:
            intent, cluster = state.intent(PATH), state.cluster("a")
            assert new is not None
            if intent is None or intent.generation < new.generation:
                behind.append(revision)
            if cluster is None or int(cluster.cluster_id) < new.generation:
                behind.append(revision)

        state.placements.subscribe(check)
        for generation in range(1, 50):
            cluster = Cluster(name="clusters/a", cluster_id=str(generation))
            await store.put(keys.cluster("a"), cluster.SerializeToString())
            await store.put(KEY.key(), encoded(generation))
            last = await place(store, placed(generation, "a"))
        await state.follower.reached(last)
        assert behind == []
        assert state.follower.revision == state.placements.revision == state.clusters.revision


async def test_a_change_is_told_with_its_decision_or_when_that_is_late(store: MemoryStore) -> None:
    """Of a new generation clusters hear once: with the decision, and after a while without one."""
    async with FederationState(store) as state:
        listening = Listening()
        state.listen("a", listening)
        await store.put(KEY.key(), encoded(1))
        await state.follower.reached(await place(store, placed(1, "a")))
        assert listening.told == [PATH]
        await state.follower.reached(await store.put(KEY.key(), encoded(2)))
        assert (listening.told, state.awaits_decision(PATH)) == ([PATH], True)
        await state.follower.reached(await place(store, placed(2, "a")))
        assert (listening.told, state.awaits_decision(PATH)) == ([PATH] * 2, False)
        started = asyncio.get_running_loop().time()
        await state.follower.reached(await store.put(KEY.key(), encoded(3)))
        async with asyncio.timeout(20):
            while len(listening.told) < 3:  # noqa: ASYNC110 - a timer of the loop
                await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - started >= PATIENCE_SECONDS * 0.99
        await state.follower.reached(await store.put(KEY.key(), encoded(4)))
        assert (len(listening.told), state.awaits_decision(PATH)) == (4, False)


async def test_a_release_and_a_deletion_are_told_at_once(store: MemoryStore) -> None:
    """What an old decision no longer names is told of that; a deletion needs no decision."""
    async with FederationState(store) as state:
        left, kept = Listening(), Listening()
        state.listen("left", left)
        state.listen("kept", kept)
        await store.put(KEY.key(), encoded(1))
        await place(store, placed(1, "left", "kept"))
        await store.put(KEY.key(), encoded(2))
        await state.follower.reached(await place(store, placed(1, "kept")))
        assert (left.told, kept.told, state.awaits_decision(PATH)) == ([PATH, PATH], [PATH], True)
        await state.follower.reached(await store.put(KEY.key(), encoded(2, deleting=True)))
        assert (kept.told, state.awaits_decision(PATH)) == ([PATH, PATH], False)


async def test_what_comes_in_one_transaction_is_decided(store: MemoryStore) -> None:
    """An object and its placement of one revision need no wait."""
    async with FederationState(store) as state:
        listening = Listening()
        state.listen("a", listening)
        both = [
            Put(KEY.key(), encoded(1)),
            Put(KEY.key("placements"), placed(1, "a").SerializeToString()),
        ]
        await state.follower.reached((await store.txn((), both)).revision)
        assert (set(listening.told), state.awaits_decision(PATH)) == ({PATH}, False)


@given(st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans())
def test_a_decision_is_of_this_generation_of_this_object(
    generation: int, decided: int, same: bool, deleting: bool
) -> None:
    """Only a deletion needs none."""
    intent = decode_intent(KeyValue(KEY.key(), encoded(generation, deleting=deleting), 1, 1, 1))
    placement = placed(decided, "a", uid="u" if same else "other")
    assert is_decided(intent, placement) == (deleting or (same and generation == decided))
    assert is_decided(intent, None)
    assert is_decided(None, placement)


async def test_each_object_is_waited_for_once() -> None:
    """A late one is told once and not waited for again before a decision comes; closed, nobody is told."""
    late: list[str] = []
    pending = PendingDecisions(late.append, patience=0.01)
    assert pending.update("a", decided=False)
    assert pending.update("a", decided=False)
    async with asyncio.timeout(20):
        while not late:  # noqa: ASYNC110 - a timer of the loop
            await asyncio.sleep(0.005)
    assert (late, pending.update("a", decided=False), pending.waits("a")) == (["a"], False, False)
    assert not pending.update("a", decided=True)
    assert pending.update("a", decided=False)
    assert pending.update("b", decided=False)
    assert not pending.update("b", decided=True)
    pending.close()
    await asyncio.sleep(0.02)
    assert (late, pending.waits("a")) == (["a"], False)
