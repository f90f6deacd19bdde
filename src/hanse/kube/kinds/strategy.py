"""What the API server does with objects of one kind, besides what it does with all: its strategy.

Owns the values that a strategy is made of: a table, conversions. The functions of Kubernetes' own kinds are
in `hanse.kube.kinds.strategies`. Frozen; shared freely. Next: `hanse.kube.kinds.registry`, which finds the
strategy of a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from hanse.kube.model.fielderrors import FieldError
from hanse.kube.model.identity import User
from hanse.kube.model.names import subdomain_problems
from hanse.kube.model.objects import Object, name_of

Cell = Any
UNREADABLE = "<unreadable>"
"""What stands in the cells of an object that no row can be made of."""
Render = Callable[[Object, datetime], Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading. Priority 0 is always shown, 1 with `-o wide`."""

    name: str
    type: str = "string"
    priority: int = 0
    description: str = ""
    format: str = ""

    def definition(self) -> dict[str, Any]:
        """Return the TableColumnDefinition."""
        return {
            "name": self.name,
            "type": self.type,
            "format": "name" if self.name == "Name" else self.format,
            "description": self.description or self.name,
            "priority": self.priority,
        }


@dataclass(frozen=True, slots=True)
class TableLayout:
    """The columns of a kind and how a row is made."""

    columns: tuple[Column, ...]
    render: Render

    def unreadable(self, obj: Object) -> list[Cell]:
        """Return the cells of an object that no row can be made of: its name; the rest is unknown."""
        cells: list[Cell] = [UNREADABLE if c.type == "string" else None for c in self.columns]
        for index, column in enumerate(self.columns):
            if column.name == "Name":
                cells[index] = name_of(obj)
        return cells

    def definitions(self) -> list[dict[str, Any]]:
        """Return the columnDefinitions of a Table."""
        return [column.definition() for column in self.columns]


@dataclass(frozen=True, slots=True)
class Conversion:
    """How one version of a kind is made of what is stored, and back.

    `to_stored` is given the object and what is stored now, None for nothing.
    """

    to_served: Callable[[Object], Object]
    to_stored: Callable[[Object, Object | None], Object]


def _no_errors(obj: Object) -> Iterator[FieldError]:
    return iter(())


def _no_change_errors(old: Object, new: Object) -> Iterator[FieldError]:
    return iter(())


def _no_subresource_errors(old: Object, new: Object, subresource: str) -> Iterator[FieldError]:
    return iter(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """What is done with objects of a kind.

    `name_problems` is the form of names; `bare_finalizers` says that a finalizer needs no domain.
    `keeps_status` says that an object may be created with a status, `first_status` is that of a new one.
    `stamp` sets, in place, what the server alone says of a new object, such as who made it, whatever the
    client wrote. `restrict_subresource` brings, in place, the second object to what a write of the first
    through that subresource makes of it, at that time; `subresource_rules` yields what such a write may not
    have changed.
    `requires_version` says that an update must name a resourceVersion.
    `defaults` fills in, in place, what a user does not say; `carry_over` brings the second object, in
    place, to what an update of the first makes of it: what it keeps, and what goes. `rules` yields what is
    wrong with an object that has right types and its defaults, `create_rules` what is wrong with a new one
    only; what holds for every value of a type is in `hanse.kube.kinds.types`. `immutable` are paths that an
    update may not change once they are set; `update_rules` yields what else the second object may not have
    changed of the first. `table` is what `kubectl get` shows, None for name and age. `conversions` are by
    version; a version that has none differs in `apiVersion` only.
    """

    name_problems: Callable[[str], Iterable[str]] = subdomain_problems
    bare_finalizers: bool = False
    keeps_status: bool = False
    first_status: Mapping[str, Any] = field(default_factory=dict)
    stamp: Callable[[Object, User], None] | None = None
    restrict_subresource: Callable[[Object, Object, str, str], None] | None = None
    subresource_rules: Callable[[Object, Object, str], Iterator[FieldError]] = _no_subresource_errors
    requires_version: bool = False
    defaults: Callable[[Object], None] | None = None
    carry_over: Callable[[Object, Object], None] | None = None
    rules: Callable[[Object], Iterator[FieldError]] = _no_errors
    create_rules: Callable[[Object], Iterator[FieldError]] = _no_errors
    immutable: tuple[str, ...] = ()
    update_rules: Callable[[Object, Object], Iterator[FieldError]] = _no_change_errors
    table: TableLayout | None = None
    conversions: Mapping[str, Conversion] = field(default_factory=dict)


NO_STRATEGY: Final = Strategy()
"""The strategy of a kind that has nothing of its own: a custom resource's, say."""
