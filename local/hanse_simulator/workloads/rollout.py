"""The arithmetic of a Deployment's rolling update. Pure functions.

The rules are those of Kubernetes' deployment controller (pkg/controller/deployment): how far a new
ReplicaSet may grow and old ones may shrink with maxSurge and maxUnavailable, and how a change of the number
of replicas in the middle of a rollout is shared out. Next: `hanse_simulator.workloads.deployments`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hanse.kube.model.objects import Object, mapping


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many Pods more than wanted there may be, and how many fewer may be available."""

    surge: int
    unavailable: int


@dataclass(frozen=True, slots=True)
class Replicas:
    """One ReplicaSet as a rollout sees it: its name, how many it wants, has and has available."""

    name: str
    wanted: int
    available: int = 0


def bounds(deployment: Object) -> Bounds:
    """Return the limits of a Deployment's rollout in Pods; 0 surge for Recreate."""
    spec = mapping(deployment, "spec")
    replicas = int(spec.get("replicas", 1))
    if mapping(spec, "strategy").get("type") == "Recreate":
        return Bounds(0, replicas)
    rolling = mapping(spec, "strategy", "rollingUpdate")
    surge = scaled(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = scaled(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    if not surge and not unavailable:
        unavailable = 1
    return Bounds(surge, min(unavailable, replicas))


def scaled(value: int | str, total: int, *, up: bool) -> int:
    """Return a number, or a percentage of `total` rounded up or down."""
    if isinstance(value, int):
        return value
    text = value.strip()
    if not text.endswith("%"):
        return int(text)
    product = int(text[:-1]) * total
    return -(-product // 100) if up else product // 100


def grow(new: Replicas, others: Sequence[Replicas], *, replicas: int, limits: Bounds) -> int:
    """Return how many Pods the new ReplicaSet should want now."""
    if new.wanted >= replicas:
        return replicas
    current = new.wanted + sum(o.wanted for o in others)
    room = replicas + limits.surge - current
    return new.wanted + max(0, min(room, replicas - new.wanted))


def shrink(new: Replicas, olds: Sequence[Replicas], *, replicas: int, limits: Bounds) -> dict[str, int]:
    """Return how many Pods each old ReplicaSet should want now; only those that change. `olds`: oldest first.

    Pods that are not available go first; then available ones, as far as enough stay available.
    """
    wanted = {o.name: o.wanted for o in olds}
    least = replicas - limits.unavailable
    total = new.wanted + sum(wanted.values())
    budget = total - least - max(0, new.wanted - new.available)
    if budget <= 0:
        return {}
    cleaned = 0
    for old in olds:
        gone = min(budget - cleaned, max(0, wanted[old.name] - old.available))
        wanted[old.name] -= gone
        cleaned += gone
    spare = new.available + sum(o.available for o in olds) - least
    for old in olds:
        gone = min(max(0, spare), wanted[old.name])
        wanted[old.name] -= gone
        spare -= gone
    return {o.name: wanted[o.name] for o in olds if wanted[o.name] != o.wanted}


def share(sets: Sequence[Replicas], *, total: int) -> dict[str, int]:
    """Return how many Pods each ReplicaSet gets of `total`, in proportion to what they want now.

    The order of `sets` decides who gets what rounding leaves over; nobody goes below 0.
    """
    current = sum(s.wanted for s in sets)
    if not current:
        return {}
    result = {s.name: s.wanted * total // current for s in sets}
    left = total - sum(result.values())
    for one in sorted(sets, key=lambda s: -s.wanted):
        if left <= 0:
            break
        result[one.name] += 1
        left -= 1
    return result


def paused(deployment: Mapping[str, Any]) -> bool:
    """Report whether the rollout is held."""
    return bool(mapping(deployment, "spec").get("paused"))
