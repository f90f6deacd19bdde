"""Kubernetes Events, core/v1: what `kubectl describe` shows of an object.

Owns how one is written. Pure. Next: `hanse.federation.events`, which sends them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Self, TypeAlias

from hanse.kube.model.objects import Object, child, name_of, namespace_of
from hanse.kube.model.times import format_time

EventType: TypeAlias = Literal["Normal", "Warning"]

MAX_EVENT_MESSAGE: Final = 1024
"""Characters of a message that the API accepts."""
_MAX_NAME: Final = 200
"""Characters of the object's name that the Event's name begins with; what follows must fit into 253."""


@dataclass(frozen=True, slots=True)
class InvolvedObject:
    """The object that an Event is about. `namespace` is "" for cluster scope."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, obj: Object) -> Self:
        """Return the reference to an object that names its apiVersion and kind."""
        return cls(
            api_version=str(obj.get("apiVersion") or ""),
            kind=str(obj.get("kind") or ""),
            namespace=namespace_of(obj),
            name=name_of(obj),
            uid=str(child(obj, "metadata", "uid") or ""),
        )


def new_event(
    about: InvolvedObject,
    *,
    type_: EventType,
    reason: str,
    message: str,
    component: str,
    host: str = "",
    suffix: str,
    now: datetime,
) -> Object:
    """Return an Event that happened once, at `now`.

    Those of cluster-scoped objects are in the namespace default. `suffix` tells apart the Events of one
    object: those of the same suffix are one. `host` is the process of the component.
    """
    stamp = format_time(now)
    source = {"component": component, "host": host} if host else {"component": component}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{about.name[:_MAX_NAME]}.{suffix}",
            "namespace": about.namespace or "default",
        },
        "involvedObject": {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
        },
        "type": type_,
        "reason": reason,
        "message": message[:MAX_EVENT_MESSAGE],
        "source": source,
        "reportingComponent": component,
        "reportingInstance": host,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
