"""What a federation has in its store, written as its services write it.

Owns `Records`: tests run some of the services and play all others by it. An object is named by its key or by
its path, such as `core/configmaps/shop/web`; a cluster by its name. Each write returns its revision.

Concurrency: one event loop. Next: `tests.support.federation.federation` for the services that run over it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson

from hanse.api.federation.v1.tombstone_pb2 import Tombstone
from hanse.api.registry.v1.cluster_pb2 import OFFLINE, READY, ApiCatalogue, ApiResource, Cluster, ClusterState
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, ClusterRelease, Placement
from hanse.api.syncer.v1.sync_state_pb2 import APPLIED, HEALTHY, REMOVED, SyncPhase, SyncState
from hanse.api.type.v1.condition_pb2 import FALSE, TRUE
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.kube.model.objects import Object
from hanse.store import MemoryStore, Store, keys
from hanse.store.keys import ObjectKey
from tests.support.waiting import until

Key = ObjectKey | str
Chosen = str | ClusterPlacement | Mapping[str, int | None]
"""Clusters of a placement: a name, an entry, or the replicas by name."""
NOW = 1_000_000.0


class Clock:
    """Seconds since the epoch, as the test says."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def key_of(key: Key) -> ObjectKey:
    """Return the key of an object that is named by its key or its path."""
    return key if isinstance(key, ObjectKey) else ObjectKey.parse(f"{keys.OBJECTS}/{key}")


def cluster_record(
    name: str, *, state: ClusterState.ValueType = READY, since: float = NOW, **fields: Any
) -> Cluster:
    """Return what the registry stores about a cluster, which is in its state `since` then."""
    cluster = Cluster(name=f"clusters/{name}", state=state, **fields)
    if not cluster.conditions:
        condition = cluster.conditions.add(type="Ready", status=TRUE if state == READY else FALSE)
        condition.last_transition_time.FromNanoseconds(round(since * 1e9))
    return cluster


class Records:
    """The store of one federation, and what its services write into it."""

    def __init__(self, store: Store | None = None, *, clock: Clock | None = None) -> None:
        self.store: Store = store if store is not None else MemoryStore()
        self.clock = clock or Clock()

    async def write(self, key: str, value: bytes) -> int:
        """Write a value of any kind."""
        return await self.store.put(key, value)

    # --- what the registry writes

    async def clusters(self, *names: str) -> None:
        """Join ready clusters."""
        for name in names:
            await self.cluster(name)

    async def cluster(
        self, name: str, state: ClusterState.ValueType = READY, *, since: float = NOW, **fields: Any
    ) -> int:
        """Write a cluster with these fields."""
        record = cluster_record(name, state=state, since=since, **fields)
        return await self.write(keys.cluster(name), record.SerializeToString())

    async def lose(self, name: str) -> int:
        """Let a cluster go out of reach now."""
        return await self.cluster(name, OFFLINE, since=self.clock.now)

    async def serves(self, name: str, *resources: tuple[str, str] | ApiResource) -> int:
        """Write the API catalogue of a cluster; (group, resource) stands for one of no other fields."""
        served = [
            each if isinstance(each, ApiResource) else ApiResource(group=each[0], resource=each[1])
            for each in resources
        ]
        catalogue = ApiCatalogue(name=f"clusters/{name}/apiCatalogue", hash="1", resources=served)
        return await self.write(keys.catalogue(name), catalogue.SerializeToString())

    # --- what the apiserver writes

    async def apply(self, key: Key, obj: Object) -> int:
        """Store an object as it is."""
        return await self.write(key_of(key).key(), orjson.dumps(obj))

    async def put(self, key: Key, obj: Object) -> Object:
        """Store an object with what the apiserver sets: name, uid, generation and finalizer; return it."""
        metadata = obj.setdefault("metadata", {})
        named = key_of(key)
        metadata.setdefault("name", named.name)
        if named.namespace:
            metadata.setdefault("namespace", named.namespace)
        before = await self.intent(named)
        metadata.setdefault("uid", before["metadata"]["uid"] if before is not None else str(uuid.uuid4()))
        metadata.setdefault("generation", 1)
        metadata.setdefault("finalizers", ["hanse.dev/sync"])
        await self.apply(named, obj)
        return obj

    async def intent(self, key: Key) -> Object | None:
        """Return an object as stored."""
        found = await self.store.get(key_of(key).key())
        return orjson.loads(found.value) if found is not None else None

    async def mark_deleted(self, key: Key, *, orphan: bool = False) -> None:
        """Give an object a deletionTimestamp."""
        obj = await self.intent(key)
        assert obj is not None
        obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        if orphan:
            obj["metadata"]["finalizers"].append("orphan")
        await self.apply(key, obj)

    async def forget(self, key: Key) -> None:
        """Delete an object."""
        await self.store.delete(key_of(key).key())

    # --- what the scheduler writes

    async def place(
        self,
        key: Key,
        *clusters: Chosen,
        releasing: Sequence[str] = (),
        generation: int | None = None,
        **fields: Any,
    ) -> int:
        """Write a placement; its generation is that of the object unless said otherwise."""
        named = key_of(key)
        metadata: Object = {}
        with suppress(orjson.JSONDecodeError):  # a scheduler keeps what it placed before it became unreadable
            metadata = (await self.intent(named) or {}).get("metadata", {})
        placement = Placement(
            name=named.key(keys.PLACEMENTS),
            object=ObjectReference(
                group=named.group,
                resource=named.resource,
                namespace=named.namespace,
                name=named.name,
                uid=metadata.get("uid", ""),
            ),
            generation=metadata.get("generation", 0) if generation is None else generation,
            clusters=[entry for each in clusters for entry in _entries(each)],
            releasing=[ClusterRelease(cluster=name) for name in releasing],
            **fields,
        )
        return await self.write(named.key(keys.PLACEMENTS), placement.SerializeToString())

    async def unplace(self, key: Key) -> None:
        """Delete a placement."""
        await self.store.delete(key_of(key).key(keys.PLACEMENTS))

    async def placement(self, key: Key) -> Placement | None:
        """Return the stored placement."""
        found = await self.store.get(key_of(key).key(keys.PLACEMENTS))
        return Placement.FromString(found.value) if found is not None else None

    async def version(self, key: Key) -> int:
        """Return how many times the placement was written."""
        found = await self.store.get(key_of(key).key(keys.PLACEMENTS))
        return found.version if found is not None else 0

    # --- what the syncer writes

    async def synced(
        self, key: Key, cluster: str, *, phase: SyncPhase.ValueType = APPLIED, **fields: Any
    ) -> int:
        """Write a sync state, about the present placement unless said otherwise."""
        named = key_of(key)
        placed = await self.store.get(named.key(keys.PLACEMENTS))
        fields.setdefault("placement_revision", placed.mod_revision if placed is not None else 0)
        state = SyncState(name=f"syncStates/{named.path()}/{cluster}", cluster=cluster, phase=phase, **fields)
        state.transition_time.FromNanoseconds(round(self.clock.now * 1e9))
        return await self.write(named.sync_state(cluster), state.SerializeToString())

    async def ready(self, key: Key, cluster: str, replicas: int | None = None, **fields: Any) -> int:
        """Say that a cluster has what is placed there now, healthy, with so many replicas ready."""
        fields.setdefault("applied_generation", 1)
        if replicas is not None:
            fields |= {"replicas": replicas, "ready_replicas": replicas}
        return await self.synced(key, cluster, health=HEALTHY, **fields)

    async def removed(self, key: Key, *clusters: str) -> None:
        """Confirm that nothing is left in these clusters: of the object, or of what was deleted last."""
        named = key_of(key)
        intent, left = await self.intent(named), await self.store.get(named.key(keys.TOMBSTONES))
        uid = str(intent["metadata"].get("uid", "")) if intent is not None else ""
        if left is not None:
            uid = Tombstone.FromString(left.value).object.uid
        for cluster in clusters:
            await self.synced(key, cluster, phase=REMOVED, object=ObjectReference(uid=uid))

    async def state(self, key: Key, cluster: str) -> SyncState | None:
        """Return a sync state as stored."""
        found = await self.store.get(key_of(key).sync_state(cluster))
        return SyncState.FromString(found.value) if found is not None else None

    async def reaches(
        self, key: Key, cluster: str, phase: SyncPhase.ValueType, *, seconds: float = 10.0
    ) -> SyncState:
        """Wait until a sync state is in `phase`, and return it."""

        async def probe() -> SyncState | None:
            state = await self.state(key, cluster)
            return state if state is not None and state.phase == phase else None

        what = f"{key} in {cluster} is {SyncPhase.Name(phase)}"
        found = await until(probe, what=what, seconds=seconds)
        assert found is not None
        return found


def _entries(chosen: Chosen) -> list[ClusterPlacement]:
    if isinstance(chosen, ClusterPlacement):
        return [chosen]
    if isinstance(chosen, str):
        return [ClusterPlacement(cluster=chosen)]
    return [ClusterPlacement(cluster=name, replicas=count) for name, count in sorted(chosen.items())]
