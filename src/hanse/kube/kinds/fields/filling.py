"""Filling in what an object does not say, in place.

Owns the steps of which all defaulting is made. They change the dict that they are given, which is a copy
(`hanse.kube.kinds.defaults` makes it). Next: `hanse.kube.kinds.fields.pod_defaults`.
"""

from __future__ import annotations

from typing import Any

Spec = dict[str, Any]


def fill(target: Spec, values: Spec) -> None:
    """Set what is absent."""
    for key, value in values.items():
        target.setdefault(key, value)


def fill_texts(target: Spec, values: dict[str, str]) -> None:
    """Set texts that are absent or empty: fields that are no pointers in Go, where the two are the same."""
    for key, value in values.items():
        if not target.get(key):
            target[key] = value


def dicts(owner: Any, field: str) -> list[Spec]:
    """Return the objects in a list field, or an empty list."""
    value = owner.get(field) if isinstance(owner, dict) else None
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def section(owner: Any, field: str) -> Spec | None:
    """Return an object field, or None."""
    value = owner.get(field) if isinstance(owner, dict) else None
    return value if isinstance(value, dict) else None


def ensure(owner: Spec, field: str) -> Spec:
    """Return an object field; create it if it is absent."""
    value = owner.setdefault(field, {})
    return value if isinstance(value, dict) else {}
