"""What a member shows of our objects of one resource: uid and resourceVersion of each.

Owns `ObservedObjects`, which an informer feeds. It remembers nothing else; a whole object that the watch
brings is handed on once. What is not shown proves nothing: an object that is missing from a new list, or that
the watch says is deleted (which is also what a label taken off looks like), is reported as `vanished`, and
whoever cares asks for it by name.

Concurrency: called in the informer's task, and by the controller between two of its steps. Next:
`hanse.kube.client.informer`, `hanse_syncer.member.session`, which has one for each resource in use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

from hanse.boundary import Boundary
from hanse.kube.client.bounds import FOLLOWED_OBJECTS, MisbehavingMemberError
from hanse.kube.model.objects import Object
from hanse.numbers import whole_number
from hanse_syncer.decide.plan import Seen

SLICE: Final = 200
"""Objects of a list that are taken in before the event loop has a turn."""
Identity = tuple[str, str]
"""Namespace and name."""


class ObjectObserver(Protocol):
    """Who is told. Methods are called in the informer's task and must be quick."""

    def changed(self, namespace: str, name: str, seen: Seen, live: Object | None) -> None:
        """Take note that the object is there; `live` is the whole of it where the watch brought it."""

    def vanished(self, namespace: str, name: str, last: Object | None) -> None:
        """Take note that the object is no longer shown."""

    def listed(self) -> None:
        """Take note that a list is complete."""


class ObservedObjects:
    """Our objects of one resource in one member; a `hanse.kube.client.informer.InformerStore`."""

    def __init__(
        self,
        observer: ObjectObserver,
        *,
        metadata_only: bool,
        full: Callable[[], bool] = lambda: False,
    ) -> None:
        """`metadata_only` is whether the watch brings no whole objects; `full` says that no more objects of
        the member can be followed."""
        self.known: dict[Identity, Seen] = {}
        self.is_listed = False
        self._noted: set[Identity] | None = None
        """What answers have spoken of since the list under way began; None without one."""
        self._metadata_only = metadata_only
        self._observer = observer
        self._full = full
        self._boundary = Boundary("member objects")

    def seen(self, namespace: str, name: str) -> Seen | None:
        """Return what is known of an object."""
        return self.known.get((namespace, name))

    def note(self, namespace: str, name: str, seen: Seen) -> None:
        """Take in what an answer about the object said, so that the watch's echo of it is no news.

        The watch may be ahead of the answer: then what it showed stays, and is looked at.
        """
        if self._noted is not None:
            self._noted.add((namespace, name))
        known = self.known.get((namespace, name))
        if known is None or known.uid != seen.uid or _newer(seen, known):
            self.known[namespace, name] = seen

    @contextmanager
    def listing(self) -> Iterator[_ObjectListing]:
        """Begin a list."""
        self._noted = set()
        try:
            yield _ObjectListing(self)
        finally:
            self._noted = None

    def put(self, obj: Object) -> None:
        """Take in an object that the watch brings."""
        self._take(_identity(obj), _seen(obj), live=None if self._metadata_only else obj)

    def remove(self, obj: Object) -> None:
        """Take in that the watch shows an object no more."""
        identity = _identity(obj)
        self.known.pop(identity, None)
        self._observer.vanished(*identity, None if self._metadata_only else obj)

    async def replace(self, listed: list[tuple[Identity, Seen]]) -> None:
        """Take in a list that is complete."""
        noted = self._noted or set()
        shown: set[Identity] = set()
        for number, (identity, seen) in enumerate(listed, 1):
            if number % SLICE == 0:
                await asyncio.sleep(0)
            shown.add(identity)
            if identity not in noted:
                # Nothing was heard of it since the list began, so what is known is not newer, whatever the
                # versions say: those of a member that was restored from a backup go back.
                self._forget_newer(identity, seen)
            self._take(identity, seen, live=None)
        for identity in [identity for identity in self.known if identity not in shown]:
            del self.known[identity]
            self._observer.vanished(*identity, None)
        self.is_listed = True
        self._observer.listed()

    def _forget_newer(self, identity: Identity, seen: Seen) -> None:
        known = self.known.get(identity)
        if known is not None and known.resource_version != seen.resource_version:
            del self.known[identity]

    def _take(self, identity: Identity, seen: Seen, *, live: Object | None) -> None:
        known = self.known.get(identity)
        if known is not None and known.uid == seen.uid and not _newer(seen, known):
            return
        if known is None and self._full():
            raise MisbehavingMemberError(
                f"it shows more than {FOLLOWED_OBJECTS} objects as the federation's: no cluster has as many",
                metadata={"bound": str(FOLLOWED_OBJECTS)},
            )
        self.known[identity] = seen
        with self._boundary.around("/".join(identity)):
            self._observer.changed(*identity, seen, live)


class _ObjectListing:
    """A list that is being read."""

    def __init__(self, objects: ObservedObjects) -> None:
        self._objects = objects
        self._listed: list[tuple[Identity, Seen]] = []

    def add(self, item: Object) -> None:
        self._listed.append((_identity(item), _seen(item)))

    async def commit(self) -> None:
        await self._objects.replace(self._listed)


def _identity(item: Mapping[str, Any]) -> Identity:
    metadata = item["metadata"]
    return str(metadata.get("namespace") or ""), str(metadata["name"])


def _seen(item: Mapping[str, Any]) -> Seen:
    metadata = item["metadata"]
    return Seen(str(metadata["uid"]), str(metadata["resourceVersion"]))


def _newer(seen: Seen, known: Seen) -> bool:
    """Return whether `seen` is news: the watch can be behind the answer to an apply.

    Versions of one resource are ordered as numbers (KEP-5504); where they are no numbers, any other is news.
    """
    new, old = whole_number(seen.resource_version), whole_number(known.resource_version)
    if new is not None and old is not None:
        return new > old
    return seen.resource_version != known.resource_version
