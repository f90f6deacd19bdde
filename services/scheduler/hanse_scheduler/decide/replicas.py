"""How many replicas each candidate gets: what is fed into the division, and what comes of it.

Owns whether an object is divided at all, whose preferences and toleration count, and what is known of the
replicas in each cluster.

Pure. Next: `hanse_scheduler.decide.division`, which divides, `hanse_scheduler.decide.decision`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.kube.kinds.kubernetes import batch
from hanse.kube.model.objects import annotations_of
from hanse_scheduler.decide.candidates import Candidates
from hanse_scheduler.decide.division import ClusterReplicas, Division, divide
from hanse_scheduler.decide.filtering import Eligibility
from hanse_scheduler.decide.inputs import DecisionInput, Observed, Rules
from hanse_scheduler.decide.once.job_division import JobSituation, divide_job
from hanse_scheduler.decide.once.run_ledger import JobsHeld
from hanse_scheduler.decide.planner import DEFAULT_PREFERENCES, Preferences
from hanse_scheduler.decide.policies import PlacementPolicy
from hanse_scheduler.decide.preferences import parse_preferences
from hanse_scheduler.decide.workloads import WORKLOADS, WorkloadKind, totals_of
from hanse_scheduler.trace import DecisionTrace

_NOWHERE: Final = ClusterPlacement()


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
    clusters = [
        _replicas_in(each, before=placed.get(name), observed=inputs.observed.get(name))
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


def _replicas_in(
    each: Eligibility, *, before: ClusterPlacement | None, observed: Observed | None
) -> ClusterReplicas:
    live = observed if observed is not None and not observed.removed else None
    entry = before if before is not None else _NOWHERE
    return ClusterReplicas(
        cluster=each.cluster,
        placed=before is not None,
        suspended=entry.suspended,
        assigned=entry.replicas if entry.HasField("replicas") else None,
        assigned_completions=entry.completions if entry.HasField("completions") else None,
        reported=live.replicas if live else None,
        unschedulable=live.unschedulable if live else 0,
    )


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
