"""Every other kind: Services, Ingresses, claims, autoscalers, budgets, and what nobody here knows.
Pure.

Each function gives the status of the federated object from its members'. `generic` is for kinds without a
rule of their own, custom resources among them: conditions are folded, the rest is per cluster.

Next: `hanse_apiserver.aggregate.fold`, which chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hanse.errors import InvalidArgumentError
from hanse.kube.model import untrusted
from hanse.kube.model.objects import Object, mapping
from hanse.kube.model.quantity import Quantity
from hanse_apiserver.aggregate import conditions
from hanse_apiserver.aggregate.generation import observed_generation
from hanse_apiserver.aggregate.members import Decision, Member, ingress_of, time_of, total


def load_balanced(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold Services and Ingresses: the addresses of all clusters that can be reached, one after another."""
    found: dict[str, Object] = {}
    for member in members:
        if member.counted and member.reports:
            for address in ingress_of(member):
                found.setdefault(repr(address), address)
    addresses = list(found.values())
    status: Object = {"loadBalancer": {"ingress": addresses} if addresses else {}}
    folded = conditions.fold(members, now=now)
    return status | ({"conditions": folded} if folded else {})


def claim(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold PersistentVolumeClaims: Bound when bound everywhere, Lost when lost anywhere.

    The capacity is the smallest, which is what a pod can count on wherever it runs.
    """
    counted = [m for m in members if m.counted]
    phases = {untrusted.text(m.status.get("phase")) or "Pending" for m in counted}
    phase = "Lost" if "Lost" in phases else "Bound" if phases == {"Bound"} else "Pending"
    status: Object = {"phase": phase}
    said = (_texts(m.status.get("accessModes")) for m in counted)
    if modes := next(filter(None, said), []):
        status["accessModes"] = modes
    sizes = [size for m in counted if (size := _size(mapping(m.status.get("capacity")).get("storage")))]
    if sizes:
        status["capacity"] = {"storage": min(sizes)[1]}
    folded = conditions.fold(members, now=now)
    return status | ({"conditions": folded} if folded else {})


def _texts(value: Any) -> list[str]:
    return [each for each in value[:16] if isinstance(each, str)] if isinstance(value, list) else []


def _size(value: Any) -> tuple[Quantity, str] | None:
    """Return a capacity with how it is written; None for what is none."""
    if not isinstance(value, str):
        return None
    try:
        return Quantity.parse(value), value
    except InvalidArgumentError:
        return None


def autoscaler(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold HorizontalPodAutoscalers: replicas summed; metrics are per cluster unless there is one cluster."""
    counted = [m for m in members if m.counted]
    status: Object = {
        "observedGeneration": observed_generation(members, obj, decision),
        "currentReplicas": total(counted, "currentReplicas"),
        "desiredReplicas": total(counted, "desiredReplicas"),
    }
    times = [scaled for m in counted if (scaled := time_of(m, "lastScaleTime"))]
    if times:
        status["lastScaleTime"] = max(times)
    if len(counted) == 1 and (measured := untrusted.mappings(counted[0].status.get("currentMetrics"))):
        status["currentMetrics"] = measured
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
