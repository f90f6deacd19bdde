"""Events end an hour after they were written last; the rest stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from hanse.errors import NotFoundError
from hanse.federation.strategies import federation_kinds
from hanse.kube.engine.engine import KubeEngine
from hanse.kube.engine.expiry import EVENT_TTL, EventLeases, last_seen
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.model.objects import Object
from hanse.store import MemoryStore, Store

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def event(name: str, *, group: str = "", seen: datetime = NOW) -> Object:
    """An Event of either group."""
    moment = seen.isoformat().replace("+00:00", "Z")
    base: dict[str, Any] = {"kind": "Event", "metadata": {"name": name, "namespace": "default"}}
    about = {"kind": "ConfigMap", "name": "c", "namespace": "default"}
    if group:
        return base | {
            "apiVersion": "events.k8s.io/v1", "regarding": about, "reason": "Tested", "action": "Test",
            "type": "Normal", "reportingController": "t", "reportingInstance": "t",
            "eventTime": f"{moment[:-1]}.000000Z",
        }  # fmt: skip
    return base | {"apiVersion": "v1", "involvedObject": about, "reason": "Tested", "lastTimestamp": moment}


def engine_of(store: Store, **options: Any) -> KubeEngine:
    """An engine whose time stands still."""
    return KubeEngine(store, catalogue=Catalogue(federation_kinds()), clock=lambda: NOW, **options)


async def lease_of(store: Store, name: str) -> int:
    """The lease of a stored Event."""
    kv = await store.get(f"objects/core/events/default/{name}")
    assert kv is not None
    return kv.lease


async def test_events_of_both_groups_have_a_lease_and_nothing_else_has(store: Store) -> None:
    """Both are stored with a lease, which they share; an update renews it; a ConfigMap has none."""
    async with engine_of(store) as engine:
        core = engine.catalogue.require("", "v1", "events")
        new = engine.catalogue.require("events.k8s.io", "v1", "events")
        maps = engine.catalogue.require("", "v1", "configmaps")
        await engine.resources.create(core, event("one"))
        await engine.resources.create(new, event("two", group="events.k8s.io"))
        first = await lease_of(store, "one")
        assert first
        assert await lease_of(store, "two") == first
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}}
        await engine.resources.create(maps, obj)
        kv = await store.get("objects/core/configmaps/default/c")
        assert kv is not None
        assert kv.lease == 0
        await store.revoke(first)
        await engine.cache.fresh()
        assert await store.get("objects/core/events/default/one") is None
        await engine.resources.create(core, event("one"))
        again = await lease_of(store, "one")
        assert again not in (0, first), "a lease that has ended is replaced"
        await engine.resources.modify(
            core, namespace="default", name="one", change=lambda obj: {**obj, "message": "again"}
        )
        assert await lease_of(store, "one") == again


async def test_events_stay_where_they_are_told_to(memory: MemoryStore) -> None:
    """A time to live of 0 is for ever."""
    async with engine_of(memory, event_ttl=0) as engine:
        await engine.resources.create(engine.catalogue.require("", "v1", "events"), event("one"))
        assert await lease_of(memory, "one") == 0


async def test_a_lease_serves_a_time_window_and_a_number_of_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few leases for many Events, and none for too long or too many."""
    granted: list[int] = []

    class Leases(MemoryStore):
        async def grant_once(self, ttl: int) -> int:
            granted.append(ttl)
            return len(granted)

    leases = EventLeases(Leases(), ttl=3600, most=3)
    assert [await leases.lease() for _ in range(7)] == [1, 1, 1, 2, 2, 2, 3]
    assert granted == [3660] * 3
    leases.forget(2)
    assert await leases.lease() == 3
    leases.forget(3)
    assert await leases.lease() == 4
    short = EventLeases(Leases(), ttl=10)
    await short.lease()
    assert granted[-1] == 11
    monkeypatch.setattr(short, "_until", float("-inf"))
    await short.lease()
    assert len(granted) == 6


async def test_events_of_an_earlier_release_are_swept(store: Store) -> None:
    """Those without a lease go when they are old; young ones, ones with finalizers and other kinds stay."""
    old = NOW - timedelta(seconds=EVENT_TTL + 600)
    stamp = {"creationTimestamp": "2020-01-01T00:00:00Z", "uid": "u"}
    stored = {
        "old": event("old", seen=old),
        "old-new-group": event("old-new-group", group="events.k8s.io", seen=old),
        "young": event("young"),
        "kept": event("kept", seen=old),
    }
    stored["kept"]["metadata"]["finalizers"] = ["example.org/keep"]
    for name, obj in stored.items():
        obj["metadata"] |= stamp
        await store.put(f"objects/core/events/default/{name}", orjson.dumps(obj))
    maps = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": "default", **stamp},
    }
    await store.put("objects/core/configmaps/default/c", orjson.dumps(maps))
    async with engine_of(store) as engine:
        await engine.events.sweep()
        left = {kv.key.rpartition("/")[2] for kv in (await store.range("objects/core/events/")).items}
        assert left == {"young", "kept"}
        assert await store.get("objects/core/configmaps/default/c") is not None
        assert await engine.events.give_up() == 1


async def test_a_change_since_saves_an_event_from_the_sweep(memory: MemoryStore) -> None:
    """Who is swept together with one that has changed goes all the same, and that one stays."""
    old = NOW - timedelta(days=1)
    async with engine_of(memory) as engine:
        for name in ("one", "two"):
            obj = event(name, seen=old)
            obj["metadata"] |= {"creationTimestamp": "2020-01-01T00:00:00Z", "uid": name}
            revision = await memory.put(f"objects/core/events/default/{name}", orjson.dumps(obj))
        await engine.cache.reached(revision)
        await memory.put("objects/core/events/default/two", orjson.dumps(event("two")))
        assert await engine.events.sweep() == 1
        with pytest.raises(AssertionError):
            await lease_of(memory, "one")
        assert await memory.get("objects/core/events/default/two") is not None


def test_when_an_event_was_seen_last() -> None:
    """The latest of what it says; nonsense says nothing."""
    assert last_seen({"metadata": {"creationTimestamp": "2030-01-01T12:00:00Z"}}) == NOW
    later = {"lastObservedTime": "2030-01-01T13:00:00.000000Z"}
    assert last_seen(event("e") | {"series": later}) == NOW + timedelta(hours=1)
    assert last_seen({"lastTimestamp": "yesterday", "eventTime": {"x": 1}}) < NOW - timedelta(days=9999)


async def test_a_lease_that_ended_is_no_lost_event(memory: MemoryStore) -> None:
    """An Event whose shared lease was revoked between grant and write is written with another."""
    async with engine_of(memory) as engine:
        core = engine.catalogue.require("", "v1", "events")
        await engine.resources.create(core, event("one"))
        await memory.revoke(await lease_of(memory, "one"))
        created = await engine.resources.create(core, event("two"))
        assert created["metadata"]["name"] == "two"
        with pytest.raises(NotFoundError):
            await engine.resources.delete(core, namespace="default", name="one")
