"""What differs between two versions of an object, as sets of field paths.

Owns `compare` and `everything`, pure walks over values and their schema; identical subtrees (`is`) cost
nothing. Safe from any task. The semantics are those of structured-merge-diff v4.

Next: `managed`, which turns differences into ownership.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hanse.kube.merge.fieldsets import LEAF, Fields
from hanse.kube.merge.schema import ANY, Schema
from hanse.kube.merge.typed import item_element, kind_of, same

_ABSENT: Any = object()
_EMPTY: dict[type, Any] = {dict: {}, list: []}

# Fields that Kubernetes' Go types hold by value: in a built-in kind they always exist, empty at first, so
# setting something in them adds nothing but that.
_BY_VALUE = frozenset(
    {
        "containers",
        "jobTemplate",
        "metadata",
        "podSelector",
        "resource",
        "resources",
        "roleRef",
        "scaleTargetRef",
        "spec",
        "status",
        "strategy",
        "taint",
        "template",
        "updateStrategy",
    }
)


class Comparison(NamedTuple):
    """How an object differs from an older one.

    `changed` has every added path (containers too) and every modified leaf; `removed` has the topmost
    removed paths.
    """

    changed: Fields
    removed: Fields


def everything(value: Any, schema: Schema) -> Fields:
    """Return every path of a value, its containers too: what creating it adds."""
    kind = kind_of(value, schema)
    out: Fields = {}
    if kind == "map":
        for name, child in value.items():
            child_schema = schema.field(name) or ANY
            below = everything(child, child_schema)
            out["f:" + name] = {".": LEAF, **below} if below else LEAF
    elif kind == "list":
        item_schema = schema.element or ANY
        for index, item in enumerate(value):
            element = item_element(schema, item, f"[{index}]")
            below = LEAF if element in out else everything(item, item_schema)
            out[element] = {".": LEAF, **below} if below else LEAF
    return out


def compare(old: Any, new: Any, schema: Schema) -> Comparison:
    """Return what differs between two versions of an object."""
    changed: Fields = {}
    removed: Fields = {}
    if old is not new:
        _compare(old, new, schema, changed, removed)
    return Comparison(changed, removed)


def _compare(old: Any, new: Any, schema: Schema, changed: Fields, removed: Fields) -> bool:
    """Fill `changed` and `removed` with paths below this value; True if the value itself is modified."""
    kind = kind_of(new, schema)
    if kind == "map" and isinstance(old, dict) and (old or new):
        for name, value in new.items():
            before = old.get(name, _ABSENT)
            if before is _ABSENT and name in _BY_VALUE and schema.builtin and schema.declares(name):
                before = _EMPTY.get(type(value), _ABSENT)
            if value is not before:
                _compare_child("f:" + name, before, value, schema.field(name) or ANY, changed, removed)
        for name in old.keys() - new.keys():
            removed["f:" + name] = LEAF
        return False
    if kind == "list" and isinstance(old, list) and (old or new):
        _compare_lists(old, new, schema, changed, removed)
        return False
    if same(old, new):
        return False
    if kind != "leaf":
        changed.update(everything(new, schema))
    return True


def _compare_child(
    element: str, old: Any, new: Any, schema: Schema, changed: Fields, removed: Fields
) -> None:
    if old is _ABSENT:
        below = everything(new, schema)
        changed[element] = {".": LEAF, **below} if below else LEAF
        return
    changed_below: Fields = {}
    removed_below: Fields = {}
    if _compare(old, new, schema, changed_below, removed_below):
        changed[element] = {".": LEAF, **changed_below} if changed_below else LEAF
    elif changed_below:
        changed[element] = changed_below
    if removed_below:
        removed[element] = removed_below


def _grouped(items: list[Any], schema: Schema) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for index, item in enumerate(items):
        found.setdefault(item_element(schema, item, f"[{index}]"), []).append(item)
    return found


def _compare_lists(old: list[Any], new: list[Any], schema: Schema, changed: Fields, removed: Fields) -> None:
    item_schema = schema.element or ANY
    before, after = _grouped(old, schema), _grouped(new, schema)
    for element, values in after.items():
        was = before.get(element)
        if was is None:
            below = everything(values[0], item_schema) if len(values) == 1 else LEAF
            changed[element] = {".": LEAF, **below} if below else LEAF
        elif len(was) == len(values) == 1:
            if was[0] is not values[0] and schema.list_type == "map":
                _compare_child(element, was[0], values[0], item_schema, changed, removed)
        elif not same(was, values):
            changed[element] = LEAF
    for element in before.keys() - after.keys():
        removed[element] = LEAF
