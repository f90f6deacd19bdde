"""Server-side apply: what a manager wants of an object, merged into it, which is created if it is not there.

Stateless but for its context. Next: `hanse.kube.merge.apply`, the merge itself, a pure function.
"""

from __future__ import annotations

from dataclasses import replace

from hanse.errors import AlreadyExistsError, ConflictError, InvalidArgumentError, NotFoundError
from hanse.kube.engine.options import WriteOptions
from hanse.kube.engine.resources import checks, errors
from hanse.kube.engine.resources.context import WriteContext
from hanse.kube.engine.resources.create import ObjectCreation
from hanse.kube.engine.resources.transactions import ATTEMPTS, StoredObject
from hanse.kube.engine.resources.update import ObjectUpdates
from hanse.kube.engine.served import with_version
from hanse.kube.kinds.conversion import to_served, to_stored
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.merge.apply import server_side_apply
from hanse.kube.model.objects import Object, mapping
from hanse.store.keys import ObjectKey
from hanse.turns import is_heavy


class ServerSideApply:
    """Applies objects."""

    def __init__(self, context: WriteContext, *, creation: ObjectCreation, updates: ObjectUpdates) -> None:
        self._context = context
        self._creation = creation
        self._updates = updates

    async def apply(
        self, info: ResourceInfo, key: ObjectKey, applied: Object, *, subresource: str, options: WriteOptions
    ) -> tuple[Object, bool]:
        """Apply an object; return it as served, and whether that created it. See `ResourceStore.patch`."""
        context = self._context
        preparation, turns = context.preparation, context.turns
        checks.check_kind(info, applied)
        heavy = is_heavy(applied)
        strict = replace(options, field_validation="Strict")
        applied = await turns.run(heavy, preparation.decode, info, applied, strict, keep_nulls=True)
        named = checks.name_of(applied, key.name), checks.namespace_of(info, applied, key.namespace)
        if named != (key.name, key.namespace):
            raise InvalidArgumentError("the object's name and namespace must be those of the request")
        schema = preparation.schema(info)

        version = str(mapping(applied, "metadata").get("resourceVersion") or "")
        await context.await_version(version)

        def merged(live: Object | None) -> Object:
            try:
                result = server_side_apply(
                    live, applied, manager=options.field_manager, force=options.force, schema=schema,
                    now=context.clock(), subresource=subresource,
                )  # fmt: skip
                return result if result is live else preparation.decode(info, result, options)
            except ConflictError as error:
                raise errors.apply_conflict(info, key, error) from error

        async def change(current: StoredObject) -> Object:
            live = with_version(to_served(info, current.object), current.revision)
            if version:
                context.check_version(info, key, version, current.revision)
                live["metadata"]["resourceVersion"] = version
            new = await turns.run(heavy or is_heavy(live), merged, live)
            if new is live:
                return current.object
            stored = to_stored(info, new, current=current.object)
            return await self._updates.prepared(
                info, key, stored, current, subresource=subresource, options=options, applied=True
            )

        for _ in range(ATTEMPTS):
            if await context.transactions.current(key) is not None or subresource:
                try:
                    return await self._updates.write(info, key, change, options=options), False
                except NotFoundError:
                    if subresource:
                        raise
            new = await turns.run(heavy, merged, None)
            try:
                return await self._creation.insert(info, key, new, options=options, applied=True), True
            except AlreadyExistsError:
                continue
        raise errors.too_busy(info, key, attempts=ATTEMPTS)
