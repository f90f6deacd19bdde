"""Which objects of a member are ours.

Owns the marks that Hanse puts on members' objects: two labels on the object's own metadata, never on a pod
template. The syncer touches nothing without them. Pure functions.

Next: `hanse_syncer.decide.render`, which puts the marks on, and `hanse_syncer.decide.plan`, which asks for
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hanse.kube.model.objects import Object, child, mapping, sequence
from hanse.well_known import FEDERATION_LABEL, FIELD_MANAGER, MANAGED_BY, MANAGED_BY_LABEL


def labels(federation_id: str) -> dict[str, str]:
    """Return the labels of an object that belongs to the federation."""
    return {MANAGED_BY_LABEL: MANAGED_BY, FEDERATION_LABEL: federation_id}


def selector(federation_id: str) -> str:
    """Return the label selector for the federation's objects."""
    return f"{FEDERATION_LABEL}={federation_id},{MANAGED_BY_LABEL}={MANAGED_BY}"


def owned(obj: Mapping[str, Any], federation_id: str) -> bool:
    """Return whether a member's object carries the federation's marks."""
    found = mapping(obj, "metadata", "labels")
    return found.get(FEDERATION_LABEL) == federation_id and found.get(MANAGED_BY_LABEL) == MANAGED_BY


def is_copy(obj: Mapping[str, Any]) -> bool:
    """Return whether somebody else wrote our marks onto a member's object, as its managed fields say.

    People copy objects with their labels, and so do controllers. What has no managed fields, as after some
    ways of restoring it, is not known to be a copy.
    """
    entries = sequence(mapping(obj, "metadata"), "managedFields")
    return bool(entries) and not any(_has_applied_marks(entry) for entry in entries)


def _has_applied_marks(entry: Any) -> bool:
    by_us = child(entry, "manager") == FIELD_MANAGER and child(entry, "operation") == "Apply"
    return by_us and f"f:{FEDERATION_LABEL}" in mapping(entry, "fieldsV1", "f:metadata", "f:labels")


def other_federation(obj: Mapping[str, Any], federation_id: str) -> str:
    """Return the id of the other federation that owns the object; empty if none does."""
    found = mapping(obj, "metadata", "labels")
    other = str(found.get(FEDERATION_LABEL) or "")
    return other if other != federation_id else ""


def release_patch(*, uid: str, intent: Mapping[str, Any] | None) -> Object:
    """Return the JSON merge patch that takes our marks off the object with `uid`, and nothing else.

    A managed-by label that the author of the object wrote comes back. The uid is a precondition: the API
    server refuses the patch if another object of the same name is there now.
    """
    wanted = ((intent or {}).get("metadata") or {}).get("labels") or {}
    own = wanted.get(MANAGED_BY_LABEL)
    return {
        "metadata": {
            "uid": uid,
            "labels": {FEDERATION_LABEL: None, MANAGED_BY_LABEL: own if own != MANAGED_BY else None},
        }
    }
