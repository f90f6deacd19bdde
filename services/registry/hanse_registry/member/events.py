"""Kubernetes Events about members: that one is lost, is back, or is not to be trusted, and that its
credential ends soon or lacks a right.

Owns which changes of a cluster deserve one, as `kubectl describe cluster` shows them. Each thing is said
once, when it begins. Pure.

Next: `hanse.federation.events`, which sends them; `hanse_registry.membership_controller`, which records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from hanse.api.registry.v1 import cluster_pb2 as registry
from hanse.api.type.v1 import condition_pb2 as condition
from hanse.federation.clusters import ready_condition
from hanse.federation.events import EventRecorder
from hanse.kube.model.events import EventType, InvolvedObject
from hanse.kube.model.objects import Object
from hanse_registry.member import renewal, rights

COMPONENT: Final = "hanse-registry"

_REASONS: Final[Mapping[registry.ClusterState.ValueType, str]] = {
    registry.OFFLINE: "ClusterLost",
    registry.MISBEHAVING: "ClusterMisbehaving",
    registry.IDENTITY_MISMATCH: "ClusterReplaced",
    registry.CREDENTIAL_REFUSED: "CredentialRefused",
}
"""Reasons of Events about states in which a cluster does not take part as it should."""
_TROUBLES: Final[Mapping[str, str]] = {
    renewal.CONDITION: "CredentialRenewed",
    rights.CONDITION: "RightsRestored",
}
"""Conditions that are told when they become true, and the reason of the Event that this is over."""


@dataclass(frozen=True, slots=True)
class ClusterNotice:
    """Something to tell about a cluster. `warning` says that it is a problem."""

    reason: str
    message: str
    warning: bool


def notices(before: registry.Cluster | None, after: registry.Cluster) -> Iterator[ClusterNotice]:
    """Yield what is new in `after` and worth an Event; `before` is None for a cluster that is new."""
    yield from _of_credential(before, after)
    known = before.state if before is not None else registry.PENDING
    if after.state == known:
        return
    if after.state == registry.READY:
        if known in _REASONS:
            yield ClusterNotice("ClusterRegained", "the cluster takes part again", warning=False)
        else:
            yield ClusterNotice(
                "ClusterReady", "the cluster answers, and takes part from now on", warning=False
            )
    elif after.state == registry.UNJOINING:
        yield ClusterNotice("ClusterLeaving", "the cluster is being emptied, and leaves then", warning=False)
    elif (reason := _REASONS.get(after.state)) is not None:
        ready = ready_condition(after)
        said = ready.message if ready is not None else ""
        yield ClusterNotice(reason, said or "the cluster does not answer as it should", warning=True)


def _of_credential(before: registry.Cluster | None, after: registry.Cluster) -> Iterator[ClusterNotice]:
    """Yield that the credential ends soon, is not renewed or lacks a right, and that this is over."""
    for kind, over in _TROUBLES.items():
        was, now = _said(before, kind), _said(after, kind)
        if now and now.status == condition.TRUE and not (was and was.status == condition.TRUE):
            reason = now.reason if kind == renewal.CONDITION else kind
            yield ClusterNotice(reason, now.message, warning=True)
        elif now and now.status == condition.FALSE and was and was.status == condition.TRUE:
            yield ClusterNotice(over, now.message, warning=False)


def _said(cluster: registry.Cluster | None, kind: str) -> condition.Condition | None:
    conditions = cluster.conditions if cluster is not None else ()
    return next((each for each in conditions if each.type == kind), None)


def record(
    recorder: EventRecorder, obj: Object, before: registry.Cluster | None, after: registry.Cluster
) -> None:
    """Record what is new of a cluster whose object is `obj`."""
    about = InvolvedObject.of(obj)
    for notice in notices(before, after):
        type_: EventType = "Warning" if notice.warning else "Normal"
        recorder.record(about, type_=type_, reason=notice.reason, message=notice.message)
