"""What a change of a policy, a cluster or an object takes away from what runs, and when that is too much.

Owns `Impact`, `ImpactLimits` and the annotation `hanse.dev/confirm-impact`, by which whoever makes the
change says that it is meant. Its value names the numbers, such as `removed=30,moved=4`: no more than that
may be lost. What follows a space is a comment. It counts for the one write that sets or changes it, so that
what was confirmed once confirms nothing that somebody does later.

Pure functions. Next: `hanse_scheduler.placing.impact`, which counts; `hanse_apiserver.impact_admission`,
which refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from hanse.kube.kinds.kubernetes import apps, batch

RUNS: Final = frozenset(
    kind.group_plural
    for kind in (apps.DEPLOYMENT, apps.REPLICA_SET, apps.STATEFUL_SET, apps.DAEMON_SET, batch.JOB)
)
"""Resources whose objects have replicas that a change can take away."""

UNKNOWN: Final = "unknown"
"""Value of the annotation for a change of which nobody can say what it takes away."""

ALL: Final = "removed=999999999999,moved=999999999999"
"""Value of the annotation for who takes everything away, and has said so."""

_CONFIRMED: Final = re.compile(r"removed=(\d{1,12}),moved=(\d{1,12})(?:\s.*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ObjectImpact:
    """What one workload loses, in replicas: those that will run nowhere, and those that will run in another
    cluster. `replicas` is how many there are, `emptied` whether none of them stays anywhere."""

    path: str
    replicas: int
    removed: int
    moved: int

    @property
    def lost(self) -> int:
        """How many replicas do not run on where they do."""
        return self.removed + self.moved

    @property
    def emptied(self) -> bool:
        """Whether the last replica goes."""
        return self.removed >= self.replicas > 0

    @classmethod
    def between(cls, path: str, before: Mapping[str, int], after: Mapping[str, int]) -> ObjectImpact:
        """Return what is lost between two divisions of a workload, replicas by cluster."""
        lost = sum(max(0, count - after.get(cluster, 0)) for cluster, count in before.items())
        removed = max(0, sum(before.values()) - sum(after.values()))
        return cls(path, replicas=sum(before.values()), removed=removed, moved=lost - removed)


@dataclass(frozen=True, slots=True)
class Impact:
    """What all workloads together lose. `objects` counts those that lose anything, `replicas` are theirs;
    `emptied` are the paths of those that lose the last one."""

    objects: int = 0
    replicas: int = 0
    removed: int = 0
    moved: int = 0
    emptied: tuple[str, ...] = ()

    @classmethod
    def of(cls, losses: Iterable[ObjectImpact]) -> Impact:
        """Return the sum."""
        found = [each for each in losses if each.lost]
        return cls(
            objects=len(found),
            replicas=sum(each.replicas for each in found),
            removed=sum(each.removed for each in found),
            moved=sum(each.moved for each in found),
            emptied=tuple(sorted(each.path for each in found if each.emptied)),
        )

    @property
    def confirmation(self) -> str:
        """The value of the annotation that confirms it."""
        return f"removed={self.removed},moved={self.moved}"

    def __str__(self) -> str:
        """Return for example `removes 30 and moves 4 of the 40 replicas of 6 objects`."""
        parts = [f"removes {self.removed}"] if self.removed else []
        parts += [f"moves {self.moved}"] if self.moved else []
        lost = " and ".join(parts) or "removes none"
        noun = "object" if self.objects == 1 else "objects"
        return f"{lost} of the {self.replicas} replicas of {self.objects} {noun}"


@dataclass(frozen=True, slots=True)
class ImpactLimits:
    """What needs no confirmation: up to `percent` of the replicas of any number of objects, or any share of
    up to `objects` of them, as long as none loses its last replica (with `last_replica`).
    """

    objects: int = 5
    percent: int = 30
    last_replica: bool = True

    def exceeded(self, impact: Impact) -> bool:
        """Return whether the change needs a confirmation."""
        if self.last_replica and impact.emptied:
            return True
        lost = impact.removed + impact.moved
        return impact.objects > self.objects and lost * 100 > self.percent * impact.replicas


def confirms(value: str, impact: Impact) -> bool:
    """Return whether the value of the annotation allows as much as that."""
    match = _CONFIRMED.fullmatch(value.strip())
    return match is not None and int(match[1]) >= impact.removed and int(match[2]) >= impact.moved


def confirms_unknown(value: str) -> bool:
    """Return whether the value of the annotation allows what nobody can count."""
    return value.strip().partition(" ")[0] == UNKNOWN
