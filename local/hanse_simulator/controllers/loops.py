"""Runs the controllers of a cluster: changes of objects become keys in their queues.

A `Loop` says which resources a reconciler watches and which keys a change of one concerns. At the start every
object counts as added, so that whatever happened while the cluster was down is made up for. Changes of
resources that nobody watches cost one dictionary look-up; with nothing to do nothing runs.

One event loop; the keys of one controller are worked on at once, never the same key twice. Next:
`hanse_simulator.app`, which makes the loops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from hanse.background import OwnedTasks
from hanse.backoff import Backoff
from hanse.control import Controller, WorkQueue
from hanse.control.reconcile import Reconciler
from hanse.kube.engine.served import ObjectChange, ServedObject
from hanse_simulator.world import ClusterContext, Resource, controller_of

Mapper = Callable[[ObjectChange], Iterable[str]]
"""Which keys a change concerns."""

_BACKOFF = Backoff(base=0.05, limit=5.0)


@dataclass(frozen=True, slots=True)
class Loop:
    """One controller: its name, what it does with a key, and where keys come from."""

    name: str
    reconciler: Reconciler
    watches: Mapping[Resource, Mapper]
    workers: int = 16


class Loops:
    """Runs loops over a world while it is entered."""

    def __init__(self, world: ClusterContext, loops: Sequence[Loop]) -> None:
        self._world = world
        self._loops = tuple(loops)
        self.queues = {loop.name: WorkQueue(f"simulator-{loop.name}", backoff=_BACKOFF) for loop in loops}
        self._watchers: dict[Resource, list[tuple[Mapper, WorkQueue]]] = {}
        for loop in loops:
            for resource, mapper in loop.watches.items():
                self._watchers.setdefault(resource, []).append((mapper, self.queues[loop.name]))
        self._owned = OwnedTasks()
        self._tasks: list[asyncio.Task[None]] = []
        self._unsubscribe: Callable[[], None] | None = None

    async def __aenter__(self) -> Self:
        """Start: everything that exists is looked at once."""
        self._unsubscribe = self._world.cache.subscribe(self._changed)
        for resource in self._watchers:
            for entry in self._world.cache.objects(*resource):
                self._changed(ObjectChange(entry.revision, "ADDED", entry.key, entry, None))
        for loop in self._loops:
            controller = Controller(
                loop.name, loop.reconciler, self.queues[loop.name], workers=loop.workers, timeout=30.0
            )
            self._tasks.append(self._owned.start(controller.run(), name=f"simulator {loop.name}"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; what is unfinished is taken up at the next start."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        for queue in self.queues.values():
            queue.close()
        await self._owned.close()
        self._tasks.clear()

    @property
    def idle(self) -> bool:
        """Report whether no controller has anything to do now. What is delayed does not count."""
        return all(queue.idle for queue in self.queues.values())

    def failure(self) -> BaseException | None:
        """Return why a controller has ended that should run; None if all do."""
        for task in self._tasks:
            if task.done():
                error = None if task.cancelled() else task.exception()
                return error or RuntimeError(f"the task {task.get_name()} has ended")
        return None

    def _changed(self, change: ObjectChange) -> None:
        for mapper, queue in self._watchers.get((change.key.group, change.key.resource), ()):
            for key in mapper(change):
                queue.add(key)


def itself(change: ObjectChange) -> Iterable[str]:
    """Map a change to the object that changed."""
    return (key_of(change.entry),)


def controlled_by(kind: str) -> Mapper:
    """Map a change of an object to its controller of this kind, and to the one it had before."""

    def mapper(change: ObjectChange) -> Iterable[str]:
        found = {_controller_key(change.entry, kind)}
        if change.previous is not None:
            found.add(_controller_key(change.previous, kind))
        return found - {""}

    return mapper


def _controller_key(entry: ServedObject, kind: str) -> str:
    owner = controller_of(entry.object)
    return f"{entry.key.namespace}/{owner['name']}" if owner and owner.get("kind") == kind else ""


def key_of(entry: ServedObject) -> str:
    """Return the key under which an object is looked at: namespace/name."""
    return f"{entry.key.namespace}/{entry.key.name}"


def split(key: str) -> tuple[str, str]:
    """Return namespace and name of a key."""
    namespace, _, name = key.partition("/")
    return namespace, name
