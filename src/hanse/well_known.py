"""Well-known names: the API groups, labels, annotations, finalizers and field managers of Hanse.

Owns each name that more than one module writes or reads, so that it stands once. Names that Federation v1
gave are kept as they were. What follows from a name is told by who owns the rule:
`hanse.federation.propagation` for groups, `hanse.federation.tracing` for the trace.

Constants and predicates about names only; imports nothing of Hanse. Next: `hanse.federation.propagation`.
"""

from __future__ import annotations

from typing import Final

GROUP: Final = "hanse.dev"
"""API group of Hanse's own kinds."""
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
FEDERATION_V1_GROUP: Final = "federation"
"""API group in which Federation v1's Cluster is served."""
OWN_GROUPS: Final = frozenset({GROUP, FEDERATION_V1_GROUP})
"""Groups of what configures the federation itself: none of it is ever placed in a cluster."""

SYNC_FINALIZER: Final = "hanse.dev/sync"
"""Keeps a federated object until every member has confirmed that its copy is gone."""
UNJOIN_FINALIZER: Final = "hanse.dev/unjoin"
"""Keeps a Cluster until the registry has unjoined it."""

TRACEPARENT: Final = "hanse.dev/traceparent"
"""Annotation of stored objects with the W3C traceparent of the change; never served."""
DEFAULTED: Final = "hanse.dev/defaulted"
"""Annotation of stored custom resources with the fields that their schema filled in; never served."""
FORCE_UNJOIN: Final = "hanse.dev/force-unjoin"
"""Annotation of a Cluster whose unjoin must not wait for the cluster."""
UNREADABLE: Final = "hanse.dev/unreadable"
"""Annotation of what is served in place of an object that cannot be read: the reason."""
KEPT: Final = "hanse.dev/kept"
"""Annotation that is put on a member's object and taken off again, so that its resourceVersion changes."""
CLUSTER_SELECTOR: Final = "federation.alpha.kubernetes.io/cluster-selector"
"""Annotation that says in which clusters an object is placed."""
DEPLOYMENT_PREFERENCES: Final = "federation.kubernetes.io/deployment-preferences"
REPLICA_SET_PREFERENCES: Final = "federation.kubernetes.io/replica-set-preferences"
JOB_PREFERENCES: Final = "federation.kubernetes.io/job-preferences"
"""Annotations that say how replicas, or a Job's completions, are divided among clusters."""

_INSTRUCTIONS: Final = ("hanse.dev/", "federation.kubernetes.io/", "federation.alpha.kubernetes.io/")

REGION_LABEL: Final = "topology.kubernetes.io/region"
ZONE_LABEL: Final = "topology.kubernetes.io/zone"
"""Labels of Kubernetes that say where a node is; a cluster of a known region is given the first."""
CLUSTER_LABEL: Final = "hanse.dev/cluster"
"""Label that every cluster is given with its own name, and the sync states of a cluster are shown with."""
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "hanse"
FEDERATION_LABEL: Final = "hanse.dev/federation"
"""Label of a member's object with the federation's id, so that two federations can share a member."""

AT_MOST_ONE: Final = f"{GROUP}/at-most-one"
"""Label of an object that must not run in two clusters at the same time; see `hanse.federation.exclusive`."""
CONFIRM_IMPACT: Final = f"{GROUP}/confirm-impact"
"""Annotation of a policy, a Cluster or a workload: what a change of it may take away from what runs; see
`hanse.federation.policies.impact`."""

MEMBER_ADMISSION: Final = f"{GROUP}/member-admission"
"""Annotation of a Namespace: whether members are asked about its objects before they are stored; see
`hanse.federation.policies.member_admission`."""

FIELD_MANAGER: Final = "hanse"
"""Field manager of every server-side apply to a member."""
CLI_FIELD_MANAGER: Final = "hanse-cli"
"""Field manager of what a person changes by the command line."""


def is_instruction(annotation: str) -> bool:
    """Return whether an annotation is for the federation itself: members have no use for it."""
    return annotation.startswith(_INSTRUCTIONS)


def is_own_taint(key: str) -> bool:
    """Return whether Hanse itself sets taints of this key; they say again what a cluster's state says."""
    return key.startswith(f"{GROUP}/")
