"""One object in one simulated member, reconciled without a server and without time.

`Reconciling` has a reconcile context whose member keeps one object by Kubernetes' rules (uids, versions,
preconditions, finalizers), a store in memory, and clocks that stand still. Answers can be scripted before the
member's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import orjson
from hanse_syncer import ownership
from hanse_syncer.act.context import ReconcileContext
from hanse_syncer.act.reconciler import ObjectReconciler
from hanse_syncer.decide.plan import Seen
from hanse_syncer.decide.render import ManifestRenderer
from hanse_syncer.federation.intent import Intent
from hanse_syncer.federation.state import FederationState
from hanse_syncer.member.client import MemberClient, MemberObject
from hanse_syncer.member.limiter import Limiter
from hanse_syncer.report.metrics import SyncerMetrics
from hanse_syncer.report.state_table import SyncStateTable
from opentelemetry.metrics import NoOpMeter

from hanse.api.federation.v1.tombstone_pb2 import Tombstone
from hanse.api.registry.v1.cluster_pb2 import UNJOINING, Cluster
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, ClusterRelease, Placement
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.control.reconcile import Result
from hanse.federation.deletion.tombstones import is_inside
from hanse.federation.events import EventRecorder
from hanse.kube.client.answer import Answer
from hanse.kube.client.client import KubeClient
from hanse.kube.client.requests import APPLY_PATCH, ApiRequest
from hanse.kube.model.objects import Object
from hanse.store import BatchWriter, Compare, MemoryStore, Versioned, keys
from hanse.store.keys import ObjectKey
from hanse.well_known import FIELD_MANAGER

FEDERATION = "federation-id"
PATH = "core/configmaps/default/web"
OURS = ownership.labels(FEDERATION)
NEW_OBJECT = "1"


def ok(document: Object) -> Answer:
    """An answer with an object."""
    return Answer(200, {}, b"", document)


def refusal(status: int, reason: str = "", message: str = "no", **details: Any) -> Answer:
    """A Status."""
    return Answer(
        status, {}, b"", {"kind": "Status", "reason": reason, "message": message, "details": details}
    )


def absent() -> Answer:
    """The API server knows of no ConfigMap web."""
    return refusal(404, "NotFound", 'configmaps "web" not found', name="web", kind="configmaps")


def _ours(body: Object) -> Object:
    """Return the entry of managedFields that an apply of a ConfigMap leaves."""
    fields: Object = {f"f:{name}": {} for name in body.get("data") or {}}
    labels: Object = {f"f:{name}": {} for name in body["metadata"].get("labels") or {}}
    return {
        "manager": FIELD_MANAGER,
        "operation": "Apply",
        "apiVersion": body["apiVersion"],
        "fieldsV1": {"f:data": fields, "f:metadata": {"f:labels": labels}},
    }


class SimulatedMember(MemberClient):
    """A member with at most one object. `scripted` answers come before its own; `sent` has all requests."""

    def __init__(self) -> None:
        super().__init__(cast(KubeClient, None), cluster="a", limiter=Limiter())
        self.live: Object | None = None
        self.scripted: list[Answer | Exception | None] = []
        """None stands for the member's own answer."""
        self.sent: list[str] = []
        self.before: Callable[[str], None] = lambda sent: None
        """Called with what is sent, before it is carried out."""
        self._version = 10
        self._uids = 0

    def put(self, *, uid: str = "u1", labels: dict[str, str] | None = None, **metadata: Any) -> Object:
        """Have an object there, ours unless its labels say otherwise."""
        self._version += 1
        self.live = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "web",
                "namespace": "default",
                "uid": uid,
                "resourceVersion": str(self._version),
                "labels": OURS if labels is None else labels,
                **metadata,
            },
            "data": {"value": "1"},
        }
        if labels is None:
            self.live["metadata"]["managedFields"] = [_ours(self.live)]
        return self.live

    def touch(self, **changes: Any) -> None:
        """Change the object as somebody in the member would."""
        assert self.live is not None
        self._version += 1
        metadata = {**self.live["metadata"], "resourceVersion": str(self._version)}
        self.live = {**self.live, **changes, "metadata": metadata}

    async def send(self, request: ApiRequest) -> Answer:
        """Answer a request."""
        named = f"APPLY {self._kind(request)}" if request.content == APPLY_PATCH else request.method
        self.sent.append(named)
        self.before(named)
        scripted = self.scripted.pop(0) if self.scripted else None
        if isinstance(scripted, Exception):
            raise scripted
        if scripted is not None:
            return scripted
        if request.method == "GET":
            return ok(self.live) if self.live is not None else absent()
        if request.method == "DELETE":
            return self._deleted(orjson.loads(request.body or b"{}"))
        body = orjson.loads(request.body or b"{}")
        return self._applied(body) if request.content == APPLY_PATCH else self._merged(body)

    def _kind(self, request: ApiRequest) -> str:
        metadata = orjson.loads(request.body or b"{}")["metadata"]
        return "new" if metadata.get("resourceVersion") == NEW_OBJECT else str(metadata.get("uid"))

    def _applied(self, body: Object) -> Answer:
        metadata = body["metadata"]
        uid = metadata.pop("uid", "")
        new = metadata.pop("resourceVersion", "") == NEW_OBJECT
        if (new and self.live is not None) or (
            not new and (self.live or {}).get("metadata", {}).get("uid") != uid
        ):
            return refusal(409, "Conflict", "the object has been modified")
        if self.live is None:
            self._uids += 1
            self.put(uid=f"made-{self._uids}")
            assert self.live is not None
        before = self.live
        managed = [_ours(body)]
        applied = {
            **before,
            **body,
            "metadata": {**before["metadata"], **metadata, "managedFields": managed},
        }
        if applied != before:
            self._version += 1
            applied["metadata"]["resourceVersion"] = str(self._version)
        self.live = applied
        return ok(applied)

    def _merged(self, body: Object) -> Answer:
        if self.live is None:
            return absent()
        if body["metadata"]["uid"] != self.live["metadata"]["uid"]:
            return refusal(409, "Conflict", "uid mismatch")
        labels = {**self.live["metadata"].get("labels", {}), **body["metadata"]["labels"]}
        self.live["metadata"]["labels"] = {key: value for key, value in labels.items() if value is not None}
        return ok(self.live)

    def _deleted(self, options: Object) -> Answer:
        if self.live is None:
            return absent()
        metadata, wanted = self.live["metadata"], options["preconditions"]
        if (wanted["uid"], wanted["resourceVersion"]) != (metadata["uid"], metadata["resourceVersion"]):
            return refusal(409, "Conflict", "the precondition does not hold")
        if metadata.get("finalizers"):
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            return ok(self.live)
        uid, self.live = metadata["uid"], None
        return ok({"kind": "Status", "status": "Success", "details": {"name": "web", "uid": uid}})


@dataclass
class FakeFederation:
    """What the federation has of one object, and of cluster a."""

    intents: dict[str, Intent] = field(default_factory=dict)
    placements: dict[str, Versioned[Placement]] = field(default_factory=dict)
    left: dict[str, Versioned[Tombstone]] = field(default_factory=dict)
    leaving: bool = False
    inside: bool = False

    def intent(self, path: str) -> Intent | None:
        """The intent."""
        return self.intents.get(path)

    def placement(self, path: str) -> Versioned[Placement] | None:
        """The placement."""
        return self.placements.get(path)

    def tombstone(self, path: str) -> Versioned[Tombstone] | None:
        """What deleted objects have left."""
        return self.left.get(path)

    def left_inside(self, container: ObjectKey, cluster: str) -> Iterator[tuple[str, Tombstone]]:
        """What was deleted in a namespace or of a definition."""
        for path, found in self.left.items():
            if is_inside(ObjectKey.parse(f"objects/{path}"), container):
                yield path, found.value

    def reads_all_tombstones(self) -> bool:
        """All of them can be read."""
        return True

    def unreadable(self, path: str) -> bool:
        """Whether it cannot be read."""
        return False

    def awaits_decision(self, path: str) -> bool:
        """Whether the scheduler's decision is to come."""
        return False

    def cluster(self, name: str) -> Cluster:
        """Cluster a; if it leaves it keeps its objects."""
        return Cluster(state=UNJOINING, orphan_objects=True) if self.leaving else Cluster()

    def wanted_inside(self, namespace: str, cluster: str) -> bool:
        """Whether something in the namespace is still placed."""
        return self.inside


@dataclass
class FakeView:
    """What an informer shows: nothing but what is noted, unless it has listed."""

    seen_of: dict[str, Seen] = field(default_factory=dict)
    listed: bool = False

    def seen(self, target: MemberObject) -> tuple[Seen | None, bool]:
        """What is shown of the object."""
        return self.seen_of.get(target.key.path()), self.listed

    def note(self, target: MemberObject, seen: Seen | None) -> None:
        """Take an answer in."""
        self.seen_of.pop(target.key.path(), None)
        if seen is not None:
            self.seen_of[target.key.path()] = seen


class Reconciling:
    """A reconciler of cluster a with everything around it."""

    def __init__(self, store: MemoryStore) -> None:
        self.now = 1000.0
        self.member, self.view, self.federation = SimulatedMember(), FakeView(), FakeFederation()
        self.woken: list[str] = []
        self.considered: list[str] = []
        self.states = SyncStateTable(
            BatchWriter(store, spacing=0.0), "a", fence=lambda: Compare.exists("lease")
        )
        self.context = ReconcileContext(
            cluster="a",
            federation_id=FEDERATION,
            federation=cast(FederationState, self.federation),
            member=self.member,
            states=self.states,
            view=self.view,
            renderer=ManifestRenderer(FEDERATION),
            events=EventRecorder(None, component="hanse-syncer", clock=self.clock),
            metrics=SyncerMetrics(NoOpMeter("test")),
            tracer=None,
            clock=self.clock,
            monotonic=lambda: self.now,
            wake=self.woken.append,
            consider_orphan=self.considered.append,
            endpoints=lambda namespace, name: None,
        )
        self.reconciler = ObjectReconciler(self.context)
        self._revision = 100

    def clock(self) -> datetime:
        """The time of day."""
        return datetime.fromtimestamp(self.now, UTC)

    def intend(
        self, path: str = PATH, *, deleting: bool = False, orphan: bool = False, obj: Object | None = None
    ) -> None:
        """Have an intent, or change it."""
        _, _, namespace, name = path.split("/")
        template = obj or {"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": "1"}}
        metadata = {"name": name, **({} if namespace == "_" else {"namespace": namespace})}
        self._revision += 1
        self.federation.intents[path] = Intent(
            encoded=orjson.dumps({**template, "metadata": {**metadata, **template.get("metadata", {})}}),
            revision=self._revision,
            uid="federated",
            generation=1,
            deleting=deleting,
            orphan=orphan,
            api_version=str(template["apiVersion"]),
            kind=str(template["kind"]),
            traceparent="",
        )

    def place(self, path: str = PATH, *, placed: bool = True, releasing: bool = False, **fields: Any) -> None:
        """Have a placement that says this of cluster a."""
        self._revision += 1
        placement = Placement(
            generation=1,
            clusters=[ClusterPlacement(cluster="a")] if placed else [],
            releasing=[ClusterRelease(cluster="a")] if releasing else [],
            **fields,
        )
        placement.object.uid = "federated"
        self.federation.placements[path] = Versioned(placement, self._revision, self._revision)

    def release(self, path: str = PATH) -> None:
        """Have the object leave the cluster."""
        self.place(path, placed=False, releasing=True)

    async def reconcile(self, path: str = PATH) -> Result | None:
        """Reconcile the object."""
        return await self.reconciler.reconcile(path)

    async def apply(self) -> SyncState:
        """Place the object and reconcile it: it is applied."""
        self.intend()
        self.place()
        await self.reconcile()
        self.member.sent.clear()
        return self.state()

    def state(self, path: str = PATH) -> SyncState:
        """The sync state."""
        state = self.states.get(path)
        assert state is not None, f"nothing is known of {path}"
        return state

    @property
    def live(self) -> Object:
        """The member's object."""
        assert self.member.live is not None
        return self.member.live


@asynccontextmanager
async def reconciling() -> AsyncIterator[Reconciling]:
    """Run the sync state table of cluster a, which this process holds."""
    store = MemoryStore()
    await store.put("lease", b"")
    await store.put(keys.cluster("a"), b"")
    bench = Reconciling(store)
    running = asyncio.create_task(bench.states.run())
    try:
        yield bench
    finally:
        running.cancel()
        await asyncio.wait([running])
        await store.close()
        if not running.cancelled():
            running.result()
