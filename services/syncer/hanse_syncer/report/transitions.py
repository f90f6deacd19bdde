"""What goes into a sync state: each function makes the next state out of the one before.

Owns the content of `SyncState`. A state that says the same as the one before is equal to it, timestamps
included: `transition_time` moves only with the phase, `apply_time` only with an apply. Pure functions; the
state that is given is never changed.

Next: `hanse_syncer.report.state_table`, which stores them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import Contention, SyncState, ZoneEndpoints
from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.federation.confirmation import is_removed
from hanse.federation.jobs import job_runs
from hanse.federation.references import is_same_object, reference_to
from hanse.kube.model import untrusted
from hanse.store.keys import ObjectKey
from hanse_syncer.decide import caveats, kinds
from hanse_syncer.decide.caveats import Caveat
from hanse_syncer.decide.render import Manifest
from hanse_syncer.report import contention

MAX_MESSAGE: Final = untrusted.MAX_MESSAGE
"""Longest message, in characters."""
MAX_REASON: Final = 128
"""Longest reason, in characters; reasons are a member's words too."""
MAX_ZONES: Final = 100
"""Zones of a Service's ready endpoints."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Which object, in which cluster, and what of the federation was acted on."""

    key: ObjectKey
    cluster: str
    uid: str
    generation: int
    placement_revision: int
    traceparent: str = ""
    run: JobRun | None = None
    """For a Job: what was known of its run in the cluster."""


@dataclass(frozen=True, slots=True)
class RunEnding:
    """How a Job left the cluster.

    `taken_away`: by a DELETE of the federation. `left`: it is there, and no longer the federation's. `ttl`
    is its ttlSecondsAfterFinished.
    """

    taken_away: bool = False
    left: bool = False
    ttl: int | None = None


def _next(subject: Subject, before: SyncState | None) -> SyncState:
    state = SyncState()
    if before is not None:
        state.CopyFrom(before)
    key = subject.key
    state.name = f"syncStates/{key.path()}/{subject.cluster}"
    state.cluster = subject.cluster
    reference = reference_to(
        key,
        version=state.object.version,
        kind=state.object.kind,
        uid=subject.uid or state.object.uid,
    )
    state.object.CopyFrom(reference)
    if subject.run is not None:
        state.run.CopyFrom(_run(subject.run, before, uid=subject.uid))
    return state


def _run(known: JobRun, before: SyncState | None, *, uid: str) -> JobRun:
    """Return the run with what was learned of it since the request was made."""
    if before is None or before.run.number != known.number or not is_same_object(before.object.uid, uid):
        return known
    return job_runs.merged(known, before.run)


def _phase(state: SyncState, phase: sync.SyncPhase.ValueType, now: datetime) -> None:
    if state.phase != phase:
        state.phase = phase
        state.transition_time.FromDatetime(now)


def applied(
    subject: Subject,
    before: SyncState | None,
    *,
    manifest: Manifest,
    live: Mapping[str, Any],
    now: datetime,
    fingerprint: bytes = b"",
    caveat: Caveat | None = None,
    repaired: bool = False,
    fight: Contention | None = None,
) -> SyncState:
    """Return the state after an apply; `live` is what the member answered, `fingerprint` what is ours in it.

    `repaired` counts a repair of drift, `fight` is what is known of repairs in a row; a new manifest ends
    them.
    """
    state = _next(subject, before)
    if fight is not None:
        state.contention.CopyFrom(fight)
    elif state.applied_hash != manifest.hash:
        state.ClearField("contention")
    _phase(state, sync.APPLIED, now)
    state.reason = caveat.reason if caveat is not None else ""
    state.message = caveat.message[:MAX_MESSAGE] if caveat is not None else ""
    state.fingerprint = fingerprint
    state.object.version = manifest.api_version.rpartition("/")[2]
    state.object.kind = manifest.kind
    state.applied_hash = manifest.hash
    state.applied_generation = subject.generation
    state.placement_revision = subject.placement_revision
    state.apply_time.FromDatetime(now)
    state.failures = 0
    state.traceparent = subject.traceparent
    state.drift_repairs += int(repaired)
    state.delete_uid = state.delete_resource_version = ""
    _observe(state, live, now)
    contention.mark(state)
    return state


def confirmed(
    subject: Subject,
    before: SyncState | None,
    *,
    manifest: Manifest,
    live: Mapping[str, Any],
    now: datetime,
    settled: bool = False,
) -> SyncState:
    """Return the state of an object that was found to have the manifest without a write.

    `settled`: what was put right has stayed so for long enough.
    """
    state = _next(subject, before)
    if settled:
        state.ClearField("contention")
    _phase(state, sync.APPLIED, now)
    if state.reason not in caveats.REASONS:
        state.reason = state.message = ""
    state.failures = 0
    state.delete_uid = state.delete_resource_version = ""
    state.applied_hash = manifest.hash
    state.applied_generation = subject.generation
    state.placement_revision = subject.placement_revision
    _observe(state, live, now)
    contention.mark(state)
    return state


def contested(subject: Subject, before: SyncState | None, *, fight: Contention) -> SyncState:
    """Return the state while drift of a contested object is left alone; one that is gone has no status."""
    state = _next(subject, before)
    state.contention.CopyFrom(fight)
    if fight.removed:
        for name in (
            "status",
            "ready_endpoints",
            "replicas",
            "unschedulable_pods",
            "refused_pods",
            "refused_pods_time",
        ):
            state.ClearField(name)
    contention.mark(state)
    return state


def noted(subject: Subject, before: SyncState | None) -> SyncState:
    """Return the state when a newer generation or placement renders the same manifest."""
    state = _next(subject, before)
    state.applied_generation = subject.generation
    state.placement_revision = subject.placement_revision
    return state


def failed(
    subject: Subject,
    before: SyncState | None,
    *,
    phase: sync.SyncPhase.ValueType,
    reason: str,
    message: str,
    now: datetime,
    failures: int = 0,
) -> SyncState:
    """Return the state of an object that is not as it should be, for `reason`."""
    state = _next(subject, before)
    if is_removed(state):
        _clear_member(state)
    _phase(state, phase, now)
    reason, message = reason[:MAX_REASON], message[:MAX_MESSAGE]
    if state.reason != reason or state.message != message or failures >= 2 * state.failures:
        state.failures = failures
    state.reason, state.message = reason, message
    return state


def deleting(
    subject: Subject, before: SyncState | None, *, uid: str, version: str, now: datetime
) -> SyncState:
    """Return the state before a DELETE of object `uid` in resourceVersion `version` is sent.

    What was said of an earlier one stands until this one has an outcome.
    """
    if before is not None and before.delete_uid == uid:
        state = _next(subject, before)
    else:
        state = removing(subject, before, message="the cluster is asked to delete it", now=now)
    state.delete_uid, state.delete_resource_version = uid, version
    return state


def removing(subject: Subject, before: SyncState | None, *, message: str, now: datetime) -> SyncState:
    """Return the state while the member deletes the object."""
    state = _next(subject, before)
    _phase(state, sync.REMOVING, now)
    state.reason = "Deleting"
    state.message = message[:MAX_MESSAGE]
    return state


def seen(subject: Subject, before: SyncState | None, *, live: Mapping[str, Any]) -> SyncState:
    """Return the state of a Job after a look at it, whatever becomes of it."""
    state = _next(subject, before)
    _observe_run(state, live)
    return state


def claimed(subject: Subject, before: SyncState | None, *, now: datetime, kept: bool) -> SyncState:
    """Return the state before a Job is created: whatever becomes of the request, the next one knows of it.

    `kept`: it is sent without a ttlSecondsAfterFinished.
    """
    state = _next(subject, before)
    if is_removed(state):
        _clear_member(state)
    if state.phase in (sync.SYNC_PHASE_UNSPECIFIED, sync.REMOVED):
        _phase(state, sync.WAITING, now)
        state.reason, state.message = "Starting", "the cluster is asked to start the Job"
    state.run.CopyFrom(job_runs.claimed(state.run, now, kept=kept))
    return state


def unclaimed(subject: Subject, before: SyncState | None) -> SyncState:
    """Return the state after the cluster has refused to create a Job."""
    state = _next(subject, before)
    state.run.CopyFrom(job_runs.refused(state.run))
    return state


def ended(
    subject: Subject, before: SyncState | None, *, ending: RunEnding, reason: str, message: str, now: datetime
) -> SyncState:
    """Return the state of a Job that is not there, and that is not created again."""
    state = _next(subject, before)
    _phase(state, sync.APPLIED, now)
    state.run.CopyFrom(job_runs.gone(state.run, taken_away=ending.taken_away, ttl=ending.ttl))
    state.reason, state.message = reason, message[:MAX_MESSAGE]
    state.applied_generation = subject.generation
    state.placement_revision = subject.placement_revision
    state.failures = 0
    state.delete_uid = state.delete_resource_version = ""
    return state


def removed(
    subject: Subject,
    before: SyncState | None,
    *,
    reason: str,
    message: str,
    now: datetime,
    ending: RunEnding = RunEnding(),
) -> SyncState:
    """Return the state when nothing of ours is left in the member; `ending` says how a Job left it."""
    state = _next(subject, before)
    if state.HasField("run"):
        if ending.left and job_runs.was_started(state.run):
            state.run.CopyFrom(job_runs.lost(state.run, "JobLeft", "its Job was left to its cluster"))
        else:
            state.run.CopyFrom(job_runs.gone(state.run, taken_away=ending.taken_away, ttl=ending.ttl))
    _phase(state, sync.REMOVED, now)
    _clear_member(state)
    state.reason = reason[:MAX_REASON]
    state.message = message[:MAX_MESSAGE]
    state.placement_revision = subject.placement_revision
    return state


def counted(
    before: SyncState | None,
    *,
    ready: Sequence[ZoneEndpoints] | None = None,
    unschedulable: int | None = None,
) -> SyncState:
    """Return the state after endpoints or unschedulable pods were counted again."""
    state = SyncState()
    if before is not None:
        state.CopyFrom(before)
    if ready is not None:
        del state.ready_endpoints[:]
        state.ready_endpoints.extend(ready[:MAX_ZONES])
    if unschedulable is not None:
        state.unschedulable_pods = unschedulable
    return state


def without_status(before: SyncState, *, bound: str) -> SyncState:
    """Return the state without what the member says of the object; `bound` says how much would have been
    reported."""
    state = SyncState()
    state.CopyFrom(before)
    _leave_out_status(state, bound)
    del state.ready_endpoints[MAX_ZONES:]
    return state


def _leave_out_status(state: SyncState, bound: str) -> None:
    """Return the state without a status that is too large to be reported. That an apply failed is the more
    important reason.
    """
    size, state.status = len(state.status), b""
    if not state.reason:
        state.reason = "StatusTooLarge"
        state.message = f"its status there is not reported: it has {size} bytes, {bound}"


def _observe(state: SyncState, live: Mapping[str, Any], now: datetime) -> None:
    metadata = untrusted.mapping(live.get("metadata"))
    _observe_run(state, live)
    state.member_uid = untrusted.text(metadata.get("uid"))
    state.member_resource_version = untrusted.text(metadata.get("resourceVersion"))
    state.member_generation = untrusted.generation(metadata.get("generation"))
    if live.get("kind") == "PartialObjectMetadata":
        state.health = sync.HEALTHY
        return
    state.status, why = _status(live.get("status"))
    if why:
        state.reason = "StatusUnreadable" if "no object" in why else "StatusTooLarge"
        state.message = f"its status there is not reported: {why}"
    state.health = kinds.health_of(live)
    replicas = kinds.desired_replicas(live)
    if replicas is None:
        state.ClearField("replicas")
    else:
        state.replicas = replicas
    ready = kinds.ready_replicas(live)
    if ready is None:
        state.ClearField("ready_replicas")
    else:
        state.ready_replicas = ready
    if not kinds.lags(live):
        state.unschedulable_pods = 0
    refused = kinds.refused_pods(live)
    if not refused:
        state.ClearField("refused_pods_time")
    elif not state.refused_pods:
        state.refused_pods_time.FromDatetime(now)
    state.refused_pods = refused


def _observe_run(state: SyncState, live: Mapping[str, Any]) -> None:
    """Take in how far the live object's run is, if it is a Job."""
    if state.HasField("run"):
        uid = untrusted.text(untrusted.mapping(live.get("metadata")).get("uid"))
        status = untrusted.mapping(live.get("status"))
        spec = untrusted.mapping(live.get("spec"))
        state.run.CopyFrom(job_runs.observed(state.run, uid=uid, status=status, spec=spec))


def _status(status: Any) -> tuple[bytes, str]:
    """Return what is reported of a status, and why it is not reported, if so."""
    if not status:
        return b"", ""
    if not isinstance(status, dict):
        return b"", "it is no object"
    if untrusted.depth_of(status) > untrusted.MAX_DEPTH:
        return b"", f"it is nested more than {untrusted.MAX_DEPTH} levels deep"
    encoded = orjson.dumps(status, option=orjson.OPT_SORT_KEYS)
    why = untrusted.too_large(encoded)
    return (b"", why) if why else (encoded, "")


def _clear_member(state: SyncState) -> None:
    for name in (
        "applied_hash",
        "applied_generation",
        "fingerprint",
        "member_uid",
        "member_resource_version",
        "member_generation",
        "status",
        "health",
        "ready_endpoints",
        "replicas",
        "ready_replicas",
        "unschedulable_pods",
        "refused_pods",
        "refused_pods_time",
        "failures",
        "delete_uid",
        "delete_resource_version",
        "contention",
    ):
        state.ClearField(name)
