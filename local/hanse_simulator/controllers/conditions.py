"""Status conditions: setting them as Kubernetes' controllers do.

Pure functions. A condition keeps its lastTransitionTime while its status stays the same, so that writing the
same thing again changes nothing. Next: the controllers in `hanse_simulator.workloads`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Condition = dict[str, Any]


def set_condition(
    conditions: Iterable[Mapping[str, Any]],
    kind: str,
    *,
    status: bool | None,
    reason: str = "",
    message: str = "",
    now: str,
    updated: bool = False,
) -> list[Condition]:
    """Return the conditions with the one of this type set.

    `status` None is Unknown. `updated` keeps lastUpdateTime too, which changes with reason and message.
    """
    result = [dict(c) for c in conditions]
    old = next((c for c in result if c.get("type") == kind), None)
    text = {True: "True", False: "False", None: "Unknown"}[status]
    new: Condition = {"type": kind, "status": text, "lastTransitionTime": now}
    if updated:
        new["lastUpdateTime"] = now
    if reason:
        new["reason"] = reason
    if message:
        new["message"] = message
    if old is None:
        return [*result, new]
    if old.get("status") == text:
        new["lastTransitionTime"] = old.get("lastTransitionTime", now)
        if updated and (old.get("reason"), old.get("message")) == (new.get("reason"), new.get("message")):
            new["lastUpdateTime"] = old.get("lastUpdateTime", now)
    result[result.index(old)] = new
    return result


def without(conditions: Sequence[Mapping[str, Any]], kind: str) -> list[Condition]:
    """Return the conditions but for one type."""
    return [dict(c) for c in conditions if c.get("type") != kind]
