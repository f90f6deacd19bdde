"""Taking out of an object what a manager has let go of.

Owns `remove`, a pure walk along the manager's previous set. Safe from any task. What goes is what
structured-merge-diff v4 would prune: the result of its three passes, found in one.

Next: `apply`.
"""

from __future__ import annotations

from typing import Any

from hanse.kube.merge.fieldsets import Fields, is_member
from hanse.kube.merge.schema import ANY, Schema
from hanse.kube.merge.typed import item_element, kind_of


def remove(value: Any, schema: Schema, *, last: Fields, held: list[Fields]) -> Any:
    """Take out of `value` what a manager set last time and nobody holds now; `value` itself if nothing.

    `last` is the manager's previous set, `held` the sets of all managers now (its new one too). A list or
    map item, or a declared field on the way to one, goes whole if no set in `held` has it.
    """
    if not last:
        return value
    return _remove(value, schema, last, held, inside=False, gone=False)


def _remove(value: Any, schema: Schema, last: Fields, held: list[Fields], *, inside: bool, gone: bool) -> Any:
    kind = kind_of(value, schema)
    if kind == "map":
        return _remove_fields(value, schema, last, held, inside=inside, gone=gone)
    if kind == "list":
        return _remove_items(value, schema, last, held, inside=inside, gone=gone)
    return value


def _remove_fields(
    value: dict[str, Any], schema: Schema, last: Fields, held: list[Fields], *, inside: bool, gone: bool
) -> dict[str, Any]:
    out = value
    for element, below in last.items():
        name = element[2:]
        if not element.startswith("f:") or name not in value:
            continue
        named = schema.declares(name)
        holders = [h[element] for h in held if element in h]
        was_member = named or is_member(below)
        within = inside or was_member
        lost = gone or (within and not any(named or is_member(h) for h in holders))
        if lost and was_member:
            out = dict(value) if out is value else out
            del out[name]
            continue
        if not below:
            continue
        child_schema = schema.field(name) or ANY
        child = _remove(value[name], child_schema, below, holders, inside=within, gone=lost)
        if child is value[name]:
            continue
        out = dict(value) if out is value else out
        if child or child_schema.shape == "struct":
            out[name] = child
        else:
            del out[name]
    return out


def _remove_items(
    value: list[Any], schema: Schema, last: Fields, held: list[Fields], *, inside: bool, gone: bool
) -> list[Any]:
    out: list[Any] = []
    item_schema = schema.element or ANY
    same_items = True
    for index, item in enumerate(value):
        element = item_element(schema, item, f"[{index}]")
        below = last.get(element)
        if below is None:
            out.append(item)
            continue
        holders = [h[element] for h in held if element in h]
        within = inside or is_member(below)
        lost = gone or (within and not any(is_member(h) for h in holders))
        if lost and is_member(below):
            same_items = False
            continue
        if below and schema.list_type == "map":
            kept = {e: s for e, s in below.items() if e[2:] not in schema.list_keys}  # an item keeps its key
            child = _remove(item, item_schema, kept, holders, inside=within, gone=lost)
            same_items = same_items and child is item
            out.append(child)
        else:
            out.append(item)
    return value if same_items else out
