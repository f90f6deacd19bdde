"""Events: of the core group, and the same objects with other names of fields in events.k8s.io.

Pure functions. Next: `hanse.kube.kinds.strategies.kubernetes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from hanse.kube.kinds.kubernetes.core import EVENT, EVENTS_K8S_IO_EVENT
from hanse.kube.kinds.strategy import Cell, Column, Conversion, Strategy, TableLayout
from hanse.kube.kinds.table import age
from hanse.kube.model.objects import Object, mapping

_EVENT_NAMES = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
)
_TO_NEW = dict(_EVENT_NAMES)
_TO_CORE = {new: old for old, new in _EVENT_NAMES}


def _event_to_new(stored: Object) -> Object:
    renamed = {_TO_NEW.get(name, name): value for name, value in stored.items()}
    return {**renamed, "apiVersion": "events.k8s.io/v1"}


def _event_to_core(obj: Object, current: Object | None) -> Object:
    renamed = {_TO_CORE.get(name, name): value for name, value in obj.items()}
    return {**renamed, "apiVersion": "v1"}


def _event_cells(obj: Object, now: datetime, *, target: str, text: str, source: str) -> Sequence[Cell]:
    about = mapping(obj, target)
    reported = mapping(obj, source)
    prefix = "deprecated" if source == "deprecatedSource" else ""
    first = obj.get("deprecatedFirstTimestamp" if prefix else "firstTimestamp") or obj.get("eventTime")
    last = obj.get("deprecatedLastTimestamp" if prefix else "lastTimestamp") or first
    component = reported.get("component") or obj.get("reportingComponent") or obj.get("reportingController")
    return (
        age(last, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""),
        ", ".join(filter(None, (component, reported.get("host")))),
        str(obj.get(text, "")).strip(),
        age(first, now),
        obj.get("deprecatedCount" if prefix else "count") or 1,
        obj["metadata"].get("name", ""),
    )


_EVENT_COLUMNS = tuple(
    Column(name.rstrip("*"), "string", 1 if name.endswith("*") else 0)
    for name in ("Last Seen", "Type", "Reason", "Object", "Subobject*", "Source*", "Message", "First Seen*",
                 "Count*", "Name*")
)  # fmt: skip


def _event_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return _event_cells(obj, now, target="involvedObject", text="message", source="source")


def _new_event_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return _event_cells(obj, now, target="regarding", text="note", source="deprecatedSource")


STRATEGIES: Final = {
    EVENT: Strategy(
        bare_finalizers=True, name_problems=lambda name: (), table=TableLayout(_EVENT_COLUMNS, _event_row)
    ),
    EVENTS_K8S_IO_EVENT: Strategy(
        table=TableLayout(_EVENT_COLUMNS, _new_event_row),
        conversions={"v1": Conversion(_event_to_new, _event_to_core)},
    ),
}
"""The strategies of the kinds that have one."""
