"""The stored form of an object: plain JSON, or an envelope of which an outline can be read without a key.

    b"HS1\\n" | length of outline (4 bytes) | outline, JSON | what `hanse.security.sealing` encrypted

JSON never starts so, so a plain object, as older releases wrote all, is told apart for certain. Pure
functions that need no key and nothing to decrypt with, for those who must not have either.

Next: `hanse.security.sealing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hanse.errors import HanseError
from hanse.well_known import is_instruction

MAGIC: Final = b"HS1\n"
UNREADABLE: Final = b"HS!\n"
"""Begins what a store gives for an envelope that it cannot open."""


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
