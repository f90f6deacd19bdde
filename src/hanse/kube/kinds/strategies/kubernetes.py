"""The registry of Kubernetes' own kinds with their strategies: what a plain Kubernetes API server knows.

Pure data. Next: `hanse.kube.kinds.registry`.
"""

from __future__ import annotations

from typing import Final

from hanse.kube.kinds.registry import KUBERNETES, KindRegistry
from hanse.kube.kinds.strategies import autoscaling, events

STRATEGIES: Final = {**autoscaling.STRATEGIES, **events.STRATEGIES}
"""The strategies of the kinds that have one."""


def kubernetes() -> KindRegistry:
    """Return Kubernetes' own kinds with their strategies."""
    return KindRegistry(KUBERNETES, STRATEGIES)
