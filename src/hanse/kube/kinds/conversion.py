"""One object in several versions: between what is stored and what a client asked for.

Most versions of a resource differ in `apiVersion` only (as with a CRD's None conversion). The others have a
conversion in the strategy of their kind. Pure functions, which share what they do not change. Next:
`hanse.kube.engine.resources.store`, which stores; `hanse.kube.server.endpoints.read`, which serves.
"""

from __future__ import annotations

from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.objects import Object


def is_stored_form(info: ResourceInfo) -> bool:
    """Report whether objects are stored exactly as this version of the resource shows them."""
    return (info.group, info.plural) == info.storage_key and info.version == info.storage_version


def to_served(info: ResourceInfo, stored: Object) -> Object:
    """Return a stored object as the version `info` shows it."""
    if is_stored_form(info):
        return stored
    conversion = info.strategy.conversions.get(info.version)
    if conversion is not None:
        return conversion.to_served(stored)
    return {**stored, "apiVersion": info.api_version, "kind": info.kind}


def to_stored(info: ResourceInfo, obj: Object, *, current: Object | None) -> Object:
    """Return an object of version `info` as it is to be stored. `current` is what is stored now."""
    if is_stored_form(info):
        return obj
    conversion = info.strategy.conversions.get(info.version)
    if conversion is not None:
        return conversion.to_stored(obj, current)
    group = info.storage_group
    version = f"{group}/{info.storage_version}" if group else info.storage_version
    return {**obj, "apiVersion": version}
