"""How an object is in a member, written down: after an apply, a look, a failure, or no answer at all.

Owns when a sync state is written and what follows from it: who is woken that waited for this object, and when
to look again at one that lags.

Concurrency: called by the reconciler, for one object at a time. Next: `hanse_syncer.report.report` for what
is in a state, `hanse_syncer.report.states` for how it gets into the store.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.control.queue import Backoff
from hanse.control.reconcile import Result
from hanse.errors import InvalidArgumentError
from hanse.kube.model.objects import Object, child
from hanse.process.telemetry import get_logger
from hanse_syncer.act import waiting
from hanse_syncer.act.desk import Case, Desk
from hanse_syncer.decide import drift, health
from hanse_syncer.decide.outcome import Trouble
from hanse_syncer.decide.plan import Seen, Wish
from hanse_syncer.decide.render import Manifest
from hanse_syncer.member import pods
from hanse_syncer.report import report

_log = get_logger(__name__)

_RETRIES: Final = Backoff(base=0.25, limit=30.0)
_REFUSALS: Final = Backoff(base=2.0, limit=300.0)
UNREACHABLE: Final = "MemberUnreachable"
_LAG_SECONDS: Final = 3.0
"""How long a workload may lag before its pods are looked at."""
_LAG_AGAIN_SECONDS: Final = 15.0
_TRANSIENT_FAILURES: Final = 2
"""A trouble that may pass is written down when it has come so many times in a row."""


class Recorder:
    """Writes the sync states of the desk's cluster."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._random = random.Random()  # noqa: S311 - jitter

    def applied(self, case: Case, manifest: Manifest, live: Object, *, repaired: bool) -> Result | None:
        """The member has the manifest; `live` is what it answered. `repaired` counts a repair of drift."""
        desk = self._desk
        if repaired:
            desk.metrics.repairs.add(1, {"hanse.cluster": desk.cluster})
            _log.info("drift repaired", cluster=desk.cluster, object=str(case.key))
        self._shown(case, live)
        desk.waiting.remove(case.path)
        case.memory.namespace_until = None
        if not case.target.metadata_only:
            case.memory.fingerprint = drift.fingerprint(live)
        subject, now = case.subject(desk.cluster), desk.clock()
        desk.book.update(
            case.path,
            lambda before: self._with_endpoints(
                case,
                report.applied(subject, before, manifest=manifest, live=live, now=now, repaired=repaired),
            ),
        )
        self._wake_others(case, live)
        return self._lag(case)

    async def confirmed(self, case: Case, manifest: Manifest, live: Object) -> Result | None:
        """The member was found to have the manifest, without having been written to."""
        desk = self._desk
        subject, now = case.subject(desk.cluster), desk.clock()
        self._shown(case, live)
        desk.book.update(
            case.path,
            lambda before: self._with_endpoints(
                case, report.confirmed(subject, before, manifest=manifest, live=live, now=now)
            ),
            lazy=True,
        )
        self._wake_others(case, live)
        return await self.look_at_pods(case, manifest)

    def noted(self, case: Case, manifest: Manifest) -> None:
        """Nothing to do: but the state should say that this generation and placement have been done."""
        state, subject = case.state, case.subject(self._desk.cluster)
        if state is None or state.phase != sync.APPLIED or state.applied_hash != manifest.hash:
            return
        if state.applied_generation != subject.generation or state.placement_revision != (
            subject.placement_revision
        ):
            self._desk.book.update(case.path, lambda before: report.noted(subject, before))

    async def look_at_pods(self, case: Case, manifest: Manifest) -> Result | None:
        """Count the pods of a workload that lags for which no node has room; return when to look again."""
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
        if count is not None and desk.book.get(case.path) is not None:
            desk.book.update(case.path, lambda before: report.counted(before, unschedulable=count))
        return Result(requeue_after=_LAG_AGAIN_SECONDS)

    def troubled(self, case: Case, trouble: Trouble) -> Result:
        """The member does not have it, for a reason that it gave; return when to try again."""
        desk, memory, outcome = self._desk, case.memory, trouble.outcome
        if case.sealed:
            outcome = outcome.unquoted()
        memory.failures += 1
        if trouble.waits_for:
            desk.waiting.add(trouble.waits_for, case.path)
        backoff = _REFUSALS if trouble.slow else _RETRIES
        delay = backoff.delay(memory.failures, rng=self._random)
        if trouble.retry_after is not None:
            delay = max(trouble.retry_after, 0.05)
        if trouble.transient and memory.failures < _TRANSIENT_FAILURES:
            return Result(requeue_after=delay)
        subject, now = case.subject(desk.cluster), desk.clock()
        before, after = desk.book.update(
            case.path,
            lambda known: report.failed(
                subject,
                known,
                phase=outcome.phase,
                reason=outcome.reason,
                message=outcome.message,
                now=now,
                failures=memory.failures,
            ),
        )
        news = before is None or (before.phase, before.reason) != (after.phase, after.reason)
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

    def unreachable(self, case: Case, message: str, *, reason: str = UNREACHABLE) -> None:
        """The member does not answer: a change waits for it, and what was known of the object stands."""
        if case.wanted in (Wish.UNTOUCHED, Wish.UNKNOWN):
            return
        if case.wanted is Wish.PRESENT and not self._pending(case):
            return
        subject, now = case.subject(self._desk.cluster), self._desk.clock()
        self._desk.book.update(
            case.path,
            lambda before: report.failed(
                subject,
                before,
                phase=sync.UNREACHABLE,
                reason=reason,
                message=message,
                now=now,
            ),
            lazy=True,
        )

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
            plural = child(live, "spec", "names", "plural")
            tokens = [waiting.api(str(child(live, "spec", "group") or ""), str(plural or ""))]
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

    def _pending(self, case: Case) -> bool:
        """Whether there is something to send to the member."""
        assert case.intent is not None
        assert case.entry is not None
        if case.state is None or case.state.phase != sync.APPLIED:
            return True
        try:
            manifest = self._desk.render(case)
        except InvalidArgumentError:
            return True
        return manifest.hash != case.state.applied_hash
