"""What goes to the members by itself, and what stays in the federation.

Owns the list of kinds that configure the federation itself or that each member makes for itself; all others,
and so every CRD's, propagate. A policy may still select an object of a kind that does not. Pure functions.

Next: the apiserver, which puts the finalizer `hanse.dev/sync` on what propagates; the scheduler, which
places it.
"""

from __future__ import annotations

from typing import Any, Final

from hanse.kube.objects import Object, mapping, name_of, sequence

SYNC_FINALIZER: Final = "hanse.dev/sync"
"""Keeps a federated object until every member has confirmed that its copy is gone."""

UNJOIN_FINALIZER: Final = "hanse.dev/unjoin"
"""Keeps a Cluster until the registry has unjoined it."""

TRACEPARENT: Final = "hanse.dev/traceparent"
"""Annotation of stored objects with the W3C traceparent of the change; never served."""

_GROUPS: Final = frozenset(
    {
        "hanse.dev",
        "federation",
        "rbac.authorization.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "events.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "apiregistration.k8s.io",
        "admissionregistration.k8s.io",
        "certificates.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "internal.apiserver.k8s.io",
        "storagemigration.k8s.io",
        "resource.k8s.io",
        "metrics.k8s.io",
    }
)
_RESOURCES: Final = frozenset(
    {
        ("", "bindings"),
        ("", "componentstatuses"),
        ("", "endpoints"),
        ("", "events"),
        ("", "nodes"),
        ("", "persistentvolumes"),
        ("", "pods"),
        ("apps", "controllerrevisions"),
        ("storage.k8s.io", "csinodes"),
        ("storage.k8s.io", "csistoragecapacities"),
        ("storage.k8s.io", "volumeattachments"),
    }
)


def propagates(group: str, resource: str) -> bool:
    """Report whether objects of this resource go to the members by default. `group` is "" for core."""
    return group not in _GROUPS and (group, resource) not in _RESOURCES


def object_propagates(group: str, resource: str, obj: Object) -> bool:
    """Report whether this object goes to the members by default.

    Besides `propagates`: what a controller made follows from its owner, which each member's own controllers
    act on; the namespaces that every cluster has, and what it puts into each namespace, are its own.
    """
    if not propagates(group, resource) or has_controller(obj):
        return False
    if (group, resource) == ("", "namespaces"):
        return not is_members_own_namespace(name_of(obj))
    return (group, resource, name_of(obj)) not in _IN_EVERY_NAMESPACE


_IN_EVERY_NAMESPACE: Final = frozenset(
    {("", "configmaps", "kube-root-ca.crt"), ("", "serviceaccounts", "default")}
)


def is_members_own_namespace(name: str) -> bool:
    """Report whether every cluster has this namespace by itself: `default` and `kube-…`."""
    return name == "default" or name.startswith("kube-")


def has_controller(obj: Object) -> bool:
    """Report whether a controller made the object: an owner reference says `controller: true`."""
    owners: list[Any] = sequence(mapping(obj, "metadata"), "ownerReferences")
    return any(isinstance(owner, dict) and owner.get("controller") is True for owner in owners)
