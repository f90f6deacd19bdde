"""Intent out of what members have: the objects that a federation applied there, put together again.

Owns how the copies of one object in several members become one object, and what about them disagrees. What
Hanse applied is told by the managed fields of each copy, so nothing that a member or somebody else added is
taken for intent. Each object is pinned to where it is, with the replicas that it has there: a federation
that is built of this plan moves, removes and writes nothing. Policies, Cluster objects and whatever else
was only in the federation are not in the members and not in the plan.

Owns the plan's form too: YAML documents to be created, with remarks for whoever reviews them.

Concurrency: pure functions. Next: `hanse_local.rebuild.reading`, which reads the members.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml
from hanse_syncer import ownership
from hanse_syncer.decide import kinds, retained

from hanse.kube.kinds.kubernetes import apps, batch, core, extensions
from hanse.kube.merge import fieldsets
from hanse.kube.model.objects import Object
from hanse.store.keys import ObjectKey
from hanse.well_known import (
    CLUSTER_LABEL,
    CLUSTER_SELECTOR,
    DEPLOYMENT_PREFERENCES,
    FIELD_MANAGER,
    REPLICA_SET_PREFERENCES,
)

PREFERENCES: Final[Mapping[tuple[str, str], str]] = {
    apps.DEPLOYMENT.group_plural: DEPLOYMENT_PREFERENCES,
    apps.REPLICA_SET.group_plural: REPLICA_SET_PREFERENCES,
}
"""Kinds whose replicas the scheduler divides, and the annotation that says how."""
NAMESPACES: Final = core.NAMESPACE.group_plural
DEFINITIONS: Final = extensions.CUSTOM_RESOURCE_DEFINITION.group_plural
JOBS: Final = batch.JOB.group_plural
_ABSENT: Final = "(absent)"
_MOST_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A field in which members differ. `values` is by cluster, `taken` the one in the plan; as JSON."""

    path: str
    values: Mapping[str, str]
    taken: str

    def __str__(self) -> str:
        """For people."""
        each = "; ".join(f"{cluster}: {_short(value)}" for cluster, value in self.values.items())
        return f"{self.path}: {each}; taken: {_short(self.taken)}"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """One object of the plan."""

    key: ObjectKey
    manifest: Object
    clusters: Mapping[str, int | None]
    """Where it is, with its replicas if the scheduler divides them."""
    disagreements: tuple[Disagreement, ...] = ()

    @property
    def where(self) -> str:
        """The clusters, for people."""
        return ", ".join(
            name if count is None else f"{name} ({count})" for name, count in self.clusters.items()
        )

    @property
    def title(self) -> str:
        """The object, as `hanse orphans` names it."""
        kind = f"{self.key.resource}.{self.key.group}" if self.key.group else self.key.resource
        return f"{kind}/{self.key.name}" + (f" -n {self.key.namespace}" if self.key.namespace else "")


def applied(live: Mapping[str, Any]) -> Object:
    """Return what Hanse applied of a member's object, as a manifest for the federation.

    An object whose managed fields were lost is taken as it is, without what members write.
    """
    metadata = live["metadata"]
    fields = _fields(metadata.get("managedFields") or ())
    if fields is None:
        kept = dict(live)
    else:
        kept = {**fieldsets.extracted(dict(live), fields)}
        identity = {name: metadata[name] for name in ("name", "namespace") if metadata.get(name)}
        kept = {**kept, "metadata": {**(kept.get("metadata") or {}), **identity}}
    kept |= {name: live[name] for name in ("apiVersion", "kind")}
    kept = kinds.without_members_own({**kept, "metadata": retained.metadata(kept)})
    labels = {
        name: value
        for name, value in (kept["metadata"].get("labels") or {}).items()
        if name not in ownership.labels("")
    }
    rest = {name: value for name, value in kept["metadata"].items() if name != "labels"}
    return {**kept, "metadata": {**rest, "labels": labels} if labels else rest}


def _fields(entries: Iterable[Any]) -> fieldsets.Fields | None:
    """Return the fields that Hanse applied; None if nobody knows."""
    for entry in entries:
        by_us = entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"
        if by_us and not entry.get("subresource") and entry.get("fieldsV1"):
            return fieldsets.from_wire(entry["fieldsV1"])
    return None


def put_together(copies: Mapping[ObjectKey, Mapping[str, Object]]) -> list[Rebuilt]:
    """Make the plan: `copies` has what `applied` says, by object and cluster. In the order of creation."""
    made = [_one(key, dict(sorted(found.items()))) for key, found in copies.items()]
    return sorted(made, key=lambda each: (_depth(each.key), each.key.path()))


def _one(key: ObjectKey, copies: dict[str, Object]) -> Rebuilt:
    kind = (key.group, key.resource)
    replicas: dict[str, int | None] = dict.fromkeys(copies)
    if kind in PREFERENCES:
        replicas = {cluster: _replicas(copy) for cluster, copy in copies.items()}
        copies = {cluster: _without_replicas(copy) for cluster, copy in copies.items()}
    manifest, differences = _majority(copies)
    if kind == JOBS and len(copies) > 1:
        each = {
            cluster: json.dumps(copy.get("spec", {}).get("completions")) for cluster, copy in copies.items()
        }
        differences = [*differences, Disagreement("a Job in several clusters", each, "of one cluster")]
    annotations: dict[str, str] = {}
    if kind != NAMESPACES:  # a namespace goes where what is in it goes
        annotations[CLUSTER_SELECTOR] = json.dumps(
            [{"key": CLUSTER_LABEL, "operator": "In", "values": list(copies)}]
        )
    if kind in PREFERENCES:
        counts = {cluster: count or 0 for cluster, count in replicas.items()}
        manifest = {**manifest, "spec": {**(manifest.get("spec") or {}), "replicas": sum(counts.values())}}
        shares = {cluster: {"minReplicas": count, "weight": count} for cluster, count in counts.items()}
        annotations[PREFERENCES[kind]] = json.dumps({"rebalance": False, "clusters": shares})
    metadata = manifest["metadata"]
    if annotations:
        metadata = {**metadata, "annotations": {**(metadata.get("annotations") or {}), **annotations}}
    return Rebuilt(key, {**manifest, "metadata": metadata}, replicas, tuple(differences))


def _replicas(copy: Object) -> int:
    found = (copy.get("spec") or {}).get("replicas")
    return found if isinstance(found, int) else 1


def _without_replicas(copy: Object) -> Object:
    spec = {name: value for name, value in (copy.get("spec") or {}).items() if name != "replicas"}
    return {**copy, "spec": spec}


def _majority(copies: Mapping[str, Object]) -> tuple[Object, list[Disagreement]]:
    """Return the copy that most clusters have, of the first by name where none leads, and how others
    differ.
    """
    texts = {cluster: json.dumps(copy, sort_keys=True) for cluster, copy in copies.items()}
    best, _ = Counter(texts.values()).most_common(1)[0]
    chosen = next(cluster for cluster, text in texts.items() if text == best)
    flat = {cluster: dict(_leaves(copy)) for cluster, copy in copies.items()}
    paths = sorted({path for leaves in flat.values() for path in leaves})
    found = []
    for path in paths:
        values = {cluster: leaves.get(path, _ABSENT) for cluster, leaves in flat.items()}
        if len(set(values.values())) > 1:
            found.append(Disagreement(path, values, values[chosen]))
    return copies[chosen], found


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each value that holds no others, as JSON, by its path."""
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _leaves(each, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for number, each in enumerate(value):
            yield from _leaves(each, f"{path}[{number}]")
    else:
        yield path, json.dumps(value, sort_keys=True)


def _depth(key: ObjectKey) -> int:
    order = [NAMESPACES, DEFINITIONS]
    kind = (key.group, key.resource)
    return order.index(kind) if kind in order else len(order)


def _short(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."


def written(plan: Sequence[Rebuilt], *, federation_id: str, notes: Sequence[str]) -> str:
    """Return the plan as a file to be reviewed: change or remove documents, then have it applied."""
    lines = [
        f"# Objects of the federation {federation_id}, put together from what its members have.",
        "# Each document is created as it stands by `hanse rebuild --plan FILE`. Change or remove what is",
        "# not right. The annotations keep each object where it is: take them off where policies should",
        "# decide again.",
        "# Secrets are in it as they are: keep this file to yourself.",
        *(f"# Not read: {note}" for note in notes),
    ]
    parts = ["\n".join(map(_one_line, lines)) + "\n"]
    for each in plan:
        remarks = [f"# {each.title}: in {each.where}"]
        remarks += [f"# DISAGREEMENT {difference}" for difference in each.disagreements]
        body = yaml.safe_dump(each.manifest, sort_keys=False, default_flow_style=False)
        parts.append("\n".join(map(_one_line, remarks)) + "\n" + body)
    return "---\n".join(parts)


def _one_line(text: str) -> str:
    return " ".join(text.split())
