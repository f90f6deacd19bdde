"""The collector: what Kubernetes' namespace controller and garbage collector do, from the cache.

- A namespace that is being deleted loses its contents, then its finalizer.
- An object whose owners are all gone is deleted; one of whose owners are gone loses those references.
- An owner that is deleted in the foreground waits for dependents that block it; one that orphans them
  loses its finalizer once no dependent names it.

One task takes keys off a set; every decision is made again from the cache, so running twice is running once,
and a failed step is tried again. Next: `hanse.kube.engine.lifecycle` for the finalizers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import structlog

from hanse.boundary import Boundary
from hanse.errors import HanseError, NotFoundError
from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.lifecycle import FOREGROUND, ORPHAN
from hanse.kube.engine.options import DeleteOptions
from hanse.kube.engine.resources.store import ResourceStore
from hanse.kube.engine.served import ObjectChange, ServedObject
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.kubernetes import core
from hanse.kube.model.objects import Object, is_deleting, mapping, parse_api_version, sequence
from hanse.store.keys import ObjectKey

RETRY_SECONDS = 0.5
"""How long a step that failed, or waits for finalizers, is left alone."""

_log = structlog.get_logger(__name__)


class GarbageCollector:
    """Collects what nobody needs any more."""

    def __init__(self, cache: ObjectCache, *, catalogue: Catalogue, resources: ResourceStore) -> None:
        self._cache = cache
        self._catalogue = catalogue
        self._resources = resources
        self._dependents: dict[str, set[ObjectKey]] = {}
        self._owners: dict[ObjectKey, tuple[str, ...]] = {}
        self._uids: dict[str, ObjectKey] = {}
        self._todo: set[ObjectKey] = set()
        self._wake = asyncio.Event()
        self._boundary = Boundary("garbage collector")

    async def run(self) -> None:
        """Collect until cancelled."""
        unsubscribe = self._cache.subscribe(self._changed)
        try:
            for group, resource in self._cache.resources():
                for entry in self._cache.objects(group, resource):
                    if entry.intent is not None:
                        with self._boundary.around(str(entry.key)):
                            self._index(entry)
            self._todo |= self._owners.keys()
            for key in self._uids.values():
                known = self._cache.get(key)
                if known is not None and is_deleting(known.object):
                    self._add(key)
            self._wake.set()
            while True:
                await self._wake.wait()
                self._wake.clear()
                todo, self._todo = self._todo, set()
                again = [key for key in sorted(todo) if not await self._try(key)]
                if again:
                    asyncio.get_running_loop().call_later(RETRY_SECONDS, self._add, *again)
        finally:
            unsubscribe()

    # What happened.

    def _changed(self, change: ObjectChange) -> None:
        if change.entry.intent is None:
            return
        if change.type != "DELETED":
            self._index(change.entry)
            if is_deleting(change.entry.object) or change.key in self._owners:
                self._add(change.key)
            return
        self._forget(change.key)
        uid = change.entry.uid
        if self._uids.get(uid) == change.key:
            del self._uids[uid]
        self._add(*self._dependents.get(uid, ()))
        self._add(*(self._uids[o] for o in _owner_uids(change.entry.object) if o in self._uids))
        if change.key.namespace:
            space = self._cache.get(ObjectKey(*core.NAMESPACE.group_plural, "", change.key.namespace))
            if space is not None and is_deleting(space.object):
                self._add(space.key)

    def _index(self, entry: ServedObject) -> None:
        uids = _owner_uids(entry.object)
        if self._owners.get(entry.key, ()) != uids:
            self._forget(entry.key)
            if uids:
                self._owners[entry.key] = uids
                for uid in uids:
                    self._dependents.setdefault(uid, set()).add(entry.key)
        self._uids[entry.uid] = entry.key

    def _forget(self, key: ObjectKey) -> None:
        for uid in self._owners.pop(key, ()):
            keys = self._dependents.get(uid, set())
            keys.discard(key)
            if not keys:
                self._dependents.pop(uid, None)

    def _add(self, *keys: ObjectKey) -> None:
        if keys:
            self._todo.update(keys)
            self._wake.set()

    # What to do.

    async def _try(self, key: ObjectKey) -> bool:
        """Do what is to be done about an object; False to look again later."""
        entry = self._cache.get(key)
        if entry is None:
            return True
        try:
            if is_deleting(entry.object):
                return await self._deleting(entry)
            return await self._owned(entry)
        except NotFoundError:
            return True
        except HanseError as error:
            _log.warning("could not collect", object=str(key), error=str(error))
            return False
        except Exception as error:  # noqa: BLE001 - of one object; all others are collected
            self._boundary.failed(str(key), error)
            return False

    async def _deleting(self, entry: ServedObject) -> bool:
        finalizers = entry.object["metadata"].get("finalizers") or ()
        if FOREGROUND in finalizers:
            return await self._foreground(entry)
        if ORPHAN in finalizers:
            return await self._orphan(entry)
        if (entry.key.group, entry.key.resource) == core.NAMESPACE.group_plural:
            return await self._namespace(entry)
        return True

    async def _namespace(self, entry: ServedObject) -> bool:
        """Delete what is in a namespace; when nothing is left, let the namespace go."""
        if "kubernetes" not in sequence(entry.object, "spec", "finalizers"):
            return True
        name = entry.key.name
        contents = [
            entry
            for group, resource in self._cache.resources()
            for entry in self._cache.objects(group, resource, name)
            if entry.intent is not None
        ]
        await asyncio.gather(*(self._delete(e) for e in contents if not is_deleting(e.object)))
        await self._cache.fresh()
        if any(
            e.intent is not None
            for group, resource in self._cache.resources()
            for e in self._cache.objects(group, resource, name)
        ):
            return False
        info = self._catalogue.require_kind(core.NAMESPACE)
        await self._resources.modify(info, name=name, change=_finalized, subresource="finalize")
        return True

    async def _foreground(self, entry: ServedObject) -> bool:
        """Delete the dependents; let the owner go when those that block it are gone."""
        waiting = False
        for dependent in self._of(entry.uid):
            blocks = any(
                o.get("uid") == entry.uid and o.get("blockOwnerDeletion")
                for o in sequence(dependent.object, "metadata", "ownerReferences")
            )
            waiting |= blocks
            if not is_deleting(dependent.object):
                await self._delete(dependent, propagation="Foreground" if self._of(dependent.uid) else "")
        if waiting:
            return True  # the deletion of the last dependent brings the owner back here
        await self._release(entry, FOREGROUND)
        return True

    async def _orphan(self, entry: ServedObject) -> bool:
        """Take the owner out of its dependents, then let it go."""
        for dependent in self._of(entry.uid):
            await self._disown(dependent, {entry.uid})
        await self._release(entry, ORPHAN)
        return True

    async def _owned(self, entry: ServedObject) -> bool:
        """Delete an object none of whose owners exist; drop references to those that do not."""
        references = sequence(entry.object, "metadata", "ownerReferences")
        gone = {str(o.get("uid")) for o in references if self._is_gone(o, entry)}
        if not gone:
            return True
        await self._cache.fresh()
        gone = {str(o.get("uid")) for o in references if self._is_gone(o, entry)}
        if not gone:
            return True
        if len(gone) < len(references):
            await self._disown(entry, gone)
        else:
            await self._delete(entry)
        return True

    def _is_gone(self, reference: dict[str, Any], entry: ServedObject) -> bool:
        """Report whether an owner certainly does not exist; one of a kind that is not served is unknown."""
        if str(reference.get("uid")) in self._uids:
            return False
        try:
            group, version = parse_api_version(str(reference.get("apiVersion", "")))
        except HanseError:
            return False
        info = self._catalogue.by_kind(group, version, str(reference.get("kind", "")))
        if info is None:
            return False
        namespace = entry.key.namespace if info.namespaced else ""
        key = ObjectKey(*info.storage_key, namespace, str(reference.get("name", "")))
        if self._cache.unreadable(key):
            return False
        owner = self._cache.get(key)
        return owner is None or owner.uid != reference.get("uid")

    def _of(self, uid: str) -> list[ServedObject]:
        entries = (self._cache.get(key) for key in tuple(self._dependents.get(uid, ())))
        return [entry for entry in entries if entry is not None]

    async def _delete(self, entry: ServedObject, *, propagation: Any = "") -> None:
        info = self._catalogue.storage(entry.key.group, entry.key.resource)
        if info is None:
            return
        options = DeleteOptions(uid=entry.uid or None, propagation=propagation)
        try:
            await self._resources.delete(
                info, namespace=entry.key.namespace, name=entry.key.name, options=options
            )
        except NotFoundError:
            return

    async def _release(self, entry: ServedObject, finalizer: str) -> None:
        def change(obj: Object) -> Object | None:
            kept = [f for f in obj["metadata"].get("finalizers") or () if f != finalizer]
            return {**obj, "metadata": {**obj["metadata"], "finalizers": kept}}

        await self._modify(entry, change)

    async def _disown(self, entry: ServedObject, uids: Iterable[str]) -> None:
        gone = frozenset(uids)

        def change(obj: Object) -> Object | None:
            references = sequence(obj, "metadata", "ownerReferences")
            kept = [o for o in references if o.get("uid") not in gone]
            if len(kept) == len(references):
                return None
            return {**obj, "metadata": {**obj["metadata"], "ownerReferences": kept}}

        await self._modify(entry, change)

    async def _modify(self, entry: ServedObject, change: Any) -> None:
        info = self._catalogue.storage(entry.key.group, entry.key.resource)
        if info is not None:
            await self._resources.modify(
                info, namespace=entry.key.namespace, name=entry.key.name, change=change
            )


def _owner_uids(obj: Object) -> tuple[str, ...]:
    references = mapping(obj, "metadata").get("ownerReferences")
    return tuple(str(o.get("uid")) for o in references) if references else ()


def _finalized(namespace: Object) -> Object | None:
    spec = mapping(namespace, "spec")
    kept = [f for f in sequence(spec, "finalizers") if f != "kubernetes"]
    return {**namespace, "spec": {**spec, "finalizers": kept}}
