"""A move of one object: what it leaves, where it goes, since when, and what happens after its deadline.

Owns `plan_move`, which makes the next step out of the placement in force, and `MoveRules`, what a policy says
of moves. All that a move has to remember is in the placement itself, so that another scheduler goes on with
it: entries with `leaving`, `base_replicas` and `target_replicas`, and `Placement.move`. Another aim (the
object, the clusters or their overrides are others) is another move, which begins with what there is.

After the deadline the policy decides. Wait: old replicas stay, and somebody is told. Proceed: they go. Abort:
what is ready stays where it is, what is not ready goes, and so do the old replicas not, until the move has
another aim.

Pure; messages are never changed. Next: `hanse_scheduler.handshake.handover`, the rule of each step;
`hanse_scheduler.decide.decision`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, get_args

import orjson

from hanse.api.scheduler.v1.placement_pb2 import (
    ABORTED,
    LATE,
    MOVING,
    ClusterPlacement,
    Placement,
    PlacementMove,
)
from hanse.errors import InvalidArgumentError
from hanse_scheduler.handshake.handover import ClusterCount, HandoverStep, next_step
from hanse_scheduler.reasons import MOVE_ABORTED, Refusal
from hanse_scheduler.times import seconds_of, timestamp_of

OnDeadline: TypeAlias = Literal["Wait", "Proceed", "Abort"]
UNBOUNDED: Final = 2**31
"""Surge of an object that is not divided: each cluster has a whole one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRules:
    """What holds for moves of an object.

    `surge` is how many replicas there may be beyond those that are wanted, or (`in_percent`) how many of a
    hundred; `deadline` is in seconds.
    """

    surge: int = 100
    in_percent: bool = True
    deadline: float = 600.0
    on_deadline: OnDeadline = "Wait"

    def surge_of(self, wanted: int) -> int:
        """Return the budget for `wanted` replicas: at least 1, or no move would ever begin."""
        return max(1, -(-wanted * self.surge // 100) if self.in_percent else self.surge)


def move_rules(spec: Mapping[str, Any], *, where: str) -> MoveRules | None:
    """Return what a policy's `move` says, None if it says nothing.

    `where` begins the message of an InvalidArgumentError.
    """
    if not spec:
        return None
    rules = MoveRules()
    surge, percent = spec.get("maxSurge"), rules.in_percent
    if isinstance(surge, str):
        digits, percent = surge.removesuffix("%"), True
        if not (surge.endswith("%") and digits.isascii() and digits.isdecimal() and len(digits) <= 9):
            raise InvalidArgumentError(f"{where}.maxSurge is {surge[:20]!r}: write a number, or as in 25%")
        surge = int(digits)
    elif surge is not None:
        percent = False
    deadline, late = spec.get("deadlineSeconds"), spec.get("onDeadline") or rules.on_deadline
    for name, value in (("maxSurge", surge), ("deadlineSeconds", deadline)):
        if value is not None and (type(value) is not int or value < 0):
            raise InvalidArgumentError(f"{where}.{name} is {value!r}, not a whole number of 0 or more")
    if late not in get_args(OnDeadline):
        raise InvalidArgumentError(f"{where}.onDeadline is {late!r}: use {' or '.join(get_args(OnDeadline))}")
    return MoveRules(
        surge=rules.surge if surge is None else surge,
        in_percent=percent,
        deadline=rules.deadline if deadline is None else float(deadline),
        on_deadline=late,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A cluster that shall have the object: with so many replicas, None if it is not divided.

    `ready` is how many replicas are known to be ready there, for one that is not divided 0 or 1; None if that
    is not known; `stuck` how many cannot run there. One that is `unproven` was given replicas that ran where
    nobody could see them: they count as far as they are ready.
    """

    replicas: int | None
    ready: int | None = None
    stuck: int = 0
    overrides: bytes = b""
    unproven: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A cluster that has the object, shall not have it any more, and can keep it meanwhile.

    `pinned` says that something else needs the object there; `runs` how many replicas run there where the
    placement does not say.
    """

    ready: int | None = None
    stuck: int = 0
    pinned: bool = False
    runs: int = 0


@dataclass(slots=True)
class MoveStep:
    """The next step: replicas by cluster, of which `leaving` are origins that keep something.

    `bases` are the replicas from which clusters that the object moves to count on. `refused` are destinations
    that get nothing. `reconsider_at` is in seconds since the epoch.
    """

    counts: dict[str, int]
    leaving: frozenset[str] = frozenset()
    bases: dict[str, int] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    move: PlacementMove | None = None
    reconsider_at: float = math.inf
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRequest:
    """What a move depends on. `before` is the placement of this object in force, None if there is none.

    `least` are the replicas that are wanted even where the destinations do not get as many; `generation` is
    the object's. `retry` tries what was given up again.
    """

    before: Placement | None
    destinations: Mapping[str, Destination]
    origins: Mapping[str, Origin]
    divided: bool
    generation: int = 0
    least: int = 0
    retry: bool = False


def arrived(clusters: Iterable[str]) -> MoveStep:
    """Return the step of what is not divided and leaves no cluster: nothing is waited for, whatever was."""
    return MoveStep(counts=dict.fromkeys(clusters, 1))


def plan_move(request: MoveRequest, *, rules: MoveRules, now: float) -> MoveStep:
    """Return the next step at `now` (seconds since the epoch)."""
    entries = {item.cluster: item for item in request.before.clusters} if request.before is not None else {}
    clusters = [
        *(_destination(name, each, entries.get(name)) for name, each in request.destinations.items()),
        *(_origin(name, each, entries[name], request) for name, each in request.origins.items()),
    ]
    clusters.sort(key=lambda each: each.cluster)
    wanted = max(request.least, sum(each.target for each in clusters))
    step = next_step(clusters, wanted=wanted, surge=rules.surge_of(wanted) if request.divided else UNBOUNDED)
    if step.over:
        return _settled(step)
    aim = _aim(request, request.origins)
    known = request.before.move if request.before is not None and request.before.HasField("move") else None
    if known is not None and (known.aim != aim or (request.retry and known.phase == ABORTED)):
        known = None
    if known is not None and known.phase == ABORTED:
        return _stopped(clusters, request, known)
    started = seconds_of(known.start_time) if known is not None else now
    move = PlacementMove(phase=MOVING, start_time=timestamp_of(started))
    move.aim = _aim(request, [name for name in request.origins if step.kept[name]])
    if not _waits(step, clusters):
        move.message = f"{_keeping(step)} it until the workloads of its namespace have left"
        return _going_on(step, clusters, request, move=move, reconsider_at=math.inf)
    deadline = started + rules.deadline
    move.deadline_time.CopyFrom(timestamp_of(deadline))
    if now < deadline:
        move.message = _progress(step, clusters, divided=request.divided)
        return _going_on(step, clusters, request, move=move, reconsider_at=deadline)
    if rules.on_deadline == "Proceed":
        return _proceeding(clusters, request)
    if rules.on_deadline == "Abort":
        move.phase = ABORTED
        move.message = (
            f"given up after {rules.deadline:g} s: {_progress(step, clusters, divided=request.divided)}"
        )
        return _giving_up(step, clusters, request, move)
    move.phase = LATE
    move.message = f"late by its deadline: {_progress(step, clusters, divided=request.divided)}"
    return _going_on(step, clusters, request, move=move, reconsider_at=math.inf)


def _destination(name: str, each: Destination, entry: ClusterPlacement | None) -> ClusterCount:
    target = 1 if each.replicas is None else each.replicas
    has = 0
    if entry is not None:
        has = target if each.replicas is None or not entry.HasField("replicas") else entry.replicas
    base: int | None = None
    if entry is None or entry.suspended or each.unproven:  # nothing of it is known to be ready
        base = 0
    elif entry.HasField("base_replicas"):
        base = entry.base_replicas
    if target > has:
        base = has if base is None else min(base, has)
    known = each.ready if entry is not None and entry.overrides == each.overrides else None
    return ClusterCount(
        cluster=name,
        has=has,
        target=target,
        base=None if base is not None and base >= target else base,
        ready=known,
        stuck=each.stuck,
    )


def _origin(name: str, each: Origin, entry: ClusterPlacement, request: MoveRequest) -> ClusterCount:
    has = 1
    if request.divided:
        has = entry.replicas if entry.HasField("replicas") else each.runs
    return ClusterCount(
        cluster=name,
        has=has,
        target=0,
        base=entry.base_replicas if entry.HasField("base_replicas") else None,
        ready=each.ready,
        stuck=each.stuck,
        pinned=each.pinned,
    )


def _waits(step: HandoverStep, clusters: list[ClusterCount]) -> bool:
    """Return whether the move waits for replicas, and not only for what else needs the object."""
    pinned = {each.cluster for each in clusters if each.pinned}
    return bool(step.held_back) or any(kept for name, kept in step.kept.items() if name not in pinned)


def _settled(step: HandoverStep) -> MoveStep:
    return MoveStep(counts=step.counts)


def _going_on(
    step: HandoverStep,
    clusters: list[ClusterCount],
    request: MoveRequest,
    *,
    move: PlacementMove,
    reconsider_at: float,
) -> MoveStep:
    return MoveStep(
        counts=step.counts,
        leaving=frozenset(name for name in request.origins if step.kept[name]),
        bases={each.cluster: each.base for each in clusters if each.base is not None},
        move=move,
        reconsider_at=reconsider_at,
        note=move.message,
    )


def _proceeding(clusters: list[ClusterCount], request: MoveRequest) -> MoveStep:
    """Return the end of a move that does not wait any longer; what is pinned stays all the same."""
    pinned = {each.cluster: each.has for each in clusters if each.pinned and each.cluster in request.origins}
    return MoveStep(
        counts={each.cluster: each.target for each in clusters} | pinned,
        leaving=frozenset(pinned),
        note="the deadline has passed, and the policy says to proceed: what is old goes, ready or not",
    )


def _giving_up(
    step: HandoverStep, clusters: list[ClusterCount], request: MoveRequest, move: PlacementMove
) -> MoveStep:
    """Return what stays of a move that is given up: old replicas, and new ones that are ready."""
    counts = {each.cluster: each.counts + step.kept[each.cluster] for each in clusters}
    new = [each for each in clusters if each.cluster in request.destinations]
    return MoveStep(
        counts=counts,
        leaving=frozenset(name for name in request.origins if counts[name]),
        refused={
            each.cluster: (MOVE_ABORTED, move.message)
            for each in new
            if each.base == 0 and not counts[each.cluster]
        },
        move=move,
        note=move.message,
    )


def _stopped(clusters: list[ClusterCount], request: MoveRequest, move: PlacementMove) -> MoveStep:
    """Return what a move that was given up has left: everything stays as it is."""
    placed = {item.cluster for item in request.before.clusters} if request.before is not None else set()
    return MoveStep(
        counts={each.cluster: each.has for each in clusters},
        leaving=frozenset(request.origins),
        refused={name: (MOVE_ABORTED, move.message) for name in request.destinations if name not in placed},
        move=move,
        note=move.message,
    )


def _progress(step: HandoverStep, clusters: list[ClusterCount], *, divided: bool) -> str:
    """Say how far a move is."""
    new = [each for each in clusters if each.base is not None and each.target]
    where = ", ".join(each.cluster for each in new) or "a cluster that can take it"
    if not divided:
        ready = sum(each.counts for each in new)
        return f"ready in {ready} of {len(new)} new clusters ({where}); {_keeping(step)} it until then"
    wanted = sum(each.target - min(each.base or 0, each.target) for each in new)
    ready = sum(each.counts - min(each.base or 0, each.stays) for each in new)
    later = f", {step.held_back} more are added within the surge" if step.held_back else ""
    kept = sum(step.kept.values())
    return (
        f"{ready} of {wanted} new replicas are ready in {where}{later}; {_keeping(step)} {kept} old ones "
        "until as many are"
    )


def _keeping(step: HandoverStep) -> str:
    names = sorted(name for name, kept in step.kept.items() if kept)
    if not names:
        return "no cluster keeps"
    return f"{', '.join(names)} {'keeps' if len(names) == 1 else 'keep'}"


def _aim(request: MoveRequest, origins: Iterable[str]) -> str:
    """Return what the move is about, without what changes with every step; `origins` still have something."""
    overrides = [each.overrides.hex() for _, each in sorted(request.destinations.items())]
    about = [
        request.generation, request.divided, sorted(origins), sorted(request.destinations), overrides
    ]  # fmt: skip
    return hashlib.sha256(orjson.dumps(about)).hexdigest()[:16]
