"""What the verbs share: where objects are stored, what they are held against, and how they are shown.

Immutable; made once by `hanse.kube.engine.resources.store`. Next: the verbs,
`hanse.kube.engine.resources.create`, `hanse.kube.engine.resources.update`,
`hanse.kube.engine.resources.apply`, `hanse.kube.engine.resources.delete`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from hanse.errors import FutureRevisionError
from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.resources import checks
from hanse.kube.engine.resources.preparation import ObjectPreparation
from hanse.kube.engine.resources.transactions import ObjectTransactions
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.conversion import to_served
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.objects import Object
from hanse.numbers import whole_number
from hanse.store.keys import ObjectKey
from hanse.turns import Turns


@dataclass(frozen=True, slots=True)
class WriteContext:
    """What every verb works with. `hidden` annotations are stored and never served; `turns` is where large
    objects are worked at; `clock` returns the time in UTC."""

    cache: ObjectCache
    catalogue: Catalogue
    transactions: ObjectTransactions
    preparation: ObjectPreparation
    turns: Turns
    clock: Callable[[], datetime]
    hidden: frozenset[str]

    def check_version(self, info: ResourceInfo, key: ObjectKey, version: str, revision: int) -> None:
        """Raise ConflictError if the resourceVersion that a client holds is not that of the stored object."""
        served = partial(self.cache.served_as, key, revision)
        checks.check_version(info, key, version=version, revision=revision, served=served)

    def check_precondition(self, info: ResourceInfo, key: ObjectKey, version: str, revision: int) -> None:
        """Raise ConflictError unless the stored object has the resourceVersion that a delete demands."""
        served = partial(self.cache.served_as, key, revision)
        checks.check_precondition(info, key, version=version, revision=revision, served=served)

    async def await_version(self, version: str | None) -> None:
        """Wait until the cache has seen a version that a client got from another process, if it exists.

        One that does not exist, or is not seen in time, is nobody's to the check that follows.
        """
        wanted = whole_number(version or "")
        if wanted is not None:
            with suppress(FutureRevisionError):
                await self.cache.known(wanted)

    def shown(self, info: ResourceInfo, key: ObjectKey, stored: Object, revision: int) -> Object:
        """Return how a stored object is answered; `revision` is 0 for a dry run, of which none comes."""
        shown = to_served(info, self.cache.served(key, stored, revision))
        if not revision:
            shown["metadata"].pop("resourceVersion", None)
        return shown
