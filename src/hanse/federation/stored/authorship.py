"""What of a custom resource its author wrote, and what the federation's schema filled in.

Owns the annotation `hanse.dev/defaulted` of stored objects, which is never served: the fields that a default
of the CustomResourceDefinition brought, as a tree of names (of places, in lists). A member gets the object
without them, because its CRD may be older and not know such a field, or have another default: it fills in its
own. A field that was filled in once and comes back with the same value in an update was not written by the
author either, because every client sends back what it was shown; with another value it was, and so is what an
apply names.

Defaults of Kubernetes' own kinds are part of their meaning and are sent.

Pure functions; inputs are never changed. Next: `hanse_apiserver.admission`, which records them, and
`hanse_syncer.decide.render`, which leaves them out.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import orjson

from hanse.kube.model.objects import Object, annotations_of, mapping, sequence
from hanse.well_known import DEFAULTED

DefaultedFields: TypeAlias = dict[str, Any]
"""By name, or place in a list as text: {} for a value that was filled in, else those inside it."""


def defaulted_of(obj: Object) -> DefaultedFields:
    """Return what is recorded of an object; {} for nothing, and for what cannot be read."""
    try:
        found = orjson.loads(annotations_of(obj).get(DEFAULTED) or "{}")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def with_defaulted(obj: Object, *, written: Object, old: Object | None) -> Object:
    """Return the object to store with a record of what was filled in.

    `written` is what the client sent, `old` what is stored now.
    """
    before = defaulted_of(old) if old is not None else {}
    if written is obj and not before and DEFAULTED not in annotations_of(obj):
        return obj
    named = _applied(obj)
    found = {
        name: below
        for name, below in _defaulted(written, obj, old, before, named).items()
        if name not in ("apiVersion", "kind", "metadata", "status")
    }
    annotations = {name: value for name, value in annotations_of(obj).items() if name != DEFAULTED}
    if found:
        annotations[DEFAULTED] = orjson.dumps(found, option=orjson.OPT_SORT_KEYS).decode()
    if annotations == annotations_of(obj):
        return obj
    metadata = {name: value for name, value in mapping(obj, "metadata").items() if name != "annotations"}
    return {**obj, "metadata": {**metadata, "annotations": annotations} if annotations else metadata}


def as_written(obj: Object) -> Object:
    """Return an object without what was filled in."""
    fields = defaulted_of(obj)
    if not fields:
        return obj
    kept: Object = _without(obj, fields)
    return kept


def _applied(obj: Object) -> list[Object]:
    """Return the sets of fields that appliers own."""
    entries = sequence(obj, "metadata", "managedFields")
    return [
        entry["fieldsV1"]
        for entry in entries
        if isinstance(entry, dict) and entry.get("operation") == "Apply" and entry.get("fieldsV1")
    ]


def _defaulted(written: Any, stored: Any, old: Any, before: Any, named: list[Object]) -> DefaultedFields:
    """Return what of `stored` was filled in: now, or earlier and not changed since."""
    found: DefaultedFields = {}
    if isinstance(stored, dict):
        given = written if isinstance(written, dict) else {}
        had = old if isinstance(old, dict) else {}
        for name, value in stored.items():
            deeper = [below for each in named if (below := each.get(f"f:{name}")) is not None]
            mark = before.get(name) if isinstance(before, dict) else None
            if name not in given or (mark == {} and not deeper and name in had and had[name] == value):
                found[name] = {}
            elif below := _defaulted(given[name], value, had.get(name), mark or {}, deeper):
                found[name] = below
    elif isinstance(stored, list) and isinstance(written, list) and len(stored) == len(written):
        had_items = old if isinstance(old, list) else []
        for number, value in enumerate(stored):
            same = number < len(had_items) and had_items[number] == value and not named
            mark = before.get(str(number)) if same and isinstance(before, dict) else None
            item = had_items[number] if same else None
            if below := _defaulted(written[number], value, item, mark or {}, named):
                found[str(number)] = below
    return found


def _without(value: Any, fields: DefaultedFields) -> Any:
    if isinstance(value, dict):
        return {
            name: _without(item, fields[name]) if name in fields else item
            for name, item in value.items()
            if fields.get(name) != {}
        }
    if isinstance(value, list):
        return [
            _without(item, fields[str(number)]) if str(number) in fields else item
            for number, item in enumerate(value)
        ]
    return value
