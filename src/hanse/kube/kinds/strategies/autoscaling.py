"""HorizontalPodAutoscalers and PodDisruptionBudgets.

An autoscaler of version v1 has one CPU target; everything else travels in annotations. Pure functions. Next:
`hanse.kube.kinds.strategies.kubernetes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from hanse.documents import json_document
from hanse.errors import InvalidArgumentError
from hanse.kube.kinds.fields.cells import NONE, UNSET, columns, number
from hanse.kube.kinds.fields.filling import ensure, fill, section
from hanse.kube.kinds.kubernetes.autoscaling import HORIZONTAL_POD_AUTOSCALER, POD_DISRUPTION_BUDGET
from hanse.kube.kinds.strategy import Cell, Conversion, Strategy
from hanse.kube.kinds.types.autoscaling import group_errors
from hanse.kube.model.fielderrors import FieldError
from hanse.kube.model.objects import Object, mapping, sequence

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


def _default_autoscaler(obj: Object) -> None:
    spec = ensure(obj, "spec")
    spec.setdefault("minReplicas", 1)
    if obj.get("apiVersion") != "autoscaling/v2":
        return
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = section(spec, "behavior")
    if behavior is None:
        return
    percent = {"type": "Percent", "value": 100, "periodSeconds": 15}
    pods = {"type": "Pods", "value": 4, "periodSeconds": 15}
    up, down = ensure(behavior, "scaleUp"), ensure(behavior, "scaleDown")
    fill(up, {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [pods, dict(percent)]})
    fill(down, {"selectPolicy": "Max", "policies": [percent]})


def _autoscaler_errors(obj: Object) -> Iterator[FieldError]:
    spec = mapping(obj, "spec")
    yield from group_errors(mapping(spec, "scaleTargetRef"), "spec.scaleTargetRef", core=False)
    for index, metric in enumerate(sequence(spec, "metrics")):
        described = mapping(metric, "object", "describedObject")
        yield from group_errors(described, f"spec.metrics[{index}].object.describedObject", core=True)


def _metric(metric: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    kind = str(metric.get("type", ""))
    source = next((v for k, v in metric.items() if k.lower() == kind.lower() and isinstance(v, dict)), {})
    target = mapping(source, "target")
    percent = target.get("averageUtilization")
    name = str(source.get("name") or mapping(source, "metric").get("name") or kind).lower()
    now = mapping(next((v for k, v in current.items() if k.lower() == kind.lower()), {}), "current")
    if percent is not None:
        seen = now.get("averageUtilization")
        return f"{name}: {'<unknown>' if seen is None else f'{seen}%'}/{percent}%"
    wanted = target.get("averageValue") or target.get("value") or "<auto>"
    seen = now.get("averageValue") or now.get("value") or "<unknown>"
    return f"{seen}/{wanted}"


def _autoscaler_row(obj: Object, now: datetime) -> Sequence[Cell]:
    spec, status = mapping(obj, "spec"), mapping(obj, "status")
    target = mapping(spec, "scaleTargetRef")
    current = sequence(status, "currentMetrics")
    metrics = sequence(spec, "metrics")
    shown = [_metric(m, current[i] if i < len(current) else {}) for i, m in enumerate(metrics)]
    if spec.get("targetCPUUtilizationPercentage") is not None:
        seen = status.get("currentCPUUtilizationPercentage")
        of = spec["targetCPUUtilizationPercentage"]
        shown.append(f"cpu: {'<unknown>' if seen is None else f'{seen}%'}/{of}%")
    least = spec.get("minReplicas")
    return (
        f"{target.get('kind')}/{target.get('name')}",
        ", ".join(shown) or NONE,
        UNSET if least is None else str(least),
        spec.get("maxReplicas", 0),
        number(obj, "status", "currentReplicas"),
    )


def _budget_row(obj: Object, now: datetime) -> Sequence[Cell]:
    spec = mapping(obj, "spec")
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    return (
        "N/A" if least is None else str(least),
        "N/A" if most is None else str(most),
        number(obj, "status", "disruptionsAllowed"),
    )


STRATEGIES: Final = {
    HORIZONTAL_POD_AUTOSCALER: Strategy(
        defaults=_default_autoscaler,
        rules=_autoscaler_errors,
        table=columns("Reference,Targets,MinPods,MaxPods#,Replicas#,Age", _autoscaler_row),
        conversions={"v1": Conversion(_hpa_to_v1, _hpa_to_v2)},
    ),
    POD_DISRUPTION_BUDGET: Strategy(
        requires_version=True,
        name_problems=lambda name: (),
        bare_finalizers=True,
        table=columns("Min Available,Max Unavailable,Allowed Disruptions#,Age", _budget_row),
    ),
}
"""The strategies of the kinds that have one."""
