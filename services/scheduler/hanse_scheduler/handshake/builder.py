"""Building the placement message: what was decided, joined with what was there before.

Owns `PlacementBuilder`, one method for each way in which a decision ends: the object is placed, goes nowhere,
cannot be decided on, or is being deleted. It carries over what the previous placement has (its age, release
times, evictions), and cuts off what is too long.

A builder belongs to one decision. Messages that it is given are not changed.

Next: `hanse_scheduler.handshake.releases` for what must leave, `hanse_scheduler.decide.decision`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hanse.api.scheduler.v1.placement_pb2 import (
    ABORT,
    ADOPT,
    ClusterEviction,
    ClusterPlacement,
    ClusterRefusal,
    ClusterRelease,
    Placement,
    PlacementMove,
)
from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.federation.placements import named_clusters, placed_clusters
from hanse.federation.references import reference_to
from hanse.federation.tracing import traceparent_of
from hanse.kube.model.objects import Object, mapping
from hanse.paths import path_to
from hanse.store.decoding import carry
from hanse.store.keys import PLACEMENTS, ObjectKey
from hanse_scheduler.handshake.previous import PreviousPlacement
from hanse_scheduler.handshake.releases import ReleaseRules
from hanse_scheduler.reasons import UNJOINING, Refusal
from hanse_scheduler.times import timestamp_of
from hanse_scheduler.trace import DecisionTrace

MAX_MESSAGE: Final = 1024
"""Longest message and error of a placement, in characters: some quote a whole selector."""


@dataclass(frozen=True, slots=True)
class WorkGiven:
    """What a placement says of work besides its clusters; see its fields of the same names.

    `runs` None keeps those that are known.
    """

    runs: Sequence[JobRun] | None = None
    withheld: int = 0


class PlacementBuilder:
    """Builds the next placement of the object `obj` at `key`."""

    def __init__(
        self,
        key: ObjectKey,
        obj: Object,
        *,
        previous: PreviousPlacement,
        rules: ReleaseRules,
        trace: DecisionTrace,
        runs: Sequence[JobRun] = (),
    ) -> None:
        """`rules` say what has to be released; new releases are noted in `trace`. `runs` are those of a
        Job."""
        self._obj = obj
        self._reference = reference_of(key, obj)
        self._previous = previous
        self._rules = rules
        self._trace = trace
        self._runs = runs

    def place(
        self,
        *,
        clusters: Iterable[ClusterPlacement],
        refused: Mapping[str, Refusal],
        evicted: Mapping[str, float],
        policy: str,
        adopt: bool,
        reconsider_at: float,
        move: PlacementMove | None = None,
        work: WorkGiven = WorkGiven(),
    ) -> Placement:
        """Return the placement that says all this and releases what is no longer placed.

        `evicted` has the time of each eviction by cluster; it and `reconsider_at` are in seconds since the
        epoch, the latter inf for never.
        """
        if work.runs is not None:
            self._runs = work.runs
        result = Placement(
            name=placement_name(self._reference),
            object=self._reference,
            generation=_generation(self._obj),
            clusters=clusters,
            policy=policy,
            conflict_resolution=ADOPT if adopt else ABORT,
            move=move,
            withheld=work.withheld,
            evicted=[
                ClusterEviction(cluster=name, evict_time=timestamp_of(time))
                for name, time in sorted(evicted.items())
            ],
        )
        if math.isfinite(reconsider_at):
            result.reconsider_time.CopyFrom(timestamp_of(reconsider_at))
        result.releasing.extend(self._releases(result, refused))
        releasing = {release.cluster for release in result.releasing}
        result.refused.extend(
            ClusterRefusal(cluster=name, reason=reason, message=message)
            for name, (reason, message) in sorted(refused.items())
            if name not in releasing
        )
        return self._finish(result)

    def leaving(self, staying: Collection[str], refused: Mapping[str, Refusal]) -> list[str]:
        """Return the clusters, sorted, that have or may have the object and are not to stay."""
        return list(self._rules.releases(self._previous.placement, staying=staying, refused=refused))

    def withdraw(self) -> Placement | None:
        """Return the placement of an object that goes nowhere: None once nothing is left of it."""
        result = Placement(
            name=placement_name(self._reference),
            object=self._reference,
            generation=_generation(self._obj),
            conflict_resolution=ABORT,
        )
        result.releasing.extend(self._releases(result, {}))
        return self._finish(result) if result.releasing or self._runs else None

    def keep_with_error(self, error: str) -> Placement:
        """Return the previous placement with the error; without one, a placement that only has the error.

        Confirmed releases and clusters that do not exist any more are dropped all the same, and a cluster
        that leaves the federation is let go: nobody's mistake in an annotation may hold it.
        """
        before, facts = self._previous.placement, self._rules.facts
        result = Placement(name=placement_name(self._reference), conflict_resolution=ABORT)
        if before is not None and self._previous.is_about(self._obj):
            result.CopyFrom(before)
            del result.clusters[:]
            del result.releasing[:]
            result.clusters.extend(
                item
                for item in before.clusters
                if item.cluster in facts.exists and item.cluster not in facts.leaving
            )
            result.releasing.extend(self._releases(result, dict.fromkeys(facts.leaving, UNJOINING)))
            self._prune_refusals(result)
        else:
            result.releasing.extend(self._releases(result, {}))
        result.object.CopyFrom(self._reference)
        result.generation = _generation(self._obj)
        result.error = error
        return self._finish(result)

    def keep_deleting(self) -> Placement | None:
        """Return the previous placement of an object that is being deleted, without clusters that are gone.

        A placement of an earlier object of that name only says what may be left of that one.
        """
        before, facts = self._previous.placement, self._rules.facts
        if before is None or not self._previous.is_about(self._obj):
            return self.withdraw()
        result = Placement()
        result.CopyFrom(before)
        del result.clusters[:]
        del result.releasing[:]
        result.clusters.extend(
            item
            for item in before.clusters
            if item.cluster in facts.exists and item.cluster not in facts.leaving
        )
        result.releasing.extend(self._rules.while_deleting(before, placed_clusters(result)))
        self._prune_refusals(result)
        self._remember(result)
        return self._finish(result) if self._previous.differs(result) else result

    def _remember(self, placement: Placement) -> None:
        del placement.runs[:]
        placement.runs.extend(self._runs)

    def _releases(self, placement: Placement, refused: Mapping[str, Refusal]) -> list[ClusterRelease]:
        """Return what the placement's clusters leave to be released, sorted by cluster."""
        before = self._previous.placement
        known = {release.cluster: release for release in before.releasing} if before is not None else {}
        found = self._rules.releases(before, staying=placed_clusters(placement), refused=refused)
        for name, release in found.items():
            if release != known.get(name):
                self._trace.note("release", f"{release.reason}: {release.message}", cluster=name)
        return list(found.values())

    def _prune_refusals(self, placement: Placement) -> None:
        """Drop refusals of clusters that are gone, or are listed as placed or releasing."""
        exists, named = self._rules.facts.exists, named_clusters(placement)
        refusals = [
            item for item in placement.refused if item.cluster in exists and item.cluster not in named
        ]
        del placement.refused[:]
        placement.refused.extend(refusals)

    def _finish(self, placement: Placement) -> Placement:
        """Return the placement with times and trace context, without what is too long, with unknown
        fields."""
        now = timestamp_of(self._rules.now)
        before = self._previous.placement if self._previous.is_about(self._obj) else None
        if before is None:
            placement.create_time.CopyFrom(now)
        else:  # the oldest that is known of a placement from before there was a create_time
            placement.create_time.CopyFrom(
                before.create_time if before.HasField("create_time") else before.update_time
            )
        placement.update_time.CopyFrom(now)
        self._remember(placement)
        _shorten(placement)
        placement.traceparent = traceparent_of(self._obj)
        return carry(before, placement)


def reference_of(key: ObjectKey, obj: Object) -> ObjectReference:
    """Return the reference to a stored object."""
    version = str(obj.get("apiVersion", "")).rpartition("/")[2]
    uid = str(mapping(obj, "metadata").get("uid", ""))
    return reference_to(key, version=version, kind=str(obj.get("kind", "")), uid=uid)


def placement_name(reference: ObjectReference) -> str:
    """Return the placement's resource name, which is also its key."""
    path = path_to(
        group=reference.group,
        resource=reference.resource,
        namespace=reference.namespace,
        name=reference.name,
    )
    return f"{PLACEMENTS}/{path}"


def _shorten(placement: Placement) -> None:
    """Cut what quotes selectors and policies of users off, so that all clusters' reasons can be stored."""
    placement.error = placement.error[:MAX_MESSAGE]
    said: Iterable[ClusterPlacement | ClusterRefusal | ClusterRelease] = itertools.chain(
        placement.clusters, placement.refused, placement.releasing
    )
    for item in said:
        if len(item.message) > MAX_MESSAGE:
            item.message = f"{item.message[: MAX_MESSAGE - 3]}..."


def _generation(obj: Object) -> int:
    value = mapping(obj, "metadata").get("generation")
    return value if type(value) is int else 0
