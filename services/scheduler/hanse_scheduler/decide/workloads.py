"""The kinds that have a number to divide, and where that number is.

Owns the table of (group, resource) with replicas, which annotation speaks about them, and reading an
object's totals. A StatefulSet is divided only when a policy says so, because its members have names that
would exist once per cluster. Pure.

Next: `division`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.kube.model.objects import Object, child
from hanse.well_known import DEPLOYMENT_PREFERENCES, JOB_PREFERENCES, REPLICA_SET_PREFERENCES


@dataclass(frozen=True, slots=True)
class WorkloadKind:
    """A kind with replicas. `annotation` is "" if v1 had none for it."""

    resource: str
    annotation: str
    field: str = "replicas"
    divided_by_default: bool = True


WORKLOADS: Final = {
    ("apps", "deployments"): WorkloadKind("deployments", DEPLOYMENT_PREFERENCES),
    ("apps", "replicasets"): WorkloadKind("replicasets", REPLICA_SET_PREFERENCES),
    ("apps", "statefulsets"): WorkloadKind("statefulsets", "", divided_by_default=False),
    ("batch", "jobs"): WorkloadKind("jobs", JOB_PREFERENCES, field="parallelism"),
}


@dataclass(frozen=True, slots=True)
class Totals:
    """What the federation is to run in all. `completions` is None for all but Jobs with a fixed number.

    `indivisible` says that the object must run whole in one cluster.
    """

    replicas: int
    completions: int | None = None
    indivisible: bool = False


def totals_of(obj: Object, kind: WorkloadKind) -> Totals:
    """Return the object's totals; Kubernetes' default of 1 where it says nothing.

    A Job with `completionMode: Indexed` is indivisible: each of its Pods has an index that counts once.
    """
    replicas = _number(child(obj, "spec", kind.field), default=1)
    if kind.resource != "jobs":
        return Totals(replicas=replicas)
    raw = child(obj, "spec", "completions")
    completions = _number(raw, default=0) if raw is not None else None
    return Totals(
        replicas=replicas,
        completions=completions,
        indivisible=child(obj, "spec", "completionMode") == "Indexed",
    )


def shortfall(obj: Object, kind: WorkloadKind, clusters: Iterable[ClusterPlacement]) -> int:
    """Return how many replicas of the object are in no cluster; suspended ones count elsewhere.

    A cluster that has no number of its own has them all.
    """
    wanted = totals_of(obj, kind).replicas
    return max(0, wanted - sum(_share(each, wanted) for each in clusters if not each.suspended))


def _share(cluster: ClusterPlacement, wanted: int) -> int:
    return cluster.replicas if cluster.HasField("replicas") else wanted


def _number(value: object, *, default: int) -> int:
    return value if type(value) is int and value >= 0 else default
