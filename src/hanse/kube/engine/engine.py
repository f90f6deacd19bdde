"""One Kubernetes API engine: catalogue, cache and write semantics put together over a store.

    async with KubeEngine(store, catalogue=Catalogue(kubernetes())) as engine:
        await engine.resources.create(info, obj, namespace="shop")

Owns the tasks that follow the store, serve CRDs and collect garbage; ends with them. Everything runs in one
event loop. Next: `hanse.kube.engine.resources.store` for writes, `hanse.kube.engine.cache` for reads,
`hanse.kube.server.app` for HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import structlog

from hanse.background import OwnedTasks
from hanse.errors import AlreadyExistsError
from hanse.kube.engine import crds
from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.crds import CrdAdmission, CrdController
from hanse.kube.engine.expiry import EVENT_TTL, EventLeases, EventSweep
from hanse.kube.engine.garbage import GarbageCollector
from hanse.kube.engine.hooks import Admission, ObjectEnds, Room, ValidatingAdmission, View
from hanse.kube.engine.resources.store import ResourceStore
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.kubernetes import core
from hanse.store import Store
from hanse.turns import Turns

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
"""Namespaces that every cluster has."""

_log = structlog.get_logger(__name__)


class KubeEngine:
    """The engine of one API server."""

    def __init__(
        self,
        store: Store,
        *,
        catalogue: Catalogue,
        view: View | None = None,
        admission: Sequence[Admission] = (),
        validating: Callable[[ObjectCache], Sequence[ValidatingAdmission]] = lambda cache: (),
        clock: Callable[[], datetime] | None = None,
        collect: bool = True,
        hidden_annotations: Sequence[str] = (),
        namespaces: Sequence[str] = NAMESPACES,
        graceful_pods: bool = False,
        shared: bool = False,
        window: int | None = None,
        event_ttl: int = EVENT_TTL,
        room: Room | None = None,
        ends: ObjectEnds | None = None,
    ) -> None:
        """Put an engine together over `store`; nothing happens before it is entered.

        `validating` returns who looks at valid objects last, given the cache. `collect` runs the collector:
        contents of terminating namespaces, dependents of deleted owners.
        `hidden_annotations` are stored and never served. `clock` returns the time in UTC. `namespaces` are
        created if they do not exist. `graceful_pods` keeps scheduled Pods being deleted until a kubelet
        deletes them with grace 0. `shared` says that other processes write objects of the store too.
        `window` is how many changes of each resource watches may be behind. `event_ttl` is how many seconds
        Events stay after they were written last, 0 for ever. `room` guards what the store has room for.
        `ends` says which objects leave the store; without, those that no finalizer keeps.
        """
        self.store = store
        self.catalogue = catalogue
        self.clock = clock or (lambda: datetime.now(UTC))
        self.turns = Turns()
        windows = {"window": window} if window else {}
        definitions = crds.Definitions(reserved=catalogue.reserved_groups)
        self.cache = ObjectCache(
            store,
            view=view,
            hidden=hidden_annotations,
            shared=shared,
            kind_of=self._kind_of,
            shown={(crds.GROUP, crds.PLURAL): definitions.shown},
            prepare={(crds.GROUP, crds.PLURAL): definitions.prepare},
            **windows,
        )
        self.resources = ResourceStore(
            store,
            cache=self.cache,
            catalogue=catalogue,
            admission=[CrdAdmission(self.clock, reserved=catalogue.reserved_groups), *admission],
            validating=validating(self.cache),
            clock=self.clock,
            hidden=hidden_annotations,
            graceful_pods=graceful_pods,
            turns=self.turns,
            event_leases=EventLeases(store, ttl=event_ttl) if event_ttl else None,
            room=room,
            ends=ends,
        )
        self.events = EventSweep(store, self.cache, ttl=event_ttl, clock=self.clock)
        self._sweeps = bool(event_ttl)
        self._crds = CrdController(
            self.cache, catalogue=catalogue, resources=self.resources, definitions=definitions
        )
        self._garbage = (
            GarbageCollector(self.cache, catalogue=catalogue, resources=self.resources) if collect else None
        )
        self._namespaces = tuple(namespaces)
        self._owned = OwnedTasks()
        self._tasks: list[asyncio.Task[None]] = []
        """Those that run until the engine is left, also when they have ended before."""

    async def __aenter__(self) -> Self:
        """Start; returns when the cache holds everything that the store held."""
        following = self._start(self.cache.run(), "object cache")
        try:
            await self._synced(following)
            self._crds.start()
            self._start(self._crds.run(), "crds")
            if self._garbage is not None:
                self._start(self._garbage.run(), "garbage collector")
            if self._sweeps:
                self._start(self.events.run(), "event sweep")
            for name in self._namespaces:
                await self._ensure_namespace(name)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all tasks."""
        await self._stop()

    async def ready(self) -> None:
        """Raise if the engine cannot serve: a task has ended, or the store does not answer. For /readyz."""
        for task in self._tasks:
            if task.done():
                raise RuntimeError(f"the {task.get_name()} has stopped")
        await self.store.revision()

    async def failed(self) -> None:
        """Wait until a task of the engine ends, and raise what ended it; nothing if it was stopped."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled():
                task.result()

    def _kind_of(self, group: str, resource: str) -> tuple[str, str]:
        info = self.catalogue.storage(group, resource)
        return (info.api_version, info.kind) if info is not None else ("", "")

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self._owned.start(work, name=name)
        self._tasks.append(task)
        return task

    async def _synced(self, following: asyncio.Task[None]) -> None:
        """Wait until the cache has everything. Raises what ended its following."""
        synced = self._owned.start(self.cache.synced(), name="first list of the object cache", told=True)
        await asyncio.wait({synced, following}, return_when=asyncio.FIRST_COMPLETED)
        if not synced.done():
            synced.cancel()
            await following

    async def _stop(self) -> None:
        await self._owned.close()
        self._tasks.clear()

    async def _ensure_namespace(self, name: str) -> None:
        info = self.catalogue.require_kind(core.NAMESPACE)
        obj = {"apiVersion": info.api_version, "kind": info.kind, "metadata": {"name": name}}
        if any(entry.key.name == name for entry in self.cache.objects(*core.NAMESPACE.group_plural)):
            return
        try:
            await self.resources.create(info, obj)
        except AlreadyExistsError:
            return
