"""What an update may not change: identity, and the fields that Kubernetes holds immutable per kind.

Pure; both objects are complete and have defaults. Next: `validation`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hanse.kube.merge.typed import same
from hanse.kube.model.fielderrors import FieldError, forbidden, invalid
from hanse.kube.model.objects import Object, child, mapping, sequence

IMMUTABLE = "field is immutable"
_WHEN_SET = "field is immutable when `immutable` is set"
_STATEFUL_SET_FREE = frozenset(
    {
        "minReadySeconds",
        "ordinals",
        "persistentVolumeClaimRetentionPolicy",
        "replicas",
        "revisionHistoryLimit",
        "template",
        "updateStrategy",
    }
)
_IMMUTABLE: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "Secret"): ("type",),
    ("apps", "Deployment"): ("spec.selector",),
    ("apps", "ReplicaSet"): ("spec.selector",),
    ("apps", "DaemonSet"): ("spec.selector",),
    ("batch", "Job"): ("spec.selector", "spec.completionMode"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): ("spec.group", "spec.scope", "spec.names.kind"),
    ("networking.k8s.io", "IngressClass"): ("spec.controller",),
    ("scheduling.k8s.io", "PriorityClass"): ("value", "preemptionPolicy"),
    ("storage.k8s.io", "StorageClass"): (
        "parameters",
        "provisioner",
        "reclaimPolicy",
        "volumeBindingMode",
    ),
}
_SUSPENDED_FREE = ("nodeSelector", "affinity", "tolerations", "schedulingGates")


def update_errors(old: Object, new: Object, group: str, kind: str) -> Iterator[FieldError]:
    """Yield what `new` changes of `old` that may not change."""
    for field in ("name", "namespace", "uid", "creationTimestamp"):
        before, after = child(old, "metadata", field), child(new, "metadata", field)
        if before and after is not None and before != after:
            yield invalid(f"metadata.{field}", after, IMMUTABLE)
    for path in _IMMUTABLE.get((group, kind), ()):
        before, after = child(old, *path.split(".")), child(new, *path.split("."))
        if before is not None and not same(before, after):
            yield invalid(path, after, IMMUTABLE)
    rule = _RULES.get((group, kind))
    if rule is not None:
        yield from rule(old, new)


def _frozen_data(old: Object, new: Object) -> Iterator[FieldError]:
    if old.get("immutable") is not True:
        return
    if new.get("immutable") is not True:
        yield forbidden("immutable", _WHEN_SET)
    for field in ("data", "binaryData"):
        if not same(mapping(old, field), mapping(new, field)):
            yield forbidden(field, _WHEN_SET)


def _stateful_set(old: Object, new: Object) -> Iterator[FieldError]:
    before = {k: v for k, v in mapping(old, "spec").items() if k not in _STATEFUL_SET_FREE}
    after = {k: v for k, v in mapping(new, "spec").items() if k not in _STATEFUL_SET_FREE}
    for spec in (before, after):
        spec["volumeClaimTemplates"] = [
            {k: v for k, v in claim.items() if k != "status"}
            for claim in sequence(spec, "volumeClaimTemplates")
        ]
    if not same(before, after):
        yield forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
            "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
            "'minReadySeconds' are forbidden",
        )


def _job(old: Object, new: Object) -> Iterator[FieldError]:
    before, after = mapping(old, "spec"), mapping(new, "spec")
    if not same(before.get("completions"), after.get("completions")) and not (
        after.get("completionMode") == "Indexed" and after.get("completions") == after.get("parallelism")
    ):
        yield invalid("spec.completions", after.get("completions"), IMMUTABLE)
    template, wanted = mapping(before, "template"), mapping(after, "template")
    if before.get("suspend") is True:
        template, wanted = _without_scheduling(template), _without_scheduling(wanted)
    if not same(template, wanted):
        yield invalid("spec.template", after.get("template"), IMMUTABLE)


def _without_scheduling(template: dict[str, Any]) -> dict[str, Any]:
    spec = {k: v for k, v in mapping(template, "spec").items() if k not in _SUSPENDED_FREE}
    return {"spec": spec}


def _service(old: Object, new: Object) -> Iterator[FieldError]:
    before, after = mapping(old, "spec"), mapping(new, "spec")
    if "ExternalName" in (before.get("type"), after.get("type")):
        return
    address, wanted = before.get("clusterIP"), after.get("clusterIP")
    if address and wanted is not None and wanted != address:
        yield invalid("spec.clusterIPs[0]", [wanted], "may not change once set")


def _claim(old: Object, new: Object) -> Iterator[FieldError]:
    free = (
        "resources",
        "volumeAttributesClassName",
        *(() if child(old, "spec", "volumeName") else ("volumeName",)),
    )
    before = {k: v for k, v in mapping(old, "spec").items() if k not in free}
    after = {k: v for k, v in mapping(new, "spec").items() if k not in free}
    if not same(before, after):
        yield forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName "
            "for bound claims",
        )


def _binding(old: Object, new: Object) -> Iterator[FieldError]:
    if not same(old.get("roleRef"), new.get("roleRef")):
        yield invalid("roleRef", new.get("roleRef"), "cannot change roleRef")


def _pod(old: Object, new: Object) -> Iterator[FieldError]:
    if not same(_pod_frozen(old, old), _pod_frozen(new, old)):
        yield forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions "
            "to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it "
            "was previously negative)",
        )


def _pod_frozen(pod: Object, old: Object) -> dict[str, Any]:
    free = ["activeDeadlineSeconds", "tolerations", "ephemeralContainers", "schedulingGates"]
    if not child(old, "spec", "nodeName"):
        free.append("nodeName")
    spec = {k: v for k, v in mapping(pod, "spec").items() if k not in free}
    for field in ("containers", "initContainers"):
        spec[field] = [
            {k: v for k, v in item.items() if k not in ("image", "resources")}
            for item in sequence(spec, field)
        ]
    return spec


_RULES = {
    ("", "ConfigMap"): _frozen_data,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Pod"): _pod,
    ("", "Secret"): _frozen_data,
    ("", "Service"): _service,
    ("apps", "StatefulSet"): _stateful_set,
    ("batch", "Job"): _job,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): _binding,
    ("rbac.authorization.k8s.io", "RoleBinding"): _binding,
}
