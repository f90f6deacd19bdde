"""A cluster as the others see it, put together from the user's object and what the probes found. Pure.

`compile_cluster` makes the message that is stored at clusters/<name>; it is compared with the stored one, so
a probe that finds nothing new writes nothing. `says` tells whether a cluster has what the user's object says.
`hanse_registry.controller` is next.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from hanse.api.registry.v1 import cluster_pb2
from hanse.api.syncer.v1 import orphan_pb2
from hanse.api.type.v1 import condition_pb2
from hanse.federation.clusters import ready_condition, refuses_credential
from hanse.federation.times import set_time
from hanse.federation.tracing import served_annotations
from hanse.kube.model.objects import Object, is_deleting, mapping, sequence
from hanse.kube.model.untrusted import mappings, text
from hanse.store.decoding import carry
from hanse_registry.member.health import ClusterHealth, Standing
from hanse_registry.member.probe import Inventory
from hanse_registry.member.rights import CONDITION, rights_missing

EFFECTS = {"NoSchedule": cluster_pb2.NO_SCHEDULE, "NoExecute": cluster_pb2.NO_EXECUTE}
STATES = {
    Standing.UNKNOWN: cluster_pb2.PENDING,
    Standing.READY: cluster_pb2.READY,
    Standing.OFFLINE: cluster_pb2.OFFLINE,
    Standing.IDENTITY_MISMATCH: cluster_pb2.IDENTITY_MISMATCH,
    Standing.MISBEHAVING: cluster_pb2.MISBEHAVING,
    Standing.CREDENTIAL_REFUSED: cluster_pb2.CREDENTIAL_REFUSED,
}
_READY = {Standing.READY: condition_pb2.TRUE, Standing.CREDENTIAL_REFUSED: condition_pb2.FALSE}
STANDINGS = {state: standing for standing, state in STATES.items()}
REMOVING_ACCOUNT = "RemovingAccount"
"""Reason of the condition Unjoined from just before the account is deleted that Hanse made in the cluster."""
STATED = (
    "uid", "labels", "annotations", "server", "taints", "unschedulable", "orphan_objects", "delete_time",
)  # fmt: skip
"""Fields that a compiled cluster has from the user's object alone."""


def compile_cluster(
    stored: Object,
    *,
    health: ClusterHealth,
    inventory: Inventory | None,
    previous: cluster_pb2.Cluster | None,
    credential_hash: str,
    held_by: str = "",
    removing_account: bool = False,
    orphans: orphan_pb2.OrphanReport | None = None,
    expiring: condition_pb2.Condition | None = None,
    lacks: Sequence[str] | None = None,
    now: datetime,
) -> cluster_pb2.Cluster:
    """Return the cluster as it is now.

    `stored` is the Cluster object. `previous` is what was stored before: times of transitions and, while no
    inventory could be taken, what is known of the cluster are kept from it. `held_by` is what a cluster that
    leaves waits for, `removing_account` that this is the removal of the account that
    Hanse made there, `orphans` what the syncer reports, `lacks` the rights
    that the credential lacks, None if that is not known, `expiring` what is to be said of the end of the
    credential.
    """
    cluster = intended(stored)
    cluster.credential_hash = credential_hash
    add_inventory(cluster, inventory, previous)
    leaving = is_deleting(stored)
    cluster.state = cluster_pb2.UNJOINING if leaving else STATES[health.standing]
    cluster.conditions.append(condition_of_health(health, previous, now))
    if leaving and held_by:
        unjoined = condition_pb2.Condition(
            type="Unjoined",
            status=condition_pb2.FALSE,
            reason=REMOVING_ACCOUNT if removing_account else "ObjectsRemain",
            message=held_by,
        )
        cluster.conditions.append(since(unjoined, previous, now))
    told = orphans_condition(stored["metadata"]["name"], orphans, previous)
    if told is not None:
        cluster.conditions.append(since(told, previous, now))
    known = previous.conditions if previous is not None else ()
    rights = next((each for each in known if each.type == CONDITION), None)
    for condition in (expiring, rights_missing(lacks, cluster=stored["metadata"]["name"], known=rights)):
        if condition is not None:
            cluster.conditions.append(since(condition, previous, now))
    return with_update_time(carry(previous, cluster), previous, now)


def removes_account(cluster: cluster_pb2.Cluster | None) -> bool:
    """Return whether it was recorded that the removal of the account that Hanse made there has begun."""
    conditions = cluster.conditions if cluster is not None else ()
    return any(each.type == "Unjoined" and each.reason == REMOVING_ACCOUNT for each in conditions)


def with_update_time(
    cluster: cluster_pb2.Cluster, previous: cluster_pb2.Cluster | None, now: datetime
) -> cluster_pb2.Cluster:
    """Return the cluster with the time of its last change: now, unless it is as it was."""
    if previous is not None and previous.HasField("update_time"):
        cluster.update_time.CopyFrom(previous.update_time)
    if cluster != previous:
        cluster.update_time.FromDatetime(now)
    return cluster


def intended(stored: Object) -> cluster_pb2.Cluster:
    """Return what the user's object says of the cluster, and nothing else."""
    metadata, spec = stored["metadata"], mapping(stored, "spec")
    cluster = cluster_pb2.Cluster(
        name=f"clusters/{metadata['name']}",
        uid=text(metadata.get("uid")),
        labels=metadata.get("labels") or {},
        annotations=served_annotations(metadata.get("annotations") or {}),
        server=text(spec.get("server")),
        region=text(spec.get("region")),
        zones=sorted(zone for zone in sequence(spec, "zones") if isinstance(zone, str)),
        taints=[taint(entry) for entry in mappings(spec.get("taints"))],
        unschedulable=bool(spec.get("unschedulable")),
        orphan_objects=bool(spec.get("orphanObjects")),
    )
    set_time(cluster.create_time, metadata.get("creationTimestamp"))
    set_time(cluster.delete_time, metadata.get("deletionTimestamp"))
    return cluster


def says(cluster: cluster_pb2.Cluster, stored: Object) -> bool:
    """Return whether a compiled cluster has all that the user's object says of it.

    Of a region or zones that the user does not give it may have any: they are those of the nodes.
    """
    wanted = intended(stored)
    same = all(getattr(cluster, field) == getattr(wanted, field) for field in STATED)
    region = wanted.region in ("", cluster.region)
    return same and region and (not wanted.zones or wanted.zones == cluster.zones)


def add_inventory(
    cluster: cluster_pb2.Cluster, inventory: Inventory | None, previous: cluster_pb2.Cluster | None
) -> None:
    """Fill in what the cluster has, or what it had when it was looked at last."""
    if inventory is not None:
        cluster.region = cluster.region or inventory.topology.region
        cluster.zones[:] = cluster.zones or inventory.topology.zones
        cluster.kubernetes_version = inventory.kubernetes_version
        cluster.capacity.CopyFrom(inventory.capacity)
        cluster.catalogue_hash = inventory.catalogue.hash
        cluster.cluster_id = inventory.cluster_id
    elif previous is not None:
        cluster.region = cluster.region or previous.region
        cluster.zones[:] = cluster.zones or previous.zones
        cluster.kubernetes_version = previous.kubernetes_version
        cluster.capacity.CopyFrom(previous.capacity)
        cluster.catalogue_hash = previous.catalogue_hash
        cluster.cluster_id = previous.cluster_id


def condition_of_health(
    health: ClusterHealth, previous: cluster_pb2.Cluster | None, now: datetime
) -> condition_pb2.Condition:
    """Return the condition "Ready"; the time of its last transition stays until its status changes."""
    condition = condition_pb2.Condition(
        type="Ready",
        status=_READY.get(health.standing, condition_pb2.UNKNOWN),
        reason=health.reason,
        message=health.message,
    )
    return since(condition, previous, now)


def orphans_condition(
    name: str, report: orphan_pb2.OrphanReport | None, previous: cluster_pb2.Cluster | None
) -> condition_pb2.Condition | None:
    """Return the condition "Orphans"; None for a cluster that never had one."""
    condition = condition_pb2.Condition(type="Orphans")
    if report is None or not report.total:
        known = previous.conditions if previous is not None else ()
        if all(each.type != condition.type for each in known):
            return None
        condition.status, condition.reason = condition_pb2.FALSE, "NoOrphans"
        condition.message = "everything that carries the federation's marks is wanted"
        return condition
    condition.status, condition.reason = condition_pb2.TRUE, "OrphansFound"
    example = ""
    if report.orphans:
        found = report.orphans[0].object
        kind = f"{found.resource}.{found.group}" if found.group else found.resource
        example = f", such as {kind} {f'{found.namespace}/' if found.namespace else ''}{found.name}"
    number = "1 object" if report.total == 1 else f"{report.total} objects"
    condition.message = (
        f"{number} with the federation's marks that nobody wants there{example}: see `hanse orphans {name}`"
    )
    return condition


def since(
    condition: condition_pb2.Condition, previous: cluster_pb2.Cluster | None, now: datetime
) -> condition_pb2.Condition:
    """Return the condition with the time since which its status is what it is."""
    for before in previous.conditions if previous is not None else ():
        if before.type == condition.type and before.status == condition.status:
            condition.last_transition_time.CopyFrom(before.last_transition_time)
            return condition
    condition.last_transition_time.FromDatetime(now)
    return condition


def standing_of(cluster: cluster_pb2.Cluster | None) -> ClusterHealth:
    """Return the health that a stored cluster stands for, to go on from after a restart."""
    condition = ready_condition(cluster) if cluster is not None else None
    if cluster is None or condition is None:
        return ClusterHealth()
    ready = Standing.READY if condition.status == condition_pb2.TRUE else Standing.OFFLINE
    ready = Standing.CREDENTIAL_REFUSED if refuses_credential(cluster) else ready
    standing = STANDINGS.get(cluster.state, ready)  # of one that leaves the state does not tell
    return ClusterHealth(standing, 0, condition.reason, condition.message)


def taint(entry: dict[str, Any]) -> cluster_pb2.Taint:
    """Return a taint of a Cluster object."""
    found = cluster_pb2.Taint(
        key=text(entry.get("key")),
        value=text(entry.get("value")),
        effect=EFFECTS.get(text(entry.get("effect")), cluster_pb2.TAINT_EFFECT_UNSPECIFIED),
    )
    set_time(found.time_added, entry.get("timeAdded"))
    return found
