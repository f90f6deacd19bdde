"""Server-side apply: merge a manager's configuration into an object, and let go of what it no longer says.

Owns the decision who conflicts with whom. Pure: the result is a new object (the live one itself if the apply
changes nothing), the caller stores it under an optimistic lock and defaults and validates it first. Safe
from any task. Semantics: Kubernetes' server-side apply (KEP-555, structured-merge-diff v4).

Next: `managed` for the entries, `merge` for the walks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from hanse.errors import ConflictError, InvalidArgumentError
from hanse.kube.merge.compare import compare, everything
from hanse.kube.merge.fieldsets import Fields, format_path, intersection, paths
from hanse.kube.merge.managed import (
    APPLY,
    BEFORE_FIRST_APPLY,
    UPDATE,
    ManagedFieldsEntry,
    ManagerId,
    Managers,
    decode,
    encode,
    owned,
    release,
    with_managed,
    without_managed,
)
from hanse.kube.merge.removal import remove
from hanse.kube.merge.schema import ANY, Schema
from hanse.kube.merge.typed import fields_of, merge
from hanse.kube.model.objects import Object, mapping
from hanse.kube.model.times import format_time

_SERVER_META = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generation",
        "managedFields",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)


@dataclass(frozen=True, slots=True)
class Conflict:
    """One field that another manager owns with another value; `path` is as Kubernetes prints it."""

    manager: str
    operation: str
    api_version: str
    subresource: str
    time: str
    path: str

    @property
    def owner(self) -> str:
        """The owner as Kubernetes describes it, such as '"kubectl" using apps/v1'."""
        text = f'"{self.manager}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        if self.operation == UPDATE:
            text += f" using {self.api_version}"
        return text


class ApplyConflictError(ConflictError):
    """Other managers own fields that the configuration sets to other values; `conflicts` says which.

    HTTP 409. Apply with force to take the fields over.
    """

    default_reason = "APPLY_CONFLICT"

    def __init__(self, conflicts: tuple[Conflict, ...]) -> None:
        count = len(conflicts)
        owners = list(dict.fromkeys(c.owner for c in conflicts))
        if count == 1:
            message = f"Apply failed with 1 conflict: conflict with {owners[0]}: {conflicts[0].path}"
        elif len(owners) == 1:
            listed = "".join(f"\n- {c.path}" for c in conflicts)
            message = f"Apply failed with {count} conflicts: conflicts with {owners[0]}:{listed}"
        else:
            listed = "\n".join(
                f"conflicts with {owner}:" + "".join(f"\n- {c.path}" for c in conflicts if c.owner == owner)
                for owner in owners
            )
            message = f"Apply failed with {count} conflicts: {listed}"
        super().__init__(message, metadata={"fields": ",".join(c.path for c in conflicts)})
        self.conflicts = conflicts

    def causes(self) -> list[dict[str, str]]:
        """Return `details.causes` of Kubernetes' Status for this error."""
        return [
            {"reason": "FieldManagerConflict", "message": f"conflict with {c.owner}", "field": c.path}
            for c in self.conflicts
        ]


def server_side_apply(
    live: Object | None,
    applied: Object,
    *,
    manager: str,
    schema: Schema | None,
    now: datetime,
    force: bool = False,
    subresource: str = "",
) -> Object:
    """Return `live` after `manager` applied the configuration `applied` to it; `live` itself if no change.

    `live` None creates. The result has `metadata.managedFields`; what the server writes (resourceVersion,
    uid, ...) is that of `live`. The main resource's apply ignores `status` of a kind that has one; the apply
    of subresource 'status' ignores all else. Raises ApplyConflictError without `force` if another manager
    owns a field with another value; ConflictError if `applied` names another uid or resourceVersion than
    `live` has; InvalidArgumentError if the configuration does not fit the schema or has `managedFields`.
    """
    schema = schema or ANY
    if not manager:
        raise InvalidArgumentError(
            "fieldManager is required to apply: set it", reason="MISSING_FIELD_MANAGER"
        )
    if mapping(applied, "metadata").get("managedFields"):
        raise InvalidArgumentError(
            "metadata.managedFields must be nil: leave it out of what you apply", reason="BAD_MANAGED_FIELDS"
        )
    _check_precondition(live, applied)
    configuration = _configuration(applied, schema, subresource)
    version = applied.get("apiVersion") or ""
    before = _managers_before(live, schema)
    identity = ManagerId(manager, APPLY, subresource, "")
    last = before[identity].fields if identity in before else {}

    fields = owned(fields_of(configuration, schema))
    base = without_managed(live) if live is not None else {}
    merged = merge(base, configuration, schema)
    if last and last != fields:
        # What the configuration mentions is not removed, even an empty list, of which it owns no path; the
        # second merge puts back an empty container that the removal has emptied.
        held = [everything(configuration, schema)] + [e.fields for i, e in before.items() if i != identity]
        merged = merge(remove(merged, schema, last=last, held=held), configuration, schema)

    difference = compare(base, merged, schema)
    managers = {i: e for i, e in before.items() if i != identity}
    if not force:
        _refuse_conflicts(managers, difference.changed)
    managers = release(managers, changed=difference.changed, removed=difference.removed)
    managers.update(
        _own_entry(identity, before, fields=fields, version=version, moved=merged is not base, now=now)
    )
    if live is not None and merged is base and (before == managers or not (fields or last)):
        return live
    return with_managed(merged, encode(managers))


def _own_entry(
    identity: ManagerId, before: Managers, *, fields: Fields, version: str, moved: bool, now: datetime
) -> Managers:
    """Return the applier's new entry; its time moves only if its set or a value of the object does."""
    if not fields:
        return {}
    entry = before.get(identity)
    if entry is not None and not moved and entry.fields == fields:
        return {identity: replace(entry, api_version=version)}
    return {
        identity: ManagedFieldsEntry(
            manager=identity.manager,
            operation=APPLY,
            api_version=version,
            subresource=identity.subresource,
            time=format_time(now),
            fields=fields,
        )
    }


def _check_precondition(live: Object | None, applied: Object) -> None:
    """Check uid, and resourceVersion where there is an object: kube-apiserver creates whatever it is."""
    for field in ("uid", "resourceVersion") if live is not None else ("uid",):
        wanted = mapping(applied, "metadata").get(field)
        if not wanted:
            continue
        found = mapping(live, "metadata").get(field)
        if wanted != found:
            raise ConflictError(
                f"the configuration is for {field} {wanted}, but the object has {found or 'none'}: "
                f"leave {field} out or read the object again",
                reason="PRECONDITION_FAILED",
                metadata={"field": f"metadata.{field}"},
            )


def _configuration(applied: Object, schema: Schema, subresource: str) -> Object:
    """Return what the manager has a say in."""
    out: Object = dict(applied)
    metadata = mapping(applied, "metadata")
    if not _SERVER_META.isdisjoint(metadata):
        out["metadata"] = {k: v for k, v in metadata.items() if k not in _SERVER_META}
    if subresource == "status":
        kept = {k: v for k, v in mapping(applied, "metadata").items() if k in ("name", "namespace")}
        return {
            "apiVersion": applied.get("apiVersion"),
            "kind": applied.get("kind"),
            "metadata": kept,
            **({"status": applied["status"]} if "status" in applied else {}),
        }
    if not subresource and schema.declares("status"):
        out.pop("status", None)
    return out


def _managers_before(live: Object | None, schema: Schema) -> Managers:
    """Return the live entries; an object that nobody owns is owned by `before-first-apply`."""
    if live is None:
        return {}
    managers = decode(mapping(live, "metadata").get("managedFields"))
    if managers:
        return managers
    version: Any = live.get("apiVersion") or ""
    fields = owned(everything(without_managed(live), schema))
    entry = ManagedFieldsEntry(
        manager=BEFORE_FIRST_APPLY,
        operation=UPDATE,
        api_version=version,
        subresource="",
        time="",
        fields=fields,
    )
    return {entry.id: entry} if fields else {}


def _refuse_conflicts(managers: Managers, changed: Fields) -> None:
    conflicts = [
        Conflict(
            manager=entry.manager,
            operation=entry.operation,
            api_version=entry.api_version,
            subresource=entry.subresource,
            time=entry.time,
            path=format_path(path),
        )
        for entry in managers.values()
        for path in paths(intersection(entry.fields, changed))
    ]
    if conflicts:
        raise ApplyConflictError(tuple(sorted(conflicts, key=lambda c: (c.manager, c.path))))
