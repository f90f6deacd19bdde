"""The end of a federated object: its finalizer `hanse.dev/sync` goes when every member has confirmed.

Owns `SyncFinalizer`, a reconciler. An object whose deletion was asked for is finished when each cluster that
it is placed in, or is to leave, has a sync state that says REMOVED, or when it was never placed. Then one
transaction that compares the object and its placement removes the finalizer, or the object if nothing else
keeps it. Level-based: several apiservers may do it at once, and a restart looks at everything again.

Next: `hanse_syncer.decide.plan` for the other half of the handshake.
"""

from __future__ import annotations

import orjson

from hanse.control import Request, Result, WorkQueue
from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.lifecycle import has_finished_deletion
from hanse.kube.engine.served import ObjectChange, ServedObject
from hanse.kube.model.objects import Object, is_deleting, mapping, sequence
from hanse.process.telemetry import get_logger
from hanse.store import Compare, Delete, Op, Put
from hanse.store.batch import BatchWriter
from hanse.store.keys import OBJECTS, PLACEMENTS, ObjectKey
from hanse.well_known import SYNC_FINALIZER
from hanse_apiserver.views.view import FederationView

LOOK_AGAIN_SECONDS = 2.0
"""When to look again after somebody else was faster, should their change not arrive before."""

_log = get_logger(__name__)


class SyncFinalizer:
    """Lets go of objects that all members have let go of. Keys are `objects/…`."""

    def __init__(
        self, *, cache: ObjectCache, view: FederationView, writer: BatchWriter, queue: WorkQueue
    ) -> None:
        """Read from `cache` and `view`, write through `writer`, put into `queue` what may be finished."""
        self._cache = cache
        self._view = view
        self._writer = writer
        self._queue = queue

    def start(self) -> None:
        """Look at everything that is there, and from now on at what changes."""
        self._cache.subscribe(self._object_changed)
        self._view.subscribe(self._part_changed)
        for group, resource in self._cache.resources():
            for entry in self._cache.objects(group, resource):
                self._consider(entry)

    def _object_changed(self, change: ObjectChange) -> None:
        if change.type != "DELETED":
            self._consider(change.entry)

    def _part_changed(self, key: ObjectKey) -> None:
        entry = self._cache.get(key)
        if entry is not None:
            self._consider(entry)

    def _consider(self, entry: ServedObject) -> None:
        if waits_for_members(entry.intent):
            self._queue.add(entry.key.key(OBJECTS))

    async def reconcile(self, request: Request) -> Result | None:
        """Finish one object if it can be finished."""
        key = ObjectKey.parse(request.key)
        entry = self._cache.get(key)
        if entry is None or entry.intent is None or not waits_for_members(entry.intent):
            return None
        parts = self._view.parts(key)
        uid = str(mapping(entry.intent, "metadata").get("uid", ""))
        if self._view.is_unreadable(key) or (parts is not None and parts.unconfirmed(uid)):
            return None  # a change of a sync state or placement brings it back
        path = key.key(OBJECTS)
        new = without_sync_finalizer(entry.intent)
        op: Op = Delete(path) if has_finished_deletion(new) else Put(path, orjson.dumps(new))
        placed = parts.placed.revision if parts and parts.placed else 0
        compares = (Compare.mod(path, entry.intent_revision), Compare.mod(key.key(PLACEMENTS), placed))
        result = await self._writer.commit(compares, (op,))
        if not result.succeeded:
            return Result(requeue_after=LOOK_AGAIN_SECONDS)
        self._cache.expect(result.revision)
        _log.debug("all members confirmed the deletion", object=str(key))
        return None


def waits_for_members(intent: Object | None) -> bool:
    """Report whether an object is being deleted and the members have a say in when it is gone."""
    if intent is None:
        return False
    metadata = mapping(intent, "metadata")
    return is_deleting(intent) and SYNC_FINALIZER in sequence(metadata, "finalizers")


def without_sync_finalizer(intent: Object) -> Object:
    """Return the object without the finalizer."""
    metadata = dict(mapping(intent, "metadata"))
    kept = [f for f in sequence(metadata, "finalizers") if f != SYNC_FINALIZER]
    if kept:
        metadata["finalizers"] = kept
    else:
        metadata.pop("finalizers", None)
    return {**intent, "metadata": metadata}
