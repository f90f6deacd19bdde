"""Writes with Kubernetes' semantics: create, update, patch, apply, delete, each as one store transaction.

A write starts from the cached object, changes it with pure functions, and commits under a compare of its
revision; if somebody was faster, the failed transaction brings the newer object back and the change is made
again on it. Many writes run at once; there are no locks; large objects are worked at in a thread
(`hanse.turns`). Reads are in `hanse.kube.engine.cache`. Next: `hanse.kube.engine.lifecycle` for the rules,
`hanse.kube.engine.pipeline` for defaulting, admission and validation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from hanse.errors import (
    STORE_FULL,
    AlreadyExistsError,
    ConflictError,
    HanseError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnimplementedError,
)
from hanse.kube.engine import lifecycle, patching, unreadable
from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.entry import with_version
from hanse.kube.engine.expiry import EventLeases, is_event
from hanse.kube.engine.hooks import Admission, AdmissionRequest, Operation, Room
from hanse.kube.engine.options import DeleteOptions, PatchType, WriteOptions
from hanse.kube.engine.pipeline import Pipeline
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.conversion import to_served, to_stored
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.merge.apply import server_side_apply
from hanse.kube.model import status
from hanse.kube.model.objects import Object, gvk_of, mapping
from hanse.numbers import MAX_WHOLE, whole_number
from hanse.store import Compare, Delete, Get, KeyValue, Put, Store, TxnResult
from hanse.store.keys import ObjectKey
from hanse.turns import Turns, is_heavy

RETRIES = 16
"""How often a change that names no resourceVersion is made again on a newer object before it gives up."""

ROOM_ATTEMPTS = 3
"""How often a step of a deletion makes room in a full store: others may take what was made."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it is in the store. `cached` says that a newer one may exist.

    `unreadable` is the reason if what is stored cannot be read: then the object is what is served in its
    place.
    """

    object: Object
    revision: int
    cached: bool
    unreadable: str = ""


Changer = Callable[[Stored], Awaitable[Object]]


class ResourceStore:
    """Writes the objects of one server."""

    def __init__(
        self,
        store: Store,
        *,
        cache: ObjectCache,
        catalogue: Catalogue,
        admission: Sequence[Admission] = (),
        clock: Callable[[], datetime] | None = None,
        hidden: Sequence[str] = (),
        graceful_pods: bool = False,
        turns: Turns | None = None,
        event_leases: EventLeases | None = None,
        room: Room | None = None,
    ) -> None:
        """`graceful_pods` keeps scheduled Pods until a kubelet deletes them with grace 0. `turns` is where
        large objects are worked at. `event_leases` are the leases of Events, which stay for ever without.
        `room` guards what the store has room for."""
        self._turns = turns or Turns()
        self._event_leases = event_leases
        self._room = room
        self._store = store
        self._cache = cache
        self._catalogue = catalogue
        self._clock = clock or (lambda: datetime.now(UTC))
        self._hidden = frozenset(hidden)
        self._graceful_pods = graceful_pods
        self._pipeline = Pipeline(
            catalogue, admission=admission, clock=self._clock, turns=self._turns, added=cache.added_fields
        )

    # Create.

    async def create(
        self, info: ResourceInfo, obj: Object, *, namespace: str = "", options: WriteOptions | None = None
    ) -> Object:
        """Create an object and return it as served. `namespace` may also be in the object.

        Raises AlreadyExistsError, InvalidArgumentError (InvalidObjectError for broken rules), NotFoundError
        for a namespace that does not exist, PermissionDeniedError for one that is being deleted.
        """
        options = options or WriteOptions()
        self._check_writable(info, "create")
        _check_kind(info, obj)
        obj = await self._turns.run(is_heavy(obj), self._pipeline.decode, info, obj, options)
        namespace = _namespace(info, obj, namespace)
        metadata = mapping(obj, "metadata")
        if metadata.get("resourceVersion"):
            raise InvalidArgumentError("resourceVersion should not be set on objects to be created")
        name = metadata.get("name") or ""
        if name:
            return await self._create(info, obj, namespace=namespace, name=name, options=options)
        prefix = metadata.get("generateName") or ""
        if not prefix:
            cause = status.Cause(
                "FieldValueRequired", "Required value: name or generateName is required", "metadata.name"
            )
            raise lifecycle.invalid(info, "", cause)
        for attempt in range(RETRIES):
            name = lifecycle.generate_name(prefix)
            try:
                return await self._create(info, obj, namespace=namespace, name=name, options=options)
            except AlreadyExistsError:
                if attempt == RETRIES - 1:
                    raise
        raise AssertionError("unreachable")

    async def _create(
        self, info: ResourceInfo, obj: Object, *, namespace: str, name: str, options: WriteOptions
    ) -> Object:
        key = _key(info, namespace, name)
        space = await self._check_namespace(namespace) if namespace else None
        stored = to_stored(info, obj, current=None)
        new = lifecycle.for_create(info, stored, namespace=namespace, name=name, now=self._clock())
        new = await self._pipeline.run(info, key, new, None, operation="CREATE", options=options)
        return await self._insert(info, key, new, space=space, options=options)

    async def _insert(
        self, info: ResourceInfo, key: ObjectKey, new: Object, *, space: Stored | None, options: WriteOptions
    ) -> Object:
        """Store a new object, if its namespace `space` is still the one that was checked.

        The namespace is only compared, so creates do not get into each other's way; if it was changed, it is
        checked again.
        """
        if options.dry_run:
            if await self._current(key) is not None:
                raise _exists(info, key)
            return self._shown(info, key, new, 0)
        path = key.key()
        value = orjson.dumps(new)
        if self._room is not None:
            self._room.check_room(len(value) + len(path))
        for _ in range(RETRIES):
            compares, reads = [Compare.absent(path)], [Get(path)]
            if space is not None:
                space_path = _space_key(key.namespace).key()
                compares.append(Compare.mod(space_path, space.revision))
                reads.append(Get(space_path))
            result = await self._put(key, value, compares, reads)
            if result.succeeded:
                await self._written(key, result.revision)
                return self._shown(info, key, new, result.revision)
            if _found(result, key) is not None:
                raise _exists(info, key)
            if space is not None:
                found = _found(result, _space_key(key.namespace), 1)
                space = _open_namespace(key.namespace, found)
        raise _busy(info, key)

    async def _check_namespace(self, namespace: str) -> Stored:
        """Return the namespace, having checked that it takes new objects."""
        return _open_namespace(namespace, await self._current(_space_key(namespace)))

    # Update, patch, apply.

    async def update(
        self,
        info: ResourceInfo,
        obj: Object,
        *,
        namespace: str = "",
        name: str = "",
        subresource: str = "",
        options: WriteOptions | None = None,
    ) -> Object:
        """Replace an object, or its `status`, and return it as served.

        A resourceVersion in the object is an optimistic lock. Raises NotFoundError, ConflictError,
        InvalidArgumentError.
        """
        options = options or WriteOptions()
        self._check_writable(info, "update")
        _check_kind(info, obj)
        obj = await self._turns.run(is_heavy(obj), self._pipeline.decode, info, obj, options)
        namespace = _namespace(info, obj, namespace)
        name = _name(obj, name)
        version = str(mapping(obj, "metadata").get("resourceVersion") or "")
        key = _key(info, namespace, name)

        async def change(current: Stored) -> Object:
            self.check_version(info, key, version, current.revision)
            new = to_stored(info, obj, current=current.object)
            return await self._updated(info, key, new, current, subresource=subresource, options=options)

        return await self._write(info, key, change, options=options)

    async def patch(
        self,
        info: ResourceInfo,
        *,
        namespace: str = "",
        name: str,
        patch: Any,
        patch_type: PatchType,
        subresource: str = "",
        options: WriteOptions | None = None,
    ) -> tuple[Object, bool]:
        """Patch an object; return it as served, and whether that created it (server-side apply only).

        `patch` is decoded JSON. Raises as `update`; StatusConflictError if an apply meets other managers.
        """
        options = options or WriteOptions()
        self._check_writable(info, "patch")
        key = _key(info, namespace, name)
        if patch_type == "apply":
            return await self._apply(info, key, patch, subresource=subresource, options=options)
        wanted = patching.wanted_version(patch)

        async def change(current: Stored) -> Object:
            self.check_version(info, key, wanted, current.revision)
            base = with_version(to_served(info, current.object), current.revision)
            heavy = is_heavy(base) or is_heavy(patch)
            patched = await self._turns.run(heavy, self._pipeline.patch, info, base, patch, patch_type)
            try:
                _check_kind(info, patched)
                heavy = heavy or is_heavy(patched)
                patched = await self._turns.run(heavy, self._pipeline.decode, info, patched, options)
            except status.InvalidObjectError:
                raise
            except InvalidArgumentError as error:
                raise patching.bad_result(error) from error
            version = str(mapping(patched, "metadata").get("resourceVersion") or "")
            if version != base["metadata"]["resourceVersion"]:
                self.check_version(info, key, version, current.revision)
            new = to_stored(info, patched, current=current.object)
            return await self._updated(info, key, new, current, subresource=subresource, options=options)

        return await self._write(info, key, change, options=options), False

    async def _apply(
        self, info: ResourceInfo, key: ObjectKey, applied: Object, *, subresource: str, options: WriteOptions
    ) -> tuple[Object, bool]:
        _check_kind(info, applied)
        heavy = is_heavy(applied)
        strict = replace(options, field_validation="Strict")
        applied = await self._turns.run(heavy, self._pipeline.decode, info, applied, strict, keep_nulls=True)
        if _name(applied, key.name) != key.name or _namespace(info, applied, key.namespace) != key.namespace:
            raise InvalidArgumentError("the object's name and namespace must be those of the request")
        schema = self._pipeline.schema(info)

        def merged(live: Object | None) -> Object:
            try:
                result = server_side_apply(
                    live, applied, manager=options.field_manager, force=options.force, schema=schema,
                    now=self._clock(), subresource=subresource,
                )  # fmt: skip
                return result if result is live else self._pipeline.decode(info, result, options)
            except ConflictError as error:
                raise patching.conflict(info, key, error) from error

        async def change(current: Stored) -> Object:
            live = with_version(to_served(info, current.object), current.revision)
            new = await self._turns.run(heavy or is_heavy(live), merged, live)
            if new is live:
                return current.object
            stored = to_stored(info, new, current=current.object)
            return await self._updated(
                info, key, stored, current, subresource=subresource, options=options, applied=True
            )

        for _ in range(RETRIES):
            if await self._current(key) is not None or subresource:
                try:
                    return await self._write(info, key, change, options=options), False
                except NotFoundError:
                    if subresource:
                        raise
            space = await self._check_namespace(key.namespace) if key.namespace else None
            new = to_stored(info, await self._turns.run(heavy, merged, None), current=None)
            new = lifecycle.for_create(info, new, namespace=key.namespace, name=key.name, now=self._clock())
            new = await self._pipeline.run(
                info, key, new, None, operation="CREATE", options=options, applied=True
            )
            try:
                return await self._insert(info, key, new, space=space, options=options), True
            except AlreadyExistsError:
                continue
        raise _busy(info, key)

    async def modify(
        self,
        info: ResourceInfo,
        *,
        namespace: str = "",
        name: str,
        change: Callable[[Object], Object | None],
        subresource: str = "",
        options: WriteOptions | None = None,
    ) -> Object:
        """Read, change and write an object, again if somebody was faster; return it as served.

        `change` gets the object (without hidden annotations) and returns the new one, or None for no write.
        It may be called several times.
        """
        options = options or WriteOptions()
        self._check_writable(info, "update")
        key = _key(info, namespace, name)

        async def apply(current: Stored) -> Object:
            shown = with_version(to_served(info, current.object), current.revision, hidden=self._hidden)
            changed = change(shown)
            if changed is None:
                return current.object
            new = to_stored(info, changed, current=current.object)
            return await self._updated(info, key, new, current, subresource=subresource, options=options)

        return await self._write(info, key, apply, options=options)

    async def release(self, info: ResourceInfo, *, namespace: str = "", name: str, finalizer: str) -> None:
        """Take a finalizer off, whatever else is in the object: what another release has let in must not
        keep it from going. Raises NotFoundError."""
        key = _key(info, namespace, name)

        async def change(current: Stored) -> Object:
            metadata = mapping(current.object, "metadata")
            present = metadata.get("finalizers") or []
            kept = [each for each in present if each != finalizer]
            if len(kept) == len(present):
                return current.object
            return {**current.object, "metadata": {**metadata, "finalizers": kept}}

        await self._write(info, key, change, options=WriteOptions())

    async def _updated(
        self,
        info: ResourceInfo,
        key: ObjectKey,
        new: Object,
        current: Stored,
        *,
        subresource: str,
        options: WriteOptions,
        applied: bool = False,
    ) -> Object:
        """Return what to store; the stored object itself if nothing changes."""
        old = current.object
        new = lifecycle.for_update(info, new, old, subresource=subresource)
        new = unreadable.unmarked(lifecycle.with_hidden(new, old, self._hidden))
        new = await self._pipeline.run(
            info, key, new, old, operation="UPDATE", options=options, subresource=subresource, applied=applied
        )
        if lifecycle.unchanged(new, old, hidden=self._hidden):
            return old
        if lifecycle.spec_changed(info, new, old):
            new = lifecycle.bumped(new, old)
        return new

    async def _write(
        self, info: ResourceInfo, key: ObjectKey, change: Changer, *, options: WriteOptions
    ) -> Object:
        """Run `change` on the current object and commit what it returns, until nobody interferes."""
        current = await self._current(key)
        for _ in range(RETRIES):
            if current is None:
                raise _not_found(info, key)
            if current.unreadable:
                raise unreadable.refusal(key, current.unreadable)
            try:
                new = await change(current)
            except HanseError:
                if not current.cached:
                    raise
                current = await self._read(key)
                continue
            if new is current.object and current.cached and not self._cache.is_fresh:
                current = await self._read(key)
                continue
            if new is current.object or options.dry_run:
                return self._shown(info, key, new, current.revision)
            done, current = await self._commit(key, new, current)
            if done is not None:
                return self._shown(info, key, new, done)
        raise _busy(info, key)

    async def _commit(self, key: ObjectKey, new: Object, current: Stored) -> tuple[int | None, Stored | None]:
        """Store `new`, or remove it if nothing keeps it; return the revision, or what somebody else wrote.

        A step of a deletion makes room for itself if the store is full. etcd may refuse what it has written
        (its quota is looked at again as a write is applied): then the step is done, and is not taken again
        for what has come in its place.
        """
        leaving = bool(new["metadata"].get("deletionTimestamp")) or lifecycle.has_finished_deletion(new)
        if self._room is not None and self._room.tight and not leaving:
            self._room.check_room(len(orjson.dumps(new)) - len(orjson.dumps(current.object)))
        for attempt in range(ROOM_ATTEMPTS + 1):
            try:
                result = await self._replace(key, new, current.revision)
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
        if attempt and (found is None or found.object == new or _uid(found.object) != _uid(new)):
            return found.revision if found and found.object == new else result.revision, None
        return None, found

    async def _replace(self, key: ObjectKey, new: Object, revision: int) -> TxnResult:
        """Write an object that was written at `revision`, or delete it if nothing keeps it; else read it."""
        path = key.key()
        compares, reads = [Compare.mod(path, revision)], [Get(path)]
        if lifecycle.has_finished_deletion(new):
            return await self._store.txn(compares, [Delete(path)], reads)
        return await self._put(key, orjson.dumps(new), compares, reads)

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

    # Delete.

    async def delete(
        self, info: ResourceInfo, *, namespace: str = "", name: str, options: DeleteOptions | None = None
    ) -> tuple[Object, bool]:
        """Delete an object; return it as it was or is now, and whether it is gone already.

        One that is stored and cannot be read is deleted as well: where members may have it, what replaces it
        in the store waits for them, and for finalizers, like any object that is being deleted.

        Raises NotFoundError; ConflictError if a precondition does not hold.
        """
        options = options or DeleteOptions()
        self._check_writable(info, "delete")
        key = _key(info, namespace, name)
        current = await self._current(key)
        for _ in range(RETRIES):
            if current is None:
                raise _not_found(info, key)
            old = self._tombstone(info, key, current) if current.unreadable else current.object
            try:
                self._check_preconditions(info, key, options, current)
                await self._pipeline.admit_delete(info, key, old, options)
            except HanseError:
                if not current.cached:
                    raise
                current = await self._read(key)
                continue
            plan = lifecycle.for_delete(
                info, old, now=self._clock(), propagation=options.propagation,
                grace_seconds=options.grace_seconds, graceful_pods=self._graceful_pods,
            )  # fmt: skip
            unchanged = not plan.remove and plan.object == old and not current.unreadable
            if options.dry_run or unchanged:
                return self._shown(info, key, plan.object, current.revision), plan.remove
            done, current = await self._commit(key, plan.object, current)
            if done is not None:
                return self._shown(info, key, plan.object, done), plan.remove
        raise _busy(info, key)

    def _tombstone(self, info: ResourceInfo, key: ObjectKey, current: Stored) -> Object:
        """Return what is deleted in place of an unreadable object: what can be read, with all that must be
        waited for before it may go."""
        stored = self._catalogue.storage(key.group, key.resource) or info
        metadata = mapping(current.object, "metadata")
        present = metadata.get("finalizers") or []
        missing = [name for name in self._cache.keepers(key) if name not in present]
        obj = {"apiVersion": stored.api_version, "kind": stored.kind, **current.object}
        if key.group == "" and key.resource == "namespaces":
            obj["spec"] = {**mapping(obj, "spec"), "finalizers": ["kubernetes"]}
        return {**obj, "metadata": {**metadata, "finalizers": [*present, *missing]}}

    def _check_preconditions(
        self, info: ResourceInfo, key: ObjectKey, options: DeleteOptions, current: Stored
    ) -> None:
        uid = current.object["metadata"].get("uid")
        if options.uid is not None and options.uid != uid:
            raise _conflict(
                info,
                key,
                f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {uid}",
            )
        if options.resource_version is not None:
            self.check_version(info, key, options.resource_version, current.revision)

    # Shared.

    def _check_writable(self, info: ResourceInfo, verb: str) -> None:
        if info.virtual or verb not in info.verbs:
            raise UnimplementedError(
                f"the server does not allow {verb} on {info.group_resource}: it is read-only",
                metadata={"kind": info.plural, "group": info.group},
            )

    def check_version(self, info: ResourceInfo, key: ObjectKey, version: str, revision: int) -> None:
        """Compare the resourceVersion that a client holds with the revision of the stored object.

        What is served may be newer than the intent (a view adds status), so a newer version is no conflict:
        it only says that the client saw a later status of the same intent. Raises ConflictError.
        """
        if not version or version == "0":
            return
        wanted = whole_number(version)
        if wanted is None:
            message = f'Invalid value: "{version[:40]}": must be a whole number of at most {MAX_WHOLE}'
            cause = status.Cause("FieldValueInvalid", message, "metadata.resourceVersion")
            raise lifecycle.invalid(info, key.name, cause)
        if wanted == revision:
            return
        if self._cache.has_view and wanted > revision:
            return
        raise _conflict(
            info,
            key,
            "the object has been modified; please apply your changes to the latest version and try again",
        )

    def _shown(self, info: ResourceInfo, key: ObjectKey, stored: Object, revision: int) -> Object:
        shown = to_served(info, self._cache.served(key, stored, revision))
        if not revision:  # a dry run, of which no revision comes
            shown["metadata"].pop("resourceVersion", None)
        return shown

    async def _current(self, key: ObjectKey) -> Stored | None:
        entry = self._cache.get(key)
        if entry is not None and entry.intent is not None:
            why = self._cache.unreadable(key)
            return Stored(entry.intent, entry.intent_revision, cached=True, unreadable=why)
        return await self._read(key)

    async def _read(self, key: ObjectKey) -> Stored | None:
        kv = await self._store.get(key.key())
        return _stored(key, kv) if kv else None


def _stored(key: ObjectKey, kv: KeyValue) -> Stored:
    obj, why = unreadable.decode(key, kv.value)
    return Stored(obj, kv.mod_revision, cached=False, unreadable=why)


def _found(result: TxnResult, key: ObjectKey, index: int = 0) -> Stored | None:
    """Return what the read with this index found in a transaction that failed."""
    found = result.responses[index]
    if found is None or not found.items:
        return None
    return _stored(key, found.items[0])


def _key(info: ResourceInfo, namespace: str, name: str) -> ObjectKey:
    return ObjectKey(info.storage_group, info.storage_resource, namespace if info.namespaced else "", name)


def _uid(obj: Object) -> Any:
    return mapping(obj, "metadata").get("uid")


def _check_kind(info: ResourceInfo, obj: Object) -> None:
    gvk = gvk_of(obj)
    if (gvk.group, gvk.version, gvk.kind) != (info.group, info.version, info.kind):
        raise InvalidArgumentError(
            f"the object is {obj.get('apiVersion')} {obj.get('kind')}, the request is for"
            f" {info.api_version} {info.kind}"
        )
    if not isinstance(obj.get("metadata", {}), dict):
        raise InvalidArgumentError("metadata must be an object")


def _namespace(info: ResourceInfo, obj: Object, namespace: str) -> str:
    given = mapping(obj, "metadata").get("namespace") or ""
    if not info.namespaced:
        if given:
            raise InvalidArgumentError("namespace must not be set on an object without a namespace")
        return ""
    if given and namespace and given != namespace:
        raise InvalidArgumentError(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if not (namespace or given):
        raise InvalidArgumentError(f"a {info.kind} needs a namespace")
    return str(namespace or given)


def _name(obj: Object, name: str) -> str:
    given = mapping(obj, "metadata").get("name") or ""
    if name and given and name != given:
        raise InvalidArgumentError(
            f"the name of the object ({given}) does not match the name on the URL ({name})"
        )
    if not (name or given):
        raise InvalidArgumentError("the object has no name")
    return str(name or given)


def _details(info: ResourceInfo, key: ObjectKey) -> dict[str, str]:
    return {"name": key.name, "group": info.group, "kind": info.plural}


def _not_found(info: ResourceInfo, key: ObjectKey) -> NotFoundError:
    return NotFoundError(f'{info.group_resource} "{key.name}" not found', metadata=_details(info, key))


def _exists(info: ResourceInfo, key: ObjectKey) -> AlreadyExistsError:
    message = f'{info.group_resource} "{key.name}" already exists'
    return AlreadyExistsError(message, metadata=_details(info, key))


def _conflict(info: ResourceInfo, key: ObjectKey, why: str) -> ConflictError:
    message = f'Operation cannot be fulfilled on {info.group_resource} "{key.name}": {why}'
    return ConflictError(message, metadata=_details(info, key))


def _busy(info: ResourceInfo, key: ObjectKey) -> ConflictError:
    return _conflict(info, key, f"it changed {RETRIES} times while this write was made; try again")


def _space_key(namespace: str) -> ObjectKey:
    return ObjectKey("", "namespaces", "", namespace)


def _open_namespace(namespace: str, space: Stored | None) -> Stored:
    """Return a namespace if it takes new objects. Raises NotFoundError, PermissionDeniedError."""
    about = {"name": namespace, "kind": "namespaces"}
    if space is None:
        raise NotFoundError(f'namespaces "{namespace}" not found', metadata=about)
    if space.object["metadata"].get("deletionTimestamp"):
        raise PermissionDeniedError(
            f"unable to create new content in namespace {namespace} because it is being terminated",
            metadata=about,
        )
    return space


__all__ = ["AdmissionRequest", "Operation", "ResourceStore", "Stored"]
