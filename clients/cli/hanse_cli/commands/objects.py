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
AGE = "AGE"


def object_table(
    objects: Sequence[Object], *, with_namespace: bool, wide: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows for objects of one kind; `wide` says why each cluster has what it has."""
    if not objects:
        return [], []
    columns = columns_of(group_kind(objects[0]), with_namespace=with_namespace, wide=wide)
    rows = [[text(each) for _, text in columns] for each in objects]
    keep = [
        index
        for index, (title, _) in enumerate(columns)
        if title not in _MAY_BE_ABSENT or any(row[index] for row in rows)
    ]
    return [columns[index][0] for index in keep], [[row[index] for index in keep] for row in rows]


def columns_of(kind: tuple[str, str], *, with_namespace: bool, wide: bool) -> list[Column]:
    """Return all columns of a table of objects of a group and kind."""
    columns: list[Column] = [("NAMESPACE", _namespace)] * with_namespace
    columns += [("NAME", _name), *_COLUMNS.get(kind, []), ("CLUSTERS", _clusters), (AGE, _age)]
    columns += [*_WIDE.get(kind, []), *_WIDE_OF_ALL] * wide
    return columns


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


def _reasons(each: Object) -> str:
    """Return the phase of the object in each cluster, with the reason where it is not as it should be."""
    clusters = get(each, "status.clusters")
    told = [entry for entry in clusters if isinstance(entry, Mapping)] if isinstance(clusters, list) else []
    return ", ".join(
        f"{entry.get('name')}: {' '.join(str(entry[key]) for key in ('phase', 'reason') if entry.get(key))}"
        for entry in told
    )


def _containers(each: Object) -> Sequence[Object]:
    found = get(each, "spec.template.spec.containers") or []
    return [container for container in found if isinstance(container, Mapping)]


def _selector(each: Object) -> str:
    wanted = get(each, "spec.selector.matchLabels", get(each, "spec.selector"))
    return ",".join(f"{key}={wanted[key]}" for key in sorted(wanted)) if isinstance(wanted, Mapping) else ""


def _ready(each: Object) -> str:
    wanted = get(each, "status.desiredReplicas", get(each, "spec.replicas"))
    if wanted is None:
        wanted = get(each, "status.desiredNumberScheduled", 1)
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
_PODS: list[Column] = [
    ("CONTAINERS", lambda each: ",".join(str(one.get("name", "")) for one in _containers(each))),
    ("IMAGES", lambda each: ",".join(str(one.get("image", "")) for one in _containers(each))),
    ("SELECTOR", _selector),
]
_MEMBER: list[Column] = [("ADDRESS", _text("spec.server"))]
_WIDE: Mapping[tuple[str, str], list[Column]] = {
    ("apps", "Deployment"): _PODS,
    ("apps", "ReplicaSet"): _PODS,
    ("apps", "StatefulSet"): _PODS,
    ("apps", "DaemonSet"): _PODS,
    ("batch", "Job"): _PODS,
    ("", "Service"): [("SELECTOR", _selector)],
    (GROUP, "Cluster"): _MEMBER,
}
"""Further columns of `-o wide`, by group and kind."""
_WIDE_OF_ALL: list[Column] = [("REASONS", _reasons), ("GENERATION", _text("metadata.generation"))]
_MAY_BE_ABSENT = frozenset({"CLUSTERS", "REASONS", "GENERATION"})
"""Columns that are shown only if an object has something there."""
