"""What the federation wants: intents, tombstones, placements, clusters and what each serves, as of now.

Owns `FederationState`: what others write, followed in one span, so that it is the state of one revision at
all times, and who is concerned by a change: a listener is called with the object's path and whether a person
waits for it. The listeners of one cluster hear of nothing else.

Concurrency: one event loop; everything here is read between two awaits.

Next: `hanse_syncer.decide.plan` for what follows from it, `hanse_syncer.cluster.controller` for who listens.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from typing import Final, Protocol, Self

from hanse.api.federation.v1.federation_pb2 import Federation
from hanse.api.federation.v1.tombstone_pb2 import Tombstone
from hanse.api.registry.v1.cluster_pb2 import ApiCatalogue, Cluster
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.errors import HanseError, InternalError
from hanse.federation.deletion.tombstones import clusters_of, copies_in, decode_tombstone, is_inside
from hanse.federation.placements import is_named, is_placed_in
from hanse.federation.records import decode_catalogue, decode_cluster, decode_placement
from hanse.paths import namespace_of, path_of
from hanse.security.credentials import Sealer, sealed_with
from hanse.security.keyring import KeyName
from hanse.store import Collection, Follower, Store, Versioned, keys
from hanse.store.decoding import decode, leased
from hanse.store.spans import Span
from hanse_syncer.federation.decisions import PendingDecisions, is_decided
from hanse_syncer.federation.intent import Intent, decode_intent

SPAN: Final = Span(f"{keys.CATALOGUES}/", f"{keys.PLACEMENTS}/")
"""In one order come a cluster, an object and its placement: what the scheduler knew of the cluster when it
decided is known here before the decision."""


class Listener(Protocol):
    """Who has one cluster."""

    def concerned(self, path: str, *, urgent: bool) -> None:
        """Something about the object at `path` changed for the cluster."""

    def cluster_changed(self) -> None:
        """Take note that the cluster itself, its credential or its catalogue changed."""


class FederationState:
    """What is followed. Use with `async with`; it returns when the first list is in."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.catalogues = Collection(f"{keys.CATALOGUES}/", decode_catalogue)
        self.clusters = Collection(f"{keys.CLUSTERS}/", decode_cluster)
        self.credentials = Collection(f"{keys.CREDENTIALS}/", lambda kv: kv.value)
        self.founding = Collection(keys.FEDERATION, lambda kv: decode(Federation, kv.value))
        self.syncers = Collection(f"{keys.MEMBERS}/syncer/", leased)
        self.intents = Collection(f"{keys.OBJECTS}/", decode_intent)
        self.tombstones = Collection(f"{keys.TOMBSTONES}/", decode_tombstone)
        self.placements = Collection(f"{keys.PLACEMENTS}/", decode_placement)
        self.follower = Follower(
            store,
            self.catalogues,
            self.clusters,
            self.credentials,
            self.founding,
            self.syncers,
            self.intents,
            self.tombstones,
            self.placements,
            spans=(SPAN,),
        )
        self._listeners: dict[str, Listener] = {}
        self._cluster_watchers: list[Callable[[], None]] = []
        self._founded = asyncio.Event()
        self._pending = PendingDecisions(self._decision_is_late)
        self.intents.subscribe(self._intent_changed)
        self.tombstones.subscribe(self._tombstone_changed)
        self.placements.subscribe(self._placement_changed)
        self.clusters.subscribe(self._cluster_changed)
        self.credentials.subscribe(self._credential_changed)
        self.catalogues.subscribe(self._catalogue_changed)
        self.founding.subscribe(self._federation_changed)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.callback(self._pending.close)
            await stack.enter_async_context(self.follower)
            await self.follower.synced()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def federation_id(self) -> str:
        """Return the federation's id; wait for the apiserver to found it."""
        await self._founded.wait()
        federation = self.founding.get(keys.FEDERATION)
        if federation is None:
            raise InternalError("the federation is founded and not there")
        return federation.id

    def intent(self, path: str) -> Intent | None:
        """Return the intent at `<group>/<resource>/<namespace>/<name>`."""
        return self.intents.get(f"{keys.OBJECTS}/{path}")

    def placement(self, path: str) -> Versioned[Placement] | None:
        """Return the placement of the object at `path`, with its revision."""
        return self.placements.versioned(f"{keys.PLACEMENTS}/{path}")

    def tombstone(self, path: str) -> Versioned[Tombstone] | None:
        """Return what deleted objects of the name at `path` have left, with its revision."""
        return self.tombstones.versioned(f"{keys.TOMBSTONES}/{path}")

    def unreadable(self, path: str) -> bool:
        """Return whether the object at `path`, its tombstone or its placement is stored, cannot be read, and
        never could be.

        What it says is not known, which is not the same as that it is not there.
        """
        return (
            self.intents.is_unknown(f"{keys.OBJECTS}/{path}")
            or self.tombstones.is_unknown(f"{keys.TOMBSTONES}/{path}")
            or self.placements.is_unknown(f"{keys.PLACEMENTS}/{path}")
        )

    def awaits_decision(self, path: str) -> bool:
        """Return whether the scheduler's decision on the newest generation is still waited for.

        Whoever has one of its clusters is told when it has, or when it is late.
        """
        return self._pending.waits(path)

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
        """Yield the paths of all objects whose placement or tombstone names the cluster."""
        for key, placement in self.placements.items():
            if is_named(placement, cluster):
                yield path_of(key)
        for key, tombstone in self.tombstones.items():
            if copies_in(tombstone, cluster):
                yield path_of(key)

    def reads_all_tombstones(self) -> bool:
        """Return whether there is no tombstone that never could be read."""
        return not self.tombstones.unknown()

    def left_inside(self, container: keys.ObjectKey, cluster: str) -> Iterator[tuple[str, Tombstone]]:
        """Yield the path and tombstone of what was deleted in a namespace, or of a definition, and may have
        left a copy in the cluster."""
        for key, tombstone in self.tombstones.items():
            if is_inside(keys.ObjectKey.parse(key), container) and copies_in(tombstone, cluster):
                yield path_of(key), tombstone

    def wanted_inside(self, namespace: str, cluster: str) -> bool:
        """Return whether anything in the namespace is desired in the cluster and not being deleted.

        What cannot be read may be.
        """
        if any(namespace_of(path_of(key)) == namespace for key in self.placements.unknown()):
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
        waits = self._pending.update(path, decided=is_decided(new, placement))
        if placement is not None and not waits:
            self._tell(path, _clusters(placement))

    def _tombstone_changed(
        self, key: str, old: Tombstone | None, new: Tombstone | None, revision: int
    ) -> None:
        before = clusters_of(old) if old is not None else frozenset()
        after = clusters_of(new) if new is not None else frozenset()
        self._tell(path_of(key), before | after)

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
        if self._pending.update(path, decided=is_decided(self.intent(path), new)):
            names -= after.keys()  # those that are left are not concerned by what is to be decided
        self._tell(path, names)

    def _decision_is_late(self, path: str) -> None:
        placement = self.placements.get(f"{keys.PLACEMENTS}/{path}")
        if placement is not None:
            self._tell(path, _clusters(placement))

    def _tell(self, path: str, clusters: Iterable[str]) -> None:
        for cluster in clusters:
            listener = self._listeners.get(cluster)
            if listener is not None:
                listener.concerned(path, urgent=True)

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
    """Return whether two placements are of the same generation of the same object, and not of one made
    again."""
    return (old.object.uid, old.generation) == (new.object.uid, new.generation)
