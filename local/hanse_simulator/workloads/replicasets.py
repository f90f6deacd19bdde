"""The ReplicaSet controller: as many Pods as the spec says, and a status that counts them.

Next: `hanse_simulator.workloads.deployments`, which makes ReplicaSets.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hanse.control import Request, Result
from hanse.kube.kinds.kubernetes import apps
from hanse.kube.model.objects import Object, is_deleting, labels_of, mapping
from hanse_simulator.controllers import pods as pod_rules
from hanse_simulator.controllers.loops import Loop, controlled_by, itself, split
from hanse_simulator.workloads.ownership import claim
from hanse_simulator.world import PODS, REPLICA_SETS, ClusterContext, generation_of

BURST = 500
"""How many Pods are made or deleted in one look. As Kubernetes' BurstReplicas."""

_AT_ONCE = 32


class ReplicaSets:
    """Keeps ReplicaSets at their number of Pods."""

    def __init__(self, world: ClusterContext) -> None:
        self._world = world

    def loop(self) -> Loop:
        """Return the controller."""
        return Loop(
            apps.REPLICA_SET.plural, self, {REPLICA_SETS: itself, PODS: controlled_by(apps.REPLICA_SET.name)}
        )

    async def reconcile(self, request: Request) -> Result | None:
        """Make or delete Pods, and write the status."""
        await self._world.fresh()
        owner = self._world.get(REPLICA_SETS, *split(request.key))
        if owner is None:
            return None
        claimed = await claim(self._world, owner, PODS)
        if not is_deleting(owner):
            active = [pod for pod in claimed if pod_rules.is_active(pod)]
            if await self._scale(owner, active):
                await self._world.fresh()
                claimed = self._world.owned(owner, PODS)
        return await self._report(owner, [pod for pod in claimed if pod_rules.is_active(pod)])

    async def _scale(self, owner: Object, active: list[Object]) -> bool:
        """Bring the number of Pods to what the spec says; return whether anything was done."""
        difference = int(mapping(owner, "spec").get("replicas", 1)) - len(active)
        if difference > 0:
            template = pod_rules.template_of(owner)
            wanted = [pod_rules.from_template(template, owner=owner) for _ in range(min(difference, BURST))]
            await _bounded([self._world.create(PODS, pod) for pod in wanted])
        elif difference < 0:
            chosen = sorted(active, key=pod_rules.deletion_order)[: min(-difference, BURST)]
            await _bounded([self._world.delete(PODS, pod) for pod in chosen])
        return difference != 0

    async def _report(self, owner: Object, active: list[Object]) -> Result | None:
        spec, now = mapping(owner, "spec"), self._world.now()
        min_ready = float(spec.get("minReadySeconds") or 0)
        expected = labels_of(pod_rules.template_of(owner)).items()
        counts = {
            "fullyLabeledReplicas": sum(expected <= labels_of(pod).items() for pod in active),
            "readyReplicas": sum(pod_rules.is_ready(pod) for pod in active),
            "availableReplicas": sum(pod_rules.is_available(pod, min_ready, now) for pod in active),
        }
        status: dict[str, Any] = {
            "replicas": len(active),
            **{name: count for name, count in counts.items() if count},
            "observedGeneration": generation_of(owner),
        }
        await self._world.set_status(REPLICA_SETS, owner, status)
        if len(active) < int(spec.get("replicas", 1)) and not is_deleting(owner):
            return Result(requeue_after=0.0)  # more than one burst
        wait = pod_rules.next_available(active, min_ready, now)
        return Result(requeue_after=wait) if wait is not None else None


async def _bounded(work: list[Any]) -> None:
    """Await all, some at a time. Raises the first error after the others have ended."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def run(one: Any) -> None:
        async with gate:
            await one

    results = await asyncio.gather(*(run(one) for one in work), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
