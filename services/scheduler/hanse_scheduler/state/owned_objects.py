"""Which objects are made for which owners, and whether an owner is in a member.

Owns `OwnedObjects`, an index of owners by uid and of what is made for them, and the rule where an owner is:

- In members, if its placement names a cluster, also one that it must still leave; if it belongs to clusters
  itself; or if it is made for an object that is in members.
- In the federation only, if it is here and its decision names no cluster, or it is of a kind that goes
  nowhere.
- Unknown otherwise: it is not here, was not decided on yet, or cannot be. What is made for it stays where it
  is.

Concurrency: one event loop. Next: `hanse.federation.belongings` for the law,
`hanse_scheduler.state.scheduler_state`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterator
from typing import Final

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.federation.belongings import ControllingOwner
from hanse.federation.placements import named_clusters
from hanse.federation.propagation import placeable
from hanse.federation.references import is_same_object
from hanse.kube.model.objects import child
from hanse_scheduler.state.object_index import discard
from hanse_scheduler.state.records import ObjectRecord

_DEEPEST: Final = 16
"""Owners of owners that are looked at; references can go round in circles."""


class OwnerPresence(enum.Enum):
    """Where an owner is, as far as is known."""

    IN_MEMBERS = "in members"
    FEDERATION_ONLY = "in the federation only"
    UNKNOWN = "unknown"


class OwnedObjects:
    """Paths of owners by uid, and of what is made for them. `record` and `placement` are by path."""

    def __init__(
        self,
        *,
        record: Callable[[str], ObjectRecord | None],
        placement: Callable[[str], Placement | None],
    ) -> None:
        self._record = record
        self._placement = placement
        self._paths: dict[str, str] = {}
        self._owned: dict[str, set[str]] = {}

    def note(self, path: str, before: ObjectRecord | None, after: ObjectRecord | None) -> Collection[str]:
        """Take in a change of an object; return what is made for it, if that may follow."""
        if before is not None and before.owner is not None:
            discard(self._owned, before.owner.uid, path)
        if after is not None and after.owner is not None:
            self._owned.setdefault(after.owner.uid, set()).add(path)
        was, now = _uid(before), _uid(after)
        if was and was != now and self._paths.get(was) == path:
            del self._paths[was]
        if now:
            self._paths[now] = path
        if _standing(before) == _standing(after):
            return ()
        return {*self._made_for(was), *self._made_for(now)}

    def moved(self, path: str, before: Placement | None, after: Placement | None) -> Collection[str]:
        """Return what is made for the object at `path` and may follow such a change of its placement."""
        record = self._record(path)
        if record is None or _said(before) == _said(after):
            return ()
        return set(self._made_for(_uid(record)))

    def presence(self, owner: ControllingOwner) -> OwnerPresence:
        """Return where an owner is."""
        for _ in range(_DEEPEST):
            if not placeable(owner.group, ""):
                return OwnerPresence.FEDERATION_ONLY
            path = self._paths.get(owner.uid)
            record = self._record(path) if path is not None else None
            if path is None or record is None or record.kind != owner.kind:
                return OwnerPresence.UNKNOWN
            placement = self._placement(path)
            if record.belongs or (placement is not None and named_clusters(placement)):
                return OwnerPresence.IN_MEMBERS
            if placement is not None:
                decided = not placement.error and is_same_object(owner.uid, placement.object.uid)
                return OwnerPresence.FEDERATION_ONLY if decided else OwnerPresence.UNKNOWN
            if record.owner is None:
                return OwnerPresence.UNKNOWN if record.propagates else OwnerPresence.FEDERATION_ONLY
            owner = record.owner
        return OwnerPresence.UNKNOWN

    def _made_for(self, uid: str) -> Iterator[str]:
        """Yield what is made for an object, and what is made for that."""
        seen: set[str] = set()
        waiting = [uid] if uid else []
        while waiting:
            for path in self._owned.get(waiting.pop(), ()):
                if path not in seen:
                    seen.add(path)
                    yield path
                    if below := _uid(self._record(path)):
                        waiting.append(below)


def _uid(record: ObjectRecord | None) -> str:
    return str(child(record.reduced, "metadata", "uid") or "") if record is not None else ""


def _standing(record: ObjectRecord | None) -> tuple[object, ...]:
    """Return what of an owner matters to what is made for it."""
    if record is None:
        return ()
    return _uid(record), record.kind, record.belongs, record.propagates, record.owner


def _said(placement: Placement | None) -> tuple[object, ...]:
    if placement is None:
        return ()
    return bool(named_clusters(placement)), bool(placement.error), placement.object.uid
