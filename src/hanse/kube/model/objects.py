"""The shape that everything in `hanse.kube` works on: a Kubernetes object as a plain dict.

Owns the type `Object`, group/version/kind, places in an object, and reading metadata without tripping over
what is absent.
Pure and stateless: safe from any task or thread. Nothing here, and nothing in the merge modules, changes
its inputs; results may share sub-objects with them, so treat every `Object` as immutable.

Next: `hanse.kube.merge.schema` for what the fields mean, `hanse.kube.merge.apply` and
`hanse.kube.merge.patch` for changing objects.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

from hanse.errors import InvalidArgumentError

Object: TypeAlias = dict[str, Any]
"""A Kubernetes object, as orjson decodes it: dicts, lists, str, int, float, bool, None."""

Place: TypeAlias = tuple[str | int, ...]
"""Where something is in a document: names of fields, and indexes of items."""

NOTHING: Final = object()
"""Stands for a value that is not there, which null is not."""


class GroupVersionKind(NamedTuple):
    """Names one version of a kind; the core group is ''."""

    group: str
    version: str
    kind: str


def parse_api_version(value: str) -> tuple[str, str]:
    """Split 'apps/v1' into ('apps', 'v1') and 'v1' into ('', 'v1').

    Raises InvalidArgumentError if there is more than one slash or no version.
    """
    group, slash, version = value.rpartition("/")
    if not version or "/" in group or (slash and not group):
        raise InvalidArgumentError(
            f"apiVersion {value!r} is not valid: write it as version or group/version",
            reason="BAD_API_VERSION",
        )
    return group, version


def api_version(group: str, version: str) -> str:
    """Return 'apps/v1' for ('apps', 'v1') and 'v1' for ('', 'v1')."""
    return f"{group}/{version}" if group else version


def gvk_of(obj: Object) -> GroupVersionKind:
    """Return the group, version and kind that the object names.

    Raises InvalidArgumentError if `apiVersion` or `kind` is missing or is not a string.
    """
    version, kind = obj.get("apiVersion"), obj.get("kind")
    if not isinstance(version, str) or not version:
        raise InvalidArgumentError(
            "Object 'apiVersion' is missing: set it",
            reason="MISSING_API_VERSION",
            metadata={"field": "apiVersion"},
        )
    if not isinstance(kind, str) or not kind:
        raise InvalidArgumentError(
            "Object 'Kind' is missing: set 'kind'", reason="MISSING_KIND", metadata={"field": "kind"}
        )
    group, parsed = parse_api_version(version)
    return GroupVersionKind(group, parsed, kind)


def child(obj: Any, *path: str) -> Any:
    """Follow dict keys; None as soon as one is absent or its parent is not a dict."""
    for key in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(key)
    return obj


def mapping(obj: Any, *path: str) -> dict[str, Any]:
    """As `child`, but an empty dict for anything that is not a dict."""
    value = child(obj, *path)
    return value if isinstance(value, dict) else {}


def sequence(obj: Any, *path: str) -> list[Any]:
    """As `child`, but an empty list for anything that is not a list."""
    value = child(obj, *path)
    return value if isinstance(value, list) else []


def name_of(obj: Object) -> str:
    """Return metadata.name, or ''."""
    value = child(obj, "metadata", "name")
    return value if isinstance(value, str) else ""


def namespace_of(obj: Object) -> str:
    """Return metadata.namespace, or ''."""
    value = child(obj, "metadata", "namespace")
    return value if isinstance(value, str) else ""


def labels_of(obj: Object) -> dict[str, str]:
    """Return metadata.labels, or an empty dict."""
    return mapping(obj, "metadata", "labels")


def annotations_of(obj: Object) -> dict[str, str]:
    """Return metadata.annotations, or an empty dict."""
    return mapping(obj, "metadata", "annotations")


def is_deleting(obj: Any) -> bool:
    """Return whether the object's deletion was asked for; it may still wait for finalizers."""
    return bool(child(obj, "metadata", "deletionTimestamp"))


def value_at(value: Any, place: Place) -> Any:
    """Return what is at a place in a document; `NOTHING` if there is nothing."""
    for step in place:
        if isinstance(value, dict):
            value = value.get(step, NOTHING)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return NOTHING
    return value


def without_place(value: Any, place: Place) -> Any:
    """Return a document without the field at a place, which is one of a map; what is not there changes
    nothing. What does not change is shared."""
    step, rest = place[0], place[1:]
    if isinstance(value, list):
        return [without_place(item, rest) if number == step else item for number, item in enumerate(value)]
    if not isinstance(value, dict) or step not in value:
        return value
    if not rest:
        return {name: item for name, item in value.items() if name != step}
    return {**value, str(step): without_place(value[str(step)], rest)}
