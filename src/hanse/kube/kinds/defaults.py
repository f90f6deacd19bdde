"""The values that Kubernetes fills in where a user says nothing.

Owns defaulting of the built-in kinds that users write, and of custom resources by their schema's `default`.
Pure: works on a copy; returns the object itself if there is nothing to fill in. Safe from any task. What a
cluster allocates (cluster IPs, node ports, a Job's selector) is not a default and is not here. Source: the
behaviour of Kubernetes' defaulting functions.

Next: `defaults_pod` for Pod specs.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from hanse.documents import TOO_LARGE
from hanse.errors import InvalidArgumentError
from hanse.kube.kinds.defaults_pod import (
    Spec,
    default_pod,
    default_template,
    default_volume,
    dicts,
    ensure,
    fill,
    section,
)
from hanse.kube.merge.schema import ANY, Schema
from hanse.kube.model.objects import Object, name_of, parse_api_version

_RBAC = "rbac.authorization.k8s.io"
MAX_INT32 = 2**31 - 1
MAX_DEFAULTED_BYTES = 3 * 1024 * 1024
"""Bytes, as JSON, that defaults of a custom resource's schema may add to one object."""


def apply_defaults(obj: Object, schema: Schema | None = None) -> Object:
    """Return the object with defaults; the object itself if it lacks none.

    Built-in kinds are known by apiVersion and kind; `schema` matters to custom resources only.
    """
    if schema is not None and not schema.builtin:
        filled = _by_schema(obj, schema, _Budget())
        return filled if isinstance(filled, dict) else obj
    group, _version = parse_api_version(str(obj.get("apiVersion") or "v1"))
    defaulter = _DEFAULTERS.get((group, str(obj.get("kind"))))
    if defaulter is None:
        return obj
    out: Object = orjson.loads(orjson.dumps(obj))
    defaulter(out)
    return obj if out == obj else out


@dataclass(slots=True)
class _Budget:
    """How many bytes defaults may still bring to one object."""

    left: int = MAX_DEFAULTED_BYTES

    def copy(self, default: Any) -> Any:
        """Return a copy of a default. Raises InvalidArgumentError if there were too many."""
        encoded = orjson.dumps(default)
        self.left -= len(encoded)
        if self.left < 0:
            raise InvalidArgumentError(
                f"the defaults of the schema would add more than {MAX_DEFAULTED_BYTES} bytes to the object",
                reason=TOO_LARGE,
            )
        return orjson.loads(encoded)


def _by_schema(value: Any, schema: Schema, budget: _Budget) -> Any:
    """Fill in the defaults of a structural schema, also inside what a default brings."""
    if schema.builtin:
        return value
    if isinstance(value, dict):
        return _fields_by_schema(value, schema, budget)
    if isinstance(value, list) and schema.shape == "list":
        element = schema.element or ANY
        items = [_by_schema(item, element, budget) for item in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    return value


def _fields_by_schema(value: dict[str, Any], schema: Schema, budget: _Budget) -> dict[str, Any]:
    out = value
    for name in schema.fields:
        child = schema.field(name)
        absent = name not in value or (value[name] is None and child is not None and not child.nullable)
        if child is not None and child.has_default and absent:
            out = dict(value) if out is value else out
            out[name] = budget.copy(child.default)
    for name, item in list(out.items()):
        filled = _by_schema(item, schema.field(name) or ANY, budget)
        if filled is not item:
            out = dict(value) if out is value else out
            out[name] = filled
    return out


def _deployment(obj: Object) -> None:
    spec = ensure(obj, "spec")
    default_template(spec)
    fill(spec, {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600})
    strategy = ensure(spec, "strategy")
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        fill(ensure(strategy, "rollingUpdate"), {"maxUnavailable": "25%", "maxSurge": "25%"})


def _replica_set(obj: Object) -> None:
    spec = ensure(obj, "spec")
    default_template(spec)
    spec.setdefault("replicas", 1)


def _replication_controller(obj: Object) -> None:
    _replica_set(obj)
    labels = section(section(section(obj["spec"], "template"), "metadata"), "labels")
    if labels:
        obj["spec"]["selector"] = obj["spec"].get("selector") or dict(labels)
        metadata = ensure(obj, "metadata")
        metadata["labels"] = metadata.get("labels") or dict(labels)


def _stateful_set(obj: Object) -> None:
    spec = ensure(obj, "spec")
    default_template(spec)
    fill(spec, {"podManagementPolicy": "OrderedReady", "replicas": 1, "revisionHistoryLimit": 10})
    strategy = ensure(spec, "updateStrategy")
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        ensure(strategy, "rollingUpdate").setdefault("partition", 0)
    policy = ensure(spec, "persistentVolumeClaimRetentionPolicy")
    fill(policy, {"whenDeleted": "Retain", "whenScaled": "Retain"})
    for claim in dicts(spec, "volumeClaimTemplates"):
        fill(claim, {"apiVersion": "v1", "kind": "PersistentVolumeClaim"})
        _claim(claim)


def _daemon_set(obj: Object) -> None:
    spec = ensure(obj, "spec")
    default_template(spec)
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = ensure(spec, "updateStrategy")
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        fill(ensure(strategy, "rollingUpdate"), {"maxUnavailable": 1, "maxSurge": 0})


def _job(obj: Object) -> None:
    spec = ensure(obj, "spec")
    default_template(spec)
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    fill(
        spec,
        {
            "parallelism": 1,
            "backoffLimit": MAX_INT32 if "backoffLimitPerIndex" in spec else 6,
            "completionMode": "NonIndexed",
            "suspend": False,
            "manualSelector": False,
            "podReplacementPolicy": "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed",
        },
    )
    for rule in dicts(section(spec, "podFailurePolicy"), "rules"):
        for pattern in dicts(rule, "onPodConditions"):
            pattern.setdefault("status", "True")
    labels = section(section(section(spec, "template"), "metadata"), "labels")
    metadata = ensure(obj, "metadata")
    if labels and not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def _cron_job(obj: Object) -> None:
    spec = ensure(obj, "spec")
    fill(
        spec,
        {
            "concurrencyPolicy": "Allow",
            "suspend": False,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1,
        },
    )
    job = section(section(spec, "jobTemplate"), "spec")
    if job is not None:
        default_template(job)


def _service(obj: Object) -> None:
    spec = ensure(obj, "spec")
    spec["type"] = spec.get("type") or "ClusterIP"
    spec["sessionAffinity"] = spec.get("sessionAffinity") or "None"
    if spec["sessionAffinity"] == "ClientIP":
        ensure(ensure(spec, "sessionAffinityConfig"), "clientIP").setdefault("timeoutSeconds", 10800)
    for port in dicts(spec, "ports"):
        port["protocol"] = port.get("protocol") or "TCP"
        if port.get("targetPort") in (None, 0, "") and "port" in port:
            port["targetPort"] = port["port"]
    reachable = spec["type"] in ("NodePort", "LoadBalancer")
    if reachable or (spec["type"] == "ClusterIP" and spec.get("externalIPs")):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if reachable or spec["type"] == "ClusterIP":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def _secret(obj: Object) -> None:
    obj["type"] = obj.get("type") or "Opaque"
    plain = obj.pop("stringData", None)
    if isinstance(plain, dict):
        data = ensure(obj, "data")
        for key, value in plain.items():
            data[key] = base64.b64encode(str(value).encode()).decode()


def _namespace(obj: Object) -> None:
    if name_of(obj):
        ensure(ensure(obj, "metadata"), "labels")["kubernetes.io/metadata.name"] = name_of(obj)
    ensure(obj, "status").setdefault("phase", "Active")


def _claim(obj: Object) -> None:
    ensure(obj, "spec").setdefault("volumeMode", "Filesystem")
    ensure(obj, "status").setdefault("phase", "Pending")


def _volume(obj: Object) -> None:
    spec = ensure(obj, "spec")
    fill(spec, {"persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"})
    default_volume(spec, pod=False)
    ensure(obj, "status").setdefault("phase", "Pending")


def _endpoints(obj: Object) -> None:
    for subset in dicts(obj, "subsets"):
        for port in dicts(subset, "ports"):
            port.setdefault("protocol", "TCP")


def _endpoint_slice(obj: Object) -> None:
    for port in dicts(obj, "ports"):
        fill(port, {"name": "", "protocol": "TCP"})


def _limit_range(obj: Object) -> None:
    for item in dicts(section(obj, "spec"), "limits"):
        if item.get("type") == "Container":
            for target, source in (
                ("default", "max"),
                ("defaultRequest", "default"),
                ("defaultRequest", "min"),
            ):
                values = section(item, source)
                if values:
                    fill(ensure(item, target), values)


def _ingress_class(obj: Object) -> None:
    parameters = section(section(obj, "spec"), "parameters")
    if parameters is not None:
        parameters.setdefault("scope", "Cluster")


def _network_policy(obj: Object) -> None:
    spec = ensure(obj, "spec")
    for direction in ("ingress", "egress"):
        for rule in dicts(spec, direction):
            for port in dicts(rule, "ports"):
                port.setdefault("protocol", "TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _autoscaler(obj: Object) -> None:
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


def _binding(obj: Object) -> None:
    for subject in dicts(obj, "subjects"):
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = _RBAC
    reference = section(obj, "roleRef")
    if reference is not None and not reference.get("apiGroup"):
        reference["apiGroup"] = _RBAC


def _storage_class(obj: Object) -> None:
    fill(obj, {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"})


def _priority_class(obj: Object) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _csi_driver(obj: Object) -> None:
    fill(
        ensure(obj, "spec"),
        {
            "attachRequired": True,
            "fsGroupPolicy": "ReadWriteOnceWithFSType",
            "podInfoOnMount": False,
            "requiresRepublish": False,
            "seLinuxMount": False,
            "storageCapacity": False,
            "volumeLifecycleModes": ["Persistent"],
        },
    )


def _webhooks(obj: Object) -> None:
    for webhook in dicts(obj, "webhooks"):
        fill(
            webhook,
            {
                "failurePolicy": "Fail",
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {},
                "timeoutSeconds": 10,
            },
        )
        if obj.get("kind") == "MutatingWebhookConfiguration":
            webhook.setdefault("reinvocationPolicy", "Never")
        for rule in dicts(webhook, "rules"):
            rule.setdefault("scope", "*")
        service = section(section(webhook, "clientConfig"), "service")
        if service is not None:
            service.setdefault("port", 443)


def _admission_policy(obj: Object) -> None:
    spec = ensure(obj, "spec")
    spec.setdefault("failurePolicy", "Fail")
    _matched(section(spec, "matchConstraints"))


def _admission_binding(obj: Object) -> None:
    _matched(section(ensure(obj, "spec"), "matchResources"))


def _matched(resources: Spec | None) -> None:
    if resources is None:
        return
    fill(resources, {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}})
    for rules in ("resourceRules", "excludeResourceRules"):
        for rule in dicts(resources, rules):
            rule.setdefault("scope", "*")


def _crd(obj: Object) -> None:
    spec = ensure(obj, "spec")
    names = ensure(spec, "names")
    kind = str(names.get("kind") or "")
    if kind:
        fill(names, {"singular": kind.lower(), "listKind": f"{kind}List"})
    ensure(spec, "conversion").setdefault("strategy", "None")


_DEFAULTERS: dict[tuple[str, str], Callable[[Spec], None]] = {
    ("", "Endpoints"): _endpoints,
    ("", "LimitRange"): _limit_range,
    ("", "Namespace"): _namespace,
    ("", "PersistentVolume"): _volume,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Pod"): default_pod,
    ("", "PodTemplate"): default_template,
    ("", "ReplicationController"): _replication_controller,
    ("", "Secret"): _secret,
    ("", "Service"): _service,
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): _admission_policy,
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"): _admission_binding,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): _webhooks,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): _admission_policy,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): _admission_binding,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): _webhooks,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _crd,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
    ("batch", "CronJob"): _cron_job,
    ("batch", "Job"): _job,
    ("discovery.k8s.io", "EndpointSlice"): _endpoint_slice,
    ("networking.k8s.io", "IngressClass"): _ingress_class,
    ("networking.k8s.io", "NetworkPolicy"): _network_policy,
    (_RBAC, "ClusterRoleBinding"): _binding,
    (_RBAC, "RoleBinding"): _binding,
    ("scheduling.k8s.io", "PriorityClass"): _priority_class,
    ("storage.k8s.io", "CSIDriver"): _csi_driver,
    ("storage.k8s.io", "StorageClass"): _storage_class,
}
