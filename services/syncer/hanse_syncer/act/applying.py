"""How an object gets into a member and stays as it should be: created, applied, compared, put right.

Owns the order of requests, and the rule that an object which is not ours is never written to. Every write
is to the very object that is known, by uid, or to none. What a member says that is neither success nor
"something else is there" is raised as `Trouble`.

Concurrency: called by the reconciler, for one object at a time. Next: `hanse_syncer.report.recording`, which
writes down how it went, and `hanse_syncer.member.member` for the requests themselves.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import nullcontext
from typing import Any, Final

import orjson

from hanse.api.scheduler.v1 import placement_pb2 as placements
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.control.queue import Backoff
from hanse.control.reconcile import Result
from hanse.kube.model.objects import Object
from hanse.process.telemetry import span_from_traceparent
from hanse.turns import is_heavy
from hanse_syncer import ownership
from hanse_syncer.act import waiting
from hanse_syncer.act.desk import Case, Desk
from hanse_syncer.decide import drift, health
from hanse_syncer.decide.outcome import BELONGS, Outcome, Trouble
from hanse_syncer.decide.render import Manifest
from hanse_syncer.member.answers import Answer, Verdict
from hanse_syncer.report import report
from hanse_syncer.report.recording import Recorder

_REPAIRS: Final = Backoff(base=0.1, limit=60.0)
_KEPT: Final = "hanse.dev/kept"
"""Annotation that is put on an object and taken off again, so that its resourceVersion changes."""
_QUIET_SECONDS: Final = 60.0
"""After so long without a repair the next one is made at once again."""


class Applying:
    """Brings the desk's member what it should have. All methods raise Trouble and LinkDownError."""

    def __init__(self, desk: Desk, recorder: Recorder) -> None:
        self._desk = desk
        self._recorder = recorder
        self._random = random.Random()  # noqa: S311 - jitter

    async def create(self, case: Case, manifest: Manifest, *, repaired: bool = False) -> Result | None:
        """Apply the manifest if nothing of that name is there; else look at what is."""
        started = asyncio.get_running_loop().time()
        with self._span(case):
            answer = await self._desk.member.create(case.target, manifest)
        verdict = self._count(case, answer, started)
        if verdict is Verdict.DONE:
            return self._applied(case, manifest, answer.json(), repaired=repaired)
        if verdict is Verdict.CHANGED:
            return await self.resolve(case, manifest)
        raise self._trouble(case, verdict, answer)

    async def apply(self, case: Case, manifest: Manifest, *, uid: str, repairing: str = "") -> Result | None:
        """Apply to the object `uid`. `repairing` is the resourceVersion that was found to differ."""
        if not uid:
            return await self.create(case, manifest)
        started = asyncio.get_running_loop().time()
        with self._span(case):
            answer = await self._desk.member.apply(case.target, manifest, uid=uid)
        verdict = self._count(case, answer, started)
        if verdict is Verdict.DONE:
            live = answer.json()
            repaired = bool(repairing) and live["metadata"]["resourceVersion"] != repairing
            return self._applied(case, manifest, live, repaired=repaired)
        if verdict in (Verdict.CHANGED, Verdict.ABSENT):
            return await self.resolve(case, manifest)
        raise self._trouble(case, verdict, answer)

    async def check(self, case: Case, manifest: Manifest) -> Result | None:
        """The list or watch leaves a doubt: read the object by name."""
        desk = self._desk
        answer = await desk.member.get(case.target)
        verdict = desk.member.verdict(case.target, answer)
        if verdict is Verdict.DONE:
            return await self.compare(case, manifest, answer.json())
        if verdict is not Verdict.ABSENT:
            raise self._trouble(case, verdict, answer)
        desk.shown.note(case.target, None)
        if self._spent(case, manifest):
            return None
        wait = self._repair_wait(case)
        if wait > 0:
            return Result(requeue_after=wait)
        return await self.create(case, manifest, repaired=True)

    async def compare(self, case: Case, manifest: Manifest, live: Object) -> Result | None:
        """Compare what is rendered with the live object; put right what differs."""
        desk = self._desk
        assert case.state is not None
        metadata = live["metadata"]
        if metadata.get("deletionTimestamp"):
            return Result(requeue_after=5.0)  # somebody deletes it there; when it is gone it is made again
        if str(metadata["uid"]) != case.uid:
            if not self._may_take(case, live, str(metadata["uid"])):
                raise self._conflict(case, live)
            return await self.apply(case, manifest, uid=str(metadata["uid"]))
        if case.belongs(live):
            raise self._conflict(case, live)
        in_sync = await desk.turns.run(is_heavy(live), drift.in_sync, manifest.object, live)
        if in_sync or drift.fingerprint(live) == case.memory.fingerprint:
            return await self._recorder.confirmed(case, manifest, live)
        wait = self._repair_wait(case)
        if wait > 0:
            return Result(requeue_after=wait)
        return await self.apply(case, manifest, uid=case.uid, repairing=str(metadata["resourceVersion"]))

    async def keep(self, case: Case, manifest: Manifest) -> Result | None:
        """A DELETE that is taken back may have been carried out, or may still arrive: read the object.

        It does nothing to an object in another resourceVersion than it names. So what is there is written to,
        twice if need be, before it counts as kept; what is being deleted is waited for, and made again.
        """
        desk, state = self._desk, case.state
        assert state is not None
        answer = await desk.member.get(case.target)
        verdict = desk.member.verdict(case.target, answer)
        if verdict is Verdict.ABSENT:
            desk.shown.note(case.target, None)
            return await self.create(case, manifest)
        if verdict is not Verdict.DONE:
            raise self._trouble(case, verdict, answer)
        live = answer.json()
        uid = str(live["metadata"]["uid"])
        if live["metadata"].get("deletionTimestamp"):
            raise _being_deleted()
        if uid != state.delete_uid:
            return await self.compare(case, manifest, live)
        if not self._may_take(case, live, uid):
            raise self._conflict(case, live)
        if str(live["metadata"]["resourceVersion"]) == state.delete_resource_version:
            await self._touch(case, manifest, uid=uid, version=state.delete_resource_version)
        return await self.apply(case, manifest, uid=uid)

    async def _touch(self, case: Case, manifest: Manifest, *, uid: str, version: str) -> None:
        """Have the object leave resourceVersion `version`."""
        desk = self._desk
        answer = await desk.member.apply(case.target, manifest.annotated(_KEPT, version), uid=uid)
        verdict = desk.member.verdict(case.target, answer)
        if verdict in (Verdict.CHANGED, Verdict.ABSENT):
            raise _restless()
        if verdict is not Verdict.DONE:
            raise self._trouble(case, verdict, answer)
        if str(answer.json()["metadata"]["resourceVersion"]) == version:
            outcome = Outcome(
                sync.WAITING,
                "DeleteUnderWay",
                "a DELETE was sent that may still arrive, and the cluster takes no change that stops it",
            )
            raise Trouble(outcome, retry_after=5.0)

    def _applied(self, case: Case, manifest: Manifest, live: Object, *, repaired: bool) -> Result | None:
        """The member took the manifest: that counts unless it is deleting the object all the same."""
        if live["metadata"].get("deletionTimestamp"):
            raise _being_deleted()
        return self._recorder.applied(case, manifest, live, repaired=repaired)

    async def resolve(self, case: Case, manifest: Manifest) -> Result | None:
        """What is there is not what was expected, or cannot be told without a look: read it, then decide."""
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
            raise _being_deleted()
        if not self._may_take(case, live, uid):
            raise self._conflict(case, live)
        applied = await desk.member.apply(case.target, manifest, uid=uid)
        verdict = desk.member.verdict(case.target, applied)
        if verdict is Verdict.DONE:
            return self._applied(case, manifest, applied.json(), repaired=uid == case.uid)
        if verdict in (Verdict.CHANGED, Verdict.ABSENT):
            raise _restless()
        raise self._trouble(case, verdict, applied)

    def _may_take(self, case: Case, live: Object, uid: str) -> bool:
        """Whether the live object is ours, or may become ours; never what belongs to the cluster itself."""
        desk = self._desk
        if case.belongs(live):
            return False
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

    def _conflict(self, case: Case, live: Object) -> Trouble:
        desk = self._desk
        desk.metrics.conflicts.add(1, {"hanse.cluster": desk.cluster})
        other = ownership.other_federation(live, desk.federation_id)
        if belongs := case.belongs(live):
            outcome = Outcome(sync.CONFLICT, BELONGS, f"{belongs}; it was left alone")
        elif other:
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

    def _spent(self, case: Case, manifest: Manifest) -> bool:
        """Whether it is a Job that finished and that the member then cleaned up: it must not run twice."""
        spec = manifest.object.get("spec") or {}
        if manifest.kind != "Job" or "ttlSecondsAfterFinished" not in spec or case.state is None:
            return False
        finished = bool(case.state.status) and health.finished_job(
            {"kind": "Job", "status": _decode(case.state.status)}
        )
        if finished:
            subject = case.subject(self._desk.cluster)

            def change(before: SyncState | None) -> SyncState:
                state = report.noted(subject, before)
                state.reason, state.message = "Finished", "the Job has finished and its time to live is over"
                return state

            self._desk.book.update(case.path, change)
        return finished

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

    def _trouble(self, case: Case, verdict: Verdict, answer: Answer) -> Trouble:
        return Trouble.of(
            verdict,
            answer,
            namespace_token=waiting.namespace(case.key.namespace),
            api_token=waiting.api(case.key.group, case.key.resource),
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


def _decode(status: bytes) -> Any:
    return orjson.loads(status)


def _being_deleted() -> Trouble:
    outcome = Outcome(sync.WAITING, "BeingDeleted", "the cluster is deleting an object of that name")
    return Trouble(outcome, retry_after=2.0)


def _restless() -> Trouble:
    """Somebody else changes the object at the same time: look again, later each time."""
    outcome = Outcome(
        sync.FAILED, "ChangedMeanwhile", "the object changes in the cluster while it is applied"
    )
    return Trouble(outcome, transient=True)
