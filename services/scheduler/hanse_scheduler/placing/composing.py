"""Making the placement message: what was decided, joined with what was there before.

Owns the handshake: placed -> releasing -> (confirmed by the syncer) -> gone; what is carried over from the
previous placement (its age, release times, evictions); and what counts as a change. Times of writing and
traces do not count, so that deciding again writes nothing.

A `Composer` belongs to one decision. Messages that it is given are not changed.

Next: `decision`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from hanse.api.scheduler.v1.placement_pb2 import (
    ABORT,
    ADOPT,
    ClusterEviction,
    ClusterPlacement,
    ClusterRefusal,
    ClusterRelease,
    Placement,
)
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.federation.placements import named_clusters, placed_clusters
from hanse.federation.tracing import traceparent_of
from hanse.kube.model.objects import Object, mapping
from hanse.store.decoding import carry
from hanse.store.keys import CLUSTER_SCOPE, CORE, PLACEMENTS, ObjectKey
from hanse_scheduler.decide.filtering import NOT_NOW, UNJOINING
from hanse_scheduler.times import timestamp_of

MAX_MESSAGE = 1024
"""Longest message and error of a placement, in characters: some quote a whole selector."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a decision, for people. `cluster` is "" if it is about all."""

    step: str
    message: str
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class Evicted:
    """A cluster that somebody moved the object away from, at `time` in seconds since the epoch."""

    cluster: str
    time: float


def reference_of(key: ObjectKey, obj: Object) -> ObjectReference:
    """Return the reference to a stored object."""
    version = str(obj.get("apiVersion", "")).rpartition("/")[2]
    return ObjectReference(
        group=key.group,
        version=version,
        resource=key.resource,
        kind=str(obj.get("kind", "")),
        namespace=key.namespace,
        name=key.name,
        uid=str(mapping(obj, "metadata").get("uid", "")),
    )


def placement_name(reference: ObjectReference) -> str:
    """Return the placement's resource name, which is also its key."""
    group, namespace = reference.group or CORE, reference.namespace or CLUSTER_SCOPE
    return f"{PLACEMENTS}/{group}/{reference.resource}/{namespace}/{reference.name}"


class Composer:
    """Composes the next placement of one object.

    `exists` are the clusters that there are, `confirmed` those whose release is confirmed, `lingering` those
    where the syncer says that something of the object is, `leaving` those that leave the federation.
    """

    def __init__(
        self,
        *,
        previous: Placement | None,
        previous_revision: int,
        exists: Collection[str],
        confirmed: Collection[str],
        lingering: Iterable[str],
        leaving: Collection[str] = (),
        now: float,
        explain: bool = False,
    ) -> None:
        self.previous = previous
        self.explain = explain
        self.steps: list[Step] = []
        self._revision = previous_revision
        self._exists = exists
        self._confirmed = confirmed
        self._lingering = lingering
        self._leaving = leaving
        self._now = now
        self._placed: dict[str, ClusterPlacement] | None = None

    def step(self, step: str, message: str, *, cluster: str = "") -> None:
        """Note a step if somebody wants to know."""
        if self.explain:
            self.steps.append(Step(step, message, cluster))

    def same_object(self, obj: Object) -> bool:
        """Return whether the previous placement is about this incarnation of the object."""
        if self.previous is None:
            return False
        uid = self.previous.object.uid
        return not uid or uid == mapping(obj, "metadata").get("uid", "")

    def placed(self, obj: Object) -> Mapping[str, ClusterPlacement]:
        """Return where this incarnation of the object is placed now, as far as the clusters exist."""
        if self._placed is None:
            before = self.previous.clusters if self.previous is not None and self.same_object(obj) else ()
            self._placed = {item.cluster: item for item in before if item.cluster in self._exists}
        return self._placed

    def compose(
        self,
        reference: ObjectReference,
        obj: Object,
        *,
        clusters: Iterable[ClusterPlacement],
        refused: Mapping[str, tuple[str, str]],
        evicted: Mapping[str, Evicted],
        policy: str,
        adopt: bool,
        reconsider_at: float,
    ) -> Placement:
        """Return the placement that says all this and releases what is no longer placed."""
        result = Placement(
            name=placement_name(reference),
            object=reference,
            generation=_generation(obj),
            clusters=clusters,
            policy=policy,
            conflict_resolution=ADOPT if adopt else ABORT,
            evicted=[
                ClusterEviction(cluster=item.cluster, evict_time=timestamp_of(item.time))
                for _, item in sorted(evicted.items())
            ],
        )
        if math.isfinite(reconsider_at):
            result.reconsider_time.CopyFrom(timestamp_of(reconsider_at))
        releasing = self._releasing(placed_clusters(result), refused)
        result.releasing.extend(releasing.values())
        result.refused.extend(
            ClusterRefusal(cluster=name, reason=reason, message=message)
            for name, (reason, message) in sorted(refused.items())
            if name not in releasing
        )
        return self._stamp(result, obj)

    def withdraw(self, reference: ObjectReference, obj: Object) -> Placement | None:
        """Return the placement of an object that goes nowhere: None once nothing is left of it."""
        releasing = self._releasing(set(), {})
        if not releasing:
            return None
        result = Placement(
            name=placement_name(reference),
            object=reference,
            generation=_generation(obj),
            releasing=releasing.values(),
            conflict_resolution=ABORT,
        )
        return self._stamp(result, obj)

    def keep_with_error(self, reference: ObjectReference, obj: Object, error: str) -> Placement:
        """Return the previous placement with the error; without one, a placement that only has the error.

        Confirmed releases and clusters that do not exist any more are dropped all the same, and a cluster
        that leaves the federation is let go: nobody's mistake in an annotation may hold it.
        """
        kept = self._kept()
        if kept is None or not self.same_object(obj):
            releasing = self._releasing(set(), {})
            kept = Placement(
                name=placement_name(reference), releasing=releasing.values(), conflict_resolution=ABORT
            )
        kept.object.CopyFrom(reference)
        kept.generation = _generation(obj)
        kept.error = error
        return self._stamp(kept, obj)

    def keep_deleting(self, reference: ObjectReference, obj: Object) -> Placement | None:
        """Return the previous placement of an object that is being deleted, without clusters that are gone.

        What lives somewhere and is not in the placement is added, so that it is deleted there too.
        A cluster that leaves the federation is released, and let go of when it has confirmed: it does not
        wait for the others to confirm. A placement of an earlier object of that name only says what may be
        left of that one.
        """
        if self.previous is None or not self.same_object(obj):
            return self.withdraw(reference, obj)
        kept = Placement()
        kept.CopyFrom(self.previous)
        del kept.clusters[:]
        del kept.releasing[:]
        for item in self.previous.clusters:
            if item.cluster in self._leaving:
                kept.releasing.append(self._release(item.cluster, *UNJOINING))
            elif item.cluster in self._exists:
                kept.clusters.append(item)
        for release in self.previous.releasing:
            left = release.cluster in self._leaving and release.cluster in self._confirmed
            if release.cluster in self._exists and not left:
                kept.releasing.append(release)
        named = named_clusters(kept)
        for name in self._lingering:
            if name not in named and name in self._exists:
                kept.releasing.append(self._release(name, "Deleted", "the object is being deleted"))
        kept.releasing.sort(key=lambda item: item.cluster)
        self._prune_refusals(kept)
        return self._stamp(kept, obj) if self.differs(kept) else kept

    def differs(self, placement: Placement | None) -> bool:
        """Return whether the placement says something else than the previous one."""
        if placement is None or self.previous is None:
            return placement is not self.previous
        return essence(placement) != essence(self.previous)

    def _kept(self) -> Placement | None:
        if self.previous is None:
            return None
        kept = Placement()
        kept.CopyFrom(self.previous)
        del kept.clusters[:]
        kept.clusters.extend(
            item
            for item in self.previous.clusters
            if item.cluster in self._exists and item.cluster not in self._leaving
        )
        refused = dict.fromkeys(self._leaving, UNJOINING)
        releasing = self._releasing(placed_clusters(kept), refused)
        del kept.releasing[:]
        kept.releasing.extend(releasing.values())
        self._prune_refusals(kept)
        return kept

    def _prune_refusals(self, placement: Placement) -> None:
        """Drop refusals of clusters that are gone, or are listed as placed or releasing."""
        listed = named_clusters(placement)
        refusals = [
            item for item in placement.refused if item.cluster in self._exists and item.cluster not in listed
        ]
        del placement.refused[:]
        placement.refused.extend(refusals)

    def _releasing(
        self, staying: Collection[str], refused: Mapping[str, tuple[str, str]]
    ) -> dict[str, ClusterRelease]:
        """Return, by cluster, what must leave: released before, placed before, or found there.

        What is found in a cluster that is refused for the moment only may be placed there in a moment.
        """
        result: dict[str, ClusterRelease] = {}
        before = self.previous
        if before is not None:
            for release in before.releasing:
                name = release.cluster
                if name not in staying and name in self._exists and name not in self._confirmed:
                    result[name] = release
        leaving = [item.cluster for item in before.clusters] if before is not None else []
        for name in (*leaving, *self._lingering):
            if name in staying or name in result or name not in self._exists:
                continue
            reason, message = refused.get(name, ("NotPlaced", "the object is not placed there any more"))
            if reason in NOT_NOW and name not in leaving:
                continue
            result[name] = self._release(name, reason, message)
            self.step("release", f"{reason}: {message}", cluster=name)
        return dict(sorted(result.items()))

    def _release(self, name: str, reason: str, message: str) -> ClusterRelease:
        return ClusterRelease(
            cluster=name,
            reason=reason,
            message=message,
            release_time=timestamp_of(self._now),
            after_revision=self._revision,
        )

    def _stamp(self, placement: Placement, obj: Object) -> Placement:
        now = timestamp_of(self._now)
        before = self.previous if self.same_object(obj) else None
        if before is None:
            placement.create_time.CopyFrom(now)
        else:  # the oldest that is known of a placement from before there was a create_time
            placement.create_time.CopyFrom(
                before.create_time if before.HasField("create_time") else before.update_time
            )
        placement.update_time.CopyFrom(now)
        _shorten(placement)
        placement.traceparent = traceparent_of(obj)
        return carry(before, placement)


def _shorten(placement: Placement) -> None:
    """Cut what quotes selectors and policies of users off, so that all clusters' reasons can be stored."""
    placement.error = placement.error[:MAX_MESSAGE]
    said: Iterable[ClusterPlacement | ClusterRefusal | ClusterRelease] = itertools.chain(
        placement.clusters, placement.refused, placement.releasing
    )
    for item in said:
        if len(item.message) > MAX_MESSAGE:
            item.message = f"{item.message[: MAX_MESSAGE - 3]}..."


def essence(placement: Placement) -> Placement:
    """Return the placement without what may differ between two equal decisions."""
    result = Placement()
    result.CopyFrom(placement)
    result.ClearField("create_time")
    result.ClearField("update_time")
    result.ClearField("traceparent")
    result.ClearField("revision")
    return result


def _generation(obj: Object) -> int:
    value = mapping(obj, "metadata").get("generation")
    return value if type(value) is int else 0
