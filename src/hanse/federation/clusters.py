"""How a member cluster stands to the federation: ready, reachable, observed, leaving.

Owns what services may conclude from the registry's `Cluster`, besides its fields. The questions are
different ones:

- *ready*: it is a member in full and answers its probes, so new objects may be placed there. One in a state
  of a newer release is not: nothing is begun by what is not understood.
- *reachable*: it answers, so it is up: its addresses are given out, and its replicas stay. Of a cluster that
  leaves, and of one in a state of a newer release, the state does not tell, but the condition Ready does. A
  cluster that has not answered yet (PENDING) is not reachable.
- *refuses the credential*: it answers, with 401 or 403. Refused is not unreachable: nothing is moved because
  of it, and nothing is given back to it either that was moved before, since nothing can be written there.
- *observed*: it is reachable and lets us read, so what is known of it is current: its pods count as ready.
- *leaving*: its unjoin was asked for, so it is to be emptied, by deletion or by taking the marks off.

That a cluster is not reachable says that nobody knows how it is, never that it is empty.

Pure functions. Next: `hanse.federation.placements`, for what is placed there.
"""

from __future__ import annotations

from typing import Final

from hanse.api.registry.v1 import cluster_pb2 as registry
from hanse.api.registry.v1.cluster_pb2 import Cluster
from hanse.api.type.v1 import condition_pb2 as condition
from hanse.well_known import CLUSTER_LABEL, REGION_LABEL

_CONCLUSIVE: Final = frozenset(registry.ClusterState.values()) - {registry.UNJOINING}
"""States that tell whether the cluster answers."""
CREDENTIAL_REFUSED: Final = "CredentialRefused"
"""Reason of the condition Ready of a cluster that refuses the credential."""


def labels_of(cluster: Cluster) -> dict[str, str]:
    """Return the labels that selectors of clusters are compared with: its own, its name and its region."""
    labels = dict(cluster.labels)
    labels.setdefault(CLUSTER_LABEL, cluster.name.rpartition("/")[2])
    if cluster.region:
        labels.setdefault(REGION_LABEL, cluster.region)
    return labels


def ready_condition(cluster: Cluster) -> condition.Condition | None:
    """Return what the registry says of the cluster's last probes; None if it says nothing."""
    return next((each for each in cluster.conditions if each.type == "Ready"), None)


def is_ready(cluster: Cluster) -> bool:
    """Return whether new objects may be placed in the cluster."""
    return cluster.state == registry.READY


def is_reachable(cluster: Cluster) -> bool:
    """Return whether the cluster answers, so that it is up."""
    return is_observed(cluster) or refuses_credential(cluster)


def is_observed(cluster: Cluster) -> bool:
    """Return whether the cluster answers what it is asked, so that what is known of it is current."""
    if cluster.state in _CONCLUSIVE:
        return is_ready(cluster)
    ready = ready_condition(cluster)
    return ready is not None and ready.status == condition.TRUE


def refuses_credential(cluster: Cluster) -> bool:
    """Return whether the cluster answers, but refuses the credential of the federation."""
    if cluster.state in _CONCLUSIVE:
        return cluster.state == registry.CREDENTIAL_REFUSED
    ready = ready_condition(cluster)
    return ready is not None and ready.status == condition.FALSE and ready.reason == CREDENTIAL_REFUSED


def is_leaving(cluster: Cluster) -> bool:
    """Return whether the cluster is on its way out of the federation."""
    return cluster.state == registry.UNJOINING or cluster.HasField("delete_time")


def leaves_objects(cluster: Cluster) -> bool:
    """Return whether the cluster leaves and keeps its objects, without the federation's marks."""
    return is_leaving(cluster) and cluster.orphan_objects
