"""Federation v1's cluster selector: requirements on a cluster's labels, written as an annotation.

Owns the annotation `federation.alpha.kubernetes.io/cluster-selector`: a JSON list of `{"key", "operator",
"values"}`, all of which must hold. Operators are Kubernetes' own (In, NotIn, Exists, DoesNotExist, Gt, Lt)
and v1's other spellings (`in`, `notin`, `=`, `==`, `!=`, `>`, `<`, `!`, ...). As in Kubernetes, NotIn and
`!=` hold for a cluster without the label. Pure; values are immutable.

Next: `hanse_scheduler.decide.filtering`, which asks a selector about every cluster.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import orjson

from hanse.errors import InvalidArgumentError
from hanse.well_known import CLUSTER_SELECTOR

Operator: TypeAlias = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]

_OPERATORS: Mapping[str, Operator] = {
    "in": "In",
    "=": "In",
    "==": "In",
    "notin": "NotIn",
    "!=": "NotIn",
    "exists": "Exists",
    "!": "DoesNotExist",
    "doesnotexist": "DoesNotExist",
    "gt": "Gt",
    ">": "Gt",
    "lt": "Lt",
    "<": "Lt",
}
_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", re.ASCII
)
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label. `values` are sorted; one integer for Gt and Lt, none for Exists."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether labels keep the requirement."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case "Gt":
                return (
                    value is not None and bool(_INTEGER.fullmatch(value)) and int(value) > int(self.values[0])
                )
            case "Lt":
                return (
                    value is not None and bool(_INTEGER.fullmatch(value)) and int(value) < int(self.values[0])
                )

    def __str__(self) -> str:
        match self.operator:
            case "Exists":
                return self.key
            case "DoesNotExist":
                return f"!{self.key}"
            case "Gt" | "Lt":
                return f"{self.key} {'>' if self.operator == 'Gt' else '<'} {self.values[0]}"
            case "In" | "NotIn":
                word = "in" if self.operator == "In" else "notin"
                return f"{self.key} {word} ({', '.join(self.values)})"


@dataclass(frozen=True, slots=True)
class ClusterSelector:
    """Requirements that must all hold; none select every cluster."""

    requirements: tuple[Requirement, ...] = ()

    def broken(self, labels: Mapping[str, str]) -> Requirement | None:
        """Return the first requirement that does not hold, None if all do."""
        return next((item for item in self.requirements if not item.matches(labels)), None)


EVERYTHING = ClusterSelector()


def parse_cluster_selector(annotation: str | None) -> ClusterSelector:
    """Return the selector that the annotation's value says; absent, empty or `[]` selects everything.

    Raises InvalidArgumentError that names the annotation, what is wrong with it and what to write.
    """
    if annotation is None or annotation.strip() in ("", "[]", "null"):
        return EVERYTHING
    try:
        items = orjson.loads(annotation)
    except orjson.JSONDecodeError as error:
        raise _bad(f"it is not JSON ({error})") from error
    if not isinstance(items, list):
        raise _bad(f"it is a JSON {_json_type(items)}")
    return ClusterSelector(tuple(_requirement(item, index) for index, item in enumerate(items)))


def _requirement(item: Any, index: int) -> Requirement:
    where = f"requirement {index}"
    if not isinstance(item, dict):
        raise _bad(f"{where} is a JSON {_json_type(item)}, not an object")
    fields = {str(name).casefold(): value for name, value in item.items()}
    unknown = sorted(fields.keys() - {"key", "operator", "values"})
    if unknown:
        raise _bad(f"{where} has the unknown field {unknown[0]!r}")
    key, spelling = fields.get("key"), fields.get("operator")
    values = fields.get("values")
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise _bad(f"{where} has the key {key!r}, which is not a label key")
    operator = _OPERATORS.get(spelling.casefold()) if isinstance(spelling, str) else None
    if operator is None:
        raise _bad(
            f"{where} has the operator {spelling!r}: use In, NotIn, Exists, DoesNotExist, Gt or Lt "
            "(or =, !=, !, >, <)"
        )
    if values is None:
        values = []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _bad(f"{where} has values that are not a list of strings")
    return Requirement(
        key, operator, _checked(values, operator=operator, spelling=str(spelling), where=where)
    )


def _checked(values: list[str], *, operator: Operator, spelling: str, where: str) -> tuple[str, ...]:
    if operator in ("Exists", "DoesNotExist"):
        if values:
            raise _bad(f"{where}: operator {spelling} takes no values")
        return ()
    if operator in ("Gt", "Lt") or spelling in ("=", "==", "!="):
        if len(values) != 1:
            raise _bad(f"{where}: operator {spelling} takes exactly one value, not {len(values)}")
    elif not values:
        raise _bad(f"{where}: operator {spelling} needs at least one value")
    if operator in ("Gt", "Lt") and not _INTEGER.fullmatch(values[0]):
        raise _bad(f"{where}: operator {spelling} needs an integer, not {values[0]!r}")
    wrong = next((value for value in values if not _VALUE.fullmatch(value)), None)
    if wrong is not None:
        raise _bad(f"{where}: {wrong!r} is not a label value")
    return tuple(sorted(set(values)))


def _json_type(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _bad(why: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"annotation {CLUSTER_SELECTOR} cannot be used: {why[:500]}; write a JSON list of "
        '{"key": ..., "operator": ..., "values": [...]}, or remove the annotation',
        reason="BAD_CLUSTER_SELECTOR",
        metadata={"annotation": CLUSTER_SELECTOR},
    )
