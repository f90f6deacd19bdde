"""What is known of one object besides its intent: placement, sync states and tombstone, kept small.

Owns `Parts`. Most objects are never looked at, so the messages stay in their stored form and only what every
event needs is taken out: who is placed, who is to leave, who has confirmed. Changed by the view only, from
the cache's task; read anywhere in the same loop.

Next: `hanse_apiserver.views.view`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from hanse.api.federation.v1.tombstone_pb2 import Tombstone
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.federation.confirmation import Confirmation, confirmation_of, is_confirmed
from hanse.federation.contention import is_contested
from hanse.federation.deletion.tombstones import StateWord, clusters_of
from hanse.federation.jobs.job_runs import remembered
from hanse.federation.placements import after_revisions, unplaced_sentence
from hanse.federation.references import is_same_object
from hanse.kube.model import untrusted
from hanse.store.decoding import decode
from hanse_apiserver.aggregate.members import Decision, Member
from hanse_apiserver.views.policy_use import PolicyNames
from hanse_apiserver.views.protojson import time_of, words


@dataclass(frozen=True, slots=True)
class Placed:
    """A placement: where the object is to be, and which clusters must confirm that it has left.

    `uid` is of the object that was decided on. `after` has, for each named cluster, the placement revision
    that a confirmation must be newer than. `since` is the revision at which what the clusters get became what
    it is; 0 if not known.
    """

    value: bytes
    revision: int
    uid: str
    after: Mapping[str, int]
    since: int
    fingerprint: bytes
    policies: PolicyNames

    @classmethod
    def read(cls, value: bytes, revision: int, before: Placed | None) -> Placed:
        """Take in a stored placement that follows `before`, if that was seen. Raises ValueError."""
        message = decode(Placement, value)
        given = Placement(generation=message.generation, clusters=message.clusters)
        for cluster in given.clusters:
            cluster.reason = cluster.message = ""
            cluster.after_revision = 0
        fingerprint = given.SerializeToString(deterministic=True)
        since = 0
        if before is not None:
            since = before.since if before.fingerprint == fingerprint else revision
        return cls(
            value=value,
            revision=revision,
            uid=message.object.uid,
            after=after_revisions(message),
            since=since,
            fingerprint=fingerprint,
            policies=PolicyNames.of(message),
        )


UNREADABLE = "StatusUnreadable"
"""Reason of what is said of a cluster whose sync state, or status in it, cannot be read."""


@dataclass(frozen=True, slots=True)
class State:
    """A sync state. One that cannot be read has no value: what it says is unknown, and confirms nothing."""

    value: bytes
    revision: int
    confirmation: Confirmation | None = None
    uid: str = ""

    @classmethod
    def read(cls, value: bytes, revision: int) -> State:
        """Take in a stored sync state. Raises ValueError."""
        message = decode(SyncState, value)
        return cls(value, revision, confirmation_of(message), sys.intern(message.object.uid))


@dataclass(frozen=True, slots=True)
class Left:
    """A tombstone with the revision at which it was written."""

    value: Tombstone
    revision: int


class Parts:
    """The placement and the sync states of one object, and what earlier ones of its name have left."""

    __slots__ = ("left", "placed", "states")

    def __init__(self) -> None:
        self.placed: Placed | None = None
        self.states: dict[str, State] = {}
        self.left: Left | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing left."""
        return self.placed is None and not self.states and self.left is None

    def unconfirmed(self, uid: str = "") -> list[str]:
        """Return the clusters, sorted, that have not confirmed that nothing of the object is left there.

        With `uid` (the object's), what was confirmed of an earlier object of that name does not count.
        """
        named = self.placed.after if self.placed is not None and self._is_about(uid, self.placed.uid) else {}
        missing = [
            cluster
            for cluster, after in named.items()
            if (state := self.states.get(cluster)) is None
            or not is_confirmed(state.confirmation, uid=uid, after_revision=after)
        ]
        others = [
            name
            for name, state in self.states.items()
            if name not in named and state.confirmation is None and self._is_about(uid, state.uid, name)
        ]
        return sorted(missing + others)

    def word_in(self, cluster: str) -> StateWord | None:
        """Return what the sync state in a cluster says, as far as tombstones depend on it."""
        state = self.states.get(cluster)
        return StateWord(state.uid, state.confirmation is not None) if state is not None else None

    def _is_about(self, uid: str, other: str, cluster: str = "") -> bool:
        """Return whether what is known of the object `other` counts for the object `uid`.

        What is of an earlier one of that name is the tombstone's, in the clusters that it names.
        """
        if is_same_object(uid, other) or self.left is None:
            return True
        return bool(cluster) and cluster not in clusters_of(self.left.value)

    def placement(self, uid: str = "") -> Placement:
        """Return the placement, decoded; an empty one if there is none of the object `uid`."""
        if self.placed is None or not is_same_object(uid, self.placed.uid):
            return Placement()
        return Placement.FromString(self.placed.value)

    def members(
        self, uid: str, *, reachable: Callable[[str], bool], refuses: Callable[[str], bool]
    ) -> tuple[list[Member], Decision, str]:
        """Return the members sorted by cluster, the decision, and when it was made ("" if unknown).

        They are those of the object `uid`; nothing that is of an earlier one of that name shows.
        """
        placement = self.placement(uid)
        placed = {c.cluster: c for c in placement.clusters}
        leaving = {r.cluster for r in placement.releasing}
        states = {name: each for name, each in self.states.items() if is_same_object(uid, each.uid)}
        names: Iterable[str] = sorted(placed.keys() | leaving | states.keys())
        members: list[Member] = []
        seen: dict[str, JobRun] = {}
        for name in names:
            given = placed.get(name)
            state = states.get(name)
            found = SyncState.FromString(state.value) if state else SyncState()
            if state and not state.value:
                found.reason = UNREADABLE
                found.message = "its stored sync state cannot be read; see the log"
            if found.HasField("run") and is_same_object(placement.object.uid, found.object.uid):
                seen[name] = found.run
            status, why = status_of(found.status)
            members.append(
                Member(
                    cluster=name,
                    placed=given is not None,
                    releasing=name in leaving,
                    suspended=given.suspended if given else False,
                    reachable=reachable(name) and found.phase != sync.UNREACHABLE,
                    refused=refuses(name),
                    phase=_PHASES.get(found.phase, str(found.phase)),
                    reason=UNREADABLE if why else found.reason,
                    message=why or found.message,
                    health=_HEALTHS.get(found.health, ""),
                    status=status,
                    size=len(found.status) if status else 0,
                    applied_generation=found.applied_generation,
                    member_generation=found.member_generation,
                    placement_revision=found.placement_revision,
                    replicas=found.replicas if found.HasField("replicas") else None,
                    desired=given.replicas if given and given.HasField("replicas") else None,
                    partition=given.partition if given and given.HasField("partition") else None,
                    contested=is_contested(found),
                )
            )
        decision = Decision(
            generation=placement.generation,
            error=placement.error,
            revision=self.placed.since if self.placed and is_same_object(uid, self.placed.uid) else 0,
            unplaced=placement.unplaced_replicas,
            shortage=unplaced_sentence(placement),
            status_fields=tuple(placement.status_fields),
            runs=_runs(placement, seen),
            withheld=placement.withheld,
        )
        return members, decision, time_of(placement.update_time)


def _runs(placement: Placement, seen: Mapping[str, JobRun]) -> tuple[JobRun, ...]:
    """Return the runs of a Job: those of the placement, with what clusters have done since it was written."""
    memberships = dict.fromkeys((run.cluster for run in placement.runs), "") | dict.fromkeys(seen, "")
    return tuple(remembered(placement.runs, seen, memberships=memberships)) if memberships else ()


_PHASES = {number: words(name) if number else "" for name, number in sync.SyncPhase.items()}
"""One of a newer release is its number: the member has something, and others can tell how far that is."""
_HEALTHS = {number: words(name) for name, number in sync.Health.items() if number}


def status_of(value: bytes) -> tuple[Mapping[str, Any], str]:
    """Return the status that a sync state has of the member's object, and why it cannot be used, if so."""
    if not value:
        return {}, ""
    if why := untrusted.too_large(value):
        return {}, f"its status there is left out: {why}"
    try:
        status = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return {}, f"its status there is no JSON: {error}"
    if not isinstance(status, dict):
        return {}, "its status there is no JSON object"
    return status, ""
