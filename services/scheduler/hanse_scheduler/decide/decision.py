"""The decision: an object, the clusters, the policies and where it is now give where it goes, and why.

Owns `decide`, the one pure function that controller, Explain and Preview call. It never lets a cluster fall
silently out of a placement: what is placed and may not stay is released, and stays listed until the syncer
has confirmed that nothing is left there. If something that people wrote cannot be understood, the placement
before it stays as it is and `error` says what is wrong. For an object that is being deleted nothing moves;
only clusters that do not exist any more are dropped. Deciding twice gives the same placement.

Pure: time is an argument. Next: `composing`, which makes and compares the message; `filtering` and
`division` for the steps; `reconciler` for what is done with a decision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, Placement
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.errors import InvalidArgumentError
from hanse.federation import belongings
from hanse.federation.confirmation import is_confirmed
from hanse.kube.model.objects import Object, annotations_of, mapping
from hanse.store.keys import ObjectKey
from hanse.well_known import CLUSTER_SELECTOR
from hanse_scheduler.decide.division import Division, Share, Standing, divide
from hanse_scheduler.decide.filtering import BELONGS, Verdict, VerdictCache, Wish
from hanse_scheduler.decide.overrides import NONE, Overrides, Overriding
from hanse_scheduler.decide.planner import DEFAULT_PREFERENCES, Preferences
from hanse_scheduler.decide.preferences import parse_preferences
from hanse_scheduler.decide.selector import EVERYTHING, parse_cluster_selector
from hanse_scheduler.decide.situation import Decision, Observed, Rules, Situation
from hanse_scheduler.decide.spreading import choose
from hanse_scheduler.decide.workloads import WORKLOADS, Totals, WorkloadKind, totals_of
from hanse_scheduler.placing.composing import Composer, Evicted, reference_of
from hanse_scheduler.state.policies import PlacementPolicy, names
from hanse_scheduler.times import seconds_of

MAX_PLACEMENT_BYTES = 1024 * 1024
"""Largest placement, overrides of all clusters included: etcd takes 1.5 MiB in one request."""

_STAYS: Final = "objects of this kind are not propagated to clusters unless a placement policy selects them"
"""Why an object that no policy selects goes to no cluster."""


@dataclass(slots=True)
class _Found:
    """What filtering found: verdicts of the clusters that have or get the object, and refusals."""

    going: dict[str, Verdict] = field(default_factory=dict)
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    reconsider_at: float = math.inf


def decide(
    situation: Situation,
    *,
    rules: Rules,
    now: float,
    cache: VerdictCache | None = None,
    explain: bool = False,
) -> Decision:
    """Return the decision at `now` (seconds since the epoch). Never raises for what people wrote."""
    composer = Composer(
        previous=situation.previous,
        previous_revision=situation.previous_revision,
        exists=situation.table.clusters.keys(),
        confirmed=_confirmations(situation),
        lingering=[name for name, state in situation.observed.items() if not state.removed],
        leaving=[name for name, cluster in situation.table.clusters.items() if cluster.leaving],
        now=now,
        explain=explain,
    )
    reference = reference_of(situation.key, situation.obj)
    if mapping(situation.obj, "metadata").get("deletionTimestamp"):
        composer.step("delete", "the object is being deleted, so nothing is placed or moved any more")
        return _done(composer, composer.keep_deleting(reference, situation.obj))
    if belongs := _belongs(situation):
        return _done(composer, _refuse(situation, belongs, reference=reference, composer=composer))
    if not situation.propagates and situation.policy is None and not situation.contents:
        composer.step("propagate", _STAYS)
        return _done(composer, composer.withdraw(reference, situation.obj))
    try:
        return _place(
            situation,
            reference=reference,
            composer=composer,
            rules=rules,
            now=now,
            cache=cache or VerdictCache(),
        )
    except InvalidArgumentError as error:
        composer.step("error", str(error))
        return _done(composer, composer.keep_with_error(reference, situation.obj, str(error)))


def _belongs(situation: Situation) -> str:
    """Return why the object belongs to each cluster itself, "" if it does not."""
    key = situation.key
    return situation.belongs or belongings.by_name(
        key.group, key.resource, namespace=key.namespace, name=key.name
    )


def _refuse(
    situation: Situation, belongs: str, *, reference: ObjectReference, composer: Composer
) -> Placement | None:
    """Place nothing of what belongs to clusters, and let go of what was placed.

    Where the object itself is asked for, each cluster says why not; a wide selector just passes it by.
    """
    obj, policy = situation.obj, situation.policy
    message = f"{belongs}: no policy or annotation places, adopts or removes it"
    composer.step("propagate", message)
    named = policy is not None and names(policy.head, obj, group=situation.key.group)
    if not named and CLUSTER_SELECTOR not in annotations_of(obj):
        return composer.withdraw(reference, obj)
    return composer.compose(
        reference,
        obj,
        clusters=[],
        refused=dict.fromkeys(situation.table.clusters, (BELONGS, message)),
        evicted={},
        policy=policy.head.title if policy is not None and named else "",
        adopt=False,
        reconsider_at=math.inf,
    )


def _place(
    situation: Situation,
    *,
    reference: ObjectReference,
    composer: Composer,
    rules: Rules,
    now: float,
    cache: VerdictCache,
) -> Decision:
    obj, policy = situation.obj, situation.policy
    if situation.fault:
        raise InvalidArgumentError(situation.fault, reason="UNDECIDABLE")
    if policy is not None and policy.head.error:
        raise InvalidArgumentError(policy.head.error, reason="BAD_POLICY")
    annotation = annotations_of(obj).get(CLUSTER_SELECTOR)
    kind = WORKLOADS.get((situation.key.group, situation.key.resource))
    preferences = _preferences(obj, kind=kind, policy=policy, rebalance=situation.rebalance)
    wish = Wish(
        group=situation.key.group,
        resource=situation.key.resource,
        selector=parse_cluster_selector(annotation) if annotation is not None else EVERYTHING,
        annotated=annotation is not None,
        policy=policy,
        everywhere=rules.everywhere and situation.propagates,
    )
    evicted = _evictions(situation, composer=composer, now=now)
    composer.step(
        "policy", f"{policy.head.title} decides" if policy else "no policy selects it: default rules"
    )
    found = _filter(
        situation, composer=composer, verdicts=cache.judge(wish, situation.table), evicted=evicted, now=now
    )
    if policy is not None and policy.max_clusters:
        _limit(found, situation=situation, composer=composer, policy=policy, preferences=preferences)
    division: Division | None = None
    if kind is not None and _is_divided(kind, policy):
        toleration = rules.toleration
        if policy is not None and policy.toleration_seconds is not None:
            toleration = policy.toleration_seconds
        division = _divide(
            situation, totals_of(obj, kind), found=found, composer=composer, preferences=preferences,
            toleration=toleration, now=now,
        )  # fmt: skip
    overriding = Overriding(obj, situation.overrides) if situation.overrides else None
    clusters = [
        _cluster_placement(
            situation,
            verdict,
            composer=composer,
            overriding=overriding,
            share=division.shares[name] if division else None,
        )
        for name, verdict in sorted(found.going.items())
    ]
    placement = composer.compose(
        reference,
        obj,
        clusters=clusters,
        refused=found.refused,
        evicted=evicted,
        policy=policy.head.title if policy else "",
        adopt=policy is not None and policy.adopt,
        reconsider_at=found.reconsider_at,
    )
    size = placement.ByteSize()
    if size > MAX_PLACEMENT_BYTES:
        raise InvalidArgumentError(
            f"what is decided for {len(clusters)} clusters has {size} bytes with its overrides, and at most "
            f"{MAX_PLACEMENT_BYTES} can be stored: make the overrides smaller, or place it in fewer clusters",
            reason="PLACEMENT_TOO_LARGE",
        )
    return _done(composer, placement, reconsider_at=found.reconsider_at)


def _done(composer: Composer, placement: Placement | None, *, reconsider_at: float = math.inf) -> Decision:
    return Decision(
        placement=placement,
        changed=composer.differs(placement),
        reconsider_at=reconsider_at,
        steps=tuple(composer.steps),
    )


def _confirmations(situation: Situation) -> frozenset[str]:
    """Return the clusters whose release the syncer has confirmed."""
    if situation.previous is None:
        return frozenset()
    uid = str(mapping(situation.obj, "metadata").get("uid", ""))
    return frozenset(
        release.cluster
        for release in situation.previous.releasing
        if (state := situation.observed.get(release.cluster)) is not None
        and is_confirmed(state.confirmation, uid=uid, after_revision=release.after_revision)
    )


def _preferences(
    obj: Object, *, kind: WorkloadKind | None, policy: PlacementPolicy | None, rebalance: bool
) -> Preferences:
    """Return the annotation's preferences, else the policy's, else the default."""
    result = (
        policy.preferences if policy is not None and policy.preferences is not None else DEFAULT_PREFERENCES
    )
    if kind is not None and kind.annotation:
        value = annotations_of(obj).get(kind.annotation)
        if value is not None and value.strip():
            result = parse_preferences(value, annotation=kind.annotation)
    if rebalance and not result.rebalance:
        return Preferences(clusters=result.clusters, rebalance=True)
    return result


def _is_divided(kind: WorkloadKind, policy: PlacementPolicy | None) -> bool:
    mode = policy.mode if policy is not None else ""
    return mode == "Divided" or (not mode and kind.divided_by_default)


def _evictions(situation: Situation, *, composer: Composer, now: float) -> dict[str, Evicted]:
    result: dict[str, Evicted] = {}
    if not situation.rebalance and composer.same_object(situation.obj) and situation.previous is not None:
        for item in situation.previous.evicted:
            if item.cluster in situation.table.clusters:
                result[item.cluster] = Evicted(item.cluster, seconds_of(item.evict_time))
    if situation.evict:
        result[situation.evict] = Evicted(situation.evict, now)
    return result


def _filter(
    situation: Situation,
    *,
    composer: Composer,
    verdicts: Sequence[Verdict],
    evicted: Mapping[str, Evicted],
    now: float,
) -> _Found:
    """Sort the clusters into those that have or get the object, and those that do not."""
    found = _Found()
    placed = composer.placed(situation.obj)
    for verdict in verdicts:
        name = verdict.cluster.name
        holds = name in situation.contents
        if name in evicted and not holds:
            found.refused[name] = (
                "Evicted",
                "it was evicted by request; rebalance the placement to let it in again",
            )
        elif name in placed and now < verdict.leave_at:
            found.going[name] = verdict
            found.reconsider_at = min(found.reconsider_at, verdict.leave_at)
        elif name in placed and not holds:
            found.refused[name] = verdict.leave_reason, verdict.leave_message
        elif verdict.admits and now < verdict.leave_at:
            found.going[name] = verdict
            found.reconsider_at = min(found.reconsider_at, verdict.leave_at)
        elif holds:
            why = "HoldsObjects", "objects in the namespace are or were placed there"
            found.going[name] = Verdict(verdict.cluster, True, *why, *why)
        else:
            found.refused[name] = verdict.reason, verdict.message
        if composer.explain:
            _explain(found, name, composer=composer, placed=name in placed)
    return found


def _explain(found: _Found, name: str, *, composer: Composer, placed: bool) -> None:
    verdict = found.going.get(name)
    if verdict is None:
        reason, message = found.refused[name]
        composer.step("filter", f"no: {reason}: {message}", cluster=name)
        return
    text = f"yes: {verdict.chosen_reason}: {verdict.chosen_message}"
    if placed:
        text += "; it is there already"
    if not verdict.admits:
        text += f"; a new object would be refused: {verdict.reason}: {verdict.message}"
    composer.step("filter", text, cluster=name)


def _limit(
    found: _Found,
    *,
    situation: Situation,
    composer: Composer,
    policy: PlacementPolicy,
    preferences: Preferences,
) -> None:
    """Keep as many clusters as the policy allows. One that is suspended and out of reach does not count."""
    placed = composer.placed(situation.obj)
    candidates = [verdict.cluster for _, verdict in sorted(found.going.items())]
    away = {
        item.name for item in candidates if not item.reachable and placed.get(item.name, _NOWHERE).suspended
    }
    staying = {name for name, before in placed.items() if not before.suspended}
    names = choose(
        [item for item in candidates if item.name not in away],
        limit=policy.max_clusters,
        spread_by=policy.spread_by,
        placed=[staying, placed.keys()],
        preferences=preferences,
        key=_planner_key(situation.key),
    )
    keep = away.union(names, situation.contents)
    for name in [name for name in found.going if name not in keep]:
        del found.going[name]
        spread = f", spread by {policy.spread_by}" if policy.spread_by else ""
        message = f"{policy.head.title} allows {policy.max_clusters} clusters{spread}; others were chosen"
        found.refused[name] = "NotAmongMaxClusters", message
        composer.step("limit", message, cluster=name)


_NOWHERE = ClusterPlacement()


def _divide(
    situation: Situation,
    totals: Totals,
    *,
    found: _Found,
    composer: Composer,
    preferences: Preferences,
    toleration: float,
    now: float,
) -> Division:
    placed = composer.placed(situation.obj)
    standings = [
        _standing(verdict, before=placed.get(name), observed=situation.observed.get(name))
        for name, verdict in sorted(found.going.items())
    ]
    division = divide(
        totals,
        standings=standings,
        preferences=preferences,
        toleration=toleration,
        now=now,
        key=_planner_key(situation.key),
    )
    for name, refusal in division.refused.items():
        del found.going[name]
        found.refused[name] = refusal
        composer.step("divide", f"{refusal[0]}: {refusal[1]}", cluster=name)
    for name, share in sorted(division.shares.items()):
        composer.step("divide", share.message, cluster=name)
    for note in division.notes:
        composer.step("divide", note)
    found.reconsider_at = min(found.reconsider_at, division.reconsider_at)
    return division


def _standing(verdict: Verdict, *, before: ClusterPlacement | None, observed: Observed | None) -> Standing:
    live = observed if observed is not None and not observed.removed else None
    return Standing(
        cluster=verdict.cluster,
        placed=before is not None,
        suspended=before is not None and before.suspended,
        told=before.replicas if before is not None and before.HasField("replicas") else None,
        told_completions=before.completions
        if before is not None and before.HasField("completions")
        else None,
        reported=live.replicas if live else None,
        unschedulable=live.unschedulable if live else 0,
    )


def _cluster_placement(
    situation: Situation,
    verdict: Verdict,
    *,
    composer: Composer,
    overriding: Overriding | None,
    share: Share | None,
) -> ClusterPlacement:
    name = verdict.cluster.name
    before = composer.placed(situation.obj).get(name)
    reason, message = verdict.chosen_reason, verdict.chosen_message
    changes: Overrides = NONE
    if overriding is not None:
        changes = overriding.for_cluster(verdict.cluster)
        if changes.policies:
            composer.step("override", f"changed by {', '.join(changes.policies)}", cluster=name)
    result = ClusterPlacement(
        cluster=name,
        reason=reason,
        message=message,
        overrides=changes.operations,
        after_revision=situation.previous_revision if before is None else before.after_revision,
    )
    if share is not None:
        result.replicas = share.replicas
        if share.completions is not None:
            result.completions = share.completions
        result.message = f"{message}; {share.message}" if share.message else message
        result.suspended = share.suspended
    if changes.replicas is not None and not result.suspended:
        result.replicas = changes.replicas
        result.message += f"; replicas set to {changes.replicas} by {changes.policies[-1]}"
    if share is not None and share.suspended and before is not None:
        result.overrides = before.overrides
    return result


def _planner_key(key: ObjectKey) -> str:
    return f"{key.namespace}/{key.name}"
