"""Hanse's own kinds (`hanse.dev/v1alpha1`) and Federation v1's Cluster, with schemas and printer columns.

`federation/v1beta1 Cluster` is the same object in Federation v1's shape: `to_federation_v1` and
`from_federation_v1` convert. Pure data and pure functions. Next: `hanse.kube.kinds.catalogue`.
"""

from __future__ import annotations

from typing import Any

from hanse.federation import schemas as schemas
from hanse.federation.schemas import Schema
from hanse.kube.model.resource_info import ALL_VERBS, READ_VERBS, PrinterColumn, ResourceInfo

GROUP = "hanse.dev"
VERSION = "v1alpha1"

_READY = ".status.conditions[?(@.type=='Ready')].status"
_AGE = PrinterColumn("Age", "date", ".metadata.creationTimestamp")
_POLICY_COLUMNS = (
    PrinterColumn("Priority", "integer", ".spec.priority"),
    PrinterColumn("Max", "integer", ".spec.maxClusters", priority=1),
    PrinterColumn("Conflict", "string", ".spec.conflictResolution", priority=1),
    _AGE,
)
_OVERRIDE_COLUMNS = (PrinterColumn("Priority", "integer", ".spec.priority"), _AGE)
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


def kinds() -> tuple[ResourceInfo, ...]:
    """Return Hanse's resources in discovery order: `hanse.dev` first, so that `clusters` means its own."""
    with_status = ("status",)
    policy = schemas.kind(
        "Says where objects of its namespace go.", spec=schemas.policy_spec(with_namespace=False)
    )
    cluster_policy = schemas.kind(
        "Says where objects of any namespace go.", spec=schemas.policy_spec(with_namespace=True)
    )
    override = schemas.kind(
        "Says how objects of its namespace differ by cluster.",
        spec=schemas.override_spec(with_namespace=False),
    )
    cluster_override = schemas.kind(
        "Says how objects of any namespace differ by cluster.",
        spec=schemas.override_spec(with_namespace=True),
    )
    cluster_columns = (
        PrinterColumn("Ready", "string", _READY),
        PrinterColumn("Region", "string", ".status.region"),
        PrinterColumn("Zones", "string", ".status.zones[*]"),
        PrinterColumn("Version", "string", ".status.kubernetesVersion"),
        _AGE,
        PrinterColumn("Server", "string", ".spec.server", priority=1),
        PrinterColumn("Nodes", "integer", ".status.nodes.ready", priority=1),
    )
    zone_columns = (
        PrinterColumn("Suffix", "string", ".spec.suffix"),
        PrinterColumn("Provider", "string", ".spec.provider"),
        PrinterColumn("Ready", "string", _READY),
        _AGE,
    )
    stored = (
        _info(
            "Cluster",
            "clusters",
            schemas.cluster_schema(),
            cluster_columns,
            namespaced=False,
            subresources=with_status,
        ),
        _info("PlacementPolicy", "placementpolicies", policy, _POLICY_COLUMNS, short=("pp",)),
        _info(
            "ClusterPlacementPolicy",
            "clusterplacementpolicies",
            cluster_policy,
            _POLICY_COLUMNS,
            namespaced=False,
            short=("cpp",),
        ),
        _info("OverridePolicy", "overridepolicies", override, _OVERRIDE_COLUMNS, short=("op",)),
        _info(
            "ClusterOverridePolicy",
            "clusteroverridepolicies",
            cluster_override,
            _OVERRIDE_COLUMNS,
            namespaced=False,
            short=("cop",),
        ),
        _info(
            "DnsZone",
            "dnszones",
            schemas.dns_zone_schema(),
            zone_columns,
            namespaced=False,
            subresources=with_status,
        ),
    )
    views = (
        _info("Placement", "placements", schemas.PLACEMENT, _PLACEMENT_COLUMNS, virtual=True),
        _info(
            "ClusterPlacement",
            "clusterplacements",
            schemas.PLACEMENT,
            _PLACEMENT_COLUMNS,
            namespaced=False,
            virtual=True,
        ),
        _info("SyncState", "syncstates", schemas.SYNC_STATE, _SYNC_STATE_COLUMNS, virtual=True),
        _info(
            "ClusterSyncState",
            "clustersyncstates",
            schemas.SYNC_STATE,
            _SYNC_STATE_COLUMNS,
            namespaced=False,
            virtual=True,
        ),
    )
    federation_v1 = ResourceInfo(
        group="federation",
        version="v1beta1",
        kind="Cluster",
        plural="clusters",
        singular="cluster",
        namespaced=False,
        subresources=with_status,
        schema=schemas.FEDERATION_V1_CLUSTER,
        storage_group=GROUP,
        storage_version=VERSION,
        storage_resource="clusters",
        columns=(PrinterColumn("Status", "string", _READY), _AGE),
    )
    return (*stored, *views, federation_v1)


def _info(
    kind: str,
    plural: str,
    schema: Schema,
    columns: tuple[PrinterColumn, ...],
    *,
    namespaced: bool = True,
    short: tuple[str, ...] = (),
    subresources: tuple[str, ...] = (),
    virtual: bool = False,
) -> ResourceInfo:
    return ResourceInfo(
        group=GROUP,
        version=VERSION,
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        namespaced=namespaced,
        short_names=short,
        categories=("hanse",),
        subresources=subresources,
        schema=schema,
        columns=columns,
        storage_group=GROUP,
        storage_version=VERSION,
        storage_resource=plural,
        virtual=virtual,
        verbs=READ_VERBS if virtual else ALL_VERBS,
    )


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
