"""The registry of the federation's API server: Kubernetes' kinds, and Hanse's with what is done with them.

Pure. Next: `hanse.federation.kinds`, `hanse.federation.policies.validation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from hanse.federation import kinds
from hanse.federation.policies.validation import override_policy_errors, placement_policy_errors
from hanse.kube.kinds.kubernetes import apps, core
from hanse.kube.kinds.registry import KindRegistry
from hanse.kube.kinds.strategies.kubernetes import kubernetes
from hanse.kube.kinds.strategy import Cell, Conversion, Strategy, TableLayout
from hanse.kube.model.objects import Object, mapping

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

WORKLOADS: Final = (apps.DEPLOYMENT, apps.REPLICA_SET, apps.STATEFUL_SET, core.REPLICATION_CONTROLLER)
"""Kinds whose table compares the Pods that there are with those that are wanted."""


def federation_kinds() -> KindRegistry:
    """Return the kinds that the federation's API server serves: Kubernetes', Hanse's, Federation v1's."""
    registry = kubernetes()
    counting = {kind: _counting_all(registry.strategy(kind)) for kind in WORKLOADS}
    return registry + KindRegistry(kinds.KINDS, {**STRATEGIES, **counting})


def _counting_all(strategy: Strategy) -> Strategy:
    """Return the strategy with a table in which the replicas of all clusters are what is wanted.

    Where each cluster runs the whole number, three clusters with 3 replicas are 9/9 and not 9/3.
    """
    layout = strategy.table
    if layout is None:
        return strategy

    def render(obj: Object, now: datetime) -> Sequence[Cell]:
        desired = mapping(obj, "status").get("desiredReplicas")
        if type(desired) is int:
            obj = {**obj, "spec": {**mapping(obj, "spec"), "replicas": desired}}
        return layout.render(obj, now)

    return replace(strategy, table=TableLayout(layout.columns, render))
