"""Which kinds of objects go to members by themselves: Federation v1's rule, without what members own.

What configures the federation itself and what clusters make themselves goes nowhere, unless a policy selects
it; and a few things go nowhere in any case. Whoever must know whether an object can be in members asks here.
Pure functions. Next: the scheduler, which places what propagates.
"""

from __future__ import annotations

from typing import Final

from hanse.kube.objects import Object, mapping

SYNC_FINALIZER: Final = "hanse.dev/sync"
"""Keeps a federated object until every member has confirmed that its copy is gone."""

UNJOIN_FINALIZER: Final = "hanse.dev/unjoin"
"""Keeps a Cluster until the registry has unjoined it."""

TRACEPARENT: Final = "hanse.dev/traceparent"
"""Annotation of stored objects with the W3C traceparent of the change; never served."""

_GROUPS = frozenset(
    {
        "admissionregistration.k8s.io",
        "apiregistration.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "federation",
        "flowcontrol.apiserver.k8s.io",
        "hanse.dev",
        "rbac.authorization.k8s.io",
        "storagemigration.k8s.io",
    }
)
"""Groups of which nothing propagates."""

_RESOURCES = frozenset(
    {
        ("", "bindings"),
        ("", "componentstatuses"),
        ("", "endpoints"),
        ("", "events"),
        ("", "nodes"),
        ("", "persistentvolumes"),
        ("", "pods"),
        ("apps", "controllerrevisions"),
        ("networking.k8s.io", "ipaddresses"),
        ("networking.k8s.io", "servicecidrs"),
        ("resource.k8s.io", "devicetaintrules"),
        ("resource.k8s.io", "resourceslices"),
        ("storage.k8s.io", "csinodes"),
        ("storage.k8s.io", "csistoragecapacities"),
        ("storage.k8s.io", "volumeattachments"),
    }
)
"""Resources that do not propagate though others of their group do."""

_NEVER_GROUPS = frozenset(
    {
        "authentication.k8s.io",
        "authorization.k8s.io",
        "coordination.k8s.io",
        "events.k8s.io",
        "federation",
        "hanse.dev",
    }
)
_NEVER_RESOURCES = frozenset({("", "bindings"), ("", "componentstatuses"), ("", "events")})
"""What speaks of the federation itself, or of one moment in one cluster: no policy sends it anywhere."""

_NAMESPACES = ("default", "kube-")
"""Namespaces that every member has: `default` and whatever starts with `kube-`."""

_MADE_BY_CLUSTERS = frozenset({("", "configmaps", "kube-root-ca.crt"), ("", "serviceaccounts", "default")})
"""Objects that every namespace of every cluster has by itself."""


def propagates(group: str, resource: str) -> bool:
    """Report whether objects of a resource go to members. `group` is "" for core."""
    return group not in _GROUPS and (group, resource) not in _RESOURCES


def placeable(group: str, resource: str) -> bool:
    """Report whether objects of a resource can go to members at all: by themselves, or by a policy."""
    return group not in _NEVER_GROUPS and (group, resource) not in _NEVER_RESOURCES


def object_propagates(group: str, resource: str, obj: Object) -> bool:
    """Report whether this very object goes to members.

    Not if a controller owns it (the member's own controller makes it there), nor if members have it anyway.
    A Namespace goes wherever something in it goes; that is the scheduler's to work out.
    """
    if not propagates(group, resource):
        return False
    metadata = mapping(obj, "metadata")
    if any(o.get("controller") for o in metadata.get("ownerReferences") or ()):
        return False
    name = str(metadata.get("name", ""))
    if (group, resource) == ("", "namespaces"):
        return not is_system_namespace(name)
    return (group, resource, name) not in _MADE_BY_CLUSTERS


def is_system_namespace(name: str) -> bool:
    """Report whether every cluster has this namespace of its own."""
    return name == _NAMESPACES[0] or name.startswith(_NAMESPACES[1])
