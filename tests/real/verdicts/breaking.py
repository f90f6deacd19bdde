"""Objects that are wrong in one place: each field of a schema, broken in the ways that its type names.

Pure. `broken` walks an object along its schema. What is there is removed, emptied, repeated, or replaced by
values of the same type that few fields take; what the schema has besides is added. A mutation of one field of
one type is made a few times only (`Budget`), as the Pod template of every workload is the same. Next:
`verdicts`.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hanse.kube.merge.schema import ANY, Schema
from hanse.kube.model.objects import Object

_TEXTS = ("", "Not Valid!", "-x-", "/a b", "../x", "a" * 300, "x", "a.b", "/x", "8", "10.0.0.300")
_NUMBERS = (-1, 0, 1, 2, 70000, 2**31 - 1)
_EITHER = (-1, 0, 1, 70000, "120%", "-5%", "abc", "", "50%")
_QUANTITIES = ("-1", "0", "1m", "5Gi", "0.5")
_DEEPEST = 6
_SKIPPED = frozenset({"apiVersion", "kind", "status", "managedFields", "creationTimestamp"})

_RECURSIVE = frozenset({"apiextensions.v1.JSONSchemaProps"})
"""Types that contain themselves: nothing is added to them."""

_NAMESPACE = ("metadata", "namespace")

Path = tuple[str | int, ...]
_ABSENT: Any = object()


class Broken(NamedTuple):
    """An object that is changed in one place: `what` says where and how, `group` names type and field."""

    what: str
    group: str
    object: Object


@dataclass
class Budget:
    """How often a mutation of one field of one type has been made; each is made `most` times."""

    most: int = 2
    made: Counter[tuple[str, str]] = field(default_factory=Counter)

    def take(self, group: str, how: str) -> bool:
        """Report whether it may be made once more, and count it."""
        self.made[group, how] += 1
        return self.made[group, how] <= self.most


def broken(obj: Object, schema: Schema, budget: Budget) -> Iterator[Broken]:
    """Yield the object, broken in each place in each way that the budget allows."""
    for path, group, how, value in _struct(obj, schema, (), ""):
        if budget.take(group, how):
            yield Broken(f"{_shown(path)} {how}", group, changed(obj, path, value))


def changed(obj: Object, path: Path, value: Any) -> Object:
    """Return a copy of an object with another value at a path."""
    out = copy.deepcopy(obj)
    node: Any = out
    for step in path[:-1]:
        node = node[step]
    if value is not _ABSENT:
        node[path[-1]] = value
    elif isinstance(node, list):
        del node[int(path[-1])]
    else:
        node.pop(path[-1], None)
    return out


_Mutation = tuple[Path, str, str, Any]


def _struct(value: Any, schema: Schema, path: Path, group: str) -> Iterator[_Mutation]:
    owner = schema.name.rpartition(".apis.")[2].removeprefix("io.k8s.api.") or group
    for name in sorted(schema.fields):
        child = schema.field(name)
        if child is None or (name in _SKIPPED and len(path) < 2) or (*path, name) == _NAMESPACE:
            continue
        at, where = (*path, name), f"{owner}.{name}"
        if name in value:
            yield at, where, "removed", _ABSENT
            yield from _value(value[name], child, at, where)
        elif len(path) < 2 * _DEEPEST and owner not in _RECURSIVE:
            added = plausible(child, name, 0)
            yield at, where, "added", added
            for inner, group_, how, changed_ in _value(added, child, (), where):
                if len(inner) <= _DEEPEST:
                    yield at, group_, f"added, {_shown(inner)} {how}", _with(added, inner, changed_)


def _with(value: Any, path: Path, changed_: Any) -> Any:
    return changed({"v": value}, ("v", *path), changed_)["v"] if path else changed_


def _value(value: Any, schema: Schema, path: Path, group: str) -> Iterator[_Mutation]:
    if isinstance(value, dict):
        yield path, group, "{}", {}
        if schema.shape == "struct":
            yield from _struct(value, schema, path, group)
        elif schema.shape == "map":
            yield path, group, "a key that is none", {**value, "Not Valid!": next(iter(value.values()), "x")}
            for key in list(value)[:2]:
                yield (*path, key), group, "key removed", _ABSENT
                yield from _value(value[key], schema.element or ANY, (*path, key), f"{group}{{}}")
    elif isinstance(value, list):
        yield path, group, "[]", []
        if value:
            yield path, group, "an item twice", [*value, copy.deepcopy(value[0])]
        for index, item in enumerate(value[:4]):
            yield from _value(item, schema.element or ANY, (*path, index), f"{group}[]")
    else:
        for other in _others(value, schema):
            yield path, group, f"= {str(other)[:30]!r}", other


def _others(value: Any, schema: Schema) -> Iterator[Any]:
    if isinstance(value, bool):
        yield not value
    elif schema.format == "quantity":
        yield from _QUANTITIES
    elif schema.format == "int-or-string":
        yield from _EITHER
    elif isinstance(value, int):
        yield from _NUMBERS
    elif isinstance(value, str) and schema.format != "date-time":
        yield from _TEXTS
        if len(value) > 1:
            yield value.swapcase()
            yield f"{value}-x"


_GUESSES = {
    "apiGroup": "example.com",
    "fieldPath": "metadata.name",
    "host": "a.example.com",
    "ip": "10.1.1.1",
    "mountPath": "/mnt",
    "operator": "Exists",
    "path": "/a",
    "topologyKey": "example.com/zone",
    "key": "example.com/a",
    "server": "a.example.com",
}


def plausible(schema: Schema, name: str, depth: int) -> Any:
    """Return a value that the field may well take."""
    if schema.format == "quantity":
        return "1"
    if schema.format == "int-or-string":
        return 1
    match schema.shape:
        case "struct":
            if depth > 2:
                return {}
            wanted = schema.required or tuple(sorted(schema.fields))[:1]
            return {n: plausible(s, n, depth + 1) for n in wanted if (s := schema.field(n)) is not None}
        case "map":
            return {"example.com/a": plausible(schema.element or ANY, "", depth + 1)}
        case "list":
            return [plausible(schema.element or ANY, name, depth + 1)]
        case "any":
            return {}
    if schema.format == "date-time":
        return "2026-01-01T00:00:00Z"
    if schema.format == "byte":
        return "YQ=="
    return {"integer": 1, "number": 1, "boolean": True}.get(schema.type, _GUESSES.get(name, "a"))


def _shown(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:]
