"""Stored objects that cannot be read: what is served of them, so that they can be seen and deleted by name.

What another release, another tool or a broken disk has written under `objects/` may not be JSON, or not the
form that an object has. Such a value stops nothing and is not "no object": it is quarantined. What is served
in its place has the name of its key, the annotation `hanse.dev/unreadable` with the reason, and of the stored
metadata what can be trusted; it can be deleted, and not changed in any other way.

Pure functions. Next: `hanse.kube.engine.cache`, which reads the store; `hanse.kube.engine.resources.store`,
which deletes.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from hanse.documents import MAX_DEPTH
from hanse.errors import FailedPreconditionError
from hanse.kube.model import untrusted
from hanse.kube.model.objects import Object, mapping, sequence
from hanse.security import envelope
from hanse.store.keys import ObjectKey
from hanse.well_known import UNREADABLE

MAX_BYTES: Final = 16 * 1024 * 1024
"""Size of a stored value that is read; many times what etcd takes."""

_TEXTS: Final = ("uid", "creationTimestamp", "deletionTimestamp")
_KEPT_TEXTS: Final = ("name", "namespace", "generateName", *_TEXTS)


def decode(key: ObjectKey, value: bytes) -> tuple[Object, str]:
    """Return the object that is stored under `key`, and why it cannot be read: "" if it can.

    If it cannot, the object is the one to serve in its place, without apiVersion and kind.
    """
    if (sealed := envelope.reason(value)) is not None:
        why, outline = sealed
        return in_place_of(key, why, found=_json(outline)), why
    try:
        obj = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return in_place_of(key, why := f"its stored value is not JSON: {error}"), why
    why = untrusted.too_large(value, limit=MAX_BYTES, deepest=MAX_DEPTH, decoded=obj) or fault(key, obj)
    return (obj, "") if not why else (in_place_of(key, why, found=obj), why)


def _json(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def fault(key: ObjectKey, obj: Any) -> str:
    """Return what is wrong with the form that all kinds of objects have in common; "" if nothing is."""
    if not isinstance(obj, dict):
        return f"its stored value is a JSON {_type(obj)}, not an object"
    for name in ("apiVersion", "kind"):
        if not isinstance(obj.get(name, ""), str):
            return f"{name} is no text"
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        return "metadata is missing or is no object"
    if metadata.get("name") != key.name or metadata.get("namespace", key.namespace) != key.namespace:
        return "metadata.name or metadata.namespace is not that of the key that it is stored under"
    for name in _KEPT_TEXTS:
        if not isinstance(metadata.get(name, ""), str):
            return f"metadata.{name} is no text"
    for name in ("labels", "annotations"):
        if not _are_texts(metadata.get(name)):
            return f"metadata.{name} is not an object of texts"
    if not _are_lists(metadata):
        return "metadata.finalizers, ownerReferences or managedFields is not a list of what it should be"
    generation = metadata.get("generation", 0)
    if type(generation) is not int or not 0 <= generation <= untrusted.MAX_GENERATION:
        return f"metadata.generation is no whole number from 0 to {untrusted.MAX_GENERATION}"
    return ""


def in_place_of(key: ObjectKey, why: str, *, found: Any = None) -> Object:
    """Return what is served in place of an object that cannot be read, without apiVersion and kind."""
    given = mapping(found, "metadata")
    metadata: Object = {"name": key.name}
    if key.namespace:
        metadata["namespace"] = key.namespace
    metadata |= {name: given[name] for name in _TEXTS if isinstance(given.get(name), str) and given[name]}
    if _are_texts(labels := given.get("labels")) and labels:
        metadata["labels"] = labels
    finalizers = [each for each in sequence(given, "finalizers") if isinstance(each, str)]
    if finalizers:
        metadata["finalizers"] = finalizers
    return marked({"metadata": metadata}, why)


def marked(obj: Object, why: str) -> Object:
    """Return the object with the annotation that says why what is stored cannot be read or shown."""
    metadata = mapping(obj, "metadata")
    annotations = {**mapping(metadata, "annotations"), UNREADABLE: why}
    return {**obj, "metadata": {**metadata, "annotations": annotations}}


def unmarked(obj: Object) -> Object:
    """Return an object that is to be stored without that annotation, which a client may have read."""
    annotations = mapping(obj, "metadata", "annotations")
    if UNREADABLE not in annotations:
        return obj
    kept = {name: value for name, value in annotations.items() if name != UNREADABLE}
    return {**obj, "metadata": {**obj["metadata"], "annotations": kept}}


def refusal(key: ObjectKey, why: str) -> FailedPreconditionError:
    """Return the error for any change of an unreadable object other than its deletion."""
    return FailedPreconditionError(
        f"{key} is stored but cannot be read, so it cannot be changed: {why}; delete it and create it again",
        reason="OBJECT_UNREADABLE",
        metadata={"name": key.name, "group": key.group, "kind": key.resource},
    )


def _are_texts(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
    )


def _are_lists(metadata: Object) -> bool:
    finalizers = metadata.get("finalizers")
    if finalizers is not None and not _list_of(finalizers, str):
        return False
    given = (metadata.get("ownerReferences"), metadata.get("managedFields"))
    return all(each is None or _list_of(each, dict) for each in given)


def _list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


def _type(value: Any) -> str:
    return {list: "list", str: "text", bool: "boolean", type(None): "null"}.get(type(value), "number")
