"""Update, patch and modify: an object that is there, changed by a pure function.

`write` runs the change on the object as the cache has it and commits under a compare of its revision; if
somebody was faster, the change is made again on the newer object, which the failed transaction brought.
Nothing is locked, and large objects are worked at in a thread (`hanse.turns`). Next:
`hanse.kube.engine.lifecycle` for what an update may change, `hanse.kube.engine.resources.preparation` for
what every write goes through.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from hanse.errors import HanseError, InvalidArgumentError
from hanse.kube.engine import lifecycle, unreadable
from hanse.kube.engine.options import WriteOptions
from hanse.kube.engine.resources import checks, errors
from hanse.kube.engine.resources.context import WriteContext
from hanse.kube.engine.resources.transactions import ATTEMPTS, StoredObject
from hanse.kube.engine.served import with_version
from hanse.kube.kinds.conversion import to_served, to_stored
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.objects import Object, mapping
from hanse.kube.model.status import Cause, InvalidObjectError
from hanse.store.keys import ObjectKey
from hanse.turns import is_heavy

StoredChange = Callable[[StoredObject], Awaitable[Object]]
"""Returns what to store in place of an object; the very object itself if nothing changes."""


class ObjectUpdates:
    """Changes objects."""

    def __init__(self, context: WriteContext) -> None:
        self._context = context

    async def update(
        self,
        info: ResourceInfo,
        obj: Object,
        *,
        namespace: str,
        name: str,
        subresource: str,
        options: WriteOptions,
    ) -> Object:
        """Replace an object and return it as served. See `ResourceStore.update`."""
        context = self._context
        checks.check_writable(info, "update")
        checks.check_kind(info, obj)
        obj = await context.turns.run(is_heavy(obj), context.preparation.decode, info, obj, options)
        namespace = checks.namespace_of(info, obj, namespace)
        key = checks.key_of(info, namespace, checks.name_of(obj, name))
        version = str(mapping(obj, "metadata").get("resourceVersion") or "")
        if info.strategy.requires_version and version in ("", "0"):
            message = "Invalid value: 0: must be specified for an update"
            raise lifecycle.invalid(
                info, key.name, Cause("FieldValueInvalid", message, "metadata.resourceVersion")
            )
        await context.await_version(version)

        async def change(current: StoredObject) -> Object:
            context.check_version(info, key, version, current.revision)
            new = to_stored(info, obj, current=current.object)
            return await self.prepared(info, key, new, current, subresource=subresource, options=options)

        return await self.write(info, key, change, options=options)

    async def patch(
        self,
        info: ResourceInfo,
        key: ObjectKey,
        patch: Any,
        *,
        patch_type: Literal["json", "merge", "strategic"],
        subresource: str,
        options: WriteOptions,
    ) -> Object:
        """Patch an object and return it as served. See `ResourceStore.patch`."""
        context = self._context
        wanted = checks.version_of_patch(patch)
        await context.await_version(wanted)

        async def change(current: StoredObject) -> Object:
            context.check_version(info, key, wanted, current.revision)
            base = with_version(to_served(info, current.object), current.revision)
            heavy = is_heavy(base) or is_heavy(patch)
            patched = await context.turns.run(heavy, context.preparation.patch, info, base, patch, patch_type)
            try:
                checks.check_kind(info, patched)
                heavy = heavy or is_heavy(patched)
                patched = await context.turns.run(heavy, context.preparation.decode, info, patched, options)
            except InvalidObjectError:
                raise
            except InvalidArgumentError as error:
                raise errors.bad_patch_result(error) from error
            version = str(mapping(patched, "metadata").get("resourceVersion") or "")
            if version != base["metadata"]["resourceVersion"]:
                context.check_version(info, key, version, current.revision)
            new = to_stored(info, patched, current=current.object)
            return await self.prepared(info, key, new, current, subresource=subresource, options=options)

        return await self.write(info, key, change, options=options)

    async def modify(
        self,
        info: ResourceInfo,
        key: ObjectKey,
        change: Callable[[Object], Object | None],
        *,
        subresource: str,
        options: WriteOptions,
    ) -> Object:
        """Read, change and write an object; return it as served. See `ResourceStore.modify`."""
        checks.check_writable(info, "update")

        async def changed(current: StoredObject) -> Object:
            shown = with_version(
                to_served(info, current.object), current.revision, hidden=self._context.hidden
            )
            result = change(shown)
            if result is None:
                return current.object
            new = to_stored(info, result, current=current.object)
            return await self.prepared(info, key, new, current, subresource=subresource, options=options)

        return await self.write(info, key, changed, options=options)

    async def release(self, info: ResourceInfo, key: ObjectKey, *, finalizer: str) -> None:
        """Take a finalizer off. See `ResourceStore.release`."""

        async def change(current: StoredObject) -> Object:
            metadata = mapping(current.object, "metadata")
            present = metadata.get("finalizers") or []
            kept = [each for each in present if each != finalizer]
            if len(kept) == len(present):
                return current.object
            return {**current.object, "metadata": {**metadata, "finalizers": kept}}

        await self.write(info, key, change, options=WriteOptions())

    async def prepared(
        self,
        info: ResourceInfo,
        key: ObjectKey,
        new: Object,
        current: StoredObject,
        *,
        subresource: str,
        options: WriteOptions,
        applied: bool = False,
    ) -> Object:
        """Return what to store; the stored object itself if nothing changes."""
        old, hidden = current.object, self._context.hidden
        now = self._context.clock()
        new = lifecycle.for_update(info, new, old, subresource=subresource, now=now)
        new = unreadable.unmarked(lifecycle.with_hidden(new, old, hidden))
        new = await self._context.preparation.prepare(
            info, key, new, old, operation="UPDATE", options=options, subresource=subresource, applied=applied
        )
        if lifecycle.unchanged(new, old, hidden=hidden):
            return old
        if lifecycle.spec_changed(info, new, old):
            new = lifecycle.bumped(new, old)
        return new

    async def write(
        self, info: ResourceInfo, key: ObjectKey, change: StoredChange, *, options: WriteOptions
    ) -> Object:
        """Run `change` on the current object and commit what it returns, until nobody interferes.

        Returns the object as served. Raises NotFoundError, ConflictError, and what `change` raises.
        """
        context = self._context
        transactions = context.transactions
        current = await transactions.current(key)
        for _ in range(ATTEMPTS):
            if current is None:
                raise errors.not_found(info, key)
            if current.unreadable:
                raise unreadable.refusal(key, current.unreadable)
            try:
                new = await change(current)
            except HanseError:
                if not current.cached:
                    raise
                current = await transactions.read(key)
                continue
            if new is current.object and current.cached and not context.cache.is_fresh:
                current = await transactions.read(key)
                continue
            if new is current.object or options.dry_run:
                return context.shown(info, key, new, current.revision)
            done, current = await transactions.replace(key, new, current)
            if done is not None:
                return context.shown(info, key, new, done)
        raise errors.too_busy(info, key, attempts=ATTEMPTS)
