"""Cells of `kubectl get` that several kinds have in common, and how headings and cells become a table.

What is absent reads as kubectl shows it (`<none>`, `<unset>`). Pure functions. Next:
`hanse.kube.kinds.table`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from hanse.kube.kinds.strategy import Cell, Column, Render, TableLayout
from hanse.kube.kinds.table import age
from hanse.kube.model.objects import Object, mapping, sequence
from hanse.kube.model.selectors import LabelSelector

NONE = "<none>"
UNSET = "<unset>"


def columns(headings: str, row: Render) -> TableLayout:
    """Return the table of a kind. `headings` are separated by commas; `*` marks wide ones, `#` numbers.

    Name comes first and Age where `Age` stands; `row` gives the cells of the others.
    """
    names = ("Name", *headings.split(","))
    at = names.index("Age") if "Age" in names else None

    def render(obj: Object, now: datetime) -> Sequence[Cell]:
        cells = [obj["metadata"].get("name", ""), *row(obj, now)]
        if at is not None:
            cells.insert(at, age(obj["metadata"].get("creationTimestamp"), now))
        return cells

    return TableLayout(tuple(_column(name) for name in names), render)


def _column(heading: str) -> Column:
    kind = "integer" if "#" in heading else "string"
    return Column(heading.rstrip("*#"), kind, 1 if "*" in heading else 0)


def join(values: Iterable[Any], *, most: int = 0) -> str:
    texts = [str(v) for v in values]
    if most and len(texts) > most:
        return ",".join(texts[:most]) + f" + {len(texts) - most} more..."
    return ",".join(texts) or NONE


def selector_text(value: Any) -> str:
    try:
        text = str(LabelSelector.from_object(value)) if isinstance(value, dict) else ""
    except Exception:  # noqa: BLE001 - what cannot be read is not shown
        text = ""
    return text or NONE


def labels_text(value: Any) -> str:
    return join(f"{k}={v}" for k, v in sorted(value.items())) if isinstance(value, Mapping) else NONE


def container_texts(spec: Mapping[str, Any]) -> tuple[str, str]:
    containers = sequence(spec, "containers")
    return join(c.get("name") for c in containers), join(c.get("image") for c in containers)


def template_texts(obj: Object) -> tuple[str, str]:
    return container_texts(mapping(obj, "spec", "template", "spec"))


def number(obj: Object, *path: str) -> int:
    value: Any = obj
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value if isinstance(value, int) else 0


def wanted_replicas(obj: Object) -> int:
    replicas = mapping(obj, "spec").get("replicas")
    return 1 if replicas is None else int(replicas)


def ingress_addresses(obj: Object) -> list[str]:
    ingress = sequence(obj, "status", "loadBalancer", "ingress")
    return [str(i.get("ip") or i.get("hostname")) for i in ingress if i.get("ip") or i.get("hostname")]
