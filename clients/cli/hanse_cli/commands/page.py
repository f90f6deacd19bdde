"""The page that explains one object: why each cluster has what it has, and what waits for what.

Owns the merge of what three services say into one value, `ExplainPage`. It decides nothing: reasons are those
of the services, in their words.

Pure functions.

Next: `hanse_cli.commands.live`, for how an object fares; `hanse_cli.commands.explain`, which asks the
services and shows the page.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from hanse.api.dns.v1.record_set_pb2 import RecordSet
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, Placement
from hanse.api.scheduler.v1.scheduler_service_pb2 import ExplainPlacementResponse
from hanse.api.syncer.v1.sync_state_pb2 import Health, SyncPhase, SyncState
from hanse.messages import moment_of, word_of
from hanse_cli.commands.live import live_words, times
from hanse_cli.commands.names import addresses, left_out, scope_word
from hanse_cli.commands.objects import get
from hanse_cli.output import since

RELEASING = "leaving"
PLACED = "placed"
SUSPENDED = "suspended"
REFUSED = "refused"
WAITED_FOR = frozenset(
    {
        "ClusterOffline",
        "ClusterPending",
        "ClusterNotReady",
        "ClusterIdentityMismatch",
        "ClusterMisbehaving",
        "ClusterCredentialRefused",
    }
)
"""Reasons of refusals that end by themselves, when the cluster answers."""
_STAYS = "propagate"
"""The scheduler's step for an object that goes to no cluster, whichever clusters there are."""


@dataclass(frozen=True, slots=True)
class ClusterRow:
    """One cluster on the page."""

    cluster: str
    decision: str
    why: str
    replicas: str = ""
    applied: str = ""
    live: str = ""


NOTHING_LEFT: Final = "nothing is left there"
"""What the apiserver says of a copy that is gone."""


@dataclass(frozen=True, slots=True)
class NameRow:
    """One DNS name on the page."""

    name: str
    scope: str
    addresses: str
    why: str
    left_out: str = ""
    """Clusters that have the Service and are not answered, and why."""


@dataclass(frozen=True, slots=True)
class ExplainPage:
    """All that is known about why an object is where it is."""

    object: str
    generation: int
    policy: str
    clusters: tuple[ClusterRow, ...]
    steps: tuple[str, ...]
    names: tuple[NameRow, ...]
    pending: tuple[str, ...]
    """What is not as it should be yet, and what each waits for; empty when all is done."""
    stays: str = ""
    """Why the object goes to no cluster at all, if it is of those that do not; the scheduler's words."""

    def document(self) -> dict[str, Any]:
        """Return the page as plain values."""
        return asdict(self)


def compile_page(
    *,
    title: str,
    manifest: Mapping[str, Any],
    explanation: ExplainPlacementResponse,
    states: Sequence[SyncState],
    records: Sequence[RecordSet],
    offline: Collection[str] = (),
    tombstone: Mapping[str, Any] | None = None,
) -> ExplainPage:
    """Merge what the services say about one object.

    `manifest` is the federated object, `offline` the clusters that cannot be reached at present, and
    `tombstone` what deleted objects of its name have left.
    """
    has_current = explanation.HasField("current")
    placement = explanation.current if has_current else Placement()
    by_cluster = {state.cluster: state for state in states}
    generation = int(get(manifest, "metadata.generation", 0))
    stays = next((step.message for step in explanation.steps if step.step == _STAYS), "")
    rows = [
        _placed_row(each, by_cluster.get(each.cluster), manifest=manifest, offline=each.cluster in offline)
        for each in placement.clusters
    ]
    rows += [
        ClusterRow(
            each.cluster,
            RELEASING,
            _why(each.reason, each.message),
            applied=_applied(by_cluster.get(each.cluster)),
        )
        for each in placement.releasing
    ]
    rows += [ClusterRow(each.cluster, REFUSED, _why(each.reason, each.message)) for each in placement.refused]
    return ExplainPage(
        object=title,
        generation=generation,
        policy=placement.policy or "default rules",
        clusters=tuple(sorted(rows, key=lambda row: row.cluster)),
        steps=tuple(
            f"{step.step}{f' {step.cluster}' if step.cluster else ''}: {step.message}"
            for step in explanation.steps
        ),
        names=tuple(
            NameRow(
                each.fqdn.removesuffix("."),
                scope_word(each.scope),
                addresses(each),
                each.reason,
                left_out(each),
            )
            for each in records
        ),
        pending=(
            *_pending(manifest, explanation, by_cluster, generation=generation, offline=offline),
            *(
                f"{cluster}: waits for what was deleted under its name: {why}"
                for cluster, why in _left(tombstone or {}).items()
            ),
        ),
        stays=stays,
    )


def deleted_page(title: str, tombstone: Mapping[str, Any]) -> ExplainPage:
    """Return the page of a name that no object has, and that deleted ones have left something under."""
    left = _left(tombstone)
    clusters = {str(copy["cluster"]): bool(copy.get("orphan")) for copy in tombstone["copies"]}
    when = str(tombstone.get("deleteTime", ""))
    return ExplainPage(
        object=title,
        generation=0,
        policy="",
        clusters=tuple(
            ClusterRow(
                cluster,
                RELEASING,
                f"Deleted: the object was deleted at {when}"
                + ("; its copy stays, as --cascade=orphan asks" if orphan else ""),
                applied=left.get(cluster, "nothing is left there"),
            )
            for cluster, orphan in sorted(clusters.items())
        ),
        steps=(),
        names=(),
        pending=(
            f"the object is deleted; members still have it, or may: {', '.join(left) or 'none'}",
            *(f"{cluster}: {why}" for cluster, why in left.items()),
        ),
    )


def _left(tombstone: Mapping[str, Any]) -> dict[str, str]:
    """Return what each cluster that may have something of deleted objects waits for, sorted by cluster."""
    copies = sorted(tombstone.get("copies") or (), key=lambda copy: str(copy["cluster"]))
    return {str(each["cluster"]): str(each["message"]) for each in copies if each["message"] != NOTHING_LEFT}


def _placed_row(
    placed: ClusterPlacement, state: SyncState | None, *, manifest: Mapping[str, Any], offline: bool
) -> ClusterRow:
    unseen = placed.suspended or offline
    words = live_words(state, manifest=manifest, placed=placed)
    if state is not None and state.drift_repairs:
        words.append(f"drift repaired {times(state.drift_repairs)}")
    live = ", ".join(words)
    replicas = str(placed.replicas) if placed.HasField("replicas") else ""
    return ClusterRow(
        cluster=placed.cluster,
        decision=SUSPENDED if placed.suspended else RELEASING if placed.leaving else PLACED,
        why=_why(placed.reason, placed.message),
        replicas=replicas,
        applied=_applied(state),
        live=f"last seen {live}" if unseen and live else live,
    )


def _why(reason: str, message: str) -> str:
    return f"{reason}: {message}" if reason and message else reason or message


def _applied(state: SyncState | None) -> str:
    if state is None:
        return "not yet"
    word = _phase(state)
    if state.phase == SyncPhase.APPLIED:
        word = f"generation {state.applied_generation}" if state.applied_generation else "applied"
        if state.HasField("apply_time") and (applied := since(state.apply_time)):
            word += f", {applied} ago"
    return word


def _phase(state: SyncState) -> str:
    return word_of(SyncPhase.DESCRIPTOR, state.phase).lower() if state.phase else "unknown"


def _pending(
    manifest: Mapping[str, Any],
    explanation: ExplainPlacementResponse,
    states: Mapping[str, SyncState],
    *,
    generation: int,
    offline: Collection[str],
) -> Iterable[str]:
    if get(manifest, "metadata.deletionTimestamp"):
        yield from _pending_deletion(states)
        return
    stays = any(step.step == _STAYS for step in explanation.steps)
    if not explanation.HasField("current"):
        if not stays:
            yield "the scheduler has not decided yet"
        return
    current = explanation.current
    if not current.clusters and not current.error and not stays:
        yield "it runs nowhere: no cluster takes it; the reasons are above"
    if current.unplaced_replicas and current.clusters:
        active = [each for each in current.clusters if not each.suspended]
        missing = current.unplaced_replicas
        whole = missing + sum(each.completions or each.replicas for each in active)
        yield f"{missing} of {whole} replicas have no cluster; the reasons are above"
    if current.HasField("move"):
        yield f"it moves between clusters: {current.move.message}"
    if current.error:
        yield f"the scheduler cannot decide, so the placement before stands: {current.error}"
    if current.generation < generation:
        yield f"the scheduler decided on generation {current.generation}; {generation} waits for it"
    elif _differs(explanation):
        yield "the scheduler would decide otherwise now; its decision is on the way"
    if current.HasField("reconsider_time") and (moment := moment_of(current.reconsider_time)):
        yield f"replicas in unreachable clusters move at {moment:%H:%M:%S UTC}"
    for placed in current.clusters:
        if placed.cluster in offline and not placed.suspended:
            yield f"{placed.cluster}: cannot be reached at present; what is said of it is what was seen last"
        yield from _pending_in(placed, states.get(placed.cluster), manifest=manifest, generation=generation)
    yield from _pending_outside(current, states)


def _pending_outside(current: Placement, states: Mapping[str, SyncState]) -> Iterable[str]:
    """Yield what is to come in clusters that are not among the placed ones."""
    for refused in current.refused:
        if refused.reason in WAITED_FOR:
            yield f"{refused.cluster}: {_why(refused.reason, refused.message)}"
    for released in current.releasing:
        state = states.get(released.cluster)
        if state is None or state.phase != SyncPhase.REMOVED:
            yield f"{released.cluster}: is to be left and has not confirmed{_said(state)}"


def _pending_deletion(states: Mapping[str, SyncState]) -> Iterable[str]:
    left = sorted(cluster for cluster, state in states.items() if state.phase != SyncPhase.REMOVED)
    yield f"the object is being deleted; it waits for {', '.join(left) or 'the federation'}"
    for cluster in left:
        if said := _said(states[cluster]):
            yield f"{cluster}{said}"


def _pending_in(
    placed: ClusterPlacement, state: SyncState | None, *, manifest: Mapping[str, Any], generation: int
) -> Iterable[str]:
    cluster = placed.cluster
    if placed.suspended:
        yield f"{cluster}: cannot be reached; it keeps what it has, its replicas count elsewhere"
        return
    if state is None:
        yield f"{cluster}: the syncer has not applied it yet"
        return
    if state.phase != SyncPhase.APPLIED:
        yield f"{cluster}: {_phase(state)}{_said(state)}"
        return
    if state.applied_generation and state.applied_generation < generation:
        yield f"{cluster}: has generation {state.applied_generation} of {generation}"
    if state.health in (Health.PROGRESSING, Health.DEGRADED):
        words = live_words(state, manifest=manifest, placed=placed)
        yield f"{cluster}: {', '.join(words)}{_said(state)}"


def _said(state: SyncState | None) -> str:
    if state is None:
        return ""
    text = _why(state.reason, state.message)
    again = f" (tried {times(state.failures)})" if state.failures else ""
    return f": {text}{again}" if text else again


def _differs(explanation: ExplainPlacementResponse) -> bool:
    """Return whether a decision made now would send the object elsewhere, or with other replicas."""
    return _targets(explanation.decision) != _targets(explanation.current)


def _targets(placement: Placement) -> list[tuple[str, int | None, bool]]:
    return [
        (each.cluster, each.replicas if each.HasField("replicas") else None, each.suspended)
        for each in placement.clusters
    ]
