"""Federation v1's replica planner: how a number of replicas is divided over clusters.

Owns the arithmetic and nothing else: no clusters' health, no policies, no I/O. The algorithm and its order
of operations are `federation/pkg/federation-controller/util/planner/planner.go` of Kubernetes 1.8; a change
here moves people's workloads. Pure: any task may call it.

Next: `hanse_scheduler.decide.preferences`, which reads what people write into a `Preferences`;
`hanse_scheduler.decide.division`, which feeds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

ANY_CLUSTER = "*"
"""Name in `Preferences.clusters` that speaks for every cluster without an entry of its own."""

_FNV_OFFSET = 0x811C9DC5
_FNV_PRIME = 0x01000193


@dataclass(frozen=True, slots=True)
class ClusterPreference:
    """What one cluster should get: at least, at most (None: no limit), and its share of the rest."""

    min_replicas: int = 0
    max_replicas: int | None = None
    weight: int = 0


@dataclass(frozen=True, slots=True)
class Preferences:
    """How replicas are divided. Without `rebalance`, replicas that run somewhere stay where they run."""

    clusters: Mapping[str, ClusterPreference] = field(default_factory=dict)
    rebalance: bool = False

    def of(self, cluster: str) -> ClusterPreference | None:
        """Return the cluster's own preference, else that of `*`, else None: it gets nothing."""
        return self.clusters.get(cluster) or self.clusters.get(ANY_CLUSTER)


DEFAULT_PREFERENCES = Preferences(clusters={ANY_CLUSTER: ClusterPreference(weight=1)})
"""What holds where nobody said anything: an equal share for every cluster."""


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """Replicas by cluster that should run there, and by cluster those that its capacity cut off.

    A cluster is told `plan + overflow`: the replicas that it cannot run yet stay asked for, so that its
    capacity remains visible.
    """

    replicas: Mapping[str, int]
    overflow: Mapping[str, int]

    def targets(self) -> dict[str, int]:
        """Return what each cluster is told."""
        return {name: count + self.overflow.get(name, 0) for name, count in self.replicas.items()}


def fnv1_32(data: bytes) -> int:
    """Return the 32-bit FNV-1 hash (multiply, then xor: not FNV-1a); Go's `hash/fnv.New32`."""
    value = _FNV_OFFSET
    for byte in data:
        value = (value * _FNV_PRIME & 0xFFFFFFFF) ^ byte
    return value


def order(clusters: Iterable[str], preferences: Preferences, key: str) -> list[str]:
    """Return the clusters that have a preference, heaviest first, equal ones by the hash of name and key.

    The hash spreads the remainders of many objects over the clusters. `key` is `namespace/name`.
    """

    def rank(name: str) -> tuple[int, int, str]:
        preference = preferences.of(name)
        return -(preference.weight if preference else 0), fnv1_32(f"{name}{key}".encode()), name

    return sorted((name for name in clusters if preferences.of(name) is not None), key=rank)


def plan(
    total: int,
    *,
    clusters: Iterable[str],
    preferences: Preferences = DEFAULT_PREFERENCES,
    current: Mapping[str, int] | None = None,
    capacity: Mapping[str, int] | None = None,
    key: str = "",
) -> ReplicaPlan:
    """Return how `total` replicas are divided over `clusters`.

    `current` is how many run where now, `capacity` how many can run in a cluster that is known to be full;
    a cluster that is absent from either has none, and no limit. The result names every cluster of
    `clusters`. The sum of `replicas` never exceeds `total`.
    """
    names = list(clusters)
    limits = capacity or {}
    running = current or {}
    ordered = order(names, preferences, key)
    chosen = {name: preferences.of(name) or ClusterPreference() for name in ordered}
    result = dict.fromkeys(names, 0)
    remaining = total

    for name in ordered:
        grant = min(chosen[name].min_replicas, remaining, limits.get(name, remaining))
        result[name] = grant
        remaining -= grant

    kept: dict[str, int] = {}
    if not preferences.rebalance:
        remaining = _keep_running(
            ordered,
            chosen=chosen,
            running=running,
            limits=limits,
            result=result,
            kept=kept,
            remaining=remaining,
        )

    overflow: dict[str, int] = {}
    remaining = _share_out(
        ordered,
        chosen=chosen,
        limits=limits,
        result=result,
        kept=kept,
        overflow=overflow,
        remaining=remaining,
    )
    if not preferences.rebalance:
        trimmed = ((name, min(count, remaining)) for name, count in overflow.items())
        overflow = {name: count for name, count in trimmed if count > 0}
    return ReplicaPlan(replicas=result, overflow=overflow)


def _keep_running(
    ordered: list[str],
    *,
    chosen: Mapping[str, ClusterPreference],
    running: Mapping[str, int],
    limits: Mapping[str, int],
    result: dict[str, int],
    kept: dict[str, int],
    remaining: int,
) -> int:
    """Let clusters that run more than their minimum keep it ("preallocated"); return what remains."""
    for name in ordered:
        planned = result[name]
        target = running.get(name, 0)
        if target <= planned:
            continue
        maximum = chosen[name].max_replicas
        if maximum is not None:
            target = min(maximum, target)
        target = min(target, limits.get(name, target))
        extra = max(0, min(target - planned, remaining))
        remaining -= extra
        kept[name] = extra
        result[name] = planned + extra
    return remaining


def _share_out(
    ordered: list[str],
    *,
    chosen: Mapping[str, ClusterPreference],
    limits: Mapping[str, int],
    result: dict[str, int],
    kept: dict[str, int],
    overflow: dict[str, int],
    remaining: int,
) -> int:
    """Share what remains by weight, in rounds, until nothing remains or nothing moves; return what remains.

    Each round offers a cluster its share of what remained when the round began. What a cluster keeps
    already counts towards its shares first. A cluster that reaches its maximum or capacity drops out.
    """
    moved = True
    while moved and remaining > 0:
        moved = False
        weights = sum(chosen[name].weight for name in ordered)
        if weights <= 0:
            break
        offered = remaining
        still_in: list[str] = []
        for name in ordered:
            start = result[name]
            extra = min(-(-offered * chosen[name].weight // weights), remaining)
            used = min(extra, kept.get(name, 0))
            if used > 0:
                kept[name] -= used
                moved = True
            wanted = start + extra - used
            maximum = chosen[name].max_replicas
            full = maximum is not None and wanted > maximum
            if maximum is not None and full:
                wanted = maximum
            limit = limits.get(name)
            if limit is not None and wanted > limit:
                overflow[name] = wanted - limit
                wanted, full = limit, True
            if not full:
                still_in.append(name)
            remaining -= wanted - start
            result[name] = wanted
            moved = moved or wanted > start
        ordered = still_in
    return remaining
