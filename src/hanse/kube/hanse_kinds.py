"""Hanse's own kinds (`hanse.dev/v1alpha1`) and Federation v1's Cluster, with schemas and printer columns.

The schemas are structural OpenAPI v3, as in a CRD; the engine prunes, defaults, validates and explains by
them. `federation/v1beta1 Cluster` is the same object in Federation v1's shape: `to_federation_v1` and
`from_federation_v1` convert. Pure data and pure functions. Next: `hanse.kube.catalogue`.
"""

from __future__ import annotations

from typing import Any

from hanse.kube.resource_info import READ_VERBS, PrinterColumn, ResourceInfo

Schema = dict[str, Any]
GROUP = "hanse.dev"
VERSION = "v1alpha1"


def _string(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def _integer(description: str, **more: Any) -> Schema:
    return {"type": "integer", "description": description, **more}


def _boolean(description: str, **more: Any) -> Schema:
    return {"type": "boolean", "description": description, **more}


def _list(items: Schema, description: str, **more: Any) -> Schema:
    return {"type": "array", "items": items, "description": description, **more}


def _map(values: Schema, description: str) -> Schema:
    return {"type": "object", "additionalProperties": values, "description": description}


def _object(description: str, /, required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "description": description, "properties": properties}
    if required:
        schema["required"] = list(required)
    return schema


def _strings(description: str) -> Schema:
    return _list({"type": "string"}, description)


def _any(description: str) -> Schema:
    return {"description": description, "x-kubernetes-preserve-unknown-fields": True}


def _open(description: str) -> Schema:
    return {"type": "object", "description": description, "x-kubernetes-preserve-unknown-fields": True}


def _selector(description: str) -> Schema:
    expression = _object(
        "One requirement on labels.",
        ("key", "operator"),
        key=_string("The label's key."),
        operator=_string("How values relate to the key.", enum=["In", "NotIn", "Exists", "DoesNotExist"]),
        values=_strings("The values for In and NotIn; empty for the others."),
    )
    return _object(
        description,
        matchLabels=_map({"type": "string"}, "Labels that must be there with exactly these values."),
        matchExpressions=_list(expression, "Requirements that must all hold."),
    )


def _condition() -> Schema:
    return _object(
        "One observed aspect of the object.",
        ("type", "status"),
        type=_string("The aspect, for example Ready."),
        status=_string("Whether it holds.", enum=["True", "False", "Unknown"]),
        reason=_string("One word for why."),
        message=_string("One sentence for why."),
        observedGeneration=_integer("The generation that was observed.", format="int64"),
        lastTransitionTime=_string("When status last changed.", format="date-time"),
        lastProbeTime=_string("When it was last looked at.", format="date-time"),
    )


def _conditions() -> Schema:
    return _list(
        _condition(), "What is known about the object.",
        **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )  # fmt: skip


def _reference(description: str) -> Schema:
    return _object(
        description,
        name=_string("The name."),
        namespace=_string("The namespace."),
        key=_string("The key in it."),
    )


def _resource_selectors(*, with_namespace: bool) -> Schema:
    properties: dict[str, Schema] = {
        "apiVersion": _string("The group and version, for example apps/v1; the version is not compared."),
        "kind": _string("The kind, for example Deployment."),
        "name": _string("Only the object of this name; empty means all."),
        "labelSelector": _selector("Only objects whose labels match; empty means all."),
    }
    if with_namespace:
        properties["namespace"] = _string("Only objects in this namespace; empty means all.")
    item = _object("Objects that the policy is about.", ("apiVersion", "kind"), **properties)
    return _list(item, "The objects that the policy is about: those that match any of these.")


def _toleration() -> Schema:
    return _object(
        "A taint that the selected objects bear.",
        key=_string("The taint's key; empty with operator Exists means every taint."),
        operator=_string("How value relates to the taint's.", enum=["Equal", "Exists"], default="Equal"),
        value=_string("The taint's value, for Equal."),
        effect=_string("The effect; empty means every effect.", enum=["", "NoSchedule", "NoExecute"]),
        tolerationSeconds=_integer(
            "How long a NoExecute taint is borne; absent means for ever.", format="int64"
        ),
    )


def _policy_spec(*, with_namespace: bool) -> Schema:
    preference = _object(
        "What one cluster gets.",
        minReplicas=_integer("At least so many replicas.", format="int64", minimum=0),
        maxReplicas=_integer("At most so many replicas; absent means no limit.", format="int64", minimum=0),
        weight=_integer("Its share of the rest, relative to the others.", format="int64", minimum=0),
    )
    replicas = _object(
        "How replicas are shared out.",
        mode=_string(
            "Duplicated: every cluster runs spec.replicas. Divided: all clusters together do.",
            enum=["Duplicated", "Divided"],
        ),
        rebalance=_boolean("Move replicas that run already when the division changes."),
        clusters=_map(preference, "Preferences by cluster name; * is for every other cluster."),
    )
    return _object(
        "Where the selected objects go.",
        resourceSelectors=_resource_selectors(with_namespace=with_namespace),
        clusterSelector=_selector("Only clusters whose labels match; absent selects all."),
        clusterNames=_strings("Only these clusters; empty means all."),
        excludeClusters=_strings("Never these clusters."),
        maxClusters=_integer("At most so many clusters.", format="int32", minimum=0),
        spreadBy=_string("Choose clusters so that they differ in this.", enum=["region", "zone"]),
        tolerations=_list(_toleration(), "Taints of clusters that do not matter."),
        replicas=replicas,
        conflictResolution=_string(
            "What to do when a member has the object already and it is not the federation's.",
            enum=["Abort", "Adopt"], default="Abort",
        ),
        priority=_integer("The policy with the highest priority wins; then the older one.", format="int32"),
        tolerationSeconds=_integer(
            "How long an unreachable cluster keeps its replicas before they move.", format="int64", minimum=0
        ),
    )  # fmt: skip


def _override_spec(*, with_namespace: bool) -> Schema:
    operation = _object(
        "One JSON Patch operation (RFC 6902).",
        ("op", "path"),
        op=_string("The operation.", enum=["add", "remove", "replace", "move", "copy", "test"]),
        path=_string("A JSON pointer into the object."),
        value=_any("The value."),
        **{"from": _string("Where move and copy take the value from.")},
    )
    image = _object(
        "Changes to the images of containers; parts that are absent stay as they are.",
        containers=_strings("Only containers of these names; empty means all."),
        registry=_string("The registry host to use."),
        repository=_string("The repository to use."),
        tag=_string("The tag to use."),
        digest=_string("The digest to use, for example sha256:..."),
    )
    rule = _object(
        "Changes for some clusters.",
        clusterSelector=_selector("The clusters by label; absent selects all."),
        clusterNames=_strings("The clusters by name; empty means all."),
        jsonPatch=_list(operation, "Operations applied in order."),
        image=image,
        labels=_map({"type": "string"}, "Labels to set; an empty value removes."),
        annotations=_map({"type": "string"}, "Annotations to set; an empty value removes."),
        replicas=_integer("The number of replicas in these clusters.", format="int32", minimum=0),
    )
    return _object(
        "What differs between clusters.",
        resourceSelectors=_resource_selectors(with_namespace=with_namespace),
        rules=_list(rule, "Rules, applied in order."),
        priority=_integer("Policies are applied in rising order of priority.", format="int32"),
    )


def _cluster_schema() -> Schema:
    taint = _object(
        "Keeps objects away that do not tolerate it.",
        ("key", "effect"),
        key=_string("The taint's key."),
        value=_string("The taint's value."),
        effect=_string("What it does.", enum=["NoSchedule", "NoExecute"]),
        timeAdded=_string("When it was added.", format="date-time"),
    )
    spec = _object(
        "How the cluster is reached and used.",
        server=_string("The URL of its API server."),
        region=_string("Its region; absent means what its nodes say."),
        zones=_strings("Its zones; absent means what its nodes say."),
        taints=_list(taint, "Taints of the cluster."),
        unschedulable=_boolean("Place nothing new here."),
        secretRef=_reference("Federation v1's reference to a Secret with a kubeconfig."),
        credentialRef=_reference("The stored credential."),
        apiEndpoints=_list(
            _object(
                "An address of the API server for clients in some network.",
                clientCIDR=_string("The clients' network."),
                serverAddress=_string("The address."),
            ),
            "Addresses of the API server.",
        ),
        orphanObjects=_boolean("On unjoin leave the objects in the cluster as they are."),
    )
    status = _open("What the registry has found out about the cluster.")
    status["properties"] = {
        "conditions": _conditions(),
        "state": _string("Pending, Ready, Offline or Unjoining."),
        "region": _string("Its region."),
        "zones": _strings("Its zones."),
        "kubernetesVersion": _string("The version of its API server."),
        "nodes": _object(
            "Its nodes.",
            ready=_integer("How many are ready.", format="int32"),
            total=_integer("How many there are.", format="int32"),
        ),
        "allocatable": _map({"type": "string"}, "What its ready nodes offer, as quantities by resource."),
        "clusterId": _string("The UID of its kube-system namespace, which identifies it."),
    }
    return _kind("A member cluster of the federation.", spec=spec, status=status)


def _dns_zone_schema() -> Schema:
    spec = _object(
        "Where and how names are published.",
        ("suffix",),
        suffix=_string("The domain under which names are made, for example example.org."),
        ttl=_integer("Time to live of the records, in seconds.", format="int32", minimum=0),
        provider=_string("The name server or cloud that serves the zone; absent means Hanse's own."),
        config=_open("Settings of the provider."),
        secretRef=_reference("The provider's credentials."),
        region=_string("Only for clusters in this region; empty means all."),
        recordTypes=_strings("The kinds of records to publish; empty means all that Hanse makes."),
    )
    status = _open("What is published.")
    status["properties"] = {
        "conditions": _conditions(),
        "records": _integer("How many record sets there are."),
    }
    return _kind("A DNS zone that the federation publishes names in.", spec=spec, status=status)


def _kind(description: str, /, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": {
            "apiVersion": _string("The group and version of this form of the object."),
            "kind": _string("The kind of the object."),
            "metadata": {"type": "object"},
            **properties,
        },
    }


_OBJECT_REFERENCE = _open("The object that this is about.")

_PLACEMENT = _kind(
    "Where an object was placed, and why. Read-only.",
    object=_OBJECT_REFERENCE,
    generation=_integer("The generation of the object that was decided on.", format="int64"),
    clusters=_list(_open("A cluster that has the object."), "Clusters that have the object."),
    refused=_list(
        _open("A cluster that does not get it."), "Clusters that do not get it, each with the reason."
    ),
    releasing=_list(_open("A cluster that gives it up."), "Clusters that it is being removed from."),
    policy=_string("The policy that decided."),
    conflictResolution=_string("What happens to foreign objects of that name."),
    error=_string("Why nothing could be decided."),
    updateTime=_string("When it was decided.", format="date-time"),
)
_SYNC_STATE = _kind(
    "What was applied to one cluster for one object, and how it fares. Read-only.",
    object=_OBJECT_REFERENCE,
    cluster=_string("The cluster."),
    phase=_string("Applied, Failed, Conflict, Removing, Removed, Unreachable or Waiting."),
    reason=_string("One word for why."),
    message=_string("One sentence for why."),
    appliedHash=_string("The hash of what was applied."),
    appliedGeneration=_integer("The object's generation that was applied.", format="int64"),
    health=_string("Healthy, Progressing or Degraded."),
    memberResourceVersion=_string("The resourceVersion in the member."),
    status=_open("The object's status in the member."),
    applyTime=_string("When it was last applied.", format="date-time"),
    transitionTime=_string("When the phase last changed.", format="date-time"),
)
_FEDERATION_V1_CLUSTER = _kind(
    "A member cluster in the form of Federation v1.",
    spec=_object(
        "How the cluster is reached.",
        serverAddressByClientCIDRs=_list(
            _object(
                "An address for clients in a network.",
                clientCIDR=_string("The clients' network."),
                serverAddress=_string("The address."),
            ),
            "Addresses of the API server by client network.",
        ),
        secretRef=_reference("The Secret with the credentials."),
    ),
    status=_open("What is known about the cluster."),
)

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
    PrinterColumn("Age", "date", ".updateTime"),
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
    policy = _kind("Says where objects of its namespace go.", spec=_policy_spec(with_namespace=False))
    cluster_policy = _kind("Says where objects of any namespace go.", spec=_policy_spec(with_namespace=True))
    override = _kind(
        "Says how objects of its namespace differ by cluster.", spec=_override_spec(with_namespace=False)
    )
    cluster_override = _kind(
        "Says how objects of any namespace differ by cluster.", spec=_override_spec(with_namespace=True)
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
        _info("Cluster", "clusters", _cluster_schema(), cluster_columns, namespaced=False, subresources=with_status),
        _info("PlacementPolicy", "placementpolicies", policy, _POLICY_COLUMNS, short=("pp",)),
        _info(
            "ClusterPlacementPolicy", "clusterplacementpolicies", cluster_policy, _POLICY_COLUMNS,
            namespaced=False, short=("cpp",),
        ),
        _info("OverridePolicy", "overridepolicies", override, _OVERRIDE_COLUMNS, short=("op",)),
        _info(
            "ClusterOverridePolicy", "clusteroverridepolicies", cluster_override, _OVERRIDE_COLUMNS,
            namespaced=False, short=("cop",),
        ),
        _info("DnsZone", "dnszones", _dns_zone_schema(), zone_columns, namespaced=False, subresources=with_status),
    )  # fmt: skip
    views = (
        _info("Placement", "placements", _PLACEMENT, _PLACEMENT_COLUMNS, virtual=True),
        _info(
            "ClusterPlacement",
            "clusterplacements",
            _PLACEMENT,
            _PLACEMENT_COLUMNS,
            namespaced=False,
            virtual=True,
        ),
        _info("SyncState", "syncstates", _SYNC_STATE, _SYNC_STATE_COLUMNS, virtual=True),
        _info(
            "ClusterSyncState",
            "clustersyncstates",
            _SYNC_STATE,
            _SYNC_STATE_COLUMNS,
            namespaced=False,
            virtual=True,
        ),
    )
    federation_v1 = ResourceInfo(
        group="federation", version="v1beta1", kind="Cluster", plural="clusters", singular="cluster",
        namespaced=False, subresources=with_status, schema=_FEDERATION_V1_CLUSTER,
        storage_group=GROUP, storage_version=VERSION, storage_resource="clusters",
        columns=(PrinterColumn("Status", "string", _READY), _AGE),
    )  # fmt: skip
    return (*stored, *views, federation_v1)


def _info(
    kind: str, plural: str, schema: Schema, columns: tuple[PrinterColumn, ...], *,
    namespaced: bool = True, short: tuple[str, ...] = (), subresources: tuple[str, ...] = (), virtual: bool = False,
) -> ResourceInfo:  # fmt: skip
    return ResourceInfo(
        group=GROUP, version=VERSION, kind=kind, plural=plural, singular=kind.lower(), namespaced=namespaced,
        short_names=short, categories=("hanse",), subresources=subresources, schema=schema, columns=columns,
        storage_group=GROUP, storage_version=VERSION, storage_resource=plural, virtual=virtual,
        verbs=READ_VERBS if virtual else ResourceInfo.__dataclass_fields__["verbs"].default,
    )  # fmt: skip


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
        "apiVersion": f"{GROUP}/{VERSION}", "kind": "Cluster",
        "metadata": cluster.get("metadata", {}), "spec": spec,
    }  # fmt: skip
    if stored and "status" in stored:
        result["status"] = stored["status"]
    return result


def _url(address: str) -> str:
    return address if "://" in address or not address else f"https://{address}"
