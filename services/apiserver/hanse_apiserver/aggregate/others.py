"""Every other kind: Services, Ingresses, claims, autoscalers, budgets, and what nobody here knows.
Pure.

Each function gives the status of the federated object from its members'. `generic` is for kinds without a
rule of their own, custom resources among them: conditions are folded, what all members say alike is at the
top, the rest is per cluster.

Next: `hanse_apiserver.aggregate.fold`, which chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hanse.errors import InvalidArgumentError
from hanse.kube.model import untrusted
from hanse.kube.model.objects import Object, mapping
from hanse.kube.model.quantity import Quantity
from hanse_apiserver.aggregate import agreed, conditions
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

    The capacity is the smallest, and the access modes are those of all volumes: what a Pod can count on
    wherever it runs.
    """
    counted = [m for m in members if m.counted]
    phases = {untrusted.text(m.status.get("phase")) or "Pending" for m in counted}
    phase = "Lost" if "Lost" in phases else "Bound" if phases == {"Bound"} else "Pending"
    status: Object = {"phase": phase}
    said = [modes for m in counted if (modes := _texts(m.status.get("accessModes")))]
    if modes := [mode for mode in said[0] if all(mode in each for each in said)] if said else []:
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
        "currentReplicas": total(counted, "currentReplicas"),
        "desiredReplicas": total(counted, "desiredReplicas"),
    }
    if any("observedGeneration" in m.status for m in counted):  # Kubernetes' controller does not say it
        status["observedGeneration"] = max(0, observed_generation(members, obj, decision, told=True))
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
    observed = max(0, observed_generation(members, obj, decision, told=True))
    status: Object = {
        "observedGeneration": observed,
        "currentHealthy": total(seen, "currentHealthy"),
        "desiredHealthy": total(counted, "desiredHealthy"),
        "disruptionsAllowed": total(seen, "disruptionsAllowed"),
        "expectedPods": total(counted, "expectedPods"),
    }
    folded = _dated(conditions.fold(members, now=now), counted, observed)
    return status | ({"conditions": folded} if folded else {})


def stored(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Keep the status that is stored: the federation itself says it (namespaces, CRDs)."""
    return mapping(obj, "status")


def generic(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold a kind that nobody here knows: what all members say alike, with their conditions folded.

    What was stored stays underneath, as far as no member says something else. `observedGeneration` is given
    if a member gives one; each condition has it, so that `kubectl wait` does not take an old one for new.
    """
    counted = [m for m in members if m.counted]
    told = any("observedGeneration" in m.status for m in counted)
    observed = max(0, observed_generation(members, obj, decision, told=told))
    said = {name for m in counted for name in m.status}
    status = {name: value for name, value in mapping(obj, "status").items() if name not in said}
    status |= agreed.fields(counted, decision.status_fields)
    if told:
        status["observedGeneration"] = observed
    if folded := conditions.fold(members, now=now):
        status["conditions"] = _dated(folded, counted, observed)
    return status


def _dated(folded: Sequence[Object], counted: Sequence[Member], observed: int) -> list[Object]:
    """Return the folded conditions with the generation of the federation's object that they are of."""
    old = {kind for m in counted for kind in _outdated(m)}
    return [{**each, "observedGeneration": max(0, observed - (each["type"] in old))} for each in folded]


def _outdated(member: Member) -> set[str]:
    """Return the types of the member's conditions that say that they are of an older generation there."""
    return {
        untrusted.text(each.get("type"), untrusted.MAX_WORD)
        for each in untrusted.mappings(member.status.get("conditions"))
        if "observedGeneration" in each
        and untrusted.generation(each["observedGeneration"]) < member.member_generation
    }
