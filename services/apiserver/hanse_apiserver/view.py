"""What is served, out of what is stored: intent with the status of its members merged in.

Owns `FederationView`, the `View` of the engine's cache. It takes in placements, sync states and clusters as
the cache's one watch delivers them, and says which objects look different now. For kinds without a status
that is only the read-only view of the part itself, so bulk syncing of ConfigMaps costs next to nothing here.

Called by the cache's task only, in order of revisions; reads are synchronous in the same loop. A value that
cannot be decoded is logged and leaves what was known before: unknown is not empty.

Next: `hanse_apiserver.finalize`, which also listens to the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from google.protobuf.message import DecodeError

from hanse.api.registry.v1 import cluster_pb2 as registry
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.api.type.v1 import condition_pb2 as condition
from hanse.kube.catalogue import Catalogue
from hanse.kube.hanse_kinds import GROUP
from hanse.kube.hooks import Deferred
from hanse.kube.objects import Object
from hanse.store import Event
from hanse.store.keys import CLUSTERS, PLACEMENTS, SYNCSTATES, ObjectKey, last_segment, parse_sync_state
from hanse.telemetry import get_logger
from hanse_apiserver import cluster_view, derived
from hanse_apiserver.aggregate import aggregate
from hanse_apiserver.parts import Parts, Placed, State

_PLACEMENTS: Final = f"{PLACEMENTS}/"
_SYNCSTATES: Final = f"{SYNCSTATES}/"
_CLUSTERS: Final = f"{CLUSTERS}/"
_CLUSTER: Final = ("hanse.dev", "clusters")
_OUT_OF_REACH: Final = frozenset({registry.OFFLINE, registry.IDENTITY_MISMATCH, registry.MISBEHAVING})
"""States of clusters of which nobody knows how they are."""

_log = get_logger(__name__)


class FederationView:
    """Merges placements, sync states and clusters into what is served."""

    def __init__(self, catalogue: Catalogue) -> None:
        """`catalogue` says which kinds have a status."""
        self._catalogue = catalogue
        self._parts: dict[ObjectKey, Parts] = {}
        self._derived: dict[ObjectKey, tuple[ObjectKey, str]] = {}
        self._clusters: dict[str, registry.Cluster] = {}
        self._listeners: list[Callable[[ObjectKey], None]] = []

    @property
    def prefixes(self) -> Sequence[str]:
        """Return what must be followed besides the objects."""
        return (_CLUSTERS, _PLACEMENTS, _SYNCSTATES)

    @property
    def fields(self) -> Sequence[str]:
        """Return what is served and never stored."""
        return ("status.clusters",)

    def reset(self) -> None:
        """Forget everything; all is given anew."""
        self._parts.clear()
        self._derived.clear()
        self._clusters.clear()

    def subscribe(self, listener: Callable[[ObjectKey], None]) -> None:
        """Call `listener` with the key of an object whenever its placement or a sync state changed."""
        self._listeners.append(listener)

    def parts(self, key: ObjectKey) -> Parts | None:
        """Return what is known of an object; None for nothing."""
        return self._parts.get(key)

    def cluster(self, name: str) -> registry.Cluster | None:
        """Return what the registry knows of a cluster."""
        return self._clusters.get(name)

    # Taking in.

    def apply(self, event: Event) -> Iterable[ObjectKey]:
        """Take in one change; return the objects that may look different now."""
        path = event.kv.key
        try:
            if path.startswith(_SYNCSTATES):
                return self._sync_state(event)
            if path.startswith(_PLACEMENTS):
                return self._placement(event)
            if path.startswith(_CLUSTERS):
                return self._cluster(event)
        except (DecodeError, ValueError) as error:
            _log.error("a stored value cannot be read", key=path, error=str(error))
        return ()

    def render(self, key: ObjectKey, intent: Object | None) -> Object | Deferred | None:
        """Return how an object is served."""
        if derived.is_derived(key):
            return self._render_derived(key)
        if intent is None:
            return None
        if (key.group, key.resource) == _CLUSTER:
            return cluster_view.with_status(intent, self._clusters.get(key.name))
        parts = self._parts.get(key)
        if parts is None or not self._has_status(key):
            return intent
        members, decision, decided = parts.members(reachable=self._reachable)
        if parts.placed is None and not members:
            return intent
        status = aggregate(key.group, key.resource, intent, members=members, decision=decision, now=decided)
        return {**intent, "status": status}

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
            parts.placed = None
            self._derived.pop(served, None)
            self._drop_if_empty(key, parts)
        else:
            before = self._parts.get(key)
            placed = Placed.read(
                event.kv.value,
                event.kv.mod_revision,
                before.placed if before else None,
            )
            self._known(key).placed = placed
            self._derived[served] = (key, "")
        return self._changed(key, served)

    def _cluster(self, event: Event) -> Iterable[ObjectKey]:
        name = last_segment(event.kv.key)
        reachable = self._reachable(name)
        if event.kind == "delete":
            self._clusters.pop(name, None)
        else:
            self._clusters[name] = registry.Cluster.FromString(event.kv.value)
        touched = [ObjectKey(GROUP, "clusters", "", name)]
        if self._reachable(name) != reachable:
            touched += [
                key
                for key, parts in self._parts.items()
                if (name in parts.states or (parts.placed and name in parts.placed.clusters))
                and self._has_status(key)
            ]
        return touched

    def _changed(self, key: ObjectKey, served: ObjectKey) -> Iterable[ObjectKey]:
        for listener in self._listeners:
            listener(key)
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

    def _reachable(self, cluster: str) -> bool:
        known = self._clusters.get(cluster)
        if known is None or known.state != registry.UNJOINING:
            return known is None or known.state not in _OUT_OF_REACH
        ready = next((each.status for each in known.conditions if each.type == "Ready"), condition.TRUE)
        return ready == condition.TRUE

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
