"""Whether an object is small enough for an API server to store.

Owns the rule of kube-apiserver: what it stores fits into a request to etcd, as protobuf if the kind is built
in, else as JSON. The protobuf has the texts of an object as they are, and what each manager owns as JSON, so
it is never smaller than they are together; by that an object of a built-in kind is refused, and not by the
length of its JSON, in which a text can have six times as many bytes. Pure functions. Next:
`hanse.kube.engine.resources.transactions`.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from hanse.kube.kinds.kubernetes import core
from hanse.kube.model.objects import Object, mapping, sequence
from hanse.store import MAX_REQUEST_BYTES
from hanse.store.keys import ObjectKey
from hanse.store.mvcc import too_large

_BASE64: Final = {core.SECRET.group_plural: "data", core.CONFIG_MAP.group_plural: "binaryData"}
"""Fields of which JSON has the bytes as base64."""


def check_stored_size(key: ObjectKey, obj: Object, *, encoded: int, builtin: bool) -> None:
    """Raise InvalidArgumentError (`REQUEST_TOO_LARGE`) for an object that kube-apiserver does not store.

    `encoded` are its bytes as JSON. An object that is small as that costs nothing more.
    """
    if encoded <= MAX_REQUEST_BYTES:
        return
    size = encoded
    if builtin:
        size = _owned_bytes(obj)
        if size <= MAX_REQUEST_BYTES:
            size += _text_bytes({**obj, "metadata": {**mapping(obj, "metadata"), "managedFields": None}})
        if (field := _BASE64.get((key.group, key.resource))) is not None:
            size -= sum(len(text) // 4 for text in mapping(obj, field).values() if isinstance(text, str))
    if size > MAX_REQUEST_BYTES:
        raise too_large(size, key.key())


def _owned_bytes(obj: Object) -> int:
    """Return the bytes of what the managers of an object own, which is JSON in protobuf, too."""
    entries = sequence(obj, "metadata", "managedFields")
    return sum(len(orjson.dumps(each.get("fieldsV1") or {})) for each in entries if isinstance(each, dict))


def _text_bytes(value: Any) -> int:
    """Return the bytes of all texts in a document, without the names of fields."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict):
        return sum(map(_text_bytes, value.values()))
    return sum(map(_text_bytes, value)) if isinstance(value, list) else 0
