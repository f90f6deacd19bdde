"""All objects in memory: takes in what is followed of the store and serves lists and watches from there.

`hanse.store.follow.list_watch` follows the store in one span and has changes taken in; everything else is
synchronous and sees a consistent state. A revision of the store is applied whole before anybody else runs.
After a compaction the store is listed again and subscribers are told the difference; watches end, since
nobody knows what they missed. Reads wait until the cache has seen what this process wrote (`fresh`). A value
that cannot be read, a view that fails on an object and a subscriber that raises are that object's trouble:
it is served with the reason (`hanse.kube.engine.unreadable`), and all others are served on. Next:
`hanse.kube.engine.history` for windows and watches, `hanse.kube.engine.resources.store` for writes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from types import MappingProxyType

from hanse.boundary import Boundary
from hanse.errors import FutureRevisionError, HanseError, InternalError
from hanse.kube.engine import unreadable
from hanse.kube.engine.history import Position, ResourceHistory
from hanse.kube.engine.hooks import Deferred, View
from hanse.kube.engine.served import ObjectChange, ServedObject, version_of, with_version
from hanse.kube.model.objects import Object
from hanse.store import Event, KeyValue, Store, WatchBatch
from hanse.store.follow.list_watch import Commit, ListWatch
from hanse.store.history.contract import CATCH_UP_SECONDS, caught_up
from hanse.store.history.log import WINDOW
from hanse.store.history.logged import LoggedHistory
from hanse.store.keys import OBJECTS, ObjectKey, resource_prefix
from hanse.store.spans import Span

FRESH_SECONDS = 10.0
"""How long a read waits for the cache to catch up before it fails with 504."""

SETTLE_SECONDS = 0.5
"""How long the answer to a write waits for what the view adds to it; normally a millisecond or two."""

MAX_UNSHOWN = 16
"""Changes of an object that are not shown, of which it is known under which version others may serve it."""

_OBJECTS = f"{OBJECTS}/"


class ObjectCache:
    """The objects of a store, by resource, with the recent history of each resource."""

    def __init__(
        self,
        store: Store,
        *,
        view: View | None = None,
        hidden: Iterable[str] = (),
        window: int = WINDOW,
        shared: bool = False,
        kind_of: Callable[[str, str], tuple[str, str]] = lambda group, resource: ("", ""),
        shown: Mapping[tuple[str, str], Callable[[Object], Object]] = MappingProxyType({}),
        prepare: Mapping[tuple[str, str], Callable[[bytes], Awaitable[None]]] = MappingProxyType({}),
    ) -> None:
        """`hidden` annotations are never served. `shared` says that other processes write objects too, so
        that a consistent read must ask the store. `kind_of` returns apiVersion and kind of a stored
        resource, for what is served in place of an object that cannot be read. `shown` has, by group and
        resource, what says how an object is served that can be read and not be used, and `prepare` what is
        awaited with a stored value before it is taken in, so that `shown` and subscribers are quick."""
        self._store = store
        self._view = view
        self._hidden = frozenset(hidden)
        self._window = window
        self._shared = shared
        self._prefixes = (_OBJECTS, *(view.prefixes if view else ()))
        self._logs: dict[tuple[str, str], ResourceHistory] = {}
        self._count = 0
        self._kind_of = kind_of
        self._shown = shown
        self._prepare = [
            (resource_prefix(group=group, resource=resource), function)
            for (group, resource), function in prepare.items()
        ]
        self._broken: dict[ObjectKey, str] = {}
        self._strays: set[str] = set()
        self._unshown: dict[ObjectKey, tuple[int, ...]] = {}
        self.boundary = Boundary("object cache")
        self._floor = 0
        self._expected = 0
        self._subscribers: list[Callable[[ObjectChange], None]] = []
        # Views need other prefixes in the same order of revisions, so one span from the first to the last.
        span = Span(min(self._prefixes), max(self._prefixes))
        self._list_watch = ListWatch(store, self, self._prefixes, spans=(span,), asks=False)

    @property
    def revision(self) -> int:
        """The revision up to which everything has been taken in; 0 before the first list."""
        return self._list_watch.revision

    # Reading.

    def get(self, key: ObjectKey) -> ServedObject | None:
        """Return an object; None if there is none."""
        log = self._logs.get((key.group, key.resource))
        return log.entries.get((key.namespace, key.name)) if log else None

    def unreadable(self, key: ObjectKey) -> str:
        """Return why what is stored of an object cannot be read; "" if it can, or nothing is stored."""
        return self._broken.get(key, "")

    def objects(self, group: str, resource: str, namespace: str | None = None) -> list[ServedObject]:
        """Return the objects of a resource in order of namespace and name; `namespace` None means all."""
        log = self._logs.get((group, resource))
        return list(log.select(namespace)) if log else []

    def count(self, group: str, resource: str) -> int:
        """Return how many objects of a resource there are."""
        log = self._logs.get((group, resource))
        return len(log.entries) if log else 0

    def resources(self) -> list[tuple[str, str]]:
        """Return group and plural of every resource that has or had objects."""
        return list(self._logs)

    def log(self, group: str, resource: str) -> ResourceHistory:
        """Return a resource's log; an empty one if nothing ever happened."""
        log = self._logs.get((group, resource))
        if log is None:
            log = self._logs[(group, resource)] = ResourceHistory(floor=self._floor, window=self._window)
        return log

    def history(self, group: str, resource: str) -> LoggedHistory[ObjectKey, ServedObject]:
        """Return the history of a resource, for watches by `hanse.store.history.contract`."""
        log = self.log(group, resource)
        return LoggedHistory(
            log.reader, following=self, states=lambda: ((entry.key, entry) for entry in log.snapshot(None))
        )

    def subscribe(self, callback: Callable[[ObjectChange], None]) -> Callable[[], None]:
        """Call `callback` for every change of every resource, at once and in order; returns how to stop."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def served(self, key: ObjectKey, intent: Object, revision: int) -> Object:
        """Return how `intent`, written at `revision`, is served.

        Its resourceVersion is never that of a later write, which the cache may have seen already: whoever
        gets the answer would take the watch's event of that write for something it has seen.
        """
        obj = self._rendered(key, intent)
        if isinstance(obj, Deferred):
            obj = obj.make()
        entry = self.get(key)
        parts = entry.revision if entry is not None and entry.intent_revision <= revision else 0
        version = version_of(written=revision, parts=parts)
        return with_version(obj if obj is not None else intent, version, hidden=self._hidden)

    def served_as(self, key: ObjectKey, intent_revision: int, version: int) -> bool:
        """Report whether the intent written at `intent_revision` is or was served under `version`.

        Known are the newest version, those since then at which something changed that is not shown (another
        process serves the one at which it listed), at most `MAX_UNSHOWN`, and those in the log.
        """
        entry = self.get(key)
        if entry is None or entry.intent_revision != intent_revision or version < intent_revision:
            return False
        if version == entry.revision or version in self._unshown.get(key, ()):
            return True
        log = self.log(key.group, key.resource)
        return any(
            change.key == key and change.entry.intent_revision == intent_revision
            for change in log.of_revision(version)
        )

    # Catching up.

    def expect(self, revision: int) -> None:
        """Make later `fresh` reads wait for `revision`: this process wrote at it."""
        self._expected = max(self._expected, revision)

    @property
    def is_fresh(self) -> bool:
        """Report whether the cache certainly has everything that was written before now."""
        return not self._shared and self.revision >= self._expected

    def keepers(self, key: ObjectKey) -> tuple[str, ...]:
        """Return the finalizers without which an object must not go whose own cannot be read."""
        return tuple(self._view.keepers(key)) if self._view else ()

    @property
    def added_fields(self) -> tuple[str, ...]:
        """Return the paths that the view adds to what is served."""
        return tuple(self._view.fields) if self._view else ()

    async def fresh(self) -> None:
        """Wait until everything that was acknowledged before this call is in the cache. Raises DeadlineError.

        Without `shared` that is what this process wrote: objects have one writer.
        """
        if self.revision < self._expected:
            await self.reached(self._expected)
        if self._shared:
            await self._list_watch.caught_up(_OBJECTS, FRESH_SECONDS)

    async def reached(self, revision: int, timeout: float = FRESH_SECONDS) -> None:
        """Wait until the cache has everything up to `revision`. Raises DeadlineError after `timeout` s."""
        await self._list_watch.reached(revision, timeout)

    async def known(self, revision: int, timeout: float = CATCH_UP_SECONDS) -> None:
        """Wait until the cache has a revision that a client has from somewhere.

        Raises FutureRevisionError: at once if the store has not reached it either, as after a restore from a
        backup, else after `timeout` seconds.
        """
        if revision <= self.revision:
            return
        if revision > await self._store.revision():
            raise FutureRevisionError(revision, current=self.revision)
        await caught_up(self, revision, timeout)

    async def settled(self, revision: int) -> None:
        """Wait a little for all that a view adds to an object written at `revision`.

        Its answer then has every part up to the revision that it is labelled with. The write is done already,
        so a watch that is late or broken delays the answer and is no failure.
        """
        if self._view is not None:
            with suppress(HanseError):
                await self.reached(revision, SETTLE_SECONDS)

    async def synced(self) -> None:
        """Wait until the first list is in."""
        await self._list_watch.synced()

    # Following the store.

    async def run(self) -> None:
        """Follow the store until cancelled; an outage of the store is waited out.

        Raises FailedPreconditionError if the store's history went back: nothing that is here holds then.
        """
        await self._list_watch.run()

    def key_count(self, prefix: str) -> int:
        """Return how many keys there are under objects/; nobody asks for those of the view."""
        return self._count if prefix == _OBJECTS else 0

    async def prepare(self, batch: WatchBatch) -> Commit:
        """Read whole revisions of the store; return what takes them in."""
        for event in batch.events:
            await self._prepared(event.kv)
        return partial(self._take, batch)

    async def prepare_list(self, pages: AsyncIterator[Sequence[KeyValue]]) -> Commit:
        """Read a list of everything; return what fills the cache, or tells the difference later on."""
        listed = _Listed()
        async for page in pages:
            for kv in page:
                if not kv.key.startswith(_OBJECTS):
                    listed.parts.append(Event("put", kv))
                elif (key := self._key(kv, listed.strays)) is not None:
                    await self._prepared(kv)
                    listed.intents[key] = self._take_in(key, kv, listed.broken)
        return partial(self._take_list, listed, self.revision)

    def _take_list(self, listed: _Listed, seen: int, revision: int) -> None:
        """Have what was listed at `revision`, where everything up to `seen` was known before."""
        self._broken, self._strays = listed.broken, listed.strays
        self._count = len(listed.intents) + len(listed.strays)
        affected = self._reset_view(listed.parts)
        if not seen:
            self._fill(listed.intents, affected, revision)
        else:
            self._replace(listed.intents, affected, seen=seen, revision=revision)

    async def _prepared(self, kv: KeyValue) -> None:
        for prefix, function in self._prepare:
            if kv.key.startswith(prefix):
                await function(kv.value)

    def _reset_view(self, events: list[Event]) -> dict[ObjectKey, int]:
        """Give the view everything again; return the objects it speaks of and the newest revision of each."""
        affected: dict[ObjectKey, int] = {}
        if self._view is not None:
            self._view.reset()
            for event in events:
                for key in self._applied(event):
                    affected[key] = max(affected.get(key, 0), event.kv.mod_revision)
        return affected

    def _fill(
        self, intents: dict[ObjectKey, tuple[Object, int]], affected: dict[ObjectKey, int], revision: int
    ) -> None:
        self._floor = revision
        by_resource: dict[tuple[str, str], dict[Position, ServedObject]] = {}
        for key in (*intents, *(affected.keys() - intents.keys())):
            intent, written = intents.get(key, (None, 0))
            entry = self._entry(key, intent, written, version_of(written=written, parts=affected.get(key, 0)))
            if entry is not None:
                by_resource.setdefault((key.group, key.resource), {})[(key.namespace, key.name)] = entry
        for (group, resource), entries in by_resource.items():
            self.log(group, resource).load(entries)

    def _replace(
        self,
        intents: dict[ObjectKey, tuple[Object, int]],
        affected: dict[ObjectKey, int],
        *,
        seen: int,
        revision: int,
    ) -> None:
        """Tell subscribers the difference to a list at `revision`, in the order of revisions; end watches.

        What is there has the version that it had if nothing had been missed, so that it can be written back;
        only what went, or lost a part, has the list's. What came and went meanwhile is not known, so no watch
        can go on without a gap.
        """
        known = {e.key for log in self._logs.values() for e in log.entries.values()}
        found: list[tuple[int, ObjectKey, ServedObject | None]] = []
        for key in sorted(known | intents.keys() | affected.keys()):
            intent, written = intents.get(key, (None, 0))
            parts = affected.get(key, 0)
            version = version_of(written=written, parts=parts, seen=seen, now=revision)
            entry = self._entry(key, intent, written, version)
            found.append((version if entry else revision, key, entry))
        for at, key, entry in sorted(found, key=lambda each: each[0]):
            self._change(key, entry, at)
        self._floor = revision
        for log in self._logs.values():
            log.relisted(revision)

    def _take(self, batch: WatchBatch, _: int) -> None:
        """Take in what happened, revision by revision.

        What the view says of an object is put together once for all changes of its parts that follow one
        another, and is of the revision of the last of them.
        """
        affected: dict[ObjectKey, int] = {}
        for revision, events in groupby(batch.events, key=lambda event: event.kv.mod_revision):
            objects: list[Event] = []
            for event in events:
                if event.kv.key.startswith(_OBJECTS):
                    objects.append(event)
                elif self._view is not None and event.kv.key.startswith(self._prefixes[1:]):
                    affected.update(dict.fromkeys(self._applied(event), revision))
            if objects:
                self._take_parts({key: at for key, at in affected.items() if at < revision})
                affected = {key: at for key, at in affected.items() if at == revision}
            for event in objects:
                self._take_object(event, affected)
        self._take_parts(affected)

    def _take_object(self, event: Event, affected: dict[ObjectKey, int]) -> None:
        path, revision = event.kv.key, event.kv.mod_revision
        if event.kind == "delete" and path in self._strays:
            self._strays.discard(path)
            self._count -= 1
            return
        known_stray = path in self._strays
        key = self._key(event.kv, self._strays)
        if key is None:
            self._count += not known_stray
            return
        there = self._intent(key) is not None
        if event.kind == "delete":
            self._count -= there
            self._broken.pop(key, None)
            self._change(key, self._entry(key, None, 0, revision), revision)
            return
        self._count += not there
        known = self._take_in(key, event.kv, self._broken)
        version = version_of(written=revision, parts=affected.pop(key, 0))
        self._change(key, self._entry(key, *known, version), version)

    def _take_parts(self, affected: dict[ObjectKey, int]) -> None:
        """Render the objects whose parts changed, each at the revision of its newest part, in that order."""
        for key, revision in sorted(affected.items(), key=lambda item: item[1]):
            old = self.get(key)
            intent, written = (old.intent, old.intent_revision) if old else (None, 0)
            version = version_of(written=written, parts=revision)
            self._change(key, self._entry(key, intent, written, version), version)

    def _key(self, kv: KeyValue, strays: set[str]) -> ObjectKey | None:
        """Return which object a key is of; None, and a line in the log, for one that is no object's."""
        try:
            return ObjectKey.parse(kv.key)
        except HanseError as error:
            strays.add(kv.key)
            self.boundary.failed(kv.key, error)
            return None

    def _take_in(self, key: ObjectKey, kv: KeyValue, broken: dict[ObjectKey, str]) -> tuple[Object, int]:
        """Return the stored object, or what is served in its place, and the revision that wrote it.

        A value that cannot be read must not stop the others, and is not nothing: if the object was known
        before, that is served, with the reason; else its metadata, as far as they can be read.
        """
        obj, why = unreadable.decode(key, kv.value)
        if not why:
            broken.pop(key, None)
            return obj, kv.mod_revision
        self.boundary.failed(kv.key, ValueError(why))
        old = self.get(key)
        known = old.intent if old is not None and key not in broken else None
        broken[key] = why
        return unreadable.marked(known, why) if known is not None else obj, kv.mod_revision

    def _applied(self, event: Event) -> Iterable[ObjectKey]:
        """Give the view an event; return what may look different. One that it fails on changes nothing."""
        if self._view is None:
            raise InternalError("this cache has no view")
        try:
            return list(self._view.apply(event))
        except Exception as error:  # noqa: BLE001 - of one value; the others are followed on
            self.boundary.failed(event.kv.key, error)
            return ()

    def _rendered(self, key: ObjectKey, intent: Object | None) -> Object | Deferred | None:
        """Return what is served; what is stored, with the reason, if the view fails on it."""
        if key in self._broken and intent is not None:
            return self._in_place(key, intent)
        show = self._shown.get((key.group, key.resource))
        if self._view is None and show is None:
            return intent
        try:
            obj = self._view.render(key, intent) if self._view is not None else intent
            return show(obj) if show is not None and isinstance(obj, dict) else obj
        except Exception as error:  # noqa: BLE001 - of one object; all others are served on
            why = self.boundary.failed(str(key), error)
            return None if intent is None else unreadable.marked(intent, why)

    def _in_place(self, key: ObjectKey, intent: Object) -> Object | Deferred:
        """Return what is served of an unreadable object: of its kind, as soon as that is known."""
        if "kind" in intent:
            return intent

        def make() -> Object:
            api_version, kind = self._kind_of(key.group, key.resource)
            return {"apiVersion": api_version, "kind": kind, **intent}

        return Deferred(make)

    def _intent(self, key: ObjectKey) -> Object | None:
        old = self.get(key)
        return old.intent if old else None

    def _entry(
        self, key: ObjectKey, intent: Object | None, intent_revision: int, revision: int
    ) -> ServedObject | None:
        obj = self._rendered(key, intent)
        if obj is None:
            return None
        served = obj if isinstance(obj, Deferred) else with_version(obj, revision, hidden=self._hidden)
        return ServedObject(
            key, obj=served, intent=intent, intent_revision=intent_revision, revision=revision
        )

    def _change(self, key: ObjectKey, new: ServedObject | None, revision: int) -> None:
        """Compare an object's new state with the old one, and record what changed at `revision`."""
        old = self.get(key)
        if new is None:
            if old is not None:
                self._delete(old, revision)
            return
        if old is None:
            self._emit(ObjectChange(revision, "ADDED", key, new, None))
        elif new.deferred:
            self._emit(ObjectChange(revision, "MODIFIED", key, new, old))
        elif old.uid != new.uid:
            self._delete(old, revision)
            self._emit(ObjectChange(revision, "ADDED", key, new, None))
        elif old.intent_revision != new.intent_revision or not _same(old.object, new.object):
            self._emit(ObjectChange(revision, "MODIFIED", key, new, old))
        else:
            self._unshown[key] = (*self._unshown.get(key, ())[1 - MAX_UNSHOWN :], revision)

    def _delete(self, old: ServedObject, revision: int) -> None:
        self._emit(ObjectChange(revision, "DELETED", old.key, old.at(revision), old))

    def _emit(self, change: ObjectChange) -> None:
        self._unshown.pop(change.key, None)
        self.log(change.key.group, change.key.resource).append(change)
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(change)
            except Exception as error:  # noqa: BLE001 - of one object; the others are told on
                self.boundary.failed(str(change.key), error)


@dataclass(slots=True)
class _Listed:
    """What a list of everything has."""

    intents: dict[ObjectKey, tuple[Object, int]] = field(default_factory=dict)
    broken: dict[ObjectKey, str] = field(default_factory=dict)
    strays: set[str] = field(default_factory=set)
    parts: list[Event] = field(default_factory=list)
    """What the view follows."""


def _same(old: Object, new: Object) -> bool:
    """Compare two served objects; the resourceVersion alone is no difference."""
    if old["metadata"] != {**new["metadata"], "resourceVersion": old["metadata"]["resourceVersion"]}:
        return False
    return all(old.get(k) == new.get(k) for k in old.keys() | new.keys() if k != "metadata")
