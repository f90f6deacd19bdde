"""Pods of a workload that the member's scheduler cannot place: they bound the cluster's capacity.

Owns the question and the counting. Next: `hanse_syncer.act.reconciler`, which asks while a workload lags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from hanse.kube.client.client import ResourcePath
from hanse.kube.model.untrusted import mapping, mappings
from hanse_syncer.member.member import Member

PAGE: Final = 100
"""Pods of one request: one has some 8 KiB."""
MAX_PAGES: Final = 10
"""What is beyond bounds the cluster's capacity no more."""


def unschedulable(pods: Iterable[Mapping[str, Any]]) -> int:
    """Count the pods that the scheduler has found no node for."""
    count = 0
    for pod in pods:
        if mapping(pod.get("metadata")).get("deletionTimestamp"):
            continue
        count += any(
            condition.get("type") == "PodScheduled"
            and condition.get("status") == "False"
            and condition.get("reason") == "Unschedulable"
            for condition in mappings(mapping(pod.get("status")).get("conditions"))
        )
    return count


def pod_selector(workload: Mapping[str, Any]) -> str:
    """Return the label selector of a workload's pods; empty if it cannot be written as one."""
    spec = workload.get("spec") or {}
    if workload.get("kind") == "Job" and not spec.get("manualSelector"):
        return f"batch.kubernetes.io/job-name={workload['metadata']['name']}"
    selector = spec.get("selector") or {}
    labels = selector.get("matchLabels") if "matchLabels" in selector else None
    if workload.get("kind") == "ReplicationController":
        labels = selector
    parts = [f"{key}={value}" for key, value in sorted((labels or {}).items())]
    for requirement in selector.get("matchExpressions") or ():
        key, operator = requirement["key"], requirement["operator"]
        values = ",".join(requirement.get("values") or ())
        forms = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": str(key),
            "DoesNotExist": f"!{key}",
        }
        parts.append(forms[operator])
    return ",".join(parts)


async def count_unschedulable(member: Member, namespace: str, selector: str) -> int | None:
    """Ask the member; None if it did not say. Raises LinkDownError."""
    asked = {"labelSelector": selector, "fieldSelector": "status.phase=Pending", "limit": str(PAGE)}
    count = 0
    for _ in range(MAX_PAGES):
        answer = await member.page(ResourcePath("v1", "pods", "Pod"), namespace, asked, partial=False)
        if not answer.ok:
            return None
        count += unschedulable(answer.document["items"])
        token = answer.document["metadata"].get("continue")
        if not token:
            return count
        asked["continue"] = token
    return count
