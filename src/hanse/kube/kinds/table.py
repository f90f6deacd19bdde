"""Objects as rows of `kubectl get`: the Table of meta.k8s.io/v1.

Kubernetes' own kinds have the columns that kubectl users know (`Strategy.table`), CRDs and Hanse's kinds the
ones that they declare, everything else name and age. Pure functions. Next: `hanse.kube.kinds.fields.cells`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from hanse.kube.kinds.kind import PrinterColumn
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.kinds.strategy import Cell, Column, TableLayout
from hanse.kube.model import jsonpath
from hanse.kube.model.objects import Object
from hanse.kube.model.times import parse_time


def _name_and_age(obj: Object, now: datetime) -> Sequence[Cell]:
    metadata = obj["metadata"]
    return metadata.get("name", ""), age(metadata.get("creationTimestamp"), now)


DEFAULT = TableLayout((Column("Name"), Column("Age")), _name_and_age)


def layout(info: ResourceInfo) -> TableLayout:
    """Return the columns of a resource."""
    if info.columns or info.custom:
        return _declared(info)
    return info.strategy.table or DEFAULT


def _declared(info: ResourceInfo) -> TableLayout:
    """Return the layout of a kind that declares its printer columns."""
    columns = tuple(Column(c.name, c.type, c.priority, c.description, c.format) for c in info.columns)

    def render(obj: Object, now: datetime) -> Sequence[Cell]:
        return obj["metadata"].get("name", ""), *(_cell(c, obj, now) for c in info.columns)

    return TableLayout((Column("Name"), *columns), render)


def _cell(column: PrinterColumn, obj: Object, now: datetime) -> Cell:
    values = [v for v in jsonpath.find(column.json_path, obj) if v is not None]
    if not values:
        return None
    if column.type == "date":
        return age(values[0], now)
    if len(values) == 1:
        value = values[0]
        if column.type == "string" and isinstance(value, (list, dict)):
            return ",".join(map(str, value)) if isinstance(value, list) else str(value)
        return str(value).lower() if isinstance(value, bool) and column.type == "string" else value
    return ",".join(map(str, values))


def age(timestamp: Any, now: datetime) -> str:
    """Return how long ago an RFC 3339 time was, as kubectl writes it; `<unknown>` if it is none."""
    then = parse_time(timestamp)
    return human_duration((now - then).total_seconds()) if then else "<unknown>"


_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 86400 * 365


def human_duration(seconds: float) -> str:
    """Return a duration in one or two units, as kubectl does: 95s, 5m30s, 3h, 2d4h, 400d, 3y."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 120:
        return f"{max(total, 0)}s"
    for limit, big, small, names in (
        (10 * _MINUTE, _MINUTE, 1, "ms"),
        (3 * _HOUR, _MINUTE, 0, "m"),
        (8 * _HOUR, _HOUR, _MINUTE, "hm"),
        (2 * _DAY, _HOUR, 0, "h"),
        (8 * _DAY, _DAY, _HOUR, "dh"),
        (2 * _YEAR, _DAY, 0, "d"),
        (8 * _YEAR, _YEAR, _DAY, "yd"),
    ):
        if total < limit:
            rest = total % big // small if small else 0
            return f"{total // big}{names[0]}" + (f"{rest}{names[1]}" if rest else "")
    return f"{total // _YEAR}y"
