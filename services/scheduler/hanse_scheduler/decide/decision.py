"""The decision: an object, the clusters, the policies and where it is now give where it goes, and why.

Owns `decide`, the one pure function that controller, Explain and Preview call. It never lets a cluster fall
silently out of a placement: what is placed and may not stay is released, and stays listed until the syncer
has confirmed that nothing is left there. If something that people wrote cannot be understood, the placement
before it stays as it is and `error` says what is wrong. For an object that is being deleted nothing moves;
only clusters that do not exist any more are dropped. Deciding twice gives the same placement.

Pure: time is an argument. Next: `hanse_scheduler.decide.candidates` and `hanse_scheduler.decide.replicas` for
the steps, `hanse_scheduler.handshake.builder`, which makes the message, `hanse_scheduler.placing.reconciler`
for what is done with a decision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, Placement
from hanse.errors import InvalidArgumentError
from hanse.federation import belongings
from hanse.federation.confirmation import is_confirmed
from hanse.federation.placements import named_clusters
from hanse.kube.model.objects import annotations_of, is_deleting, mapping
from hanse.store.keys import ObjectKey
from hanse.well_known import CLUSTER_SELECTOR
from hanse_scheduler.decide.candidates import (
    Candidates,
    ClusterBound,
    candidates_of,
    limit,
    note_candidates,
    replaced,
    without_share,
)
from hanse_scheduler.decide.division import Division, Share
from hanse_scheduler.decide.filtering import ClusterRequirements, Eligibility, EligibilityCache
from hanse_scheduler.decide.inputs import DecisionInput, Rules
from hanse_scheduler.decide.once.job_division import whole_runs
from hanse_scheduler.decide.once.one_at_a_time import (
    ONE_CLUSTER,
    Exclusivity,
    exclusivity_of,
    hold_back,
    waits_for_release,
)
from hanse_scheduler.decide.once.run_ledger import (
    JobsHeld,
    is_job,
    ledger_of,
    unconfirmed_releases,
    with_given,
)
from hanse_scheduler.decide.overrides import NONE, Overrides, Overriding
from hanse_scheduler.decide.policies import PlacementPolicy, names
from hanse_scheduler.decide.replicas import (
    divide_replicas,
    kept_when_closed,
    next_of,
    preferences_of,
    restarts,
    take_in,
    toleration_of,
    workload_kind,
)
from hanse_scheduler.decide.selector import EVERYTHING, parse_cluster_selector
from hanse_scheduler.decide.stateful.ordinals import give_ordinals
from hanse_scheduler.decide.stateful.partition import divide_partition
from hanse_scheduler.decide.workloads import shortfall
from hanse_scheduler.handshake.builder import PlacementBuilder, WorkGiven
from hanse_scheduler.handshake.entries import note_step, take_step
from hanse_scheduler.handshake.releases import ClusterFacts, ReleaseRules
from hanse_scheduler.reasons import BELONGS
from hanse_scheduler.times import seconds_of
from hanse_scheduler.trace import DecisionStep, DecisionTrace

MAX_PLACEMENT_BYTES = 1024 * 1024
"""Largest placement, overrides of all clusters included: etcd takes 1.5 MiB in one request."""

_STAYS: Final = "objects of this kind are not propagated to clusters unless a placement policy selects them"
"""Why an object that no policy selects goes to no cluster."""


@dataclass(frozen=True, slots=True)
class PlacementDecision:
    """What was decided. `placement` None: there is and shall be none. `changed` compares with the previous.

    `reconsider_at` is in seconds since the epoch, inf if only a change is a reason to look again.
    """

    placement: Placement | None
    changed: bool
    reconsider_at: float = math.inf
    steps: tuple[DecisionStep, ...] = ()


def decide(
    inputs: DecisionInput,
    *,
    rules: Rules,
    now: float,
    cache: EligibilityCache | None = None,
    explain: bool = False,
) -> PlacementDecision:
    """Return the decision at `now` (seconds since the epoch). Never raises for what people wrote."""
    trace = DecisionTrace(enabled=explain)
    facts = _facts(inputs)
    runs = ledger_of(inputs, confirmed=facts.confirmed)
    builder = PlacementBuilder(
        inputs.key,
        inputs.obj,
        previous=inputs.previous,
        rules=ReleaseRules(facts=facts, revision=inputs.previous.revision, now=now),
        trace=trace,
        runs=runs,
    )
    reconsider_at = math.inf
    if is_deleting(inputs.obj):
        trace.note("delete", "the object is being deleted, so nothing is placed or moved any more")
        placement = builder.keep_deleting()
    elif belongs := _belongs(inputs):
        placement = _refuse(inputs, belongs, builder=builder, trace=trace)
    elif inputs.doubt:
        placement = _wait(inputs, builder=builder, trace=trace)
    elif not inputs.propagates and inputs.policy is None and not inputs.contents:
        trace.note("propagate", inputs.stays or _STAYS)
        placement = builder.withdraw()
    else:
        try:
            placement, reconsider_at = _place(
                inputs,
                builder=builder,
                trace=trace,
                rules=rules,
                now=now,
                cache=cache or EligibilityCache(),
                held=JobsHeld(runs, unconfirmed_releases(inputs, facts.confirmed)),
            )
        except InvalidArgumentError as error:
            trace.note("error", str(error))
            placement = builder.keep_with_error(str(error))
            kind = workload_kind(inputs)
            placement.unplaced_replicas = shortfall(inputs.obj, kind, placement.clusters) if kind else 0
    return PlacementDecision(
        placement=placement,
        changed=inputs.previous.differs(placement),
        reconsider_at=reconsider_at,
        steps=trace.steps,
    )


def _wait(inputs: DecisionInput, *, builder: PlacementBuilder, trace: DecisionTrace) -> Placement | None:
    """Return the placement of an object of which is not known whether clusters make it: what is placed
    stays."""
    message = f"{inputs.doubt}; it stays where it is until it is"
    trace.note("propagate", message)
    before = inputs.previous.placement
    if before is None or not named_clusters(before):
        return builder.withdraw()
    return builder.keep_with_error(message)


def _facts(inputs: DecisionInput) -> ClusterFacts:
    """Return what releases depend on: a release is confirmed as `hanse.federation.confirmation` says."""
    clusters, before = inputs.table.clusters, inputs.previous.placement
    uid = str(mapping(inputs.obj, "metadata").get("uid", ""))
    return ClusterFacts(
        exists=clusters.keys(),
        confirmed=frozenset(
            release.cluster
            for release in (before.releasing if before is not None else ())
            if (observed := inputs.observed.get(release.cluster)) is not None
            and is_confirmed(observed.confirmation, uid=uid, after_revision=release.after_revision)
        ),
        lingering=[name for name, observed in inputs.observed.items() if not observed.removed],
        leaving=frozenset(name for name, cluster in clusters.items() if cluster.leaving),
    )


def _belongs(inputs: DecisionInput) -> str:
    """Return why the object belongs to each cluster itself, "" if it does not."""
    key = inputs.key
    return inputs.belongs or belongings.by_name(
        key.group, key.resource, namespace=key.namespace, name=key.name
    )


def _refuse(
    inputs: DecisionInput, belongs: str, *, builder: PlacementBuilder, trace: DecisionTrace
) -> Placement | None:
    """Return the placement of what belongs to clusters: nothing is placed, what was placed is released.

    Where the object itself is asked for, each cluster says why not; a wide selector just passes it by.
    """
    obj, policy = inputs.obj, inputs.policy
    message = f"{belongs}: no policy or annotation places, adopts or removes it"
    trace.note("propagate", message)
    named = policy is not None and names(policy.head, obj, group=inputs.key.group)
    if not named and CLUSTER_SELECTOR not in annotations_of(obj):
        return builder.withdraw()
    return builder.place(
        clusters=[],
        refused=dict.fromkeys(inputs.table.clusters, (BELONGS, message)),
        evicted={},
        policy=policy.head.title if policy is not None and named else "",
        adopt=False,
        reconsider_at=math.inf,
    )


def _place(
    inputs: DecisionInput,
    *,
    builder: PlacementBuilder,
    trace: DecisionTrace,
    rules: Rules,
    now: float,
    cache: EligibilityCache,
    held: JobsHeld,
) -> tuple[Placement, float]:
    """Return the placement and when to decide again. Raises InvalidArgumentError for what people wrote."""
    obj, policy = inputs.obj, inputs.policy
    if inputs.fault:
        raise InvalidArgumentError(inputs.fault, reason="UNDECIDABLE")
    if policy is not None and policy.head.error:
        raise InvalidArgumentError(policy.head.error, reason="BAD_POLICY")
    preferences = preferences_of(inputs)
    eligible = cache.of(_requirements(inputs, rules), inputs.table)
    placed = inputs.previous.placed(obj, inputs.table.clusters)
    evicted = _evictions(inputs, now)
    trace.note("policy", f"{policy.head.title} decides" if policy else "no policy selects it: default rules")
    candidates = candidates_of(
        eligible,
        placed=placed,
        contents=inputs.contents,
        evicted=evicted,
        now=now,
        follows=inputs.follows,
    )
    note_candidates(candidates, placed=placed, trace=trace, order=eligible)
    exclusivity = exclusivity_of(inputs)
    suspended: frozenset[str] = frozenset()
    if (bound := _bound(policy, exclusivity)) is not None:
        lost = without_share(
            candidates,
            placed=placed,
            observed=inputs.observed,
            toleration=toleration_of(inputs, rules),
            now=now,
        )
        for name in limit(
            candidates,
            bound,
            placed=placed,
            lost=lost,
            contents=inputs.contents,
            preferences=preferences,
            key=_planner_key(inputs.key),
        ):
            trace.note("limit", candidates.refused[name][1], cluster=name)
        suspended = replaced(candidates, bound, lost=lost)
    if waits_for_release(inputs, exclusivity):
        leaving = builder.leaving(candidates.chosen, candidates.refused)
        for name in hold_back(candidates, placed=placed, leaving=leaving):
            trace.note("wait", candidates.refused[name][1], cluster=name)
    division = divide_replicas(
        inputs,
        candidates,
        placed=placed,
        preferences=preferences,
        rules=rules,
        now=now,
        key=_planner_key(inputs.key),
        held=held,
    )
    if division is not None:
        take_in(division, candidates, trace)
    whole = _whole_runs(inputs, candidates, placed=placed, held=held) if division is None else {}
    overriding = Overriding(obj, inputs.overrides) if inputs.overrides else None
    clusters = {
        name: _cluster_placement(
            each,
            before=placed.get(name),
            previous_revision=inputs.previous.revision,
            overrides=_overrides(overriding, each, trace),
            share=division.shares[name] if division else None,
            run=whole.get(name, 0),
            kept=kept_when_closed(inputs, each, placed.get(name)),
            replaced=name in suspended,
        )
        for name, each in candidates.chosen.items()
    }
    if division is not None:
        divide_partition(obj, list(clusters.values()), before=placed)
    ordinals = policy.ordinals if policy is not None else None
    give_ordinals(obj, list(clusters.values()), before=placed, size=ordinals)
    step = next_of(
        inputs,
        eligible=eligible,
        candidates=candidates,
        placed=placed,
        targets=clusters,
        divided=division is not None,
        rules=rules,
        now=now,
    )
    if step is not None:
        take_step(
            step,
            clusters,
            placed=placed,
            refused=candidates.refused,
            divided=division is not None,
            revision=inputs.previous.revision,
        )
        note_step(step, clusters, trace)
        candidates.reconsider_at = min(candidates.reconsider_at, step.reconsider_at)
    placement = builder.place(
        clusters=[clusters[name] for name in sorted(clusters)],
        refused=candidates.refused,
        evicted=evicted,
        policy=policy.head.title if policy else "",
        adopt=policy is not None and policy.adopt,
        reconsider_at=candidates.reconsider_at,
        work=WorkGiven(
            runs=with_given(
                held.runs,
                clusters.values(),
                inputs=inputs,
                whole=bool(whole),
                taken_back=division.taken_back if division is not None else {},
                now=now,
            )
            if is_job(inputs)
            else None,
            withheld=division.withheld if division is not None else 0,
        ),
        move=step.move if step is not None else None,
    )
    placement.at_most_one = exclusivity.marked
    placement.shadowed_policies.extend(inputs.shadowed)
    placement.override_policies.extend(inputs.changing)
    placement.unplaced_replicas = _unplaced(inputs, division, placement.clusters)
    placement.status_fields.extend(policy.status_fields if policy is not None else ())
    size = placement.ByteSize()
    if size > MAX_PLACEMENT_BYTES:
        raise InvalidArgumentError(
            f"what is decided for {len(clusters)} clusters has {size} bytes with its overrides, and at most "
            f"{MAX_PLACEMENT_BYTES} can be stored: make the overrides smaller, or place it in fewer clusters",
            reason="PLACEMENT_TOO_LARGE",
        )
    return placement, candidates.reconsider_at


def _bound(policy: PlacementPolicy | None, exclusivity: Exclusivity) -> ClusterBound | None:
    """Return how many clusters the object may be in; None for any number."""
    spread_by = policy.spread_by if policy is not None else ""
    if exclusivity.one_cluster:
        return ClusterBound(1, spread_by=spread_by, message=ONE_CLUSTER)
    if policy is None or not policy.max_clusters:
        return None
    spread = f", spread by {spread_by}" if spread_by else ""
    message = f"{policy.head.title} allows {policy.max_clusters} clusters{spread}; others were chosen"
    return ClusterBound(policy.max_clusters, spread_by=spread_by, message=message)


def _whole_runs(
    inputs: DecisionInput, candidates: Candidates, *, placed: Mapping[str, ClusterPlacement], held: JobsHeld
) -> dict[str, int]:
    """Return the run of each cluster that has a Job for itself; nothing for other objects."""
    if not is_job(inputs):
        return {}
    chosen = {name: name in placed for name in candidates.chosen}
    return whole_runs(chosen, runs=held.runs, restart=restarts(inputs.policy), removing=held.removing)


def _unplaced(inputs: DecisionInput, division: Division | None, clusters: Sequence[ClusterPlacement]) -> int:
    """Return how many of the object's replicas no cluster is to run. What an override policy sets is asked
    for; what a cluster keeps until it has moved runs there."""
    if division is not None:
        return max(0, division.unplaced - sum(each.replicas for each in clusters if each.leaving))
    kind = workload_kind(inputs)
    return shortfall(inputs.obj, kind, clusters) if kind is not None and not clusters else 0


def _requirements(inputs: DecisionInput, rules: Rules) -> ClusterRequirements:
    """Return what the object requires of clusters. Raises InvalidArgumentError for a selector that is
    none."""
    annotation = annotations_of(inputs.obj).get(CLUSTER_SELECTOR)
    return ClusterRequirements(
        group=inputs.key.group,
        resource=inputs.key.resource,
        selector=parse_cluster_selector(annotation) if annotation is not None else EVERYTHING,
        annotated=annotation is not None,
        policy=inputs.policy,
        everywhere=rules.everywhere and inputs.propagates,
        version=str(inputs.obj.get("apiVersion") or "").rpartition("/")[2],
    )


def _evictions(inputs: DecisionInput, now: float) -> dict[str, float]:
    """Return where somebody moved the object away from, and when; a rebalance lets it in again."""
    result: dict[str, float] = {}
    before = inputs.previous.placement
    if before is not None and not inputs.rebalance and inputs.previous.is_about(inputs.obj):
        result = {
            item.cluster: seconds_of(item.evict_time)
            for item in before.evicted
            if item.cluster in inputs.table.clusters
        }
    return result | {inputs.evict: now} if inputs.evict else result


def _overrides(overriding: Overriding | None, each: Eligibility, trace: DecisionTrace) -> Overrides:
    """Return what the override policies change in the cluster."""
    if overriding is None:
        return NONE
    changes = overriding.for_cluster(each.cluster)
    if changes.policies:
        trace.note("override", f"changed by {', '.join(changes.policies)}", cluster=each.cluster.name)
    return changes


def _cluster_placement(
    each: Eligibility,
    *,
    before: ClusterPlacement | None,
    previous_revision: int,
    overrides: Overrides,
    share: Share | None,
    kept: int | None,
    run: int = 0,
    replaced: bool = False,
) -> ClusterPlacement:
    """Return the entry of one cluster; one that is suspended keeps the overrides that it has.

    `kept` are the replicas of one that takes nothing new, None if it gets what all get; one that others have
    `replaced` is suspended whether its replicas are divided or not.
    """
    suspended = share.suspended if share is not None else replaced
    replicas = share.replicas if share is not None else None
    message = each.chosen_message
    if replaced and share is None:
        message = f"{message}; out of reach for longer than the toleration: others have it meanwhile"
    if share is not None and share.message:
        message = f"{message}; {share.message}"
    if kept is not None and share is None:
        replicas = kept
        message = f"{message}; it gets no more than {kept} replicas: {each.message}"
    if overrides.replicas is not None and not suspended:
        replicas = overrides.replicas
        message = f"{message}; replicas set to {replicas} by {overrides.policies[-1]}"
    return ClusterPlacement(
        cluster=each.cluster.name,
        reason=each.chosen_reason,
        message=message,
        overrides=before.overrides if suspended and before is not None else overrides.operations,
        replicas=replicas,
        completions=share.completions if share is not None else None,
        suspended=suspended,
        after_revision=previous_revision if before is None else before.after_revision,
        run=share.run if share is not None else run,
    )


def _planner_key(key: ObjectKey) -> str:
    return f"{key.namespace}/{key.name}"
