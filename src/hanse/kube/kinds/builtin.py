"""Kubernetes' own kinds, all of them, in the order of discovery.

What is left out, and why, is in tests/real/test_discovery.py. Pure data. Next: `hanse.kube.kinds.registry`,
which joins them with their strategies.
"""

from __future__ import annotations

from typing import Final

from hanse.kube.kinds.kubernetes import (
    apps,
    autoscaling,
    batch,
    core,
    extensions,
    networking,
    scheduling,
    security,
    storage,
)

_DISCOVERY: Final = (
    "", "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io",
    "autoscaling", "batch", "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io",
    "storage.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io",
    "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io", "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io", "storagemigration.k8s.io",
)  # fmt: skip
"""Kubernetes' groups in the order of discovery, which decides what a short name means to kubectl."""

KUBERNETES: Final = tuple(
    sorted(
        (
            *core.KINDS, *apps.KINDS, *autoscaling.KINDS, *batch.KINDS, *extensions.KINDS, *networking.KINDS,
            *scheduling.KINDS, *security.KINDS, *storage.KINDS,
        ),
        key=lambda kind: (_DISCOVERY.index(kind.group), kind.plural),
    )
)  # fmt: skip
"""Kubernetes' own kinds in discovery order."""
