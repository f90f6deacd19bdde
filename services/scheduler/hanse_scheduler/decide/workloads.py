"""The kinds that have a number to divide.

Owns the table of them by kind, which annotation speaks about each, and reading an object's totals. A
StatefulSet is divided only when a policy says so, because its members have names that would exist once per
cluster. Pure.

Next: `hanse_scheduler.decide.division`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.kube.kinds.kind import Kind
from hanse.kube.kinds.kubernetes import apps, batch
from hanse.kube.model.objects import Object, child
from hanse.well_known import DEPLOYMENT_PREFERENCES, JOB_PREFERENCES, REPLICA_SET_PREFERENCES


@dataclass(frozen=True, slots=True)
class WorkloadKind:
    """A kind whose Pods are divided. `annotation` is "" if v1 had none for it."""

    kind: Kind
    annotation: str
    divided_by_default: bool = True


WORKLOADS: Final = {
    workload.kind.group_plural: workload
    for workload in (
        WorkloadKind(apps.DEPLOYMENT, DEPLOYMENT_PREFERENCES),
        WorkloadKind(apps.REPLICA_SET, REPLICA_SET_PREFERENCES),
        WorkloadKind(apps.STATEFUL_SET, "", divided_by_default=False),
        WorkloadKind(batch.JOB, JOB_PREFERENCES),
    )
}


INDEX_RULES: Final = ("successPolicy", "backoffLimitPerIndex")
"""Fields of a Job's spec that say what becomes of it by its indexes."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What the federation is to run in all. `completions` is None for all but Jobs with a fixed number.

    `indivisible` says that the object must run whole in one cluster, `by_index` that it has rules about its
    indexes, which hold for all of them together.
    """

    replicas: int
    completions: int | None = None
    indivisible: bool = False
    by_index: bool = False


def totals_of(obj: Object, workload: WorkloadKind) -> Totals:
    """Return the object's totals; Kubernetes' default of 1 where it says nothing.

    A Job with `completionMode: Indexed` is indivisible: each of its Pods has an index that counts once.
    """
    replicas = _number(child(obj, "spec", workload.kind.pod_count), default=1)
    if workload.kind is not batch.JOB:
        return Totals(replicas=replicas)
    raw = child(obj, "spec", "completions")
    completions = _number(raw, default=0) if raw is not None else None
    return Totals(
        replicas=replicas,
        completions=completions,
        indivisible=child(obj, "spec", "completionMode") == "Indexed",
        by_index=any(child(obj, "spec", name) is not None for name in INDEX_RULES),
    )


def shortfall(obj: Object, workload: WorkloadKind, clusters: Iterable[ClusterPlacement]) -> int:
    """Return how many replicas of the object are in no cluster; suspended ones count elsewhere.

    Of a Job with a number of completions these are counted. A cluster that has no number of its own has them
    all.
    """
    totals = totals_of(obj, workload)
    active = [each for each in clusters if not each.suspended]
    if totals.completions is not None:
        wanted = totals.completions
        has = [each.completions if each.HasField("completions") else wanted for each in active]
    else:
        wanted = totals.replicas
        has = [each.replicas if each.HasField("replicas") else wanted for each in active]
    return max(0, wanted - sum(has))


def _number(value: object, *, default: int) -> int:
    return value if type(value) is int and value >= 0 else default
