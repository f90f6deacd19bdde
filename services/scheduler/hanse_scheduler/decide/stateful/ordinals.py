"""Which ordinals the Pods of a StatefulSet have in each cluster, if a policy wants them to differ.

Owns what the policy field `replicas.ordinalsPerCluster` means: the clusters have ranges of so many ordinals,
one range after another from the template's `spec.ordinals.start` on, so that a name such as db-100 exists
once in the federation. Rules:

- A cluster keeps its range for as long as the object is placed there: neither a rescale, nor a move of other
  clusters, nor a change of the policy renumbers what runs. Nor does the field for what was placed before it
  was asked for; the message says so.
- A new cluster gets the first range that no other has: what moves to another cluster keeps its names.
- No cluster runs more replicas than its range has ordinals, up to the next range that is kept; the others
  have no cluster.

Pure. Next: `hanse_scheduler.decide.decision`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.errors import InvalidArgumentError
from hanse.kube.kinds.kubernetes import apps
from hanse.kube.model.objects import Object, child
from hanse_scheduler.decide.planner import Preferences
from hanse_scheduler.decide.workloads import WORKLOADS, totals_of

_MOST: Final = 2**31 - 1
"""The largest ordinal: spec.ordinals.start is an int32."""


def rooms(clusters: Iterable[str], *, before: Mapping[str, ClusterPlacement], size: int) -> dict[str, int]:
    """Return how many ordinals each of `clusters` has: up to the range above that another keeps."""
    offsets = {name: entry.ordinal_offset for name, entry in before.items()}
    result: dict[str, int] = {}
    for name in clusters:
        own = offsets.get(name)
        above = [each - own for each in offsets.values() if own is not None and each > own]
        result[name] = min([size, *above])
    return result


def bounded(preferences: Preferences, *, most: Mapping[str, int]) -> Preferences:
    """Return preferences by which no cluster gets more replicas than `most` has for it."""
    own = {name: found for name in most if (found := preferences.of(name)) is not None}
    limits = {
        name: most[name] if each.max_replicas is None else min(each.max_replicas, most[name])
        for name, each in own.items()
    }
    kept = {
        name: replace(each, min_replicas=min(each.min_replicas, limits[name]), max_replicas=limits[name])
        for name, each in own.items()
    }
    return replace(preferences, clusters={**preferences.clusters, **kept})


def give_ordinals(
    obj: Object,
    clusters: Sequence[ClusterPlacement],
    *,
    before: Mapping[str, ClusterPlacement],
    size: int | None,
) -> None:
    """Set the range of each of `clusters`, which were made just now and have their replicas.

    `before` are the entries in force, `size` is the policy's number of ordinals for each cluster. Raises
    InvalidArgumentError if a cluster is to run more replicas than it has ordinals.
    """
    if not apps.STATEFUL_SET.matches(obj):
        return
    total = totals_of(obj, WORKLOADS[apps.STATEFUL_SET.group_plural]).replicas
    room = rooms([entry.cluster for entry in clusters], before=before, size=size) if size else {}
    taken: list[range] = []
    fresh: list[ClusterPlacement] = []
    for entry in clusters:
        known = before.get(entry.cluster)
        replicas = entry.replicas if entry.HasField("replicas") else total
        if replicas > room.get(entry.cluster, replicas) and not entry.suspended:
            raise InvalidArgumentError(
                f"{entry.cluster} is to run {replicas} replicas, and has {room[entry.cluster]} ordinals: "
                "make replicas.ordinalsPerCluster of the policy larger, or divide the replicas",
                reason="BAD_POLICY",
            )
        if known is None:
            fresh.append(entry)
            continue
        if known.HasField("ordinal_offset"):
            entry.ordinal_offset = known.ordinal_offset
        taken.append(range(entry.ordinal_offset, entry.ordinal_offset + max(size or 0, replicas)))
    if size is not None:
        for entry in sorted(fresh, key=lambda each: each.cluster):
            entry.ordinal_offset = _checked(_free(taken, size), entry.cluster)
            taken.append(range(entry.ordinal_offset, entry.ordinal_offset + size))
        _explain(obj, clusters, total=total)


def _checked(offset: int, cluster: str) -> int:
    if offset > _MOST:
        raise InvalidArgumentError(
            f"{cluster} would have the ordinals from {offset} on, and Kubernetes has none above {_MOST}: "
            "make replicas.ordinalsPerCluster of the policy smaller",
            reason="BAD_POLICY",
        )
    return offset


def _free(taken: Sequence[range], size: int) -> int:
    """Return the first multiple of `size` from which so many ordinals are free."""
    offset = 0
    for each in sorted(taken, key=lambda item: item.start):
        if each.start >= offset + size:
            break
        offset = max(offset, -(-each.stop // size) * size)
    return offset


def _explain(obj: Object, clusters: Sequence[ClusterPlacement], *, total: int) -> None:
    start = child(obj, "spec", "ordinals", "start")
    first = start if type(start) is int else 0
    shared = [entry.cluster for entry in clusters if not entry.HasField("ordinal_offset")]
    for entry in clusters:
        replicas = entry.replicas if entry.HasField("replicas") else total
        low = first + entry.ordinal_offset
        if replicas and not entry.suspended:
            entry.message += f"; its Pods have the ordinals {low} to {low + replicas - 1}"
        if entry.cluster in shared and len(shared) > 1:
            entry.message += ", as in other clusters: what runs is not renumbered"
