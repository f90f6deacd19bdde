"""The entry: the status of a federated object from its members', by kind, with the detail of each cluster.

Pure. Who wins, if somebody wrote the federated object's status: the members do, as soon as the object is
placed somewhere, for everything that the kind's rule gives; for kinds without a rule what was written stays
underneath.

Next: `hanse_apiserver.views.view`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hanse.federation.clusters import CREDENTIAL_REFUSED
from hanse.kube.kinds.kind import Kind, by_group_plural
from hanse.kube.kinds.kubernetes import apps, autoscaling, batch, core, extensions, networking
from hanse.kube.model import untrusted
from hanse.kube.model.objects import Object, mapping, sequence
from hanse_apiserver.aggregate import agreed, jobs, others, workloads
from hanse_apiserver.aggregate.federation_conditions import federation_conditions
from hanse_apiserver.aggregate.members import UNREACHABLE, Decision, Member, ingress_of

Rule = Callable[[Object, Sequence[Member], Decision, str], Object]

RULES: Final[Mapping[Kind, Rule]] = {
    apps.DAEMON_SET: workloads.daemon_set,
    apps.DEPLOYMENT: workloads.deployment,
    apps.REPLICA_SET: workloads.replica_set,
    apps.STATEFUL_SET: workloads.stateful_set,
    autoscaling.HORIZONTAL_POD_AUTOSCALER: others.autoscaler,
    autoscaling.POD_DISRUPTION_BUDGET: others.budget,
    batch.JOB: jobs.fold_job,
    core.NAMESPACE: others.stored,
    core.PERSISTENT_VOLUME_CLAIM: others.claim,
    core.REPLICATION_CONTROLLER: workloads.replica_set,
    core.SERVICE: others.load_balanced,
    extensions.CUSTOM_RESOURCE_DEFINITION: others.stored,
    networking.INGRESS: others.load_balanced,
}
"""How the status of a kind is folded; those of others keep what is stored, with the conditions folded."""

ALIKE: Final[Mapping[Kind, tuple[str, ...]]] = {
    apps.DAEMON_SET: ("collisionCount",),
    apps.DEPLOYMENT: ("collisionCount",),
    apps.STATEFUL_SET: ("collisionCount",),
    autoscaling.POD_DISRUPTION_BUDGET: ("disruptedPods",),
    batch.JOB: ("failedIndexes",),
    core.PERSISTENT_VOLUME_CLAIM: (
        "allocatedResources", "allocatedResourceStatuses", "currentVolumeAttributesClassName",
        "modifyVolumeStatus",
    ),
}  # fmt: skip
"""Fields that have no meaning for many clusters together: given where all members say the same of them."""

_BY_RESOURCE: Final = by_group_plural(RULES)
_ALIKE: Final = by_group_plural(ALIKE)

_DETAIL: Final = frozenset(
    {
        "replicas", "readyReplicas", "updatedReplicas", "availableReplicas",
        "desiredNumberScheduled", "numberReady", "numberAvailable", "updatedNumberScheduled",
        "active", "succeeded", "failed", "currentReplicas", "desiredReplicas",
    }
)  # fmt: skip


MAX_WHOLE_BYTES: Final = 1024 * 1024
"""Bytes of members' whole statuses in one object, all clusters together: it has to be served, and watched."""


def aggregate(
    group: str, resource: str, obj: Object, *, members: Sequence[Member], decision: Decision, now: str = ""
) -> Object:
    """Return the status to serve for a placed object.

    `group` is "" for core; `members` are sorted by cluster; `now` is the time to put on a condition that
    no member has a time for. The result has `clusters`, the detail of each cluster. Members' statuses may
    have any shape: what a rule cannot use counts as not said.
    """
    rule = _BY_RESOURCE.get((group, resource))
    status = (rule or others.generic)(obj, members, decision, now)
    if names := _ALIKE.get((group, resource)):
        common = agreed.fields([m for m in members if m.counted])
        status = {**{name: common[name] for name in names if name in common}, **status}
    if own := federation_conditions(members, decision, now):
        status = {**status, "conditions": [*own, *sequence(status, "conditions")]}
    clusters = []
    room = MAX_WHOLE_BYTES
    for member in members:
        fits = member.size <= room
        room -= member.size if fits else 0
        clusters.append(_detail(member, whole=rule is None, fits=fits))
    return {**status, "clusters": clusters} if clusters else dict(status)


def _detail(member: Member, *, whole: bool, fits: bool) -> Object:
    """Return one entry of `status.clusters`; with `whole`, the member's status as it is, if it fits."""
    unseen = not member.reachable and member.phase not in ("", "Removed")
    detail: Object = {
        "name": member.cluster,
        "phase": UNREACHABLE if unseen else _phase(member),
    }
    if member.health and not unseen:
        detail["health"] = member.health
    if member.desired is not None and member.placed:
        detail["desiredReplicas"] = member.desired
    for name, value in member.status.items():
        if name in _DETAIL and (number := untrusted.count(value, -1)) >= 0:
            detail[name] = number
    if ingress := ingress_of(member):
        detail["loadBalancer"] = {"ingress": ingress}
    if phase := untrusted.text(member.status.get("phase"), untrusted.MAX_WORD):
        detail["memberPhase"] = phase
    if whole and member.status and fits:
        detail["status"] = dict(member.status)
    if member.applied_generation:
        detail["observedGeneration"] = member.applied_generation
    reason, message = _why(member, unseen=unseen)
    if whole and not fits and not reason:
        reason = "StatusTooLarge"
        message = f"its status is left out: those of all clusters have more than {MAX_WHOLE_BYTES} bytes"
    if reason:
        detail["reason"] = reason
    if message:
        detail["message"] = message
    return detail


def _phase(member: Member) -> str:
    if not member.phase:
        return "Releasing" if member.releasing else "Pending"
    return member.phase


def _why(member: Member, *, unseen: bool) -> tuple[str, str]:
    if member.suspended:
        return "Suspended", "out of reach for longer than the toleration; its replicas count elsewhere"
    if unseen or member.phase == UNREACHABLE:
        said = mapping({"status": member.status}, "status")
        known = "; what it said last is shown, and counts as not ready" if said else ""
        if member.refused:
            return CREDENTIAL_REFUSED, f"the cluster answers, but refuses the credential{known}"
        return "ClusterUnreachable", f"the cluster cannot be reached{known}"
    return member.reason, member.message
