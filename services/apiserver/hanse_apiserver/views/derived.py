"""Placements, sync states and tombstones as read-only Kubernetes resources: `kubectl get placements`.

Owns their names (`deployments.apps.web`, and `deployments.apps.web.eu-west` for one cluster) and their form.
Those of cluster-scoped objects are the cluster-scoped `clusterplacements`, `clustersyncstates` and
`clustertombstones`. Pure.

Next: `hanse_apiserver.views.view`, which serves them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from hanse.api.federation.v1.tombstone_pb2 import Tombstone
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.syncer.v1.sync_state_pb2 import SyncPhase, SyncState
from hanse.federation.confirmation import is_removed
from hanse.kube.model.objects import Object
from hanse.messages import word_of
from hanse.store.keys import ObjectKey
from hanse.well_known import API_VERSION, CLUSTER_LABEL, GROUP
from hanse_apiserver.views.protojson import time_of, to_object, words

_UIDS = uuid.UUID("6f1d2f0e-5a0c-4f6e-9b1f-0d7f3f0a6c11")


def placement_key(key: ObjectKey) -> ObjectKey:
    """Return under which key the placement of an object is served."""
    resource = "placements" if key.namespace else "clusterplacements"
    return ObjectKey(GROUP, resource, key.namespace, _name(key))


def sync_state_key(key: ObjectKey, cluster: str) -> ObjectKey:
    """Return under which key the sync state of an object in a cluster is served."""
    resource = "syncstates" if key.namespace else "clustersyncstates"
    return ObjectKey(GROUP, resource, key.namespace, f"{_name(key)}.{cluster}")


def tombstone_key(key: ObjectKey) -> ObjectKey:
    """Return under which key the tombstone of an object's name is served."""
    resource = "tombstones" if key.namespace else "clustertombstones"
    return ObjectKey(GROUP, resource, key.namespace, _name(key))


def is_derived(key: ObjectKey) -> bool:
    """Report whether this names a placement, a sync state or a tombstone."""
    return key.group == GROUP and key.resource in _KINDS


_KINDS = {
    "placements": "Placement",
    "clusterplacements": "ClusterPlacement",
    "syncstates": "SyncState",
    "clustersyncstates": "ClusterSyncState",
    "tombstones": "Tombstone",
    "clustertombstones": "ClusterTombstone",
}


def _name(key: ObjectKey) -> str:
    return ".".join(part for part in (key.resource, key.group, key.name) if part)


def placement_object(served: ObjectKey, key: ObjectKey, placement: Placement) -> Object:
    """Return a placement as an object. Its age does not start over when a decision is made again."""
    created = time_of(placement.create_time) or time_of(placement.update_time)
    body = to_object(placement)
    return _object(served, key, body, uid=placement.object.uid, created=created)


def sync_state_object(served: ObjectKey, key: ObjectKey, state: SyncState) -> Object:
    """Return a sync state as an object."""
    body = to_object(state)
    labels = {CLUSTER_LABEL: state.cluster}
    return _object(
        served, key, body, uid=state.object.uid, created=time_of(state.transition_time), labels=labels
    )


def tombstone_object(
    served: ObjectKey, key: ObjectKey, tombstone: Tombstone, *, waits: Callable[[str], str]
) -> Object:
    """Return a tombstone as an object; `waits` says of a cluster what its copy waits for, "" for nothing."""
    body = to_object(tombstone)
    body["copies"] = [
        {**copy, "message": waits(copy["cluster"]) or "nothing is left there"} for copy in body["copies"]
    ]
    return _object(served, key, body, uid=tombstone.object.uid, created=time_of(tombstone.delete_time))


def why_left(tombstone: Tombstone, state: SyncState, *, is_member: bool) -> str:
    """Return what the copy waits for that a sync state may be about, "" if it is gone."""
    if not is_member:
        return "the cluster has left the federation"
    uids = {"", tombstone.object.uid, *(copy.uid for copy in tombstone.copies)}
    if state.object.uid not in uids or (is_removed(state) and state.object.uid == tombstone.object.uid):
        return ""
    if is_removed(state) or not state.phase:
        return "the syncer has not looked yet"
    phase = words(word_of(SyncPhase.DESCRIPTOR, state.phase))
    return f"{phase}: {state.message or state.reason or 'it is to be removed'}"


def _object(
    served: ObjectKey,
    key: ObjectKey,
    body: Object,
    *,
    uid: str,
    created: str,
    labels: dict[str, str] | None = None,
) -> Object:
    metadata: Object = {"name": served.name}
    if served.namespace:
        metadata["namespace"] = served.namespace
    metadata["uid"] = str(uuid.uuid5(_UIDS, f"{served}/{uid}"))
    if created:
        metadata["creationTimestamp"] = created
    if labels:
        metadata["labels"] = labels
    body.pop("name", None)
    body.pop("traceparent", None)
    body.pop("revision", None)
    named = {"group": key.group, "resource": key.resource, "name": key.name}
    if key.namespace:
        named["namespace"] = key.namespace
    return {
        "apiVersion": API_VERSION,
        "kind": _KINDS[served.resource],
        "metadata": metadata,
        **body,
        "object": {**named, **body.get("object", {})},
    }
