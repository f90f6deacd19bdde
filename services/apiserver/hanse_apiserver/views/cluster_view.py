"""The status of a Cluster, from what the registry has found out: pure.

Next: `hanse_apiserver.views.view`, which serves it.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from typing import Final

from google.protobuf.descriptor import EnumDescriptor

from hanse.api.registry.v1 import cluster_pb2 as registry
from hanse.api.type.v1 import condition_pb2
from hanse.federation.clusters import is_observed
from hanse.kube.model.objects import Object, mapping
from hanse.store.keys import ObjectKey
from hanse_apiserver.views.protojson import time_of, words

REMOVALS_PENDING: Final = "RemovalsPending"
"""Type of the condition of a cluster that has, or may have, copies of deleted objects."""
_NAMED: Final = 3


def with_status(
    intent: Object, cluster: registry.Cluster | None, *, left: Collection[ObjectKey] = ()
) -> Object:
    """Return a Cluster with its status; `cluster` is None while the registry has not seen it, and `left` are
    the names whose deleted objects have or may have left something there."""
    status = _status(intent, cluster)
    if left:
        status["conditions"].append(_removals(left))
    return {**intent, "status": status}


def _removals(left: Collection[ObjectKey]) -> Object:
    first = [str(key) for key in heapq.nsmallest(_NAMED, left)]
    more = f" and {len(left) - len(first)} more" if len(left) > len(first) else ""
    what = "deleted object is" if len(left) == 1 else "deleted objects are"
    return {
        "type": REMOVALS_PENDING,
        "status": "True",
        "reason": "ObjectsDeleted",
        "message": f"{len(left)} {what} not known to have left the cluster: {', '.join(first)}{more}; see "
        "`kubectl get tombstones,clustertombstones -A`",
    }


def _status(intent: Object, cluster: registry.Cluster | None) -> Object:
    if cluster is None:
        created = mapping(intent, "metadata").get("creationTimestamp")
        condition: Object = {
            "type": "Ready",
            "status": "Unknown",
            "reason": "NotProbed",
            "message": "the registry has not probed the cluster yet",
        }
        if created:
            condition["lastTransitionTime"] = created
        return {"state": "Pending", "conditions": [condition]}
    status: Object = {
        "state": _word(registry.ClusterState.DESCRIPTOR, cluster.state)
        or (str(cluster.state) if cluster.state else "Pending"),
        "conditions": [_condition(c) for c in cluster.conditions] or [_ready(cluster)],
    }
    if cluster.region:
        status["region"] = cluster.region
    if cluster.zones:
        status["zones"] = list(cluster.zones)
    if cluster.kubernetes_version:
        status["kubernetesVersion"] = cluster.kubernetes_version
    if cluster.cluster_id:
        status["clusterId"] = cluster.cluster_id
    if cluster.HasField("capacity"):
        capacity = cluster.capacity
        status["nodes"] = {"ready": capacity.ready_nodes, "total": capacity.total_nodes}
        if capacity.allocatable:
            status["allocatable"] = dict(sorted(capacity.allocatable.items()))
    return status


def _condition(condition: condition_pb2.Condition) -> Object:
    result: Object = {
        "type": condition.type,
        "status": _word(condition_pb2.ConditionStatus.DESCRIPTOR, condition.status) or "Unknown",
        "reason": condition.reason,
        "message": condition.message,
    }
    if changed := time_of(condition.last_transition_time):
        result["lastTransitionTime"] = changed
    return result


def _ready(cluster: registry.Cluster) -> Object:
    return {
        "type": "Ready",
        "status": "True" if is_observed(cluster) else "Unknown",
        "reason": _word(registry.ClusterState.DESCRIPTOR, cluster.state),
    }


def _word(enum: EnumDescriptor, number: int) -> str:
    """Return the word for a value; "" for none, and for one of a newer release."""
    known = enum.values_by_number.get(number) if number else None
    return words(known.name) if known is not None else ""
