"""Deployments, ReplicaSets, StatefulSets and DaemonSets: their pods summed over the clusters. Pure.

A rollout of the federated object is complete, by kubectl's rules, exactly when it is complete in every
counted cluster. The sums alone do not give that where every cluster runs the whole number (the first cluster
to finish would satisfy `updatedReplicas >= spec.replicas`), so `observedGeneration` is held one back while
the sums look complete and a cluster is not. Pods count as updated only where the newest generation has been
observed: what a member that lags calls up to date is of the generation before. `desiredReplicas` is what all
clusters together are to run, which differs from `spec.replicas` where each runs the whole number.

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

Complete = Callable[[Mapping[str, Any], int, int], bool]
"""Whether a status is that of a finished rollout to so many pods, below the partition excepted."""

_READY: Final = frozenset(
    {"readyReplicas", "availableReplicas", "numberReady", "numberAvailable", "fullyLabeledReplicas"}
)
_UPDATED: Final = frozenset({"updatedReplicas", "updatedNumberScheduled"})


def _count(status: Mapping[str, Any], name: str) -> int:
    return untrusted.count(status.get(name))


def deployment_complete(status: Mapping[str, Any], wanted: int, partition: int = 0) -> bool:
    """Report whether a Deployment's status says that its rollout is complete."""
    updated = _count(status, "updatedReplicas")
    return (
        updated >= wanted
        and _count(status, "replicas") <= updated
        and _count(status, "availableReplicas") >= updated
    )


def replica_set_complete(status: Mapping[str, Any], wanted: int, partition: int = 0) -> bool:
    """Report whether a ReplicaSet runs what it should."""
    return _count(status, "availableReplicas") >= wanted


def partitioned_complete(status: Mapping[str, Any], wanted: int, partition: int = 0) -> bool:
    """Report whether a StatefulSet's status says that its rollout down to the partition is complete."""
    ready, updated = _count(status, "readyReplicas"), _count(status, "updatedReplicas")
    return ready >= wanted and updated >= wanted - partition


def stateful_set_complete(status: Mapping[str, Any], wanted: int, partition: int = 0) -> bool:
    """Report whether the status of a StatefulSet without a partition says that its rollout is complete."""
    return _count(status, "readyReplicas") >= wanted and status.get("updateRevision") == status.get(
        "currentRevision"
    )


def never_rolls(status: Mapping[str, Any], wanted: int, partition: int = 0) -> bool:
    """Report that what is updated when somebody deletes Pods (OnDelete) has no rollout that could be open."""
    return True


def daemon_set_complete(status: Mapping[str, Any], wanted: int, partition: int = 0) -> bool:
    """Report whether a DaemonSet's status says that its rollout is complete."""
    desired = _count(status, "desiredNumberScheduled")
    return (
        _count(status, "updatedNumberScheduled") >= desired and _count(status, "numberAvailable") >= desired
    )


def deployment(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold Deployments. What a cluster has not made yet, or cannot be seen, counts as unavailable."""
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "terminatingReplicas")
    status = _desired(obj, members, decision) | _sums(obj, members, decision, names)
    unavailable = sum(_unavailable(m, obj) for m in members if m.counted) + decision.unplaced
    if unavailable:
        status["unavailableReplicas"] = unavailable
    status["conditions"] = conditions.fold(
        members,
        always=("Available", "Progressing"),
        now=now,
        error=decision.error,
        shortage=_shortage(obj, members, decision),
    )
    return _gated(obj, members, decision, status, deployment_complete)


def replica_set(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold ReplicaSets and ReplicationControllers."""
    names = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "terminatingReplicas")
    status = {"replicas": 0, **_desired(obj, members, decision), **_sums(obj, members, decision, names)}
    status["conditions"] = conditions.fold(members, now=now, shortage=_shortage(obj, members, decision))
    return _gated(obj, members, decision, status, replica_set_complete)


def stateful_set(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold StatefulSets. The revisions are equal only if they are equal in every cluster."""
    names = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")
    status = {
        "replicas": 0,
        "availableReplicas": 0,
        **_desired(obj, members, decision),
        **_sums(obj, members, decision, names),
    }
    counted = [m for m in members if m.counted]
    current, update = _revisions(counted)
    if update:
        status["currentRevision"], status["updateRevision"] = current, update
    # Of a cluster that is done all Pods are of its current revision, which is the new one elsewhere.
    old = [m for m in counted if current == update or _revision(m, "currentRevision") == current]
    if replicas := total(old, "currentReplicas"):
        status["currentReplicas"] = replicas
    status["conditions"] = conditions.fold(members, now=now, shortage=_shortage(obj, members, decision))
    strategy = mapping(obj, "spec", "updateStrategy")
    complete: Complete = stateful_set_complete
    if strategy.get("type") == "OnDelete":
        complete = never_rolls
    elif type(mapping(strategy, "rollingUpdate").get("partition")) is int:
        complete = partitioned_complete
    return _gated(obj, members, decision, status, complete)


def daemon_set(obj: Object, members: Sequence[Member], decision: Decision, now: str) -> Object:
    """Fold DaemonSets."""
    names = (
        "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady",
        "updatedNumberScheduled", "numberAvailable",
    )  # fmt: skip
    required = dict.fromkeys(
        ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"), 0
    )
    status: Object = {**required, **_sums(obj, members, decision, names)}
    missing = status["desiredNumberScheduled"] - status.get("numberAvailable", 0)
    if missing > 0:
        status["numberUnavailable"] = missing
    status["conditions"] = conditions.fold(members, now=now)
    rolls = mapping(obj, "spec", "updateStrategy").get("type") != "OnDelete"
    return _gated(obj, members, decision, status, daemon_set_complete if rolls else never_rolls)


def _sums(obj: Object, members: Sequence[Member], decision: Decision, names: Sequence[str]) -> Object:
    """Sum numbers over the counted members; zero is left out, as Kubernetes does.

    Nobody unseen is ready, and nobody that has not observed the newest generation is updated to it.
    """
    counted = [m for m in members if m.counted]
    seen = [m for m in counted if m.reports]
    current = [m for m in counted if observed_by(m, obj, decision, told=True) >= generation_of(obj)]
    of = dict.fromkeys(_READY, seen) | dict.fromkeys(_UPDATED, current)
    sums = ((name, total(of.get(name, counted), name)) for name in names)
    return {name: value for name, value in sums if value}


def _desired(obj: Object, members: Sequence[Member], decision: Decision) -> Object:
    """Return how many Pods are asked for in all: those of each cluster, and those that have none."""
    counted = [m for m in members if m.counted]
    if not counted and not decision.unplaced:
        return {}
    return {"desiredReplicas": sum(m.asked(obj) for m in counted) + decision.unplaced}


def _shortage(obj: Object, members: Sequence[Member], decision: Decision) -> str:
    """Return which replicas are asked for and in no cluster, "" for none.

    They have no cluster, or their cluster refuses them: there the object is content with fewer.
    """
    said = [decision.shortage] if decision.shortage else []
    for member in members:
        refuses = member.counted and (member.contested or member.phase in ("Failed", "Conflict"))
        if refuses and member.replicas is not None and member.replicas < member.asked(obj):
            said.append(f"{member.cluster} is to run {member.asked(obj)} replicas, and has {member.replicas}")
    return "; ".join(said)


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
    observed = observed_generation(members, obj, decision, told=True)
    spec = mapping(obj, "spec").get("replicas")
    looks_complete = complete(status, spec if type(spec) is int else 1, _partition(obj))
    if observed >= generation and looks_complete and not _all_complete(obj, members, decision, complete):
        observed = generation - 1
    if not status["conditions"]:
        del status["conditions"]
    return {"observedGeneration": max(0, observed), **status}


def _all_complete(obj: Object, members: Sequence[Member], decision: Decision, complete: Complete) -> bool:
    return all(
        m.reports
        and observed_by(m, obj, decision, told=True) >= generation_of(obj)
        and complete(
            m.status,
            max(m.wanted(obj), m.asked(obj)),
            _partition(obj) if m.partition is None else m.partition,
        )
        for m in members
        if m.counted
    )


def _partition(obj: Object) -> int:
    value = mapping(obj, "spec", "updateStrategy", "rollingUpdate").get("partition")
    return value if type(value) is int else 0
