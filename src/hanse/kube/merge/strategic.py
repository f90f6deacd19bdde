"""Strategic merge patch: Kubernetes' merge patch that merges lists by key, steered by directives.

Owns applying such a patch. Merge keys and strategies come from
the schema. Pure: never changes its inputs; safe from any task.

Directives: `$patch: replace|delete|merge` in a map, or as an item of a list; `$retainKeys`;
`$deleteFromPrimitiveList/<field>`; `$setElementOrder/<field>`. The order of a merged list is Kubernetes':
items that the patch names keep the patch's order, the others theirs.

Next: `hanse.kube.merge.patch`, the door to all patches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hanse.errors import InvalidArgumentError, shown
from hanse.kube.merge.schema import ANY, Schema
from hanse.kube.model.objects import Object

PATCH = "$patch"
RETAIN = "$retainKeys"
DELETE_PREFIX = "$deleteFromPrimitiveList/"
ORDER_PREFIX = "$setElementOrder/"


class UnsupportedPatchError(InvalidArgumentError):
    """The kind does not take this type of patch (strategic merge patch on a custom resource). HTTP 415."""

    default_reason = "UNSUPPORTED_PATCH"


def strategic_merge_patch(obj: Object, patch: Any, schema: Schema | None) -> Object:
    """Return the object after a strategic merge patch.

    Raises UnsupportedPatchError if the kind is not built in; InvalidArgumentError if the patch is malformed.
    """
    if schema is None or not schema.builtin or schema is ANY:
        raise UnsupportedPatchError(
            "strategic merge patch is not supported for custom resources: use application/merge-patch+json"
        )
    if not isinstance(patch, dict):
        raise _bad("a strategic merge patch must be a JSON object")
    return _merge_map(obj, patch, schema)


def _bad(problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(problem, reason="BAD_PATCH")


def _merge_map(original: dict[str, Any], patch: dict[str, Any], schema: Schema) -> dict[str, Any]:
    directive = patch.get(PATCH)
    if directive == "replace":
        return {
            k: _fresh(v, schema.field(k) or ANY) for k, v in patch.items() if k != PATCH and v is not None
        }
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise _bad(f"{PATCH}: {shown(directive)} is not a directive: use replace, delete or merge")
    out = _retained(original, patch)
    ordered: set[str] = set()
    for key, order in patch.items():
        if key.startswith(ORDER_PREFIX):
            name = key.removeprefix(ORDER_PREFIX)
            ordered.add(name)
            _order_field(out, name, patch, order=_as_list(order, key), schema=schema.field(name) or ANY)
    for key, value in patch.items():
        if key in (PATCH, RETAIN) or key.startswith(ORDER_PREFIX) or key in ordered:
            continue
        if key.startswith(DELETE_PREFIX):
            name = key.removeprefix(DELETE_PREFIX)
            if isinstance(out.get(name), list):
                gone = {_mark(item) for item in _as_list(value, key)}
                out[name] = [item for item in out[name] if _mark(item) not in gone]
            continue
        if value is None:
            out.pop(key, None)
        else:
            out[key] = _merge_value(out.get(key), value, schema.field(key) or ANY)
    return out


def _as_list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _bad(f"{where[:200]} must be a list")
    return value


def _retained(original: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    if RETAIN not in patch:
        return dict(original)
    keep = set(map(str, _as_list(patch[RETAIN], RETAIN)))
    for key, value in patch.items():
        if not key.startswith("$") and value is not None and key not in keep:
            raise _bad(f"{RETAIN} must name every field of the patch, but leaves out {shown(key)}")
    return {key: value for key, value in original.items() if key in keep}


def _merge_value(original: Any, patch: Any, schema: Schema) -> Any:
    if isinstance(patch, dict):
        if not isinstance(original, dict) or "replace" in schema.strategies:
            return _fresh(patch, schema)
        return _merge_map(original, patch, schema)
    if isinstance(patch, list):
        if "merge" in schema.strategies and isinstance(original, list):
            return _merge_list(original, patch, schema)
        return _fresh(patch, schema)
    return patch


def _fresh(patch: Any, schema: Schema) -> Any:
    """Return what a patch gives where there is nothing: no nulls in maps, no directives."""
    if isinstance(patch, dict):
        return _merge_map({}, patch, schema)
    if isinstance(patch, list):
        if "merge" in schema.strategies:
            return _merge_list([], patch, schema)
        element = schema.element or ANY
        return [_fresh(item, element) if isinstance(item, dict) else item for item in patch]
    return patch


def _merge_list(original: list[Any], patch: list[Any], schema: Schema) -> list[Any]:
    if not any(isinstance(item, dict) for item in (*original, *patch)):
        unique: dict[Any, Any] = {}
        for item in (*original, *patch):
            unique.setdefault(_mark(item), item)
        return _arranged(list(unique.values()), by=patch, server=original, identity=_itself)
    key = schema.merge_key
    if not key:
        raise _bad("cannot merge lists of objects without a merge key")
    original, patch, replace = _special_items(original, patch, key)
    element = schema.element or ANY
    if replace:
        return [_fresh(item, element) for item in patch]
    identity = _by_key(key)
    merged = list(original)
    places = _places(merged, identity) if patch else {}
    for item in patch:
        at = places.setdefault(_mark(identity(item)), len(merged))
        if at == len(merged):
            merged.append(_fresh(item, element))
        else:
            merged[at] = _merge_map(merged[at], item, element)
    return _arranged(merged, by=patch, server=original, identity=identity)


def _itself(item: Any) -> Any:
    return item


def _by_key(key: str) -> Callable[[Any], Any]:
    def identity(item: Any) -> Any:
        if not isinstance(item, dict) or key not in item:
            raise _bad(f"an item of the list does not contain its merge key {key!r}")
        return item[key]

    return identity


def _mark(value: Any) -> Any:
    """Return what is equal for two values exactly if they are the same in JSON, and can be looked up."""
    if isinstance(value, bool):
        return (value,)
    if isinstance(value, dict):
        return (dict, frozenset((key, _mark(each)) for key, each in value.items()))
    if isinstance(value, list):
        return (list, *map(_mark, value))
    return value


def _places(items: Sequence[Any], identity: Callable[[Any], Any]) -> dict[Any, int]:
    """Return where each identity stands first. Lists have thousands of items: look up, never search."""
    places: dict[Any, int] = {}
    for at, item in enumerate(items):
        places.setdefault(_mark(identity(item)), at)
    return places


def _special_items(original: list[Any], patch: list[Any], key: str) -> tuple[list[Any], list[Any], bool]:
    """Carry out the `$patch` items of a list; return what is left of both, and if the list is replaced."""
    identity = _by_key(key)
    plain: list[Any] = []
    gone: set[Any] = set()
    replace = False
    for item in patch:
        if not isinstance(item, dict):
            raise _bad("the patch mixes objects and plain values in a list")
        directive = item.get(PATCH)
        if directive is None:
            plain.append(item)
        elif directive == "delete":
            gone.add(_mark(identity(item)))
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise _bad("merging lists cannot yet be specified in the patch")
        else:
            raise _bad(f"{PATCH}: {shown(directive)} is not a directive: use replace or delete")
    if gone:
        original = [known for known in original if _mark(identity(known)) not in gone]
    return original, plain, replace


def _arranged(
    merged: list[Any], *, by: list[Any], server: list[Any], identity: Callable[[Any], Any]
) -> list[Any]:
    """Return the merged items in Kubernetes' order.

    Those in `by` follow its order, the others that of `server`; the two lines are merged by where their
    heads stand in `server`, and an item that is new to the server goes first.
    """
    asked, stood = _places(by, identity), _places(server, identity)
    marks = [_mark(identity(item)) for item in merged]
    named = sorted((at for at, mark in enumerate(marks) if mark in asked), key=lambda at: asked[marks[at]])
    others = [at for at, mark in enumerate(marks) if mark not in asked]
    others.sort(key=lambda at: stood.get(marks[at], -1))
    out: list[Any] = []
    left = right = 0
    while left < len(others) and right < len(named):
        here = stood.get(marks[others[left]], -1)
        there = stood.get(marks[named[right]], -1)
        if 0 <= here < there:
            out.append(merged[others[left]])
            left += 1
        else:
            out.append(merged[named[right]])
            right += 1
    return out + [merged[at] for at in (*others[left:], *named[right:])]


def _order_field(
    out: dict[str, Any], name: str, patch: dict[str, Any], *, order: list[Any], schema: Schema
) -> None:
    """Merge one list of the patch into `out` and put it in the order that `$setElementOrder` asks for."""
    original, change = out.get(name), patch.get(name)
    if change is None and name in patch:
        out.pop(name, None)
        return
    if original is None and change is None:
        return
    original, change = _as_list(original or [], name), _as_list(change or [], name)
    objects = any(isinstance(item, dict) for item in (*original, *change, *order))
    if objects and not schema.merge_key:
        raise _bad(f"{ORDER_PREFIX}{name[:200]}: the field has no merge key")
    identity = _by_key(schema.merge_key) if objects else _itself
    _check_order(name, change, order, identity)
    merged = _merge_list(original, change, schema) if change else original
    out[name] = _arranged(merged, by=order, server=original, identity=identity)


def _check_order(name: str, change: list[Any], order: list[Any], identity: Callable[[Any], Any]) -> None:
    last = -1
    places = _places(order, identity)
    for item in change:
        if isinstance(item, dict) and PATCH in item:
            continue
        at = places.get(_mark(identity(item)), -1)
        if at < 0 or at < last:
            raise _bad(f"the order in patch list {name[:200]} does not match {ORDER_PREFIX}{name[:200]}")
        last = at
