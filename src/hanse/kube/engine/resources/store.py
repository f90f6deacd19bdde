"""Writes with Kubernetes' semantics: create, update, patch, apply, delete, each as one store transaction.

Owns `ResourceStore`, which has the verbs and gives each to the class of its own. Many writes run at once, in
one loop; there are no locks. Reads are in `hanse.kube.engine.cache`. Next:
`hanse.kube.engine.resources.context` for what the verbs share.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.expiry import EventLeases
from hanse.kube.engine.hooks import Admission, Room, ValidatingAdmission
from hanse.kube.engine.options import DeleteOptions, PatchType, WriteOptions
from hanse.kube.engine.resources import checks
from hanse.kube.engine.resources.apply import ServerSideApply
from hanse.kube.engine.resources.context import WriteContext
from hanse.kube.engine.resources.create import ObjectCreation
from hanse.kube.engine.resources.delete import ObjectDeletion
from hanse.kube.engine.resources.preparation import ObjectPreparation
from hanse.kube.engine.resources.transactions import ObjectTransactions
from hanse.kube.engine.resources.update import ObjectUpdates
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.objects import Object
from hanse.store import Store
from hanse.store.keys import ObjectKey
from hanse.turns import Turns

_Options = TypeVar("_Options", WriteOptions, DeleteOptions)


class ResourceStore:
    """Writes the objects of one server."""

    def __init__(
        self,
        store: Store,
        *,
        cache: ObjectCache,
        catalogue: Catalogue,
        admission: Sequence[Admission] = (),
        validating: Sequence[ValidatingAdmission] = (),
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
        clock = clock or (lambda: datetime.now(UTC))
        turns = turns or Turns()
        preparation = ObjectPreparation(
            catalogue, admission=admission, validating=validating, clock=clock, turns=turns,
            added=cache.added_fields,
        )  # fmt: skip
        transactions = ObjectTransactions(
            store, cache=cache, catalogue=catalogue, event_leases=event_leases, room=room
        )
        self._context = WriteContext(
            cache=cache, catalogue=catalogue, transactions=transactions, preparation=preparation, turns=turns,
            clock=clock, hidden=frozenset(hidden),
        )  # fmt: skip
        self._creation = ObjectCreation(self._context)
        self._updates = ObjectUpdates(self._context)
        self._apply = ServerSideApply(self._context, creation=self._creation, updates=self._updates)
        self._deletion = ObjectDeletion(self._context, graceful_pods=graceful_pods)

    async def create(
        self, info: ResourceInfo, obj: Object, *, namespace: str = "", options: WriteOptions | None = None
    ) -> Object:
        """Create an object and return it as served. `namespace` may also be in the object.

        Raises AlreadyExistsError, InvalidArgumentError (InvalidObjectError for broken rules), NotFoundError
        for a namespace that does not exist, PermissionDeniedError for one that is being deleted.
        """
        async with _own(options or WriteOptions()) as options:
            return await self._creation.create(info, obj, namespace=namespace, options=options)

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
        async with _own(options or WriteOptions()) as options:
            return await self._updates.update(
                info, obj, namespace=namespace, name=name, subresource=subresource, options=options
            )

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
        checks.check_writable(info, "patch")
        key = checks.key_of(info, namespace, name)
        async with _own(options or WriteOptions()) as options:
            if patch_type == "apply":
                return await self._apply.apply(info, key, patch, subresource=subresource, options=options)
            patched = await self._updates.patch(
                info, key, patch, patch_type=patch_type, subresource=subresource, options=options
            )
        return patched, False

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
        key = checks.key_of(info, namespace, name)
        async with _own(options or WriteOptions()) as options:
            return await self._updates.modify(info, key, change, subresource=subresource, options=options)

    async def release(self, info: ResourceInfo, *, namespace: str = "", name: str, finalizer: str) -> None:
        """Take a finalizer off, whatever else is in the object: what another release has let in must not
        keep it from going. Raises NotFoundError."""
        await self._updates.release(info, checks.key_of(info, namespace, name), finalizer=finalizer)

    async def delete(
        self, info: ResourceInfo, *, namespace: str = "", name: str, options: DeleteOptions | None = None
    ) -> tuple[Object, bool]:
        """Delete an object; return it as it was or is now, and whether it is gone already.

        One that is stored and cannot be read is deleted as well: where members may have it, what replaces it
        in the store waits for them, and for finalizers, like any object that is being deleted.

        Raises NotFoundError; ConflictError if a precondition does not hold.
        """
        key = checks.key_of(info, namespace, name)
        async with _own(options or DeleteOptions()) as options:
            return await self._deletion.delete(info, key, options=options)

    def check_version(self, info: ResourceInfo, key: ObjectKey, version: str, revision: int) -> None:
        """Raise ConflictError if the resourceVersion that a client holds is not that of the stored object."""
        self._context.check_version(info, key, version, revision)


@asynccontextmanager
async def _own(options: _Options) -> AsyncIterator[_Options]:
    """Give a call what ends with it; options may be shared by several."""
    async with AsyncExitStack() as stack:
        yield replace(options, until_done=stack)
