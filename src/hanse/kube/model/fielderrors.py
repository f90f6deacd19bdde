"""What is wrong with one field of an object, in Kubernetes' words.

Owns `FieldError` and how it is rendered, alone and in the message and causes of a Status 'Invalid'.
Immutable values; safe from any task.

Next: `hanse.kube.kinds.decoding`, `hanse.kube.validation.objects`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from hanse.errors import shown

ErrorType = Literal[
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueNotFound",
    "FieldValueNotSupported",
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
]

_TITLES: dict[ErrorType, str] = {
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueInvalid": "Invalid value",
    "FieldValueNotFound": "Not found",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueRequired": "Required value",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
    "FieldValueTypeInvalid": "Invalid value",
}
_WITHOUT_VALUE = frozenset({"FieldValueForbidden", "FieldValueRequired", "FieldValueTooLong"})


@dataclass(frozen=True, slots=True)
class FieldError:
    """One problem: `field` is a path such as 'spec.containers[0].name', `type` Kubernetes' cause reason."""

    field: str
    type: ErrorType
    message: str = ""
    bad_value: Any = None

    @property
    def body(self) -> str:
        """The problem without the field, such as 'Invalid value: "X": must be ...'."""
        parts = [_TITLES[self.type]]
        if self.type not in _WITHOUT_VALUE:
            parts.append(_shown(self.bad_value))
        if self.message:
            parts.append(self.message)
        return ": ".join(parts)

    def __str__(self) -> str:
        return f"{self.field}: {self.body}" if self.field else self.body

    def cause(self) -> dict[str, str]:
        """Return the entry for `details.causes` of a Kubernetes Status."""
        return {"reason": self.type, "message": self.body, "field": self.field}


def _shown(value: Any) -> str:
    try:
        text = orjson.dumps(value, default=str).decode()
    except TypeError:  # what JSON cannot say
        text = shown(value, limit=400)
    return text if len(text) <= 400 else text[:397] + "..."


def required(field: str, message: str = "") -> FieldError:
    """Return the error for a field that must be set and is not."""
    return FieldError(field, "FieldValueRequired", message)


def invalid(field: str, value: Any, message: str) -> FieldError:
    """Return the error for a value that is not allowed."""
    return FieldError(field, "FieldValueInvalid", message, value)


def forbidden(field: str, message: str) -> FieldError:
    """Return the error for a field that may not be set, or not be changed."""
    return FieldError(field, "FieldValueForbidden", message)


def duplicate(field: str, value: Any) -> FieldError:
    """Return the error for a value that must be unique and is not."""
    return FieldError(field, "FieldValueDuplicate", "", value)


def too_long(field: str, limit: int) -> FieldError:
    """Return the error for a value of more than `limit` bytes."""
    return FieldError(field, "FieldValueTooLong", f"may not be more than {limit} bytes")


def not_supported(field: str, value: Any, supported: Iterable[str]) -> FieldError:
    """Return the error for a value that is none of those that are possible."""
    listed = ", ".join(f'"{name}"' for name in supported)
    return FieldError(field, "FieldValueNotSupported", f"supported values: {listed}", value)


def invalid_message(*, kind: str, group: str, name: str, errors: Sequence[FieldError]) -> str:
    """Return the message of a Status with reason Invalid, as kubectl users know it."""
    subject = f"{kind}.{group}" if group else kind
    listed = list(dict.fromkeys(map(str, errors)))
    detail = listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"
    return f'{subject} "{name}" is invalid: {detail}'
