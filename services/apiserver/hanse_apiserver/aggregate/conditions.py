"""Conditions of many members folded into one list: pure.

A condition holds for the federation if it holds in every counted cluster. One that speaks of trouble
(`ReplicaFailure`, `Failed`, ...) holds if it holds anywhere. "Unknown is not false": a cluster that cannot be
reached, or has not reported yet, makes a condition Unknown, not False, unless another says False.

Next: `hanse_apiserver.aggregate.workloads`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hanse.kube.objects import Object
from hanse_apiserver.aggregate.members import Member

TROUBLE: Final = frozenset(
    {
        "ReplicaFailure", "Failed", "FailureTarget", "Degraded", "Stalled", "Reconciling", "DisruptionTarget",
        "MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable", "ScalingLimited", "Suspended",
    }
)  # fmt: skip
"""Types for which True is bad (or an exception): one cluster is enough."""

NOT_REPORTED: Final = "NotReported"
UNREACHABLE: Final = "ClusterUnreachable"
NO_CLUSTERS: Final = "NoClusters"

_RANK = {"False": 0, "Unknown": 1, "True": 2}
_DONE = {"NewReplicaSetAvailable": 1, "MinimumReplicasAvailable": 1}


@dataclass(frozen=True, slots=True)
class _Said:
    cluster: str
    status: str
    reason: str
    message: str
    condition: Mapping[str, Any]


def fold(
    members: Sequence[Member], *, always: Sequence[str] = (), now: str = "", error: str = ""
) -> list[Object]:
    """Return the folded conditions of the counted `members`, by type in order of first appearance.

    Types in `always` are given even if no member has them yet. `now` is the time to say if no member
    gives one; `error` says why there are no clusters, if there are none.
    """
    counted = [m for m in members if m.counted]
    types = dict.fromkeys([*(str(c["type"]) for m in counted for c in _conditions(m)), *always])
    if not counted:
        return [_nowhere(kind, now, error) for kind in always]
    return [folded for kind in types if (folded := _fold(kind, counted, now))]


def _nowhere(kind: str, now: str, error: str) -> Object:
    condition: Object = {
        "type": kind, "status": "False", "reason": NO_CLUSTERS,
        "message": error or "no cluster is chosen for it; see its placement",
    }  # fmt: skip
    return condition | ({"lastTransitionTime": now} if now else {})


def _conditions(member: Member) -> list[Mapping[str, Any]]:
    found = member.status.get("conditions")
    if not isinstance(found, list):
        return []
    return [c for c in found if isinstance(c, dict) and isinstance(c.get("type"), str)]


def _fold(kind: str, counted: Sequence[Member], now: str) -> Object | None:
    if kind in TROUBLE:
        said = [s for m in counted for s in _said_by(m, kind) if s.condition]
        if not said:
            return None
        worst = max(said, key=lambda s: _RANK.get(s.status, 1))
    else:
        said = [_only(m, kind) for m in counted]
        worst = min(said, key=lambda s: (_RANK.get(s.status, 1), _DONE.get(s.reason, 0)))
    same = [s for s in said if s.status == worst.status]
    folded: Object = {"type": kind, "status": worst.status}
    if worst.reason:
        folded["reason"] = worst.reason
    folded["message"] = _message(worst, same, of=len(counted))
    for name in ("lastUpdateTime", "lastTransitionTime", "lastProbeTime", "lastHeartbeatTime"):
        times = [str(s.condition[name]) for s in said if s.condition.get(name)]
        if times:
            folded[name] = max(times)
    if now and "lastTransitionTime" not in folded:
        folded["lastTransitionTime"] = now
    return folded


def _only(member: Member, kind: str) -> _Said:
    found = _said_by(member, kind)
    return found[0] if found else _Said(member.cluster, "Unknown", NOT_REPORTED, "has not reported yet", {})


def _said_by(member: Member, kind: str) -> list[_Said]:
    """Return what a member says of a condition. What an unreachable one said last is no longer known."""
    for condition in _conditions(member):
        if condition["type"] != kind:
            continue
        if not member.reports and kind not in TROUBLE:
            return [_Said(member.cluster, "Unknown", UNREACHABLE, "cannot be reached", condition)]
        status = str(condition.get("status"))
        return [
            _Said(
                member.cluster,
                status if status in _RANK else "Unknown",
                str(condition.get("reason") or ""),
                str(condition.get("message") or ""),
                condition,
            )
        ]
    if not member.reachable:
        return [_Said(member.cluster, "Unknown", UNREACHABLE, "cannot be reached", {})]
    if member.phase in ("Failed", "Conflict", "Waiting"):
        return [_Said(member.cluster, "Unknown", member.reason or member.phase, member.message, {})]
    return []


def _message(worst: _Said, same: Sequence[_Said], *, of: int) -> str:
    """Say what the members say, and which of them unless it is all."""
    if of == 1:
        return worst.message
    if len(same) == of and len({s.message for s in same}) == 1:
        return worst.message
    if worst.status == "True" and len(same) == of:
        return f"in all {of} clusters"
    return "; ".join(f"{s.cluster}: {s.message or s.reason or s.status}" for s in same[:4]) + (
        f"; and {len(same) - 4} more" if len(same) > 4 else ""
    )
