"""Events: of the core group, and the same objects with other names of fields in events.k8s.io.

Pure functions. Next: `hanse.kube.kinds.strategies.kubernetes`.
"""

from __future__ import annotations

from typing import Final

from hanse.kube.kinds.kind import Conversion, Strategy
from hanse.kube.kinds.kubernetes.core import EVENTS_K8S_IO_EVENT
from hanse.kube.model.objects import Object

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


STRATEGIES: Final = {
    EVENTS_K8S_IO_EVENT: Strategy(conversions={"v1": Conversion(_event_to_new, _event_to_core)}),
}
