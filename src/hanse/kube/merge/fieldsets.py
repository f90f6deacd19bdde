"""Sets of field paths, in the very form that Kubernetes stores them in: FieldsV1 tries as plain dicts.

A set is a dict from path elements to subtrees. An element is 'f:<field>', 'k:<JSON object of key fields>',
'v:<JSON value>' or 'i:<index>'. An empty subtree is a member without members below it; '.' inside a subtree
says that the path itself is a member as well as those below it. At the root an empty dict is the empty set.
Keys and values are canonical JSON (sorted, compact), so two equal paths are equal strings.

Sets are immutable by convention: all functions return new dicts that may share subtrees with their
arguments. Pure, safe from any task. The format is that of Kubernetes' FieldsV1 (structured-merge-diff).

Next: `typed` makes sets from objects, `managed` keeps them per manager.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import orjson

from hanse.errors import InvalidArgumentError

Fields: TypeAlias = dict[str, Any]
"""A set of field paths, as a FieldsV1 trie."""

Path: TypeAlias = tuple[str, ...]
"""One field path, as the trie's elements from the root."""

LEAF: Fields = {}
"""The subtree of a member that has no members below it. Never changed."""


def is_member(subtree: Fields) -> bool:
    """Return True if the path of this subtree is itself in the set (the root never is)."""
    return not subtree or "." in subtree


def _joined(a: Fields, b: Fields) -> Fields:
    """Union of two subtrees at the same path."""
    if a is b:
        return a
    if not a:
        return b if is_member(b) else {".": LEAF, **b}
    if not b:
        return a if "." in a else {".": LEAF, **a}
    out = a
    for element, subtree in b.items():
        mine = a.get(element)
        merged = subtree if mine is None or element == "." else _joined(mine, subtree)
        if merged is not mine and merged != mine:
            if out is a:
                out = dict(a)
            out[element] = merged
    return out


def union(a: Fields, b: Fields) -> Fields:
    """Return the paths that are in either set."""
    if not a or not b:
        return a or b
    return _joined(a, b)


def union_of(sets: Sequence[Fields]) -> Fields:
    """Return the paths that are in any of the sets, in time that hardly grows with their number."""
    left = list(sets)
    while len(left) > 1:
        joined = [union(a, b) for a, b in zip(left[::2], left[1::2], strict=False)]
        left = [*joined, left[-1]] if len(left) % 2 else joined
    return left[0] if left else LEAF


def difference(a: Fields, b: Fields) -> Fields:
    """Return the paths of `a` that are not in `b`; paths below a path of `b` stay."""
    return dict(_differences(a, b)) if b else a


def _differences(a: Fields, b: Fields) -> Iterator[tuple[str, Fields]]:
    for element, subtree in a.items():
        if element == ".":
            continue
        other = b.get(element)
        if other is None:
            yield element, subtree
            continue
        rest = dict(_differences(subtree, other))
        if is_member(subtree) and not is_member(other):
            yield element, ({".": LEAF, **rest} if rest else LEAF)
        elif rest:
            yield element, rest


def recursive_difference(a: Fields, b: Fields) -> Fields:
    """Return the paths of `a` that neither are in `b` nor are below a path of `b`."""
    if not b:
        return a
    out: Fields = {}
    for element, subtree in a.items():
        other = b.get(element)
        if other is None or element == ".":
            out[element] = subtree
        elif not is_member(other):
            if not subtree:
                out[element] = subtree
                continue
            rest = recursive_difference(subtree, other)
            if rest:
                out[element] = LEAF if rest.keys() == {"."} else rest
    return out


def intersection(a: Fields, b: Fields) -> Fields:
    """Return the paths that are in both sets."""
    out: Fields = {}
    for element, subtree in a.items():
        other = b.get(element)
        if other is None or element == ".":
            continue
        rest = intersection(subtree, other)
        if is_member(subtree) and is_member(other):
            out[element] = {".": LEAF, **rest} if rest else LEAF
        elif rest:
            out[element] = rest
    return out


def contains(fields: Fields, path: Iterable[str]) -> bool:
    """Return True if the path (trie elements from the root) is in the set."""
    node: Fields | None = fields
    empty = True
    for element in path:
        empty = False
        node = node.get(element) if node else None
        if node is None:
            return False
    return not empty and node is not None and is_member(node)


def paths(fields: Fields) -> Iterator[Path]:
    """Yield every path of the set, in order of its elements."""
    for element in sorted(fields):
        if element == ".":
            continue
        subtree = fields[element]
        if is_member(subtree):
            yield (element,)
        for rest in paths(subtree):
            yield (element, *rest)


def extracted(value: Any, fields: Fields) -> Any:
    """Return what of `value` the set names: with the fields that a manager applied, what it applied.

    What the set names and `value` does not have is left out. Items of lists keep the order of `value`.
    """
    below = {element: subtree for element, subtree in fields.items() if element != "."}
    if not below:
        return value
    if isinstance(value, dict):
        named = {element[2:]: subtree for element, subtree in below.items() if element.startswith("f:")}
        return {name: extracted(value[name], named[name]) for name in value if name in named}
    if isinstance(value, list):
        found = [(item, _subtree_of(item, number, below)) for number, item in enumerate(value)]
        return [extracted(item, subtree) for item, subtree in found if subtree is not None]
    return value


def _subtree_of(item: Any, number: int, elements: Fields) -> Fields | None:
    """Return the subtree of the element that names an item of a list; None if none does."""
    for element, subtree in elements.items():
        kind, text = element[0], element[2:]
        if kind == "i" and text == str(number):
            return dict(subtree)
        if kind == "v" and orjson.loads(text) == item:
            return LEAF
        if kind == "k" and isinstance(item, dict):
            key: dict[str, Any] = orjson.loads(text)
            if all(item.get(name) == wanted for name, wanted in key.items()):
                return dict(subtree)
    return None


def format_path(path: Iterable[str]) -> str:
    """Return a path as Kubernetes prints it, such as '.spec.containers[name="web"].image'."""
    out = ""
    for element in path:
        kind, rest = element[:2], element[2:]
        if kind == "f:":
            out += f".{rest}"
        elif kind == "k:":
            key = orjson.loads(rest)
            out += "[" + ",".join(f"{name}={_text(value)}" for name, value in key.items()) + "]"
        elif kind == "v:":
            out += f"[={rest}]"
        else:
            out += f"[{rest}]"
    return out


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()


def key_element(key: dict[str, Any]) -> str:
    """Return the 'k:' element of a list item with these key fields."""
    return "k:" + orjson.dumps(key, option=orjson.OPT_SORT_KEYS).decode()


def value_element(value: Any) -> str:
    """Return the 'v:' element of a set's item."""
    return "v:" + orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


_KEPT = 256
"""Characters of an element that is remembered; longer ones are rare, and would take the memory."""


@lru_cache(maxsize=8192)
def _canonical(element: str) -> str:
    kind, rest = element[:2], element[2:]
    try:
        if kind == "f:" or element == ".":
            return element
        if kind == "k:":
            key = orjson.loads(rest)
            if isinstance(key, dict) and key and not any(isinstance(v, dict | list) for v in key.values()):
                return key_element(key)
        elif kind == "v:":
            value = orjson.loads(rest)
            if not isinstance(value, dict | list):
                return value_element(value)
        elif kind == "i:":
            return f"i:{int(rest)}"
    except (orjson.JSONDecodeError, ValueError):
        pass
    raise InvalidArgumentError(
        f"managedFields has the path element {element!r}, which is not FieldsV1", reason="BAD_FIELDS_V1"
    )


def from_wire(value: Any) -> Fields:
    """Return the set that a `fieldsV1` value holds, with canonical elements.

    Raises InvalidArgumentError if it is not FieldsV1.
    """
    if not isinstance(value, dict):
        raise InvalidArgumentError(
            "fieldsV1 must be an object whose values are objects", reason="BAD_FIELDS_V1"
        )
    if not value:
        return LEAF
    return {
        (_canonical if len(element) <= _KEPT else _canonical.__wrapped__)(element): from_wire(subtree)
        for element, subtree in value.items()
    }


def to_wire(fields: Fields) -> Fields:
    """Return the set as a `fieldsV1` value with its elements in a stable order."""
    return {element: to_wire(fields[element]) for element in sorted(fields)} if fields else {}
