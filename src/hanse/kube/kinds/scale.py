"""The scale subresource: an `autoscaling/v1 Scale` of anything that has replicas. Pure functions.

Next: `hanse.kube.server.endpoints.write`, which serves it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hanse.errors import InvalidArgumentError
from hanse.kube.kinds.fields.cells import columns, number
from hanse.kube.kinds.kind import ScalePaths
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.kinds.strategy import Strategy
from hanse.kube.model.objects import Object, child, mapping
from hanse.kube.model.selectors import LabelSelector
from hanse.kube.model.status import Cause, InvalidObjectError


def _row(obj: Object, now: datetime) -> tuple[int, int]:
    return number(obj, "spec", "replicas"), number(obj, "status", "replicas")


SCALE = ResourceInfo(
    "autoscaling",
    "v1",
    "Scale",
    "scales",
    "scale",
    namespaced=True,
    strategy=Strategy(table=columns("Desired#,Available#,Age", _row)),
)
"""What a Scale is rendered as. No resource of that name is served."""

_COPIED = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def _path(text: str) -> list[str]:
    return [step for step in text.lstrip(".").split(".") if step]


def scale_of(info: ResourceInfo, obj: Object) -> Object:
    """Return the Scale of an object. Raises InvalidArgumentError if the resource cannot be scaled."""
    paths = info.scale
    if paths is None:
        raise InvalidArgumentError(f"{info.group_resource} cannot be scaled")
    metadata = {k: obj["metadata"][k] for k in _COPIED if k in obj["metadata"]}
    replicas = child(obj, *_path(paths.replicas))
    status: dict[str, Any] = {"replicas": child(obj, *_path(paths.current)) or 0}
    text = _selector(paths, obj)
    if text:
        status["selector"] = text
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": paths.default if replicas is None else replicas},
        "status": status,
    }


def _selector(paths: ScalePaths, obj: Object) -> str:
    if paths.form == "text":
        value = child(obj, *_path(paths.selector)) if paths.selector else ""
        return value if isinstance(value, str) else ""
    selector = mapping(obj, *_path(paths.selector))
    if paths.form == "labels":
        return ",".join(f"{k}={v}" for k, v in sorted(selector.items()))
    return str(LabelSelector.from_object(selector)) if selector else ""


def with_scale(info: ResourceInfo, obj: Object, scale: Any) -> Object:
    """Return the object with the replicas that a Scale asks for. Raises InvalidArgumentError."""
    if info.scale is None:
        raise InvalidArgumentError(f"{info.group_resource} cannot be scaled")
    replicas = mapping(scale, "spec").get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        cause = Cause("FieldValueInvalid", f"Invalid value: {replicas!r}: must be 0 or more", "spec.replicas")
        name = str(obj["metadata"].get("name", ""))
        raise InvalidObjectError(kind="Scale", group="autoscaling", name=name, causes=[cause])
    result: Object = _set(obj, _path(info.scale.replicas), replicas)
    return result


def _set(node: Any, path: list[str], value: Any) -> Any:
    copy = dict(node) if isinstance(node, dict) else {}
    copy[path[0]] = value if len(path) == 1 else _set(copy.get(path[0]), path[1:], value)
    return copy
