"""How an object gets into a member and stays as it should be: created, applied, compared, put right.

Owns the order of requests, and the rule that an object which is not ours is never written to. Every write
is to the very object that is known, by uid, or to none. What a member says that is neither success nor
"something else is there" is raised as `SyncError`.

Concurrency: called by the reconciler, for one object at a time. Next: `hanse_syncer.act.state_recorder`,
which writes down how it went, and `hanse_syncer.member.client` for the requests themselves.
"""

from __future__ import annotations

import random
from contextlib import nullcontext
from typing import Any, Final

from hanse.api.scheduler.v1 import placement_pb2 as placements
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.type.v1 import job_run_pb2 as job
from hanse.control.reconcile import Result
from hanse.errors import InternalError
from hanse.federation.jobs import job_runs
from hanse.kube.client.answer import Answer
from hanse.kube.model.objects import Object, is_deleting
from hanse.process.telemetry import span_from_traceparent
from hanse.turns import is_heavy
from hanse.well_known import KEPT
from hanse_syncer import ownership
from hanse_syncer.act import waiting
from hanse_syncer.act.context import ReconcileContext
from hanse_syncer.act.delivery import Delivered, Delivery
from hanse_syncer.act.repairs import remember, repair_wait
from hanse_syncer.act.request import SyncRequest
from hanse_syncer.act.state_recorder import StateRecorder
from hanse_syncer.decide import fingerprints, job_claims
from hanse_syncer.decide.errors import BELONGS, SyncCondition, SyncError
from hanse_syncer.decide.render import Manifest
from hanse_syncer.decide.verdicts import MemberVerdict
from hanse_syncer.report import contention, transitions

_MAY_HAVE_STARTED: Final = frozenset({MemberVerdict.DONE, MemberVerdict.CHANGED, MemberVerdict.BROKEN})
"""What a member may answer to the creation of an object that it has then, or may have."""


class Applying:
    """Brings the member what it should have. All methods raise SyncError and LinkDownError."""

    def __init__(self, context: ReconcileContext, recorder: StateRecorder) -> None:
        self._context = context
        self._recorder = recorder
        self._delivery = Delivery(context.member)
        self._random = random.Random()  # noqa: S311 - jitter

    async def create(
        self, request: SyncRequest, manifest: Manifest, *, repaired: bool = False
    ) -> Result | None:
        """Apply the manifest if nothing of that name is there; else look at what is."""
        if not self._may_create(request, manifest):
            return await self.resolve(request, manifest)
        with self._span(request):
            verdict, delivered = await self._create(request, manifest)
        answer = delivered.answer
        if verdict is MemberVerdict.DONE:
            return await self._applied(request, manifest, delivered, repaired=repaired)
        if verdict is MemberVerdict.CHANGED:
            return await self.resolve(request, manifest)
        raise self._error(request, verdict, answer)

    async def apply(
        self, request: SyncRequest, manifest: Manifest, *, uid: str, repairing: str = ""
    ) -> Result | None:
        """Apply to the object `uid`. `repairing` is the resourceVersion that was found to differ."""
        if not uid:
            return await self.create(request, manifest)
        started = self._context.monotonic()
        with self._span(request):
            delivered = await self._delivery.apply(request.target, manifest, uid=uid)
        answer = delivered.answer
        verdict = self._count(request, answer, started)
        if verdict is MemberVerdict.DONE:
            repaired = bool(repairing) and answer.document["metadata"]["resourceVersion"] != repairing
            return await self._applied(request, manifest, delivered, repaired=repaired)
        if verdict in (MemberVerdict.CHANGED, MemberVerdict.ABSENT):
            return await self.resolve(request, manifest)
        raise self._error(request, verdict, answer)

    async def check(self, request: SyncRequest, manifest: Manifest) -> Result | None:
        """Read the object by name, because the list or watch leaves a doubt."""
        context = self._context
        answer = await context.member.get(request.target)
        verdict = context.member.verdict(request.target, answer)
        if verdict is MemberVerdict.DONE:
            return await self.compare(request, manifest, answer.document)
        if verdict is not MemberVerdict.ABSENT:
            raise self._error(request, verdict, answer)
        context.view.note(request.target, None)
        if not self._may_create(request, manifest):
            return self._ended(request)
        if wait := self._repair_wait(request, None):
            return wait
        return await self.create(request, manifest, repaired=True)

    async def compare(self, request: SyncRequest, manifest: Manifest, live: Object) -> Result | None:
        """Compare what is rendered with the live object; put right what differs."""
        context = self._context
        if request.state is None:
            raise InternalError("an object without a sync state is not compared")
        metadata = live["metadata"]
        if is_deleting(live):
            return Result(requeue_after=5.0)  # somebody deletes it there; when it is gone it is made again
        if str(metadata["uid"]) != request.uid:
            if not self._may_take(request, live, str(metadata["uid"])):
                raise self._conflict(request, live)
            if wait := self._repair_wait(request, live):
                return wait
            return await self.resolve(request, manifest)
        if request.belongs(live):
            raise self._conflict(request, live)
        found = await context.turns.run(is_heavy(live), fingerprints.fingerprint, live, manifest.object)
        if found == request.state.fingerprint and manifest.hash == request.state.applied_hash:
            return await self._recorder.confirmed(request, manifest, live)
        if wait := self._repair_wait(request, live):
            return wait
        return await self.apply(
            request, manifest, uid=request.uid, repairing=str(metadata["resourceVersion"])
        )

    def _repair_wait(self, request: SyncRequest, live: Object | None) -> Result | None:
        """Return when to put drift right, None for now. `live` is what was found, None for nothing."""
        context, transient = self._context, request.transient
        now = context.monotonic()
        if request.state is not None:
            remember(transient, request.state.contention, now=now, clock=context.clock())
        transient.removed = live is None
        transient.undone_by = contention.undone_by(live) if live is not None else ""
        wait = repair_wait(transient, now, self._random)
        if wait <= 0:
            return None
        self._recorder.contested(request)
        return Result(requeue_after=wait)

    async def keep(self, request: SyncRequest, manifest: Manifest) -> Result | None:
        """Keep an object whose DELETE is taken back: that may have been carried out, or may still arrive.

        It does nothing to an object in another resourceVersion than it names. So what is there is written to,
        twice if need be, before it counts as kept; what is being deleted is waited for, and made again.
        """
        context, state = self._context, request.state
        if state is None:
            raise InternalError("an object without a sync state is not kept")
        answer = await context.member.get(request.target)
        verdict = context.member.verdict(request.target, answer)
        if verdict is MemberVerdict.ABSENT:
            context.view.note(request.target, None)
            return await self.create(request, manifest)
        if verdict is not MemberVerdict.DONE:
            raise self._error(request, verdict, answer)
        live = answer.document
        uid = str(live["metadata"]["uid"])
        if is_deleting(live):
            raise _being_deleted()
        if uid != state.delete_uid:
            return await self.compare(request, manifest, live)
        if not self._may_take(request, live, uid):
            raise self._conflict(request, live)
        if str(live["metadata"]["resourceVersion"]) == state.delete_resource_version:
            await self._touch(request, manifest, uid=uid, version=state.delete_resource_version)
        return await self.apply(request, manifest, uid=uid)

    async def _touch(self, request: SyncRequest, manifest: Manifest, *, uid: str, version: str) -> None:
        """Have the object leave resourceVersion `version`."""
        context = self._context
        answer = await context.member.apply(request.target, manifest.annotated(KEPT, version), uid=uid)
        verdict = context.member.verdict(request.target, answer)
        if verdict in (MemberVerdict.CHANGED, MemberVerdict.ABSENT):
            raise _changed_concurrently()
        if verdict is not MemberVerdict.DONE:
            raise self._error(request, verdict, answer)
        if str(answer.document["metadata"]["resourceVersion"]) == version:
            condition = SyncCondition(
                sync.WAITING,
                "DeleteUnderWay",
                "a DELETE was sent that may still arrive, and the cluster takes no change that stops it",
            )
            raise SyncError(condition, retry_after=5.0)

    async def _applied(
        self, request: SyncRequest, manifest: Manifest, delivered: Delivered, *, repaired: bool
    ) -> Result | None:
        """Record the apply, unless the member is deleting the object all the same."""
        live = delivered.answer.document
        if is_deleting(live):
            raise _being_deleted()
        return await self._recorder.applied(
            request, manifest, live, repaired=repaired, caveat=delivered.caveat, sent=delivered.sent
        )

    async def resolve(self, request: SyncRequest, manifest: Manifest) -> Result | None:
        """Read what is there, which is not what was expected or cannot be known without, and decide."""
        context = self._context
        answer = await context.member.get(request.target)
        verdict = context.member.verdict(request.target, answer)
        if verdict is MemberVerdict.ABSENT:
            context.view.note(request.target, None)
            if not self._may_create(request, manifest):
                return self._ended(request)
            verdict, created = await self._create(request, manifest)
            if verdict is MemberVerdict.DONE:
                return await self._applied(request, manifest, created, repaired=bool(request.uid))
            if verdict is MemberVerdict.CHANGED:
                raise _changed_concurrently()
            raise self._error(request, verdict, created.answer)
        if verdict is not MemberVerdict.DONE:
            raise self._error(request, verdict, answer)
        live = answer.document
        uid = str(live["metadata"]["uid"])
        if is_deleting(live):
            raise _being_deleted()
        if not self._may_take(request, live, uid):
            self._unclaim(request)
            raise self._conflict(request, live)
        applied = ownership.owned(live, context.federation_id) and fingerprints.our_entry(live) is not None
        if uid == request.uid or applied:
            delivered = await self._delivery.apply(request.target, manifest, uid=uid)
        else:
            delivered = await self._adopt(request, manifest, live)
        verdict = context.member.verdict(request.target, delivered.answer)
        if verdict is MemberVerdict.DONE:
            return await self._applied(request, manifest, delivered, repaired=uid == request.uid)
        if verdict in (MemberVerdict.CHANGED, MemberVerdict.ABSENT):
            raise _changed_concurrently()
        raise self._error(request, verdict, delivered.answer)

    async def _adopt(self, request: SyncRequest, manifest: Manifest, live: Object) -> Delivered:
        """Take over what was never applied by us, whether or not it has our marks."""
        delivered = await self._delivery.adopt(request.target, manifest, live)
        if delivered.answer.ok:
            self._context.record(
                request,
                type_="Normal",
                reason="Adopted",
                message="an existing object was taken over, as the policy says",
            )
        return delivered

    def _may_take(self, request: SyncRequest, live: Object, uid: str) -> bool:
        """Return whether the live object is ours, or may become ours; never what belongs to the cluster
        itself."""
        context = self._context
        if request.belongs(live):
            return False
        if ownership.owned(live, context.federation_id) or uid == request.uid:
            return True
        adopt = request.placement is not None and request.placement.conflict_resolution == placements.ADOPT
        return adopt and not ownership.other_federation(live, context.federation_id)

    def _conflict(self, request: SyncRequest, live: Object) -> SyncError:
        context = self._context
        context.metrics.conflicts.add(1, {"hanse.cluster": context.cluster})
        other = ownership.other_federation(live, context.federation_id)
        if belongs := request.belongs(live):
            condition = SyncCondition(sync.CONFLICT, BELONGS, f"{belongs}; it was left alone")
        elif other:
            condition = SyncCondition(
                sync.CONFLICT, "OwnedByOtherFederation", f"it belongs to the federation {other}; left alone"
            )
        else:
            condition = SyncCondition(
                sync.CONFLICT,
                "AlreadyExists",
                "the cluster has an object of that name that is not ours; it was left alone. Delete or "
                "rename it there, or let a policy adopt it",
            )
        return SyncError(condition, slow=True)

    async def _create(self, request: SyncRequest, manifest: Manifest) -> tuple[MemberVerdict, Delivered]:
        """Have the member create the object; that a Job is to start is stored before."""
        context, started = self._context, self._context.monotonic()
        if request.run is not None:
            subject, now = request.subject(context.cluster), context.clock()
            kept = job_claims.ttl_of(manifest.object) is None
            context.states.update(
                request.path, lambda before: transitions.claimed(subject, before, now=now, kept=kept)
            )
            await context.states.stored(request.path)
            if not context.is_current(request):
                raise _changed_concurrently()
            started = context.monotonic()
        delivered = await self._delivery.create(request.target, manifest)
        verdict = self._count(request, delivered.answer, started)
        if verdict not in _MAY_HAVE_STARTED:
            self._unclaim(request)
        return verdict, delivered

    def _unclaim(self, request: SyncRequest) -> None:
        """Record that the cluster has not started a Job: it refused to, or another one has its name."""
        if request.run is not None:
            subject = request.subject(self._context.cluster)
            self._context.states.update(request.path, lambda before: transitions.unclaimed(subject, before))

    def _may_create(self, request: SyncRequest, manifest: Manifest) -> bool:
        ttl = job_claims.ttl_of(manifest.object)
        return job_claims.may_create(
            request.run, ttl=request.ttl if ttl is None else ttl, now=self._context.clock()
        )

    def _ended(self, request: SyncRequest) -> Result | None:
        """Record that the Job of a run is gone, which is not started again."""
        context = self._context
        if request.run is None:
            raise InternalError("what is no Job has no run that could have ended")
        sent = request.state is not None and bool(request.state.delete_uid)
        ending = transitions.RunEnding(taken_away=sent and request.ttl is None, ttl=request.ttl)
        run = job_runs.gone(request.run, taken_away=ending.taken_away, ttl=ending.ttl)
        reason, message = job_claims.explained(run)
        subject, now = request.subject(context.cluster), context.clock()
        before, after = context.states.update(
            request.path,
            lambda before: transitions.ended(
                subject, before, ending=ending, reason=reason, message=message, now=now
            ),
        )
        if run.outcome == job.LOST and (before is None or before.reason != after.reason):
            context.record(request, type_="Warning", reason=reason, message=message)
        return None

    def _error(self, request: SyncRequest, verdict: MemberVerdict, answer: Answer) -> SyncError:
        return SyncError.of(
            verdict,
            answer,
            namespace_token=waiting.namespace(request.key.namespace),
            api_token=waiting.api(request.key.group, request.key.resource),
        )

    def _count(self, request: SyncRequest, answer: Answer, started: float) -> MemberVerdict:
        verdict = self._context.member.verdict(request.target, answer)
        self._context.metrics.applies.record(
            self._context.monotonic() - started,
            {"hanse.cluster": self._context.cluster, "hanse.verdict": verdict.value},
        )
        return verdict

    def _span(self, request: SyncRequest) -> Any:
        context = self._context
        if context.tracer is None:
            return nullcontext()
        return span_from_traceparent(
            f"apply {request.key.resource}",
            request.subject(context.cluster).traceparent or None,
            attributes={
                "hanse.cluster": context.cluster,
                "k8s.object": request.path,
            },
            tracer=context.tracer,
        )


def _being_deleted() -> SyncError:
    condition = SyncCondition(sync.WAITING, "BeingDeleted", "the cluster is deleting an object of that name")
    return SyncError(condition, retry_after=2.0)


def _changed_concurrently() -> SyncError:
    """Return the error for an object that somebody else changes at the same time."""
    condition = SyncCondition(
        sync.FAILED, "ChangedMeanwhile", "the object changes in the cluster while it is applied"
    )
    return SyncError(condition, transient=True)
