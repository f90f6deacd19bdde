"""Which fields of a kind a field selector may name.

Kubernetes selects every kind by name and namespace, a few of its own by some fields more, and custom kinds by
those that their CRD declares. A selector that names another field is refused, as by kube-apiserver: taken
for an empty field, `spec.nodeName!=x` would select everything, and to delete what it selects, delete all.

Pure. The table follows kube-apiserver v1.37 (`AddFieldLabelConversionFunc` and `SelectableFields` of each
kind). Next: `hanse.kube.model.selectors`, which reads and matches selectors.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from hanse.errors import InvalidArgumentError
from hanse.kube.model.resource_info import ResourceInfo
from hanse.kube.model.selectors import FieldRequirement, FieldSelector

COMMON: Final = ("metadata.name", "metadata.namespace")

_POD: Final = (
    "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
    "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName",
)  # fmt: skip
_REFERENCE: Final = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")

_FIELDS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("", "pods"): _POD,
    ("", "nodes"): ("spec.unschedulable",),
    ("", "namespaces"): ("status.phase",),
    ("", "secrets"): ("type",),
    ("", "services"): ("spec.clusterIP", "spec.type"),
    ("", "replicationcontrollers"): ("status.replicas",),
    ("", "events"): (
        *(f"involvedObject.{name}" for name in _REFERENCE),
        "reason", "reportingComponent", "source", "type",
    ),
    ("events.k8s.io", "events"): (
        *(f"regarding.{name}" for name in _REFERENCE),
        "reason", "reportingController", "type",
    ),
    ("batch", "jobs"): ("status.successful",),
    ("certificates.k8s.io", "certificatesigningrequests"): ("spec.signerName",),
    ("resource.k8s.io", "resourceslices"): ("spec.driver", "spec.nodeName"),
}  # fmt: skip

_ALIASES: Final = {"status.successful": "status.succeeded", "source": "source.component"}
_ABSENT: Final = {
    "spec.unschedulable": "false",
    "spec.hostNetwork": "false",
    "status.replicas": "0",
    "status.successful": "0",
}
"""What a field is when an object does not have it, where that is not the empty string."""


def field_selector(info: ResourceInfo, text: str) -> FieldSelector:
    """Return the selector of a query for objects of `info`.

    Raises InvalidArgumentError if it cannot be read, or names a field that the kind is not selected by.
    """
    selector = FieldSelector.parse(text)
    own = info.selectable_fields or _FIELDS.get((info.group, info.plural), ())
    for requirement in selector.requirements:
        if requirement.path in COMMON or requirement.path in own:
            continue
        if own or info.custom:
            raise InvalidArgumentError(f"field label not supported: {requirement.path}")
        known = ", ".join(f'"{path}"' for path in COMMON)
        raise InvalidArgumentError(f'"{requirement.path}" is not a known field selector: only {known}')
    return FieldSelector(tuple(_resolved(requirement) for requirement in selector.requirements))


def _resolved(requirement: FieldRequirement) -> FieldRequirement:
    path = _ALIASES.get(requirement.path, requirement.path)
    return replace(requirement, steps=tuple(path.split(".")), absent=_ABSENT.get(requirement.path, ""))
