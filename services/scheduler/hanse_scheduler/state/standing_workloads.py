"""Which clusters workloads still stand in, by namespace, and what has to wait there until they have left.

Owns `StandingWorkloads`. A workload that moves without a gap runs on where it was, and needs there what it
needed before: its ConfigMaps, Secrets, Services. So these leave a cluster after it. It stands in a cluster
that it is leaving, and, as long as nobody has decided on it since something changed, in all that it is placed
in: what it will need is not known then. What has no namespace waits for the workloads of all.

Concurrency: one event loop. Next: `hanse_scheduler.state.scheduler_state`, `hanse_scheduler.handshake.moves`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.federation.placements import leaving_clusters, placed_clusters
from hanse.kube.kinds.kubernetes import apps, batch, core
from hanse.paths import namespace_of, resource_of
from hanse_scheduler.state.object_index import discard

_CARRIERS: Final = frozenset(
    kind.group_plural
    for kind in (
        apps.DAEMON_SET, apps.DEPLOYMENT, apps.REPLICA_SET, apps.STATEFUL_SET, batch.CRON_JOB, batch.JOB,
        core.POD, core.REPLICATION_CONTROLLER,
    )
)  # fmt: skip
"""Kinds whose Pods need other objects of their namespace."""
_NONE: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class StandingIn:
    """The clusters that workloads of one namespace stand in; "" is all namespaces."""

    workloads: StandingWorkloads
    namespace: str

    def __contains__(self, cluster: object) -> bool:
        return (self.namespace, cluster) in self.workloads.counts


class StandingWorkloads:
    """Where workloads stand, and what waits for them."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._standing: dict[str, frozenset[str]] = {}
        self._undecided: set[str] = set()
        self._waiting: dict[tuple[str, str], set[str]] = {}
        self._waits_in: dict[str, frozenset[str]] = {}

    def needed_by(self, path: str) -> StandingIn | None:
        """Return where workloads may need the object; None for a workload, which waits for no other."""
        return None if resource_of(path) in _CARRIERS else StandingIn(self, namespace_of(path))

    def undecided(self, path: str, placement: Placement | None) -> None:
        """Take note that the object may have to move."""
        if placement is not None and resource_of(path) in _CARRIERS:
            self._undecided.add(path)
            self._stand(path, placed_clusters(placement))

    def deciding(self, path: str) -> None:
        """Take note that it is being decided on: what changes from now on makes it undecided again."""
        self._undecided.discard(path)

    def decided(self, path: str, placement: Placement | None) -> Iterator[str]:
        """Take note that it was decided on; yield the paths of what has waited for it."""
        if path in self._standing and path not in self._undecided:
            yield from self.update(path, placement)

    def forget_undecided(self) -> None:
        """Take note that another scheduler decides now."""
        for path in list(self._undecided):
            self._stand(path, _NONE)
        self._undecided.clear()

    def update(self, path: str, placement: Placement | None) -> Iterator[str]:
        """Take in an object's placement, None if there is none; yield the paths of what has waited for it."""
        leaving = leaving_clusters(placement) if placement is not None else _NONE
        if resource_of(path) not in _CARRIERS:
            self._wait(path, leaving)
            return
        if path in self._undecided and placement is not None:
            leaving = placed_clusters(placement)
        for key in self._stand(path, leaving):
            yield from list(self._waiting.get(key, ()))

    def _stand(self, path: str, clusters: frozenset[str]) -> list[tuple[str, str]]:
        """Let a workload stand in clusters; return the (namespace, cluster) in which none does any more."""
        before = self._standing.get(path, _NONE)
        if clusters:
            self._standing[path] = clusters
        else:
            self._standing.pop(path, None)
        namespaces = {namespace_of(path), ""}
        for cluster in clusters - before:
            self.counts.update((namespace, cluster) for namespace in namespaces)
        left: list[tuple[str, str]] = []
        for cluster in before - clusters:
            for key in ((namespace, cluster) for namespace in namespaces):
                self.counts[key] -= 1
                if self.counts[key] <= 0:
                    del self.counts[key]
                    left.append(key)
        return left

    def _wait(self, path: str, clusters: frozenset[str]) -> None:
        before, namespace = self._waits_in.get(path, _NONE), namespace_of(path)
        if clusters:
            self._waits_in[path] = clusters
        else:
            self._waits_in.pop(path, None)
        for cluster in before - clusters:
            discard(self._waiting, (namespace, cluster), path)
        for cluster in clusters - before:
            self._waiting.setdefault((namespace, cluster), set()).add(path)
