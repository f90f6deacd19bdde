"""Delete: an object goes at once, or is stored with the time of its deletion and waits for its finalizers.

Stateless but for its context. Next: `hanse.kube.engine.lifecycle.for_delete`, which decides;
`hanse.kube.engine.garbage` for what goes after it.
"""

from __future__ import annotations

from hanse.errors import HanseError
from hanse.kube.engine import lifecycle
from hanse.kube.engine.options import DeleteOptions
from hanse.kube.engine.resources import checks, errors
from hanse.kube.engine.resources.context import WriteContext
from hanse.kube.engine.resources.transactions import ATTEMPTS, StoredObject
from hanse.kube.kinds.kubernetes import core
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.objects import Object, mapping
from hanse.store.keys import ObjectKey


class ObjectDeletion:
    """Deletes objects."""

    def __init__(self, context: WriteContext, *, graceful_pods: bool) -> None:
        """`graceful_pods` keeps scheduled Pods until a kubelet deletes them with grace 0."""
        self._context = context
        self._graceful_pods = graceful_pods

    async def delete(
        self, info: ResourceInfo, key: ObjectKey, *, options: DeleteOptions
    ) -> tuple[Object, bool]:
        """Delete an object. See `ResourceStore.delete`."""
        context = self._context
        checks.check_writable(info, "delete")
        await context.await_version(options.resource_version)
        current = await context.transactions.current(key)
        for _ in range(ATTEMPTS):
            if current is None:
                raise errors.not_found(info, key)
            old = self._stand_in(info, key, current) if current.unreadable else current.object
            try:
                self._check_preconditions(info, key, options, current)
                await context.preparation.admit_delete(info, key, old, options)
            except HanseError:
                if not current.cached:
                    raise
                current = await context.transactions.read(key)
                continue
            plan = lifecycle.for_delete(
                info, old, now=context.clock(), propagation=options.propagation,
                grace_seconds=options.grace_seconds, graceful_pods=self._graceful_pods,
            )  # fmt: skip
            remove = context.transactions.end_of(key, plan.object, current) is not None
            unchanged = not remove and plan.object == old and not current.unreadable
            if options.dry_run or unchanged:
                return context.shown(info, key, plan.object, current.revision), remove
            done, current = await context.transactions.replace(key, plan.object, current)
            if done is not None:
                return context.shown(info, key, plan.object, done), remove
        raise errors.too_busy(info, key, attempts=ATTEMPTS)

    def _stand_in(self, info: ResourceInfo, key: ObjectKey, current: StoredObject) -> Object:
        """Return what is deleted in place of an unreadable object: what can be read, with all that must be
        waited for before it may go."""
        stored = self._context.catalogue.storage(key.group, key.resource) or info
        metadata = mapping(current.object, "metadata")
        present = metadata.get("finalizers") or []
        missing = [name for name in self._context.cache.keepers(key) if name not in present]
        obj = {"apiVersion": stored.api_version, "kind": stored.kind, **current.object}
        if (key.group, key.resource) == core.NAMESPACE.group_plural:
            obj["spec"] = {**mapping(obj, "spec"), "finalizers": ["kubernetes"]}
        return {**obj, "metadata": {**metadata, "finalizers": [*present, *missing]}}

    def _check_preconditions(
        self, info: ResourceInfo, key: ObjectKey, options: DeleteOptions, current: StoredObject
    ) -> None:
        if options.uid is not None and options.uid != current.uid:
            raise errors.wrong_uid(info, key, wanted=options.uid, found=current.uid)
        if options.resource_version is not None:
            self._context.check_precondition(info, key, options.resource_version, current.revision)
