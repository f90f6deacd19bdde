"""What an update of a cluster changes, and what it may not: its mask, its etag, and the patch it becomes.

Pure functions. Next: `hanse_registry.service`, which sends the patch and waits for what comes of it.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from hanse.api.registry.v1 import cluster_pb2
from hanse.errors import ConflictError, InvalidArgumentError
from hanse.kube.model.objects import Object
from hanse.messages import is_time
from hanse.well_known import CONFIRM_IMPACT

UPDATABLE = ("labels", "annotations", "region", "zones", "taints", "unschedulable", "orphan_objects")
"""The fields of a cluster that UpdateCluster changes."""
EFFECTS = {cluster_pb2.NO_SCHEDULE: "NoSchedule", cluster_pb2.NO_EXECUTE: "NoExecute"}


def named(cluster: str) -> dict[str, str]:
    """Return the metadata of an error that is about a cluster."""
    return {"name": f"clusters/{cluster}"}


def check_etag(cluster: cluster_pb2.Cluster, etag: str) -> None:
    """Raise ConflictError if an etag is given and is not the current one."""
    if etag and etag != cluster.etag:
        raise changed_since(cluster, etag)


def changed_since(cluster: cluster_pb2.Cluster, etag: str) -> ConflictError:
    """Return what to raise if a cluster is no longer what `etag` stands for."""
    return ConflictError(
        f"{cluster.name} changed since it was read (etag {etag}, now {cluster.etag}): read it again",
        metadata={"name": cluster.name, "etag": cluster.etag},
    )


def check_mask(mask: FieldMask) -> None:
    """Raise InvalidArgumentError if a mask names a field that a user cannot change."""
    for path in mask.paths:
        field = path.partition(".")[0]
        known = field in cluster_pb2.Cluster.DESCRIPTOR.fields_by_name
        if known and field not in UPDATABLE:
            raise InvalidArgumentError(
                f"field {path} of a cluster cannot be updated: leave it out of update_mask, which may have "
                f"{', '.join(UPDATABLE)}",
                reason="FIELD_IMMUTABLE",
                metadata={"field": "update_mask", "path": path},
            )


def difference(current: cluster_pb2.Cluster, wanted: cluster_pb2.Cluster) -> dict[str, Any]:
    """Return the JSON merge patch that makes a Cluster object say what `wanted` says."""
    metadata: dict[str, Any] = {}
    for field in ("labels", "annotations"):
        old, new = dict(getattr(current, field)), dict(getattr(wanted, field))
        if old != new:
            metadata[field] = {**dict.fromkeys(old, None), **new}
    spec: dict[str, Any] = {}
    if wanted.region != current.region:
        spec["region"] = wanted.region or None
    if list(wanted.zones) != list(current.zones):
        spec["zones"] = list(wanted.zones) or None
    if list(wanted.taints) != list(current.taints):
        spec["taints"] = [taint_of(entry) for entry in wanted.taints] or None
    if wanted.unschedulable != current.unschedulable:
        spec["unschedulable"] = wanted.unschedulable
    if wanted.orphan_objects != current.orphan_objects:
        spec["orphanObjects"] = wanted.orphan_objects
    return {key: value for key, value in (("metadata", metadata), ("spec", spec)) if value}


def confirmed(change: dict[str, Any], said: str, current: cluster_pb2.Cluster) -> dict[str, Any]:
    """Return a patch that says what of its impact is confirmed, if anything is.

    A confirmation counts for the write that changes it, so that the same one given twice is two.
    """
    if not said:
        return change
    words = said if " " in said.strip() else f"{said.strip()} given when the etag was {current.etag}"
    metadata = change.get("metadata", {})
    annotations = {**metadata.get("annotations", {}), CONFIRM_IMPACT: words}
    return {**change, "metadata": {**metadata, "annotations": annotations}}


def gives_up(change: dict[str, Any], stored: Object) -> bool:
    """Return whether a patch takes a region or zones off the object, so that those of the nodes hold
    again.
    """
    wanted, given = change.get("spec", {}), stored.get("spec") or {}
    return any(field in wanted and not wanted[field] and given.get(field) for field in ("region", "zones"))


def taint_of(entry: cluster_pb2.Taint) -> dict[str, str]:
    """Return a taint as a Cluster object has it."""
    found = {"key": entry.key, "effect": EFFECTS.get(entry.effect, "NoSchedule")}
    if entry.value:
        found["value"] = entry.value
    if is_time(entry.time_added) and entry.HasField("time_added"):
        found["timeAdded"] = entry.time_added.ToJsonString()
    return found
