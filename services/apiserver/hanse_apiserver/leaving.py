"""When a federated object leaves the API: at once, with what members have of it left to a tombstone.

Owns `FederatedEnds`. An object that is being deleted leaves when nothing but `hanse.dev/sync` keeps it: no
finalizer of a user, and none of `--cascade=foreground` or of the collector. What clusters have or may have of
it goes into the tombstone of its name in the same transaction. That compares the placement and the tombstone
that were read, so that a cluster which is decided on meanwhile is not forgotten.

Namespaces and definitions of custom resources stay until the members have confirmed, and so does what is
deleted in the foreground, and what cannot be read: `hanse.dev/sync` keeps those, see
`hanse_apiserver.finalize`. The finalizer is stored with every object, for an apiserver of the release before
that may run beside this one.

Called by the engine, synchronously; changes nothing. Next: `hanse.federation.deletion.tombstones`,
`hanse_apiserver.tombstones` for how a tombstone goes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from datetime import datetime

from hanse.api.federation.v1.tombstone_pb2 import LeftCopy, Tombstone
from hanse.federation.deletion.tombstones import holds_others, left_by, tombstone_name
from hanse.federation.propagation import placeable
from hanse.federation.references import reference_to
from hanse.federation.tracing import traceparent_of
from hanse.kube.engine.hooks import ObjectEnd
from hanse.kube.engine.lifecycle import ORPHAN, has_finished_deletion
from hanse.kube.model.objects import Object, is_deleting, labels_of, mapping, sequence
from hanse.store import Compare, Op, Put
from hanse.store.decoding import carry
from hanse.store.keys import PLACEMENTS, TOMBSTONES, ObjectKey
from hanse.well_known import MANAGED_BY_LABEL, SYNC_FINALIZER
from hanse_apiserver.views.parts import Parts
from hanse_apiserver.views.view import FederationView


class FederatedEnds:
    """Says when an object leaves, and what it leaves in members."""

    def __init__(
        self, view: FederationView, *, clock: Callable[[], datetime], sealed: Collection[str] = ()
    ) -> None:
        """`clock` returns the time in UTC; `sealed` are the kinds that are sealed in etcd, as
        `widgets.example.org`."""
        self._view = view
        self._clock = clock
        self._sealed = frozenset(sealed)

    def end_of(self, key: ObjectKey, old: Object, new: Object) -> ObjectEnd | None:
        """Return how an object ends that is `old` and would be stored as `new`; None if it stays."""
        if not placeable(key.group, key.resource) or holds_others(key.group, key.resource):
            return ObjectEnd() if has_finished_deletion(new) else None
        if not is_deleting(new) or not has_finished_deletion(without_sync_finalizer(new)):
            return None
        if self._view.is_unreadable(key):  # nobody knows what to leave: it waits as it did before tombstones
            return ObjectEnd() if has_finished_deletion(new) else None
        parts = self._view.parts(key)
        if parts is None:
            return ObjectEnd((Compare.absent(key.key(PLACEMENTS)), Compare.absent(key.key(TOMBSTONES))))
        compares = (
            Compare.mod(key.key(PLACEMENTS), parts.placed.revision if parts.placed else 0),
            Compare.mod(key.key(TOMBSTONES), parts.left.revision if parts.left else 0),
        )
        left = self._left(key, old, new, parts)
        return ObjectEnd(compares, (put_tombstone(key, left),) if left is not None else ())

    def _left(self, key: ObjectKey, old: Object, new: Object, parts: Parts) -> Tombstone | None:
        """Return the tombstone that the object leaves; None if there is nothing of it in any member."""
        uid = str(mapping(new, "metadata").get("uid") or "") or _any_uid(parts)
        orphan = ORPHAN in sequence(old, "metadata", "finalizers")
        placement = parts.placement(uid)
        tombstone = Tombstone(
            name=tombstone_name(key),
            object=reference_to(
                key,
                version=str(new.get("apiVersion", "")).rpartition("/")[2],
                kind=str(new.get("kind", "")),
                uid=uid,
            ),
            copies=[
                LeftCopy(
                    cluster=cluster,
                    uid=uid,
                    orphan=orphan,
                    managed_by=str(labels_of(old).get(MANAGED_BY_LABEL) or "") if orphan else "",
                )
                for cluster in parts.unconfirmed(uid)
            ],
            traceparent=traceparent_of(old),
            at_most_one=placement.at_most_one,
            sealed=f"{key.resource}.{key.group}".rstrip(".") in self._sealed,
        )
        tombstone.delete_time.FromDatetime(self._clock().replace(microsecond=0))
        before = parts.left.value if parts.left is not None else None
        left = left_by(tombstone, before, parts.word_in)
        return carry(before, left) if left is not None else None


def _any_uid(parts: Parts) -> str:
    """Return by what uid the members' copies of an object are known whose own cannot be read."""
    known = [parts.placed.uid if parts.placed else "", *(state.uid for state in parts.states.values())]
    return next((uid for uid in known if uid), "") or str(uuid.uuid4())


def put_tombstone(key: ObjectKey, tombstone: Tombstone) -> Op:
    """Return the write of a tombstone."""
    return Put(key.key(TOMBSTONES), tombstone.SerializeToString(deterministic=True))


def without_sync_finalizer(intent: Object) -> Object:
    """Return the object without the finalizer `hanse.dev/sync`."""
    metadata = dict(mapping(intent, "metadata"))
    kept = [f for f in sequence(metadata, "finalizers") if f != SYNC_FINALIZER]
    if kept:
        metadata["finalizers"] = kept
    else:
        metadata.pop("finalizers", None)
    return {**intent, "metadata": metadata}
