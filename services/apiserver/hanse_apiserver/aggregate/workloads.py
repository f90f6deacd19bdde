"""Deployments, ReplicaSets, StatefulSets and DaemonSets: their pods summed over the clusters. Pure.

A rollout of the federated object is complete, by kubectl's rules, exactly when it is complete in every
counted cluster. The sums alone do not give that where every cluster runs the whole number (the first cluster
to finish would satisfy `updatedReplicas >= spec.replicas`), so `observedGeneration` is held one back while
the sums look complete and a cluster is not.

Rules of completeness: k8s.io/kubectl/pkg/polymorphichelpers/rollout_status.go.

Next: `hanse_apiserver.aggregate.fold`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hanse.kube.model import untrusted
from hanse.kube.model.objects import Object, mapping
from hanse_apiserver.aggregate import conditions
from hanse_apiserver.aggregate.generation import generation_of, observed_by, observed_generation
from hanse_apiserver.aggregate.members import Decision, Member, total

Complete = Callable[[Mapping[str, Any], int], bool]
"""Whether a status is that of a finished rollout to so many pods."""

_READY: Final = frozenset(
    {"readyReplicas", "availableReplicas", "numberReady", "numberAvailable", "fullyLabeledReplicas"}
)


def _count(status: Mapping[str, Any], name: str) -> int:
    return untrusted.count(status.get(name))


def deployment_complete(status: Mapping[str, Any], wanted: int) -> bool:
    """Report whether a Deployment's status says that its rollout is complete."""
    updated = _count(status, "updatedReplicas")
    return (
        updated >= wanted
        and _count(status, "replicas") <= updated
        and _count(status, "availableReplicas") >= updated
    )


def replica_set_complete(status: Mapping[str, Any], wanted: int) -> bool:
    """Report whether a ReplicaSet runs what it should."""
    return _count(status, "availableReplicas") >= wanted


def stateful_set_complete(status: Mapping[str, Any], wanted: int) -> bool:
    """Report whether a StatefulSet's status says that its rollout is complete."""
    return _count(status, "readyReplicas") >= wanted and status.get("updateRevision") == status.get(
        "currentRevision"
    )


def daemon_set_complete(status: Mapping[str, Any], wanted: int) -> bool:
    """Report whether a DaemonSet's status says that its rollout is complete."""
    desired = _count(status, "desiredNumberScheduled")
    return (
        _count(status, "updatedNumberScheduled") >= desired and _count(status, "numberAvailable") >= desired
    )


def deployment(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold Deployments. What a cluster has not made yet, or cannot be seen, counts as unavailable."""
    status = _sums(
        members, ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "terminatingReplicas")
    )
    unavailable = sum(_unavailable(m, obj) for m in members if m.counted)
    if unavailable:
        status["unavailableReplicas"] = unavailable
    status["conditions"] = conditions.fold(
        members, always=("Available", "Progressing"), now=now, error=decision.error
    )
    return _gated(obj, members, decision, status, deployment_complete)


def replica_set(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold ReplicaSets and ReplicationControllers."""
    names = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "terminatingReplicas")
    status = {"replicas": 0, **_sums(members, names)}
    status["conditions"] = conditions.fold(members, now=now)
    return _gated(obj, members, decision, status, replica_set_complete)


def stateful_set(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold StatefulSets. The revisions are equal only if they are equal in every cluster."""
    names = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    status = {"replicas": 0, "availableReplicas": 0, **_sums(members, names)}
    counted = [m for m in members if m.counted]
    current, update = _revisions(counted)
    if update:
        status["currentRevision"], status["updateRevision"] = current, update
    status["conditions"] = conditions.fold(members, now=now)
    return _gated(obj, members, decision, status, stateful_set_complete)


def daemon_set(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold DaemonSets."""
    names = (
        "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady",
        "updatedNumberScheduled", "numberAvailable",
    )  # fmt: skip
    required = dict.fromkeys(
        ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"), 0
    )
    status: Object = {**required, **_sums(members, names)}
    missing = status["desiredNumberScheduled"] - status.get("numberAvailable", 0)
    if missing > 0:
        status["numberUnavailable"] = missing
    status["conditions"] = conditions.fold(members, now=now)
    return _gated(obj, members, decision, status, daemon_set_complete)


def _sums(members: Sequence[Member], names: Sequence[str]) -> Object:
    """Sum numbers over the counted members; zero is left out, as Kubernetes does. Nobody unseen is ready."""
    counted = [m for m in members if m.counted]
    seen = [m for m in counted if m.reports]
    sums = ((name, total(seen if name in _READY else counted, name)) for name in names)
    return {name: value for name, value in sums if value}


def _unavailable(member: Member, obj: Object) -> int:
    if not member.phase:
        return member.wanted(obj)
    if not member.reports:
        return max(member.number("replicas"), 0 if member.status else member.wanted(obj))
    return member.number("unavailableReplicas")


def _revisions(counted: Sequence[Member]) -> tuple[str, str]:
    """Return currentRevision and updateRevision: hashes that differ between clusters where overrides do."""
    moving = [m for m in counted if m.status.get("currentRevision") != m.status.get("updateRevision")]
    if moving:
        return _revision(moving[0], "currentRevision"), _revision(moving[0], "updateRevision")
    revision = next((said for m in counted if (said := _revision(m, "updateRevision"))), "")
    return revision, revision


def _revision(member: Member, name: str) -> str:
    return untrusted.text(member.status.get(name), untrusted.MAX_WORD)


def _gated(
    obj: Object, members: Sequence[Member], decision: Decision, status: Object, complete: Complete
) -> Object:
    generation = generation_of(obj)
    observed = observed_generation(members, obj, decision)
    spec = mapping(obj, "spec").get("replicas")
    looks_complete = complete(status, spec if type(spec) is int else 1)
    if observed >= generation and looks_complete and not _all_complete(obj, members, decision, complete):
        observed = generation - 1
    if not status["conditions"]:
        del status["conditions"]
    return {"observedGeneration": max(0, observed), **status}


def _all_complete(obj: Object, members: Sequence[Member], decision: Decision, complete: Complete) -> bool:
    return all(
        m.reports
        and observed_by(m, obj, decision) >= generation_of(obj)
        and complete(m.status, m.wanted(obj))
        for m in members
        if m.counted
    )
