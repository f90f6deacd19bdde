"""The objects that scenarios send: one or more of every kind that people write. Pure."""

from __future__ import annotations

import copy
from typing import Any

from hanse.kube.model.objects import Object
from tests.support import objects

CONTAINER: Object = {
    "name": "c",
    "image": "nginx",
    "ports": [{"containerPort": 80}],
    "env": [
        {"name": "A", "value": "1"},
        {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ],
    "livenessProbe": {"httpGet": {"port": 80}},
    "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 3},
    "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}},
    "volumeMounts": [{"name": "v", "mountPath": "/v"}],
}


def template(**spec: Any) -> Object:
    """A pod template with one container and three volumes."""
    volumes = [
        {"name": "v"},
        {"name": "w", "configMap": {"name": "x"}},
        {"name": "s", "secret": {"secretName": "x"}},
        {
            "name": "p",
            "projected": {
                "sources": [
                    {"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}}
                ]
            },
        },
    ]
    return {
        "metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [copy.deepcopy(CONTAINER)], "volumes": volumes, **spec},
    }


def thing(version: str, kind: str, **fields: Any) -> Object:
    """An object named for its kind."""
    return {"apiVersion": version, "kind": kind, "metadata": {"name": f"o{kind.lower()}"}, **fields}


def workload(kind: str, **spec: Any) -> Object:
    """A Deployment, StatefulSet, DaemonSet or ReplicaSet."""
    selector = {"matchLabels": {"app": "a"}}
    return thing("apps/v1", kind, spec={"selector": selector, "template": template(), **spec})


def config_map(name: str, data: Any = None, **metadata: Any) -> Object:
    """A ConfigMap; `data` None omits the field, anything but a map is sent as it is."""
    return {**objects.config_map(name, **metadata), **({} if data is None else {"data": data})}


def deployment(*containers: Object, name: str = "q", replicas: int | None = None, **spec: Any) -> Object:
    """A small Deployment."""
    return objects.deployment(name, app="a", replicas=replicas, containers=containers, **spec)


def container(name: str, **fields: Any) -> Object:
    """A container."""
    return {"name": name, "image": "i:1", **fields}


_RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
_RBAC = "rbac.authorization.k8s.io/v1"
_CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
_BACKEND = {"service": {"name": "a", "port": {"number": 80}}}
_PATHS = {"paths": [{"path": "/", "pathType": "Prefix", "backend": _BACKEND}]}
_TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
_CPU = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 5}},
}
_MATCHED = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["bindings"]}
_PATCH = '[JSONPatch{op: "add", path: "/metadata/labels/a", value: "b"}]'
_NEVER = template(restartPolicy="Never")


def of_every_kind() -> dict[str, Object]:
    """Return objects that are fine, by a name for the test."""
    made = [
        workload("Deployment"),
        workload("Deployment", strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2}}),
        workload("Deployment", strategy={"type": "Recreate"}, replicas=0),
        workload("DaemonSet"),
        workload("ReplicaSet"),
        workload(
            "StatefulSet", serviceName="x", volumeClaimTemplates=[{"metadata": {"name": "d"}, "spec": _CLAIM}]
        ),
        thing("v1", "ReplicationController", spec={"template": template()}),
        thing("v1", "PodTemplate", template=template()),
        thing("batch/v1", "Job", spec={"template": _NEVER}),
        thing("batch/v1", "Job", spec={"template": _NEVER, "completions": 3, "completionMode": "Indexed"}),
        thing(
            "batch/v1",
            "CronJob",
            spec={"schedule": "* * * * *", "jobTemplate": {"spec": {"template": _NEVER}}},
        ),
        thing("v1", "Service", spec={"selector": {"app": "a"}, "ports": [{"port": 80}]}),
        thing("v1", "Service", spec={"type": "LoadBalancer", "ports": [{"port": 80, "targetPort": "http"}]}),
        thing(
            "v1",
            "Service",
            spec={"clusterIP": "None", "selector": {"app": "a"}, "ports": [{"name": "a", "port": 80}]},
        ),
        thing("v1", "Service", spec={"type": "ExternalName", "externalName": "x.org"}),
        thing("v1", "Secret", stringData={"a": "b"}, data={"c": "ZA=="}),
        thing("v1", "Secret", type="kubernetes.io/tls", data={"tls.crt": "", "tls.key": ""}),
        thing("v1", "ConfigMap", data={"a": "b"}, binaryData={"c": "ZA=="}, immutable=True),
        thing("v1", "ServiceAccount", automountServiceAccountToken=False),
        thing("v1", "PersistentVolumeClaim", spec=_CLAIM),
        thing(
            "v1",
            "PersistentVolume",
            spec={
                "capacity": {"storage": "1024Mi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": "/x"},
            },
        ),
        thing("v1", "LimitRange", spec={"limits": [{"type": "Container", "max": {"cpu": "1"}}]}),
        thing("v1", "ResourceQuota", spec={"hard": {"pods": 1, "requests.cpu": "1000m"}}),
        thing("v1", "Namespace"),
        thing(
            "v1",
            "Pod",
            spec=template(serviceAccountName="default", automountServiceAccountToken=False)["spec"],
        ),
        thing("networking.k8s.io/v1", "Ingress", spec={"rules": [{"host": "x.org", "http": _PATHS}]}),
        thing("networking.k8s.io/v1", "IngressClass", spec={"controller": "x.org/y"}),
        thing(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            spec={"podSelector": {}, "egress": [{"ports": [{"port": 53}]}]},
        ),
        thing(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            spec={"maxReplicas": 3, "behavior": {}, "scaleTargetRef": _TARGET},
        ),
        thing(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            spec={"maxReplicas": 3, "metrics": [_CPU], "scaleTargetRef": _TARGET},
        ),
        thing(
            "policy/v1",
            "PodDisruptionBudget",
            spec={"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}},
        ),
        thing(_RBAC, "Role", rules=_RULES),
        thing(_RBAC, "ClusterRole", rules=_RULES),
        thing(
            _RBAC,
            "RoleBinding",
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
            subjects=[
                {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
                {"kind": "User", "name": "u"},
            ],
        ),
        thing(
            _RBAC,
            "ClusterRoleBinding",
            subjects=[{"kind": "Group", "name": "g"}],
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        ),
        thing("scheduling.k8s.io/v1", "PriorityClass", value=5),
        thing("storage.k8s.io/v1", "StorageClass", provisioner="x.org/y"),
        thing("storage.k8s.io/v1", "CSIDriver", spec={}),
        thing("node.k8s.io/v1", "RuntimeClass", handler="x"),
        thing("coordination.k8s.io/v1", "Lease", spec={"holderIdentity": "x", "leaseDurationSeconds": 5}),
        thing(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            addressType="IPv4",
            ports=[{"port": 80}],
            endpoints=[{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
        ),
        thing(
            "admissionregistration.k8s.io/v1",
            "ValidatingWebhookConfiguration",
            webhooks=[
                {
                    "name": "a.x.org",
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                    "clientConfig": {"url": "https://x.org"},
                }
            ],
        ),
        thing(
            "admissionregistration.k8s.io/v1",
            "MutatingAdmissionPolicy",
            spec={
                "matchConstraints": {"resourceRules": [_MATCHED]},
                "reinvocationPolicy": "Never",
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": _PATCH}}],
            },
        ),
        thing(
            "admissionregistration.k8s.io/v1",
            "MutatingAdmissionPolicyBinding",
            spec={"policyName": "none", "matchResources": {}},
        ),
        thing(
            "admissionregistration.k8s.io/v1",
            "ValidatingAdmissionPolicy",
            spec={
                "matchConstraints": {"resourceRules": [_MATCHED]},
                "validations": [{"expression": "true"}],
            },
        ),
        thing(
            "admissionregistration.k8s.io/v1",
            "ValidatingAdmissionPolicyBinding",
            spec={"policyName": "none", "validationActions": ["Deny"]},
        ),
        thing(
            "resource.k8s.io/v1",
            "DeviceTaintRule",
            spec={
                "deviceSelector": {"driver": "x.org"},
                "taint": {"key": "x.org/k", "effect": "NoSchedule", "timeAdded": "2026-01-01T00:00:00Z"},
            },
        ),
        thing(
            "storagemigration.k8s.io/v1",
            "StorageVersionMigration",
            spec={"resource": {"group": "apps", "resource": "deployments"}},
        ),
    ]
    counts: dict[str, int] = {}
    named = {}
    for obj in made:
        kind = obj["kind"]
        counts[kind] = counts.get(kind, 0) + 1
        named[f"{kind}-{counts[kind]}" if counts[kind] > 1 else kind] = obj
    return named
