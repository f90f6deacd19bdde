"""One object as it is served, and one change of it: the values that the cache hands out.

A `ServedObject` never changes once made (its encoded form is computed on first use and kept), so it may be
held by any number of watches. Next: `hanse.kube.engine.cache`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from hanse.boundary import reason_of
from hanse.kube.engine import unreadable
from hanse.kube.engine.hooks import Deferred
from hanse.kube.model.objects import Object
from hanse.store.history.changes import ChangeType
from hanse.store.keys import ObjectKey

_EMPTY: dict[str, str] = {}


class ServedObject:
    """One object at one revision.

    `object` is what is served, `intent` what is stored (None for a resource that is only a view).
    `intent_revision` is the store revision at which the intent was last written, 0 without one; `revision`,
    the served resourceVersion, is the newest of its parts. `deferred` says that the object is put together
    when it is first read. Objects must not be changed in place.
    """

    __slots__ = ("_encoded", "_event", "_object", "deferred", "intent", "intent_revision", "key", "revision")

    def __init__(
        self,
        key: ObjectKey,
        *,
        obj: Object | Deferred,
        intent: Object | None,
        intent_revision: int,
        revision: int,
    ) -> None:
        self.key = key
        self._object = obj
        self.deferred = isinstance(obj, Deferred)
        self.intent = intent
        self.intent_revision = intent_revision
        self.revision = revision
        self._encoded: bytes | None = None
        self._event: tuple[ChangeType, bytes] | None = None

    @property
    def object(self) -> Object:
        """Return what is served."""
        if isinstance(self._object, Deferred):
            self._object = with_version(self._made(self._object), self.revision)
        return self._object

    def _made(self, deferred: Deferred) -> Object:
        """Put a deferred object together; one that cannot be is served by its name, with the reason."""
        try:
            return deferred.make()
        except Exception as error:  # noqa: BLE001 - of one object; whoever lists it wants the others too
            return unreadable.in_place_of(self.key, reason_of(error))

    @property
    def labels(self) -> dict[str, str]:
        """Return metadata.labels of what is served."""
        return self.object["metadata"].get("labels") or _EMPTY

    def at(self, revision: int) -> ServedObject:
        """Return the same object with another resourceVersion."""
        obj = self._object
        return ServedObject(
            self.key,
            obj=obj if isinstance(obj, Deferred) else with_version(obj, revision),
            intent=self.intent,
            intent_revision=self.intent_revision,
            revision=revision,
        )

    @property
    def uid(self) -> str:
        """Return metadata.uid, "" if a view gave none."""
        return str(self.object["metadata"].get("uid", ""))

    @property
    def encoded(self) -> bytes:
        """Return the served object as JSON; encoded once."""
        if self._encoded is None:
            try:
                self._encoded = orjson.dumps(self.object)
            except TypeError as error:  # nested too deep, or a number of more than 64 bits
                named = {k: v for k, v in self.object.items() if k in ("apiVersion", "kind")}
                shown = named | unreadable.in_place_of(self.key, reason_of(error), found=self.object)
                self._encoded = orjson.dumps(with_version(shown, self.revision))
        return self._encoded

    def event(self, change: ChangeType) -> bytes:
        """Return one line of a watch stream; encoded once for all watches of the same kind of change."""
        if self._event is None or self._event[0] != change:
            self._event = (change, b'{"type":"%b","object":%b}\n' % (change.encode(), self.encoded))
        return self._event[1]


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """One change of one object. `entry` is the new state, for DELETED the last one with the revision of the
    deletion; `previous` is the state before, None for ADDED."""

    revision: int
    type: ChangeType
    key: ObjectKey
    entry: ServedObject
    previous: ServedObject | None

    @property
    def old(self) -> ServedObject | None:
        """Return the state before."""
        return self.previous

    @property
    def new(self) -> ServedObject | None:
        """Return the state from now on; None if the object is gone."""
        return None if self.type == "DELETED" else self.entry


def version_of(*, written: int, parts: int, seen: int = 0, now: int = 0) -> int:
    """Return the resourceVersion of an object: the revision of the newest of what it is put together from.

    `written` is the revision of its intent, `parts` the newest of what a view adds, each 0 without one. A
    list (`now`) does not show what was taken away: what is found changed since revision `seen`, and has
    nothing newer, lost a part, and is of the list's own revision.
    """
    newest = max(written, parts)
    return newest if newest > seen else now


def with_version(obj: Object, revision: int, *, hidden: frozenset[str] = frozenset()) -> Object:
    """Return a copy of `obj` with this resourceVersion and without the hidden annotations."""
    metadata: dict[str, Any] = {**(obj.get("metadata") or {}), "resourceVersion": str(revision)}
    annotations = metadata.get("annotations")
    if hidden and annotations and not hidden.isdisjoint(annotations):
        kept = {name: value for name, value in annotations.items() if name not in hidden}
        if kept:
            metadata["annotations"] = kept
        else:
            del metadata["annotations"]
    return {**obj, "metadata": metadata}
