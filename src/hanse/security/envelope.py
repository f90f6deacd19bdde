"""The stored form of an object: JSON, plain or packed, or an envelope with an outline to read without a key.

    b"HS1\\n" | length of outline (4 bytes) | outline, JSON | what `hanse.security.sealing` encrypted
    b"HZ1\\n" | JSON, compressed with zlib

JSON never starts so, so a plain object, as older releases wrote all, is told apart for certain. Packed is
what is so large that etcd might refuse it: kube-apiserver stores protobuf, in which a text has no escapes and
bytes are no base64, so an object that fits into its etcd can have several times as many bytes as JSON. What
is sealed is packed before, since what is encrypted cannot be compressed. Nothing smaller is touched.

Pure functions that need no key and nothing to decrypt with, for those who must not have either.

Next: `hanse.security.sealing`; `hanse.store.packing`, for what is not sealed.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Final

from hanse.errors import HanseError
from hanse.well_known import is_instruction

MAGIC: Final = b"HS1\n"
UNREADABLE: Final = b"HS!\n"
"""Begins what a store gives for an envelope that it cannot open."""

_PACKED: Final = b"HZ1\n"
PACKED_FROM: Final = 1024 * 1024
"""Bytes of JSON from which on an object is packed: etcd takes 1.5 MiB in a request with all else in it."""
MAX_OBJECT_BYTES: Final = 3 * 1024 * 1024
"""Bytes of JSON that are packed, and that what is packed may yield: a member takes no more in a request."""
_LEVEL: Final = 3
"""Of zlib. A MiB of data that JSON makes as long as it can fits into a request from this level on."""


def packed(value: bytes) -> bytes:
    """Return the form in which JSON is stored: compressed if it is large, else the value itself.

    So is what is larger than a member takes, which no store takes either.
    """
    if not PACKED_FROM <= len(value) <= MAX_OBJECT_BYTES or not value.startswith(b"{"):
        return value
    return _PACKED + zlib.compress(value, _LEVEL)


def unpacked(value: bytes) -> bytes:
    """Return the JSON of a stored form; the value itself if it is not packed, is broken, or yields more than
    `MAX_OBJECT_BYTES`: it is not JSON then, and whoever decodes it says so."""
    if not value.startswith(_PACKED):
        return value
    reader = zlib.decompressobj()
    try:
        found = reader.decompress(value[len(_PACKED) :], MAX_OBJECT_BYTES)
    except zlib.error:
        return value
    return found if reader.eof else value


def is_sealed(value: bytes) -> bool:
    """Return whether a stored value is an envelope."""
    return value.startswith(MAGIC)


def shown(value: bytes) -> bytes:
    """Return a stored value as far as it can be read without a key: itself, or an envelope's outline."""
    return value[len(MAGIC) + 4 : outline_end(value)] if is_sealed(value) else value


def unreadable(error: HanseError, value: bytes) -> bytes:
    """Return what a store gives instead of an envelope that it cannot open: why, and the outline."""
    reason = error.message.encode()
    return UNREADABLE + len(reason).to_bytes(4, "big") + reason + shown(value)


def reason(value: bytes) -> tuple[str, bytes] | None:
    """Return why a value could not be opened, and its outline; None for any other value."""
    if not value.startswith(UNREADABLE):
        return None
    start = len(UNREADABLE) + 4
    end = start + int.from_bytes(value[len(UNREADABLE) : start], "big")
    return value[start:end].decode(errors="replace") or "it cannot be opened", value[end:]


def outline(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without its values: metadata, and the names of fields with nothing in them.

    It has the shape of the object, so that the scheduler can tell whether an override can be applied, and the
    values of annotations that are instructions to the federation.
    """
    metadata: Mapping[str, Any] = obj.get("metadata") or {}
    shown = {name: value for name, value in metadata.items() if name not in ("managedFields", "annotations")}
    annotations = metadata.get("annotations")
    if isinstance(annotations, dict):
        shown["annotations"] = {
            name: value if is_instruction(name) else "" for name, value in annotations.items()
        }
    rest = {
        name: _blank(value) for name, value in obj.items() if name not in ("apiVersion", "kind", "metadata")
    }
    return {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "metadata": shown, **rest}


def _blank(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _blank(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_blank(each) for each in value]
    if isinstance(value, str):
        return ""
    return None if value is None else type(value)()


def outline_end(value: bytes) -> int:
    """Return where the outline of an envelope ends, as the envelope says."""
    start = len(MAGIC) + 4
    return start + int.from_bytes(value[len(MAGIC) : start], "big")
