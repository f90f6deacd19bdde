"""HorizontalPodAutoscalers and PodDisruptionBudgets.

An autoscaler of version v1 has one CPU target; everything else travels in annotations. Pure functions. Next:
`hanse.kube.kinds.strategies.kubernetes`.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from hanse.documents import json_document
from hanse.errors import InvalidArgumentError
from hanse.kube.kinds.kind import Conversion, Strategy
from hanse.kube.kinds.kubernetes.autoscaling import HORIZONTAL_POD_AUTOSCALER
from hanse.kube.model.objects import Object, mapping

_METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_CURRENT = "autoscaling.alpha.kubernetes.io/current-metrics"
_CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"


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
    measured = status.pop("currentMetrics", None)
    conditions = status.pop("conditions", None)
    for metric in measured or ():
        usage = mapping(metric, "resource")
        if usage.get("name") == "cpu":
            status["currentCPUUtilizationPercentage"] = mapping(usage, "current").get("averageUtilization")
    if measured:
        annotations[_CURRENT] = orjson.dumps(measured).decode()
    if conditions:
        annotations[_CONDITIONS] = orjson.dumps(conditions).decode()
    if annotations:
        metadata["annotations"] = annotations
    result = {**stored, "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec}
    if "status" in stored:
        result["status"] = status
    return result


def _hpa_to_v2(obj: Object, current: Object | None) -> Object:
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
    measured = _json_list(annotations.pop(_CURRENT, ""))
    conditions = _json_list(annotations.pop(_CONDITIONS, ""))
    if measured:
        status["currentMetrics"] = measured
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


STRATEGIES: Final = {
    HORIZONTAL_POD_AUTOSCALER: Strategy(conversions={"v1": Conversion(_hpa_to_v1, _hpa_to_v2)}),
}
