"""How an object is in a member, written down: after an apply, a look, a failure, or no answer at all.

Owns when a sync state is written and what follows from it: who is woken that waited for this object, and when
to look again at one that lags.

Concurrency: called by the reconciler, for one object at a time. Next: `hanse_syncer.report.transitions` for
what is in a state, `hanse_syncer.report.state_table` for how it gets into the store.
"""

from __future__ import annotations

import random
from typing import Final

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import Contention, SyncState
from hanse.backoff import Backoff
from hanse.control.reconcile import Result
from hanse.errors import InternalError, InvalidArgumentError
from hanse.federation.contention import CONTESTED, CONTESTED_AFTER, is_contested
from hanse.kube.kinds.kubernetes import core, extensions
from hanse.kube.model.objects import Object, child
from hanse.process.telemetry import get_logger
from hanse.turns import is_heavy
from hanse_syncer.act import waiting
from hanse_syncer.act.context import ReconcileContext
from hanse_syncer.act.repairs import quiet_left, remember
from hanse_syncer.act.request import SyncRequest
from hanse_syncer.decide import fingerprints, kinds, rewritten
from hanse_syncer.decide.caveats import Caveat
from hanse_syncer.decide.errors import SyncError
from hanse_syncer.decide.plan import Desired, Seen
from hanse_syncer.decide.render import Manifest
from hanse_syncer.member import pods
from hanse_syncer.report import contention, transitions

_log = get_logger(__name__)

_RETRIES: Final = Backoff(base=0.25, limit=30.0)
_REFUSALS: Final = Backoff(base=2.0, limit=300.0)
UNREACHABLE: Final = "MemberUnreachable"
_LAG_SECONDS: Final = 3.0
"""How long a workload may lag before its pods are looked at."""
_LAG_AGAIN_SECONDS: Final = 15.0
_TRANSIENT_FAILURES: Final = 2
"""An error that may pass is written down when it has come so many times in a row."""


def sooner(one: Result | None, other: Result | None) -> Result | None:
    """Return the result that asks for the earlier look."""
    times = [each.requeue_after for each in (one, other) if each and each.requeue_after is not None]
    return Result(requeue_after=min(times)) if times else one or other


class StateRecorder:
    """Writes the sync states of one cluster."""

    def __init__(self, context: ReconcileContext) -> None:
        self._context = context
        self._random = random.Random()  # noqa: S311 - jitter

    async def applied(
        self,
        request: SyncRequest,
        manifest: Manifest,
        live: Object,
        *,
        repaired: bool,
        caveat: Caveat | None = None,
        sent: Manifest | None = None,
    ) -> Result | None:
        """Record an apply; `live` is what the member answered. `repaired` counts a repair of drift.

        `sent` is what was sent of the manifest, None for all of it.
        """
        context = self._context
        if repaired:
            context.metrics.repairs.add(1, {"hanse.cluster": context.cluster})
            _log.info("drift repaired", cluster=context.cluster, object=str(request.key))
        self._note_live(request, live)
        context.waiting.remove(request.path)
        request.transient.namespace_until = None
        fingerprint = await context.turns.run(is_heavy(live), fingerprints.fingerprint, live, manifest.object)
        caveat = caveat or fingerprints.caveat_of(live)
        if caveat is None:
            caveat = await context.turns.run(
                is_heavy(live), rewritten.caveat_of, live, (sent or manifest).object, request.sealed
            )
        subject, now = request.subject(context.cluster), context.clock()
        if request.state is not None and request.state.applied_hash != manifest.hash:
            request.transient.repairs = 0
        fight = self._fight(request, repaired=True) if repaired else None
        known, state = context.states.update(
            request.path,
            lambda before: self._with_endpoints(
                request,
                transitions.applied(
                    subject,
                    before,
                    manifest=manifest,
                    live=live,
                    now=now,
                    fingerprint=fingerprint,
                    caveat=caveat,
                    repaired=repaired,
                    fight=fight,
                ),
            ),
        )
        self._tell(request, known, state)
        self._wake_others(request, live)
        return sooner(self._lag(request), self.quiet(request))

    def contested(self, request: SyncRequest) -> None:
        """Record that drift is left alone for a while, if somebody undoes what is put right again and
        again."""
        subject = request.subject(self._context.cluster)
        fight = self._fight(request, repaired=False)
        if fight.repairs >= CONTESTED_AFTER:
            known, state = self._context.states.update(
                request.path, lambda before: transitions.contested(subject, before, fight=fight)
            )
            self._tell(request, known, state)

    def quiet(self, request: SyncRequest) -> Result | None:
        """Return when to see whether the fight over a contested object is over; None without one."""
        state = self._context.states.get(request.path)
        contested = state is not None and is_contested(state)
        return Result(requeue_after=self._quiet_left(request)) if contested else None

    def _quiet_left(self, request: SyncRequest) -> float:
        """Return in how many seconds repairs in a row are over if there are no more."""
        state, now = self._context.states.get(request.path), self._context.monotonic()
        if state is not None:
            remember(request.transient, state.contention, now=now, clock=self._context.clock())
        return quiet_left(request.transient, now)

    def _fight(self, request: SyncRequest, *, repaired: bool) -> Contention:
        transient = request.transient
        return contention.contention(
            request.state,
            repairs=transient.repairs,
            now=self._context.clock(),
            repaired=repaired,
            manager="" if request.sealed else transient.undone_by,
            removed=transient.removed,
        )

    def _tell(self, request: SyncRequest, before: SyncState | None, after: SyncState) -> None:
        """Record Events when an object becomes contested, and when that is over."""
        was, now = before is not None and is_contested(before), is_contested(after)
        if now and not was:
            message = contention.words(after.contention)
            self._context.record(request, type_="Warning", reason=CONTESTED, message=message)
        if was and not now:
            message = "what was put right stays so"
            self._context.record(request, type_="Normal", reason="ContestEnded", message=message)

    async def confirmed(self, request: SyncRequest, manifest: Manifest, live: Object) -> Result | None:
        """Record that the member has the manifest without a write."""
        context = self._context
        subject, now = request.subject(context.cluster), context.clock()
        self._note_live(request, live)
        settled = self._quiet_left(request) == 0.0
        known, state = context.states.update(
            request.path,
            lambda before: self._with_endpoints(
                request,
                transitions.confirmed(
                    subject, before, manifest=manifest, live=live, now=now, settled=settled
                ),
            ),
            lazy=True,
        )
        self._tell(request, known, state)
        self._wake_others(request, live)
        return sooner(await self.count_stuck_pods(request, manifest), self.quiet(request))

    def ran(self, request: SyncRequest, live: Object) -> None:
        """Record how far a Job is by what the watch brought of it last, which may be gone by now."""
        subject = request.subject(self._context.cluster)
        self._context.states.update(request.path, lambda before: transitions.seen(subject, before, live=live))

    def noted(self, request: SyncRequest, manifest: Manifest) -> None:
        """Nothing to do: but the state should say that this generation and placement have been done."""
        state, subject = request.state, request.subject(self._context.cluster)
        if state is None or state.phase != sync.APPLIED or state.applied_hash != manifest.hash:
            return
        if state.applied_generation != subject.generation or state.placement_revision != (
            subject.placement_revision
        ):
            self._context.states.update(request.path, lambda before: transitions.noted(subject, before))

    async def count_stuck_pods(self, request: SyncRequest, manifest: Manifest) -> Result | None:
        """Count the pods of a workload that lags for which no node has room; return when to look again."""
        again = self._lag(request)
        since = request.transient.lagging_since
        if again is None or since is None:
            return None
        now = self._context.monotonic()
        if now - since < _LAG_SECONDS:
            return again
        selector = pods.pod_selector(manifest.object)
        context = self._context
        state = context.states.get(request.path)
        if not selector or state is None:
            return None
        count = await pods.count_unschedulable(context.member, request.key.namespace, selector)
        if count is not None and context.states.get(request.path) is not None:
            context.states.update(
                request.path, lambda before: transitions.counted(before, unschedulable=count)
            )
        return Result(requeue_after=_LAG_AGAIN_SECONDS)

    def failed(self, request: SyncRequest, error: SyncError) -> Result:
        """Record why the member does not have the manifest; return when to try again."""
        context, transient, condition = self._context, request.transient, error.condition
        if request.sealed:
            condition = condition.unquoted()
        transient.failures += 1
        if error.waits_for:
            context.waiting.add(error.waits_for, request.path)
        backoff = _REFUSALS if error.slow else _RETRIES
        delay = backoff.delay(transient.failures, rng=self._random)
        if error.retry_after is not None:
            delay = max(error.retry_after, 0.05)
        if error.transient and transient.failures < _TRANSIENT_FAILURES:
            return Result(requeue_after=delay)
        subject, now = request.subject(context.cluster), context.clock()
        before, after = context.states.update(
            request.path,
            lambda known: transitions.failed(
                subject,
                known,
                phase=condition.phase,
                reason=condition.reason,
                message=condition.message,
                now=now,
                failures=transient.failures,
            ),
        )
        news = before is None or (before.phase, before.reason) != (after.phase, after.reason)
        if news and condition.phase in (sync.FAILED, sync.CONFLICT):
            _log.warning(
                "an object is not as it should be",
                cluster=context.cluster,
                object=str(request.key),
                reason=condition.reason,
                message=condition.message,
            )
            context.record(
                request,
                type_="Warning",
                reason="SyncConflict" if condition.phase == sync.CONFLICT else "SyncFailed",
                message=f"{condition.reason}: {condition.message}",
            )
        return Result(requeue_after=delay)

    def unreachable(self, request: SyncRequest, message: str, *, reason: str = UNREACHABLE) -> None:
        """Take note that the member does not answer: a change waits for it, and what was known of the
        object stands.
        """
        if request.desired in (Desired.UNTOUCHED, Desired.UNKNOWN):
            return
        if request.desired is Desired.PRESENT and not self._pending(request):
            return
        subject, now = request.subject(self._context.cluster), self._context.clock()
        self._context.states.update(
            request.path,
            lambda before: transitions.failed(
                subject,
                before,
                phase=sync.UNREACHABLE,
                reason=reason,
                message=message,
                now=now,
            ),
            lazy=True,
        )

    def _with_endpoints(self, request: SyncRequest, state: SyncState) -> SyncState:
        """Return the state with the ready endpoints of a Service, as far as they are known."""
        if (request.key.group, request.key.resource) != core.SERVICE.group_plural:
            return state
        ready = self._context.endpoints(request.key.namespace, request.key.name)
        return state if ready is None else transitions.counted(state, ready=ready)

    def _note_live(self, request: SyncRequest, live: Object) -> None:
        metadata = live["metadata"]
        self._context.view.note(request.target, Seen(str(metadata["uid"]), str(metadata["resourceVersion"])))

    def _wake_others(self, request: SyncRequest, live: Object) -> None:
        """Wake what waits for this namespace, or for the resource that this definition defines."""
        context = self._context
        resource = (request.key.group, request.key.resource)
        if resource == core.NAMESPACE.group_plural:
            tokens = [waiting.namespace(request.key.name)]
        elif (
            resource == extensions.CUSTOM_RESOURCE_DEFINITION.group_plural
            and kinds.health_of(live) == sync.HEALTHY
        ):
            plural = child(live, "spec", "names", "plural")
            tokens = [waiting.api(str(child(live, "spec", "group") or ""), str(plural or ""))]
        else:
            return
        for token in tokens:
            for path in context.waiting.take(token):
                context.transient(path).namespace_until = None
                context.wake(path)

    def _lag(self, request: SyncRequest) -> Result | None:
        """Return when to look for pods that cannot be scheduled, if the workload lags."""
        state = self._context.states.get(request.path)
        lagging = state is not None and state.HasField("replicas") and state.health == sync.PROGRESSING
        if not lagging:
            request.transient.lagging_since = None
            return None
        if request.transient.lagging_since is None:
            request.transient.lagging_since = self._context.monotonic()
        return Result(requeue_after=_LAG_SECONDS)

    def _pending(self, request: SyncRequest) -> bool:
        """Return whether there is something to send to the member."""
        if request.intent is None:
            raise InternalError("an object without an intent lags behind nothing")
        if request.entry is None:
            raise InternalError("an object without a placement lags behind nothing")
        if request.state is None or request.state.phase != sync.APPLIED:
            return True
        try:
            manifest = self._context.render(request)
        except InvalidArgumentError:
            return True
        return manifest.hash != request.state.applied_hash
