"""The path of an object: `<group|core>/<resource>/<namespace|_>/<name>`, which all keys about it end with.

Owns how the empty group and cluster scope are written, and taking paths apart and putting them together.
Queues, indexes and records are keyed by path, because the object, its placement and its sync states have one;
resource names in requests are made of it too. Keys are checked by `hanse.store.keys` when they are written or
parsed; here nothing is. Of a path that is too short, what is missing is "".

Pure functions, no state; imports nothing of Hanse. Next: `hanse.store.keys`, for whole keys.
"""

from __future__ import annotations

from typing import Final

CORE: Final = "core"
"""How the empty API group is written."""

CLUSTER_SCOPE: Final = "_"
"""How no namespace is written."""


def parse_group(segment: str) -> str:
    """Return the API group that a segment names, "" for core."""
    return "" if segment == CORE else segment


def parse_namespace(segment: str) -> str:
    """Return the namespace that a segment names, "" for cluster scope."""
    return "" if segment == CLUSTER_SCOPE else segment


def path_of(key: str) -> str:
    """Return the path in the key of an object or a placement: all but the prefix."""
    return key.partition("/")[2]


def path_to(*, group: str, resource: str, namespace: str, name: str) -> str:
    """Return the path of an object; `group` is "" for core, `namespace` "" for cluster scope."""
    return f"{resource_path(group, resource)}/{namespace or CLUSTER_SCOPE}/{name}"


def namespace_path(name: str) -> str:
    """Return the path of a Namespace."""
    return path_to(group="", resource="namespaces", namespace="", name=name)


def resource_path(group: str, resource: str) -> str:
    """Return what the paths of all objects of a resource begin with, without the slash."""
    return f"{group or CORE}/{resource}"


def resource_path_of(path: str) -> str:
    """Return the part of an object's path that says of which resource it is."""
    return "/".join(path.split("/", 2)[:2])


def parts_of(path: str) -> tuple[str, str, str, str]:
    """Return group ("" for core), resource, namespace ("" for cluster scope) and name."""
    group, resource, namespace, name, *_ = *path.split("/"), "", "", ""
    return parse_group(group), resource, parse_namespace(namespace), name


def resource_of(path: str) -> tuple[str, str]:
    """Return group ("" for core) and resource of an object."""
    group, resource, *_ = *path.split("/", 2), ""
    return parse_group(group), resource


def namespace_of(path: str) -> str:
    """Return the namespace of an object, "" for cluster scope."""
    parts = path.split("/", 3)
    return parse_namespace(parts[2]) if len(parts) > 2 else ""
