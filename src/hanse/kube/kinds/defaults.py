"""The values that Kubernetes fills in where a user says nothing.

Owns the copy that the strategy of a built-in kind fills in (`Strategy.defaults`), defaulting of custom
resources by their schema's `default`, and the rule by which a value counts as filled in: defaulting makes
exactly that value of the object without it. Pure: returns the object itself if there is nothing to fill in.
Safe from any task. What a cluster allocates (cluster IPs, node ports, a Job's selector) is not a default.
Source: the behaviour of Kubernetes' defaulting functions.

Next: `hanse.kube.kinds.strategies`, `hanse.kube.kinds.fields.pod_defaults`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from hanse.documents import TOO_LARGE
from hanse.errors import InvalidArgumentError
from hanse.kube.kinds.strategy import Strategy
from hanse.kube.merge.schema import ANY, Schema
from hanse.kube.model.objects import Object, Place, value_at, without_place

MAX_DEFAULTED_BYTES = 3 * 1024 * 1024
"""Bytes, as JSON, that defaults of a custom resource's schema may add to one object."""


def apply_defaults(obj: Object, schema: Schema | None, *, strategy: Strategy) -> Object:
    """Return the object with defaults; the object itself if it lacks none.

    `strategy` matters to built-in kinds only, `schema` to others.
    """
    if schema is not None and not schema.builtin:
        filled = _by_schema(obj, schema, _Budget())
        return filled if isinstance(filled, dict) else obj
    if strategy.defaults is None:
        return obj
    out: Object = orjson.loads(orjson.dumps(obj))
    strategy.defaults(out)
    return obj if out == obj else out


def filled_in(obj: Object, places: Iterable[Place], *, strategy: Strategy) -> frozenset[Place]:
    """Return those of the places whose values defaulting makes of an object of a built-in kind without them.

    All of them are left out together, so two fields of which one is made out of the other (`serviceAccount`
    and `serviceAccountName`) do not count as defaults of each other: somebody wrote one of them. A value that
    was written and is the default is not told from one that was filled in; it means the same.
    """
    found, wanted = frozenset[Place](), frozenset(place for place in places if place)
    while wanted != found:
        found, bare = wanted, obj
        for place in found:
            bare = without_place(bare, place)
        whole = apply_defaults(bare, None, strategy=strategy)
        wanted = frozenset(place for place in found if value_at(whole, place) == value_at(obj, place))
    return found


def carried_over(old: Object, new: Object, *, strategy: Strategy) -> Object:
    """Return what an update makes of the new object; the object itself if that is the same."""
    if strategy.carry_over is None:
        return new
    out: Object = orjson.loads(orjson.dumps(new))
    strategy.carry_over(old, out)
    return new if out == new else out


@dataclass(slots=True)
class _Budget:
    """How many bytes defaults may still bring to one object."""

    left: int = MAX_DEFAULTED_BYTES

    def copy(self, default: Any) -> Any:
        """Return a copy of a default. Raises InvalidArgumentError if there were too many."""
        encoded = orjson.dumps(default)
        self.left -= len(encoded)
        if self.left < 0:
            raise InvalidArgumentError(
                f"the defaults of the schema would add more than {MAX_DEFAULTED_BYTES} bytes to the object",
                reason=TOO_LARGE,
            )
        return orjson.loads(encoded)


def _by_schema(value: Any, schema: Schema, budget: _Budget) -> Any:
    """Fill in the defaults of a structural schema, also inside what a default brings."""
    if schema.builtin:
        return value
    if isinstance(value, dict):
        return _fields_by_schema(value, schema, budget)
    if isinstance(value, list) and schema.shape == "list":
        element = schema.element or ANY
        items = [_by_schema(item, element, budget) for item in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    return value


def _fields_by_schema(value: dict[str, Any], schema: Schema, budget: _Budget) -> dict[str, Any]:
    out = value
    for name in schema.fields:
        child = schema.field(name)
        absent = name not in value or (value[name] is None and child is not None and not child.nullable)
        if child is not None and child.has_default and absent:
            out = dict(value) if out is value else out
            out[name] = budget.copy(child.default)
    for name, item in list(out.items()):
        filled = _by_schema(item, schema.field(name) or ANY, budget)
        if filled is not item:
            out = dict(value) if out is value else out
            out[name] = filled
    return out
