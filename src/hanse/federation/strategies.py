"""The registry of the federation's API server: Kubernetes' kinds, and Hanse's with what is done with them.

Pure data. Next: `hanse.federation.kinds`, `hanse.federation.policies.validation`.
"""

from __future__ import annotations

from typing import Final

from hanse.federation import kinds
from hanse.federation.policies.validation import override_policy_errors, placement_policy_errors
from hanse.kube.kinds.registry import KindRegistry
from hanse.kube.kinds.strategies.kubernetes import kubernetes
from hanse.kube.kinds.strategy import Conversion, Strategy

STRATEGIES: Final = {
    kinds.CLUSTER_OVERRIDE_POLICY: Strategy(rules=override_policy_errors),
    kinds.CLUSTER_PLACEMENT_POLICY: Strategy(rules=placement_policy_errors),
    kinds.OVERRIDE_POLICY: Strategy(rules=override_policy_errors),
    kinds.PLACEMENT_POLICY: Strategy(rules=placement_policy_errors),
    kinds.FEDERATION_V1_CLUSTER: Strategy(
        conversions={"v1beta1": Conversion(kinds.to_federation_v1, kinds.from_federation_v1)}
    ),
}
"""The strategies of Hanse's kinds that have one."""


def federation_kinds() -> KindRegistry:
    """Return the kinds that the federation's API server serves: Kubernetes', Hanse's, Federation v1's."""
    return kubernetes() + KindRegistry(kinds.KINDS, STRATEGIES)
