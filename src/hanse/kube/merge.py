"""Typed merging: what structured-merge-diff does to objects, on plain dicts and FieldsV1 tries.

Owns four pure walks over a value and its schema: `fields_of` (which paths a configuration sets), `merge`
(a configuration onto a live object), `compare` (what an update added, modified, removed) and `remove`
(take out what a manager let go of and nobody else holds). They keep unchanged subtrees identical (`is`),
which makes comparing the result with the live object cheap. Safe from any task.

The semantics are those of structured-merge-diff v4: granular and atomic maps, associative lists by keys,
sets, atomic lists; without a schema maps are granular and lists atomic. No text of it is used.

Next: `apply` and `managed`, which put these together.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

from hanse.errors import InvalidArgumentError
from hanse.kube.fieldsets import LEAF, Fields, format_path, is_member, key_element, value_element
from hanse.kube.schema import ANY, Schema

_ABSENT: Any = object()

# Fields that Kubernetes' Go types hold by value: they always exist, so nobody owns them as such.
_BY_VALUE = frozenset({"metadata", "spec", "status", "template", "strategy", "updateStrategy", "jobTemplate"})


class Comparison(NamedTuple):
    """How an object differs from an older one.

    `changed` has every added path (containers too) and every modified leaf; `removed` has the topmost
    removed paths.
    """

    changed: Fields
    removed: Fields


def _fail(path: str, problem: str) -> NoReturn:
    raise InvalidArgumentError(
        f"{path or '.'}: {problem}", reason="SCHEMA_MISMATCH", metadata={"field": path}
    )


def same(a: Any, b: Any) -> bool:
    """JSON equality: as `==`, but a boolean never equals a number."""
    if a is b:
        return True
    kind = type(a)
    if kind is str:
        return bool(a == b)
    if kind is bool or type(b) is bool:
        return kind is type(b) and bool(a == b)
    if a != b:
        return False
    if kind is dict:
        return all(same(value, b[key]) for key, value in a.items())
    if kind is list:
        return all(same(x, y) for x, y in zip(a, b, strict=True))
    return True


def item_element(schema: Schema, item: Any, path: str) -> str:
    """Return the path element of an item of an associative list.

    Raises InvalidArgumentError if the item has none of its list's keys, or is not what a set can hold.
    """
    if schema.list_type == "set":
        if item is None or isinstance(item, dict | list):
            _fail(path, "a list of type set holds only plain values")
        return value_element(item)
    if not isinstance(item, dict):
        _fail(path, "an item of a list with keys must be an object")
    defaults = schema.keys_defaults()
    key = {
        name: item.get(name, defaults.get(name))
        for name in schema.list_keys
        if name in item or name in defaults
    }
    if not key:
        _fail(path, f"the item omits all of the list's key fields ({', '.join(schema.list_keys)})")
    return key_element(key)


def _kind(value: Any, schema: Schema) -> str:
    """How a value is walked: 'map', 'list' or 'leaf'. Raises if it cannot be what the schema says."""
    if schema.shape == "scalar" or schema.atomic:
        return "leaf"
    if isinstance(value, dict):
        return "leaf" if schema.shape == "list" else "map"
    if isinstance(value, list):
        return "list" if schema.shape == "list" else "leaf"
    return "leaf"


def _checked(value: Any, schema: Schema, path: str) -> None:
    shape = schema.shape
    if value is None or shape == "any":
        return
    if shape == "list" and not isinstance(value, list):
        _fail(path, f"expected list, got {_shown(value)}")
    if shape in ("map", "struct") and not isinstance(value, dict):
        _fail(path, f"expected map, got {_shown(value)}")
    if shape == "scalar" and isinstance(value, dict | list):
        _fail(path, f"expected {schema.type or 'scalar'}, got {_shown(value)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def fields_of(value: Any, schema: Schema, path: str = "") -> Fields:
    """Return the paths that a configuration sets, as the set that its manager will own.

    Raises InvalidArgumentError for a field that the schema does not declare, a value of another shape, or an
    item that is in an associative list twice.
    """
    _checked(value, schema, path)
    kind = _kind(value, schema)
    if kind == "map":
        return _fields_of_map(value, schema, path)
    if kind == "list":
        return _fields_of_list(value, schema, path)
    return LEAF


def _fields_of_map(value: dict[str, Any], schema: Schema, path: str) -> Fields:
    out: Fields = {}
    declares = schema.declares
    for name, child in value.items():
        child_schema = schema.field(name)
        if child_schema is None:
            _fail(f"{path}.{name}", "field not declared in schema")
        element = "f:" + name
        below = fields_of(child, child_schema, f"{path}.{name}")
        if child is None or child == {}:
            out[element] = LEAF
            continue
        if not below:
            # A granular list that is empty owns nothing, except where the key itself is data.
            if _kind(child, child_schema) == "leaf" or not declares(name):
                out[element] = LEAF
        else:
            out[element] = below if declares(name) else {".": LEAF, **below}
    return out


def _fields_of_list(value: list[Any], schema: Schema, path: str) -> Fields:
    out: Fields = {}
    item_schema = schema.element or ANY
    for index, item in enumerate(value):
        where = f"{path}[{index}]"
        element = item_element(schema, item, where)
        if element in out:
            _fail(path, f"duplicate entries for key {format_path([element])}")
        below = LEAF if schema.list_type == "set" else fields_of(item, item_schema, where)
        out[element] = {".": LEAF, **below} if below else LEAF
    return out


def without_nulls(value: Any, schema: Schema) -> Any:
    """Return the value without nulls that its schema does not allow; the same object if there are none."""
    if isinstance(value, dict):
        if schema.shape == "any":
            return value
        out: dict[str, Any] | None = None
        for name, child in value.items():
            child_schema = schema.field(name) or ANY
            if child is None:
                if not child_schema.nullable and child_schema.shape != "any":
                    out = dict(value) if out is None else out
                    del out[name]
            elif type(child) is dict or type(child) is list:
                kept = without_nulls(child, child_schema)
                if kept is not child:
                    out = dict(value) if out is None else out
                    out[name] = kept
        return value if out is None else out
    if isinstance(value, list) and schema.shape == "list":
        item_schema = schema.element or ANY
        items = [without_nulls(item, item_schema) for item in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    return value


def merge(live: Any, applied: Any, schema: Schema, path: str = "") -> Any:
    """Return `live` with the configuration `applied` merged onto it; `live` itself if nothing changes.

    Raises InvalidArgumentError if an associative list's items have no key. `fields_of` has already refused a
    configuration that the schema does not allow.
    """
    kind = _kind(applied, schema)
    if kind == "map" and isinstance(live, dict):
        return _merge_map(live, applied, schema, path) if live else without_nulls(applied, schema)
    if kind == "list" and isinstance(live, list) and live:
        return _merge_list(live, applied, schema, path)
    if same(live, applied):
        return live
    return without_nulls(applied, schema)


def _merge_map(live: dict[str, Any], applied: dict[str, Any], schema: Schema, path: str) -> dict[str, Any]:
    out = live
    for name, value in applied.items():
        child = schema.field(name) or ANY
        where = f"{path}.{name}"
        if value is None and not child.nullable:
            # Null takes a plain value away; to a granular map or list it adds nothing.
            if name not in live or child.shape not in ("scalar", "any"):
                continue
            out = dict(live) if out is live else out
            del out[name]
            continue
        if name not in live:
            merged = merge(None, value, child, where)
        else:
            before = live[name]
            merged = merge(before, value, child, where)
            if merged is before:
                continue
        out = dict(live) if out is live else out
        out[name] = merged
    return out


def _indexed(items: list[Any], schema: Schema, path: str) -> tuple[list[str], dict[str, Any]]:
    """Return the items' path elements in order, and each item by its element (None if it is there twice)."""
    elements = [item_element(schema, item, f"{path}[{index}]") for index, item in enumerate(items)]
    found: dict[str, Any] = {}
    for element, item in zip(elements, items, strict=True):
        found[element] = None if element in found else item
    return elements, found


def _merge_list(live: list[Any], applied: list[Any], schema: Schema, path: str) -> list[Any]:
    """Merge an associative list: the applied order rules, live items keep their place between them."""
    live_order, live_items = _indexed(live, schema, path)
    order, items = _indexed(applied, schema, path)
    item_schema = schema.element or ANY
    shared = iter([element for element in order if element in live_items])
    next_shared = next(shared, None)
    out: list[Any] = []
    done: set[str] = set()
    position = index = 0
    while position < len(live_order) or index < len(order):
        upcoming = order[index] if index < len(order) else None
        if position < len(live_order):
            element = live_order[position]
            if element not in items:
                out.append(live[position])
                position += 1
                continue
            if upcoming not in (None, element) and next_shared not in (None, element):
                position += 1  # shared, but its turn comes later
                continue
            if element in done or element == upcoming:
                position += 1
        if upcoming is not None:
            before = live_items.get(upcoming)
            if before is not None and schema.list_type == "set":
                out.append(before)
            else:
                out.append(merge(before, items[upcoming], item_schema, f"{path}[{index}]"))
            done.add(upcoming)
            index += 1
            if next_shared == upcoming:
                next_shared = next(shared, None)
    if len(out) == len(live) and all(a is b for a, b in zip(out, live, strict=True)):
        return live
    return out


def everything(value: Any, schema: Schema) -> Fields:
    """Return every path of a value, its containers too: what creating it adds."""
    kind = _kind(value, schema)
    out: Fields = {}
    if kind == "map":
        for name, child in value.items():
            child_schema = schema.field(name) or ANY
            below = everything(child, child_schema)
            if below and not (name in _BY_VALUE and schema.builtin and schema.declares(name)):
                below = {".": LEAF, **below}
            out["f:" + name] = below
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
    kind = _kind(new, schema)
    if kind == "map" and isinstance(old, dict) and (old or new):
        for name, value in new.items():
            before = old.get(name, _ABSENT)
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
        by_value = element[2:] in _BY_VALUE and schema.builtin and element.startswith("f:")
        changed[element] = {".": LEAF, **below} if below and not by_value else below
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


def remove(value: Any, schema: Schema, *, last: Fields, held: list[Fields]) -> Any:
    """Take out of `value` what a manager set last time and nobody holds now; `value` itself if nothing.

    `last` is the manager's previous set, `held` the sets of all managers now (its new one too). A list or
    map item, or a declared field on the way to one, goes whole if no set in `held` has it.
    """
    if not last:
        return value
    return _remove(value, schema, last, held, inside=False, gone=False)


def _remove(value: Any, schema: Schema, last: Fields, held: list[Fields], *, inside: bool, gone: bool) -> Any:
    kind = _kind(value, schema)
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
