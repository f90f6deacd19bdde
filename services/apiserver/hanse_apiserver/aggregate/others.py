"""Every other kind: Jobs, Services, Ingresses, claims, autoscalers, budgets, and what nobody here knows.
Pure.

Each function gives the status of the federated object from its members'. `generic` is for kinds without a
rule of their own, custom resources among them: conditions are folded, the rest is per cluster.

Next: `hanse_apiserver.aggregate.fold`, which chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hanse.kube.objects import Object, mapping
from hanse.kube.quantity import Quantity
from hanse_apiserver.aggregate import conditions
from hanse_apiserver.aggregate.generation import observed_generation
from hanse_apiserver.aggregate.members import Decision, Member, first, ingress_of, total


def job(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold Jobs: complete when complete everywhere, failed when failed anywhere."""
    counted = [m for m in members if m.counted]
    status: Object = {}
    for name in ("active", "succeeded", "failed", "terminating"):
        if value := total(counted, name):
            status[name] = value
    if ready := total((m for m in counted if m.reports), "ready"):
        status["ready"] = ready
    starts = [str(m.status["startTime"]) for m in counted if m.status.get("startTime")]
    if starts:
        status["startTime"] = min(starts)
    ends = [str(m.status["completionTime"]) for m in counted if m.status.get("completionTime")]
    if ends and len(ends) == len(counted):
        status["completionTime"] = max(ends)
    folded = conditions.fold(_finishers(counted), now=now)
    # A Job that has not finished says nothing; only what holds is worth saying.
    kept = [c for c in folded if c["status"] == "True"]
    return status | ({"conditions": kept} if kept else {})


def _finishers(counted: Sequence[Member]) -> Sequence[Member]:
    """A Job that completed stays completed, whether its cluster can be reached or not."""
    return [
        Member(cluster=m.cluster, phase=m.phase or "Waiting", status=m.status)
        if any(c.get("type") == "Complete" for c in m.status.get("conditions") or () if isinstance(c, dict))
        else m
        for m in counted
    ]


def load_balanced(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold Services and Ingresses: the addresses of all clusters that can be reached, one after another."""
    addresses: list[Any] = []
    for member in members:
        if member.counted and member.reports:
            addresses.extend(a for a in ingress_of(member) if a not in addresses)
    status: Object = {"loadBalancer": {"ingress": addresses} if addresses else {}}
    folded = conditions.fold(members, now=now)
    return status | ({"conditions": folded} if folded else {})


def claim(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold PersistentVolumeClaims: Bound when bound everywhere, Lost when lost anywhere.

    The capacity is the smallest, which is what a pod can count on wherever it runs.
    """
    counted = [m for m in members if m.counted]
    phases = {str(m.status.get("phase") or "Pending") for m in counted}
    phase = "Lost" if "Lost" in phases else "Bound" if phases == {"Bound"} else "Pending"
    status: Object = {"phase": phase}
    if modes := first(counted, "accessModes"):
        status["accessModes"] = modes
    sizes = [s for m in counted if isinstance(s := mapping(m.status.get("capacity")).get("storage"), str)]
    if sizes:
        status["capacity"] = {"storage": min(sizes, key=lambda s: Quantity.parse(s).value)}
    folded = conditions.fold(members, now=now)
    return status | ({"conditions": folded} if folded else {})


def autoscaler(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold HorizontalPodAutoscalers: replicas summed; metrics are per cluster unless there is one cluster."""
    counted = [m for m in members if m.counted]
    status: Object = {
        "observedGeneration": observed_generation(members, obj, decision),
        "currentReplicas": total(counted, "currentReplicas"),
        "desiredReplicas": total(counted, "desiredReplicas"),
    }
    times = [str(m.status["lastScaleTime"]) for m in counted if m.status.get("lastScaleTime")]
    if times:
        status["lastScaleTime"] = max(times)
    if len(counted) == 1 and counted[0].status.get("currentMetrics"):
        status["currentMetrics"] = counted[0].status["currentMetrics"]
    folded = conditions.fold(members, now=now)
    return status | ({"conditions": folded} if folded else {})


def budget(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold PodDisruptionBudgets."""
    counted = [m for m in members if m.counted]
    seen = [m for m in counted if m.reports]
    status: Object = {
        "observedGeneration": observed_generation(members, obj, decision),
        "currentHealthy": total(seen, "currentHealthy"),
        "desiredHealthy": total(counted, "desiredHealthy"),
        "disruptionsAllowed": total(seen, "disruptionsAllowed"),
        "expectedPods": total(counted, "expectedPods"),
    }
    folded = conditions.fold(members, now=now)
    return status | ({"conditions": folded} if folded else {})


def stored(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Keep the status that is stored: the federation itself says it (namespaces, CRDs)."""
    return mapping(obj, "status")


def generic(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold a kind that nobody here knows: what is stored, with the members' conditions folded.

    `observedGeneration` is given if a member gives one.
    """
    status = dict(mapping(obj, "status"))
    counted = [m for m in members if m.counted]
    if any("observedGeneration" in m.status for m in counted):
        status["observedGeneration"] = max(0, observed_generation(members, obj, decision))
    folded = conditions.fold(members, now=now)
    if folded:
        status["conditions"] = folded
    return status
