"""Which kinds of objects go to members by themselves: Federation v1's rule, without what members own.

What configures the federation itself goes nowhere, unless a policy selects it; and what belongs to clusters
themselves (`hanse.federation.belongings`) goes nowhere in any case. Whoever must know whether an object can
be in members asks here. Pure functions. Next: `hanse_scheduler.decide.decision`, which places it.
"""

from __future__ import annotations

from typing import Final

from hanse.federation import belongings
from hanse.kube.kinds.kubernetes import apps, core, networking, scheduling, storage
from hanse.kube.model.objects import Object, labels_of, mapping, name_of
from hanse.well_known import OWN_GROUPS

_GROUPS = OWN_GROUPS | frozenset(
    {
        "admissionregistration.k8s.io",
        "apiregistration.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "rbac.authorization.k8s.io",
        "storagemigration.k8s.io",
    }
)
"""Groups of which nothing propagates."""

_RESOURCES = frozenset(
    {
        core.BINDING.group_plural,
        ("", "componentstatuses"),
        core.ENDPOINTS.group_plural,
        core.EVENT.group_plural,
        core.NODE.group_plural,
        core.PERSISTENT_VOLUME.group_plural,
        core.POD.group_plural,
        apps.CONTROLLER_REVISION.group_plural,
        networking.IP_ADDRESS.group_plural,
        networking.SERVICE_CIDR.group_plural,
        scheduling.DEVICE_TAINT_RULE.group_plural,
        scheduling.RESOURCE_SLICE.group_plural,
        storage.CSI_NODE.group_plural,
        storage.CSI_STORAGE_CAPACITY.group_plural,
        storage.VOLUME_ATTACHMENT.group_plural,
    }
)
"""Resources that do not propagate though others of their group do."""

_NEVER_GROUPS = OWN_GROUPS | frozenset(
    {
        "authentication.k8s.io",
        "authorization.k8s.io",
        "coordination.k8s.io",
        "events.k8s.io",
    }
)
_NEVER_RESOURCES = frozenset({core.BINDING.group_plural, ("", "componentstatuses"), core.EVENT.group_plural})
"""What speaks of the federation itself, or of one moment in one cluster: no policy sends it anywhere."""


_HELM_TYPE: Final = "helm.sh/release.v1"
_HELM_NAME: Final = "sh.helm.release.v1."
"""Type of the Secrets in which Helm 3 and later keep releases, and how their names begin."""


_SERVICE_NAME: Final = "kubernetes.io/service-name"
_MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"


def propagates(group: str, resource: str) -> bool:
    """Report whether objects of a resource go to members. `group` is "" for core."""
    return group not in _GROUPS and (group, resource) not in _RESOURCES


def placeable(group: str, resource: str) -> bool:
    """Report whether objects of a resource can go to members at all: by themselves, or by a policy."""
    return group not in _NEVER_GROUPS and (group, resource) not in _NEVER_RESOURCES


_UNUSED_GROUPS: Final = {
    "rbac.authorization.k8s.io": "grants nothing in the federation, whose settings say who may do what",
    "admissionregistration.k8s.io": "is not called in the federation",
    "apiregistration.k8s.io": "serves no API in the federation",
    "flowcontrol.apiserver.k8s.io": "orders no requests in the federation",
}
"""What the federation does not do by the objects of a group, by group."""


def hints(group: str, resource: str, obj: Object) -> list[str]:
    """Return what whoever writes an object may not expect: that nothing here obeys it, or that it stays here.

    Nothing of what speaks of the federation itself, and nothing of what follows its Service.
    """
    named = f"{obj.get('apiVersion')} {obj.get('kind')}"
    unused = _UNUSED_GROUPS.get(group)
    found = [f"{named} {unused}"] if unused else []
    stays = placeable(group, resource) and not propagates(group, resource)
    if stays and not followed_service(group, resource, obj):
        found.append(f"{named} goes to no cluster unless a policy selects it")
    return found


def object_propagates(group: str, resource: str, obj: Object) -> bool:
    """Report whether this very object goes to members.

    Not if it belongs to each cluster itself, or is of a controller, which makes it there, or is what Helm
    notes down of a release: the chart was installed in the federation, and in no member. A Namespace goes
    wherever something in it goes; that is the scheduler's to work out.
    """
    return (
        propagates(group, resource)
        and not is_helm_release(group, resource, obj)
        and not belongings.of(group, resource, obj)
    )


def is_helm_release(group: str, resource: str, obj: Object) -> bool:
    """Report whether an object is Helm's record of a release, in either of its forms.

    By its type; of a sealed Secret, of which nobody without the key sees the type, by its name and label.
    """
    if (group, resource) not in (core.SECRET.group_plural, core.CONFIG_MAP.group_plural):
        return False
    if obj.get("type"):
        return str(obj["type"]) == _HELM_TYPE
    return labels_of(obj).get("owner") == "helm" and name_of(obj).startswith(_HELM_NAME)


def followed_service(group: str, resource: str, obj: Object) -> str:
    """Return the name of the Service whose endpoints the object lists; "" for any other object.

    Endpoints and EndpointSlices that somebody writes for a Service without a selector go where that goes.
    What a controller makes is made in each cluster.
    """
    if (group, resource) == core.ENDPOINTS.group_plural:
        return name_of(obj)
    if (group, resource) != networking.ENDPOINT_SLICE.group_plural:
        return ""
    labels = labels_of(obj)
    if str(labels.get(_MANAGED_BY, "")).endswith("-controller.k8s.io"):
        return ""
    return str(labels.get(_SERVICE_NAME, ""))


def lists_no_pods(service: Object) -> bool:
    """Return whether the endpoints of a Service are what somebody writes: it has no selector."""
    spec = mapping(service, "spec")
    return not spec.get("selector") and spec.get("type") != "ExternalName"
