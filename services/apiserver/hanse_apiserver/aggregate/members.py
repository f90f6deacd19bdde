"""What goes into an aggregated status: one `Member` per cluster, and the scheduler's `Decision`.

Frozen values and pure functions. A member is *counted* if the object is placed there and its replicas have
not been moved elsewhere; a counted member *reports* if its cluster can be reached and has said something.
What an unreachable cluster said last is kept: its pods still count as existing, but not as ready.

Next: `hanse_apiserver.aggregate.fold`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hanse.api.scheduler.v1.placement_pb2 import StatusField
from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.kube.model import untrusted
from hanse.kube.model.objects import Object, mapping

REMOVED = "Removed"
UNREACHABLE = "Unreachable"


@dataclass(frozen=True, slots=True)
class Decision:
    """What the scheduler decided. `generation` is that of the object it decided on, 0 for never.

    `revision` is the store revision at which the decision became what it is; 0 if that is not known.
    `unplaced` is how many replicas (or completions) no cluster is to run, `shortage` says so in a sentence.
    `status_fields` is what the policy says of fields of the status.
    `runs` are those of a Job as they are known by now, `withheld` what of it is not started again.
    """

    generation: int = 0
    error: str = ""
    revision: int = 0
    unplaced: int = 0
    shortage: str = ""
    status_fields: tuple[StatusField, ...] = ()
    runs: tuple[JobRun, ...] = ()
    withheld: int = 0


@dataclass(frozen=True, slots=True)
class Member:
    """The object in one cluster.

    One that is `refused` answers, and refuses the credential; it is not `reachable` here: nobody can look.
    `phase` is the sync phase in CamelCase, "" if the syncer has said nothing yet. `desired` is what the
    scheduler gave (for a Job its parallelism), `replicas` what the live object asks for, `partition` its
    part of a StatefulSet's partition. `status` is the live object's, `size` how many bytes it has.
    `placement_revision` is the placement that the syncer acted on.
    """

    cluster: str
    placed: bool = True
    releasing: bool = False
    suspended: bool = False
    reachable: bool = True
    refused: bool = False
    phase: str = ""
    reason: str = ""
    message: str = ""
    health: str = ""
    status: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0
    applied_generation: int = 0
    member_generation: int = 0
    placement_revision: int = 0
    replicas: int | None = None
    desired: int | None = None
    partition: int | None = None
    contested: bool = False
    """Whether the member undoes what is put right, again and again."""

    @property
    def counted(self) -> bool:
        """Whether the cluster is part of what the object is to be now."""
        return self.placed and not self.suspended

    @property
    def reports(self) -> bool:
        """Whether what is known of the member is current: it can be reached, and has the object."""
        return self.reachable and self.phase not in ("", UNREACHABLE, REMOVED)

    def wanted(self, obj: Object, path: str = "replicas") -> int:
        """Return how many pods the member is to run: its live object's number, else what it was given."""
        if self.replicas is not None:
            return self.replicas
        if self.desired is not None:
            return self.desired
        value = mapping(obj, "spec").get(path)
        return value if type(value) is int else 1

    def asked(self, obj: Object) -> int:
        """Return how many pods the member is to run by what was decided, whatever its live object says."""
        if self.desired is not None:
            return self.desired
        value = mapping(obj, "spec").get("replicas")
        return value if type(value) is int else 1

    def number(self, name: str) -> int:
        """Return a count of the member's status; 0 if it is absent or no count."""
        return untrusted.count(self.status.get(name))


def total(members: Iterable[Member], name: str) -> int:
    """Return the sum of a number over the members."""
    return sum(member.number(name) for member in members)


def time_of(member: Member, name: str) -> str:
    """Return a time of the member's status; "" if it is absent or no time."""
    return untrusted.time(member.status.get(name))


def ingress_of(member: Member) -> list[Object]:
    """Return the addresses of the member's load balancer."""
    return untrusted.addresses(member.status)
