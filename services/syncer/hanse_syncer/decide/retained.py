"""What of an object is not passed on to a member: what servers write, and what each member decides itself.

Owns the lists of such fields: of metadata, and those of one kind. What the author wrote himself is passed on,
a cluster IP or the name of a volume too: what the member decides is what he does not say. Pure functions;
inputs are never changed, results share their unchanged parts with them.

Next: `hanse_syncer.decide.kinds`, which says which list is for which kind.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hanse.kube.model.objects import Object, child
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
ANNOTATION_PATHS: Final = tuple(
    f"metadata.annotations[{name}]"
    for name in sorted(_DROPPED_ANNOTATIONS - {"kubectl.kubernetes.io/last-applied-configuration"})
)
_INJECTIONS: Final = frozenset(
    {
        "cert-manager.io/inject-apiserver-ca",
        "cert-manager.io/inject-ca-from",
        "cert-manager.io/inject-ca-from-secret",
        "service.beta.openshift.io/inject-cabundle",
    }
)
_NO_BUNDLES: Final = ("", "Cg==", "Cgo=")
"""What is written where something else will write the bundle: nothing, or a line break."""

API_SERVICE: Final = ("spec.caBundle",)
CLAIM: Final = ("spec.volumeName", "spec.storageClassName")
DEFINITION: Final = ("spec.conversion.webhook.clientConfig.caBundle",)
JOB: Final = ("spec.selector", "spec.template.metadata.labels")
NAMESPACE: Final = ("spec.finalizers", "metadata.labels[kubernetes.io/metadata.name]")
SERVICE: Final = (
    "spec.clusterIP",
    "spec.clusterIPs",
    "spec.healthCheckNodePort",
    "spec.ipFamilies",
    "spec.ipFamilyPolicy",
    "spec.ports[].nodePort",
)
SERVICE_ACCOUNT: Final = ("secrets",)
VOLUME: Final = ("spec.claimRef",)
WEBHOOKS: Final = ("webhooks[].clientConfig.caBundle",)
"""By kind: what the member's controllers write. See `hanse_syncer.decide.kinds.retained_paths`."""
JOB_WITHHELD: Final = ("spec.ttlSecondsAfterFinished",)
"""A Job that a member removes by itself may not be seen to end (`hanse.federation.jobs.job_runs`)."""

_PATH_STEP: Final = re.compile(r"([^.\[\]]+)|\[([^\]]*)\]")
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


def without_path(obj: Object, path: str) -> Object:
    """Return `obj` without the field at a path such as `spec.ports[].nodePort`, in all items of a list."""
    dropped: Object = _without(obj, _path_steps(path))
    return dropped


def _path_steps(path: str) -> list[str]:
    return [name or inside or "[]" for name, inside in _PATH_STEP.findall(path)]


def _without(value: Any, steps: Sequence[str]) -> Any:
    step, rest = steps[0], steps[1:]
    if step == "[]" and isinstance(value, list):
        return [_without(item, rest) for item in value]
    if not isinstance(value, dict) or step not in value:
        return value
    return {**value, step: _without(value[step], rest)} if rest else _drop(value, step)


def webhooks(obj: Object) -> Object:
    """Return a webhook configuration without the CA bundles that something in each member injects."""
    hooks = obj.get("webhooks")
    if not isinstance(hooks, list):
        return obj
    kept = [_without_bundle(obj, hook, "clientConfig", "caBundle") for hook in hooks]
    return obj if all(new is old for new, old in zip(kept, hooks, strict=True)) else {**obj, "webhooks": kept}


def definition(obj: Object) -> Object:
    """Return a CustomResourceDefinition without the CA bundle of its conversion, if that is injected."""
    stripped: Object = _without_bundle(obj, obj, "spec", "conversion", "webhook", "clientConfig", "caBundle")
    return stripped


def api_service(obj: Object) -> Object:
    """Return an APIService without its CA bundle, if that is injected."""
    stripped: Object = _without_bundle(obj, obj, "spec", "caBundle")
    return stripped


def _without_bundle(obj: Object, part: Any, *path: str) -> Any:
    """Return a part of an object without the bundle at the path if it is injected, or says nothing."""
    injected = not _INJECTIONS.isdisjoint((obj.get("metadata") or {}).get("annotations") or {})
    if isinstance(part, dict) and (injected or child(part, *path) in _NO_BUNDLES):
        return _drop(part, *path)
    return part


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
