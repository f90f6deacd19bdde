"""Tables of Kubernetes objects: the columns that people look for, by kind.

Pure functions on plain dicts.

Next: `hanse_cli.commands.explain`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from hanse.well_known import GROUP
from hanse_cli.output import ago

Object = Mapping[str, Any]
Column = tuple[str, Callable[[Object], str]]


def object_table(objects: Sequence[Object], *, with_namespace: bool) -> tuple[list[str], list[list[str]]]:
    """Header and rows for objects of one kind."""
    if not objects:
        return [], []
    columns: list[Column] = [("NAMESPACE", _namespace)] * with_namespace
    columns += [
        ("NAME", _name),
        *_COLUMNS.get(group_kind(objects[0]), []),
        ("CLUSTERS", _clusters),
        ("AGE", _age),
    ]
    rows = [[text(each) for _, text in columns] for each in objects]
    keep = [
        index
        for index, (title, _) in enumerate(columns)
        if title != "CLUSTERS" or any(row[index] for row in rows)
    ]
    return [columns[index][0] for index in keep], [[row[index] for index in keep] for row in rows]


def group_kind(manifest: Object) -> tuple[str, str]:
    """Return the group ("" for core) and the kind of a manifest."""
    group, slash, _ = str(manifest.get("apiVersion") or "").partition("/")
    return group if slash else "", str(manifest.get("kind"))


def get(document: Object, path: str, default: Any = None) -> Any:
    """Return the value at a dotted path; `default` if there is none on the way."""
    value: Any = document
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return default
        value = value[part]
    return value


def _namespace(each: Object) -> str:
    return str(get(each, "metadata.namespace", ""))


def _name(each: Object) -> str:
    return str(get(each, "metadata.name", ""))


def _age(each: Object) -> str:
    created = get(each, "metadata.creationTimestamp")
    if not created:
        return ""
    text = ago(datetime.fromisoformat(str(created)))
    return f"{text} (deleting)" if get(each, "metadata.deletionTimestamp") else text


def _clusters(each: Object) -> str:
    """Return the clusters in the merged status: a list of entries with a name, or a mapping by name."""
    clusters = get(each, "status.clusters")
    if isinstance(clusters, Mapping):
        return ",".join(sorted(clusters))
    if isinstance(clusters, list):
        names = [
            str(entry.get("name") or entry.get("cluster")) if isinstance(entry, Mapping) else str(entry)
            for entry in clusters
        ]
        return ",".join(sorted(names))
    return ""


def _ready(each: Object) -> str:
    wanted = get(each, "spec.replicas", get(each, "status.desiredNumberScheduled", 1))
    ready = get(each, "status.readyReplicas", get(each, "status.numberReady", 0))
    return f"{ready}/{wanted}"


def _zones(each: Object) -> str:
    return ",".join(get(each, "status.zones") or [])


def _number(path: str) -> Callable[[Object], str]:
    return lambda each: str(get(each, path, 0))


def _text(path: str, default: str = "") -> Callable[[Object], str]:
    return lambda each: str(get(each, path, default))


def _external(each: Object) -> str:
    ingress = get(each, "status.loadBalancer.ingress") or []
    found = [str(entry.get("ip") or entry.get("hostname")) for entry in ingress]
    if found:
        return ",".join(found)
    return "<pending>" if get(each, "spec.type") == "LoadBalancer" else "<none>"


def _ports(each: Object) -> str:
    return ",".join(
        f"{port.get('port')}/{port.get('protocol', 'TCP')}" for port in get(each, "spec.ports") or []
    )


def _data(each: Object) -> str:
    return str(len(each.get("data") or {}) + len(each.get("binaryData") or {}))


_WORKLOAD: list[Column] = [("READY", _ready)]
_FEDERATION_V1 = "federation"
_CLUSTER: list[Column] = [
    ("STATE", _text("status.state")),
    ("REGION", _text("status.region")),
    ("ZONES", _zones),
    ("VERSION", _text("status.kubernetesVersion")),
]
_COLUMNS: Mapping[tuple[str, str], list[Column]] = {
    ("apps", "Deployment"): [
        *_WORKLOAD,
        ("UP-TO-DATE", _number("status.updatedReplicas")),
        ("AVAILABLE", _number("status.availableReplicas")),
    ],
    ("apps", "ReplicaSet"): _WORKLOAD,
    ("apps", "StatefulSet"): _WORKLOAD,
    ("apps", "DaemonSet"): _WORKLOAD,
    ("batch", "Job"): [
        ("COMPLETIONS", lambda each: f"{get(each, 'status.succeeded', 0)}/{get(each, 'spec.completions', 1)}")
    ],
    ("", "Service"): [
        ("TYPE", _text("spec.type", "ClusterIP")),
        ("EXTERNAL-IP", _external),
        ("PORTS", _ports),
    ],
    ("", "ConfigMap"): [("DATA", _data)],
    ("", "Secret"): [("TYPE", _text("type", "Opaque")), ("DATA", _data)],
    (GROUP, "Cluster"): _CLUSTER,
    (_FEDERATION_V1, "Cluster"): _CLUSTER,
    ("", "Namespace"): [("STATUS", _text("status.phase", "Active"))],
}
"""Columns besides the name, by group and kind: another group's kind of the same name has none."""
