"""Everything that the scheduler knows, in memory, indexed for the question "which objects must be decided on
again?".

Owns the follower of the store, its collections and the indexes over them: objects by kind, placements by
cluster, contents of namespaces, sync states by object, policies by kind, and the table of clusters.
`on_dirty` is called with the path (`<group|core>/<resource>/<ns|_>/<name>`) of each object whose decision may
have changed, and whether somebody waits for it. Changes that cannot matter are dropped here: a sync state
that only says "applied", a cluster's heartbeat, an object's data.

Concurrency: one event loop; the collections' callbacks change everything between two awaits. Which objects a
changed policy selects may take many turns of the loop to find.

Next: `hanse_scheduler.placing.reconciler`, which decides for a path; `hanse_scheduler.decide.decision` for
what a decision needs.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.boundary import Boundary
from hanse.federation.placements import is_named, is_releasing, named_clusters
from hanse.store import Collection, Follower, Store
from hanse.store.keys import (
    CATALOGUES,
    CLUSTERS,
    OBJECTS,
    PLACEMENTS,
    SYNCSTATES,
    ObjectKey,
    last_segment,
)
from hanse.store.paths import namespace_of, namespace_path, parts_of, path_of, resource_of
from hanse.store.spans import Span
from hanse.turns import SLICE_SECONDS
from hanse.well_known import GROUP
from hanse_scheduler.decide.inputs import DecisionInput, Observed
from hanse_scheduler.decide.workloads import WORKLOADS, shortfall
from hanse_scheduler.handshake.previous import PreviousPlacement
from hanse_scheduler.state.clusters import ClusterTable, MemberCluster
from hanse_scheduler.state.policies import (
    OVERRIDE_RESOURCES,
    PLACEMENT_RESOURCES,
    OverridePolicy,
    PlacementPolicy,
    PolicyHead,
    PolicyIndex,
    applying,
    deciding,
    names,
    selecting,
    selects,
)
from hanse_scheduler.state.records import (
    FederatedObject,
    ObjectRecord,
    Served,
    decode_catalogue,
    decode_cluster,
    decode_object,
    decode_placement,
    decode_sync_state,
)

OnDirty = Callable[[str, bool], None]
"""Called with a path and whether it is urgent."""

SPANS = (
    Span(f"{CATALOGUES}/", f"{CLUSTERS}/"),  # and not the credentials, which come after them
    Span(f"{OBJECTS}/", f"{SYNCSTATES}/"),
)
"""What is followed in one order each: objects, their placements and sync states are."""

K = TypeVar("K")

_NOTHING: Mapping[str, Observed] = {}

MANY_SELECTORS = 5_000
"""Selectors that an object is compared with on the loop: about 5 ms."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A value with the revision at which it was written."""

    value: Placement
    revision: int


@dataclass(frozen=True, slots=True)
class Selection:
    """The placement policy that decides about an object, if any, and the override policies in the order in
    which they apply."""

    placing: PlacementPolicy | None
    changing: list[OverridePolicy]


class World:
    """What is followed and its indexes. An async context manager; `clock` returns seconds since the epoch."""

    def __init__(self, store: Store, *, clock: Callable[[], float]) -> None:
        self.catalogues = Collection(f"{CATALOGUES}/", decode_catalogue)
        self.clusters = Collection(f"{CLUSTERS}/", decode_cluster)
        self.objects = Collection(f"{OBJECTS}/", decode_object)
        self.placements = Collection(f"{PLACEMENTS}/", decode_placement)
        self.sync_states = Collection(f"{SYNCSTATES}/", decode_sync_state)
        self.follower = Follower(
            store,
            self.catalogues,
            self.clusters,
            self.objects,
            self.placements,
            self.sync_states,
            spans=SPANS,
        )
        self.table = ClusterTable(clusters={})
        self.on_dirty: OnDirty | None = None
        self._clock = clock
        self._records: dict[str, ObjectRecord] = {}
        self._by_kind: dict[tuple[str, str], set[str]] = {}
        self._by_resource: dict[tuple[str, str], set[str]] = {}
        self._placements: dict[str, Stored] = {}
        self._unplaced: dict[str, int] = {}
        self.unplaced = 0
        """Replicas that are asked for and in no cluster that answers."""
        self._by_cluster: dict[str, set[str]] = {}
        self._contents: dict[str, Counter[str]] = {}
        self._states: dict[str, dict[str, Observed]] = {}
        self._writing: set[str] = set()
        self._marking: deque[Iterator[None]] = deque()
        self._scheduled = False
        self._boundary = Boundary("scheduler policies")
        self._policies: PolicyIndex[PlacementPolicy] = PolicyIndex()
        self._overrides: PolicyIndex[OverridePolicy] = PolicyIndex()
        self.catalogues.subscribe(self._catalogue_changed)
        self.clusters.subscribe(self._cluster_changed)
        self.objects.subscribe(self._object_changed)
        self.placements.subscribe(self._placement_changed)
        self.sync_states.subscribe(self._state_changed)

    async def __aenter__(self) -> World:
        await self.follower.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.follower.__aexit__(*error)

    # --- what there is ---

    def paths(self) -> Iterator[str]:
        """Yield the path of everything that has an object or a placement."""
        yield from list(self._records)
        yield from [path for path in self._placements if path not in self._records]

    def record(self, path: str) -> ObjectRecord | None:
        """Return what is known of the object, None if there is none."""
        return self._records.get(path)

    def unreadable(self, path: str) -> bool:
        """Return whether the object or its placement is stored, but cannot be decoded."""
        return f"{OBJECTS}/{path}" in self.objects.broken or f"{PLACEMENTS}/{path}" in self.placements.broken

    def blind(self, path: str) -> str:
        """Return the key of something that is stored, never could be decoded, and may have a say in where the
        object is; "" if there is nothing.

        What it says is not known, which is not the same as that it is not there: the object would leave its
        clusters for nothing, or go where a policy does not want it. What is placed by others is decided on.
        """
        return next((key for key in self.follower.unknown() if self._may_say(key, path)), "")

    def _may_say(self, key: str, path: str) -> bool:
        """Return whether what is stored at `key` may have a say in where the object is."""
        stored = self._placements.get(path)
        prefix, _, rest = key.partition("/")
        if prefix == PLACEMENTS:  # of something in that namespace, perhaps
            return path == namespace_path(namespace_of(rest))
        if prefix == CLUSTERS:
            return path in self._by_cluster.get(rest, ())
        group, resource, namespace, name = parts_of(rest)
        if prefix != OBJECTS or group != GROUP:
            return False
        near = namespace in ("", namespace_of(path))
        if resource in PLACEMENT_RESOURCES:
            if stored is None or not stored.value.clusters:
                return near
            return stored.value.policy == _title(resource, namespace, name)
        if resource in OVERRIDE_RESOURCES:
            return near and (stored is None or any(each.overrides for each in stored.value.clusters))
        return False

    def object_revision(self, path: str) -> int:
        """Return the revision of the object, 0 if there is none."""
        found = self.objects.versioned(f"{OBJECTS}/{path}")
        return found.mod_revision if found is not None else 0

    def placement(self, path: str) -> Stored | None:
        """Return the placement in force, as new as this process has written or seen it."""
        return self._placements.get(path)

    async def selection(self, path: str, record: ObjectRecord) -> Selection | None:
        """Return the policies that select the object; None if policies changed while that was found out.

        An object that very many selectors may select is compared with them in a thread.
        """
        group = ObjectKey.parse(f"{OBJECTS}/{path}").group
        placing = self._policies.about(record.slim, group=group)
        changing = self._overrides.about(record.slim, group=group)
        heads = [*(policy.head for policy in placing), *(policy.head for policy in changing)]
        if sum(len(head.selectors) for head in heads) <= MANY_SELECTORS:
            return _selection(record, placing, changing, group=group)
        versions = self._policies.version, self._overrides.version
        found = await asyncio.to_thread(_selection, record, placing, changing, group=group)
        return found if versions == (self._policies.version, self._overrides.version) else None

    def decision_input(self, path: str, record: ObjectRecord, selection: Selection) -> DecisionInput:
        """Return what a decision about the object needs, without override policies."""
        key = ObjectKey.parse(f"{OBJECTS}/{path}")
        stored = self._placements.get(path)
        return DecisionInput(
            key=key,
            obj=record.slim,
            table=self.table,
            propagates=record.propagates,
            belongs=record.belongs,
            policy=selection.placing,
            previous=PreviousPlacement(stored.value, stored.revision) if stored else PreviousPlacement(),
            observed=self._states.get(path, _NOTHING),
            contents=self._holding(key) if record.propagates else frozenset(),
        )

    @contextmanager
    def writing(self, path: str) -> Iterator[None]:
        """While this process writes the placement, the follower's telling of it is no news."""
        self._writing.add(path)
        try:
            yield
        finally:
            self._writing.discard(path)

    def wrote(self, path: str, placement: Placement | None, revision: int) -> None:
        """Take note of a write of this process, before the follower tells of it."""
        known = self._placements.get(path)
        if known is None or known.revision < revision:
            self._set_placement(path, Stored(placement, revision) if placement is not None else None)

    def _holding(self, key: ObjectKey) -> frozenset[str]:
        if (key.group, key.resource) != ("", "namespaces"):
            return frozenset()
        return frozenset(self._contents.get(key.name, ()))

    # --- what happens ---

    def _dirty(self, path: str, *, urgent: bool = False) -> None:
        if self.on_dirty is not None:
            self.on_dirty(path, urgent)

    def _all_dirty(self, paths: Iterable[str]) -> None:
        for path in list(paths):
            self._dirty(path)

    def _object_changed(
        self, key: str, old: FederatedObject | None, new: FederatedObject | None, revision: int
    ) -> None:
        path = path_of(key)
        if isinstance(new, ObjectRecord) or isinstance(old, ObjectRecord):
            before = old if isinstance(old, ObjectRecord) else None
            after = new if isinstance(new, ObjectRecord) else None
            self._index(path, before, after)
            if before != after or len(self._overrides):
                self._dirty(path, urgent=True)
        elif isinstance(new, PlacementPolicy) or isinstance(old, PlacementPolicy):
            policy = new if isinstance(new, PlacementPolicy) else None
            replaced = self._policies.set(path, policy)
            self._selected_dirty(replaced.head if replaced else None, policy.head if policy else None)
        elif isinstance(new, OverridePolicy) or isinstance(old, OverridePolicy):
            override = new if isinstance(new, OverridePolicy) else None
            dropped = self._overrides.set(path, override)
            self._selected_dirty(dropped.head if dropped else None, override.head if override else None)

    def _index(self, path: str, before: ObjectRecord | None, after: ObjectRecord | None) -> None:
        group, resource = resource_of(path)
        if before is not None and (after is None or after.kind != before.kind):
            _discard(self._by_kind, (group, before.kind), path)
        if after is None:
            self._records.pop(path, None)
            _discard(self._by_resource, (group, resource), path)
            self._count_unplaced(path)
            return
        self._records[path] = after
        self._count_unplaced(path)
        self._by_kind.setdefault((group, after.kind), set()).add(path)
        self._by_resource.setdefault((group, resource), set()).add(path)

    def _selected_dirty(self, *heads: PolicyHead | None) -> None:
        """Mark the objects that any of the policies selects: what takes long, in later turns of the loop."""
        for head in heads:
            if head is not None:
                self._marking.append(self._mark_selected(head))
        if not self._scheduled:
            self._mark()

    def _mark(self) -> None:
        """Mark objects for the length of a slice; go on in the loop's next turn."""
        until = time.perf_counter() + SLICE_SECONDS
        while self._marking and time.perf_counter() < until:
            try:
                next(self._marking[0])
            except StopIteration:
                self._marking.popleft()
        self._scheduled = bool(self._marking)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._mark)

    def _mark_selected(self, head: PolicyHead) -> Iterator[None]:
        """Mark the objects that a policy selects, one at a step. One that cannot be compared is looked at."""
        for group, kind in {(selector.group, selector.kind) for selector in head.selectors}:
            for path in list(self._by_kind.get((group, kind), ())):
                record = self._records.get(path)
                if record is not None:
                    try:
                        meant = selects(head, record.slim, group=group)
                    except Exception as error:  # noqa: BLE001 - its decision says what is wrong with it
                        meant = bool(self._boundary.failed(path, error))
                    if meant:
                        self._dirty(path)
                yield

    def _placement_changed(
        self, key: str, old: Placement | None, new: Placement | None, revision: int
    ) -> None:
        path = path_of(key)
        known = self._placements.get(path)
        if new is not None:
            if known is None or known.revision < revision:
                self._set_placement(path, Stored(new, revision))
                if path not in self._writing:
                    self._dirty(path)
        elif known is not None and known.revision < revision:
            self._set_placement(path, None)
            if path in self._records and path not in self._writing:
                self._dirty(path)

    def _set_placement(self, path: str, stored: Stored | None) -> None:
        known = self._placements.get(path)
        before = named_clusters(known.value) if known else frozenset()
        after = named_clusters(stored.value) if stored else frozenset()
        if stored is None:
            self._placements.pop(path, None)
        else:
            self._placements[path] = stored
        self._count_unplaced(path)
        if before == after:
            return
        for cluster in before - after:
            _discard(self._by_cluster, cluster, path)
        for cluster in after - before:
            self._by_cluster.setdefault(cluster, set()).add(path)
        self._count(path, removed=before - after, added=after - before)

    def _count_unplaced(self, path: str) -> None:
        kind = WORKLOADS.get(resource_of(path))
        if kind is None:
            return
        record, stored = self._records.get(path), self._placements.get(path)
        missing = 0
        if record is not None and record.propagates:
            missing = shortfall(record.slim, kind, stored.value.clusters if stored is not None else ())
        self.unplaced += missing - self._unplaced.pop(path, 0)
        if missing:
            self._unplaced[path] = missing

    def _count(self, path: str, *, removed: AbstractSet[str], added: AbstractSet[str]) -> None:
        """Count what a namespace holds by cluster; mark the namespace when a cluster comes or goes."""
        namespace = namespace_of(path)
        if not namespace:
            return
        contents = self._contents.setdefault(namespace, Counter())
        crossed = False
        for cluster in added:
            contents[cluster] += 1
            crossed |= contents[cluster] == 1
        for cluster in removed:
            contents[cluster] -= 1
            if contents[cluster] <= 0:
                del contents[cluster]
                crossed = True
        if not contents:
            del self._contents[namespace]
        if crossed:
            self._dirty(namespace_path(namespace), urgent=True)

    def _state_changed(self, key: str, old: Observed | None, new: Observed | None, revision: int) -> None:
        path, _, cluster = path_of(key).rpartition("/")
        states = self._states.setdefault(path, {})
        if new is not None:
            states[cluster] = new
        else:
            states.pop(cluster, None)
            if not states:
                del self._states[path]
        if self._matters(path, cluster, old, new):
            self._dirty(path, urgent=True)

    def _matters(self, path: str, cluster: str, before: Observed | None, after: Observed | None) -> bool:
        """Return whether a change of a sync state may change the decision."""
        stored = self._placements.get(path)
        if after is None:
            return False
        if stored is None:
            return path in self._records and not after.removed
        if after.removed:
            return is_releasing(stored.value, cluster)
        if (before is None or before.removed) and not is_named(stored.value, cluster):
            return True
        return after.unschedulable != (before.unschedulable if before else 0) or (
            after.unschedulable > 0 and before is not None and after.replicas != before.replicas
        )

    def _cluster_changed(
        self, key: str, _: MemberCluster | None, view: MemberCluster | None, revision: int
    ) -> None:
        name = last_segment(key)
        old = self.table.clusters.get(name)
        if view is not None and not view.reachable and not view.since:
            # Nobody says since when: count from when it is seen first.
            since = old.since if old is not None and old.since else self._clock()
            view = replace(view, since=since)
        if view == old:
            return
        clusters = {key: value for key, value in self.table.clusters.items() if key != name}
        if view is not None:
            clusters[name] = view
        self._new_table(clusters=clusters)
        if old is not None and view is not None and not view.reachable and _same_but_for_health(old, view):
            # What is placed there stays; only replicas are on the clock now.
            self._all_dirty([path for path in self._by_cluster.get(name, ()) if _is_workload(path)])
        else:
            self._all_dirty(
                [*self._records, *(path for path in self._placements if path not in self._records)]
            )

    def _catalogue_changed(self, key: str, old: Served | None, new: Served | None, revision: int) -> None:
        name, before = last_segment(key), self.table
        served = {key: value for key, value in before.served.items() if key != name}
        if new is not None:
            served[name] = new
        self._new_table(served=served)
        for (group, resource), paths in list(self._by_resource.items()):
            was = before.serves(name, group=group, resource=resource)
            if was != self.table.serves(name, group=group, resource=resource):
                self._all_dirty(paths)

    def _new_table(
        self,
        *,
        clusters: Mapping[str, MemberCluster] | None = None,
        served: Mapping[str, frozenset[tuple[str, str]]] | None = None,
    ) -> None:
        self.table = ClusterTable(
            clusters=self.table.clusters if clusters is None else clusters,
            served=self.table.served if served is None else served,
            version=self.table.version + 1,
        )


def _selection(
    record: ObjectRecord,
    placing: Iterable[PlacementPolicy],
    changing: Iterable[OverridePolicy],
    *,
    group: str,
) -> Selection:
    """Return which of the policies are about the object; of what belongs to clusters those that name it."""
    found = selecting(placing, record.slim, group=group)
    if record.belongs:
        found = [policy for policy in found if names(policy.head, record.slim, group=group)]
    return Selection(deciding(found), applying(selecting(changing, record.slim, group=group)))


def _title(resource: str, namespace: str, name: str) -> str:
    """Return what a placement calls the policy that decided, as `PolicyHead.title` does."""
    if resource == "clusterplacementpolicies":
        return f"ClusterPlacementPolicy {name}"
    return f"PlacementPolicy {namespace}/{name}"


def _same_but_for_health(old: MemberCluster, new: MemberCluster) -> bool:
    return replace(old, state=new.state, since=new.since, reachable=new.reachable) == new


def _is_workload(path: str) -> bool:
    return resource_of(path) in WORKLOADS


def _discard(index: dict[K, set[str]], key: K, path: str) -> None:
    paths = index.get(key)
    if paths is not None:
        paths.discard(path)
        if not paths:
            del index[key]
