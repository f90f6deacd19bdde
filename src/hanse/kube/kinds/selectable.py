"""Which fields of a kind a field selector may name.

Kubernetes selects every kind by name and namespace, a few of its own by some fields more (`Kind.selectable`),
and custom kinds by those that their CRD declares. A selector that names another field is refused, as by
kube-apiserver: taken for an empty field, `spec.nodeName!=x` would select everything, and to delete what it
selects, delete all.

Pure. Next: `hanse.kube.model.selectors`, which reads and matches selectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from hanse.errors import InvalidArgumentError
from hanse.kube.kinds.kind import SelectableField
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.selectors import FieldRequirement, FieldSelector

COMMON: Final = ("metadata.name", "metadata.namespace")


def field_selector(info: ResourceInfo, text: str) -> FieldSelector:
    """Return the selector of a query for objects of `info`.

    Raises InvalidArgumentError if it cannot be read, or names a field that the kind is not selected by.
    """
    selector = FieldSelector.parse(text)
    own = {field.label: field for field in info.selectable}
    for requirement in selector.requirements:
        if requirement.path in COMMON or requirement.path in own:
            continue
        if own or info.custom:
            raise InvalidArgumentError(f"field label not supported: {requirement.path}")
        known = ", ".join(f'"{path}"' for path in COMMON)
        raise InvalidArgumentError(f'"{requirement.path}" is not a known field selector: only {known}')
    return FieldSelector(tuple(_resolved(requirement, own) for requirement in selector.requirements))


def _resolved(requirement: FieldRequirement, own: Mapping[str, SelectableField]) -> FieldRequirement:
    field = own.get(requirement.path)
    if field is None:
        return requirement
    path = field.path or field.label
    return replace(requirement, steps=tuple(path.split(".")), absent=field.absent)
