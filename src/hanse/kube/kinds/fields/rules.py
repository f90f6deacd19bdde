"""Rules that several kinds have in common: labels, counts, Pod templates and what selects them, rollouts.

Pure generators of `FieldError`, with Kubernetes' messages. They expect right types and defaults filled in;
what they do not check, a member's own API server does. Next: `hanse.kube.kinds.types.pods`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hanse.errors import InvalidArgumentError
from hanse.kube.kinds.types.pods import claims_of, pod_spec
from hanse.kube.model.fielderrors import FieldError, forbidden, invalid, not_supported, required
from hanse.kube.model.names import label_value_problems, qualified_name_problems
from hanse.kube.model.objects import Object, mapping, sequence
from hanse.kube.model.selectors import LabelSelector
from hanse.numbers import whole_number

IMMUTABLE = "field is immutable"
NOT_NEGATIVE = "must be greater than or equal to 0"


MAX_LABELS = 1_000
"""Labels that one object may have; Kubernetes has no bound but the object's size."""


def label_errors(labels: dict[str, Any], path: str) -> Iterator[FieldError]:
    """Yield what is wrong with a map of labels."""
    if len(labels) > MAX_LABELS:
        yield FieldError(path, "FieldValueTooMany", f"must have at most {MAX_LABELS} items", len(labels))
        return
    for key, value in labels.items():
        for problem in qualified_name_problems(key):
            yield invalid(path, key, problem)
        for problem in label_value_problems(str(value)):
            yield invalid(path, value, problem)


def negative_errors(spec: dict[str, Any], *fields: str, path: str = "spec") -> Iterator[FieldError]:
    for field in fields:
        value = spec.get(field)
        if isinstance(value, int) and value < 0:
            yield invalid(f"{path}.{field}", value, NOT_NEGATIVE)


def template_errors(
    spec: dict[str, Any], path: str, restart: tuple[str, ...], *, volumes: tuple[str, ...] | None = None
) -> Iterator[FieldError]:
    template = mapping(spec, "template")
    metadata = mapping(template, "metadata")
    yield from label_errors(mapping(metadata, "labels"), f"{path}.template.metadata.labels")
    for key in mapping(metadata, "annotations"):
        for problem in qualified_name_problems(key.lower()):
            yield invalid(f"{path}.template.annotations", key, problem)
    pod = mapping(template, "spec")
    if sequence(pod, "ephemeralContainers"):
        yield forbidden(f"{path}.template.spec.ephemeralContainers", "not allowed in pod template")
    if pod.get("activeDeadlineSeconds") is not None and "Always" in restart:
        yield forbidden(f"{path}.template.spec.activeDeadlineSeconds", "is not supported here")
    yield from pod_spec(pod, f"{path}.template.spec", volumes=volumes)
    policy = pod.get("restartPolicy")
    if policy == "Always" and "Always" not in restart:
        listed = ", ".join(f'"{name}"' for name in restart)
        yield required(f"{path}.template.spec.restartPolicy", f"valid values: {listed}")
    elif policy is not None and policy not in restart:
        yield not_supported(f"{path}.template.spec.restartPolicy", policy, restart)


def selected_template_errors(obj: Object, kind: str) -> Iterator[FieldError]:
    spec = mapping(obj, "spec")
    yield from negative_errors(spec, "replicas", "minReadySeconds")
    if kind != "statefulset":
        yield from negative_errors(spec, "revisionHistoryLimit")
    selector = spec.get("selector")
    if selector is None:
        yield required("spec.selector")
    elif not (selector.get("matchLabels") or selector.get("matchExpressions")):
        yield invalid("spec.selector", selector, f"empty selector is invalid for {kind}")
    else:
        yield from selected_errors(spec)
    yield from template_errors(spec, "spec", ("Always",), volumes=claims_of(obj))


def selected_errors(spec: dict[str, Any]) -> Iterator[FieldError]:
    """Yield the error for a selector that does not select the Pods of its own template."""
    labels = mapping(spec, "template", "metadata", "labels")
    try:
        matched = LabelSelector.from_object(spec["selector"]).matches(labels)
    except InvalidArgumentError as error:
        yield invalid("spec.selector", spec["selector"], str(error))
    else:
        if not matched:
            message = "`selector` does not match template `labels`"
            yield invalid("spec.template.metadata.labels", labels, message)


def rolling_errors(
    rolling: dict[str, Any], path: str, *, surge_bounded: bool = False
) -> Iterator[FieldError]:
    parsed: dict[str, int] = {}
    for field in ("maxUnavailable", "maxSurge"):
        value = rolling.get(field)
        if isinstance(value, str):
            digits = value.removesuffix("%")
            percent = whole_number(digits)
            if percent is None or digits == value:
                yield invalid(
                    f"{path}.{field}",
                    value,
                    "a valid percent string must be a numeric string "
                    "followed by an ending '%' (e.g. '1%', '93%')",
                )
                continue
            parsed[field] = percent
            if (field == "maxUnavailable" or surge_bounded) and parsed[field] > 100:
                yield invalid(f"{path}.{field}", value, "must not be greater than 100%")
        elif isinstance(value, int):
            parsed[field] = value
            if value < 0:
                yield invalid(f"{path}.{field}", value, NOT_NEGATIVE)
    if parsed.get("maxUnavailable") == 0 and parsed.get("maxSurge") == 0:
        message = "may not be 0 when `maxSurge` is 0"
        yield invalid(f"{path}.maxUnavailable", rolling["maxUnavailable"], message)
