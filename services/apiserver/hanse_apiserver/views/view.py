"""What is served, out of what is stored: intent with the status of its members merged in.

Owns `FederationView`, the `View` of the engine's cache. It takes in placements, sync states and clusters as
the cache's one watch delivers them, and says which objects look different now. For kinds without a status
that is only the read-only view of the part itself, so bulk syncing of ConfigMaps costs next to nothing here.

Called by the cache's task only, in order of revisions; reads are synchronous in the same loop. A value that
cannot be decoded is logged and leaves what was known before: unknown is not empty. A member whose status the
fold fails on is served with that as its reason, and the others' statuses without it.

Next: `hanse_apiserver.finalize`, which also listens to the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from hanse.api.registry.v1 import cluster_pb2 as registry
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.boundary import Boundary
from hanse.errors import HanseError
from hanse.federation.clusters import is_observed, labels_of, refuses_credential
from hanse.federation.policies.references import Known, kinds_of, unresolved, versions_of
from hanse.federation.policies.titles import is_policy, key_of_title, title_at
from hanse.federation.records import decode_cluster
from hanse.kube.engine.hooks import Deferred
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.model.objects import Object
from hanse.store import Event
from hanse.store.keys import CLUSTERS, PLACEMENTS, SYNCSTATES, ObjectKey, parse_cluster, parse_sync_state
from hanse.well_known import GROUP, SYNC_FINALIZER, UNJOIN_FINALIZER
from hanse_apiserver.aggregate import Decision, Member, aggregate
from hanse_apiserver.views import cluster_view, derived, policy_view
from hanse_apiserver.views.parts import UNREADABLE, Parts, Placed, State
from hanse_apiserver.views.policy_use import NOBODY, PolicyUse

_PLACEMENTS: Final = f"{PLACEMENTS}/"
_SYNCSTATES: Final = f"{SYNCSTATES}/"
_CLUSTERS: Final = f"{CLUSTERS}/"
_CLUSTER: Final = (GROUP, "clusters")


class FederationView:
    """Merges placements, sync states and clusters into what is served."""

    def __init__(self, catalogue: Catalogue) -> None:
        """`catalogue` says which kinds have a status."""
        self._catalogue = catalogue
        self._parts: dict[ObjectKey, Parts] = {}
        self._derived: dict[ObjectKey, tuple[ObjectKey, str]] = {}
        self._clusters: dict[str, registry.Cluster] = {}
        self._policy_use = PolicyUse()
        self._policies: set[ObjectKey] = set()
        self._kinds: tuple[int, Mapping[tuple[str, str], str], Mapping[tuple[str, str], frozenset[str]]] = (
            -1,
            {},
            {},
        )
        self._listeners: list[Callable[[ObjectKey], None]] = []
        self._unreadable: set[str] = set()
        self._stored = Boundary("view stored values")
        self._folding = Boundary("view fold")
        self._telling = Boundary("view listeners")

    @property
    def prefixes(self) -> Sequence[str]:
        """Return what must be followed besides the objects."""
        return (_CLUSTERS, _PLACEMENTS, _SYNCSTATES)

    @property
    def fields(self) -> Sequence[str]:
        """Return what is served and never stored."""
        return ("status.clusters", "status.desiredReplicas")

    def reset(self) -> None:
        """Forget everything; all is given again."""
        self._parts.clear()
        self._derived.clear()
        self._clusters.clear()
        self._policy_use.clear()
        self._policies.clear()
        self._unreadable.clear()

    def keepers(self, key: ObjectKey) -> Sequence[str]:
        """Return what an object must wait for whose own finalizers cannot be read: where it may be."""
        if (key.group, key.resource) == _CLUSTER:
            return (UNJOIN_FINALIZER,) if key.name in self._clusters else ()
        return (SYNC_FINALIZER,) if key in self._parts or self.is_unreadable(key) else ()

    def is_unreadable(self, key: ObjectKey) -> bool:
        """Return whether the object's placement or one of its sync states is stored and cannot be read."""
        return bool(self._unreadable) and any(
            path == key.key(PLACEMENTS) or path.startswith(key.sync_states()) for path in self._unreadable
        )

    def subscribe(self, listener: Callable[[ObjectKey], None]) -> None:
        """Call `listener` with the key of an object whenever its placement or a sync state changed."""
        self._listeners.append(listener)

    def parts(self, key: ObjectKey) -> Parts | None:
        """Return what is known of an object; None for nothing."""
        return self._parts.get(key)

    def is_placed(self, key: ObjectKey) -> bool:
        """Return whether a placement names clusters for the object."""
        parts = self._parts.get(key)
        return parts is not None and parts.placed is not None and bool(parts.placed.after)

    def cluster(self, name: str) -> registry.Cluster | None:
        """Return what the registry knows of a cluster."""
        return self._clusters.get(name)

    def is_observed(self, cluster: str) -> bool:
        """Return whether what is known of the cluster is current. Nothing says no of one that is not
        stored.
        """
        known = self._clusters.get(cluster)
        return known is None or is_observed(known)

    def refuses(self, cluster: str) -> bool:
        """Return whether the cluster refuses the credential of the federation."""
        known = self._clusters.get(cluster)
        return known is not None and refuses_credential(known)

    # Taking in.

    def apply(self, event: Event) -> Iterable[ObjectKey]:
        """Take in one change; return the objects that may look different now."""
        path = event.kv.key
        self._unreadable.discard(path)
        try:
            if path.startswith(_SYNCSTATES):
                return self._sync_state(event)
            if path.startswith(_PLACEMENTS):
                return self._placement(event)
            if path.startswith(_CLUSTERS):
                return self._cluster(event)
        except Exception as error:  # noqa: BLE001 - of one value; all others are taken in
            self._stored.failed(path, error)
            if event.kind == "put":
                self._unreadable.add(path)
                return self._unread(path, event.kv.mod_revision)
        return ()

    def _unread(self, path: str, revision: int) -> Iterable[ObjectKey]:
        """Return the state in place of one that cannot be read: what it says is unknown, which confirms
        nothing.
        """
        if not path.startswith(_SYNCSTATES):
            return ()
        try:
            key, cluster = parse_sync_state(path)
        except HanseError:
            return ()
        self._known(key).states.setdefault(cluster, State(b"", revision))
        return self._changed(key, derived.sync_state_key(key, cluster))

    def render(self, key: ObjectKey, intent: Object | None) -> Object | Deferred | None:
        """Return how an object is served."""
        if derived.is_derived(key):
            return self._render_derived(key)
        if is_policy(key):
            return self._render_policy(key, intent)
        if intent is None:
            return None
        if (key.group, key.resource) == _CLUSTER:
            return cluster_view.with_status(intent, self._clusters.get(key.name))
        parts = self._parts.get(key)
        if parts is None or not self._has_status(key):
            return intent
        members, decision, decided = parts.members(reachable=self.is_observed, refuses=self.refuses)
        if parts.placed is None and not members:
            return intent
        status = self._folded(key, intent, members=members, decision=decision, now=decided)
        return {**intent, "status": status}

    def _render_policy(self, key: ObjectKey, intent: Object | None) -> Object | None:
        """Return a policy with its status; it is remembered for as long as it is stored."""
        if intent is None:
            self._policies.discard(key)
            return None
        self._policies.add(key)
        return policy_view.with_status(intent, self._policy_use.of(title_at(key)), self.unresolved(intent))

    def unresolved(self, policy: Object) -> list[str]:
        """Return a sentence for each thing in a policy that names nothing here and now."""
        if self._kinds[0] != self._catalogue.generation:
            self._kinds = (
                self._catalogue.generation, kinds_of(self._catalogue), versions_of(self._catalogue)
            )  # fmt: skip
        labels = {name: labels_of(cluster) for name, cluster in self._clusters.items()}
        return unresolved(policy, Known(clusters=labels, kinds=self._kinds[1], versions=self._kinds[2]))

    def _folded(
        self, key: ObjectKey, intent: Object, *, members: list[Member], decision: Decision, now: str
    ) -> Object:
        """Return the folded status. If the fold fails, it is made without the statuses that it fails on."""

        def fold(members: list[Member]) -> Object:
            return aggregate(key.group, key.resource, intent, members=members, decision=decision, now=now)

        try:
            return fold(members)
        except Exception as error:  # noqa: BLE001 - of a member's status; see below
            self._folding.failed(str(key), error)
        return fold([self._foldable(key, member, fold) for member in members])

    def _foldable(self, key: ObjectKey, member: Member, fold: Callable[[list[Member]], Object]) -> Member:
        """Return the member; without its status, and with the reason, if it cannot be folded."""
        try:
            fold([member])
        except Exception as error:  # noqa: BLE001 - a member may say anything
            why = self._folding.failed(f"{key} in {member.cluster}", error)
            message = f"its status there cannot be read: {why}"
            return replace(member, status={}, size=0, reason=UNREADABLE, message=message)
        return member

    def _sync_state(self, event: Event) -> Iterable[ObjectKey]:
        key, cluster = parse_sync_state(event.kv.key)
        served = derived.sync_state_key(key, cluster)
        if event.kind == "delete":
            parts = self._parts.get(key)
            if parts is None or parts.states.pop(cluster, None) is None:
                return ()
            self._derived.pop(served, None)
            self._drop_if_empty(key, parts)
        else:
            state = State.read(event.kv.value, event.kv.mod_revision)
            self._known(key).states[cluster] = state
            self._derived[served] = (key, cluster)
        return self._changed(key, served)

    def _placement(self, event: Event) -> Iterable[ObjectKey]:
        key = ObjectKey.parse(event.kv.key)
        served = derived.placement_key(key)
        if event.kind == "delete":
            parts = self._parts.get(key)
            if parts is None:
                return ()
            policies = self._policies_of(parts.placed, None)
            parts.placed = None
            self._derived.pop(served, None)
            self._drop_if_empty(key, parts)
        else:
            known = self._known(key)
            placed = Placed.read(event.kv.value, event.kv.mod_revision, known.placed)
            policies = self._policies_of(known.placed, placed)
            known.placed = placed
            self._derived[served] = (key, "")
        return (*self._changed(key, served), *policies)

    def _policies_of(self, before: Placed | None, after: Placed | None) -> list[ObjectKey]:
        """Count what policies do by a placement; return the policies that look different for it."""
        titles = self._policy_use.change(
            before.policies if before else NOBODY, after.policies if after else NOBODY
        )
        return [key for title in sorted(titles) if (key := key_of_title(title)) in self._policies]

    def _cluster(self, event: Event) -> Iterable[ObjectKey]:
        name = parse_cluster(event.kv.key)
        before, seen = self._clusters.get(name), (self.is_observed(name), self.refuses(name))
        if event.kind == "delete":
            self._clusters.pop(name, None)
        else:
            self._clusters[name] = decode_cluster(event.kv)
        touched = [ObjectKey(GROUP, "clusters", "", name)]
        after = self._clusters.get(name)
        if (labels_of(before) if before else None) != (labels_of(after) if after else None):
            touched += sorted(self._policies, key=ObjectKey.path)
        if (self.is_observed(name), self.refuses(name)) != seen:
            touched += [
                key
                for key, parts in self._parts.items()
                if (name in parts.states or (parts.placed and name in parts.placed.after))
                and self._has_status(key)
            ]
        return touched

    def _changed(self, key: ObjectKey, served: ObjectKey) -> Iterable[ObjectKey]:
        for listener in self._listeners:
            try:
                listener(key)
            except Exception as error:  # noqa: BLE001 - of one object; the other listeners are told
                self._telling.failed(str(key), error)
        return (key, served) if self._has_status(key) else (served,)

    def _known(self, key: ObjectKey) -> Parts:
        parts = self._parts.get(key)
        if parts is None:
            parts = self._parts[key] = Parts()
        return parts

    def _drop_if_empty(self, key: ObjectKey, parts: Parts) -> None:
        if parts.empty:
            self._parts.pop(key, None)

    # Giving out.

    def _has_status(self, key: ObjectKey) -> bool:
        info = self._catalogue.storage(key.group, key.resource)
        return info is None or "status" in info.subresources

    def _render_derived(self, served: ObjectKey) -> Deferred | None:
        found = self._derived.get(served)
        if found is None:
            return None
        key, cluster = found
        parts = self._parts[key]
        if not cluster:
            stored = parts.placed.value if parts.placed else b""
            return Deferred(lambda: derived.placement_object(served, key, Placement.FromString(stored)))
        value = parts.states[cluster].value
        return Deferred(lambda: derived.sync_state_object(served, key, SyncState.FromString(value)))
