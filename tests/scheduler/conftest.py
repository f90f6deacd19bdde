"""A scheduler over a store in memory, with a clock that the test turns."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hanse_scheduler.decide.inputs import Rules
from hanse_scheduler.leading import PlacementController
from hanse_scheduler.placing.evaluator import Evaluator
from hanse_scheduler.state.scheduler_state import SchedulerState
from hanse_scheduler.times import timestamp_of

from hanse.api.registry.v1.cluster_pb2 import OFFLINE, ApiCatalogue, ApiResource
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.syncer.v1.sync_state_pb2 import APPLIED, HEALTHY, REMOVED, SyncPhase
from hanse.federation.events import EventRecorder
from hanse.kube.model.objects import Object
from hanse.store import MemoryStore, Store, keys
from hanse.store.keys import ObjectKey
from tests.scheduler.builders import NOW, cluster_message, sync_state
from tests.support.waiting import until

DEADLINE = 5.0


class Clock:
    """Seconds since the epoch, as the test says."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Process:
    """One scheduler process."""

    state: SchedulerState
    scheduler: PlacementController
    evaluator: Evaluator


@dataclass
class Federation:
    """The store, and what the other services would write into it."""

    store: Store
    clock: Clock
    stack: AsyncExitStack
    writes: list[str] = field(default_factory=list)

    async def start(
        self,
        identity: str = "one",
        *,
        rules: Rules | None = None,
        recorder: EventRecorder | None = None,
        store: Store | None = None,
        lead: bool = True,
    ) -> Process:
        """Start a scheduler, and wait until it leads unless told not to."""
        own = store or self.store
        state = await self.stack.enter_async_context(SchedulerState(own, clock=self.clock))
        evaluator = Evaluator(store=own, state=state, rules=rules or Rules(), clock=self.clock)
        scheduler = PlacementController(
            store=own,
            state=state,
            evaluator=evaluator,
            clock=self.clock,
            identity=identity,
            recorder=recorder,
        )
        await state.follower.synced()
        await self.stack.enter_async_context(scheduler)
        if lead:
            async with asyncio.timeout(DEADLINE):
                await scheduler.leading.wait()
        return Process(state, scheduler, evaluator)

    async def clusters(self, *names: str) -> None:
        """Join ready clusters."""
        for name in names:
            await self.store.put(keys.cluster(name), cluster_message(name).SerializeToString())

    async def cluster(self, name: str, **fields: Any) -> None:
        """Write a cluster with these fields."""
        await self.store.put(keys.cluster(name), cluster_message(name, **fields).SerializeToString())

    async def lose(self, name: str) -> None:
        """Let a cluster go out of reach now."""
        await self.cluster(name, state=OFFLINE, since=self.clock.now)

    async def serves(self, name: str, *resources: tuple[str, str]) -> None:
        """Write a cluster's API catalogue."""
        items = [ApiResource(group=group, resource=resource) for group, resource in resources]
        await self.store.put(keys.catalogue(name), ApiCatalogue(resources=items).SerializeToString())

    async def apply(self, key: ObjectKey, obj: Object) -> int:
        """Store an object as the apiserver does."""
        return await self.store.put(key.key(), orjson.dumps(obj))

    async def delete(self, key: ObjectKey) -> None:
        """Remove an object."""
        await self.store.delete(key.key())

    async def synced(
        self, key: ObjectKey, cluster: str, *, phase: SyncPhase.ValueType = APPLIED, **fields: Any
    ) -> None:
        """Write a sync state as the syncer does, about the present placement."""
        kv = await self.store.get(key.key(keys.PLACEMENTS))
        fields.setdefault("placement_revision", kv.mod_revision if kv else 0)
        state = sync_state(key, cluster, phase, **fields)
        state.transition_time.CopyFrom(timestamp_of(self.clock.now))
        await self.store.put(key.sync_state(cluster), state.SerializeToString())

    async def ready(
        self, key: ObjectKey, cluster: str, replicas: int | None = None, *, generation: int = 1
    ) -> None:
        """Say that a cluster has what is placed there now, healthy, with so many replicas ready."""
        counted: dict[str, Any] = {} if replicas is None else {"replicas": replicas, "ready_replicas": replicas}
        await self.synced(key, cluster, applied_generation=generation, health=HEALTHY, **counted)

    async def removed(self, key: ObjectKey, cluster: str) -> None:
        """Confirm that nothing is left in a cluster."""
        await self.synced(key, cluster, phase=REMOVED)

    async def placement(self, key: ObjectKey) -> Placement | None:
        """Return the stored placement."""
        kv = await self.store.get(key.key(keys.PLACEMENTS))
        return Placement.FromString(kv.value) if kv else None

    async def version(self, key: ObjectKey) -> int:
        """Return how many times the placement was written."""
        kv = await self.store.get(key.key(keys.PLACEMENTS))
        return kv.version if kv else 0

    async def until(self, condition: Callable[[], Awaitable[Any]], *, seconds: float = DEADLINE) -> None:
        """Wait until a condition holds."""
        await until(condition, seconds=seconds)

    async def placed(self, key: ObjectKey, expected: Mapping[str, int | None] | None) -> Placement:
        """Wait until the object is placed so (suspended clusters aside; None: there is no placement)."""
        seen: Any = None

        async def is_so() -> bool:
            nonlocal seen
            placement = await self.placement(key)
            seen = None if placement is None else where(placement)
            return bool(seen == expected)

        try:
            await self.until(is_so)
        except AssertionError:
            pytest.fail(f"{key} is placed {seen}, not {expected}: {await self.placement(key)}")
        return await self.placement(key) or Placement()

    async def settled(self, *processes: Process) -> None:
        """Wait until schedulers have seen everything and have nothing to do."""
        async with asyncio.timeout(DEADLINE):
            for process in processes:
                await process.state.follower.current()
                queue = process.scheduler.queue
                while queue is not None and not queue.idle:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
                await process.state.follower.current()


def where(placement: Placement) -> dict[str, int | None]:
    """Where a placement says that the object runs."""
    return {
        item.cluster: item.replicas if item.HasField("replicas") else None
        for item in placement.clusters
        if not item.suspended
    }


@pytest.fixture
async def federation() -> AsyncIterator[Federation]:
    """A federation without clusters and schedulers."""
    store = MemoryStore(progress_interval=0.05)
    async with AsyncExitStack() as stack:
        yield Federation(store=store, clock=Clock(), stack=stack)
    with contextlib.suppress(Exception):
        await store.close()
