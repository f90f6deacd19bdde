"""Which clusters a placement names: where an object is to be, and where it must leave.

Owns the reading of `Placement.clusters` and `Placement.releasing` by cluster. A placement names a cluster
if the object is placed there or is still to leave it: then something of the object may be there. Of a cluster
in both lists the release counts, as the later word. And what is said of replicas that have no cluster.

Pure functions. Next: `hanse.federation.confirmation`, for when a named cluster is done.
"""

from __future__ import annotations

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, Placement
from hanse.federation.jobs.job_work import words_of_indexes_left


def placement_in(placement: Placement, cluster: str) -> ClusterPlacement | None:
    """Return what the cluster is to get; None if the object is not placed there."""
    return next((entry for entry in placement.clusters if entry.cluster == cluster), None)


def is_placed_in(placement: Placement, cluster: str) -> bool:
    """Return whether the object is to be in the cluster, suspended or not."""
    return any(entry.cluster == cluster for entry in placement.clusters)


def is_releasing(placement: Placement, cluster: str) -> bool:
    """Return whether the object is to leave the cluster and that is not confirmed yet."""
    return any(entry.cluster == cluster for entry in placement.releasing)


def is_named(placement: Placement, cluster: str) -> bool:
    """Return whether the placement names the cluster."""
    return is_placed_in(placement, cluster) or is_releasing(placement, cluster)


def placed_clusters(placement: Placement) -> frozenset[str]:
    """Return the clusters that the object is to be in, suspended or not."""
    return frozenset(entry.cluster for entry in placement.clusters)


def suspended_clusters(placement: Placement) -> frozenset[str]:
    """Return the placed clusters that are left as they are, and whose replicas count elsewhere."""
    return frozenset(entry.cluster for entry in placement.clusters if entry.suspended)


def leaving_clusters(placement: Placement) -> frozenset[str]:
    """Return the placed clusters that the object moves away from, and that keep it meanwhile."""
    return frozenset(entry.cluster for entry in placement.clusters if entry.leaving)


def named_clusters(placement: Placement) -> frozenset[str]:
    """Return the clusters that the placement names: where something of the object may be."""
    return frozenset(
        (*(entry.cluster for entry in placement.clusters), *(entry.cluster for entry in placement.releasing))
    )


def after_revisions(placement: Placement) -> dict[str, int]:
    """Return, for each named cluster, the placement revision that a confirmation must be newer than."""
    return {entry.cluster: entry.after_revision for entry in placement.clusters} | {
        entry.cluster: entry.after_revision for entry in placement.releasing
    }


def unplaced_sentence(placement: Placement) -> str:
    """Return what is said of replicas that have no cluster, "" if each has one: `7 of 12 replicas ...`."""
    missing = placement.unplaced_replicas
    if not missing:
        return ""
    active = [entry for entry in placement.clusters if not entry.suspended]
    whole = any(entry.HasField("completions") for entry in (*active, *placement.runs))
    placed = sum(entry.completions if whole else entry.replicas for entry in active)
    noun = "completions" if whole else "replicas"
    of = missing + placed
    indexes = words_of_indexes_left(placement.runs)
    if indexes:
        of = max(run.completions for run in placement.runs)
    more = f": {indexes}" if indexes else ""
    return f"{missing} of {of} {noun} have no cluster that may or can run them{more}"
