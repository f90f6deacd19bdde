"""Objects that system tests create.

Concurrency: pure functions. Next: `suite`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support import objects
from tests.system.harness import Json

IMAGE = "registry.example/web:1"
CLUSTER_SELECTOR = "federation.alpha.kubernetes.io/cluster-selector"
DEPLOYMENT_PREFERENCES = "federation.kubernetes.io/deployment-preferences"


def metadata(name: str, namespace: str, annotations: Mapping[str, str] | None = None, **labels: str) -> Json:
    """An object's metadata."""
    result: Json = {"name": name}
    if namespace:
        result["namespace"] = namespace
    if labels:
        result["labels"] = labels
    if annotations:
        result["annotations"] = dict(annotations)
    return result


def config_map(namespace: str, name: str, annotations: Mapping[str, str] | None = None, **data: str) -> Json:
    """A ConfigMap with `data`."""
    return {**objects.config_map(data=data), "metadata": metadata(name, namespace, annotations, app=name)}


def pod_template(name: str, *, image: str = IMAGE, **spec: Any) -> Json:
    """The template of a workload's pods."""
    containers = [{"name": "main", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers, **spec}}


def workload(
    kind: str,
    namespace: str,
    name: str,
    *,
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> Json:
    """A Deployment, StatefulSet or DaemonSet."""
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": metadata(name, namespace, annotations, app=name),
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": pod_template(name), **spec},
    }


def deployment(
    namespace: str, name: str, replicas: int, *, annotations: Mapping[str, str] | None = None
) -> Json:
    """A Deployment."""
    return workload("Deployment", namespace, name, annotations=annotations, replicas=replicas)


def service(namespace: str, name: str, *, kind: str = "LoadBalancer") -> Json:
    """A Service of the pods with the label app=`name`."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, namespace),
        "spec": {
            "type": kind,
            "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    }


def job(namespace: str, name: str, *, completions: int) -> Json:
    """A Job whose pods succeed."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(name, namespace),
        "spec": {
            "completions": completions,
            "parallelism": completions,
            "template": {"spec": pod_template(name, restartPolicy="Never")["spec"]},
        },
    }


def ingress(namespace: str, name: str) -> Json:
    """An Ingress to the Service of the same name."""
    backend = {"service": {"name": name, "port": {"number": 80}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(name, namespace),
        "spec": {"defaultBackend": backend},
    }


def custom_kind(group: str, plural: str, kind: str) -> Json:
    """A CustomResourceDefinition of a namespaced kind with spec.size."""
    properties = {
        "spec": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}}},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


def placement_policy(namespace: str, name: str, *, api_version: str, kind: str, **spec: Any) -> Json:
    """A PlacementPolicy about all objects of a kind in the namespace."""
    return _policy("PlacementPolicy", namespace, name, api_version=api_version, kind=kind, spec=spec)


def override_policy(namespace: str, name: str, *, api_version: str, kind: str, rules: list[Json]) -> Json:
    """An OverridePolicy about all objects of a kind in the namespace."""
    return _policy(
        "OverridePolicy", namespace, name, api_version=api_version, kind=kind, spec={"rules": rules}
    )


def _policy(policy: str, namespace: str, name: str, *, api_version: str, kind: str, spec: Json) -> Json:
    return {
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": policy,
        "metadata": metadata(name, namespace),
        "spec": {"resourceSelectors": [{"apiVersion": api_version, "kind": kind}], **spec},
    }
