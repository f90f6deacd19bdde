"""Choosing some clusters of many: `maxClusters` and `spreadBy`.

Owns the order of preference: clusters that run the object already, then whatever spreads best over regions
or zones, then weight and hash as for replicas. A cluster that is chosen stays chosen while it may stay.
Pure.

Next: `hanse_scheduler.decide.decision`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from hanse_scheduler.decide.clusters import MemberCluster
from hanse_scheduler.decide.planner import Preferences, order
from hanse_scheduler.decide.policies import SpreadBy


def choose(
    candidates: Sequence[MemberCluster],
    *,
    limit: int,
    spread_by: SpreadBy,
    placed: Sequence[Collection[str]],
    preferences: Preferences,
    key: str,
) -> list[str]:
    """Return at most `limit` names (0: all) of the candidates.

    `placed` lists groups of names to prefer, the first group most. Among equals the one whose region or
    zones have the fewest chosen clusters so far is next.
    """
    if not limit or len(candidates) <= limit:
        return [cluster.name for cluster in candidates]
    ranked = order([cluster.name for cluster in candidates], preferences, key)
    rank = {name: place for place, name in enumerate(ranked)}
    used: Counter[str] = Counter()
    result: list[str] = []
    left = list(candidates)
    while left and len(result) < limit:

        def preference(cluster: MemberCluster) -> tuple[int, int, int, str]:
            group = next((i for i, names in enumerate(placed) if cluster.name in names), len(placed))
            crowd = min((used[domain] for domain in _domains(cluster, spread_by)), default=0)
            return group, crowd, rank.get(cluster.name, len(rank)), cluster.name

        best = min(left, key=preference)
        left.remove(best)
        result.append(best.name)
        used.update(_domains(best, spread_by))
    return result


def _domains(cluster: MemberCluster, spread_by: SpreadBy) -> tuple[str, ...]:
    if spread_by == "region":
        return (cluster.region,)
    if spread_by == "zone":
        return cluster.zones or (cluster.region,)
    return ()
