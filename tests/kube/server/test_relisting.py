"""What is served after history was lost and the cache listed again: as if nothing had been missed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import orjson
import pytest

from hanse.errors import CompactedError
from hanse.kube.engine.engine import KubeEngine
from hanse.kube.engine.served import ObjectChange
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.strategies.kubernetes import kubernetes
from hanse.kube.model.objects import Object
from hanse.store import Delete, Event, MemoryStore, Put
from hanse.store.keys import ObjectKey
from tests.kube.server.world import config_map

PART = "parts/a"


def _key(name: str) -> ObjectKey:
    return ObjectKey("", "configmaps", "default", name)


def _put(name: str, obj: Object | None = None, **data: str) -> Put:
    obj = obj or {**config_map(name), "metadata": {"name": name, "namespace": "default", "uid": name}}
    return Put(_key(name).key(), orjson.dumps({**obj, "data": data}))


@dataclass
class Parts:
    """A view that adds a status to each object that has a part."""

    present: set[str] = field(default_factory=set)
    prefixes: Sequence[str] = ("parts/",)
    fields: Sequence[str] = ()

    def reset(self) -> None:
        """Forget all parts."""
        self.present.clear()

    def apply(self, event: Event) -> Iterable[ObjectKey]:
        """Take in one part, or that it is gone."""
        name = event.kv.key.removeprefix("parts/")
        (self.present.add if event.kind == "put" else self.present.discard)(name)
        return (_key(name),)

    def keepers(self, key: ObjectKey) -> Sequence[str]:
        """See View."""
        return ()

    def render(self, key: ObjectKey, intent: Object | None) -> Object | None:
        """Return the object, with a status if it has a part."""
        return {**intent, "status": "whole"} if intent and key.name in self.present else intent


async def _lose_history(store: MemoryStore) -> int:
    """Compact everything away; return the revision at which the cache lists."""
    revision = await store.put("members/x", b"1")
    await store.compact(revision)
    return revision


async def test_what_changed_meanwhile_can_be_written_back(memory: MemoryStore) -> None:
    """An object has the version of its last write, not that of the list: who reads it may update it."""
    async with KubeEngine(memory, catalogue=Catalogue(kubernetes())) as engine:
        config_maps = engine.catalogue.require("", "v1", "configmaps")
        made = await engine.resources.create(config_maps, config_map("a", x="1"), namespace="default")
        await engine.cache.fresh()
        memory.interrupt_watches()
        stored = await memory.get(_key("a").key())
        assert stored is not None
        written = (await memory.txn([], [_put("a", orjson.loads(stored.value), x="2")])).revision
        await engine.cache.reached(await _lose_history(memory))
        seen = engine.cache.get(_key("a"))
        assert seen is not None
        assert seen.object["metadata"] == {**made["metadata"], "resourceVersion": str(written)}
        again = {**seen.object, "data": {"x": "3"}}
        updated = await engine.resources.update(config_maps, again, namespace="default")
        assert updated["data"] == {"x": "3"}


async def test_the_difference_comes_in_the_order_of_revisions(memory: MemoryStore) -> None:
    """Subscribers see writes at their own revisions, then at the list's what was deleted or lost a part; who
    resumes from before must list again."""
    async with KubeEngine(memory, catalogue=Catalogue(kubernetes()), view=Parts()) as engine:
        await engine.cache.reached((await memory.txn([], [_put("a"), _put("b"), _put("d")])).revision)
        start = await memory.put(PART, b"1")
        await engine.cache.reached(start)
        changes: list[ObjectChange] = []
        engine.cache.subscribe(changes.append)
        memory.interrupt_watches()
        c = (await memory.txn([], [_put("c")])).revision
        b = (await memory.txn([], [_put("b", x="2"), Delete(_key("d").key()), Delete(PART)])).revision
        listed = await _lose_history(memory)
        async with asyncio.timeout(10):
            await engine.cache.reached(listed)
        assert [(change.type, change.key.name, change.revision) for change in changes] == [
            ("ADDED", "c", c), ("MODIFIED", "b", b), ("MODIFIED", "a", listed), ("DELETED", "d", listed),
        ]  # fmt: skip
        assert all(change.entry.revision == change.revision for change in changes)
        log = engine.cache.log("", "configmaps")
        for revision in (start, c, b):
            with pytest.raises(CompactedError):
                log.resume(revision)
        assert log.read(log.resume(listed)) == ()
        assert [entry.key.name for entry in log.at(listed, "default")] == ["a", "b", "c"]
