"""What a policy of hanse.dev may cost whoever applies it, checked when it is written.

Owns the bounds on rules, operations and selectors of placement and override policies. What they mean is for
the scheduler, which applies operations within the bounds of `json_patch`, and says of each object what does
not fit. Pure; the object has been decoded as its kind.

Next: `hanse.federation.strategies`, which gives it to the kinds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from hanse.errors import InvalidArgumentError
from hanse.kube.merge.json_patch import MAX_OPERATIONS, check_operations
from hanse.kube.model.fielderrors import FieldError, invalid
from hanse.kube.model.objects import Object, mapping, sequence
from hanse.kube.model.selectors import MAX_TERMS

_PERCENTAGE: Final = re.compile(r"[0-9]{1,9}%", re.ASCII)

MAX_RULES = 1_000
"""Rules of one override policy, and resource selectors of any policy."""

MAX_NAMES = 10_000
"""Cluster names in one list of a policy."""

MAX_STATUS_FIELDS = 100
"""Status fields that one policy says something of."""

OWN_STATUS_FIELDS = frozenset({"clusters", "conditions", "observedGeneration"})
"""Fields of the status that the federation makes of the members' by rules of its own."""
OWN = ", ".join(sorted(OWN_STATUS_FIELDS))


def placement_policy_errors(obj: Object) -> Iterator[FieldError]:
    """Yield what is wrong with a PlacementPolicy or ClusterPlacementPolicy."""
    spec = mapping(obj, "spec")
    yield from _selected(spec)
    yield from _choice(spec, "spec")
    yield from _status_fields(spec)
    yield from _move(mapping(spec, "move"))


def override_policy_errors(obj: Object) -> Iterator[FieldError]:
    """Yield what is wrong with an OverridePolicy or ClusterOverridePolicy."""
    spec = mapping(obj, "spec")
    yield from _selected(spec)
    rules = sequence(spec, "rules")
    yield from _at_most(rules, "spec.rules", MAX_RULES)
    operations = 0
    for index, rule in enumerate(rules[:MAX_RULES]):
        where = f"spec.rules[{index}]"
        yield from _choice(mapping(rule), where)
        patch = sequence(rule, "jsonPatch")
        operations += len(patch)
        try:
            check_operations(patch)
        except InvalidArgumentError as error:
            yield invalid(f"{where}.jsonPatch", None, str(error))
    if operations > MAX_OPERATIONS:
        message = f"the rules must have at most {MAX_OPERATIONS} operations together"
        yield FieldError("spec.rules", "FieldValueTooMany", message, operations)


def _selected(spec: Object) -> Iterator[FieldError]:
    selectors = sequence(spec, "resourceSelectors")
    yield from _at_most(selectors, "spec.resourceSelectors", MAX_RULES)
    for index, selector in enumerate(selectors[:MAX_RULES]):
        yield from _terms(
            mapping(selector, "labelSelector"), f"spec.resourceSelectors[{index}].labelSelector"
        )


def _move(move: Object) -> Iterator[FieldError]:
    surge = move.get("maxSurge")
    if isinstance(surge, str) and not _PERCENTAGE.fullmatch(surge):
        yield invalid("spec.move.maxSurge", surge, "must be a whole number, or a percentage such as 25%")
    elif isinstance(surge, int) and not 0 <= surge < 2**31:
        yield invalid("spec.move.maxSurge", surge, "must be from 0 to 2147483647")


def _choice(spec: Object, where: str) -> Iterator[FieldError]:
    yield from _terms(mapping(spec, "clusterSelector"), f"{where}.clusterSelector")
    for name in ("clusterNames", "excludeClusters"):
        yield from _at_most(sequence(spec, name), f"{where}.{name}", MAX_NAMES)


def _status_fields(spec: Object) -> Iterator[FieldError]:
    fields = sequence(spec, "statusFields")
    yield from _at_most(fields, "spec.statusFields", MAX_STATUS_FIELDS)
    seen: set[str] = set()
    for index, field in enumerate(fields[:MAX_STATUS_FIELDS]):
        where, path = f"spec.statusFields[{index}].path", str(mapping(field).get("path") or "")
        if not all(path.split(".")) or path.split(".")[0] in OWN_STATUS_FIELDS:
            message = f"must name a field below status, such as replicas or address.port; not {OWN}"
            yield invalid(where, path, message)
        elif path == "*" and mapping(field).get("fold") not in ("Equal", "Hidden"):
            yield invalid(where, path, "all fields at once can only be Equal or Hidden")
        if path in seen:
            yield FieldError(where, "FieldValueDuplicate", "another entry names the same field", path)
        seen.add(path)


def _terms(selector: dict[str, Any], where: str) -> Iterator[FieldError]:
    expressions = sequence(selector, "matchExpressions")
    terms = len(mapping(selector, "matchLabels")) + len(expressions)
    terms += sum(len(sequence(each, "values")) for each in expressions)
    if terms > MAX_TERMS:
        message = f"must have at most {MAX_TERMS} requirements and values"
        yield FieldError(where, "FieldValueTooMany", message, terms)


def _at_most(items: list[Any], where: str, most: int) -> Iterator[FieldError]:
    if len(items) > most:
        yield FieldError(where, "FieldValueTooMany", f"must have at most {most} items", len(items))
