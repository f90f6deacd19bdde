"""One object in several versions: between what is stored and what a client asked for.

Most versions of a resource differ in `apiVersion` only (as with a CRD's None conversion). The others are
here: autoscaling v1, events.k8s.io/v1 and Federation v1's Cluster. Pure functions, which share what they do
not change. Next: `hanse.kube.engine.resources.store`, which stores; `hanse.kube.server.endpoints.read`, which
serves.
"""

from __future__ import annotations

from typing import Any

import orjson

from hanse.documents import json_document
from hanse.errors import InvalidArgumentError
from hanse.federation import kinds as hanse_kinds
from hanse.kube.model.objects import Object, mapping
from hanse.kube.model.resource_info import ResourceInfo

_METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_CURRENT = "autoscaling.alpha.kubernetes.io/current-metrics"
_CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"


def is_stored_form(info: ResourceInfo) -> bool:
    """Report whether objects are stored exactly as this version of the resource shows them."""
    return (info.group, info.plural) == info.storage_key and info.version == info.storage_version


def to_served(info: ResourceInfo, stored: Object) -> Object:
    """Return a stored object as the version `info` shows it."""
    if is_stored_form(info):
        return stored
    if (info.group, info.version) == ("autoscaling", "v1"):
        return _hpa_to_v1(stored)
    if info.group == "events.k8s.io":
        return _event_to_new(stored)
    if info.group == "federation":
        return hanse_kinds.to_federation_v1(stored)
    return {**stored, "apiVersion": info.api_version, "kind": info.kind}


def to_stored(info: ResourceInfo, obj: Object, *, current: Object | None) -> Object:
    """Return an object of version `info` as it is to be stored. `current` is what is stored now."""
    if is_stored_form(info):
        return obj
    if (info.group, info.version) == ("autoscaling", "v1"):
        return _hpa_to_v2(obj)
    if info.group == "events.k8s.io":
        return _event_to_core(obj)
    if info.group == "federation":
        return hanse_kinds.from_federation_v1(obj, current)
    group = info.storage_group
    version = f"{group}/{info.storage_version}" if group else info.storage_version
    return {**obj, "apiVersion": version}


# autoscaling: v1 has one CPU target; everything else travels in annotations.


def _is_cpu_target(metric: Any) -> bool:
    resource = mapping(metric, "resource")
    target = mapping(resource, "target")
    return resource.get("name") == "cpu" and target.get("type") == "Utilization"


def _hpa_to_v1(stored: Object) -> Object:
    spec = dict(mapping(stored, "spec"))
    metadata = dict(mapping(stored, "metadata"))
    annotations = dict(metadata.get("annotations") or {})
    metrics = spec.pop("metrics", None) or []
    behavior = spec.pop("behavior", None)
    cpu = next((m for m in metrics if _is_cpu_target(m)), None)
    if cpu is not None:
        spec["targetCPUUtilizationPercentage"] = cpu["resource"]["target"].get("averageUtilization")
    others = [m for m in metrics if m is not cpu]
    if others:
        annotations[_METRICS] = orjson.dumps(others).decode()
    if behavior:
        annotations[_BEHAVIOR] = orjson.dumps(behavior).decode()
    status = dict(mapping(stored, "status"))
    current = status.pop("currentMetrics", None)
    conditions = status.pop("conditions", None)
    for metric in current or ():
        usage = mapping(metric, "resource")
        if usage.get("name") == "cpu":
            status["currentCPUUtilizationPercentage"] = mapping(usage, "current").get("averageUtilization")
    if current:
        annotations[_CURRENT] = orjson.dumps(current).decode()
    if conditions:
        annotations[_CONDITIONS] = orjson.dumps(conditions).decode()
    if annotations:
        metadata["annotations"] = annotations
    result = {**stored, "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec}
    if "status" in stored:
        result["status"] = status
    return result


def _hpa_to_v2(obj: Object) -> Object:
    spec = dict(mapping(obj, "spec"))
    metadata = dict(mapping(obj, "metadata"))
    annotations = dict(metadata.get("annotations") or {})
    metrics = _json_list(annotations.pop(_METRICS, ""))
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        target = {"type": "Utilization", "averageUtilization": percent}
        metrics.insert(0, {"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if metrics:
        spec["metrics"] = metrics
    behavior = _json(annotations.pop(_BEHAVIOR, ""))
    if isinstance(behavior, dict):
        spec["behavior"] = behavior
    status = dict(mapping(obj, "status"))
    status.pop("currentCPUUtilizationPercentage", None)
    current = _json_list(annotations.pop(_CURRENT, ""))
    conditions = _json_list(annotations.pop(_CONDITIONS, ""))
    if current:
        status["currentMetrics"] = current
    if conditions:
        status["conditions"] = conditions
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    result = {**obj, "apiVersion": "autoscaling/v2", "metadata": metadata, "spec": spec}
    if status:
        result["status"] = status
    return result


def _json(text: str) -> Any:
    try:
        return json_document(text, what="the annotation") if text else None
    except InvalidArgumentError:
        return None


def _json_list(text: str) -> list[Any]:
    value = _json(text)
    return value if isinstance(value, list) else []


# events: the same fields under other names.

_EVENT_NAMES = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
)
_TO_NEW = dict(_EVENT_NAMES)
_TO_CORE = {new: old for old, new in _EVENT_NAMES}


def _event_to_new(stored: Object) -> Object:
    renamed = {_TO_NEW.get(name, name): value for name, value in stored.items()}
    return {**renamed, "apiVersion": "events.k8s.io/v1"}


def _event_to_core(obj: Object) -> Object:
    renamed = {_TO_CORE.get(name, name): value for name, value in obj.items()}
    return {**renamed, "apiVersion": "v1"}
