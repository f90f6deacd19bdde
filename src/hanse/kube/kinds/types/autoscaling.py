"""Types of scaling and disruption: HorizontalPodAutoscalers and PodDisruptionBudgets.

Pure. Next: `hanse.kube.kinds.types.table`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from hanse.kube.kinds.types.checks import (
    Check,
    Given,
    Plain,
    amount,
    choice,
    count_or_percent,
    percent_of,
    quantity,
    struct,
    text,
    within,
)
from hanse.kube.kinds.types.resources import container_name_errors
from hanse.kube.model.fielderrors import FieldError, forbidden, invalid, not_supported, required
from hanse.kube.model.names import label_problems, path_segment_problems
from hanse.kube.model.objects import mapping, sequence

_SEGMENT: Final = text(path_segment_problems)
_SOURCES: Final = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}


def group_errors(reference: Any, where: str, *, core: bool) -> Iterator[FieldError]:
    """Yield what is wrong with the version of a reference, which `core` allows to be in the core group."""
    version = reference.get("apiVersion") or ""
    if version.count("/") > 1:
        yield invalid(f"{where}.apiVersion", version, f"unexpected GroupVersion string: {version}")
    elif not core and not (version.partition("/")[1] and version.partition("/")[0]):
        yield invalid(f"{where}.apiVersion", version, "apiVersion must specify API group")


def _autoscaler(value: Any, where: str) -> Iterator[FieldError]:
    low, high = value.get("minReplicas"), value.get("maxReplicas") or 0
    metrics = sequence(value, "metrics")
    if not high:
        yield required(f"{where}.maxReplicas", "must be set and greater than 0")
    elif high < 0:
        yield invalid(f"{where}.maxReplicas", high, "must be greater than or equal to 1")
    if low is not None and low < 0:
        yield invalid(f"{where}.minReplicas", low, "must be greater than or equal to 0")
    if low is not None and high and high < low:
        yield invalid(f"{where}.maxReplicas", high, "must be greater than or equal to `minReplicas`")
    if low == 0 and not any(metric.get("type") in ("Object", "External") for metric in metrics):
        message = "must specify at least one Object or External metric to support scaling to zero replicas"
        yield forbidden(f"{where}.metrics", message)
    if value.get("scaleTargetRef") is None:
        yield required(f"{where}.scaleTargetRef.kind")
        yield required(f"{where}.scaleTargetRef.name")


def _metric(value: Any, where: str) -> Iterator[FieldError]:
    kind = value.get("type") or ""
    if kind not in _SOURCES:
        yield not_supported(f"{where}.type", kind, sorted(_SOURCES))
        return
    expected = _SOURCES[kind]
    if value.get(expected) is None:
        yield required(f"{where}.{expected}", "must populate information for the given metric source")
    for name in _SOURCES.values():
        if name != expected and value.get(name) is not None:
            yield forbidden(f"{where}.{name}", "must populate the given metric source only")


def _target(*one_of: str, only_one: bool) -> Check:
    def check(value: Any, where: str) -> Iterator[FieldError]:
        target = mapping(value, "target")
        given = [name for name in one_of if target.get(name) is not None]
        if not given:
            yield required(f"{where}.target.{one_of[0]}", f"must set one of {', '.join(one_of)}")
        if only_one and len(given) > 1:
            yield forbidden(f"{where}.target.{one_of[-1]}", f"may not set both {' and '.join(one_of)}")
        if value.get("target") is None:
            yield required(f"{where}.target.type", "must specify a metric target type")

    return check


def _metric_named(value: Any, where: str) -> Iterator[FieldError]:
    if value.get("metric") is None:
        yield required(f"{where}.metric.name", "must specify a metric name")


def _positive(value: Any, where: str) -> Iterator[FieldError]:
    found = amount(value)
    if found is not None and found <= 0:
        yield invalid(where, str(value), "must be positive")


def _rules(value: Any, where: str) -> Iterator[FieldError]:
    if not value.get("policies"):
        yield required(f"{where}.policies", "must specify at least one Policy")


def _up_to_all(value: Any, where: str) -> Iterator[FieldError]:
    yield from count_or_percent(value, where)
    if (percent_of(value) or 0) > 100:
        yield invalid(where, value, "must not be greater than 100%")


def _budget(value: Any, where: str) -> Iterator[FieldError]:
    if value.get("minAvailable") is not None and value.get("maxUnavailable") is not None:
        yield invalid(where, value, "minAvailable and maxUnavailable cannot be both set")


def _described(value: Any, where: str) -> Iterator[FieldError]:
    if value.get("describedObject") is None:
        yield required(f"{where}.describedObject.kind")


_WINDOW: Final = within(0, 3600, "must be between 0 and 3600")
_REFERENCE: Final = struct(needs="kind name", kind=_SEGMENT, name=_SEGMENT)

TYPES: Final[dict[str, Check]] = {
    "autoscaling.v1.CrossVersionObjectReference": _REFERENCE,
    "autoscaling.v2.ContainerResourceMetricSource": struct(
        _target("averageUtilization", "averageValue", only_one=True),
        needs="name container",
        name=container_name_errors,
        container=text(label_problems),
    ),
    "autoscaling.v2.CrossVersionObjectReference": _REFERENCE,
    "autoscaling.v2.ExternalMetricSource": struct(
        _target("averageValue", "value", only_one=True), _metric_named
    ),
    "autoscaling.v2.HPAScalingPolicy": struct(
        type=Plain(choice("Percent", "Pods")),
        value=Plain(within(1, message="must be greater than zero"), 0),
        periodSeconds=Plain(within(1, 1800, "must be greater than zero and at most 1800"), 0),
    ),
    "autoscaling.v2.HPAScalingRules": struct(
        _rules,
        stabilizationWindowSeconds=_WINDOW,
        selectPolicy=Given(choice("Disabled", "Max", "Min")),
        tolerance=quantity(),
    ),
    "autoscaling.v2.HorizontalPodAutoscalerSpec": struct(_autoscaler),
    "autoscaling.v2.MetricIdentifier": struct(needs="name", name=_SEGMENT),
    "autoscaling.v2.MetricSpec": struct(_metric),
    "autoscaling.v2.MetricTarget": struct(
        type=Plain(choice("AverageValue", "Utilization", "Value")),
        value=Given(_positive),
        averageValue=Given(_positive),
        averageUtilization=Given(within(1, message="must be greater than 0")),
    ),
    "autoscaling.v2.ObjectMetricSource": struct(
        _target("averageValue", "value", only_one=False), _metric_named, _described
    ),
    "autoscaling.v2.PodsMetricSource": struct(_target("averageValue", only_one=False), _metric_named),
    "autoscaling.v2.ResourceMetricSource": struct(
        _target("averageUtilization", "averageValue", only_one=True), needs="name"
    ),
    "policy.v1.PodDisruptionBudgetSpec": struct(
        _budget,
        minAvailable=Given(_up_to_all),
        maxUnavailable=Given(_up_to_all),
        unhealthyPodEvictionPolicy=Given(choice("AlwaysAllow", "IfHealthyBudget")),
    ),
}
"""The checks of these types, by their short names."""
