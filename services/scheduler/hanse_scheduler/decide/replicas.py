"""How many replicas each candidate gets: what is fed into the division and the move, and what comes of it.

Owns whether an object is divided at all, whose preferences, toleration and rules of moves count, what is
known of the replicas in each cluster, and which kinds move without a gap. Divided is what each cluster shall
have in the end; on the way there the move says what it has.

Pure. Next: `hanse_scheduler.decide.division`, which divides, `hanse_scheduler.handshake.moves`, which moves,
`hanse_scheduler.decide.decision`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.kube.kinds.kubernetes import apps, batch
from hanse.kube.model.objects import annotations_of, child
from hanse_scheduler.decide.candidates import Candidates
from hanse_scheduler.decide.clusters import MemberCluster
from hanse_scheduler.decide.division import ClusterReplicas, Division, divide
from hanse_scheduler.decide.filtering import Eligibility
from hanse_scheduler.decide.inputs import DecisionInput, Observed, Rules
from hanse_scheduler.decide.once.job_division import JobSituation, divide_job
from hanse_scheduler.decide.once.one_at_a_time import exclusivity_of
from hanse_scheduler.decide.once.run_ledger import JobsHeld
from hanse_scheduler.decide.planner import DEFAULT_PREFERENCES, Preferences
from hanse_scheduler.decide.policies import PlacementPolicy
from hanse_scheduler.decide.preferences import parse_preferences
from hanse_scheduler.decide.stateful.ordinals import bounded, rooms
from hanse_scheduler.decide.workloads import WORKLOADS, WorkloadKind, totals_of
from hanse_scheduler.handshake.moves import (
    Destination,
    MoveRequest,
    MoveStep,
    Origin,
    arrived,
    plan_move,
)
from hanse_scheduler.reasons import TEMPORARY
from hanse_scheduler.trace import DecisionTrace

_NOWHERE: Final = ClusterPlacement()
_NOT_OBSERVED: Final = Observed()
_PASSING: Final = TEMPORARY | {"ClusterUnschedulable", "TaintNotTolerated", "ApiUnknown"}
"""Why a cluster that shall have an object does not get it for the moment: what it replaces waits for it."""


def workload_kind(inputs: DecisionInput) -> WorkloadKind | None:
    """Return how replicas of the object are counted; None for what has none."""
    return WORKLOADS.get((inputs.key.group, inputs.key.resource))


def divide_replicas(
    inputs: DecisionInput,
    candidates: Candidates,
    *,
    placed: Mapping[str, ClusterPlacement],
    preferences: Preferences,
    rules: Rules,
    now: float,
    key: str,
    held: JobsHeld,
) -> Division | None:
    """Return how the object's replicas are shared out over the candidates; None if they are not divided."""
    kind, policy = workload_kind(inputs), inputs.policy
    if kind is None or not _is_divided(kind, policy):
        return None
    turning_back = any(entry.leaving and name in candidates.chosen for name, entry in placed.items())
    clusters = [
        _replicas_in(
            each,
            before=placed.get(name),
            observed=inputs.observed.get(name),
            turning_back=turning_back,
        )
        for name, each in sorted(candidates.chosen.items())
    ]
    totals, toleration = totals_of(inputs.obj, kind), _toleration(policy, rules)
    if kind.kind is batch.JOB:
        situation = JobSituation(
            runs=held.runs,
            removing=held.removing,
            restart=restarts(policy),
            preferences=preferences,
            toleration=toleration,
            now=now,
            key=key,
        )
        return divide_job(totals, clusters=clusters, situation=situation)
    if exclusivity_of(inputs).stops_first and not restarts(policy):
        toleration = math.inf  # of a cluster that does not answer nobody knows that it has stopped
    if policy is not None and policy.ordinals is not None and kind.kind is apps.STATEFUL_SET:
        preferences = bounded(preferences, most=rooms(candidates.chosen, before=placed, size=policy.ordinals))
    return divide(
        totals.replicas,
        clusters=clusters,
        preferences=preferences,
        toleration=toleration,
        now=now,
        key=key,
    )


def preferences_of(inputs: DecisionInput) -> Preferences:
    """Return the annotation's preferences, else the policy's, else the default."""
    kind, policy = workload_kind(inputs), inputs.policy
    result = (
        policy.preferences if policy is not None and policy.preferences is not None else DEFAULT_PREFERENCES
    )
    if kind is not None and kind.annotation:
        value = annotations_of(inputs.obj).get(kind.annotation)
        if value is not None and value.strip():
            result = parse_preferences(value, annotation=kind.annotation)
    if inputs.rebalance and not result.rebalance:
        return Preferences(clusters=result.clusters, rebalance=True)
    return result


def restarts(policy: PlacementPolicy | None) -> bool:
    """Return whether work of which nobody knows whether it is done is started elsewhere."""
    return policy is not None and policy.when_unknown == "Restart"


def _is_divided(kind: WorkloadKind, policy: PlacementPolicy | None) -> bool:
    mode = policy.mode if policy is not None else ""
    return mode == "Divided" or (not mode and kind.divided_by_default)


def _toleration(policy: PlacementPolicy | None, rules: Rules) -> float:
    """Return for how many seconds a cluster that is out of reach keeps its replicas."""
    if policy is not None and policy.toleration_seconds is not None:
        return policy.toleration_seconds
    return rules.toleration


def toleration_of(inputs: DecisionInput, rules: Rules) -> float:
    """Return for how many seconds a cluster that is lost, or refuses the object, keeps its place among those
    that a limit allows; inf for what may still run there and must not run twice."""
    exclusivity, policy = exclusivity_of(inputs), inputs.policy
    kind = workload_kind(inputs)
    has_runs = kind is not None and kind.kind is batch.JOB and not exclusivity.marked  # each starts once
    if exclusivity.stops_first and not has_runs and not restarts(policy):
        return math.inf
    return _toleration(policy, rules)


def _replicas_in(
    each: Eligibility, *, before: ClusterPlacement | None, observed: Observed | None, turning_back: bool
) -> ClusterReplicas:
    live = observed if observed is not None and not observed.removed else None
    entry = before if before is not None else _NOWHERE
    return ClusterReplicas(
        cluster=each.cluster,
        placed=before is not None,
        suspended=entry.suspended,
        assigned=_assigned(entry, live, turning_back=turning_back),
        assigned_completions=entry.completions if entry.HasField("completions") else None,
        reported=live.replicas if live else None,
        unschedulable=live.unschedulable if live else 0,
        closed=each.message if before is not None and each.cluster.reachable and not each.admits else "",
        has=entry.replicas if entry.HasField("replicas") else live.replicas if live else None,
        refuses=live.refusal if live else "",
        refuses_since=live.refused_since if live else 0.0,
        refused_pods=live.refused_pods if live else 0,
        refused_pods_since=live.refused_pods_since if live else 0.0,
    )


def kept_when_closed(inputs: DecisionInput, each: Eligibility, before: ClusterPlacement | None) -> int | None:
    """Return how many replicas of what is not divided a cluster keeps that takes nothing new.

    None if it gets the template's number, as every cluster does.
    """
    kind = workload_kind(inputs)
    if kind is None or kind.kind is batch.JOB or before is None or each.admits or not each.cluster.reachable:
        return None
    known = inputs.observed.get(each.cluster.name, _NOT_OBSERVED).replicas
    has = before.replicas if before.HasField("replicas") else known
    return has if has is not None and has < totals_of(inputs.obj, kind).replicas else None


def _assigned(entry: ClusterPlacement, live: Observed | None, *, turning_back: bool) -> int | None:
    """Return what the cluster was assigned last: during a move that is what it has in the end.

    A move that turns back begins with what there is: the old replicas, and the new ones that are ready.
    """
    if not entry.HasField("replicas"):
        return None
    if turning_back and entry.HasField("base_replicas"):
        known = live.readiness.replicas if live is not None and live.readiness is not None else None
        return max(min(entry.base_replicas, entry.replicas), min(known or 0, entry.replicas))
    if turning_back or entry.leaving or not entry.HasField("target_replicas"):
        return entry.replicas
    return entry.target_replicas


def next_of(
    inputs: DecisionInput,
    *,
    eligible: Sequence[Eligibility],
    candidates: Candidates,
    placed: Mapping[str, ClusterPlacement],
    targets: Mapping[str, ClusterPlacement],
    divided: bool,
    rules: Rules,
    now: float,
) -> MoveStep | None:
    """Return what each cluster has next on the way to `targets`, the entries of the clusters by name.

    None if the object goes there at once, because it stops first.
    """
    if exclusivity_of(inputs).stops_first:
        return None
    missing = any(
        not each.admits
        and now < each.leave_at
        and each.reason in _PASSING
        and each.cluster.name in candidates.refused
        for each in eligible
    )
    taken = any(not entry.suspended for entry in targets.values())
    origins: dict[str, Origin] = {}
    returning = False
    for each in eligible:
        name, before = each.cluster.name, placed.get(each.cluster.name)
        if before is None:
            continue
        returning = returning or (before.suspended and each.cluster.reachable)
        if name not in candidates.refused or (before.suspended and not each.cluster.reachable):
            continue
        until, pinned = each.cluster.keeps_until(_toleration(inputs.policy, rules)), name in inputs.needed_in
        if now < until and (taken or missing or pinned):
            observed = inputs.observed.get(name, _NOT_OBSERVED)
            origins[name] = Origin(
                ready=ready_in(inputs, each.cluster, before, divided=divided),
                pinned=pinned,
                stuck=observed.unschedulable if divided else 0,
                runs=observed.replicas or 0,
            )
            candidates.reconsider_at = min(candidates.reconsider_at, until)
    if not origins and not divided:
        return arrived(name for name, entry in targets.items() if not entry.suspended)
    least = 0
    if missing:
        kind = workload_kind(inputs)
        least = totals_of(inputs.obj, kind).replicas if divided and kind is not None else 1
    policy = inputs.policy
    return plan_move(
        MoveRequest(
            before=inputs.previous.placement if inputs.previous.is_about(inputs.obj) else None,
            destinations={
                name: Destination(
                    replicas=entry.replicas if divided else None,
                    ready=ready_in(
                        inputs, candidates.chosen[name].cluster, placed.get(name), divided=divided
                    ),
                    stuck=inputs.observed.get(name, _NOT_OBSERVED).unschedulable if divided else 0,
                    overrides=entry.overrides,
                    unproven=returning,
                )
                for name, entry in targets.items()
                if not entry.suspended
            },
            origins=origins,
            divided=divided,
            generation=_generation(inputs),
            least=least,
            retry=inputs.rebalance,
        ),
        rules=policy.moves if policy is not None and policy.moves is not None else rules.moves,
        now=now,
    )


def ready_in(
    inputs: DecisionInput, cluster: MemberCluster, before: ClusterPlacement | None, *, divided: bool
) -> int | None:
    """Return how many replicas (of what is not divided: objects) are known to be ready in a cluster.

    None where that is not known: the cluster does not answer, or what it has is not what is wanted now.
    """
    observed = inputs.observed.get(cluster.name)
    known = observed.readiness if observed is not None else None
    if before is None or known is None or not cluster.reachable:
        return None
    uid = str(child(inputs.obj, "metadata", "uid") or "")
    if not known.is_of(uid=uid, generation=_generation(inputs), after_revision=before.after_revision):
        return None
    return known.replicas if divided else int(known.healthy)


def _generation(inputs: DecisionInput) -> int:
    value = child(inputs.obj, "metadata", "generation")
    return value if type(value) is int else 0


def take_in(division: Division, candidates: Candidates, trace: DecisionTrace) -> None:
    """Refuse the clusters that get no replicas, and note what the others get."""
    for name, refusal in division.refused.items():
        candidates.refuse(name, refusal)
        trace.note("divide", f"{refusal[0]}: {refusal[1]}", cluster=name)
    for name, share in sorted(division.shares.items()):
        trace.note("divide", share.message, cluster=name)
    for note in division.notes:
        trace.note("divide", note)
    candidates.reconsider_at = min(candidates.reconsider_at, division.reconsider_at)
