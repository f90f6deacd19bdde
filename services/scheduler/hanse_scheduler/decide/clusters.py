"""What the scheduler knows of a cluster, as a value.

Owns `MemberCluster`: the parts of the registry's compiled view and API catalogue that a decision depends on,
and nothing that changes with a heartbeat. Two equal views lead to equal decisions, so an update that
leaves the view equal is ignored. Immutable.

Next: `hanse_scheduler.state.scheduler_state`, which keeps all views; `hanse_scheduler.decide.filtering`,
which judges them.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from hanse.api.registry.v1.cluster_pb2 import (
    NO_EXECUTE,
    READY,
    ApiCatalogue,
    Cluster,
    ClusterState,
)
from hanse.api.type.v1.condition_pb2 import TRUE
from hanse.federation.clusters import (
    is_leaving,
    is_reachable,
    is_ready,
    labels_of,
    leaves_objects,
    ready_condition,
    refuses_credential,
)
from hanse.kube.model.objects import Object, is_deleting, mapping, sequence
from hanse.kube.model.times import parse_time
from hanse.well_known import CLUSTER_LABEL, REGION_LABEL, is_own_taint
from hanse_scheduler.times import seconds_of


@dataclass(frozen=True, slots=True)
class ClusterTaint:
    """Keeps objects away. `added` is in seconds since the epoch, 0 if not known."""

    key: str
    value: str = ""
    execute: bool = False
    added: float = 0.0

    def __str__(self) -> str:
        value = f"={self.value}" if self.value else ""
        return f"{self.key}{value}:{'NoExecute' if self.execute else 'NoSchedule'}"


@dataclass(frozen=True, slots=True)
class MemberCluster:
    """One member cluster. `since` is when it stopped being reachable, in seconds since the epoch; 0 while it
    is.

    One that refuses the credential is not reachable for a scheduler, since nothing can be changed there, but
    it is up: its `since` never comes (inf), so that no toleration is ever over.
    """

    name: str
    state: ClusterState.ValueType = READY
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[ClusterTaint, ...] = ()
    unschedulable: bool = False
    region: str = ""
    zones: tuple[str, ...] = ()
    since: float = 0.0
    leaving: bool = False
    reachable: bool = True
    ready: bool = True
    uid: str = ""
    """metadata.uid of the Cluster object."""
    keeps_objects: bool = False

    def keeps_until(self, toleration: float) -> float:
        """Return until when what moves away is kept here, in seconds since the epoch; inf if for ever.

        A cluster that leaves and keeps its objects as they are needs no time for that.
        """
        if self.keeps_objects:
            return 0.0
        return math.inf if self.reachable else self.since + toleration


def view_of(message: Cluster) -> MemberCluster:
    """Return what matters of the registry's message."""
    refuses = refuses_credential(message)
    reachable = is_reachable(message) and not refuses
    since = math.inf if refuses else 0.0
    if not reachable and not refuses:
        ready = ready_condition(message)
        since = seconds_of(ready.last_transition_time) if ready and ready.status != TRUE else 0.0
    return MemberCluster(
        name=message.name.rpartition("/")[2],
        state=message.state,
        labels=labels_of(message),
        taints=tuple(
            ClusterTaint(
                key=taint.key,
                value=taint.value,
                execute=taint.effect == NO_EXECUTE,
                added=seconds_of(taint.time_added),
            )
            for taint in message.taints
            if not is_own_taint(taint.key)
        ),
        unschedulable=message.unschedulable,
        region=message.region,
        zones=tuple(sorted(message.zones)),
        since=since,
        leaving=is_leaving(message),
        reachable=reachable,
        ready=is_ready(message),
        uid=message.uid,
        keeps_objects=leaves_objects(message),
    )


def supposing(view: MemberCluster, cluster: Object) -> MemberCluster:
    """Return a cluster as it would be if its object of `hanse.dev` was stored as `cluster`.

    Taints that the object has no time for count from now on, which is time 0: not known.
    """
    spec = mapping(cluster, "spec")
    region = str(spec.get("region") or view.region)
    labels = {**mapping(cluster, "metadata", "labels")}
    labels.setdefault(CLUSTER_LABEL, view.name)
    if region:
        labels.setdefault(REGION_LABEL, region)
    return replace(
        view,
        labels=labels,
        taints=tuple(
            ClusterTaint(
                key=str(taint.get("key", "")),
                value=str(taint.get("value") or ""),
                execute=taint.get("effect") == "NoExecute",
                added=_epoch(taint.get("timeAdded")),
            )
            for taint in map(mapping, sequence(spec, "taints"))
            if not is_own_taint(str(taint.get("key", "")))
        ),
        unschedulable=bool(spec.get("unschedulable")),
        region=region,
    )


def as_stored(view: MemberCluster, cluster: Object) -> MemberCluster:
    """Return a cluster as its stored object says, which the registry may not have taken up yet; the very view
    if it has."""
    if is_deleting(cluster) or view.leaving:
        return view if view.leaving else replace(view, leaving=True)
    found = supposing(view, cluster)
    if [replace(each, added=0.0) for each in found.taints] == [
        replace(each, added=0.0) for each in view.taints
    ]:
        found = replace(found, taints=view.taints)  # since when, the view knows
    return view if found == view else found


def _epoch(stamp: object) -> float:
    moment = parse_time(stamp)
    return moment.timestamp() if moment is not None else 0.0


class Serving(enum.Enum):
    """Whether a cluster serves a resource, as far as is known."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    """Whatever serves its group there is away, and nothing was known of the resource before."""


@dataclass(frozen=True, slots=True)
class ServedKinds:
    """The (group, resource) pairs that a cluster serves, and the groups of which it cannot tell all now."""

    kinds: frozenset[tuple[str, str]]
    unknown_groups: frozenset[str] = frozenset()
    versions: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    """By (group, resource); of a resource that is not here the versions are not known."""

    def serving(self, group: str, resource: str, version: str = "") -> Serving:
        """Return whether it serves a resource, in that version if one is given."""
        if (group, resource) in self.kinds:
            told = self.versions.get((group, resource), ())
            if not version or not told or version in told:
                return Serving.YES
        return Serving.UNKNOWN if group in self.unknown_groups else Serving.NO

    def versions_of(self, group: str, resource: str) -> tuple[str, ...]:
        """Return the versions in which it serves a resource, sorted."""
        return tuple(sorted(self.versions.get((group, resource), ())))


def served_by(catalogue: ApiCatalogue) -> ServedKinds:
    """Return what a cluster serves."""
    versions: dict[tuple[str, str], set[str]] = {}
    for item in catalogue.resources:
        if item.version:
            versions.setdefault((item.group, item.resource), set()).add(item.version)
    return ServedKinds(
        frozenset((item.group, item.resource) for item in catalogue.resources),
        frozenset(item.group for item in catalogue.unknown),
        {identity: frozenset(found) for identity, found in versions.items()},
    )


@dataclass(frozen=True, slots=True)
class ClusterTable:
    """All clusters by name at one moment, and what they serve; `version` differs for different tables.

    A cluster that is not in `served` has told nothing yet, which is not the same as serving nothing.
    """

    clusters: Mapping[str, MemberCluster]
    served: Mapping[str, ServedKinds] = field(default_factory=dict)
    version: int = 0

    def serves(self, cluster: str, *, group: str, resource: str, version: str = "") -> Serving:
        """Return whether the cluster serves the resource, in that version if one is given; YES for one that
        has told nothing yet."""
        known = self.served.get(cluster)
        return Serving.YES if known is None else known.serving(group, resource, version)

    @classmethod
    def of(cls, views: Iterable[MemberCluster]) -> ClusterTable:
        """Return a table of views whose catalogues are unknown."""
        return cls(clusters={view.name: view for view in sorted(views, key=lambda item: item.name)})
