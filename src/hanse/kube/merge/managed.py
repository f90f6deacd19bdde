"""Who set which field: `metadata.managedFields`, decoded, kept up to date by updates, and encoded.

Owns the bookkeeping for create, update and patch (operation 'Update') and what apply shares with it: entries
by manager, the paths that nobody owns (identity and what the server writes), time stamps, and the cap on
updaters. Pure; safe from any task. The rules are Kubernetes' (KEP-555, structured-merge-diff v4).

Next: `apply` for operation 'Apply'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from hanse.errors import InvalidArgumentError
from hanse.kube.merge.compare import compare
from hanse.kube.merge.fieldsets import (
    LEAF,
    Fields,
    difference,
    from_wire,
    recursive_difference,
    to_wire,
    union,
    union_of,
)
from hanse.kube.merge.schema import ANY, Schema
from hanse.kube.model.objects import Object, mapping
from hanse.kube.model.times import format_time

APPLY = "Apply"
UPDATE = "Update"
BEFORE_FIRST_APPLY = "before-first-apply"
ANCIENT = "ancient-changes"
MAX_UPDATERS = 10
"""As Kubernetes: with more updaters than this, the oldest are folded into `ancient-changes`."""

MAX_ENTRIES = 1_000
"""Entries that managedFields may have: each is compared with every change."""

_UNOWNED_META = ("name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "resourceVersion")
_UNOWNED: Fields = {
    "f:apiVersion": LEAF,
    "f:kind": LEAF,
    "f:metadata": {
        ".": LEAF,
        "f:managedFields": LEAF,
        "f:clusterName": LEAF,
        **{f"f:{name}": LEAF for name in _UNOWNED_META},
    },
}


class ManagerId(NamedTuple):
    """What tells two entries apart; an applier is the same in every apiVersion (then '')."""

    manager: str
    operation: str
    subresource: str
    api_version: str


@dataclass(frozen=True, slots=True)
class ManagedFieldsEntry:
    """One manager's entry: `fields` is what it owns, `time` is RFC 3339 or ''."""

    manager: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: Fields

    @property
    def id(self) -> ManagerId:
        """The entry's identity."""
        version = "" if self.operation == APPLY else self.api_version
        return ManagerId(self.manager, self.operation, self.subresource, version)


Managers = dict[ManagerId, ManagedFieldsEntry]


def decode(entries: Any) -> Managers:
    """Return the entries of a `managedFields` list by identity.

    Raises InvalidArgumentError if an entry is not one.
    """
    found: dict[ManagerId, list[ManagedFieldsEntry]] = {}
    if len(entries or ()) > MAX_ENTRIES:
        raise InvalidArgumentError(
            f"metadata.managedFields has {len(entries)} entries, more than {MAX_ENTRIES}",
            reason="BAD_MANAGED_FIELDS",
        )
    for raw in entries or ():
        if not isinstance(raw, dict) or raw.get("operation") not in (APPLY, UPDATE):
            raise InvalidArgumentError(
                "an entry of metadata.managedFields needs operation Apply or Update",
                reason="BAD_MANAGED_FIELDS",
            )
        entry = ManagedFieldsEntry(
            manager=raw.get("manager") or "",
            operation=raw["operation"],
            api_version=raw.get("apiVersion") or "",
            subresource=raw.get("subresource") or "",
            time=raw.get("time") or "",
            fields=from_wire(raw.get("fieldsV1") or {}),
        )
        found.setdefault(entry.id, []).append(entry)
    return {
        identity: replace(same_[-1], fields=union_of([entry.fields for entry in same_]))
        if len(same_) > 1
        else same_[0]
        for identity, same_ in found.items()
    }


def encode(managers: Managers) -> list[dict[str, Any]]:
    """Return the entries as a `managedFields` list, in Kubernetes' order: appliers first, then by time."""
    entries = sorted(
        managers.values(), key=lambda e: (e.operation, e.time, e.manager, e.api_version, e.subresource)
    )
    return [_encoded(entry) for entry in entries if entry.fields]


def _encoded(entry: ManagedFieldsEntry) -> dict[str, Any]:
    out: dict[str, Any] = {
        "manager": entry.manager,
        "operation": entry.operation,
        "apiVersion": entry.api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": to_wire(entry.fields),
    }
    if entry.time:
        out["time"] = entry.time
    if entry.subresource:
        out["subresource"] = entry.subresource
    return out


def owned(fields: Fields) -> Fields:
    """Return the set without the paths that nobody owns: identity and what the server writes."""
    return difference(fields, _UNOWNED)


def with_managed(obj: Object, entries: list[dict[str, Any]]) -> Object:
    """Return the object with these `managedFields` (without the field if there are none)."""
    metadata = {k: v for k, v in mapping(obj, "metadata").items() if k != "managedFields"}
    if entries:
        metadata["managedFields"] = entries
    return {**obj, "metadata": metadata}


def release(
    managers: Managers, *, changed: Fields, removed: Fields, keep: Iterable[ManagerId] = ()
) -> Managers:
    """Return the entries after others took `changed` and `removed` is gone; empty entries go."""
    kept = frozenset(keep)
    out: Managers = {}
    for identity, entry in managers.items():
        fields = entry.fields
        if identity not in kept:
            fields = recursive_difference(difference(fields, changed), removed)
        if fields:
            out[identity] = entry if fields is entry.fields else replace(entry, fields=fields)
    return out


def cap_updaters(managers: Managers) -> Managers:
    """Fold the oldest updaters into one entry per apiVersion, so that at most MAX_UPDATERS remain."""
    updaters = sorted(
        (e for e in managers.values() if e.operation == UPDATE), key=lambda e: (e.time, e.manager)
    )
    surplus = len(updaters) - MAX_UPDATERS
    if surplus <= 0:
        return managers
    out = dict(managers)
    for entry in updaters[: surplus + 1]:
        del out[entry.id]
        folded = replace(entry, manager=ANCIENT, subresource="")
        before = out.get(folded.id)
        if before:
            folded = replace(
                folded, fields=union(before.fields, entry.fields), time=max(before.time, entry.time)
            )
        out[folded.id] = folded
    return out


def requested_managers(old: Object | None, new: Object, *, subresource: str) -> Managers:
    """Return the entries to start from: those that the request carries, else those of the stored object.

    A single empty entry in the request asks to forget all. Broken entries in the request are ignored.
    """
    live = mapping(old, "metadata").get("managedFields")
    asked = mapping(new, "metadata").get("managedFields")
    if not subresource and asked:
        if asked == [{}]:
            return {}
        try:
            managers = decode(asked)
        except InvalidArgumentError:
            managers = {}
        if managers:
            return managers
    try:
        return decode(live)
    except InvalidArgumentError:
        return {}


def update_managed_fields(
    old: Object | None,
    new: Object,
    *,
    manager: str,
    schema: Schema | None,
    now: datetime,
    operation: str = UPDATE,
    subresource: str = "",
) -> list[dict[str, Any]]:
    """Return `managedFields` after `manager` wrote `new` over `old` (None for a create).

    What the write added or modified belongs to the manager; what it removed belongs to nobody. An existing
    object without any `managedFields` stays without, as in Kubernetes. The list is the stored one (equal,
    time stamps too) if nothing changes. An empty list means no field.
    """
    managers = requested_managers(old, new, subresource=subresource)
    if old is not None and not managers:
        return []
    schema = schema or ANY
    difference_ = compare(_comparable(old, new), without_managed(new), schema)
    changed, removed = owned(difference_.changed), difference_.removed
    if schema.builtin and schema.declares("status"):
        changed = _of_subresource(changed, subresource)
    version = new.get("apiVersion") or ""
    identity = ManagerId(manager, operation, subresource, "" if operation == APPLY else version)
    if changed or removed:
        managers = release(managers, changed=changed, removed=removed)
    if changed:
        before = managers.get(identity)
        managers[identity] = ManagedFieldsEntry(
            manager=manager,
            operation=operation,
            api_version=version,
            subresource=subresource,
            time=format_time(now),
            fields=union(before.fields, changed) if before else changed,
        )
        managers = cap_updaters(managers)
    elif removed and identity in managers:
        managers[identity] = replace(managers[identity], time=format_time(now))
    return encode(managers)


def _of_subresource(changed: Fields, subresource: str) -> Fields:
    """Return what a write through this subresource can change: status belongs to 'status' alone."""
    if subresource == "status":
        return {element: below for element, below in changed.items() if element == "f:status"}
    return {element: below for element, below in changed.items() if element != "f:status"}


def without_managed(obj: Object) -> Object:
    """Return the object without `metadata.managedFields`; the same object if there are none."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}


def _comparable(old: Object | None, new: Object) -> Mapping[str, Any]:
    return without_managed(old) if old is not None else {}
