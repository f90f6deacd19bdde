"""What a request, its object and the stored object must agree on before anything is written. Pure functions.

Kind, name and namespace of the object are those of the URL.

A resourceVersion is opaque: it is compared for equality, with the versions under which the very intent that
is stored has been served, and never for which is newer. One from the future is a version of another history
(the store was restored from a backup), and says nothing of what the client saw. Next:
`hanse.kube.engine.resources.errors` for what is said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hanse.errors import InvalidArgumentError
from hanse.kube.engine import lifecycle
from hanse.kube.engine.resources import errors
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.objects import Object, gvk_of, mapping
from hanse.kube.model.status import Cause
from hanse.numbers import MAX_WHOLE, whole_number
from hanse.store.keys import ObjectKey


def key_of(info: ResourceInfo, namespace: str, name: str) -> ObjectKey:
    """Return the key under which an object of the resource is stored."""
    return ObjectKey(info.storage_group, info.storage_resource, namespace if info.namespaced else "", name)


def check_writable(info: ResourceInfo, verb: str) -> None:
    """Raise UnimplementedError if the resource is a view, or does not have the verb."""
    if info.virtual or verb not in info.verbs:
        raise errors.read_only(info, verb)


def check_kind(info: ResourceInfo, obj: Object) -> None:
    """Raise InvalidArgumentError unless the object is of the resource's kind and version."""
    gvk = gvk_of(obj)
    if (gvk.group, gvk.version, gvk.kind) != (info.group, info.version, info.kind):
        raise InvalidArgumentError(
            f'{gvk.kind} in version "{gvk.version}" cannot be handled as a {info.kind}: the object is'
            f" {obj.get('apiVersion')} {obj.get('kind')}, the request is for {info.api_version} {info.kind}"
        )
    if not isinstance(obj.get("metadata", {}), dict):
        raise InvalidArgumentError("metadata must be an object")


def namespace_of(info: ResourceInfo, obj: Object, namespace: str) -> str:
    """Return the namespace of the object, "" without one; `namespace` is the request's.

    Raises InvalidArgumentError if the two differ, or there is none and the resource needs one.
    """
    given = mapping(obj, "metadata").get("namespace") or ""
    if not info.namespaced:
        if given:
            raise InvalidArgumentError("namespace must not be set on an object without a namespace")
        return ""
    if given and namespace and given != namespace:
        raise InvalidArgumentError(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if not (namespace or given):
        raise InvalidArgumentError(f"a {info.kind} needs a namespace")
    return str(namespace or given)


def name_of(obj: Object, name: str) -> str:
    """Return the name of the object; `name` is the request's, "" for none.

    Raises InvalidArgumentError if the two differ, or there is none.
    """
    given = mapping(obj, "metadata").get("name") or ""
    if name and given and name != given:
        raise InvalidArgumentError(
            f"the name of the object ({given}) does not match the name on the URL ({name})"
        )
    if not (name or given):
        raise InvalidArgumentError("the object has no name")
    return str(name or given)


def version_of_patch(patch: Any) -> str:
    """Return the resourceVersion that a merge patch sets: an optimistic lock; "" for none."""
    return str(mapping(patch, "metadata").get("resourceVersion") or "") if isinstance(patch, dict) else ""


def check_version(
    info: ResourceInfo, key: ObjectKey, *, version: str, revision: int, served: Callable[[int], bool]
) -> None:
    """Compare the resourceVersion that a client holds, "" or "0" for none, with that of the stored object.

    `served` says of another version whether the same intent was served under it: with the status that it had
    then, which is no part of what is written. Raises ConflictError; InvalidObjectError for no number.
    """
    if not version or version == "0":
        return
    wanted = whole_number(version)
    if wanted is None:
        message = f'Invalid value: "{version[:40]}": must be a whole number of at most {MAX_WHOLE}'
        raise lifecycle.invalid(
            info, key.name, Cause("FieldValueInvalid", message, "metadata.resourceVersion")
        )
    if wanted != revision and not served(wanted):
        raise errors.modified(info, key)


def check_precondition(
    info: ResourceInfo, key: ObjectKey, *, version: str, revision: int, served: Callable[[int], bool]
) -> None:
    """Compare the resourceVersion that a delete demands, whatever it is, as `check_version`.

    Raises ConflictError.
    """
    wanted = whole_number(version)
    if wanted is None or (wanted != revision and not served(wanted)):
        raise errors.wrong_version(info, key, wanted=version, found=revision)
