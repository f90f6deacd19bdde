"""What reconciling the objects of one cluster needs: the dependencies that all requests share.

Owns `ReconcileContext`, made for each connection to the member, and `MemberView`, what is known of the
member's objects by that connection.

Concurrency: one event loop. Next: `hanse_syncer.act.request` for one object, `hanse_syncer.act.reconciler`
for what is done with both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from opentelemetry.trace import Tracer

from hanse.api.registry.v1.cluster_pb2 import ApiResource
from hanse.api.syncer.v1.sync_state_pb2 import SyncState, ZoneEndpoints
from hanse.errors import InternalError
from hanse.federation.clusters import leaves_objects
from hanse.federation.events import EventRecorder
from hanse.kube.model.events import EventType, InvolvedObject
from hanse.paths import resource_of
from hanse.store.keys import ObjectKey
from hanse.turns import Turns
from hanse_syncer.act.request import SyncRequest, TransientState
from hanse_syncer.act.waiting import Waiting
from hanse_syncer.decide import job_claims, plan
from hanse_syncer.decide.plan import Desired, Seen
from hanse_syncer.decide.render import Manifest, ManifestRenderer
from hanse_syncer.federation.intent import Intent
from hanse_syncer.federation.state import FederationState
from hanse_syncer.member.client import MemberClient, MemberObject
from hanse_syncer.report.metrics import SyncerMetrics
from hanse_syncer.report.state_table import SyncStateTable


class MemberView(Protocol):
    """What the member shows of our objects; see `hanse_syncer.member.session`."""

    def seen(self, target: MemberObject) -> tuple[Seen | None, bool]:
        """Return what is shown of the object, and whether all of its resource has been listed."""
        ...

    def note(self, target: MemberObject, seen: Seen | None) -> None:
        """Take in what an answer said."""
        ...


@dataclass(slots=True)
class ReconcileContext:
    """What reconciling one cluster's objects needs."""

    cluster: str
    federation_id: str
    federation: FederationState
    member: MemberClient
    states: SyncStateTable
    view: MemberView
    renderer: ManifestRenderer
    events: EventRecorder
    metrics: SyncerMetrics
    tracer: Tracer | None
    """None where nobody records spans: then none is made."""
    clock: Callable[[], datetime]
    """The time of day, for what is written down."""
    monotonic: Callable[[], float]
    """Seconds since some moment, for deadlines and pauses."""
    wake: Callable[[str], None]
    """Has an object looked at soon."""
    consider_orphan: Callable[[str], None]
    """Has somebody see whether an object is an orphan."""
    endpoints: Callable[[str, str], list[ZoneEndpoints] | None]
    """The ready endpoints of the Service (namespace, name); None while they are not known."""
    served: Mapping[tuple[str, str], tuple[ApiResource, ...]] = field(default_factory=dict)
    """By (group, resource): the versions that the member serves, empty while unknown."""
    waiting: Waiting = field(default_factory=Waiting)
    transients: dict[str, TransientState] = field(default_factory=dict)
    turns: Turns = field(default_factory=Turns)

    def record(self, request: SyncRequest, *, type_: EventType, reason: str, message: str) -> None:
        """Have an Event recorded about the object in the context's cluster, if the object is known."""
        key, intent = request.key, request.intent
        if intent is None:
            return
        about = InvolvedObject(intent.api_version, intent.kind, key.namespace, key.name, intent.uid)
        message = f"cluster {self.cluster}: {message}"
        self.events.record(about, type_=type_, reason=reason, message=message)

    def transient(self, path: str) -> TransientState:
        """Return what is remembered of an object."""
        found = self.transients.get(path)
        if found is None:
            found = self.transients[path] = TransientState()
        return found

    def request(self, path: str) -> SyncRequest:
        """Return the object at `<group>/<resource>/<namespace>/<name>` as everything is now."""
        key = _key(path)
        entry, left = self.federation.placement(path), self.federation.tombstone(path)
        state = self.states.get(path)
        wanted = plan.wanted_in(
            self.federation.intent(path),
            left.value if left is not None else None,
            entry.value if entry is not None else None,
            self.cluster,
            state=state,
            orphan_cluster=self._leaves_objects(),
        )
        intent, placement = wanted.intent, wanted.placement
        desired, placed = wanted.desired, wanted.entry
        acted_on = left if wanted.tombstone is not None else entry
        if self.federation.unreadable(path):
            desired, placed = Desired.UNTOUCHED, None
        return SyncRequest(
            path=path,
            key=key,
            intent=intent,
            placement=placement,
            placement_revision=acted_on.mod_revision if acted_on is not None else 0,
            desired=desired,
            entry=placed,
            state=state,
            target=MemberObject(
                key,
                self.api_version(key, _known_version(key, intent, state)),
                kind=intent.kind if intent is not None else "",
            ),
            transient=self.transient(path),
            tombstone=wanted.tombstone,
            left_over=wanted.over,
            tombstone_revision=left.mod_revision if left is not None else 0,
            run=job_claims.current_run(
                key,
                placement=placement,
                entry=placed,
                state=state,
                cluster=self.cluster,
                uid=intent.uid if intent is not None else "",
                membership=cluster.uid if (cluster := self.federation.cluster(self.cluster)) else "",
            ),
        )

    def is_current(self, request: SyncRequest) -> bool:
        """Return whether the object and its placement, or what is left of earlier ones, are still those on
        which the request was decided."""
        left = self.federation.tombstone(request.path)
        if (left.mod_revision if left is not None else 0) != request.tombstone_revision:
            return False
        if request.tombstone is not None:
            return True
        intent, entry = self.federation.intent(request.path), self.federation.placement(request.path)
        return (intent.revision if intent is not None else 0) == (
            request.intent.revision if request.intent is not None else 0
        ) and (entry.mod_revision if entry is not None else 0) == request.placement_revision

    def _leaves_objects(self) -> bool:
        """Return whether the cluster leaves the federation and keeps its objects."""
        cluster = self.federation.cluster(self.cluster)
        return cluster is not None and leaves_objects(cluster)

    def serve(self, resources: Iterable[ApiResource]) -> None:
        """Take in what the member serves now; wake what waited for that, and what it serves otherwise now.

        What is there in a version that the member serves no more stays as it is, and says so.
        """
        served: dict[tuple[str, str], list[ApiResource]] = {}
        for resource in resources:
            served.setdefault((resource.group, resource.resource), []).append(resource)
        before, self.served = self.served, {identity: tuple(found) for identity, found in served.items()}
        woken = set(self.waiting.take_served(served.keys()))
        changed = {
            name for name, found in before.items() if _versions(found) != _versions(served.get(name, ()))
        }
        if changed:
            woken.update(path for path, _ in self.states.items() if resource_of(path) in changed)
        for path in sorted(woken):
            self.wake(path)

    def render(self, request: SyncRequest) -> Manifest:
        """Return what the cluster should have. Raises InvalidArgumentError for senseless overrides."""
        if request.intent is None:
            raise InternalError("an object without an intent is not rendered")
        if request.entry is None:
            raise InternalError("an object without a placement is not rendered")
        return self.renderer.render(
            request.intent.encoded,
            key=request.path,
            revision=request.intent.revision,
            placement=request.entry,
        )

    def unspoken(self, request: SyncRequest) -> tuple[str, ...]:
        """Return the versions of the object's resource that the member serves, if not that of the object."""
        if request.intent is None:
            return ()
        key = request.key
        return plan.unspoken(self.served.get((key.group, key.resource), ()), request.intent.api_version)

    def api_version(self, key: ObjectKey, wanted: str) -> str:
        """Return the apiVersion for requests about `key`: `wanted` if the member serves it."""
        return plan.choose_version(self.served.get((key.group, key.resource), ()), wanted)


def _versions(served: Sequence[ApiResource]) -> frozenset[str]:
    return frozenset(each.version for each in served)


def _known_version(key: ObjectKey, intent: Intent | None, state: SyncState | None) -> str:
    """Return the apiVersion that the intent has, else the one of the last apply, else v1."""
    if intent is not None:
        return intent.api_version
    version = (state.object.version if state is not None else "") or "v1"
    return f"{key.group}/{version}" if key.group else version


@functools.lru_cache(maxsize=4096)
def _key(path: str) -> ObjectKey:
    return ObjectKey.parse(f"objects/{path}")
