"""The schemas of Hanse's own kinds: structural OpenAPI v3, as in a CRD.

The engine prunes, defaults, validates and explains by them. Pure data, made by small functions. Next:
`hanse.federation.kinds`.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


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


def policy_spec(*, with_namespace: bool) -> Schema:
    """Return the schema of a placement policy's spec."""
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
        ordinalsPerCluster=_integer(
            "For StatefulSets: each cluster has so many ordinals of its own, one range after another from "
            "spec.ordinals.start on, and at most so many replicas. What runs is never renumbered. Absent: "
            "the ordinals are the same in each cluster.",
            format="int32",
            minimum=1,
            maximum=1_000_000,
        ),
        clusters=_map(preference, "Preferences by cluster name; * is for every other cluster."),
    )
    move = _object(
        "How the selected objects move between clusters: old replicas stay until as many new ones are ready.",
        maxSurge={
            "x-kubernetes-int-or-string": True,
            "description": "How many replicas there may be beyond those that are wanted while an object "
            "moves whose replicas are divided: a number, or a percentage such as 25%; at least 1 counts. "
            "Absent means 100%.",
        },
        deadlineSeconds=_integer(
            "How long a move may take before onDeadline counts; absent means 600.", format="int64", minimum=0
        ),
        onDeadline=_string(
            "What happens to a move that takes longer. Wait (the default): old replicas stay, and Events say "
            "so. Proceed: old replicas go, ready or not. Abort: what is ready stays, the rest stays where it "
            "was, until something changes that the move depends on.",
            enum=["Wait", "Proceed", "Abort"],
        ),
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
        move=move,
        conflictResolution=_string(
            "What to do when a member has the object already and it is not the federation's.",
            enum=["Abort", "Adopt"], default="Abort",
        ),
        priority=_integer("The policy with the highest priority wins; then the older one.", format="int32"),
        statusFields=_list(
            _object(
                "How one field of the members' statuses is shown at the top of the federation's.",
                ("path", "fold"),
                path=_string("The path below status, with dots; * is for all that no other entry names."),
                fold=_string(
                    "Equal: if all members say the same; Sum, Min, Max: of numbers; Hidden: not at all.",
                    enum=["Equal", "Sum", "Min", "Max", "Hidden"],
                ),
            ),
            "Fields of the status of custom resources that are not to be folded as others are, by Equal.",
        ),
        tolerationSeconds=_integer(
            "How long an unreachable cluster keeps its replicas before they move.", format="int64", minimum=0
        ),
        memberAdmission=_string(
            "Whether a member is asked, by a dry run, before a selected object is stored. Off: no. Warn: "
            "whoever writes the object is told why a member would refuse it. Refuse: it is not stored then. "
            "Absent leaves it to the annotation hanse.dev/member-admission of the namespace, and then to the "
            "federation.",
            enum=["Off", "Warn", "Refuse"],
        ),
        atMostOne=_boolean(
            "Place each object in one cluster at most, and in another only when that one has stopped it."
        ),
        whenUnknown=_string(
            "What becomes of work that a cluster was given and of which nobody knows whether it is done, or "
            "has stopped. Wait: it is not started elsewhere. Restart: it is, after tolerationSeconds.",
            enum=["Wait", "Restart"], default="Wait",
        ),
    )  # fmt: skip


def override_spec(*, with_namespace: bool) -> Schema:
    """Return the schema of an override policy's spec."""
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


def policy_status() -> Schema:
    """Return the schema of the status of a policy."""
    return _object(
        "What the policy does. Read-only.",
        objects=_integer("How many objects it decides about or overrides.", format="int64"),
        clusters=_list(
            _object(
                "A cluster with some of them.",
                name=_string("The cluster."),
                objects=_integer("How many of them are placed there.", format="int64"),
            ),
            "Where they are placed, by cluster; at most 100.",
        ),
        clusterCount=_integer("In how many clusters they are placed.", format="int32"),
        shadowedObjects=_integer(
            "How many objects it selects that a policy with precedence decides about.", format="int64"
        ),
        shadowedBy=_list(
            _object(
                "A policy with precedence.",
                policy=_string("The policy, for example ClusterPlacementPolicy web."),
                objects=_integer("How many of the objects it decides about.", format="int64"),
            ),
            "The policies with precedence.",
        ),
        conditions=_conditions(),
    )


def cluster_schema() -> Schema:
    """Return the schema of a Cluster."""
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
        "state": _string(
            "Pending, Ready, Offline, CredentialRefused, IdentityMismatch, Misbehaving or Unjoining."
        ),
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
    return kind("A member cluster of the federation.", spec=spec, status=status)


def dns_zone_schema() -> Schema:
    """Return the schema of a DnsZone."""
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
    return kind("A DNS zone that the federation publishes names in.", spec=spec, status=status)


def kind(description: str, /, **properties: Schema) -> Schema:
    """Return the schema of a kind with these fields beside apiVersion, kind and metadata."""
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

PLACEMENT = kind(
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
    move=_open("The move between clusters that takes place, and how far it is."),
    error=_string("Why nothing could be decided."),
    createTime=_string("When it was decided first.", format="date-time"),
    updateTime=_string("When the decision changed last.", format="date-time"),
)
SYNC_STATE = kind(
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
FEDERATION_V1_CLUSTER = kind(
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
