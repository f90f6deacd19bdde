"""What controllers need to know about Pods: pure functions over a Pod's object.

No state, no I/O. Next: `hanse_simulator.controllers.kubelet`, which brings Pods to life.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import orjson

from hanse.kube.model.objects import Object, is_deleting, mapping, name_of
from hanse_simulator.world import condition, is_true, owner_reference, parse_time, seconds_until

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Letters of generated names, without those that make words. As Kubernetes' SafeEncodeString."""


def phase(pod: Object) -> str:
    """Return status.phase."""
    return str(mapping(pod, "status").get("phase") or "Pending")


def is_active(pod: Object) -> bool:
    """Report whether a Pod runs or will run: not ended, and not being deleted."""
    return phase(pod) not in ("Succeeded", "Failed") and not is_deleting(pod)


def is_ready(pod: Object) -> bool:
    """Report whether a Pod is ready."""
    return is_true(pod, "Ready")


def available_in(pod: Object, min_ready_seconds: float, now: datetime) -> float | None:
    """Return in how many seconds a Pod will be available: 0 if it is, None if it is not ready."""
    ready = condition(pod, "Ready")
    if ready is None or ready.get("status") != "True":
        return None
    if not min_ready_seconds:
        return 0.0
    return max(0.0, seconds_until(parse_time(ready["lastTransitionTime"]), min_ready_seconds, now))


def is_available(pod: Object, min_ready_seconds: float, now: datetime) -> bool:
    """Report whether a Pod has been ready for long enough."""
    return available_in(pod, min_ready_seconds, now) == 0.0


def next_available(pods: Iterable[Object], min_ready_seconds: float, now: datetime) -> float | None:
    """Return in how many seconds the next of the Pods becomes available; None if none will by itself."""
    waits = [w for pod in pods if (w := available_in(pod, min_ready_seconds, now))]
    return min(waits) if waits else None


def deletion_order(pod: Object) -> tuple[int, int, int, float]:
    """Return a sort key: which Pod a ReplicaSet gives up first. As Kubernetes' ActivePods.

    Without a node first, then pending, then not ready, then the youngest.
    """
    spec = mapping(pod, "spec")
    born = parse_time(pod["metadata"]["creationTimestamp"]).timestamp()
    pending = {"Pending": 0, "Unknown": 1}.get(phase(pod), 2)
    return (1 if spec.get("nodeName") else 0, pending, 1 if is_ready(pod) else 0, -born)


def from_template(
    template: Mapping[str, Any],
    *,
    owner: Object,
    name: str = "",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Object:
    """Return a new Pod from a template, controlled by `owner`; `name` "" generates one from the owner's."""
    given = mapping(template, "metadata")
    metadata: dict[str, Any] = {
        "namespace": owner["metadata"]["namespace"],
        "labels": {**(given.get("labels") or {}), **(labels or {})},
        "annotations": {**(given.get("annotations") or {}), **(annotations or {})},
        "finalizers": list(given.get("finalizers") or ()),
        "ownerReferences": [owner_reference(owner)],
    }
    metadata = {key: value for key, value in metadata.items() if value}
    if name:
        metadata["name"] = name
    else:
        metadata["generateName"] = f"{name_of(owner)}-"
    return {"metadata": metadata, "spec": mapping(template, "spec")}


def template_of(owner: Object) -> Object:
    """Return spec.template."""
    return mapping(owner, "spec", "template")


def without_label(template: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Return a template without one of its labels."""
    metadata = mapping(template, "metadata")
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k != label}
    return {**template, "metadata": {**metadata, "labels": labels}}


def with_label(template: Mapping[str, Any], label: str, value: str) -> dict[str, Any]:
    """Return a template with one more label."""
    metadata = mapping(template, "metadata")
    return {**template, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), label: value}}}


def same_template(one: Mapping[str, Any], other: Mapping[str, Any], *, ignoring: str) -> bool:
    """Compare two templates but for one label. What is empty counts as absent."""
    same: bool = _clean(without_label(one, ignoring)) == _clean(without_label(other, ignoring))
    return same


def template_hash(template: Mapping[str, Any], *, ignoring: str = "", salt: int = 0) -> str:
    """Return a short name for a template: equal templates have equal names."""
    content = _clean(without_label(template, ignoring))
    digest = hashlib.blake2s(orjson.dumps([content, salt], option=orjson.OPT_SORT_KEYS), digest_size=8)
    number = int.from_bytes(digest.digest(), "big")
    letters = []
    for _ in range(10):
        number, index = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    return "".join(letters)


def _clean(value: Any) -> Any:
    """Drop what is empty or null, at all depths, as defaulting and clients differ in it."""
    if isinstance(value, dict):
        cleaned = {k: _clean(v) for k, v in value.items()}
        return {k: v for k, v in cleaned.items() if v not in (None, {}, [], "")}
    if isinstance(value, list):
        return [_clean(v) for v in value]
    return value
