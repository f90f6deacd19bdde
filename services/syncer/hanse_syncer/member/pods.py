"""Pods of a workload that the member's scheduler cannot place: they bound the cluster's capacity.

Owns the question and the counting. Next: `hanse_syncer.act.reconciler`, which asks while a workload lags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import Any, Final

from hanse.kube.client import requests
from hanse.kube.client.answer import Answer
from hanse.kube.client.requests import ApiRequest, GroupVersionResource
from hanse.kube.kinds.kubernetes import batch, core
from hanse.kube.model.objects import is_deleting
from hanse.kube.model.untrusted import mapping, mappings
from hanse_syncer.member.client import MemberClient

PODS: Final = GroupVersionResource.of_kind(core.POD)
PAGE: Final = 100
"""Pods of one request: one has some 8 KiB."""
MAX_PAGES: Final = 10
"""What is beyond bounds the cluster's capacity no more."""


def unschedulable(pods: Iterable[Mapping[str, Any]]) -> int:
    """Return the number of pods that the scheduler has found no node for."""
    count = 0
    for pod in pods:
        if is_deleting(pod):
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
    if batch.JOB.matches(workload) and not spec.get("manualSelector"):
        return f"batch.kubernetes.io/job-name={workload['metadata']['name']}"
    selector = spec.get("selector") or {}
    labels = selector.get("matchLabels") if "matchLabels" in selector else None
    if core.REPLICATION_CONTROLLER.matches(workload):
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


class _RefusedError(Exception):
    """The member does not list pods."""


async def count_unschedulable(member: MemberClient, namespace: str, selector: str) -> int | None:
    """Return how many pods the member has that no node has room for; None if it did not say. Raises
    LinkDownError."""

    async def send(request: ApiRequest) -> Answer:
        answer = await member.send_page(request)
        if not answer.ok:
            raise _RefusedError
        return answer

    listing = requests.list_objects(
        PODS,
        namespace=namespace,
        label_selector=selector,
        field_selector="status.phase=Pending",
        watchable=False,
    )
    count = looked = 0
    try:
        async with aclosing(member.pages(listing, what="the list of pods", send=send, limit=PAGE)) as pages:
            async for page in pages:
                count += unschedulable(page.items)
                looked += 1
                if looked == MAX_PAGES:
                    break
    except _RefusedError:
        return None
    return count
