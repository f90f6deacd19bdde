"""The objects that the scheduler knows, by path, kind and resource.

Owns `ObjectIndex`. A kind is what policies select by, a resource what clusters serve.

Concurrency: one event loop. Next: `hanse_scheduler.state.records` for what is kept of an object,
`hanse_scheduler.state.scheduler_state`.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from typing import TypeVar

from hanse.paths import resource_of
from hanse_scheduler.state.records import ObjectRecord

K = TypeVar("K", bound=Hashable)


class ObjectIndex:
    """Records by path."""

    def __init__(self) -> None:
        self._records: dict[str, ObjectRecord] = {}
        self._by_kind: dict[tuple[str, str], set[str]] = {}
        self._by_resource: dict[tuple[str, str], set[str]] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._records

    def __iter__(self) -> Iterator[str]:
        """Yield the paths of all objects as they are now."""
        return iter(list(self._records))

    def get(self, path: str) -> ObjectRecord | None:
        """Return what is known of the object, None if there is none."""
        return self._records.get(path)

    def set(self, path: str, record: ObjectRecord | None) -> None:
        """Take the object in, or out."""
        group, resource = resource_of(path)
        before = self._records.get(path)
        if before is not None and (record is None or record.kind != before.kind):
            discard(self._by_kind, (group, before.kind), path)
        if record is None:
            self._records.pop(path, None)
            discard(self._by_resource, (group, resource), path)
            return
        self._records[path] = record
        self._by_kind.setdefault((group, record.kind), set()).add(path)
        self._by_resource.setdefault((group, resource), set()).add(path)

    def of_kind(self, group: str, kind: str) -> list[str]:
        """Return the paths of all objects of a kind."""
        return list(self._by_kind.get((group, kind), ()))

    def by_resource(self) -> list[tuple[tuple[str, str], Collection[str]]]:
        """Return the paths of all objects by (group, resource)."""
        return list(self._by_resource.items())


def discard(index: dict[K, set[str]], key: K, path: str) -> None:
    """Take `path` out of the set at `key`, and the set away if it is empty."""
    paths = index.get(key)
    if paths is not None:
        paths.discard(path)
        if not paths:
            del index[key]
