"""The end of a tombstone: it goes when no member has anything any more of what was deleted under its name.

Owns `TombstoneCollector`, a reconciler. A tombstone is deleted, in a transaction that compares it, when each
cluster that it names was seen without its copies, or is no longer in the federation. Level-based: several
apiservers may do it at once, and a restart looks at everything again.

Next: `hanse.federation.deletion.tombstones` for the law, `hanse_syncer.act.removal` for the removal.
"""

from __future__ import annotations

from hanse.control import Request, Result, WorkQueue
from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.served import ObjectChange
from hanse.kube.model.objects import mapping
from hanse.process.telemetry import get_logger
from hanse.store import Compare, Delete
from hanse.store.batch import BatchWriter
from hanse.store.keys import TOMBSTONES, ObjectKey
from hanse.well_known import GROUP
from hanse_apiserver.finalize import LOOK_AGAIN_SECONDS
from hanse_apiserver.views.view import FederationView

_log = get_logger(__name__)


class TombstoneCollector:
    """Deletes tombstones that nothing is left of. Keys are `objecttombstones/…`."""

    def __init__(
        self, *, cache: ObjectCache, view: FederationView, writer: BatchWriter, queue: WorkQueue
    ) -> None:
        """Read from `cache` and `view`, write through `writer`, put into `queue` what may be gone."""
        self._cache = cache
        self._view = view
        self._writer = writer
        self._queue = queue

    def start(self) -> None:
        """Look at every tombstone, and from now on at what changes."""
        self._cache.subscribe(self._object_changed)
        self._view.subscribe(self._consider)
        for key in self._view.tombstones():
            self._consider(key)

    def _object_changed(self, change: ObjectChange) -> None:
        if change.type == "DELETED" and (change.key.group, change.key.resource) == (GROUP, "clusters"):
            for key in self._view.tombstones():
                self._consider(key)

    def _consider(self, key: ObjectKey) -> None:
        parts = self._view.parts(key)
        if parts is not None and parts.left is not None:
            self._queue.add(key.key(TOMBSTONES))

    async def reconcile(self, request: Request) -> Result | None:
        """Delete one tombstone if nothing is left of it."""
        key = ObjectKey.parse(request.key)
        parts = self._view.parts(key)
        if parts is None or parts.left is None or self._view.is_unreadable(key):
            return None
        if self._view.pending(key, successor=self._successor(key), exists=self._exists):
            return None  # a change of a sync state or a cluster brings it back
        path = key.key(TOMBSTONES)
        result = await self._writer.commit((Compare.mod(path, parts.left.revision),), (Delete(path),))
        if not result.succeeded:
            return Result(requeue_after=LOOK_AGAIN_SECONDS)
        _log.debug("nothing is left of a deleted object", object=str(key))
        return None

    def _exists(self, cluster: str) -> bool:
        """Return whether a cluster is in the federation: its object is there, or what the registry keeps."""
        stored = self._cache.get(ObjectKey(GROUP, "clusters", "", cluster))
        return stored is not None or self._view.is_member(cluster)

    def _successor(self, key: ObjectKey) -> str:
        entry = self._cache.get(key)
        intent = entry.intent if entry is not None else None
        return str(mapping(intent, "metadata").get("uid") or "") if intent is not None else ""
