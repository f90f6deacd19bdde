"""Kubernetes Events about decisions that people should know of: what `kubectl describe` shows.

Owns which decisions deserve one: something cannot be understood; what belongs to clusters was asked for;
replicas moved away from a cluster that is out of reach; work has no cluster, or nobody knows whether it is
done. The same thing is said once, when it begins. Pure.

Next: `hanse.federation.events`, which sends them; `hanse_scheduler.placing.reconciler`, which records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.federation.events import EventRecorder
from hanse.federation.placements import suspended_clusters
from hanse.kube.model.events import EventType, InvolvedObject
from hanse.kube.model.objects import Object
from hanse_scheduler.reasons import BELONGS

COMPONENT = "hanse-scheduler"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell about an object. `warning` says that it is a problem."""

    reason: str
    message: str
    warning: bool = True


def notices(before: Placement | None, after: Placement) -> Iterator[Notice]:
    """Yield what is new in `after` and worth an Event."""
    if after.error and (before is None or before.error != after.error):
        yield Notice("PlacementFailed", f"{after.error} (until then everything stays where it is)")
    if before is not None and before.error and not after.error:
        yield Notice("PlacementRecovered", "the object can be placed again", warning=False)
    refused = _belonging(after)
    if refused and (before is None or _belonging(before) != refused):
        yield Notice("PlacementRefused", refused)
    if after.withheld and (before is None or not before.withheld):
        yield Notice(
            "OutcomeUnknown",
            f"{after.withheld} of what was asked may be done or not: a cluster that was given it does not "
            "answer, or its Job is gone. It is not started again; a policy with whenUnknown: Restart "
            "starts it",
        )
    if after.unplaced and (before is None or before.unplaced != after.unplaced):
        what = "completions or Pods" if after.runs else "replicas"
        yield Notice("ReplicasUnplaced", f"{after.unplaced} {what} have no cluster that may or can run them")
    if before is not None and before.unplaced and not after.unplaced:
        yield Notice("ReplicasPlaced", "everything that was asked has a cluster again", warning=False)
    was = suspended_clusters(before) if before is not None else frozenset()
    now = suspended_clusters(after)
    for name in sorted(now - was):
        yield Notice(
            "ReplicasMoved", f"cluster {name} is out of reach: its replicas run elsewhere until it is back"
        )
    for name in sorted(was - now):
        yield Notice("ClusterReturned", f"cluster {name} takes part again", warning=False)


def _belonging(placement: Placement) -> str:
    """Return what is said of an object that belongs to clusters themselves, "" of any other."""
    return next((item.message for item in placement.refused if item.reason == BELONGS), "")


def record(recorder: EventRecorder, obj: Object, before: Placement | None, after: Placement) -> None:
    """Record what is new in a decision about the object that was stored."""
    about = InvolvedObject.of(obj)
    for notice in notices(before, after):
        type_: EventType = "Warning" if notice.warning else "Normal"
        recorder.record(about, type_=type_, reason=notice.reason, message=notice.message)
