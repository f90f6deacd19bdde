"""Policies of any size and number hold the scheduler's loop no longer than the bound."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hanse_scheduler.state import selection
from hanse_scheduler.state.scheduler_state import SchedulerState

from hanse.store import MemoryStore
from hanse.store.keys import ObjectKey
from tests.scheduler.builders import NOW, config, policy_object
from tests.support.federation.federation import Federation
from tests.support.looplag import responsive

OBJECTS = 1500
SELECTORS = 1000


def selecting(values: int, last: str) -> list[dict[str, Any]]:
    """So many selectors that select nothing, and one that selects the objects with `last`."""
    some = [f"v{number}" for number in range(values)]
    found: list[dict[str, Any]] = [
        {"matchExpressions": [{"key": "app", "operator": "In", "values": some}]}
    ] * (SELECTORS - 1)
    found.append({"matchLabels": {"app": last}})
    return [{"apiVersion": "v1", "kind": "ConfigMap", "labelSelector": each} for each in found]


def policy_key(name: str) -> ObjectKey:
    """Of a cluster-wide placement policy."""
    return ObjectKey("hanse.dev", "clusterplacementpolicies", "", name)


async def test_a_wide_policy_is_compiled_and_compared_in_turns() -> None:
    """A thousand selectors of 200 values, over all objects: each that it selects is marked, nobody waits."""
    store = MemoryStore()
    for number in range(OBJECTS):
        obj = config()
        obj["metadata"] |= {"name": f"c{number}", "labels": {"app": "web" if number % 2 else "other"}}
        await store.put(ObjectKey("", "configmaps", "shop", f"c{number}").key(), orjson.dumps(obj))
    body = await asyncio.to_thread(
        lambda: orjson.dumps(policy_object(name="wide", resourceSelectors=selecting(200, "web")))
    )
    async with SchedulerState(store, clock=lambda: NOW) as state:
        await state.follower.synced()
        dirty: set[str] = set()
        state.on_dirty = lambda path, urgent: dirty.add(path)
        async with responsive(), asyncio.timeout(30):
            await store.put(policy_key("wide").key(), body)
            while len(dirty) < OBJECTS // 2:  # noqa: ASYNC110 - what is waited for is many turns of the loop
                await asyncio.sleep(0.01)
        assert dirty == {f"core/configmaps/shop/c{number}" for number in range(1, OBJECTS, 2)}
    await store.close()


async def test_an_object_is_compared_with_very_many_selectors_in_a_thread(federation: Federation) -> None:
    """A hundred thousand of them; the one that selects it still decides."""
    await federation.clusters("a", "b")
    process = await federation.start_scheduler()
    for number in range(100):
        spec: dict[str, Any] = {"resourceSelectors": selecting(1, f"other{number}"), "clusterNames": ["b"]}
        await federation.apply(policy_key(f"p{number}"), policy_object(name=f"p{number}", **spec))
    last = policy_object(name="last", resourceSelectors=selecting(1, "web"), clusterNames=["a"])
    await federation.apply(policy_key("last"), last)
    await process.state.follower.reached(await federation.store.revision(), 60.0)
    obj = config()
    obj["metadata"]["labels"] = {"app": "web"}
    async with responsive():
        await federation.apply(ObjectKey("", "configmaps", "shop", "settings"), obj)
        await federation.placed(ObjectKey("", "configmaps", "shop", "settings"), {"a": None})


async def test_a_selection_does_not_outlive_a_change_of_policies(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found in a thread counts only if no policy has changed meanwhile."""
    monkeypatch.setattr(selection, "MANY_SELECTORS", -1)
    await federation.clusters("a", "b")
    process = await federation.start_scheduler()
    key = ObjectKey("", "configmaps", "shop", "settings")
    await federation.apply(key, config())
    await federation.placed(key, {"a": None, "b": None})
    record = process.state.record(key.path())
    assert record is not None
    assert await process.state.selection(key.path(), record) is not None
    comparing = asyncio.create_task(process.state.selection(key.path(), record))
    await asyncio.sleep(0)
    process.state._policies._placing.version += 1
    assert await comparing is None
