"""Tables of Kubernetes objects: the columns that people look for, by kind.

Pure functions on plain dicts.

Next: `hanse_cli.commands.explain`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

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
        *_COLUMNS.get(str(objects[0].get("kind")), []),
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
_COLUMNS: Mapping[str, list[Column]] = {
    "Deployment": [
        *_WORKLOAD,
        ("UP-TO-DATE", _number("status.updatedReplicas")),
        ("AVAILABLE", _number("status.availableReplicas")),
    ],
    "ReplicaSet": _WORKLOAD,
    "StatefulSet": _WORKLOAD,
    "DaemonSet": _WORKLOAD,
    "Job": [
        ("COMPLETIONS", lambda each: f"{get(each, 'status.succeeded', 0)}/{get(each, 'spec.completions', 1)}")
    ],
    "Service": [("TYPE", _text("spec.type", "ClusterIP")), ("EXTERNAL-IP", _external), ("PORTS", _ports)],
    "ConfigMap": [("DATA", _data)],
    "Secret": [("TYPE", _text("type", "Opaque")), ("DATA", _data)],
    "Cluster": [
        ("STATE", _text("status.state")),
        ("REGION", _text("status.region")),
        ("ZONES", _zones),
        ("VERSION", _text("status.kubernetesVersion")),
    ],
    "Namespace": [("STATUS", _text("status.phase", "Active"))],
}
