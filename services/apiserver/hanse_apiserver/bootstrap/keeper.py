"""Keeps what a cluster has from its first second: makes it, and brings back what must be as it was.

Owns `BootstrapKeeper`. Its keys are names of namespaces, and `CLUSTER` for what there is once. Several
apiservers may keep the same objects: a create that finds the object there is done, and an update carries the
resourceVersion that it was decided on. One object is brought back once in `RESTORE_SECONDS`, so that two
that know different authorities, while these change, do not write against each other without end.

Concurrency: one loop; a look reads the cache and writes like any client. Next:
`hanse_apiserver.bootstrap.objects` for what is wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from hanse.control import Request, Result, WorkQueue
from hanse.errors import AlreadyExistsError, ConflictError, NotFoundError, PermissionDeniedError
from hanse.kube.engine.engine import KubeEngine
from hanse.kube.engine.served import ObjectChange
from hanse.kube.kinds.kubernetes import core
from hanse.kube.model.objects import Object, is_deleting
from hanse.process.settings import RELOAD_SECONDS
from hanse.store.keys import ObjectKey
from hanse_apiserver.bootstrap.objects import BootstrapObject, in_each_namespace, of_the_cluster

CLUSTER: Final = "*"
"""The key of what there is once; no namespace has this name."""

RESTORE_SECONDS: Final = 10.0
"""How long an object that was brought back is left as it is."""


class BootstrapKeeper:
    """Reconciles what each namespace has, and what the cluster has once."""

    def __init__(
        self, engine: KubeEngine, *, queue: WorkQueue, authorities: Callable[[], str], port: int
    ) -> None:
        """Put into `queue` what may lack something. `authorities` returns the PEM of who signs the server's
        certificate, "" without TLS; `port` that of the Kubernetes API.
        """
        self._cache = engine.cache
        self._catalogue = engine.catalogue
        self._resources = engine.resources
        self._queue = queue
        self._authorities = authorities
        self._port = port
        self._restored: dict[ObjectKey, float] = {}
        """Until when, in the loop's time, what was brought back is left as it is."""
        self._once = {wanted.key for wanted in of_the_cluster(0)}
        self._everywhere = {
            wanted.kind.group_plural: wanted.key.name for wanted in in_each_namespace("any", "any")
        }

    def start(self) -> None:
        """Look at everything, and from now on at what changes."""
        self._cache.subscribe(self._changed)
        self.look()

    async def follow(self) -> None:
        """Look at everything again when the authorities have changed, until cancelled."""
        known = self._authorities()
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            try:
                found = self._authorities()
            except OSError:
                continue  # the file is being replaced
            if found != known:
                known = found
                self.look()

    def look(self) -> None:
        """Look at everything again."""
        self._queue.add(CLUSTER)
        for entry in self._cache.objects(*core.NAMESPACE.group_plural):
            self._queue.add(entry.key.name)

    def _changed(self, change: ObjectChange) -> None:
        key = change.entry.key
        resource = (key.group, key.resource)
        if resource == core.NAMESPACE.group_plural and change.type == "ADDED":
            self._queue.add(key.name)
        elif self._everywhere.get(resource) == key.name and change.type != "ADDED":
            self._queue.add(key.namespace)
        if change.type == "DELETED" and key in self._once:
            self._queue.add(CLUSTER)

    async def reconcile(self, request: Request) -> Result | None:
        """Make what is missing there, and bring back what is not as it must be."""
        pauses = [await self._ensure(wanted) for wanted in self._wanted(request.key)]
        pause = max(pauses, default=0.0)
        return Result(requeue_after=pause) if pause else None

    def _wanted(self, key: str) -> Iterator[BootstrapObject]:
        if key == CLUSTER:
            yield from of_the_cluster(self._port)
            return
        namespace = self._cache.get(ObjectKey(*core.NAMESPACE.group_plural, namespace="", name=key))
        if namespace is not None and not is_deleting(namespace.object):
            yield from in_each_namespace(key, self._authorities())

    async def _ensure(self, wanted: BootstrapObject) -> float:
        """Make or bring back an object; return in how many seconds to look again, 0 for not at all."""
        info = self._catalogue.require_kind(wanted.kind)
        entry = self._cache.get(wanted.key)
        try:
            if entry is None:
                await self._resources.create(info, wanted.object, namespace=wanted.namespace)
            elif not is_deleting(entry.object) and _differs(entry.object, wanted):
                if (pause := self._pause(wanted.key)) > 0:
                    return pause
                restored = {**entry.object, **{field: wanted.object[field] for field in wanted.restored}}
                await self._resources.update(info, restored, namespace=wanted.namespace)
        except (AlreadyExistsError, ConflictError, NotFoundError):
            pass  # somebody was faster; what they did comes as a change if it must be looked at
        except PermissionDeniedError:
            pass  # the namespace has begun to end
        return 0.0

    def _pause(self, key: ObjectKey) -> float:
        """Return for how many seconds an object is still left as it is; if for none, that begins now."""
        now = asyncio.get_running_loop().time()
        self._restored = {each: until for each, until in self._restored.items() if until > now}
        until = self._restored.setdefault(key, now + RESTORE_SECONDS)
        return until - now if until < now + RESTORE_SECONDS else 0.0


def _differs(found: Object, wanted: BootstrapObject) -> bool:
    return any(found.get(field) != wanted.object[field] for field in wanted.restored)
