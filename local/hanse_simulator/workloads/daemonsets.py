"""The DaemonSet controller: one Pod on each node that takes it.

A Pod gets its node when it is made, as older Kubernetes did. Updates delete old Pods, maxUnavailable at a
time. Next: `hanse_simulator.workloads.revisions`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from hanse.control import Request, Result
from hanse.kube.engine.served import ObjectChange
from hanse.kube.kinds.kubernetes import apps
from hanse.kube.model.objects import Object, is_deleting, labels_of, mapping, name_of
from hanse_simulator.controllers import capacity
from hanse_simulator.controllers import pods as pod_rules
from hanse_simulator.controllers.loops import Loop, controlled_by, itself, split
from hanse_simulator.workloads import revisions
from hanse_simulator.workloads.ownership import claim
from hanse_simulator.workloads.rollout import scaled
from hanse_simulator.world import DAEMON_SETS, NODES, PODS, ClusterContext, generation_of

_TOLERATED = (
    {"key": "node.kubernetes.io/not-ready", "operator": "Exists"},
    {"key": "node.kubernetes.io/unreachable", "operator": "Exists"},
    {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"},
)


class DaemonSets:
    """Keeps DaemonSets at one Pod per node."""

    def __init__(self, world: ClusterContext) -> None:
        self._world = world

    def loop(self) -> Loop:
        """Return the controller."""
        watches = {
            DAEMON_SETS: itself,
            PODS: controlled_by(apps.DAEMON_SET.name),
            NODES: self._node_changed,
        }
        return Loop(apps.DAEMON_SET.plural, self, watches, workers=4)

    def _node_changed(self, change: ObjectChange) -> Iterable[str]:
        return [f"{d['metadata']['namespace']}/{name_of(d)}" for d in self._world.objects(DAEMON_SETS)]

    async def reconcile(self, request: Request) -> Result | None:
        """Make, replace and delete Pods, and write the status."""
        await self._world.fresh()
        owner = self._world.get(DAEMON_SETS, *split(request.key))
        if owner is None:
            return None
        pods = await claim(self._world, owner, PODS)
        if is_deleting(owner):
            return None
        revision = await revisions.current(self._world, owner)
        eligible = [name_of(n) for n in self._world.objects(NODES) if _takes(owner, n)]
        if await self._manage(owner, pods, eligible, digest=revisions.hash_of(revision)):
            await self._world.fresh()
            pods = self._world.owned(owner, PODS)
        await self._update(owner, pods, eligible, digest=revisions.hash_of(revision))
        used = {revisions.hash_of(revision), *(labels_of(p).get(revisions.HASH, "") for p in pods)}
        await revisions.forget_old(self._world, owner, used=used)
        return await self._report(owner, pods, eligible, digest=revisions.hash_of(revision))

    async def _manage(self, owner: Object, pods: list[Object], eligible: list[str], *, digest: str) -> bool:
        """Make Pods where they lack, delete those that have ended or are where they should not be."""
        wanted, seen = set(eligible), set()
        surplus = []
        for pod in pods:
            node = pod["spec"].get("nodeName", "")
            if is_deleting(pod):
                seen.add(node)  # its successor comes when it is gone
            elif not pod_rules.is_active(pod) or node not in wanted or node in seen:
                surplus.append(pod)
            else:
                seen.add(node)
        missing = [self._pod(owner, node, digest) for node in eligible if node not in seen]
        await asyncio.gather(
            *(self._world.create(PODS, pod) for pod in missing),
            *(self._world.delete(PODS, pod) for pod in surplus),
        )
        return bool(missing or surplus)

    def _pod(self, owner: Object, node: str, digest: str) -> Object:
        template = pod_rules.template_of(owner)
        pod = pod_rules.from_template(template, owner=owner, labels={revisions.HASH: digest})
        tolerations = [*(pod["spec"].get("tolerations") or ()), *_TOLERATED]
        return {**pod, "spec": {**pod["spec"], "nodeName": node, "tolerations": tolerations}}

    async def _update(self, owner: Object, pods: list[Object], eligible: list[str], *, digest: str) -> None:
        strategy = mapping(owner, "spec", "updateStrategy")
        if strategy.get("type") == "OnDelete":
            return
        most = scaled(mapping(strategy, "rollingUpdate").get("maxUnavailable", 1), len(eligible), up=True)
        active = [p for p in pods if pod_rules.is_active(p)]
        old = [p for p in active if labels_of(p).get(revisions.HASH) != digest]
        min_ready, now = _min_ready(owner), self._world.now()
        down = len(eligible) - sum(pod_rules.is_available(p, min_ready, now) for p in active)
        broken = [p for p in old if not pod_rules.is_available(p, min_ready, now)]
        sound = [p for p in old if pod_rules.is_available(p, min_ready, now)]
        for pod in [*broken, *sound[: max(0, max(1, most) - down)]]:
            await self._world.delete(PODS, pod)

    async def _report(
        self, owner: Object, pods: list[Object], eligible: list[str], *, digest: str
    ) -> Result | None:
        active = [p for p in pods if pod_rules.is_active(p)]
        placed = [p for p in active if p["spec"].get("nodeName") in set(eligible)]
        min_ready, now = _min_ready(owner), self._world.now()
        available = sum(pod_rules.is_available(p, min_ready, now) for p in placed)
        status: dict[str, Any] = {
            "currentNumberScheduled": len(placed),
            "desiredNumberScheduled": len(eligible),
            "numberMisscheduled": len(active) - len(placed),
            "numberReady": sum(pod_rules.is_ready(p) for p in placed),
            "observedGeneration": generation_of(owner),
        }
        optional = {
            "updatedNumberScheduled": sum(labels_of(p).get(revisions.HASH) == digest for p in placed),
            "numberAvailable": available,
            "numberUnavailable": len(eligible) - available,
        }
        status |= {name: count for name, count in optional.items() if count}
        await self._world.set_status(DAEMON_SETS, owner, status)
        wait = pod_rules.next_available(placed, min_ready, now)
        return Result(requeue_after=wait) if wait is not None else None


def _takes(owner: Object, node: Object) -> bool:
    template = pod_rules.template_of(owner)
    if not capacity.selected(template, node):
        return False
    return not capacity.untolerated(template, node, extra=_TOLERATED)


def _min_ready(owner: Object) -> float:
    return float(mapping(owner, "spec").get("minReadySeconds") or 0)
