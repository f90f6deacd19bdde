"""The patches that turn one object into another, as kubectl makes them: what the patches are tested with."""

from __future__ import annotations

from typing import Any

from hanse.kube.merge.schema import ANY, Schema
from hanse.kube.merge.strategic import DELETE_PREFIX, ORDER_PREFIX, PATCH, RETAIN
from hanse.kube.merge.typed import same
from hanse.kube.model.objects import Object


def merge_difference(old: Object, new: Object) -> Object:
    """Return the merge patch that turns `old` into `new`, which has no null: that means removal."""
    patch: Object = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif isinstance(value, dict) and isinstance(old[key], dict):
            below = merge_difference(old[key], value)
            if below:
                patch[key] = below
        elif not same(value, old[key]):
            patch[key] = value
    return patch


def strategic_difference(old: Object, new: Object, schema: Schema) -> Object:
    """Return the strategic merge patch that turns `old` into `new`; empty if they are equal."""
    return _diff_map(old, new, schema)


def _diff_map(old: dict[str, Any], new: dict[str, Any], schema: Schema) -> dict[str, Any]:
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        child = schema.field(key) or ANY
        if key not in old:
            patch[key] = value
        elif not same(old[key], value):
            _diff_field(patch, key, old[key], value, child)
    if patch and "retainKeys" in schema.strategies and old:
        patch[RETAIN] = sorted(new)
    return patch


def _diff_field(patch: dict[str, Any], key: str, old: Any, new: Any, schema: Schema) -> None:
    if isinstance(old, dict) and isinstance(new, dict) and "replace" not in schema.strategies:
        patch[key] = _diff_map(old, new, schema)
    elif isinstance(old, list) and isinstance(new, list) and "merge" in schema.strategies:
        if any(isinstance(item, dict) for item in (*old, *new)):
            _diff_objects(patch, key, old, new, schema)
        else:
            _diff_values(patch, key, old, new)
    else:
        patch[key] = new


def _diff_values(patch: dict[str, Any], key: str, old: list[Any], new: list[Any]) -> None:
    added = [item for item in new if item not in old]
    gone = [item for item in old if item not in new]
    if added:
        patch[key] = added
    if gone:
        patch[DELETE_PREFIX + key] = gone
    patch[ORDER_PREFIX + key] = new


def _diff_objects(patch: dict[str, Any], key: str, old: list[Any], new: list[Any], schema: Schema) -> None:
    name = schema.merge_key
    keyed = all(isinstance(item, dict) and name in item for item in (*old, *new))
    if not keyed or any(len({item[name] for item in items}) < len(items) for items in (old, new)):
        patch[key] = [*new, {PATCH: "replace"}]
        return
    element = schema.element or ANY
    before = {item[name]: item for item in old}
    kept = {item[name] for item in new}
    changes: list[Any] = []
    for item in new:
        known = before.get(item[name])
        below = item if known is None else _diff_map(known, item, element)
        if known is None or below:
            if known is not None and "retainKeys" in schema.strategies:
                below[RETAIN] = sorted(item)
            changes.append({**below, name: item[name]})
    changes += [{PATCH: "delete", name: gone} for gone in before if gone not in kept]
    if changes:
        patch[key] = changes
    patch[ORDER_PREFIX + key] = [{name: item[name]} for item in new]
