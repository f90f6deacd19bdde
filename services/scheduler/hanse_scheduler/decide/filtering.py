"""Which clusters an object may go to, which it may stay in, and which it must leave, each with a reason.

Owns `Verdict` and the order in which things are asked: leaving cluster, evicted, policy, selector (these
also move what is there); then taints, cordon, health and API (these keep new objects out only, except for
a NoExecute taint). What a cluster that is out of reach serves is not known: it may have changed since.

A verdict does not depend on the time or on where the object is now, so objects with the same wishes share
their verdicts: `VerdictCache` keeps them per table of clusters.

Pure, but for the cache, which belongs to one event loop.

Next: `decision`, which combines verdicts with where the object is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hanse.api.registry.v1.cluster_pb2 import IDENTITY_MISMATCH, MISBEHAVING, OFFLINE, PENDING, READY
from hanse_scheduler.decide.selector import ClusterSelector
from hanse_scheduler.decide.taints import Toleration, keeps_out, leaves_at
from hanse_scheduler.state.clusters import ClusterTable, ClusterView
from hanse_scheduler.state.policies import ClusterChoice, PlacementPolicy

ALL_READY = "AllReadyClusters"
BY_ANNOTATION = "SelectedByAnnotation"
BY_POLICY = "SelectedByPolicy"
BELONGS = "BelongsToCluster"
"""Reason of the refusal of what belongs to each cluster itself."""
UNJOINING = ("ClusterUnjoining", "the cluster is leaving the federation")
"""Reason and message for a cluster that has no business with any object any more."""
_AWAY = {
    OFFLINE: ("ClusterOffline", "the cluster does not answer", "it is back"),
    PENDING: ("ClusterPending", "the cluster has not answered yet", "it has answered"),
    IDENTITY_MISMATCH: (
        "ClusterIdentityMismatch",
        "another cluster answers at its address",
        "the cluster itself answers there",
    ),
    MISBEHAVING: (
        "ClusterMisbehaving",
        "the cluster answers what no cluster may answer",
        "it answers as it should",
    ),
}
"""Reason, what it says, and when it ends, of clusters that are out of reach."""
NOT_NOW = frozenset({reason for reason, _, _ in _AWAY.values()} | {"ClusterNotReady"})
"""Reasons of refusals that end by themselves: they keep an object out, and take nothing away."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What holds for one cluster.

    `reason` and `message` say why it is refused to a newcomer, or if `admits` why it is chosen;
    `chosen_reason` and `chosen_message` why it is chosen for an object that is there, whatever keeps
    newcomers out at present. An object that is there must leave at `leave_at` (seconds since the epoch, 0
    at once, inf never), because of `leave_reason`.
    """

    cluster: ClusterView
    admits: bool
    reason: str
    message: str
    chosen_reason: str = ""
    chosen_message: str = ""
    leave_at: float = math.inf
    leave_reason: str = ""
    leave_message: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What an object asks of clusters, as far as verdicts depend on it."""

    group: str
    resource: str
    selector: ClusterSelector
    annotated: bool
    policy: PlacementPolicy | None
    everywhere: bool = True


def judge(wish: Wish, table: ClusterTable) -> tuple[Verdict, ...]:
    """Return a verdict for every cluster, sorted by name."""
    chosen_by = BY_ANNOTATION if wish.annotated else BY_POLICY if wish.policy else ALL_READY
    return tuple(
        _judge(wish, cluster, table=table, chosen_by=chosen_by)
        for _, cluster in sorted(table.clusters.items())
    )


def _judge(wish: Wish, cluster: ClusterView, *, table: ClusterTable, chosen_by: str) -> Verdict:
    refused = _unwanted(wish, cluster)
    if refused is not None:
        reason, message = refused
        return Verdict(
            cluster, False, reason, message, leave_at=0.0, leave_reason=reason, leave_message=message
        )
    tolerations: Sequence[Toleration] = wish.policy.tolerations if wish.policy else ()
    when, taint = leaves_at(cluster.taints, tolerations)
    leave_reason = "TaintNotTolerated" if taint else ""
    leave_message = f"the taint {taint} is not tolerated" if taint else ""
    obstacle = _obstacle(wish, cluster, table=table, tolerations=tolerations)
    why = _why(wish, chosen_by)
    reason, message = obstacle or (chosen_by, why)
    return Verdict(
        cluster, obstacle is None, reason, message, chosen_by, why, when, leave_reason, leave_message
    )


def _unwanted(wish: Wish, cluster: ClusterView) -> tuple[str, str] | None:
    """Return why the object has no business in the cluster at all."""
    if cluster.leaving:
        return UNJOINING
    if wish.policy is not None:
        refused = _outside(wish.policy.choice, cluster, title=wish.policy.head.title)
        if refused is not None:
            return refused
    elif not wish.everywhere and not wish.annotated:
        return (
            "NotPlacedByDefault",
            "no policy and no annotation selects clusters, and default_placement is none",
        )
    broken = wish.selector.broken(cluster.labels)
    if broken is not None:
        value = cluster.labels.get(broken.key)
        has = f"it has {broken.key}={value}" if value is not None else f"it has no label {broken.key}"
        return "SelectorDoesNotMatch", f"the annotation asks for {broken}; {has}"
    return None


def _outside(choice: ClusterChoice, cluster: ClusterView, *, title: str) -> tuple[str, str] | None:
    if cluster.name in choice.excluded:
        return "ExcludedByPolicy", f"{title} excludes it"
    if choice.names and cluster.name not in choice.names:
        return "NotNamedByPolicy", f"{title} does not name it"
    if choice.labels is not None and not choice.labels.matches(dict(cluster.labels)):
        return "NotSelectedByPolicy", f"{title}: its labels do not match clusterSelector"
    return None


def _obstacle(
    wish: Wish, cluster: ClusterView, *, table: ClusterTable, tolerations: Sequence[Toleration]
) -> tuple[str, str] | None:
    """Return what keeps a new object out of a cluster that it wishes for."""
    taint = keeps_out(cluster.taints, tolerations)
    if taint is not None:
        return "TaintNotTolerated", f"the taint {taint} is not tolerated"
    if cluster.unschedulable:
        return "ClusterUnschedulable", "the cluster is cordoned: nothing new is placed there"
    served = table.serves(cluster.name, group=wish.group, resource=wish.resource)
    kind = f"{wish.resource}.{wish.group}" if wish.group else wish.resource
    away = _AWAY.get(cluster.state)
    if away is not None:
        reason, what, then = away
        if not served:
            what, then = f"{what}, and whether it serves {kind} is not known", f"{then} and does"
        return reason, f"{what}; it gets the object when {then}"
    if not served:
        return "ApiNotServed", f"the cluster does not serve {kind}"
    if cluster.state != READY:  # also one of a newer release: nothing new is placed by what is not understood
        return "ClusterNotReady", "the cluster is not ready; it gets the object when it is"
    return None


def _why(wish: Wish, chosen_by: str) -> str:
    parts: list[str] = []
    if wish.policy is not None:
        parts.append(f"{wish.policy.head.title} selects it")
    if wish.annotated:
        wanted = " and ".join(map(str, wish.selector.requirements))
        parts.append(f"its labels match {wanted}" if wanted else "the selector of the annotation selects all")
    return "; ".join(parts) if chosen_by != ALL_READY else "every ready cluster gets it"


class VerdictCache:
    """Verdicts by wish for the newest table; forgets all when the table changes."""

    def __init__(self, *, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._table: ClusterTable | None = None
        self._kept: dict[
            tuple[str, str, ClusterSelector, bool, int, bool], tuple[Wish, tuple[Verdict, ...]]
        ] = {}

    def judge(self, wish: Wish, table: ClusterTable) -> tuple[Verdict, ...]:
        """Return `judge(wish, table)`, remembered."""
        if table is not self._table:
            self._table = table
            self._kept.clear()
        key = (wish.group, wish.resource, wish.selector, wish.annotated, id(wish.policy), wish.everywhere)
        found = self._kept.get(key)
        if found is not None:  # the entry holds the wish, so the policy's id cannot be another's
            return found[1]
        if len(self._kept) >= self._capacity:
            self._kept.clear()
        verdicts = judge(wish, table)
        self._kept[key] = (wish, verdicts)
        return verdicts
