"""How a StatefulSet's update partition is divided with its replicas.

Owns the division of `spec.updateStrategy.rollingUpdate.partition`. A partition of P out of N replicas says
that the P Pods of the lowest ordinals stay as they are and the other N - P are updated. Each cluster counts
ordinals of its own, so with the template's number everywhere a set of 4 with partition 2 in two clusters of 2
would never update a Pod. Rules:

- The partitions of all clusters add up to P, and none is larger than the cluster's replicas: exactly N - P
  Pods update. While replicas have no cluster, the P stay and fewer update.
- Each cluster keeps a part of P that is in proportion to its replicas. A smaller P never makes the partition
  of a cluster larger: no Pod that was updated goes back.
- A partition of N or more updates nothing, whatever replicas come: each cluster gets it as it is.

The seats of parliaments are divided alike: this is Webster's method, with the replicas as votes.

Pure. Next: `hanse_scheduler.decide.decision`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.kube.kinds.kubernetes import apps
from hanse.kube.model.objects import Object, mapping
from hanse_scheduler.decide.workloads import WORKLOADS, totals_of


def partition_of(obj: Object) -> int:
    """Return the partition that the object asks for; 0 for objects of other kinds and other strategies."""
    if not apps.STATEFUL_SET.matches(obj):
        return 0
    strategy = mapping(obj, "spec", "updateStrategy")
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return 0
    value = mapping(strategy, "rollingUpdate").get("partition")
    return value if type(value) is int and value > 0 else 0


def divided(partition: int, *, asked: int, replicas: Mapping[str, int]) -> dict[str, int]:
    """Return the partition of each cluster for `replicas` by cluster, out of `asked` in all."""
    if partition >= asked:
        return dict.fromkeys(replicas, partition)
    running = sum(replicas.values())
    kept = min(partition, running)
    names = sorted(replicas)
    # So many units below the total, each cluster has at most what the method gives it in the end.
    base = max(0, kept - len(names))
    result = {
        name: min(replicas[name], (2 * base * replicas[name] + running) // (2 * running)) if running else 0
        for name in names
    }
    for _ in range(kept - sum(result.values())):
        open_ = [name for name in names if result[name] < replicas[name]]
        # The quotients replicas / (2 * partition + 1), compared without fractions.
        best = open_[0]
        for name in open_[1:]:
            if replicas[name] * (2 * result[best] + 1) > replicas[best] * (2 * result[name] + 1):
                best = name
        result[best] += 1
    return result


def divide_partition(
    obj: Object, clusters: Sequence[ClusterPlacement], *, before: Mapping[str, ClusterPlacement]
) -> None:
    """Set the partition of each of `clusters`, which were made just now and have their replicas.

    A suspended cluster is left as it is: it keeps the partition that it has in `before`.
    """
    partition = partition_of(obj)
    for entry in clusters:
        known = before.get(entry.cluster)
        if entry.suspended and known is not None and known.HasField("partition"):
            entry.partition = known.partition
    active = [entry for entry in clusters if not entry.suspended and entry.HasField("replicas")]
    if not partition or not active:
        return
    asked = totals_of(obj, WORKLOADS[apps.STATEFUL_SET.group_plural]).replicas
    shares = divided(partition, asked=asked, replicas={entry.cluster: entry.replicas for entry in active})
    for entry in active:
        entry.partition = shares[entry.cluster]
        kept = min(entry.partition, entry.replicas)
        if kept:
            entry.message += f"; the lowest {kept} of {entry.replicas} keep the revision that they have"
