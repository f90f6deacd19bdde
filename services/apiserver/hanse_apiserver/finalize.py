"""The end of a federated object that waits for the members: then its finalizer `hanse.dev/sync` goes.

Owns `SyncFinalizer`, a reconciler. Namespaces, definitions of custom resources, and what is deleted in the
foreground wait until each cluster that they are placed in, or are to leave, has a sync state that says
REMOVED, and until nothing deleted that was in them is left anywhere. Then one transaction that compares the
object and its placement removes the finalizer, or the object if nothing else keeps it. Whatever else is found
being deleted with no other finalizer was left so by an older apiserver: it leaves at once, with a tombstone.
Level-based: several apiservers may do it at once, and a restart looks at everything again.

Next: `hanse_apiserver.leaving` for what leaves at once, `hanse_syncer.decide.plan` for the other half of the
handshake.
"""

from __future__ import annotations

import orjson

from hanse.control import Request, Result, WorkQueue
from hanse.federation.deletion.tombstones import holds_others, is_inside
from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.hooks import ObjectEnds
from hanse.kube.engine.lifecycle import FOREGROUND, has_finished_deletion
from hanse.kube.engine.served import ObjectChange, ServedObject
from hanse.kube.model.objects import Object, is_deleting, mapping, sequence
from hanse.process.telemetry import get_logger
from hanse.store import Compare, Delete, Op, Put
from hanse.store.batch import BatchWriter
from hanse.store.keys import OBJECTS, PLACEMENTS, ObjectKey
from hanse.well_known import SYNC_FINALIZER
from hanse_apiserver.leaving import without_sync_finalizer
from hanse_apiserver.views.view import FederationView

LOOK_AGAIN_SECONDS = 2.0
"""When to look again after somebody else was faster, should their change not arrive before."""

_log = get_logger(__name__)


class SyncFinalizer:
    """Lets go of objects that all members have let go of. Keys are `objects/…`."""

    def __init__(
        self,
        *,
        cache: ObjectCache,
        view: FederationView,
        ends: ObjectEnds,
        writer: BatchWriter,
        queue: WorkQueue,
    ) -> None:
        """Read from `cache` and `view`, write through `writer`, put into `queue` what may be finished. `ends`
        says what leaves at once."""
        self._cache = cache
        self._view = view
        self._ends = ends
        self._writer = writer
        self._queue = queue
        self._containers: set[ObjectKey] = set()
        """What is being deleted and waits for what is in it."""

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
        else:
            self._containers.discard(change.key)

    def _part_changed(self, key: ObjectKey) -> None:
        entry = self._cache.get(key)
        if entry is not None:
            self._consider(entry)
        for container in self._containers:
            if is_inside(key, container) and (found := self._cache.get(container)) is not None:
                self._consider(found)

    def _consider(self, entry: ServedObject) -> None:
        if not waits_for_members(entry.intent):
            return
        if holds_others(entry.key.group, entry.key.resource):
            self._containers.add(entry.key)
        self._queue.add(entry.key.key(OBJECTS))

    async def reconcile(self, request: Request) -> Result | None:
        """Finish one object if it can be finished."""
        key = ObjectKey.parse(request.key)
        entry = self._cache.get(key)
        if entry is None or entry.intent is None or not waits_for_members(entry.intent):
            return None
        intent = entry.intent
        path = key.key(OBJECTS)
        end = None if holds_others(key.group, key.resource) else self._ends.end_of(key, intent, intent)
        ops: tuple[Op, ...]
        if end is not None:
            compares, ops = end.compares, (Delete(path), *end.ops)
        elif self._is_finished(key, intent):
            parts = self._view.parts(key)
            placed = parts.placed.revision if parts and parts.placed else 0
            new = without_sync_finalizer(intent)
            compares = (Compare.mod(key.key(PLACEMENTS), placed),)
            ops = (Delete(path) if has_finished_deletion(new) else Put(path, orjson.dumps(new)),)
        else:
            return None  # a change of a sync state, a placement or a tombstone brings it back
        result = await self._writer.commit((Compare.mod(path, entry.intent_revision), *compares), ops)
        if not result.succeeded:
            return Result(requeue_after=LOOK_AGAIN_SECONDS)
        self._cache.expect(result.revision)
        _log.debug("the deletion is finished, or the members' part of it", object=str(key))
        return None

    def _is_finished(self, key: ObjectKey, intent: Object) -> bool:
        """Return whether the members have confirmed, and nothing that was in the object is left in any."""
        finalizers = sequence(intent, "metadata", "finalizers")
        others = holds_others(key.group, key.resource)
        unreadable = self._view.is_unreadable(key)
        if not others and FOREGROUND not in finalizers and not unreadable:
            return False  # a user's finalizer keeps it
        if unreadable or (others and self._view.left_inside(key)):
            return False
        parts = self._view.parts(key)
        return parts is None or not parts.unconfirmed(str(mapping(intent, "metadata").get("uid", "")))


def waits_for_members(intent: Object | None) -> bool:
    """Report whether an object is being deleted and the members have a say in when it is gone."""
    if intent is None:
        return False
    metadata = mapping(intent, "metadata")
    return is_deleting(intent) and SYNC_FINALIZER in sequence(metadata, "finalizers")
