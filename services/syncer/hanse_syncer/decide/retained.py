"""What of an object is not passed on to a member: what servers write, and what each member decides itself.

Owns the list of such fields, for all kinds and by kind. Pure functions; inputs are never changed, results
share their unchanged parts with them.

Next: `hanse_syncer.decide.render`, which calls these first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def without_members_own(obj: Object) -> Object:
    """Return `obj` without its status and without the fields that each member decides itself."""
    kept = {key: value for key, value in obj.items() if key != "status"}
    strip = _BY_KIND.get((_group(obj), str(obj.get("kind"))))
    return strip(kept) if strip else kept


def _dropped(annotation: str) -> bool:
    # A change of an instruction (weights, say) must not rewrite members where nothing else changed.
    return annotation in _DROPPED_ANNOTATIONS or is_instruction(annotation)


def _group(obj: Mapping[str, Any]) -> str:
    group, slash, _ = str(obj.get("apiVersion") or "").partition("/")
    return group if slash else ""


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


def _service(obj: Object) -> Object:
    """Addresses and health check ports are allocated by each member; "None" (headless) is a wish."""
    spec = obj.get("spec") or {}
    if spec.get("clusterIP") != "None":
        obj = _drop(_drop(obj, "spec", "clusterIP"), "spec", "clusterIPs")
    return _drop(obj, "spec", "healthCheckNodePort")


def _claim(obj: Object) -> Object:
    """A claim is bound by each member to a volume of its own."""
    return _drop(obj, "spec", "volumeName")


def _service_account(obj: Object) -> Object:
    """Token secrets are made by each member."""
    return _drop(obj, "secrets")


def _job(obj: Object) -> Object:
    """Unless the author chose the selector, each member generates it from the uid of its own Job."""
    spec = obj.get("spec") or {}
    if spec.get("manualSelector"):
        return obj
    obj = _drop(obj, "spec", "selector")
    for label in _JOB_LABELS:
        obj = _drop(obj, "spec", "template", "metadata", "labels", label)
        obj = _drop(obj, "metadata", "labels", label)
    return obj


def _namespace(obj: Object) -> Object:
    """Each member finalizes and labels its namespaces itself."""
    return _drop(_drop(obj, "spec"), "metadata", "labels", "kubernetes.io/metadata.name")


_BY_KIND: Final[Mapping[tuple[str, str], Callable[[Object], Object]]] = {
    ("", "Service"): _service,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "ServiceAccount"): _service_account,
    ("", "Namespace"): _namespace,
    ("batch", "Job"): _job,
}
