"""Kubernetes Events about decisions that people should know of: what `kubectl describe` shows.

Owns which decisions deserve one: something cannot be understood; what belongs to clusters was asked for;
replicas have no cluster, or moved away from one that is out of reach. The same thing is said once, when it
begins. Pure.

Next: `hanse.federation.events`, which sends them; `hanse_scheduler.placing.reconciler`, which records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hanse.api.scheduler.v1.placement_pb2 import ABORTED, LATE, MOVING, Placement
from hanse.federation.events import EventRecorder
from hanse.federation.placements import placed_clusters, suspended_clusters, unplaced_sentence
from hanse.kube.model.events import EventType, InvolvedObject
from hanse.kube.model.objects import Object
from hanse_scheduler.reasons import BELONGS

COMPONENT = "hanse-scheduler"
MAX_REASONS = 600
"""Characters of the clusters' reasons in one Event: its message has at most 1024."""


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
    yield from _unplaced(before, after)
    yield from _moving(before, after)
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


def _moving(before: Placement | None, after: Placement) -> Iterator[Notice]:
    """Yield that a move begins, is late, is given up, or is over."""
    known = before.move if before is not None and before.HasField("move") else None
    if after.HasField("move"):
        new = known is None or known.start_time != after.move.start_time
        if after.move.phase == LATE and (new or (known is not None and known.phase != LATE)):
            yield Notice("MoveLate", after.move.message)
        elif after.move.phase == ABORTED and (new or (known is not None and known.phase != ABORTED)):
            yield Notice("MoveAborted", after.move.message)
        elif after.move.phase == MOVING and new:
            yield Notice("MoveStarted", after.move.message, warning=False)
    elif known is not None:
        where = ", ".join(sorted(placed_clusters(after))) or "no cluster"
        yield Notice("MoveEnded", f"it is in {where} now", warning=False)


def _unplaced(before: Placement | None, after: Placement) -> Iterator[Notice]:
    """Yield that replicas have no cluster, when their number changes, and that all have one again."""
    known = before.unplaced_replicas if before is not None else 0
    if after.unplaced_replicas and after.unplaced_replicas != known:
        said = [(each.cluster, each.message) for each in after.clusters]
        said += [(each.cluster, each.message) for each in after.refused]
        why = [f"{cluster}: {message}" for cluster, message in said if message]
        reasons = f" ({'; '.join(why)})"[:MAX_REASONS] if why else ""
        yield Notice("ReplicasUnplaced", f"{unplaced_sentence(after)}{reasons}")
    if known and not after.unplaced_replicas:
        yield Notice("ReplicasPlaced", "all of it has clusters again", warning=False)


def record(recorder: EventRecorder, obj: Object, before: Placement | None, after: Placement) -> None:
    """Record what is new in a decision about the object that was stored."""
    about = InvolvedObject.of(obj)
    for notice in notices(before, after):
        type_: EventType = "Warning" if notice.warning else "Normal"
        recorder.record(about, type_=type_, reason=notice.reason, message=notice.message)
