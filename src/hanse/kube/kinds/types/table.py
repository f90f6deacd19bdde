"""The checks of all types, by the names that their schemas have.

Pure. Next: `hanse.kube.validation.schema`, which finds them while it walks an object along its schema.
"""

from __future__ import annotations

from typing import Final

from hanse.kube.kinds.types import (
    affinity,
    autoscaling,
    batch,
    containers,
    metadata,
    networking,
    pods,
    policies,
    volumes,
)
from hanse.kube.kinds.types.checks import Check

_MODULES: Final = (affinity, autoscaling, batch, containers, metadata, networking, pods, policies, volumes)
_PREFIXES: Final = {"meta.": "io.k8s.apimachinery.pkg.apis.", "": "io.k8s.api."}


def _full(name: str) -> str:
    return next(prefix + name for start, prefix in _PREFIXES.items() if name.startswith(start))


TYPE_CHECKS: Final[dict[str, Check]] = {
    _full(name): check for module in _MODULES for name, check in module.TYPES.items()
}
"""What values of a type must be; types that are not here are looked at by their kinds' rules only."""

LEAVES: Final = frozenset(
    map(
        _full,
        (
            "autoscaling.v2.MetricIdentifier",
            "core.v1.NodeConfigSource",
            "core.v1.PersistentVolumeClaimStatus",
            "meta.v1.ObjectMeta",
        ),
    )
)
"""Types inside of which nothing else is checked."""
