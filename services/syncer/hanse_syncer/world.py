"""What the federation wants: intents, placements, clusters and what each cluster serves, as of now.

Owns the mirrors of the prefixes that others write, and tells who is concerned by a change: a listener is
called with the cluster, the object's path and whether a person waits for it. The listeners of one cluster
hear of nothing else.

Concurrency: one event loop; everything here is read between two awaits and is as new as the watches are.

Next: `hanse_syncer.decide.plan` for what follows from it, `hanse_syncer.cluster.controller` for who listens.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import orjson

from hanse.api.federation.v1.federation_pb2 import Federation
from hanse.api.registry.v1.cluster_pb2 import ApiCatalogue, Cluster
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.errors import HanseError
from hanse.federation import belongings
from hanse.federation.placements import is_named, is_placed_in
from hanse.federation.propagation import placeable
from hanse.federation.tracing import traceparent_of
from hanse.kube.engine import unreadable
from hanse.kube.engine.lifecycle import ORPHAN
from hanse.security.credentials import Sealer, sealed_with
from hanse.security.keyring import KeyName
from hanse.store import Entry, KeyValue, Mirror, Store, keys
from hanse.store.decoding import decode
from hanse.store.paths import namespace_of, path_of


@dataclass(frozen=True, slots=True)
class Intent:
    """One federated object: its encoded form and what decisions need of it."""

    encoded: bytes = field(repr=False)
    revision: int
    uid: str
    generation: int
    deleting: bool
    orphan: bool
    api_version: str
    kind: str
    traceparent: str
    belongs: str = ""
    """Why it belongs to each cluster itself; empty if it does not."""
    sealed: bool = False
    """Whether it is sealed in etcd: what a cluster says of it may have values, and is not written down."""

    def object(self) -> dict[str, Any]:
        """Decode the whole object."""
        decoded: dict[str, Any] = orjson.loads(self.encoded)
        return decoded


def decode_intent(kv: KeyValue) -> Intent | None:
    """Decode a value under objects/; None for what never goes to members. Raises ValueError."""
    key = keys.ObjectKey.parse(kv.key)
    if not placeable(key.group, key.resource):
        return None
    obj, why = unreadable.decode(key, kv.value)
    if why:
        raise ValueError(why)
    metadata = obj["metadata"]
    return Intent(
        encoded=kv.value,
        revision=kv.mod_revision,
        uid=str(metadata.get("uid") or ""),
        generation=int(metadata.get("generation") or 0),
        deleting=bool(metadata.get("deletionTimestamp")),
        orphan=ORPHAN in (metadata.get("finalizers") or ()),
        api_version=str(obj["apiVersion"]),
        kind=str(obj["kind"]),
        traceparent=traceparent_of(obj),
        belongs=belongings.of(key.group, key.resource, obj),
        sealed=kv.sealed,
    )


def decode_placement(kv: KeyValue) -> Placement:
    """Decode a value under placements/. Raises ValueError, InvalidArgumentError for a key of no object."""
    keys.ObjectKey.parse(kv.key)
    return decode(Placement, kv.value)


class Listener(Protocol):
    """Who has one cluster."""

    def concerned(self, path: str, *, urgent: bool) -> None:
        """Something about the object at `path` changed for the cluster."""

    def incomplete(self, path: str) -> None:
        """The object at `path` or its placement changed, and the other one's change is to come."""

    def cluster_changed(self) -> None:
        """The cluster itself, its credential or its catalogue changed."""


class World:
    """The mirrors. Use with `async with`; it returns when all of them have their first list."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.intents: Mirror[Intent | None] = Mirror(store, f"{keys.OBJECTS}/", decode_intent)
        self.placements: Mirror[Placement] = Mirror(store, f"{keys.PLACEMENTS}/", decode_placement)
        self.clusters: Mirror[Cluster] = Mirror(
            store, f"{keys.CLUSTERS}/", lambda kv: decode(Cluster, kv.value)
        )
        self.credentials: Mirror[bytes] = Mirror(store, f"{keys.CREDENTIALS}/", lambda kv: kv.value)
        self.catalogues: Mirror[ApiCatalogue] = Mirror(
            store, f"{keys.CATALOGUES}/", lambda kv: decode(ApiCatalogue, kv.value)
        )
        self.federation: Mirror[Federation] = Mirror(
            store, keys.FEDERATION, lambda kv: decode(Federation, kv.value)
        )
        self._listeners: dict[str, Listener] = {}
        self._cluster_watchers: list[Callable[[], None]] = []
        self._stack = AsyncExitStack()
        self._founded = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.intents.subscribe(self._intent_changed)
        self.placements.subscribe(self._placement_changed)
        self.clusters.subscribe(self._cluster_changed)
        self.credentials.subscribe(self._credential_changed)
        self.catalogues.subscribe(self._catalogue_changed)
        self.federation.subscribe(self._federation_changed)
        for mirror in self._mirrors():
            await self._stack.enter_async_context(mirror)
        try:
            for mirror in self._mirrors():
                await mirror.synced()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def failed(self) -> None:
        """Wait until one of the mirrors ends, and raise what ended it; nothing if it was closed."""
        waits = [asyncio.create_task(mirror.failed()) for mirror in self._mirrors()]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in done:
                wait.result()
        finally:
            for wait in waits:
                wait.cancel()

    def _mirrors(self) -> tuple[Mirror[Any], ...]:
        return (
            self.federation,
            self.clusters,
            self.credentials,
            self.catalogues,
            self.intents,
            self.placements,
        )

    async def federation_id(self) -> str:
        """Return the federation's id; wait for the apiserver to found it."""
        await self._founded.wait()
        federation = self.federation.get(keys.FEDERATION)
        assert federation is not None
        return federation.id

    def intent(self, path: str) -> Intent | None:
        """Return the intent at `<group>/<resource>/<namespace>/<name>`."""
        return self.intents.get(f"{keys.OBJECTS}/{path}")

    def placement(self, path: str) -> Entry[Placement] | None:
        """Return the placement of the object at `path`, with its revision."""
        return self.placements.entry(f"{keys.PLACEMENTS}/{path}")

    def unreadable(self, path: str) -> bool:
        """Whether the object at `path` or its placement is stored, cannot be read, and never could be.

        What it says is not known, which is not the same as that it is not there.
        """
        stored: tuple[tuple[Mirror[Any], str], ...] = (
            (self.intents, f"{keys.OBJECTS}/{path}"),
            (self.placements, f"{keys.PLACEMENTS}/{path}"),
        )
        return any(key in mirror.broken and key not in mirror for mirror, key in stored)

    def is_incomplete(self, path: str) -> bool:
        """Whether the object at `path` and its placement are of different generations.

        Then news of the older one are to come: the two are followed by different watches, and the scheduler
        needs a moment. An object that is being deleted waits for no decision.
        """
        intent, entry = self.intent(path), self.placement(path)
        if entry is None or (intent is not None and intent.deleting):
            return False
        return intent is None or (intent.uid, intent.generation) != (
            entry.value.object.uid,
            entry.value.generation,
        )

    def cluster(self, name: str) -> Cluster | None:
        """Return the compiled view of a cluster."""
        return self.clusters.get(keys.cluster(name))

    def cluster_id(self, name: str) -> str:
        """Return the uid of the cluster's kube-system, by the registry; empty while it is not known."""
        found = self.cluster(name)
        return found.cluster_id if found is not None else ""

    def catalogue(self, name: str) -> ApiCatalogue | None:
        """Return what a cluster serves; None if nobody has looked yet."""
        return self.catalogues.get(keys.catalogue(name))

    def credential(self, name: str) -> bytes | None:
        """Return the sealed credential of a cluster."""
        return self.credentials.get(keys.credential(name))

    def keys_in_use(self) -> Counter[KeyName]:
        """Return how many credentials are sealed with which key."""
        names = (sealed_with(sealed) for _, sealed in self.credentials.items())
        return Counter(name for name in names if name is not None)

    def unreadable_credentials(self, sealer: Sealer) -> int:
        """Return how many credentials `sealer` cannot open."""
        count = 0
        for key, sealed in self.credentials.items():
            try:
                sealer.open(keys.last_segment(key), sealed)
            except HanseError:
                count += 1
        return count

    def cluster_names(self) -> list[str]:
        """Return the names of all clusters, sorted."""
        return sorted(keys.last_segment(key) for key in self.clusters.keys())  # noqa: SIM118

    def placed(self, cluster: str) -> Iterator[str]:
        """Yield the paths of all objects whose placement names the cluster."""
        for key, placement in self.placements.items():
            if is_named(placement, cluster):
                yield path_of(key)

    def wanted_inside(self, namespace: str, cluster: str) -> bool:
        """Whether anything in the namespace is desired in the cluster and not being deleted.

        What cannot be read may be.
        """
        for key in self.placements.broken:
            if key not in self.placements and namespace_of(path_of(key)) == namespace:
                return True
        for key, placement in self.placements.items():
            if namespace_of(path_of(key)) != namespace or not is_placed_in(placement, cluster):
                continue
            path = path_of(key)
            intent = self.intent(path)
            if self.unreadable(path) or (intent is not None and not intent.deleting):
                return True
        return False

    def listen(self, cluster: str, listener: Listener) -> Callable[[], None]:
        """Tell `listener` what concerns the cluster, until what is returned is called."""
        self._listeners[cluster] = listener

        def stop() -> None:
            if self._listeners.get(cluster) is listener:
                del self._listeners[cluster]

        return stop

    def watch_clusters(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever a cluster comes, goes or changes."""
        self._cluster_watchers.append(changed)

    def _intent_changed(self, key: str, old: Intent | None, new: Intent | None, revision: int) -> None:
        if old is None and new is None:
            return
        path = path_of(key)
        placement = self.placements.get(f"{keys.PLACEMENTS}/{path}")
        if placement is not None:
            self._tell(path, _clusters(placement), whole=new is None or not self.is_incomplete(path))

    def _placement_changed(
        self, key: str, old: Placement | None, new: Placement | None, revision: int
    ) -> None:
        before = _clusters(old) if old is not None else {}
        after = _clusters(new) if new is not None else {}
        if old is not None and new is not None and _same_object(old, new):
            names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
            if old.conflict_resolution != new.conflict_resolution:
                names = set(after)
        else:
            names = set(before) | set(after)
        path = path_of(key)
        whole = not self.is_incomplete(path)
        self._tell(path, names & after.keys(), whole=whole)
        self._tell(path, names - after.keys(), whole=True)

    def _tell(self, path: str, clusters: Iterable[str], *, whole: bool) -> None:
        for cluster in clusters:
            listener = self._listeners.get(cluster)
            if listener is None:
                continue
            if whole:
                listener.concerned(path, urgent=True)
            else:
                listener.incomplete(path)

    def _cluster_changed(self, key: str, old: Cluster | None, new: Cluster | None, revision: int) -> None:
        self._tell_cluster(key)
        for changed in self._cluster_watchers:
            changed()

    def _credential_changed(self, key: str, old: bytes | None, new: bytes | None, revision: int) -> None:
        self._tell_cluster(key)

    def _catalogue_changed(
        self, key: str, old: ApiCatalogue | None, new: ApiCatalogue | None, revision: int
    ) -> None:
        self._tell_cluster(key)

    def _tell_cluster(self, key: str) -> None:
        listener = self._listeners.get(keys.last_segment(key))
        if listener is not None:
            listener.cluster_changed()

    def _federation_changed(
        self, key: str, old: Federation | None, new: Federation | None, revision: int
    ) -> None:
        if new is not None:
            self._founded.set()


def _clusters(placement: Placement) -> dict[str, bytes]:
    """Return the clusters that a placement names, with what it says of each."""
    named = {entry.cluster: entry.SerializeToString() for entry in placement.clusters}
    return named | {entry.cluster: b"releasing %d" % entry.after_revision for entry in placement.releasing}


def _same_object(old: Placement, new: Placement) -> bool:
    """Whether two placements are of the same generation of the same object, and not of one made again."""
    return (old.object.uid, old.generation) == (new.object.uid, new.generation)
