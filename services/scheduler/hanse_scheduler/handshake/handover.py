"""Moving without a gap: how many replicas each cluster has next, on the way to what it shall have.

Owns `next_step`, the rule by which every move goes, whatever its cause: what is old stays until as many new
ones are ready, within a surge budget. For each cluster there are the replicas that it *has* by the placement
in force, and its *target*. Of those that it has,

- what exceeds the target is *old*, and is to go;
- the rest counts as it is, except in a cluster that the object moves to: there those beyond its `base` count
  only as far as they are known to be ready.

Old replicas stay as long as what counts is less than what is wanted; those that are ready stay longest, and
where it is not known how many are, all do. New ones are added as long as all together are not more than what
is wanted and the surge. So nobody is left with fewer ready replicas than before or than wanted because of a
move; the budget holds at each step; and each step goes on as soon as what the last one added is ready. Of a
failed step nothing goes on, and nothing is lost.

An object that is not divided counts by clusters: it has 1 or 0, and is ready or not.

Pure (ADR 39). Next: `hanse_scheduler.handshake.moves`, which knows why and since when an object moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterCount:
    """The replicas of one cluster during a move.

    `base` is how many it had when the object began to move there, None if it does not; `ready` how many of
    those that it has are known to be ready, None if that is not known; `stuck` how many are known not to be
    able to run there. `pinned` keeps what it has.
    """

    cluster: str
    has: int
    target: int
    base: int | None = None
    ready: int | None = None
    stuck: int = 0
    pinned: bool = False

    @property
    def stays(self) -> int:
        """How many of those that it has it shall have in the end, too."""
        return min(self.has, self.target)

    @property
    def old(self) -> int:
        """How many of those that it has are to go."""
        return self.has - self.stays

    @property
    def counts(self) -> int:
        """How many of those that stay count as replicas that somebody can rely on."""
        if self.base is None:
            return self.stays
        return max(min(self.base, self.stays), min(self.ready or 0, self.stays))

    @property
    def old_ready(self) -> int:
        """How many of the old ones are known to be ready."""
        return max(0, min(self.ready or 0, self.has) - self.stays)

    @property
    def old_running(self) -> int:
        """How many of the old ones may run; of a cluster that was moved to none that is known not to."""
        if self.base is not None and self.ready is not None:
            return self.old_ready
        return max(0, self.has - self.stuck - self.stays)


@dataclass(frozen=True, slots=True)
class HandoverStep:
    """What comes next: replicas by cluster, how many of them are old ones, and what is missing.

    `missing` are the replicas that are wanted and do not count yet, `over` says whether nothing is left to
    do. `held_back` are the replicas that the surge does not allow yet.
    """

    counts: dict[str, int]
    kept: dict[str, int]
    missing: int
    held_back: int

    @property
    def over(self) -> bool:
        """Whether every cluster has what it shall have."""
        return not any(self.kept.values()) and not self.held_back


def next_step(clusters: Sequence[ClusterCount], *, wanted: int, surge: int) -> HandoverStep:
    """Return what each cluster has next. `wanted` are the replicas in all; `surge` is at least 1."""
    missing = max(0, wanted - sum(each.counts for each in clusters))
    kept = {each.cluster: each.old if each.pinned else 0 for each in clusters}
    _keep(kept, clusters, at_most=missing - sum(kept.values()))
    counts = {each.cluster: each.stays + kept[each.cluster] for each in clusters}
    room = wanted + surge - sum(counts.values())
    held_back = 0
    for each in clusters:
        lacking = each.target - each.has
        if lacking <= 0:
            continue
        added = max(0, min(lacking, room))
        counts[each.cluster] += added
        room -= added
        held_back += lacking - added
    return HandoverStep(counts=counts, kept=kept, missing=missing, held_back=held_back)


def _keep(kept: dict[str, int], clusters: Sequence[ClusterCount], *, at_most: int) -> None:
    """Keep old replicas: those that are ready first, then all that may be, then others."""

    def keep(each: ClusterCount, more: int) -> int:
        added = max(0, min(more, each.old_running - kept[each.cluster]))
        kept[each.cluster] += added
        return added

    for each in clusters:
        at_most -= keep(each, min(each.old_ready, at_most)) if each.ready is not None else 0
    if at_most <= 0:
        return
    for each in clusters:
        if each.ready is None:  # which of these are ready, if any, nobody knows
            keep(each, each.has)
        else:
            at_most -= keep(each, at_most)
