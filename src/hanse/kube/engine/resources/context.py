"""What the verbs share: where objects are stored, what they are held against, and how they are shown.

Immutable; made once by `hanse.kube.engine.resources.store`. Next: the verbs,
`hanse.kube.engine.resources.create`, `hanse.kube.engine.resources.update`,
`hanse.kube.engine.resources.apply`, `hanse.kube.engine.resources.delete`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.resources import checks
from hanse.kube.engine.resources.preparation import ObjectPreparation
from hanse.kube.engine.resources.transactions import ObjectTransactions
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.conversion import to_served
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.objects import Object
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
        checks.check_version(info, key, version=version, revision=revision, newer_views=self.cache.has_view)

    def shown(self, info: ResourceInfo, key: ObjectKey, stored: Object, revision: int) -> Object:
        """Return how a stored object is answered; `revision` is 0 for a dry run, of which none comes."""
        shown = to_served(info, self.cache.served(key, stored, revision))
        if not revision:
            shown["metadata"].pop("resourceVersion", None)
        return shown
