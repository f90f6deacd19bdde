"""Everything that the scheduler knows, in memory, indexed for the question "which objects must be decided on
again?".

Owns `SchedulerState`: the follower of the store, and what each change of what is followed means for
decisions. The indexes are next to this module: objects, placements, policies, unplaced replicas. `on_dirty`
is called with the path (`<group|core>/<resource>/<ns|_>/<name>`) of each object whose decision may have
changed, and whether somebody waits for it. Changes that cannot matter are dropped here: a sync state that
only says "applied", a cluster's heartbeat, an object's data.

Concurrency: one event loop; the collections' callbacks change everything between two awaits.

Next: `hanse_scheduler.state.selection` for policies, `hanse_scheduler.state.placement_index`,
`hanse_scheduler.placing.reconciler`, which decides for a path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.federation.belongings import made_for
from hanse.federation.placements import is_named, is_releasing, placed_clusters
from hanse.federation.policies.titles import title_at
from hanse.federation.records import decode_placement
from hanse.kube.kinds.kubernetes import core
from hanse.paths import namespace_of, namespace_path, parts_of, path_of, resource_of
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
from hanse.store.spans import Span
from hanse.well_known import GROUP
from hanse_scheduler.decide.clusters import ClusterTable, MemberCluster, ServedKinds
from hanse_scheduler.decide.inputs import MAX_NAMED, ONLY_BY_POLICY, DecisionInput, Observed
from hanse_scheduler.decide.policies import (
    OVERRIDE_RESOURCES,
    PLACEMENT_RESOURCES,
    OverridePolicy,
    PlacementPolicy,
)
from hanse_scheduler.decide.workloads import WORKLOADS
from hanse_scheduler.handshake.previous import PreviousPlacement
from hanse_scheduler.reasons import LEFT_OUT_BY_LIMIT
from hanse_scheduler.state.object_index import ObjectIndex
from hanse_scheduler.state.owned_objects import OwnedObjects, OwnerPresence
from hanse_scheduler.state.placement_index import PlacementIndex, StoredPlacement
from hanse_scheduler.state.records import (
    FederatedObject,
    ObjectRecord,
    decode_member_cluster,
    decode_object,
    decode_observed,
    decode_served,
)
from hanse_scheduler.state.selection import PolicySelection, Selection, SupposedPolicy
from hanse_scheduler.state.service_followers import ServiceFollowers
from hanse_scheduler.state.standing_workloads import StandingWorkloads
from hanse_scheduler.state.unplaced import UnplacedReplicas

OnDirty = Callable[[str, bool], None]
"""Called with a path and whether it is urgent."""

SPANS = (
    Span(f"{CATALOGUES}/", f"{CLUSTERS}/"),  # and not the credentials, which come after them
    Span(f"{OBJECTS}/", f"{SYNCSTATES}/"),
)
"""What is followed in one order each: objects, their placements and sync states are."""

_NOTHING: Mapping[str, Observed] = {}


class SchedulerState:
    """What is followed and its indexes. An async context manager; `clock` returns seconds since the epoch."""

    def __init__(self, store: Store, *, clock: Callable[[], float]) -> None:
        self.catalogues = Collection(f"{CATALOGUES}/", decode_served)
        self.clusters = Collection(f"{CLUSTERS}/", decode_member_cluster)
        self.objects = Collection(f"{OBJECTS}/", decode_object)
        self.placements = Collection(f"{PLACEMENTS}/", decode_placement)
        self.sync_states = Collection(f"{SYNCSTATES}/", decode_observed)
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
        self._records = ObjectIndex()
        self._in_force = PlacementIndex()
        self._unplaced = UnplacedReplicas()
        self._standing = StandingWorkloads()
        self._follows = ServiceFollowers()
        self._owned = OwnedObjects(
            record=self._records.get, placement=lambda path: _value(self._in_force.get(path))
        )
        self._observed: dict[str, dict[str, Observed]] = {}
        self._policies = PolicySelection(self._records, selected=self._dirty)
        self.catalogues.subscribe(self._catalogue_changed)
        self.clusters.subscribe(self._cluster_changed)
        self.objects.subscribe(self._object_changed)
        self.placements.subscribe(self._placement_changed)
        self.sync_states.subscribe(self._state_changed)

    async def __aenter__(self) -> SchedulerState:
        await self.follower.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.follower.__aexit__(*error)

    @property
    def unplaced(self) -> int:
        """Replicas that are asked for and in no cluster that answers."""
        return self._unplaced.total

    def paths(self) -> Iterator[str]:
        """Yield the path of everything that has an object or a placement."""
        yield from self._records
        yield from (path for path in self._in_force if path not in self._records)

    def record(self, path: str) -> ObjectRecord | None:
        """Return what is known of the object, None if there is none."""
        return self._records.get(path)

    def unreadable(self, path: str) -> bool:
        """Return whether the object or its placement is stored, but cannot be decoded."""
        return f"{OBJECTS}/{path}" in self.objects.broken or f"{PLACEMENTS}/{path}" in self.placements.broken

    def unreadable_influence(self, path: str) -> str:
        """Return the key of something that is stored, never could be decoded, and may have a say in where the
        object is; "" if there is nothing.

        What it says is not known, which is not the same as that it is not there: the object would leave its
        clusters for nothing, or go where a policy does not want it. What is placed by others is decided on.
        """
        return next((key for key in self.follower.unknown() if self._may_say(key, path)), "")

    def _may_say(self, key: str, path: str) -> bool:
        """Return whether what is stored at `key` may have a say in where the object is."""
        stored = self._in_force.get(path)
        prefix, _, rest = key.partition("/")
        if prefix == PLACEMENTS:  # of something in that namespace, perhaps
            return path == namespace_path(namespace_of(rest))
        if prefix == CLUSTERS:
            return path in self._in_force.naming(rest)
        group, resource, namespace, name = parts_of(rest)
        if prefix != OBJECTS or group != GROUP:
            return False
        near = namespace in ("", namespace_of(path))
        if resource in PLACEMENT_RESOURCES:
            if stored is None or not stored.value.clusters:
                return near
            return stored.value.policy == title_at(ObjectKey(GROUP, resource, namespace, name))
        if resource in OVERRIDE_RESOURCES:
            return near and (stored is None or any(each.overrides for each in stored.value.clusters))
        return False

    def object_revision(self, path: str) -> int:
        """Return the revision of the object, 0 if there is none."""
        found = self.objects.versioned(f"{OBJECTS}/{path}")
        return found.mod_revision if found is not None else 0

    def placement(self, path: str) -> StoredPlacement | None:
        """Return the placement in force, as new as this process has written or seen it."""
        return self._in_force.get(path)

    async def selection(
        self, path: str, record: ObjectRecord, *, supposing: SupposedPolicy | None = None
    ) -> Selection | None:
        """Return the policies that select the object; None if policies changed while that was found out."""
        return await self._policies.of(path, self._as_made(record)[0], supposing=supposing)

    def about(self, supposed: SupposedPolicy) -> Iterator[str]:
        """Yield the objects that a policy selects, as it is stored or as it is supposed; see
        `PolicySelection.about`."""
        return self._policies.about(supposed)

    def decision_input(self, path: str, record: ObjectRecord, selection: Selection) -> DecisionInput:
        """Return what a decision about the object needs, without override policies."""
        key = ObjectKey.parse(f"{OBJECTS}/{path}")
        stored = self._in_force.get(path)
        record, stays, doubt = self._as_made(record)
        return DecisionInput(
            key=key,
            obj=record.reduced,
            table=self.table,
            propagates=record.propagates,
            belongs=record.belongs,
            stays=stays,
            doubt=doubt,
            policy=selection.placing,
            shadowed=[policy.head.title for policy in selection.shadowed[:MAX_NAMED]],
            changing=[policy.head.title for policy in selection.changing[:MAX_NAMED]],
            previous=PreviousPlacement(stored.value, stored.revision) if stored else PreviousPlacement(),
            observed=self._observed.get(path, _NOTHING),
            contents=self._holding(key) if record.propagates else self._following(record),
            follows=bool(record.follows),
            needed_in=self._standing.needed_by(path) or (),
        )

    def lead(self, on_dirty: OnDirty) -> None:
        """Report from now on what has to be decided on again, beginning with all there is."""
        self.on_dirty = on_dirty
        self._all_dirty(self.paths())

    def rest(self) -> None:
        """Report nothing any more: another scheduler decides."""
        self.on_dirty = None
        self._standing.forget_undecided()

    def deciding(self, path: str) -> None:
        """Take note that the object is being decided on, by what is known now."""
        self._standing.deciding(path)

    def decided(self, path: str) -> None:
        """Take note that the object was decided on, and its placement stored."""
        stored = self._in_force.get(path)
        self._all_dirty(self._standing.decided(path, stored.value if stored is not None else None))

    def writing(self, path: str) -> AbstractContextManager[None]:
        """While this process writes the placement, that it is followed is no news."""
        return self._in_force.writing(path)

    def wrote(self, path: str, placement: Placement | None, revision: int) -> None:
        """Take note of a write of this process, before the follower sees it."""
        known = self._in_force.get(path)
        if known is None or known.revision < revision:
            self._set_placement(path, StoredPlacement(placement, revision) if placement is not None else None)

    def _as_made(self, record: ObjectRecord) -> tuple[ObjectRecord, str, str]:
        """Return a record by where its owner is now, why it goes nowhere by itself, and what is not known."""
        owner = record.owner
        if owner is None or record.belongs:
            return record, "", ""
        match self._owned.presence(owner):
            case OwnerPresence.IN_MEMBERS:
                return replace(record, belongs=made_for(owner)), "", ""
            case OwnerPresence.FEDERATION_ONLY:
                return record, f"it is made for the {owner}, which is in no cluster: {ONLY_BY_POLICY}", ""
            case OwnerPresence.UNKNOWN:
                return record, "", f"it is made for the {owner}: whether that is in a cluster is not known"

    def _holding(self, key: ObjectKey) -> frozenset[str]:
        if (key.group, key.resource) != core.NAMESPACE.group_plural:
            return frozenset()
        return self._in_force.contents(key.name)

    def _following(self, record: ObjectRecord) -> frozenset[str]:
        service = self._in_force.get(record.follows) if record.follows else None
        return self._follows.clusters(record, service.value if service is not None else None)

    def _dirty(self, path: str, *, urgent: bool = False) -> None:
        if self.on_dirty is not None:
            stored = self._in_force.get(path)
            self._standing.undecided(path, stored.value if stored is not None else None)
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
            self._records.set(path, after)
            self._all_dirty(self._follows.note(path, before, after))
            self._all_dirty(self._owned.note(path, before, after))
            self._count_unplaced(path)
            if before != after or self._policies.has_overrides:
                self._dirty(path, urgent=True)
        elif isinstance(new, PlacementPolicy) or isinstance(old, PlacementPolicy):
            self._policies.set_placing(path, new if isinstance(new, PlacementPolicy) else None)
        elif isinstance(new, OverridePolicy) or isinstance(old, OverridePolicy):
            self._policies.set_changing(path, new if isinstance(new, OverridePolicy) else None)

    def _placement_changed(
        self, key: str, old: Placement | None, new: Placement | None, revision: int
    ) -> None:
        path = path_of(key)
        if not self._in_force.is_news(path, revision, deleted=new is None):
            return
        self._set_placement(path, StoredPlacement(new, revision) if new is not None else None)
        if not self._in_force.is_writing(path) and (new is not None or path in self._records):
            self._dirty(path)

    def _set_placement(self, path: str, stored: StoredPlacement | None) -> None:
        known = self._in_force.get(path)
        crossed = self._in_force.set(path, stored)
        if (followers := self._follows.of(path)) and _places(known) != _places(stored):
            self._all_dirty(followers)
        self._all_dirty(self._owned.moved(path, _value(known), _value(stored)))
        self._count_unplaced(path)
        self._all_dirty(self._standing.update(path, stored.value if stored is not None else None))
        if crossed:
            self._dirty(namespace_path(namespace_of(path)), urgent=True)

    def _count_unplaced(self, path: str) -> None:
        stored = self._in_force.get(path)
        self._unplaced.update(path, self._records.get(path), stored.value if stored is not None else None)

    def _state_changed(self, key: str, old: Observed | None, new: Observed | None, revision: int) -> None:
        path, _, cluster = path_of(key).rpartition("/")
        states = self._observed.setdefault(path, {})
        if new is not None:
            states[cluster] = new
        else:
            states.pop(cluster, None)
            if not states:
                del self._observed[path]
        if self._matters(path, cluster, old, new):
            self._dirty(path, urgent=True)

    def _matters(self, path: str, cluster: str, before: Observed | None, after: Observed | None) -> bool:
        """Return whether a change of a sync state may change the decision."""
        stored = self._in_force.get(path)
        if after is None:
            return False
        if after.run is not None and (before is None or before.run != after.run):
            return True
        if stored is None:
            return path in self._records and not after.removed
        if after.removed:
            return is_releasing(stored.value, cluster)
        if stored.value.HasField("move") and is_named(stored.value, cluster):
            return after != before
        if (before is None or before.removed) and not is_named(stored.value, cluster):
            return True
        if bool(after.refusal) != bool(before is not None and before.refusal):
            return True
        if after.refused_pods != (before.refused_pods if before is not None else 0):
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
            # What is placed there stays; only replicas are on the clock now, and what may go to few clusters.
            self._all_dirty([path for path in self._in_force.naming(name) if self._is_on_the_clock(path)])
        else:
            self._all_dirty(self.paths())

    def _is_on_the_clock(self, path: str) -> bool:
        """Return whether a cluster that is lost may be replaced in an object's placement."""
        if _is_workload(path):
            return True
        stored = self._in_force.get(path)
        return stored is not None and any(each.reason == LEFT_OUT_BY_LIMIT for each in stored.value.refused)

    def _catalogue_changed(
        self, key: str, old: ServedKinds | None, new: ServedKinds | None, revision: int
    ) -> None:
        name, before = last_segment(key), self.table
        served = {key: value for key, value in before.served.items() if key != name}
        if new is not None:
            served[name] = new
        self._new_table(served=served)
        for (group, resource), paths in self._records.by_resource():
            was = before.serves(name, group=group, resource=resource)
            versions = _versions(old, group, resource) != _versions(new, group, resource)
            if versions or was != self.table.serves(name, group=group, resource=resource):
                self._all_dirty(paths)

    def _new_table(
        self,
        *,
        clusters: Mapping[str, MemberCluster] | None = None,
        served: Mapping[str, ServedKinds] | None = None,
    ) -> None:
        self.table = ClusterTable(
            clusters=self.table.clusters if clusters is None else clusters,
            served=self.table.served if served is None else served,
            version=self.table.version + 1,
        )


def _versions(served: ServedKinds | None, group: str, resource: str) -> tuple[str, ...]:
    return served.versions_of(group, resource) if served is not None else ()


def _value(stored: StoredPlacement | None) -> Placement | None:
    return stored.value if stored is not None else None


def _places(stored: StoredPlacement | None) -> frozenset[str]:
    return placed_clusters(stored.value) if stored is not None else frozenset()


def _same_but_for_health(old: MemberCluster, new: MemberCluster) -> bool:
    return replace(old, state=new.state, since=new.since, reachable=new.reachable, ready=new.ready) == new


def _is_workload(path: str) -> bool:
    return resource_of(path) in WORKLOADS
