"""What happened to one resource lately: its objects in order beside a bounded log of their changes.

A `ResourceHistory` belongs to one cache and is used from its event loop only. Besides what every log does it
gives the objects in the order of lists, and undoes changes, to page through a list as it was. Next:
`hanse.store.history.log`, which keeps the changes; `hanse.kube.engine.cache`, which makes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from sortedcontainers import SortedDict

from hanse.kube.engine.served import ObjectChange, ServedObject
from hanse.store.history.log import WINDOW, ChangeLog

Position: TypeAlias = tuple[str, str]
"""Namespace and name: the order of lists."""


class ResourceHistory(ChangeLog[ObjectChange]):
    """Objects of one resource and their last changes."""

    def __init__(self, *, floor: int, window: int = WINDOW) -> None:
        """`floor` is the revision from which on every change will be in the log."""
        super().__init__(floor=floor, window=window)
        self.entries: SortedDict[Position, ServedObject] = SortedDict()
        self._snapshot: tuple[tuple[int, str | None], tuple[ServedObject, ...]] | None = None

    def load(self, entries: dict[Position, ServedObject]) -> None:
        """Put in the first objects, without a change for each but those of the floor itself."""
        self.entries.update(entries)
        self.begin(self._of_revision(self.floor))

    def relisted(self, revision: int) -> None:
        """Forget what happened before `revision`, at which all objects were listed again."""
        self.restart(revision, self._of_revision(revision))
        self._snapshot = None

    def _of_revision(self, revision: int) -> Iterator[ObjectChange]:
        for entry in self.entries.values():
            if entry.revision == revision:
                yield ObjectChange(revision, "ADDED", entry.key, entry, None)

    def append(self, change: ObjectChange) -> None:
        """Record a change and wake the readers."""
        position = (change.key.namespace, change.key.name)
        if change.type == "DELETED":
            self.entries.pop(position, None)
        else:
            self.entries[position] = change.entry
        super().append(change)

    def snapshot(self, namespace: str | None) -> tuple[ServedObject, ...]:
        """Return the objects in a namespace (None: all) in order; watches that begin together share it."""
        if self._snapshot is None or self._snapshot[0] != (self.end, namespace):
            self._snapshot = ((self.end, namespace), tuple(self.select(namespace)))
        return self._snapshot[1]

    def select(self, namespace: str | None, *, after: Position | None = None) -> Iterator[ServedObject]:
        """Iterate over the objects in one namespace (None: all) in order, after a position."""
        low = after or ((namespace or "", "") if namespace is not None else None)
        high = (namespace, "\U0010ffff") if namespace is not None else None
        for position in self.entries.irange(low, high, inclusive=(after is None, True)):
            yield self.entries[position]

    def at(self, revision: int, namespace: str | None) -> list[ServedObject]:
        """Return the objects in a namespace (None: all) as they were at `revision`, in order.

        Raises CompactedError if that is before the log's window.
        """
        undone: dict[Position, ServedObject | None] = {}
        for change in self.since(revision):
            undone[(change.key.namespace, change.key.name)] = change.previous
        if not undone:
            return list(self.select(namespace))
        state = dict(self.entries)
        state.update((p, e) for p, e in undone.items() if e is not None)
        for position, entry in undone.items():
            if entry is None:
                state.pop(position, None)
        return [state[p] for p in sorted(state) if namespace is None or p[0] == namespace]
