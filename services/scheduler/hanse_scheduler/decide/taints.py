"""Taints and tolerations of clusters, with Kubernetes' meaning of them.

Owns whether an object bears a cluster's taints, and for how long. NoSchedule keeps new objects out;
NoExecute also moves those that are there, at once if nothing tolerates it, after `tolerationSeconds` if
that is how long it is borne. Pure.

Next: `hanse_scheduler.decide.filtering`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hanse.errors import InvalidArgumentError
from hanse_scheduler.decide.clusters import ClusterTaint


@dataclass(frozen=True, slots=True)
class Toleration:
    """Bears taints. Empty `key` with `exists` is every taint; `seconds` None is for ever."""

    key: str = ""
    exists: bool = False
    value: str = ""
    effect: str = ""
    seconds: float | None = None

    def tolerates(self, taint: ClusterTaint) -> bool:
        """Return whether it is about this taint."""
        effect = "NoExecute" if taint.execute else "NoSchedule"
        if self.effect and self.effect != effect:
            return False
        if self.key and self.key != taint.key:
            return False
        return self.exists or (bool(self.key) and self.value == taint.value)


def toleration_from(item: Any, *, where: str) -> Toleration:
    """Return the toleration in decoded JSON. Raises InvalidArgumentError that begins with `where`."""
    if not isinstance(item, dict):
        raise InvalidArgumentError(f"{where} is not an object")
    operator = item.get("operator") or "Equal"
    if operator not in ("Equal", "Exists"):
        raise InvalidArgumentError(f"{where}.operator is {operator!r}: use Equal or Exists")
    effect = item.get("effect") or ""
    if effect not in ("", "NoSchedule", "NoExecute"):
        raise InvalidArgumentError(f"{where}.effect is {effect!r}: use NoSchedule or NoExecute, or omit it")
    key = item.get("key") or ""
    if not key and operator == "Equal":
        raise InvalidArgumentError(f"{where}.key is empty: name a taint, or use operator Exists")
    seconds = item.get("tolerationSeconds")
    if seconds is not None and type(seconds) is not int:
        raise InvalidArgumentError(f"{where}.tolerationSeconds is {seconds!r}, not a whole number")
    return Toleration(
        key=str(key),
        exists=operator == "Exists",
        value=str(item.get("value") or ""),
        effect=str(effect),
        seconds=None if seconds is None else max(0.0, float(seconds)),
    )


def keeps_out(taints: Sequence[ClusterTaint], tolerations: Sequence[Toleration]) -> ClusterTaint | None:
    """Return the first taint that keeps a new object out, None if there is none."""
    return next((taint for taint in taints if not any(item.tolerates(taint) for item in tolerations)), None)


def leaves_at(
    taints: Sequence[ClusterTaint], tolerations: Sequence[Toleration]
) -> tuple[float, ClusterTaint | None]:
    """Return when (seconds since the epoch) an object that is there must go, and because of which taint.

    `math.inf` and None if never, 0 if at once. Of several tolerations of one taint the shortest counts.
    """
    soonest, because = math.inf, None
    for taint in taints:
        if not taint.execute:
            continue
        bearing = [item for item in tolerations if item.tolerates(taint)]
        limits = [item.seconds for item in bearing if item.seconds is not None]
        if not bearing:
            when = 0.0
        elif limits:
            when = taint.added + min(limits)
        else:
            continue
        if when < soonest:
            soonest, because = when, taint
    return soonest, because
