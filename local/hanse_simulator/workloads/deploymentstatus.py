"""A Deployment's status, from its ReplicaSets: counts, and the conditions Available and Progressing.

Pure functions, after Kubernetes' pkg/controller/deployment. Next: `hanse_simulator.workloads.deployments`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from hanse.kube.model.objects import Object, mapping, name_of, sequence
from hanse_simulator.controllers.conditions import set_condition
from hanse_simulator.workloads import rollout
from hanse_simulator.world import generation_of, parse_time, seconds_until

_NO_DEADLINE = 2**31 - 1
"""The progressDeadlineSeconds that means none."""


def status_of(deployment: Object, sets: Sequence[Object], new: Object | None, *, now: str) -> dict[str, Any]:
    """Return the status of a Deployment with these ReplicaSets, `new` being the one of its template."""
    replicas = int(mapping(deployment, "spec").get("replicas", 1))
    total, available = _sum(sets, "replicas"), _sum(sets, "availableReplicas")
    updated = _sum([new] if new else [], "replicas")
    counts = {
        "replicas": total,
        "updatedReplicas": updated,
        "readyReplicas": _sum(sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(_wanted(s) for s in sets) - available),
    }
    status: dict[str, Any] = {"observedGeneration": generation_of(deployment)}
    status |= {name: count for name, count in counts.items() if count}
    for kept in ("collisionCount",):
        if kept in mapping(deployment, "status"):
            status[kept] = mapping(deployment, "status")[kept]
    conditions = _available(deployment, replicas, available, now=now)
    complete = updated == replicas and total == replicas and available >= replicas
    status["conditions"] = _progressing(deployment, conditions, status, new, complete=complete, now=now)
    return status


def progress_wait(deployment: Object, status: dict[str, Any], *, now: datetime) -> float | None:
    """Return in how many seconds a rollout that is under way misses its deadline; None if it cannot."""
    deadline = int(mapping(deployment, "spec").get("progressDeadlineSeconds", _NO_DEADLINE))
    if deadline == _NO_DEADLINE or rollout.paused(deployment):
        return None
    for condition in status["conditions"]:
        if condition["type"] == "Progressing" and condition["reason"] in _UNDER_WAY:
            return max(1.0, seconds_until(parse_time(condition["lastUpdateTime"]), deadline, now) + 1.0)
    return None


_UNDER_WAY = frozenset(
    {"NewReplicaSetCreated", "ReplicaSetUpdated", "FoundNewReplicaSet", "DeploymentResumed"}
)


def _available(deployment: Object, replicas: int, available: int, *, now: str) -> list[dict[str, Any]]:
    enough = available >= replicas - rollout.bounds(deployment).unavailable
    return set_condition(
        sequence(deployment, "status", "conditions"),
        "Available",
        status=enough,
        reason="MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        message=f"Deployment {'has' if enough else 'does not have'} minimum availability.",
        now=now,
        updated=True,
    )


def _progressing(
    deployment: Object,
    conditions: list[dict[str, Any]],
    status: dict[str, Any],
    new: Object | None,
    *,
    complete: bool,
    now: str,
) -> list[dict[str, Any]]:
    known = next((c for c in conditions if c["type"] == "Progressing"), None)
    if rollout.paused(deployment):
        if known is not None and known["reason"] == "DeploymentPaused":
            return conditions
        return set_condition(
            conditions, "Progressing", status=None, reason="DeploymentPaused",
            message="Deployment is paused", now=now, updated=True,
        )  # fmt: skip
    named = f'ReplicaSet "{name_of(new)}"' if new else "The new ReplicaSet"
    if complete:
        return set_condition(
            conditions, "Progressing", status=True, reason="NewReplicaSetAvailable",
            message=f"{named} has successfully progressed.", now=now, updated=True,
        )  # fmt: skip
    same = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    if known is not None and known["reason"] == "NewReplicaSetAvailable" and same:
        return conditions  # a rollout that was complete stays so when a Pod is lost or the number changes
    if known is not None and not _moved(deployment, status) and known["reason"] not in _SETTLED:
        late = _late(deployment, known, now=now)
        if not late:
            return conditions
        return set_condition(
            conditions, "Progressing", status=False, reason="ProgressDeadlineExceeded",
            message=f"{named} has timed out progressing.", now=now, updated=True,
        )  # fmt: skip
    reason = "NewReplicaSetCreated" if known is None else "ReplicaSetUpdated"
    message = f"{named} is progressing."
    if known is None and new:
        message = f'Created new replica set "{name_of(new)}"'
    changed = set_condition(
        conditions, "Progressing", status=True, reason=reason, message=message, now=now, updated=True
    )
    return [{**c, "lastUpdateTime": now} if c["type"] == "Progressing" else c for c in changed]


_SETTLED = frozenset({"NewReplicaSetAvailable", "DeploymentPaused"})


def _moved(deployment: Object, status: dict[str, Any]) -> bool:
    """Report whether a rollout has come further since the last status: more new Pods, or fewer old ones."""
    old = mapping(deployment, "status")

    def count(source: dict[str, Any], name: str) -> int:
        return int(source.get(name) or 0)

    older = count(status, "replicas") - count(status, "updatedReplicas")
    older_before = count(old, "replicas") - count(old, "updatedReplicas")
    return (
        count(status, "updatedReplicas") > count(old, "updatedReplicas")
        or older < older_before
        or count(status, "readyReplicas") > count(old, "readyReplicas")
        or count(status, "availableReplicas") > count(old, "availableReplicas")
        or int(old.get("observedGeneration") or 0) != status["observedGeneration"]
    )


def _late(deployment: Object, progressing: dict[str, Any], *, now: str) -> bool:
    if progressing["reason"] == "ProgressDeadlineExceeded":
        return True
    deadline = int(mapping(deployment, "spec").get("progressDeadlineSeconds", _NO_DEADLINE))
    if deadline == _NO_DEADLINE:
        return False
    return seconds_until(parse_time(progressing["lastUpdateTime"]), deadline, parse_time(now)) < 0


def _sum(sets: Sequence[Object], count: str) -> int:
    return sum(int(mapping(s, "status").get(count) or 0) for s in sets)


def _wanted(replica_set: Object) -> int:
    return int(mapping(replica_set, "spec").get("replicas", 1))
