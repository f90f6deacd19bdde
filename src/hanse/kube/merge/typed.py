"""Typed merging: what structured-merge-diff does to objects, on plain dicts and FieldsV1 tries.

Owns two pure walks over a value and its schema: `fields_of` (which paths a configuration sets) and `merge`
(a configuration onto a live object), and what they share with `compare` and `removal`: how a value is walked
and what tells list items apart. Unchanged subtrees stay identical (`is`), which makes comparing the result
with the live object cheap. Safe from any task.

The semantics are those of structured-merge-diff v4: granular and atomic maps, associative lists by keys,
sets, atomic lists; without a schema maps are granular and lists atomic.

Next: `compare` and `removal`; `apply`, which puts all of these together.
"""

from __future__ import annotations

from typing import Any, Literal, NoReturn

from hanse.errors import InvalidArgumentError
from hanse.kube.merge.fieldsets import LEAF, Fields, format_path, key_element, value_element
from hanse.kube.merge.schema import ANY, Schema

Walk = Literal["map", "list", "leaf"]


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
    return bool(a == b) and _same_booleans(a, b)


def _same_booleans(a: Any, b: Any) -> bool:
    """Of two values that are equal to Python: report whether they have booleans at the same places."""
    kind = type(a)
    if kind is dict:
        return all(_same_booleans(value, b[key]) for key, value in a.items())
    if kind is list:
        return all(_same_booleans(x, y) for x, y in zip(a, b, strict=True))
    return (kind is bool) == (type(b) is bool)


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


def kind_of(value: Any, schema: Schema) -> Walk:
    """Return how a value is walked: field by field, item by item, or as a whole."""
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
    kind = kind_of(value, schema)
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
            if kind_of(child, child_schema) == "leaf" or not declares(name):
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
    kind = kind_of(applied, schema)
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
