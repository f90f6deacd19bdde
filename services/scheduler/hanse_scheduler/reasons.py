"""Why a cluster is chosen, refused or released: the reasons that more than one step of a decision knows.

Owns `Refusal` and those reasons. They are in placements, which people and programs read: they do not change.

Pure. Next: `hanse_scheduler.decide.filtering`, `hanse_scheduler.handshake.releases`.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from hanse.api.registry.v1.cluster_pb2 import (
    CREDENTIAL_REFUSED,
    IDENTITY_MISMATCH,
    MISBEHAVING,
    OFFLINE,
    PENDING,
)

Refusal: TypeAlias = tuple[str, str]
"""Reason and message."""

ALL_READY: Final = "AllReadyClusters"
BY_ANNOTATION: Final = "SelectedByAnnotation"
BY_POLICY: Final = "SelectedByPolicy"
BELONGS: Final = "BelongsToCluster"
"""Reason of the refusal of what belongs to each cluster itself."""
NO_REPLICAS: Final = "NoReplicas"
"""Reason of the refusal of a cluster that may have the object, and of which nothing is left for it."""
LEFT_OUT_BY_LIMIT: Final = "NotAmongMaxClusters"
"""Reason of the refusal of a cluster where the object may go to fewer clusters than could have it."""
MOVE_ABORTED: Final = "MoveAborted"
"""Reason of the refusal of a cluster that an object was moving to when the move was given up."""
UNJOINING: Final[Refusal] = ("ClusterUnjoining", "the cluster is leaving the federation")
"""For a cluster that has no business with any object any more."""
UNREACHABLE: Final = {
    OFFLINE: ("ClusterOffline", "the cluster does not answer", "it is back"),
    PENDING: ("ClusterPending", "the cluster has not answered yet", "it has answered"),
    IDENTITY_MISMATCH: (
        "ClusterIdentityMismatch",
        "another cluster answers at its address",
        "the cluster itself answers there",
    ),
    CREDENTIAL_REFUSED: (
        "ClusterCredentialRefused",
        "the cluster refuses the credential",
        "it accepts one: see `hanse update-credentials`",
    ),
    MISBEHAVING: (
        "ClusterMisbehaving",
        "the cluster answers what no cluster may answer",
        "it answers as it should",
    ),
}
"""Reason, what it says, and when it ends, of clusters that are out of reach."""
NOT_READY: Final = "ClusterNotReady"
TEMPORARY: Final = frozenset({reason for reason, _, _ in UNREACHABLE.values()} | {NOT_READY})
"""Reasons of refusals that end by themselves: they keep an object out, and take nothing away."""
