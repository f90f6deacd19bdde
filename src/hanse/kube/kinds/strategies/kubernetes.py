"""The registry of Kubernetes' own kinds with their strategies: what a plain Kubernetes API server knows.

Pure data. Next: `hanse.kube.kinds.registry`.
"""

from __future__ import annotations

from typing import Final

from hanse.kube.kinds.builtin import KUBERNETES
from hanse.kube.kinds.registry import KindRegistry
from hanse.kube.kinds.strategies import (
    apps,
    autoscaling,
    batch,
    core,
    events,
    extensions,
    networking,
    pods,
    scheduling,
    security,
    services,
    storage,
)

STRATEGIES: Final = {
    **apps.STRATEGIES,
    **autoscaling.STRATEGIES,
    **batch.STRATEGIES,
    **core.STRATEGIES,
    **events.STRATEGIES,
    **extensions.STRATEGIES,
    **networking.STRATEGIES,
    **pods.STRATEGIES,
    **scheduling.STRATEGIES,
    **security.STRATEGIES,
    **services.STRATEGIES,
    **storage.STRATEGIES,
}
"""The strategies of the kinds that have one."""


def kubernetes() -> KindRegistry:
    """Return Kubernetes' own kinds with their strategies."""
    return KindRegistry(KUBERNETES, STRATEGIES)
