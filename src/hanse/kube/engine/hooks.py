"""Where a server that embeds the engine adds its own behaviour: admission of writes, views on reads.

The engine calls these; it never imports who implements them. `View` methods are synchronous, must not
block and run in the engine's event loop, in the order of store revisions. Next: `hanse.kube.engine.engine`,
which takes them as constructor arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Literal, Protocol

from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.identity import User
from hanse.kube.model.objects import Object
from hanse.store import Event
from hanse.store.keys import ObjectKey

Operation = Literal["CREATE", "UPDATE", "DELETE"]


@dataclass(slots=True)
class AdmissionRequest:
    """One write on its way to the store, after decoding, patching and defaulting, before validation.

    `object` is what will be stored (for DELETE: what is being deleted); `old` is what is stored now, None
    on CREATE. Both may be looked at, neither may be changed in place. `warnings` go to the client as
    Warning headers. What is entered into `until_done` ends with the write, stored or not; it is the same each
    time that one write is asked about.
    """

    operation: Operation
    info: ResourceInfo
    key: ObjectKey
    object: Object
    old: Object | None
    subresource: str
    user: User
    dry_run: bool
    warnings: list[str] = field(default_factory=list)
    until_done: AsyncExitStack = field(default_factory=AsyncExitStack)
    written: Object | None = None
    """What the client wrote, before defaults; None where nobody wrote an object."""


class Admission(Protocol):
    """Changes or refuses writes."""

    async def admit(self, request: AdmissionRequest) -> Object:
        """Return the object to store: `request.object` itself, or a changed copy. Ignored on DELETE.

        Raises a HanseError to refuse (PermissionDeniedError becomes 403, InvalidArgumentError 400). May be
        called more than once for one request when a write races another.
        """
        ...


class ValidatingAdmission(Protocol):
    """Refuses writes, or warns of them, when everybody else has had a say."""

    async def check(self, request: AdmissionRequest) -> None:
        """Look at an object that is valid and will be stored as it is. Not called on DELETE.

        Raises a HanseError to refuse. May be called more than once for one request, as `Admission.admit`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Deferred:
    """An object of a virtual resource that is put together when somebody reads it, and not before.

    Every change of its parts counts as a change of it. `make` returns the object to serve; it is called at
    most once, at any later time.
    """

    make: Callable[[], Object]


class View(Protocol):
    """Computes what is served from what is stored and from other prefixes of the same store.

    The cache follows `objects/` and the view's prefixes in one watch. A resource that is only a view
    (nothing under `objects/`) is one whose keys `apply` returns and for which `render` gets no intent;
    declare it in the catalogue with `virtual=True`.
    """

    @property
    def prefixes(self) -> Sequence[str]:
        """Return the store prefixes that the view needs besides `objects/`, for example `syncstates/`."""
        ...

    @property
    def fields(self) -> Sequence[str]:
        """Return paths that the view adds and no schema knows, such as `status.clusters`: on writes they are
        taken off without a complaint, so that what was read can be written back."""
        ...

    def keepers(self, key: ObjectKey) -> Sequence[str]:
        """Return the finalizers without which an object must not go whose own finalizers cannot be read."""
        ...

    def reset(self) -> None:
        """Forget everything: the cache lists all prefixes again (start, or after a compaction)."""
        ...

    def apply(self, event: Event) -> Iterable[ObjectKey]:
        """Take in one change of one of the prefixes; return keys of objects that may now look different."""
        ...

    def render(self, key: ObjectKey, intent: Object | None) -> Object | Deferred | None:
        """Return the object to serve, or None if there is none; Deferred for a virtual resource only.

        `intent` is the stored object, or None for a virtual resource (or if it does not exist: then return
        None for a resource that is not virtual). Must not change `intent`; may return it. The engine sets
        `metadata.resourceVersion`.
        """
        ...


class Room(Protocol):
    """What the store has room for; see `hanse.store.admin.upkeep`."""

    @property
    def tight(self) -> bool:
        """Whether what grows may be refused."""

    def check_room(self, grows_by: int) -> None:
        """Raise ResourceExhaustedError if the store has no room for so many bytes more."""

    async def make_room(self) -> bool:
        """Make room in a store that is full; return whether it takes writes now."""
