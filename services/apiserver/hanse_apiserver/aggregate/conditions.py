"""Conditions of many members folded into one list: pure.

A condition holds for the federation if it holds in every counted cluster. One that speaks of trouble
(`ReplicaFailure`, `Failed`, ...) holds if it holds anywhere. "Unknown is not false": a cluster that cannot be
reached, or has not reported yet, makes a condition Unknown, not False, unless another says False. The whole
is what the object asks for, not what is placed: while replicas have no cluster, nothing holds for all of
them.

Next: `hanse_apiserver.aggregate.workloads`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from hanse.federation.clusters import CREDENTIAL_REFUSED
from hanse.kube.model import untrusted
from hanse.kube.model.objects import Object
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
UNPLACED: Final = "ReplicasUnplaced"
"""Reason where replicas have no cluster, or are refused by theirs."""

_RANK = {"False": 0, "Unknown": 1, "True": 2}
_DONE = {"NewReplicaSetAvailable": 1, "MinimumReplicasAvailable": 1}


class _Said(NamedTuple):
    cluster: str
    status: str
    reason: str
    message: str
    condition: Mapping[str, Any]


def fold(
    members: Sequence[Member],
    *,
    always: Sequence[str] = (),
    now: str = "",
    error: str = "",
    shortage: str = "",
) -> list[Object]:
    """Return the folded conditions of the counted `members`, by type in order of first appearance.

    Types in `always` are given even if no member has them yet. `now` is the time to say if no member
    gives one; `error` says why there are no clusters, if there are none; `shortage` that replicas have none.
    """
    counted = [(m, _by_type(m)) for m in members if m.counted]
    if not counted:
        return [_nowhere(kind, now, error) for kind in always]
    types = dict.fromkeys(kind for _, found in counted for kind in found)
    types.update(dict.fromkeys(always))
    return [folded for kind in types if (folded := _fold(kind, counted, now, shortage))]


_ByType = dict[str, Mapping[str, Any]]


def _by_type(member: Member) -> _ByType:
    """Return the member's conditions by type."""
    return dict(untrusted.conditions(member.status))


def _nowhere(kind: str, now: str, error: str) -> Object:
    condition: Object = {
        "type": kind,
        "status": "False",
        "reason": NO_CLUSTERS,
        "message": error or "no cluster is chosen for it; see its placement",
    }
    return condition | ({"lastTransitionTime": now} if now else {})


def _fold(kind: str, counted: Sequence[tuple[Member, _ByType]], now: str, shortage: str) -> Object | None:
    if kind in TROUBLE:
        said = [_said(m, found[kind], trouble=True) for m, found in counted if kind in found]
        if not said:
            return None
        worst = max(said, key=lambda s: _RANK[s.status])
    else:
        said = [_said(m, found[kind], trouble=False) if kind in found else _silent(m) for m, found in counted]
        if shortage:
            said.append(_Said("", "False", UNPLACED, shortage, _NOTHING))
        worst = min(said, key=lambda s: (_RANK[s.status], _DONE.get(s.reason, 0)))
    folded: Object = {"type": kind, "status": worst.status}
    if worst.reason:
        folded["reason"] = worst.reason
    folded["message"] = _message(
        worst, [s for s in said if s.status == worst.status], of=len(counted) + bool(shortage)
    )
    for name in untrusted.TIMES:
        times = [s.condition[name] for s in said if s.condition.get(name)]
        if times:
            folded[name] = max(times)
    if now and "lastTransitionTime" not in folded:
        folded["lastTransitionTime"] = now
    return folded


def _said(member: Member, condition: Mapping[str, Any], *, trouble: bool) -> _Said:
    """Return what a member says of a condition. What an unreachable one said last is no longer known."""
    if not trouble and not member.reports:
        return _Said(member.cluster, "Unknown", *_away(member), condition)
    return _Said(member.cluster, condition["status"], condition["reason"], condition["message"], condition)


def _away(member: Member) -> tuple[str, str]:
    """Return the reason and the message for a member that cannot be looked at."""
    if member.refused:
        return CREDENTIAL_REFUSED, "refuses the credential"
    return UNREACHABLE, "cannot be reached"


def _silent(member: Member) -> _Said:
    """Return why a member says nothing of a condition."""
    if not member.reachable:
        return _Said(member.cluster, "Unknown", *_away(member), _NOTHING)
    if member.phase in _UNDONE or member.contested:
        return _Said(member.cluster, "Unknown", member.reason or member.phase, member.message, _NOTHING)
    return _Said(member.cluster, "Unknown", NOT_REPORTED, "has not reported yet", _NOTHING)


_UNDONE: Final = frozenset({"Failed", "Conflict", "Waiting"})
_NOTHING: Final[Mapping[str, Any]] = {}


def _message(worst: _Said, same: Sequence[_Said], *, of: int) -> str:
    """Say what the members say, and which of them unless it is all."""
    if of == 1:
        return worst.message
    if len(same) == of and len({s.message for s in same}) == 1:
        return worst.message
    if worst.status == "True" and len(same) == of:
        return f"in all {of} clusters"
    return "; ".join(_words(s) for s in same[:4]) + (f"; and {len(same) - 4} more" if len(same) > 4 else "")


def _words(said: _Said) -> str:
    words = said.message or said.reason or said.status
    return f"{said.cluster}: {words}" if said.cluster else words
