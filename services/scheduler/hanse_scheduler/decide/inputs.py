"""What goes into a decision: the values between what is stored and the pure function.

All are immutable, and hold no more than a decision depends on.

Next: `hanse_scheduler.decide.decision`, which decides; `hanse_scheduler.state.scheduler_state`, which makes
the inputs.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.federation.confirmation import Confirmation
from hanse.federation.references import is_same_object
from hanse.kube.model.objects import Object
from hanse.store.keys import ObjectKey
from hanse_scheduler.decide.clusters import ClusterTable
from hanse_scheduler.decide.policies import OverridePolicy, PlacementPolicy
from hanse_scheduler.handshake.moves import MoveRules
from hanse_scheduler.handshake.previous import PreviousPlacement

MAX_NAMED: Final = 8
"""Policies that a placement names besides the one that decides."""


ONLY_BY_POLICY: Final = "it goes to no cluster unless a placement policy selects it"
"""What is said of an object that no policy selects, and that goes nowhere by itself."""


@dataclass(frozen=True, slots=True)
class AppliedReadiness:
    """How ready an object is in a cluster where it has been applied, and which object in which state that is.

    `replicas` are the ready ones, None if they are not counted; `healthy` says whether the whole object is.
    """

    uid: str
    generation: int
    placement_revision: int
    replicas: int | None
    healthy: bool

    def is_of(self, *, uid: str, generation: int, after_revision: int) -> bool:
        """Return whether it is about this object in this generation, by a placement after `after_revision`.

        Anything else is not known to be ready: the object has been written again since, or is about to be.
        """
        return (
            is_same_object(uid, self.uid)
            and self.generation >= generation
            and self.placement_revision > after_revision
        )


@dataclass(frozen=True, slots=True)
class Observed:
    """What the scheduler needs of a sync state. `confirmation` is of one that says that nothing is left.

    `readiness` is None unless what the federation wants was applied. `refusal` says why the cluster does not
    take it, "" if it does, and `refused_since` since when, in seconds since the epoch.
    """

    confirmation: Confirmation | None = None
    replicas: int | None = None
    unschedulable: int = 0
    readiness: AppliedReadiness | None = None
    refusal: str = ""
    refused_since: float = 0.0
    refused_pods: int = 0
    """Pods that its API server refuses to create."""
    refused_pods_since: float = 0.0
    """Since when, in seconds since the epoch."""
    run: JobRun | None = None
    """For a Job: its run there, as the syncer knows it."""
    uid: str = ""
    """metadata.uid of the federated object that the sync state is about, if it has a run."""

    @property
    def removed(self) -> bool:
        """Whether nothing of the object was left when the syncer looked last."""
        return self.confirmation is not None


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings of decisions. `toleration` is in seconds."""

    everywhere: bool = True
    toleration: float = 60.0
    moves: MoveRules = field(default_factory=MoveRules)


@dataclass(frozen=True, slots=True)
class DecisionInput:
    """All that a decision about one object depends on.

    `previous` is the placement in force. `contents` are, for a Namespace, the clusters that something in it
    is in, and for endpoints that somebody wrote (`follows`) those of their Service; `needed_in` those where a
    workload of the object's namespace is kept until it has moved. `belongs` says why it belongs to each
    cluster itself ("" if it does not); `stays` why it goes nowhere by itself, if that is not because of its
    kind; `doubt` what is not known of the owner that it is made for, and then it stays where it is.
    `rebalance` divides as if the preferences said so and lets evicted
    clusters in; `evict` names a cluster to leave now. `fault` says why nothing can be decided, "" if it can.
    `shadowed` and `changing` are titles of policies that select the object, too:
    those that `policy` takes precedence over, and all override policies.
    """

    key: ObjectKey
    obj: Object
    table: ClusterTable
    propagates: bool = True
    belongs: str = ""
    stays: str = ""
    doubt: str = ""
    policy: PlacementPolicy | None = None
    overrides: Sequence[OverridePolicy] = ()
    shadowed: Sequence[str] = ()
    changing: Sequence[str] = ()
    previous: PreviousPlacement = field(default_factory=PreviousPlacement)
    observed: Mapping[str, Observed] = field(default_factory=dict)
    contents: frozenset[str] = frozenset()
    follows: bool = False
    needed_in: Container[str] = ()
    rebalance: bool = False
    evict: str = ""
    fault: str = ""
