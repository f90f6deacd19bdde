"""What is at hand when an object of one cluster is looked at, and the case that is looked at.

Owns `Desk`, the parts of a cluster's pipeline that reconciling needs, and `Case`, one object with all that
is known of it at the moment. Cases are values: they are built anew for every look.

Next: `hanse_syncer.act.reconciler` and `hanse_syncer.act.removal`, which work at the desk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from opentelemetry.trace import Tracer

from hanse.api.registry.v1.cluster_pb2 import ApiResource
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, Placement
from hanse.api.syncer.v1.sync_state_pb2 import SyncState, ZoneEndpoints
from hanse.federation import belongings
from hanse.kube.model.objects import Object, child
from hanse.store.keys import ObjectKey
from hanse.turns import Turns
from hanse_syncer.act.waiting import Waiting
from hanse_syncer.decide import plan
from hanse_syncer.decide.plan import Seen, Wish
from hanse_syncer.decide.render import Manifest, Renderer
from hanse_syncer.member.member import Member, Target
from hanse_syncer.report.events import EventSink
from hanse_syncer.report.metrics import SyncerMetrics
from hanse_syncer.report.report import Subject
from hanse_syncer.report.states import StateBook
from hanse_syncer.world import Intent, World


class Shown(Protocol):
    """What the member shows of our objects; see `hanse_syncer.member.informer`."""

    def seen(self, target: Target) -> tuple[Seen | None, bool]:
        """Return what is shown of the object, and whether all of its resource has been listed."""
        ...

    def note(self, target: Target, seen: Seen | None) -> None:
        """Take in what an answer said."""
        ...


@dataclass(slots=True)
class Memory:
    """What is worth remembering of an object between looks, and can be lost without harm."""

    failures: int = 0
    fingerprint: bytes = b""
    """Of the live object that was found to be right after an apply."""
    live: Object | None = None
    """The newest object that the watch brought, until it is looked at."""
    repairs: int = 0
    repaired_at: float = float("-inf")
    looked_at: float = float("-inf")
    lagging_since: float | None = None
    decision_until: float | None = None
    """Until when the scheduler's decision on the newest generation is waited for."""
    namespace_until: float | None = None
    """Until when our own namespace is waited for without asking the member."""
    stuck: frozenset[str] = frozenset()
    """uids of what was in the namespace when it was looked through last, and only waits for the collector."""
    stuck_since: float = float("-inf")
    forced: bool = False


@dataclass(slots=True)
class Desk:
    """What reconciling one cluster's objects needs."""

    cluster: str
    federation_id: str
    world: World
    member: Member
    book: StateBook
    shown: Shown
    renderer: Renderer
    events: EventSink
    metrics: SyncerMetrics
    tracer: Tracer | None
    """None where nobody records spans: then none is made."""
    clock: Callable[[], datetime]
    wake: Callable[[str], None]
    """Has an object looked at soon."""
    suspect: Callable[[str], None]
    """Has somebody see whether an object is an orphan."""
    endpoints: Callable[[str, str], list[ZoneEndpoints] | None]
    """The ready endpoints of the Service (namespace, name); None while they are not known."""
    served: Mapping[tuple[str, str], tuple[ApiResource, ...]] = field(default_factory=dict)
    """By (group, resource): the versions that the member serves, empty while unknown."""
    waiting: Waiting = field(default_factory=Waiting)
    memories: dict[str, Memory] = field(default_factory=dict)
    turns: Turns = field(default_factory=Turns)

    def memory(self, path: str) -> Memory:
        """Return what is remembered of an object."""
        found = self.memories.get(path)
        if found is None:
            found = self.memories[path] = Memory()
        return found

    def render(self, case: Case) -> Manifest:
        """Return what the cluster should have. Raises InvalidArgumentError for senseless overrides."""
        assert case.intent is not None
        assert case.entry is not None
        return self.renderer.render(
            case.intent.encoded,
            key=case.path,
            revision=case.intent.revision,
            placement=case.entry,
            api_version=case.target.api_version,
        )

    def api_version(self, key: ObjectKey, wanted: str) -> str:
        """Return the apiVersion in which to speak with the member about `key`: `wanted` if it serves it."""
        return plan.choose_version(self.served.get((key.group, key.resource), ()), wanted)


@dataclass(frozen=True, slots=True)
class Case:
    """One object in the desk's cluster, as everything is now."""

    path: str
    key: ObjectKey
    intent: Intent | None
    placement: Placement | None
    placement_revision: int
    wanted: Wish
    entry: ClusterPlacement | None
    """The cluster's part of the placement, where it is desired."""
    state: SyncState | None
    target: Target
    memory: Memory

    @property
    def uid(self) -> str:
        """The uid that the member's object was last known by; empty if there is none."""
        return self.state.member_uid if self.state is not None else ""

    @property
    def sealed(self) -> bool:
        """Whether nothing of what a cluster says of the object may be written down. Secrets may be sealed
        though their intent is not known any more."""
        return (not self.key.group and self.key.resource == "secrets") or (
            self.intent is not None and self.intent.sealed
        )

    def belongs(self, live: Object | None = None) -> str:
        """Return why the object belongs to the cluster itself, "" if it does not.

        `live` is what the cluster has of that name. That a controller owns it counts, unless it is the very
        object that is ours: that one can have got an owner later.
        """
        key = self.key
        if self.intent is not None and (self.intent.belongs or live is None):
            return self.intent.belongs
        if live is None:
            return belongings.by_name(key.group, key.resource, namespace=key.namespace, name=key.name)
        ours = bool(self.uid) and child(live, "metadata", "uid") == self.uid
        return belongings.of(key.group, key.resource, live, controlled=not ours)

    def subject(self, cluster: str) -> Subject:
        """Return what a sync state says of the object in any case."""
        traceparent = self.placement.traceparent if self.placement is not None else ""
        if self.intent is not None and not traceparent:
            traceparent = self.intent.traceparent
        return Subject(
            key=self.key,
            cluster=cluster,
            uid=self.intent.uid if self.intent is not None else "",
            generation=self.intent.generation if self.intent is not None else 0,
            placement_revision=self.placement_revision,
            traceparent=traceparent,
        )
