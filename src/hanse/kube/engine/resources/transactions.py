"""Each write as one store transaction: what is stored, and how it is replaced if nobody was faster.

A transaction compares the revision of what was read; one that fails brings the newer object back. Owns the
leases of Events and the steps of a deletion in a full store. Many run at once; there are no locks. Next:
`hanse.kube.engine.resources.update` and `hanse.kube.engine.resources.create`, which try again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from hanse.errors import STORE_FULL, NotFoundError, ResourceExhaustedError
from hanse.kube.engine import unreadable
from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.expiry import EventLeases, is_event
from hanse.kube.engine.hooks import FinalizedEnds, ObjectEnd, ObjectEnds, Room
from hanse.kube.engine.resources import errors
from hanse.kube.engine.resources.sizes import check_stored_size
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.kubernetes import core
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.objects import Object, is_deleting, mapping
from hanse.store import Compare, Delete, Get, KeyValue, Put, Store, TxnResult
from hanse.store.keys import ObjectKey

ATTEMPTS = 16
"""How often a write that names no resourceVersion is made again on a newer object before it gives up."""

ROOM_ATTEMPTS = 3
"""How often a step of a deletion makes room in a full store: others may take what was made."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it is in the store. `cached` says that a newer one may exist.

    `unreadable` is the reason if what is stored cannot be read: then the object is what is served in its
    place.
    """

    object: Object
    revision: int
    cached: bool
    unreadable: str = ""

    @property
    def uid(self) -> str | None:
        """Return metadata.uid."""
        return mapping(self.object, "metadata").get("uid")


class ObjectTransactions:
    """Reads and writes single objects of a store."""

    def __init__(
        self,
        store: Store,
        *,
        cache: ObjectCache,
        catalogue: Catalogue,
        event_leases: EventLeases | None,
        room: Room | None,
        ends: ObjectEnds | None = None,
    ) -> None:
        """`event_leases` are the leases of Events, which stay for ever without. `room` guards what the store
        has room for. `ends` says which objects leave the store; without, finalizers do."""
        self._store = store
        self._cache = cache
        self._catalogue = catalogue
        self._event_leases = event_leases
        self._room = room
        self._ends = ends or FinalizedEnds()

    async def current(self, key: ObjectKey) -> StoredObject | None:
        """Return an object as the cache has it, from the store if it has none."""
        entry = self._cache.get(key)
        if entry is not None and entry.intent is not None:
            why = self._cache.unreadable(key)
            return StoredObject(entry.intent, entry.intent_revision, cached=True, unreadable=why)
        return await self.read(key)

    async def read(self, key: ObjectKey) -> StoredObject | None:
        """Return an object as it is in the store now."""
        kv = await self._store.get(key.key())
        return _stored(key, kv) if kv else None

    async def open_namespace(self, namespace: str) -> StoredObject:
        """Return a namespace that takes new objects. Raises NotFoundError, PermissionDeniedError."""
        return _check_open(namespace, await self.current(_namespace_key(namespace)))

    async def insert(
        self, info: ResourceInfo, key: ObjectKey, new: Object, *, namespace: StoredObject | None
    ) -> int:
        """Store a new object, if its namespace is still the one that was checked; return the revision.

        The namespace is only compared, so creates do not get into each other's way; if it was changed, it is
        checked again. Raises AlreadyExistsError, and what `open_namespace` raises.
        """
        path = key.key()
        value = self._encoded(key, new)
        if self._room is not None:
            self._room.check_room(len(value) + len(path))
        space = _namespace_key(key.namespace)
        for _ in range(ATTEMPTS):
            compares, reads = [Compare.absent(path)], [Get(path)]
            if namespace is not None:
                compares.append(Compare.mod(space.key(), namespace.revision))
                reads.append(Get(space.key()))
            result = await self._put(key, value, compares, reads)
            if result.succeeded:
                await self._written(key, result.revision)
                return result.revision
            if _found(result, key) is not None:
                raise errors.already_exists(info, key)
            if namespace is not None:
                namespace = _check_open(key.namespace, _found(result, space, 1))
        raise errors.too_busy(info, key, attempts=ATTEMPTS)

    def end_of(self, key: ObjectKey, new: Object, current: StoredObject) -> ObjectEnd | None:
        """Return how an object leaves the store that would be stored as `new`; None if it stays."""
        return self._ends.end_of(key, current.object, new) if is_deleting(new) else None

    async def replace(
        self, key: ObjectKey, new: Object, current: StoredObject
    ) -> tuple[int | None, StoredObject | None]:
        """Store `new`, or remove it if nothing keeps it; return the revision, or what somebody else wrote.

        A step of a deletion makes room for itself if the store is full. etcd may refuse what it has written
        (its quota is looked at again as a write is applied): then the step is done, and is not taken again
        for what has come in its place.
        """
        leaving = is_deleting(new)
        end = self.end_of(key, new, current)
        if self._room is not None and self._room.tight and not leaving:
            self._room.check_room(len(orjson.dumps(new)) - len(orjson.dumps(current.object)))
        for attempt in range(ROOM_ATTEMPTS + 1):
            try:
                result = await self._replace(key, new, current.revision, end)
                break
            except ResourceExhaustedError as error:
                room = self._room if error.reason == STORE_FULL and leaving else None
                if room is None or attempt == ROOM_ATTEMPTS or not await room.make_room():
                    raise
        if result.succeeded:
            await self._written(key, result.revision)
            stored = self._catalogue.storage(key.group, key.resource)
            if stored is None or "status" in stored.subresources:
                await self._cache.settled(result.revision)
            return result.revision, None
        found = _found(result, key)
        if end is not None and end.compares and found is not None:
            await self._cache.reached(
                result.revision
            )  # what it depends on has changed, perhaps not the object
        uid = mapping(new, "metadata").get("uid")
        if attempt and (found is None or found.object == new or found.uid != uid):
            return found.revision if found and found.object == new else result.revision, None
        return None, found

    async def _replace(self, key: ObjectKey, new: Object, revision: int, end: ObjectEnd | None) -> TxnResult:
        """Write an object that was written at `revision`, or delete it as `end` says; else read it."""
        path = key.key()
        compares, reads = [Compare.mod(path, revision)], [Get(path)]
        if end is not None:
            return await self._store.txn([*compares, *end.compares], [Delete(path), *end.ops], reads)
        return await self._put(key, self._encoded(key, new), compares, reads)

    def _encoded(self, key: ObjectKey, new: Object) -> bytes:
        value = orjson.dumps(new)
        builtin = self._catalogue.is_builtin(key.group, key.resource)
        check_stored_size(key, new, encoded=len(value), builtin=builtin)
        return value

    async def _put(
        self, key: ObjectKey, value: bytes, compares: Sequence[Compare], reads: Sequence[Get]
    ) -> TxnResult:
        """Write an object if all `compares` hold, else read; an Event with a lease from now on."""
        leases = self._event_leases if is_event(key) else None
        lease = await leases.lease() if leases is not None else 0
        try:
            return await self._store.txn(compares, [Put(key.key(), value, lease)], reads)
        except NotFoundError:
            if leases is None:
                raise
        leases.forget(lease)  # it has ended: revoked by somebody, or the clocks differ
        return await self._store.txn(compares, [Put(key.key(), value, await leases.lease())], reads)

    async def _written(self, key: ObjectKey, revision: int) -> None:
        """Let later reads wait for a write; that of a CRD waits itself, so that its kind is served then."""
        self._cache.expect(revision)
        if key.group == "apiextensions.k8s.io":
            await self._cache.fresh()


def _stored(key: ObjectKey, kv: KeyValue) -> StoredObject:
    obj, why = unreadable.decode(key, kv.value)
    return StoredObject(obj, kv.mod_revision, cached=False, unreadable=why)


def _found(result: TxnResult, key: ObjectKey, index: int = 0) -> StoredObject | None:
    """Return what the read with this index found in a transaction that failed."""
    found = result.responses[index]
    if found is None or not found.items:
        return None
    return _stored(key, found.items[0])


def _namespace_key(namespace: str) -> ObjectKey:
    return ObjectKey(*core.NAMESPACE.group_plural, "", namespace)


def _check_open(namespace: str, found: StoredObject | None) -> StoredObject:
    if found is None:
        raise errors.no_namespace(namespace)
    if is_deleting(found.object):
        raise errors.terminating(namespace)
    return found
