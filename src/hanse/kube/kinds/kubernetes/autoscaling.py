"""Groups autoscaling and policy: what changes how many Pods there are, and bounds it.

Pure data. Next: `hanse.kube.kinds.builtin`.
"""

from __future__ import annotations

from typing import Final

from hanse.kube.kinds.kind import Kind

HORIZONTAL_POD_AUTOSCALER: Final = Kind(
    "autoscaling",
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
    versions=("v2", "v1"),
    short_names=("hpa",),
    categories=("all",),
    subresources=("status",),
)
POD_DISRUPTION_BUDGET: Final = Kind(
    "policy", "PodDisruptionBudget", "poddisruptionbudgets", short_names=("pdb",), subresources=("status",)
)

KINDS: Final = (HORIZONTAL_POD_AUTOSCALER, POD_DISRUPTION_BUDGET)
