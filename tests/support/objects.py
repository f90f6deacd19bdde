"""Kubernetes objects as users write them, for tests of any subject.

Each builder takes what tests vary; `name` and `namespace` may be empty, where a test sets them later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]


def build(api_version: str, kind: str, *, name: str = "", namespace: str = "", **rest: Any) -> Object:
    """Return an object; `metadata` in `rest` is joined with name and namespace."""
    named = {key: value for key, value in (("name", name), ("namespace", namespace)) if value}
    metadata = {**named, **rest.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def config_map(
    name: str = "", *, namespace: str = "", data: Mapping[str, str] | None = None, **metadata: Any
) -> Object:
    """Return a ConfigMap; `data` None omits the field."""
    rest = {} if data is None else {"data": dict(data)}
    return build("v1", "ConfigMap", name=name, namespace=namespace, metadata=metadata, **rest)


def namespaced(name: str, **metadata: Any) -> Object:
    """Return a Namespace."""
    return build("v1", "Namespace", name=name, metadata=metadata)


def container(name: str = "web", image: str = "registry.example.org/web:1", **more: Any) -> Object:
    """Return a container of a Pod."""
    return {"name": name, "image": image, **more}


def pod(*containers: Object, name: str = "p", namespace: str = "", **spec: Any) -> Object:
    """Return a Pod with these containers."""
    return build("v1", "Pod", name=name, namespace=namespace, spec={"containers": list(containers), **spec})


def deployment(
    name: str = "web",
    *,
    namespace: str = "",
    replicas: int | None = 2,
    containers: tuple[Object, ...] | None = None,
    app: str = "",
    metadata: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Object:
    """Return a Deployment whose Pods have the label app=`app` (empty: `name`); `replicas` None omits them."""
    labels = {"app": app or name}
    counted = {} if replicas is None else {"replicas": replicas}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": list(containers if containers is not None else (container(),))},
    }
    whole = {**counted, "selector": {"matchLabels": labels}, "template": template, **spec}
    return build(
        "apps/v1", "Deployment", name=name, namespace=namespace, metadata=dict(metadata or {}), spec=whole
    )


def service(name: str, *, namespace: str = "", **spec: Any) -> Object:
    """Return a Service that selects app=`name`, with the port 80."""
    whole = {"selector": {"app": name}, "ports": [{"port": 80}], **spec}
    return build("v1", "Service", name=name, namespace=namespace, spec=whole)
