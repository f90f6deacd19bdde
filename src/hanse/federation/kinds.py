"""Hanse's own kinds (`hanse.dev/v1alpha1`) and Federation v1's Cluster, with schemas and printer columns.

`federation/v1beta1 Cluster` is the same object in Federation v1's shape: `to_federation_v1` and
`from_federation_v1` convert. Pure data and pure functions. Next: `hanse.federation.strategies`.
"""

from __future__ import annotations

from typing import Any

from hanse.federation import schemas as schemas
from hanse.federation.schemas import Schema
from hanse.kube.kinds.kind import READ_VERBS, Kind, PrinterColumn
from hanse.well_known import FEDERATION_V1_GROUP, GROUP, VERSION

_READY = ".status.conditions[?(@.type=='Ready')].status"
_AGE = PrinterColumn("Age", "date", ".metadata.creationTimestamp")
_POLICY_USE_COLUMNS = (
    PrinterColumn("Priority", "integer", ".spec.priority"),
    PrinterColumn("Objects", "integer", ".status.objects"),
    PrinterColumn("Clusters", "integer", ".status.clusterCount"),
    PrinterColumn("Resolved", "string", ".status.conditions[?(@.type=='ReferencesResolved')].status"),
)
_POLICY_COLUMNS = (
    *_POLICY_USE_COLUMNS,
    PrinterColumn("Shadowed", "integer", ".status.shadowedObjects"),
    PrinterColumn("Max", "integer", ".spec.maxClusters", priority=1),
    PrinterColumn("Conflict", "string", ".spec.conflictResolution", priority=1),
    _AGE,
)
_OVERRIDE_COLUMNS = (*_POLICY_USE_COLUMNS, _AGE)
_PLACEMENT_COLUMNS = (
    PrinterColumn("Kind", "string", ".object.kind"),
    PrinterColumn("Object", "string", ".object.name"),
    PrinterColumn("Clusters", "string", ".clusters[*].cluster"),
    PrinterColumn("Releasing", "string", ".releasing[*].cluster", priority=1),
    PrinterColumn("Policy", "string", ".policy"),
    PrinterColumn("Error", "string", ".error", priority=1),
    _AGE,
)
_SYNC_STATE_COLUMNS = (
    PrinterColumn("Kind", "string", ".object.kind"),
    PrinterColumn("Object", "string", ".object.name"),
    PrinterColumn("Cluster", "string", ".cluster"),
    PrinterColumn("Phase", "string", ".phase"),
    PrinterColumn("Health", "string", ".health"),
    PrinterColumn("Message", "string", ".message", priority=1),
    PrinterColumn("Age", "date", ".transitionTime"),
)


_TOMBSTONE_COLUMNS = (
    PrinterColumn("Kind", "string", ".object.kind"),
    PrinterColumn("Object", "string", ".object.name"),
    PrinterColumn("Clusters", "string", ".copies[*].cluster"),
    PrinterColumn("Waits", "string", ".copies[*].message", priority=1),
    PrinterColumn("Age", "date", ".deleteTime"),
)


_CLUSTER_COLUMNS = (
    PrinterColumn("Ready", "string", _READY),
    PrinterColumn("State", "string", ".status.state"),
    PrinterColumn("Cordoned", "boolean", ".spec.unschedulable"),
    PrinterColumn("Taints", "string", ".spec.taints[*].key"),
    PrinterColumn("Region", "string", ".status.region"),
    PrinterColumn("Zones", "string", ".status.zones[*]"),
    PrinterColumn("Version", "string", ".status.kubernetesVersion"),
    _AGE,
    PrinterColumn("Server", "string", ".spec.server", priority=1),
    PrinterColumn("Nodes", "integer", ".status.nodes.ready", priority=1),
)
_ZONE_COLUMNS = (
    PrinterColumn("Suffix", "string", ".spec.suffix"),
    PrinterColumn("Provider", "string", ".spec.provider"),
    PrinterColumn("Ready", "string", _READY),
    _AGE,
)
_CATEGORIES = ("hanse",)


def _stored(
    name: str,
    plural: str,
    schema: Schema,
    columns: tuple[PrinterColumn, ...],
    *,
    namespaced: bool = True,
    short_names: tuple[str, ...] = (),
    subresources: tuple[str, ...] = (),
) -> Kind:
    return Kind(
        GROUP,
        name,
        plural,
        namespaced=namespaced,
        versions=(VERSION,),
        short_names=short_names,
        categories=_CATEGORIES,
        subresources=subresources,
        schema=schema,
        columns=columns,
    )


def _view(
    name: str, plural: str, schema: Schema, columns: tuple[PrinterColumn, ...], *, namespaced: bool
) -> Kind:
    return Kind(
        GROUP,
        name,
        plural,
        namespaced=namespaced,
        versions=(VERSION,),
        categories=_CATEGORIES,
        verbs=READ_VERBS,
        virtual=True,
        schema=schema,
        columns=columns,
    )


CLUSTER = _stored(
    "Cluster",
    "clusters",
    schemas.cluster_schema(),
    _CLUSTER_COLUMNS,
    namespaced=False,
    subresources=("status",),
)
PLACEMENT_POLICY = _stored(
    "PlacementPolicy",
    "placementpolicies",
    schemas.kind(
        "Says where objects of its namespace go.",
        spec=schemas.policy_spec(with_namespace=False),
        status=schemas.policy_status(),
    ),
    _POLICY_COLUMNS,
    short_names=("pp",),
    subresources=("status",),
)
CLUSTER_PLACEMENT_POLICY = _stored(
    "ClusterPlacementPolicy",
    "clusterplacementpolicies",
    schemas.kind(
        "Says where objects of any namespace go.",
        spec=schemas.policy_spec(with_namespace=True),
        status=schemas.policy_status(),
    ),
    _POLICY_COLUMNS,
    namespaced=False,
    short_names=("cpp",),
    subresources=("status",),
)
OVERRIDE_POLICY = _stored(
    "OverridePolicy",
    "overridepolicies",
    schemas.kind(
        "Says how objects of its namespace differ by cluster.",
        spec=schemas.override_spec(with_namespace=False),
        status=schemas.policy_status(),
    ),
    _OVERRIDE_COLUMNS,
    short_names=("op",),
    subresources=("status",),
)
CLUSTER_OVERRIDE_POLICY = _stored(
    "ClusterOverridePolicy",
    "clusteroverridepolicies",
    schemas.kind(
        "Says how objects of any namespace differ by cluster.",
        spec=schemas.override_spec(with_namespace=True),
        status=schemas.policy_status(),
    ),
    _OVERRIDE_COLUMNS,
    namespaced=False,
    short_names=("cop",),
    subresources=("status",),
)
DNS_ZONE = _stored(
    "DnsZone",
    "dnszones",
    schemas.dns_zone_schema(),
    _ZONE_COLUMNS,
    namespaced=False,
    subresources=("status",),
)
PLACEMENT = _view("Placement", "placements", schemas.PLACEMENT, _PLACEMENT_COLUMNS, namespaced=True)
CLUSTER_PLACEMENT = _view(
    "ClusterPlacement", "clusterplacements", schemas.PLACEMENT, _PLACEMENT_COLUMNS, namespaced=False
)
SYNC_STATE = _view("SyncState", "syncstates", schemas.SYNC_STATE, _SYNC_STATE_COLUMNS, namespaced=True)
CLUSTER_SYNC_STATE = _view(
    "ClusterSyncState", "clustersyncstates", schemas.SYNC_STATE, _SYNC_STATE_COLUMNS, namespaced=False
)
TOMBSTONE = _view("Tombstone", "tombstones", schemas.TOMBSTONE, _TOMBSTONE_COLUMNS, namespaced=True)
CLUSTER_TOMBSTONE = _view(
    "ClusterTombstone", "clustertombstones", schemas.TOMBSTONE, _TOMBSTONE_COLUMNS, namespaced=False
)
FEDERATION_V1_CLUSTER = Kind(
    FEDERATION_V1_GROUP,
    "Cluster",
    "clusters",
    namespaced=False,
    versions=("v1beta1",),
    subresources=("status",),
    stored_as=CLUSTER,
    schema=schemas.FEDERATION_V1_CLUSTER,
    columns=(PrinterColumn("Status", "string", _READY), _AGE),
)

KINDS = (
    CLUSTER,
    PLACEMENT_POLICY,
    CLUSTER_PLACEMENT_POLICY,
    OVERRIDE_POLICY,
    CLUSTER_OVERRIDE_POLICY,
    DNS_ZONE,
    PLACEMENT,
    CLUSTER_PLACEMENT,
    SYNC_STATE,
    CLUSTER_SYNC_STATE,
    TOMBSTONE,
    CLUSTER_TOMBSTONE,
    FEDERATION_V1_CLUSTER,
)
"""Hanse's kinds in discovery order: `hanse.dev` first, so that `clusters` means its own."""


ANY_CLIENT = "0.0.0.0/0"


def to_federation_v1(cluster: dict[str, Any]) -> dict[str, Any]:
    """Return a `hanse.dev/v1alpha1 Cluster` in the form of `federation/v1beta1`."""
    spec = cluster.get("spec") or {}
    endpoints = spec.get("apiEndpoints") or [
        {"clientCIDR": ANY_CLIENT, "serverAddress": spec.get("server", "")}
    ]
    old: dict[str, Any] = {"serverAddressByClientCIDRs": endpoints}
    if "secretRef" in spec:
        old["secretRef"] = spec["secretRef"]
    result = {
        "apiVersion": "federation/v1beta1",
        "kind": "Cluster",
        "metadata": cluster.get("metadata", {}),
        "spec": old,
    }
    status = cluster.get("status")
    if status:
        kept = {name: status[name] for name in ("conditions", "zones", "region") if name in status}
        result["status"] = kept
    return result


def from_federation_v1(cluster: dict[str, Any], stored: dict[str, Any] | None) -> dict[str, Any]:
    """Return a `federation/v1beta1 Cluster` as `hanse.dev/v1alpha1`.

    What the old form cannot say (taints, region, ...) is taken from `stored`, the cluster as it is now.
    """
    old = cluster.get("spec") or {}
    spec = dict((stored or {}).get("spec") or {})
    endpoints = old.get("serverAddressByClientCIDRs") or []
    implied = [{"clientCIDR": ANY_CLIENT, "serverAddress": spec.get("server", "")}]
    if endpoints and endpoints != implied:
        spec["apiEndpoints"] = endpoints
        spec["server"] = _url(str(endpoints[0].get("serverAddress", "")))
    if "secretRef" in old:
        spec["secretRef"] = old["secretRef"]
    else:
        spec.pop("secretRef", None)
    result = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Cluster",
        "metadata": cluster.get("metadata", {}),
        "spec": spec,
    }
    if stored and "status" in stored:
        result["status"] = stored["status"]
    return result


def _url(address: str) -> str:
    return address if "://" in address or not address else f"https://{address}"
