"""Which clusters an object may go to, which it may stay in, and which it must leave, each with a reason.

Owns `Eligibility` and the order in which things are asked: leaving cluster, evicted, policy, selector (these
also move what is there); then taints, cordon, health and API (these keep new objects out only, except for
a NoExecute taint). What a cluster that is out of reach serves is not known: it may have changed since.

Eligibility does not depend on the time or on where the object is now, so objects with the same requirements
share it: `EligibilityCache` keeps it per table of clusters.

Pure, but for the cache, which belongs to one event loop.

Next: `hanse_scheduler.decide.candidates`, which combines it with where the object is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hanse_scheduler.decide.clusters import ClusterTable, MemberCluster, Serving
from hanse_scheduler.decide.policies import ClusterChoice, PlacementPolicy
from hanse_scheduler.decide.selector import ClusterSelector
from hanse_scheduler.decide.taints import Toleration, keeps_out, leaves_at
from hanse_scheduler.reasons import (
    ALL_READY,
    BY_ANNOTATION,
    BY_POLICY,
    NOT_READY,
    UNJOINING,
    UNREACHABLE,
    Refusal,
)


@dataclass(frozen=True, slots=True)
class Eligibility:
    """What holds for one cluster.

    `reason` and `message` say why it is refused to a newcomer, or if `admits` why it is chosen;
    `chosen_reason` and `chosen_message` why it is chosen for an object that is there, whatever keeps
    newcomers out at present. An object that is there must leave at `leave_at` (seconds since the epoch, 0
    at once, inf never), because of `leave_reason`.
    """

    cluster: MemberCluster
    admits: bool
    reason: str
    message: str
    chosen_reason: str = ""
    chosen_message: str = ""
    leave_at: float = math.inf
    leave_reason: str = ""
    leave_message: str = ""


@dataclass(frozen=True, slots=True)
class ClusterRequirements:
    """What an object requires of clusters, as far as eligibility depends on it."""

    group: str
    resource: str
    selector: ClusterSelector
    annotated: bool
    policy: PlacementPolicy | None
    everywhere: bool = True
    version: str = ""
    """Version of its API; "" for any."""


def eligibility(requirements: ClusterRequirements, table: ClusterTable) -> tuple[Eligibility, ...]:
    """Return the eligibility of every cluster, sorted by name."""
    chosen_by = BY_ANNOTATION if requirements.annotated else BY_POLICY if requirements.policy else ALL_READY
    return tuple(
        _eligibility(requirements, cluster, table=table, chosen_by=chosen_by)
        for _, cluster in sorted(table.clusters.items())
    )


def _eligibility(
    requirements: ClusterRequirements, cluster: MemberCluster, *, table: ClusterTable, chosen_by: str
) -> Eligibility:
    refused = _unwanted(requirements, cluster)
    if refused is not None:
        reason, message = refused
        return Eligibility(
            cluster, False, reason, message, leave_at=0.0, leave_reason=reason, leave_message=message
        )
    tolerations: Sequence[Toleration] = requirements.policy.tolerations if requirements.policy else ()
    when, taint = leaves_at(cluster.taints, tolerations)
    leave_reason = "TaintNotTolerated" if taint else ""
    leave_message = f"the taint {taint} is not tolerated" if taint else ""
    obstacle = _obstacle(requirements, cluster, table=table, tolerations=tolerations)
    why = _why(requirements, chosen_by)
    reason, message = obstacle or (chosen_by, why)
    return Eligibility(
        cluster, obstacle is None, reason, message, chosen_by, why, when, leave_reason, leave_message
    )


def _unwanted(requirements: ClusterRequirements, cluster: MemberCluster) -> Refusal | None:
    """Return why the object has no business in the cluster at all."""
    if cluster.leaving:
        return UNJOINING
    if requirements.policy is not None:
        refused = _outside(requirements.policy.choice, cluster, title=requirements.policy.head.title)
        if refused is not None:
            return refused
    elif not requirements.everywhere and not requirements.annotated:
        return (
            "NotPlacedByDefault",
            "no policy and no annotation selects clusters, and default_placement is none",
        )
    broken = requirements.selector.broken(cluster.labels)
    if broken is not None:
        value = cluster.labels.get(broken.key)
        has = f"it has {broken.key}={value}" if value is not None else f"it has no label {broken.key}"
        return "SelectorDoesNotMatch", f"the annotation asks for {broken}; {has}"
    return None


def _outside(choice: ClusterChoice, cluster: MemberCluster, *, title: str) -> Refusal | None:
    if cluster.name in choice.excluded:
        return "ExcludedByPolicy", f"{title} excludes it"
    if choice.names and cluster.name not in choice.names:
        return "NotNamedByPolicy", f"{title} does not name it"
    if choice.labels is not None and not choice.labels.matches(dict(cluster.labels)):
        return "NotSelectedByPolicy", f"{title}: its labels do not match clusterSelector"
    return None


def _obstacle(
    requirements: ClusterRequirements,
    cluster: MemberCluster,
    *,
    table: ClusterTable,
    tolerations: Sequence[Toleration],
) -> Refusal | None:
    """Return what keeps a new object out of a cluster that it selects."""
    taint = keeps_out(cluster.taints, tolerations)
    if taint is not None:
        return "TaintNotTolerated", f"the taint {taint} is not tolerated"
    if cluster.unschedulable:
        return "ClusterUnschedulable", "the cluster is cordoned: nothing new is placed there"
    group, resource = requirements.group, requirements.resource
    serving = table.serves(cluster.name, group=group, resource=resource, version=requirements.version)
    kind = f"{requirements.resource}.{requirements.group}" if requirements.group else requirements.resource
    away = UNREACHABLE.get(cluster.state)
    if away is not None:
        reason, what, then = away
        if serving is not Serving.YES:
            what, then = f"{what}, and whether it serves {kind} is not known", f"{then} and does"
        return reason, f"{what}; it gets the object when {then}"
    if serving is Serving.NO:
        return "ApiNotServed", f"the cluster does not serve {kind}{_in_version(requirements, cluster, table)}"
    if serving is Serving.UNKNOWN:
        why = f"the cluster cannot tell now whether it serves {kind}: the API server behind it is away"
        return "ApiUnknown", f"{why}; it gets the object when it tells and does"
    if not cluster.ready:
        return NOT_READY, "the cluster is not ready; it gets the object when it is"
    return None


def _in_version(requirements: ClusterRequirements, cluster: MemberCluster, table: ClusterTable) -> str:
    """Return in which versions the cluster serves the kind of an object that has another."""
    known = table.served.get(cluster.name)
    versions = known.versions_of(requirements.group, requirements.resource) if known is not None else ()
    if not versions:
        return ""
    return f" in {requirements.version}, only in {', '.join(versions)}: they may mean other things"


def _why(requirements: ClusterRequirements, chosen_by: str) -> str:
    parts: list[str] = []
    if requirements.policy is not None:
        parts.append(f"{requirements.policy.head.title} selects it")
    if requirements.annotated:
        wanted = " and ".join(map(str, requirements.selector.requirements))
        parts.append(f"its labels match {wanted}" if wanted else "the selector of the annotation selects all")
    return "; ".join(parts) if chosen_by != ALL_READY else "every ready cluster gets it"


class EligibilityCache:
    """Eligibility by requirements for the newest table; forgets all when the table changes."""

    def __init__(self, *, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._table: ClusterTable | None = None
        self._kept: dict[
            tuple[str, str, str, ClusterSelector, bool, int, bool],
            tuple[ClusterRequirements, tuple[Eligibility, ...]],
        ] = {}

    def of(self, requirements: ClusterRequirements, table: ClusterTable) -> tuple[Eligibility, ...]:
        """Return `eligibility(requirements, table)`, remembered."""
        if table is not self._table:
            self._table = table
            self._kept.clear()
        key = (
            requirements.group,
            requirements.resource,
            requirements.version,
            requirements.selector,
            requirements.annotated,
            id(requirements.policy),
            requirements.everywhere,
        )
        found = self._kept.get(key)
        if found is not None:  # the entry holds the requirements, so the policy's id cannot be another's
            return found[1]
        if len(self._kept) >= self._capacity:
            self._kept.clear()
        result = eligibility(requirements, table)
        self._kept[key] = (requirements, result)
        return result
