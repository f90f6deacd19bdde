"""What of an object is not passed on to a member: what servers write, and what each member decides itself.

Owns the lists of such fields: of metadata, and those of one kind. Pure functions; inputs are never changed,
results share their unchanged parts with them.

Next: `hanse_syncer.decide.kinds`, which says which list is for which kind.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from hanse.kube.model.objects import Object
from hanse.well_known import is_instruction

_DROPPED_ANNOTATIONS: Final = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deployment.kubernetes.io/revision",
        "deprecated.daemonset.template.generation",
        "pv.kubernetes.io/bind-completed",
        "pv.kubernetes.io/bound-by-controller",
        "volume.kubernetes.io/selected-node",
        "volume.kubernetes.io/storage-provisioner",
        "volume.beta.kubernetes.io/storage-provisioner",
    }
)
_JOB_LABELS: Final = frozenset(
    {
        "controller-uid",
        "job-name",
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-name",
    }
)


def metadata(obj: Mapping[str, Any]) -> Object:
    """Return what of the object's metadata goes to members: name, namespace, labels and annotations.

    All else is the federation's own: uid, resourceVersion, managedFields, ownerReferences (their uids mean
    nothing elsewhere), finalizers (nobody would take them off there), timestamps.
    """
    given = obj.get("metadata") or {}
    kept: Object = {"name": given["name"]}
    if given.get("namespace"):
        kept["namespace"] = given["namespace"]
    if given.get("labels"):
        kept["labels"] = given["labels"]
    annotations = {key: value for key, value in (given.get("annotations") or {}).items() if not _dropped(key)}
    if annotations:
        kept["annotations"] = annotations
    return kept


def _dropped(annotation: str) -> bool:
    # A change of an instruction (weights, say) must not rewrite members where nothing else changed.
    return annotation in _DROPPED_ANNOTATIONS or is_instruction(annotation)


def _drop(obj: Object, *path: str) -> Object:
    """Return `obj` without the field at `path`; `obj` itself if it is not there."""
    head, *rest = path
    if head not in obj:
        return obj
    if not rest:
        return {key: value for key, value in obj.items() if key != head}
    child = obj[head]
    if not isinstance(child, dict):
        return obj
    dropped = _drop(child, *rest)
    return obj if dropped is child else {**obj, head: dropped}


def service(obj: Object) -> Object:
    """Return a Service without addresses and health check ports: each member allocates them.

    "None" (headless) is asked for.
    """
    spec = obj.get("spec") or {}
    if spec.get("clusterIP") != "None":
        obj = _drop(_drop(obj, "spec", "clusterIP"), "spec", "clusterIPs")
    return _drop(obj, "spec", "healthCheckNodePort")


def claim(obj: Object) -> Object:
    """Return a claim without its volume: each member binds it to one of its own."""
    return _drop(obj, "spec", "volumeName")


def service_account(obj: Object) -> Object:
    """Return a ServiceAccount without token secrets: each member makes them."""
    return _drop(obj, "secrets")


def job(obj: Object) -> Object:
    """Return a Job without the selector that each member generates from the uid of its own, if it does."""
    spec = obj.get("spec") or {}
    if spec.get("manualSelector"):
        return obj
    obj = _drop(obj, "spec", "selector")
    for label in _JOB_LABELS:
        obj = _drop(obj, "spec", "template", "metadata", "labels", label)
        obj = _drop(obj, "metadata", "labels", label)
    return obj


def namespace(obj: Object) -> Object:
    """Return a Namespace without what each member does itself: finalizers of the spec, the label."""
    return _drop(_drop(obj, "spec"), "metadata", "labels", "kubernetes.io/metadata.name")


def stored_secret(obj: Object) -> Object:
    """Return a Secret with its stringData where it is stored: nobody owns what it was made into."""
    plain = obj.get("stringData")
    if not isinstance(plain, dict) or not all(isinstance(value, str) for value in plain.values()):
        return obj
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in plain.items()}
    return {**_drop(obj, "stringData"), "data": {**(obj.get("data") or {}), **encoded}}
