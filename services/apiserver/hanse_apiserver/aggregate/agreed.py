"""What all members say alike: the fields of a status that a client may wait for at the top. Pure.

A field is shown only if every cluster that counts can be reached, has the object, and gives the field the
same value (true is not 1). Objects are compared field by field, so that what is equal in them shows beside
what is not; lists are compared whole, because their items have no names here. One silent cluster is enough to
show nothing: what it would say is unknown.

Next: `hanse_apiserver.aggregate.others`, which serves it for kinds without a rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hanse.kube.merge.typed import same
from hanse.kube.model.objects import Object
from hanse_apiserver.aggregate.members import Member

_FOLDED: Final = frozenset({"conditions", "observedGeneration", "clusters"})
"""Fields that have a meaning of their own, and are folded by it."""


def fields(counted: Sequence[Member]) -> Object:
    """Return the fields of the members' statuses that are equal in all of them; none if one says nothing."""
    if not counted or not all(m.reports and m.status for m in counted):
        return {}
    return _common([{k: v for k, v in m.status.items() if k not in _FOLDED} for m in counted])


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
