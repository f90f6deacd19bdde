"""What all members say alike: the fields of a status that a client may wait for at the top. Pure.

A field is shown only if every cluster that counts can be reached, has the object, and gives the field the
same value (true is not 1). Objects are compared field by field, so that what is equal in them shows beside
what is not; lists are compared whole, because their items have no names here. One silent cluster is enough to
show nothing: what it would say is unknown. A policy may say otherwise of a field: that numbers are summed,
that the least or the largest of them counts, or that it is not shown.

Next: `hanse_apiserver.aggregate.others`, which serves it for kinds without a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hanse.api.scheduler.v1.placement_pb2 import HIDDEN, MAX, MIN, SUM, StatusField
from hanse.kube.merge.typed import same
from hanse.kube.model.objects import Object
from hanse_apiserver.aggregate.members import Member

_FOLDED: Final = frozenset({"conditions", "observedGeneration", "clusters"})
"""Fields that have a meaning of their own, and are folded by it."""
_NUMBERS: Final[Mapping[int, Callable[[Sequence[Any]], Any]]] = {SUM: sum, MIN: min, MAX: max}


def fields(counted: Sequence[Member], rules: Sequence[StatusField] = ()) -> Object:
    """Return the fields of the members' statuses that are equal in all of them; none if one says nothing.

    `rules` are a policy's, of fields that are folded otherwise.
    """
    if not counted or not all(m.reports and m.status for m in counted):
        return {}
    said = [{k: v for k, v in m.status.items() if k not in _FOLDED} for m in counted]
    hidden = any(rule.path == "*" and rule.fold == HIDDEN for rule in rules)
    common = _common(said)
    result = {} if hidden else common
    for rule in rules:
        path = tuple(rule.path.split("."))
        if rule.fold in _NUMBERS:
            numbers = [number for status in said if (number := _at(status, path)) is not None]
            whole = len(numbers) == len(said) and all(type(n) in (int, float) for n in numbers)
            result = _with(result, path, _NUMBERS[rule.fold](numbers) if whole else None)
        elif rule.path != "*":
            result = _with(result, path, None if rule.fold == HIDDEN else _at(common, path))
    return result


def _at(obj: Any, path: Sequence[str]) -> Any:
    for name in path:
        obj = obj.get(name) if isinstance(obj, dict) else None
    return obj


def _with(obj: Object, path: Sequence[str], value: Any) -> Object:
    """Return the object with the field at `path`; without it for None, and without objects left empty."""
    name, *rest = path
    inner = obj.get(name)
    new = _with(inner if isinstance(inner, dict) else {}, rest, value) or None if rest else value
    others = {key: each for key, each in obj.items() if key != name}
    return others if new is None else {**others, name: new}


def _common(values: Sequence[Mapping[str, Any]]) -> Object:
    first, *others = values
    result: Object = {}
    for name, value in first.items():
        found = [other[name] for other in others if name in other]
        if len(found) < len(others):
            continue
        if all(same(value, other) for other in found):
            result[name] = value
        elif isinstance(value, dict) and all(isinstance(other, dict) for other in found):
            inner = _common([value, *found])
            if inner:
                result[name] = inner
    return result
