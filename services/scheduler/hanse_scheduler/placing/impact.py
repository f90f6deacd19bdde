"""What a change would take away from what runs, counted before it is made.

Owns `ImpactPreview`: all objects that a policy, a cluster or an object has a say in are decided on as if it
was stored as given, or deleted, and what each workload has then is compared with what it has now. What cannot
be decided on keeps what it has, so it loses nothing.

What is stored counts as made, though nothing of it may be placed yet: Clusters count as they are stored, and
what the changes counted a moment ago still take away is added. So changes that follow each other closely are
judged together; one that makes no difference is not held up by those before it.

Concurrency: one event loop; long counts give way to others after each slice of time. What is counted is of
some moment during the call.

Next: `hanse.federation.policies.impact` for what the numbers mean, `hanse_scheduler.placing.evaluator`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, Placement
from hanse.errors import ConflictError, InvalidArgumentError
from hanse.federation.jobs.job_runs import is_open, run_of
from hanse.federation.kinds import CLUSTER
from hanse.federation.policies.impact import RUNS, Impact, ObjectImpact
from hanse.federation.policies.titles import PLACING, is_policy, title_at
from hanse.federation.propagation import placeable
from hanse.kube.engine import unreadable
from hanse.kube.model.objects import Object
from hanse.paths import resource_of
from hanse.store import Store
from hanse.store.keys import ObjectKey, resource_prefix
from hanse.turns import SLICE_SECONDS
from hanse_scheduler.decide.clusters import ClusterTable, MemberCluster, as_stored, supposing
from hanse_scheduler.decide.once.one_at_a_time import WAITS
from hanse_scheduler.decide.policies import PolicyHead, compile_override, compile_placement
from hanse_scheduler.decide.workloads import WORKLOADS, totals_of
from hanse_scheduler.placing.evaluator import Evaluator, Supposition
from hanse_scheduler.reasons import NO_REPLICAS
from hanse_scheduler.state.records import ObjectRecord
from hanse_scheduler.state.scheduler_state import SchedulerState
from hanse_scheduler.state.selection import SupposedPolicy

_NO_VERSION: Final = -1
"""Version of a table of clusters that never was."""
_ATTEMPTS: Final = 5
_MOMENT_SECONDS: Final = 10.0
"""So long what a change takes away is looked for in what is not placed yet."""


class ImpactPreview:
    """Counts. `pace` returns seconds, by which slices of the loop and moments are measured."""

    def __init__(
        self,
        store: Store,
        state: SchedulerState,
        evaluator: Evaluator,
        *,
        pace: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._store = store
        self._state = state
        self._evaluator = evaluator
        self._pace = pace
        self._counted: dict[str, float] = {}
        """Paths of workloads that lately counted changes take something from, and when that was."""

    async def of(self, key: ObjectKey, obj: Object, *, deleted: bool = False) -> Impact:
        """Return what is lost when the policy, Cluster or object at `key` is stored as `obj`, or deleted.

        Raises InvalidArgumentError for an object that has no say in where anything goes, and ConflictError
        for what keeps changing.
        """
        now = Supposition(table=await self._clusters())
        if is_policy(key):
            policy = _supposed(key, obj, deleted=deleted)
            about = self._state.about(policy)
            return await self._lost(about, replace(now, policy=policy), now)
        if (key.group, key.resource) == CLUSTER.group_plural:
            return await self._cluster(key.name, obj, now, deleted=deleted)
        if not placeable(key.group, key.resource):
            raise InvalidArgumentError(
                f"{key.path()} has no say in where objects go: preview a policy, a Cluster or an object that "
                "is placed",
                metadata={"object": key.path()},
            )
        return Impact() if deleted else await self._object(key, obj, now)

    async def _clusters(self) -> ClusterTable | None:
        """Return the clusters as they are stored, where the registry has not taken everything up yet."""
        table = self._state.table
        stored = await self._store.range(resource_prefix(group=CLUSTER.group, resource=CLUSTER.plural))
        pending: dict[str, MemberCluster] = {}
        for kv in stored.items:
            key = ObjectKey.parse(kv.key)
            view = table.clusters.get(key.name)
            obj, why = unreadable.decode(key, kv.value)
            if view is not None and not why and (found := as_stored(view, obj)) is not view:
                pending[key.name] = found
        if not pending:
            return None
        return replace(table, clusters={**table.clusters, **pending}, version=_NO_VERSION)

    async def _cluster(self, name: str, obj: Object, now: Supposition, *, deleted: bool) -> Impact:
        table = now.table or self._state.table
        known = table.clusters.get(name)
        if known is None:
            return Impact()
        supposed = replace(known, leaving=True) if deleted else supposing(known, obj)
        if supposed == known:
            return Impact()
        changed = replace(table, clusters={**table.clusters, name: supposed}, version=_NO_VERSION)
        return await self._lost(list(self._state.paths()), Supposition(table=changed), now)

    async def _object(self, key: ObjectKey, obj: Object, now: Supposition) -> Impact:
        path = key.path()
        record = self._state.record(path)
        if record is None:
            return Impact()
        decision = await self._evaluator.decide_as(key, obj, supposing=now)
        losses = [each for each in self._between(path, record, decision.placement) if each.lost]
        if not losses or self._has(path, record, decision.placement) == await self._goes_on(path, now):
            return Impact()
        pending = await self._pending(now, but=path)
        self._counted[path] = self._pace()
        return Impact.of([*losses, *pending])

    async def _lost(self, paths: Iterable[str], supposition: Supposition, now: Supposition) -> Impact:
        """Return what the objects at `paths` lose by a change, with what others lose by those before it.

        A change that makes no difference to what is decided `now` takes nothing away, even if those before it
        do. "" is a path of none.
        """
        losses: dict[str, ObjectImpact] = {}
        differs = False
        until = self._pace() + SLICE_SECONDS
        for path in paths:
            if self._pace() >= until:
                await asyncio.sleep(0)
                until = self._pace() + SLICE_SECONDS
            record = self._state.record(path) if path else None
            if record is None or not _runs(path) or self._state.placement(path) is None:
                continue
            after = await self._decided(path, supposition)
            for loss in self._between(path, record, after):
                if loss.lost:
                    losses[path] = loss
                    differs = differs or self._has(path, record, after) != await self._goes_on(path, now)
        if not differs:
            return Impact()
        pending = [each for each in await self._pending(now) if each.path not in losses]
        moment = self._pace()
        self._counted |= dict.fromkeys(losses, moment)
        return Impact.of([*losses.values(), *pending])

    async def _pending(self, now: Supposition, *, but: str = "") -> list[ObjectImpact]:
        """Return what changes that were counted a moment ago take away, as far as it is not placed yet."""
        since = self._pace() - _MOMENT_SECONDS
        self._counted = {path: counted for path, counted in self._counted.items() if counted > since}
        found: list[ObjectImpact] = []
        for path in list(self._counted):
            record = self._state.record(path)
            if path != but and record is not None:
                found += self._between(path, record, await self._decided(path, now))
        return [each for each in found if each.lost]

    async def _goes_on(self, path: str, now: Supposition) -> dict[str, int]:
        """Return the replicas by cluster that an object has by what is stored now."""
        record = self._state.record(path)
        return self._has(path, record, await self._decided(path, now)) if record is not None else {}

    def _has(self, path: str, record: ObjectRecord, after: Placement | None) -> dict[str, int]:
        return replicas_by_cluster(path, record.reduced, after or Placement(), moved=True)

    async def _decided(self, path: str, supposition: Supposition) -> Placement | None:
        """Return what would be decided. Raises ConflictError for an object that keeps changing: what it
        loses is not known."""
        for _ in range(_ATTEMPTS):
            if self._state.record(path) is None:
                return None
            decision = await self._evaluator.decide(path, supposing=supposition)
            if decision is not None:
                return decision.placement
        raise ConflictError(f"{path} keeps changing while it is counted: ask again")

    def _between(self, path: str, record: ObjectRecord, after: Placement | None) -> Iterator[ObjectImpact]:
        stored = self._state.placement(path)
        if stored is None or not _runs(path):
            return
        yield ObjectImpact.between(
            path,
            replicas_by_cluster(path, record.reduced, stored.value),
            self._has(path, record, after),
        )


def replicas_by_cluster(
    path: str, obj: Object, placement: Placement, *, moved: bool = False
) -> dict[str, int]:
    """Return how many replicas of a workload a placement has in each cluster that counts.

    Of a DaemonSet, whose number nobody gives, it is 1 in each. Suspended clusters do not count: their
    replicas are elsewhere. Nothing of a Job runs where its run has ended. With `moved`, a move that the
    placement begins is over: a cluster that only waits until another has let go has all of it, and one that
    may work on a Job gets what is left when the others have stopped.
    """
    workload = WORKLOADS.get(resource_of(path))
    whole = totals_of(obj, workload).replicas if workload is not None else 1
    waits = {WAITS, NO_REPLICAS} if placement.runs and not placement.clusters else {WAITS}
    waiting = [each.cluster for each in placement.refused if moved and each.reason in waits]
    return dict.fromkeys(waiting, whole) | {
        each.cluster: _replicas(each, whole, moved=moved)
        for each in placement.clusters
        if not each.suspended and not (moved and each.leaving) and not _has_ended(placement, each)
    }


def _replicas(entry: ClusterPlacement, whole: int, *, moved: bool) -> int:
    if moved and entry.HasField("target_replicas"):
        return entry.target_replicas
    return entry.replicas if entry.HasField("replicas") else whole


def _has_ended(placement: Placement, entry: ClusterPlacement) -> bool:
    run = run_of(placement.runs, entry.cluster, entry.run)
    return run is not None and not is_open(run)


def _runs(path: str) -> bool:
    return resource_of(path) in RUNS


def _supposed(key: ObjectKey, obj: Object, *, deleted: bool) -> SupposedPolicy:
    title = title_at(key)
    if deleted:
        return SupposedPolicy(title)
    if key.resource in PLACING:
        placing = compile_placement(obj)
        return SupposedPolicy(title, placing=(replace(placing, head=_dated(placing.head)),))
    changing = compile_override(obj)
    return SupposedPolicy(title, changing=(replace(changing, head=_dated(changing.head)),))


def _dated(head: PolicyHead) -> PolicyHead:
    """Return the head; of a policy that does not exist yet, as the youngest."""
    return head if head.created else replace(head, created=math.inf)
