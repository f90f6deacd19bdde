"""The scheduler: gives each Pod without a node the emptiest one that takes it, or says why none does.

Keeps what each node has given away, in step with the cache; a decision counts at once, before it is
written, so that many Pods are placed at the same time. A Pod that no node takes is looked at again when a
node changes or a Pod ends. Next: `hanse_simulator.controllers.kubelet`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hanse.control import Request
from hanse.errors import HanseError
from hanse.kube.engine.served import ObjectChange
from hanse.kube.model.objects import Object, is_deleting, name_of
from hanse.store.keys import ObjectKey
from hanse_simulator.controllers import podstatus
from hanse_simulator.controllers.capacity import Amount, crowding, refusal, requested
from hanse_simulator.controllers.events import Recorder
from hanse_simulator.controllers.loops import Loop, key_of, split
from hanse_simulator.controllers.pods import phase
from hanse_simulator.world import NODES, PODS, ClusterContext, controller_of

MANAGER = "kube-scheduler"
_NOTHING = Amount()


class Usage:
    """What the Pods of each node take, by what the cache holds and what was decided since."""

    def __init__(self) -> None:
        self._pods: dict[str, tuple[str, str, Amount]] = {}
        self._nodes: dict[str, Amount] = {}
        self._siblings: Counter[tuple[str, str]] = Counter()

    def of(self, node: str) -> Amount:
        """Return what a node has given away."""
        return self._nodes.get(node, _NOTHING)

    def siblings(self, node: str, pod: Object) -> int:
        """Return how many Pods of the same owner a node has."""
        return self._siblings[(node, _owner(pod))]

    def put(self, pod: Object, node: str) -> None:
        """Count a Pod on a node, instead of where it was counted."""
        uid = pod["metadata"]["uid"]
        known = self._pods.get(uid)
        if known is not None and known[0] == node:
            return
        self.remove(uid)
        amount, owner = requested(pod), _owner(pod)
        self._pods[uid] = (node, owner, amount)
        self._nodes[node] = self.of(node) + amount
        self._siblings[(node, owner)] += 1

    def remove(self, uid: str) -> bool:
        """Count a Pod no more; return whether it was counted."""
        known = self._pods.pop(uid, None)
        if known is None:
            return False
        node, owner, amount = known
        self._nodes[node] = self.of(node) - amount
        self._siblings[(node, owner)] -= 1
        if not self._siblings[(node, owner)]:
            del self._siblings[(node, owner)]
        return True


def _owner(pod: Object) -> str:
    owner = controller_of(pod)
    return str(owner["uid"]) if owner else ""


class PodScheduler:
    """Binds Pods to nodes."""

    def __init__(self, world: ClusterContext, events: Recorder) -> None:
        self._world = world
        self._events = events
        self._usage = Usage()
        self._refused: set[str] = set()

    def loop(self) -> Loop:
        """Return the controller."""
        return Loop("scheduler", self, {NODES: self._node_changed, PODS: self._pod_changed}, workers=16)

    def _pod_changed(self, change: ObjectChange) -> Iterable[str]:
        pod = change.entry.object
        if change.type == "DELETED" or phase(pod) in ("Succeeded", "Failed"):
            freed = self._usage.remove(pod["metadata"]["uid"])
            self._refused.discard(key_of(change.entry))
            return tuple(self._refused) if freed else ()
        node = pod["spec"].get("nodeName")
        if node:
            self._usage.put(pod, node)
            return ()
        return (key_of(change.entry),)

    def _node_changed(self, change: ObjectChange) -> Iterable[str]:
        return tuple(self._refused)

    async def reconcile(self, request: Request) -> None:
        """Place a Pod."""
        await self._world.fresh()
        pod = self._world.get(PODS, *split(request.key))
        if pod is None or pod["spec"].get("nodeName") or is_deleting(pod) or phase(pod) != "Pending":
            self._refused.discard(request.key)
            return
        if pod["spec"].get("schedulerName", "default-scheduler") != "default-scheduler":
            return
        if pod["spec"].get("schedulingGates"):
            return
        node, why = self._choose(pod)
        if not node:
            self._refused.add(request.key)
            await self._refuse(pod, why)
            return
        self._refused.discard(request.key)
        self._usage.put(pod, node)
        try:
            await self._bind(pod, node)
        except HanseError:
            self._usage.remove(pod["metadata"]["uid"])
            raise

    def _choose(self, pod: Object) -> tuple[str, str]:
        """Return the node for a Pod, or "" and why there is none."""
        best: tuple[int, float, str] | None = None
        reasons: Counter[str] = Counter()
        nodes = self._world.objects(NODES)
        for node in nodes:
            name = name_of(node)
            used = self._usage.of(name)
            why = refusal(pod, node, used=used)
            if why:
                reasons[why] += 1
                continue
            rank = (self._usage.siblings(name, pod), crowding(pod, node, used=used), name)
            best = min(best, rank) if best else rank
        if best is not None:
            return best[2], ""
        listed = ", ".join(f"{count} {why}" for why, count in sorted(reasons.items()))
        return "", f"0/{len(nodes)} nodes are available: {listed}." if nodes else "no nodes available"

    async def _refuse(self, pod: Object, why: str) -> None:
        status = podstatus.unschedulable(pod, why, now=self._world.stamp())
        if await self._world.set_status(PODS, pod, status, manager=MANAGER):
            await self._events.warn(PODS, pod, "FailedScheduling", why, source="default-scheduler")

    async def _bind(self, pod: Object, node: str) -> None:
        bound = False

        def change(current: Object) -> Object | None:
            nonlocal bound
            bound = not current["spec"].get("nodeName") and not is_deleting(current)
            return {**current, "spec": {**current["spec"], "nodeName": node}} if bound else None

        await self._world.modify(PODS, pod, change, manager=MANAGER)
        if not bound:
            # Somebody deleted it or bound it elsewhere; the cache says what counts.
            self._recount(pod)

    def _recount(self, pod: Object) -> None:
        metadata = pod["metadata"]
        self._usage.remove(metadata["uid"])
        entry = self._world.cache.get(ObjectKey(*PODS, metadata["namespace"], metadata["name"]))
        if entry is not None and entry.object["spec"].get("nodeName"):
            self._usage.put(entry.object, entry.object["spec"]["nodeName"])


__all__ = ["PodScheduler", "Usage"]
