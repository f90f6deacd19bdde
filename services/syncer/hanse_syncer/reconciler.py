"""Brings one object of one member to what the federation wants, and writes down how it is.

Owns the flow: read the world, ask `plan` for the next step, carry it out, record the outcome. It is level
based: nothing is remembered that matters, and running twice equals running once.

Concurrency: one object is looked at by one task at a time; different objects at once. A member that does not
answer ends a look with LinkDownError, which the pipeline handles for all of them together.

Next: `hanse_syncer.removal` for how objects leave, `hanse_syncer.pipeline` for who calls.
"""

from __future__ import annotations

import asyncio
import functools
import random
from contextlib import nullcontext
from typing import Any, Final

import orjson

from hanse.api.registry.v1 import cluster_pb2 as registry
from hanse.api.scheduler.v1 import placement_pb2 as placements
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.control.queue import Backoff
from hanse.control.reconcile import Request, Result
from hanse.errors import InvalidArgumentError
from hanse.kube.objects import Object
from hanse.store.keys import ObjectKey
from hanse.telemetry import get_logger, span_from_traceparent
from hanse_syncer import drift, health, ownership, plan, pods, report, waiting
from hanse_syncer.answers import Answer, Verdict
from hanse_syncer.desk import Case, Desk
from hanse_syncer.member import LinkDownError, Target
from hanse_syncer.outcome import Outcome, Trouble
from hanse_syncer.plan import Seen, Step, Wish
from hanse_syncer.removal import Removal
from hanse_syncer.render import Manifest

_log = get_logger(__name__)

_RETRIES: Final = Backoff(base=0.25, limit=30.0)
_REFUSALS: Final = Backoff(base=2.0, limit=300.0)
_REPAIRS: Final = Backoff(base=0.1, limit=60.0)
_QUIET_SECONDS: Final = 60.0
"""After so long without a repair the next one is made at once again."""
PATIENCE_SECONDS: Final = 1.0
"""How long a decision for the newest generation, or our own namespace, is waited for."""
_LAG_SECONDS: Final = 3.0
"""How long a workload may lag before its pods are looked at."""
_LAG_AGAIN_SECONDS: Final = 15.0
_TRANSIENT_FAILURES: Final = 2
"""A trouble that may pass is written down when it has come so many times in a row."""


class ObjectReconciler:
    """Reconciles the objects of the desk's cluster. Keys are `<group>/<resource>/<namespace>/<name>`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._removal = Removal(desk)
        self._random = random.Random()  # noqa: S311 - jitter

    async def reconcile(self, request: Request) -> Result | None:
        """Look at one object. Raises LinkDownError."""
        case = await self._informed(request.key)
        if self._undecided(case):
            return Result(requeue_after=PATIENCE_SECONDS)
        try:
            result = await self._act(case)
        except Trouble as trouble:
            return self._troubled(case, trouble)
        except InvalidArgumentError as error:
            return self._troubled(
                case, Trouble(Outcome(sync.FAILED, "OverrideInvalid", error.message), slow=True)
            )
        except LinkDownError as error:
            self._unreachable(case, error.message)
            raise
        case.memory.failures = 0
        case.memory.forced = False
        return result

    async def _informed(self, path: str) -> Case:
        """Return the case, knowing of the cluster all that the scheduler knew that had the object leave it.

        The cluster's record comes by another watch than the placement: it may say that the cluster leaves the
        federation and keeps its objects. Raises DeadlineError while that cannot be known.
        """
        world = self._desk.world
        case = self._case(path)
        while _is_released(case) and world.clusters.revision < case.placement_revision:
            await world.clusters.reached(case.placement_revision)
            case = self._case(path)
        return case

    def _case(self, path: str) -> Case:
        desk = self._desk
        key = _key(path)
        intent = desk.world.intent(path)
        entry = desk.world.placement(path)
        placement = entry.value if entry is not None else None
        if intent is not None and placement is not None:
            uid = placement.object.uid
            if uid and intent.uid and uid != intent.uid:
                placement = None  # one of the two is of an object of that name that is no more
        cluster = desk.world.cluster(desk.cluster)
        leaving = (
            cluster is not None
            and cluster.orphan_objects
            and (cluster.state == registry.UNJOINING or cluster.HasField("delete_time"))
        )
        wanted, desired = plan.wish(intent, placement, desk.cluster, orphan_cluster=leaving)
        state = desk.book.get(path)
        if intent is not None:
            version = intent.api_version
        elif state is not None and state.object.version:
            version = f"{key.group}/{state.object.version}" if key.group else state.object.version
        else:
            version = f"{key.group}/v1" if key.group else "v1"
        return Case(
            path=path,
            key=key,
            intent=intent,
            placement=placement,
            placement_revision=entry.mod_revision if entry is not None else 0,
            wanted=wanted,
            entry=desired,
            state=state,
            target=Target(
                key, desk.api_version(key, version), (key.group, key.resource) in health.STATELESS_KINDS
            ),
            memory=desk.memory(path),
        )

    def _undecided(self, case: Case) -> bool:
        """Whether the object and its placement are of different generations, and there is still time to wait.

        Either the scheduler has not decided yet, or its decision came before the object that it is about:
        the two are followed by different watches.
        """
        if (
            case.wanted is not Wish.PRESENT
            or case.intent is None
            or case.placement is None
            or case.intent.generation == case.placement.generation
        ):
            case.memory.decision_until = None
            return False
        now = asyncio.get_running_loop().time()
        if case.memory.decision_until is None:
            case.memory.decision_until = now + PATIENCE_SECONDS
        return now < case.memory.decision_until

    async def _act(self, case: Case) -> Result | None:
        desk = self._desk
        manifest: Manifest | None = None
        if case.wanted is Wish.PRESENT:
            manifest = self._render(case)
        seen, listed = desk.shown.seen(case.target)
        if seen is not None and case.memory.live is not None:
            seen = Seen(seen.uid, seen.resource_version, fresh=True)
        step = plan.decide(
            case.wanted,
            state=case.state,
            rendered_hash=manifest.hash if manifest is not None else "",
            seen=seen,
            listed=listed,
            force=case.memory.forced,
            outdated=plan.is_outdated(
                case.state, intent=case.intent, placement=case.placement, cluster=desk.cluster
            ),
        )
        live, case.memory.live = case.memory.live, None
        if manifest is not None:
            return await self._bring(case, manifest, step=step, seen=seen, live=live)
        return await self._take_away(case, step)

    async def _take_away(self, case: Case, step: Step) -> Result | None:
        desk = self._desk
        if step is Step.REMOVE:
            return await self._removal.remove(case)
        if step is Step.SEARCH:
            return await self._removal.search(case)
        if step is Step.FORGET:
            desk.book.drop(case.path)
            desk.memories.pop(case.path, None)
            desk.waiting.remove(case.path)
        elif step is Step.NOTHING and case.state is None:
            desk.memories.pop(case.path, None)
        elif step is Step.REPORT:
            desk.metrics.orphans.add(1, {"hanse.cluster": desk.cluster})
            _log.warning(
                "an object of ours is in a cluster where nobody wants it; it is left alone",
                cluster=desk.cluster,
                object=str(case.key),
            )
        return None

    async def _bring(
        self, case: Case, manifest: Manifest, *, step: Step, seen: Seen | None, live: Object | None
    ) -> Result | None:
        if step is Step.CREATE:
            if self._namespace_pending(case):
                desk = self._desk
                desk.waiting.add(waiting.namespace(case.key.namespace), case.path)
                return Result(requeue_after=PATIENCE_SECONDS)
            return await self._create(case, manifest)
        if step is Step.APPLY:
            return await self._apply(case, manifest, uid=case.uid or (seen.uid if seen else ""))
        if step is Step.CHECK:
            return await self._check(case, manifest)
        if step is Step.COMPARE:
            assert live is not None
            return await self._compare(case, manifest, live)
        self._note(case, manifest)
        return await self._look_at_pods(case, manifest)

    def _namespace_pending(self, case: Case) -> bool:
        """Whether the object's namespace is one of ours that is on its way into this cluster."""
        if not case.key.namespace:
            return False
        path = f"core/namespaces/_/{case.key.namespace}"
        placement = self._desk.world.placement(path)
        if placement is None or all(e.cluster != self._desk.cluster for e in placement.value.clusters):
            return False
        state = self._desk.book.get(path)
        if state is not None and state.phase in (sync.APPLIED, sync.CONFLICT):
            return False
        now, memory = asyncio.get_running_loop().time(), case.memory
        if memory.namespace_until is None:
            memory.namespace_until = now + PATIENCE_SECONDS
        return now < memory.namespace_until

    def _note(self, case: Case, manifest: Manifest) -> None:
        """Nothing to do: but the state should say that this generation and placement have been done."""
        state, subject = case.state, case.subject(self._desk.cluster)
        if state is None or state.phase != sync.APPLIED or state.applied_hash != manifest.hash:
            return
        if state.applied_generation != subject.generation or state.placement_revision != (
            subject.placement_revision
        ):
            self._desk.book.put(case.path, report.noted(subject, state))

    async def _create(self, case: Case, manifest: Manifest, *, repaired: bool = False) -> Result | None:
        started = asyncio.get_running_loop().time()
        with self._span(case):
            answer = await self._desk.member.create(case.target, manifest)
        verdict = self._count(case, answer, started)
        if verdict is Verdict.DONE:
            return self._applied(case, manifest, answer.json(), repaired=repaired)
        if verdict is Verdict.CHANGED:
            return await self._resolve(case, manifest)
        raise self._trouble(case, verdict, answer)

    async def _apply(self, case: Case, manifest: Manifest, *, uid: str, repairing: str = "") -> Result | None:
        """Apply to the object `uid`. `repairing` is the resourceVersion that was found to differ."""
        if not uid:
            return await self._create(case, manifest)
        started = asyncio.get_running_loop().time()
        with self._span(case):
            answer = await self._desk.member.apply(case.target, manifest, uid=uid)
        verdict = self._count(case, answer, started)
        if verdict is Verdict.DONE:
            live = answer.json()
            repaired = bool(repairing) and live["metadata"]["resourceVersion"] != repairing
            return self._applied(case, manifest, live, repaired=repaired)
        if verdict in (Verdict.CHANGED, Verdict.ABSENT):
            return await self._resolve(case, manifest)
        raise self._trouble(case, verdict, answer)

    async def _resolve(self, case: Case, manifest: Manifest) -> Result | None:
        """What is there is not what was expected: look at it, then decide."""
        desk = self._desk
        answer = await desk.member.get(case.target)
        verdict = desk.member.verdict(case.target, answer)
        if verdict is Verdict.ABSENT:
            desk.shown.note(case.target, None)
            started = asyncio.get_running_loop().time()
            created = await desk.member.create(case.target, manifest)
            verdict = self._count(case, created, started)
            if verdict is Verdict.DONE:
                return self._applied(case, manifest, created.json(), repaired=bool(case.uid))
            if verdict is Verdict.CHANGED:
                raise _restless()
            raise self._trouble(case, verdict, created)
        if verdict is not Verdict.DONE:
            raise self._trouble(case, verdict, answer)
        live = answer.json()
        uid = str(live["metadata"]["uid"])
        if live["metadata"].get("deletionTimestamp"):
            raise Trouble(
                Outcome(sync.WAITING, "BeingDeleted", "the cluster is deleting an object of that name"),
                retry_after=2.0,
            )
        if not self._may_take(case, live, uid):
            raise self._conflict(live)
        applied = await desk.member.apply(case.target, manifest, uid=uid)
        verdict = desk.member.verdict(case.target, applied)
        if verdict is Verdict.DONE:
            return self._applied(case, manifest, applied.json(), repaired=uid == case.uid)
        if verdict in (Verdict.CHANGED, Verdict.ABSENT):
            raise _restless()
        raise self._trouble(case, verdict, applied)

    def _may_take(self, case: Case, live: Object, uid: str) -> bool:
        """Whether the live object is ours, or may become ours."""
        desk = self._desk
        if ownership.owned(live, desk.federation_id) or uid == case.uid:
            return True
        adopt = case.placement is not None and case.placement.conflict_resolution == placements.ADOPT
        if not adopt or ownership.other_federation(live, desk.federation_id):
            return False
        desk.events.report(
            case.key,
            case.intent,
            cluster=desk.cluster,
            kind="Normal",
            reason="Adopted",
            message="an existing object was taken over, as the policy says",
        )
        return True

    def _conflict(self, live: Object) -> Trouble:
        desk = self._desk
        desk.metrics.conflicts.add(1, {"hanse.cluster": desk.cluster})
        other = ownership.other_federation(live, desk.federation_id)
        if other:
            outcome = Outcome(
                sync.CONFLICT, "OwnedByOtherFederation", f"it belongs to the federation {other}; left alone"
            )
        else:
            outcome = Outcome(
                sync.CONFLICT,
                "AlreadyExists",
                "the cluster has an object of that name that is not ours; it was left alone. Delete or "
                "rename it there, or let a policy adopt it",
            )
        return Trouble(outcome, slow=True)

    async def _check(self, case: Case, manifest: Manifest) -> Result | None:
        """The list or watch leaves a doubt: read the object by name."""
        desk = self._desk
        answer = await desk.member.get(case.target)
        verdict = desk.member.verdict(case.target, answer)
        if verdict is Verdict.DONE:
            return await self._compare(case, manifest, answer.json())
        if verdict is not Verdict.ABSENT:
            raise self._trouble(case, verdict, answer)
        desk.shown.note(case.target, None)
        if self._spent(case, manifest):
            return None
        wait = self._repair_wait(case)
        if wait > 0:
            return Result(requeue_after=wait)
        return await self._create(case, manifest, repaired=True)

    def _spent(self, case: Case, manifest: Manifest) -> bool:
        """Whether it is a Job that finished and that the member then cleaned up: it must not run twice."""
        spec = manifest.object.get("spec") or {}
        if manifest.kind != "Job" or "ttlSecondsAfterFinished" not in spec or case.state is None:
            return False
        finished = bool(case.state.status) and health.finished_job(
            {"kind": "Job", "status": _decode(case.state.status)}
        )
        if finished:
            state = report.noted(case.subject(self._desk.cluster), case.state)
            state.reason, state.message = "Finished", "the Job has finished and its time to live is over"
            self._desk.book.put(case.path, state)
        return finished

    async def _compare(self, case: Case, manifest: Manifest, live: Object) -> Result | None:
        desk = self._desk
        assert case.state is not None
        metadata = live["metadata"]
        if metadata.get("deletionTimestamp"):
            return Result(requeue_after=5.0)  # somebody deletes it there; when it is gone it is made again
        if str(metadata["uid"]) != case.uid:
            if not self._may_take(case, live, str(metadata["uid"])):
                raise self._conflict(live)
            return await self._apply(case, manifest, uid=str(metadata["uid"]))
        if drift.in_sync(manifest.object, live) or drift.fingerprint(live) == case.memory.fingerprint:
            before = desk.book.get(case.path) or case.state
            state = report.confirmed(
                case.subject(desk.cluster), before, manifest=manifest, live=live, now=desk.clock()
            )
            self._shown(case, live)
            desk.book.put(case.path, self._with_endpoints(case, state), lazy=True)
            self._wake_others(case, live)
            return await self._look_at_pods(case, manifest)
        wait = self._repair_wait(case)
        if wait > 0:
            return Result(requeue_after=wait)
        return await self._apply(case, manifest, uid=case.uid, repairing=str(metadata["resourceVersion"]))

    def _repair_wait(self, case: Case) -> float:
        """Return how long to leave drift alone: two who fight over a field must not make a storm."""
        now, memory = asyncio.get_running_loop().time(), case.memory
        quiet = now - memory.repaired_at
        if quiet > _QUIET_SECONDS:
            memory.repairs = 0
        wait = 0.0
        if memory.repairs:
            wait = max(0.0, _REPAIRS.delay(memory.repairs, rng=self._random) - quiet)
        if wait <= 0.01:
            memory.repairs += 1
            memory.repaired_at = now
            return 0.0
        return wait

    def _applied(self, case: Case, manifest: Manifest, live: Object, *, repaired: bool) -> Result | None:
        desk = self._desk
        state = report.applied(
            case.subject(desk.cluster),
            desk.book.get(case.path),
            manifest=manifest,
            live=live,
            now=desk.clock(),
            repaired=repaired,
        )
        if repaired:
            desk.metrics.repairs.add(1, {"hanse.cluster": desk.cluster})
            _log.info("drift repaired", cluster=desk.cluster, object=str(case.key))
        self._shown(case, live)
        desk.waiting.remove(case.path)
        case.memory.namespace_until = None
        if not case.target.metadata_only:
            case.memory.fingerprint = drift.fingerprint(live)
        desk.book.put(case.path, self._with_endpoints(case, state))
        self._wake_others(case, live)
        return self._lag(case)

    def _with_endpoints(self, case: Case, state: SyncState) -> SyncState:
        """Services carry their ready endpoints; what is not known leaves what was known before."""
        if case.key.group or case.key.resource != "services":
            return state
        ready = self._desk.endpoints(case.key.namespace, case.key.name)
        return state if ready is None else report.counted(state, ready=ready)

    def _shown(self, case: Case, live: Object) -> None:
        metadata = live["metadata"]
        self._desk.shown.note(case.target, Seen(str(metadata["uid"]), str(metadata["resourceVersion"])))

    def _wake_others(self, case: Case, live: Object) -> None:
        """What waits for this namespace, or for the resource that this definition defines, can go on."""
        desk = self._desk
        if case.key.resource == "namespaces" and not case.key.group:
            tokens = [waiting.namespace(case.key.name)]
        elif case.key.resource == "customresourcedefinitions" and health.health_of(live) == sync.HEALTHY:
            names = ((live.get("spec") or {}).get("names") or {}).get("plural", "")
            tokens = [waiting.api(str((live.get("spec") or {}).get("group", "")), str(names))]
        else:
            return
        for token in tokens:
            for path in desk.waiting.take(token):
                desk.memory(path).namespace_until = None
                desk.wake(path)

    def _lag(self, case: Case) -> Result | None:
        """Look again soon if the workload lags, for pods that cannot be scheduled."""
        state = self._desk.book.get(case.path)
        lagging = state is not None and state.HasField("replicas") and state.health == sync.PROGRESSING
        if not lagging:
            case.memory.lagging_since = None
            return None
        if case.memory.lagging_since is None:
            case.memory.lagging_since = asyncio.get_running_loop().time()
        return Result(requeue_after=_LAG_SECONDS)

    async def _look_at_pods(self, case: Case, manifest: Manifest) -> Result | None:
        again = self._lag(case)
        since = case.memory.lagging_since
        if again is None or since is None:
            return None
        now = asyncio.get_running_loop().time()
        if now - since < _LAG_SECONDS:
            return again
        selector = pods.pod_selector(manifest.object)
        desk = self._desk
        state = desk.book.get(case.path)
        if not selector or state is None:
            return None
        count = await pods.count_unschedulable(desk.member, case.key.namespace, selector)
        state = desk.book.get(case.path)
        if count is not None and state is not None:
            desk.book.put(case.path, report.counted(state, unschedulable=count))
        return Result(requeue_after=_LAG_AGAIN_SECONDS)

    def _trouble(self, case: Case, verdict: Verdict, answer: Answer) -> Trouble:
        return Trouble.of(
            verdict,
            answer,
            namespace_token=waiting.namespace(case.key.namespace),
            api_token=waiting.api(case.key.group, case.key.resource),
        )

    def _troubled(self, case: Case, trouble: Trouble) -> Result:
        desk, memory, outcome = self._desk, case.memory, trouble.outcome
        memory.failures += 1
        if trouble.waits_for:
            desk.waiting.add(trouble.waits_for, case.path)
        backoff = _REFUSALS if trouble.slow else _RETRIES
        delay = backoff.delay(memory.failures, rng=self._random)
        if trouble.retry_after is not None:
            delay = max(trouble.retry_after, 0.05)
        if trouble.transient and memory.failures < _TRANSIENT_FAILURES:
            return Result(requeue_after=delay)
        state = report.failed(
            case.subject(desk.cluster),
            case.state,
            phase=outcome.phase,
            reason=outcome.reason,
            message=outcome.message,
            now=desk.clock(),
            failures=memory.failures,
        )
        news = case.state is None or (case.state.phase, case.state.reason) != (state.phase, state.reason)
        desk.book.put(case.path, state)
        if news and outcome.phase in (sync.FAILED, sync.CONFLICT):
            _log.warning(
                "an object is not as it should be",
                cluster=desk.cluster,
                object=str(case.key),
                reason=outcome.reason,
                message=outcome.message,
            )
            desk.events.report(
                case.key,
                case.intent,
                cluster=desk.cluster,
                kind="Warning",
                reason="SyncConflict" if outcome.phase == sync.CONFLICT else "SyncFailed",
                message=f"{outcome.reason}: {outcome.message}",
            )
        return Result(requeue_after=delay)

    def unreachable(self, path: str, message: str) -> None:
        """Write down that a change of the object waits for the member, without trying."""
        self._unreachable(self._case(path), message)

    def _unreachable(self, case: Case, message: str) -> None:
        """What was known of the object stands."""
        if case.wanted in (Wish.UNTOUCHED, Wish.UNKNOWN):
            return
        if case.wanted is Wish.PRESENT and not self._pending(case):
            return
        state = report.failed(
            case.subject(self._desk.cluster),
            case.state,
            phase=sync.UNREACHABLE,
            reason="MemberUnreachable",
            message=message,
            now=self._desk.clock(),
        )
        self._desk.book.put(case.path, state, lazy=True)

    def _pending(self, case: Case) -> bool:
        """Whether there is something to send to the member."""
        assert case.intent is not None
        assert case.entry is not None
        if case.state is None or case.state.phase != sync.APPLIED:
            return True
        try:
            manifest = self._render(case)
        except InvalidArgumentError:
            return True
        return manifest.hash != case.state.applied_hash

    def _render(self, case: Case) -> Manifest:
        assert case.intent is not None
        assert case.entry is not None
        return self._desk.renderer.render(
            case.intent.encoded,
            key=case.path,
            revision=case.intent.revision,
            placement=case.entry,
            api_version=case.target.api_version,
        )

    def _count(self, case: Case, answer: Answer, started: float) -> Verdict:
        verdict = self._desk.member.verdict(case.target, answer)
        self._desk.metrics.applies.record(
            asyncio.get_running_loop().time() - started,
            {"hanse.cluster": self._desk.cluster, "hanse.verdict": verdict.value},
        )
        return verdict

    def _span(self, case: Case) -> Any:
        desk = self._desk
        if desk.tracer is None:
            return nullcontext()
        return span_from_traceparent(
            f"apply {case.key.resource}",
            case.subject(desk.cluster).traceparent or None,
            attributes={
                "hanse.cluster": desk.cluster,
                "k8s.object": case.path,
            },
            tracer=desk.tracer,
        )


def _is_released(case: Case) -> bool:
    """Whether the object is to be deleted there only because it is no longer placed there."""
    return case.wanted is Wish.ABSENT and case.intent is not None and not case.intent.deleting


def _decode(status: bytes) -> Any:
    return orjson.loads(status)


@functools.lru_cache(maxsize=4096)
def _key(path: str) -> ObjectKey:
    return ObjectKey.parse(f"objects/{path}")


def _restless() -> Trouble:
    """Somebody else changes the object at the same time: look again, later each time."""
    outcome = Outcome(
        sync.FAILED, "ChangedMeanwhile", "the object changes in the cluster while it is applied"
    )
    return Trouble(outcome, transient=True)
