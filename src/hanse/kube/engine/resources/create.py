"""Create: a new object, under its name or one that is made up for it.

Stateless but for its context; creates run side by side. Next: `hanse.kube.engine.lifecycle` for what the
server adds, `hanse.kube.engine.resources.transactions` for the insert.
"""

from __future__ import annotations

from hanse.errors import AlreadyExistsError, InvalidArgumentError
from hanse.kube.engine import lifecycle
from hanse.kube.engine.options import WriteOptions
from hanse.kube.engine.resources import checks, errors
from hanse.kube.engine.resources.context import WriteContext
from hanse.kube.engine.resources.transactions import ATTEMPTS
from hanse.kube.kinds.conversion import to_stored
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.objects import Object, mapping
from hanse.kube.model.status import Cause
from hanse.store.keys import ObjectKey
from hanse.turns import is_heavy


class ObjectCreation:
    """Creates objects."""

    def __init__(self, context: WriteContext) -> None:
        self._context = context

    async def create(
        self, info: ResourceInfo, obj: Object, *, namespace: str, options: WriteOptions
    ) -> Object:
        """Create an object and return it as served. See `ResourceStore.create`."""
        context = self._context
        checks.check_writable(info, "create")
        checks.check_kind(info, obj)
        obj = await context.turns.run(is_heavy(obj), context.preparation.decode, info, obj, options)
        namespace = checks.namespace_of(info, obj, namespace)
        metadata = mapping(obj, "metadata")
        if metadata.get("resourceVersion"):
            raise InvalidArgumentError("resourceVersion should not be set on objects to be created")
        name = metadata.get("name") or ""
        prefix = "" if name else metadata.get("generateName") or ""
        if not (name or prefix):
            message = "Required value: name or generateName is required"
            raise lifecycle.invalid(info, "", Cause("FieldValueRequired", message, "metadata.name"))
        attempts = ATTEMPTS if prefix else 1
        while True:
            attempts -= 1
            key = checks.key_of(info, namespace, lifecycle.generate_name(prefix) if prefix else name)
            try:
                return await self.insert(info, key, obj, options=options)
            except AlreadyExistsError:
                if not attempts:
                    raise

    async def insert(
        self,
        info: ResourceInfo,
        key: ObjectKey,
        obj: Object,
        *,
        options: WriteOptions,
        applied: bool = False,
    ) -> Object:
        """Store a decoded object under a new key and return it as served.

        `applied` says that a server-side apply has kept managedFields already. Raises AlreadyExistsError, and
        NotFoundError or PermissionDeniedError for its namespace.
        """
        context = self._context
        transactions = context.transactions
        namespace = await transactions.open_namespace(key.namespace) if key.namespace else None
        new = to_stored(info, obj, current=None)
        new = lifecycle.for_create(
            info, new, namespace=key.namespace, name=key.name, now=context.clock(), user=options.user
        )
        new = await context.preparation.prepare(
            info, key, new, None, operation="CREATE", options=options, applied=applied
        )
        if not options.dry_run:
            revision = await transactions.insert(info, key, new, namespace=namespace)
            return context.shown(info, key, new, revision)
        if await transactions.current(key) is not None:
            raise errors.already_exists(info, key)
        return context.shown(info, key, new, 0)
