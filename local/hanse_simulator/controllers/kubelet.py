"""The kubelet of all nodes: Pods with a node become ready, end, and are let go when they are deleted.

Nothing runs. A Pod is ready `start` seconds after it got its node; one that does not restart always has
succeeded `run` seconds later; a deleted one is gone `stop` seconds after. A container whose image contains
the broken marker cannot pull it. What a Pod waits for is kept in memory: after a restart it waits again.

Next: `hanse_simulator.controllers.podstatus` for the statuses themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hanse.control import Request, Result
from hanse.kube.engine.served import ObjectChange
from hanse.kube.model.objects import Object, is_deleting, mapping
from hanse_simulator.addresses import Pool, number, text
from hanse_simulator.controllers import podstatus
from hanse_simulator.controllers.events import Recorder
from hanse_simulator.controllers.loops import Loop, itself, split
from hanse_simulator.controllers.pods import phase
from hanse_simulator.world import NODES, PODS, ClusterContext

MANAGER = "kubelet"


@dataclass(frozen=True, slots=True)
class Timing:
    """How long Pods take, in seconds: to `start`, to `run` if they end by themselves, to `stop`."""

    start: float = 0.2
    run: float = 1.0
    stop: float = 0.1


class Kubelet:
    """Brings Pods to what their spec says."""

    def __init__(
        self, world: ClusterContext, *, addresses: Pool, events: Recorder, timing: Timing, broken_marker: str
    ) -> None:
        self._world = world
        self._addresses = addresses
        self._events = events
        self._timing = timing
        self._broken = broken_marker
        self._due: dict[str, tuple[str, float]] = {}
        for pod in world.objects(PODS):
            self._hold(pod)

    def loop(self) -> Loop:
        """Return the controller."""
        return Loop("kubelet", self, {PODS: self._pod_changed, NODES: self._node_changed}, workers=32)

    def _pod_changed(self, change: ObjectChange) -> Iterable[str]:
        if change.type == "DELETED":
            self._forget(change.entry.object)
            return ()
        if not change.entry.object["spec"].get("nodeName"):
            return ()
        return itself(change)

    def _node_changed(self, change: ObjectChange) -> Iterable[str]:
        """Look at the Pods of a node that is gone: nobody else will end them."""
        if change.type != "DELETED":
            return ()
        name = change.key.name
        return [
            f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            for pod in self._world.objects(PODS)
            if pod["spec"].get("nodeName") == name
        ]

    async def reconcile(self, request: Request) -> Result | None:
        """Do the next thing that is due with a Pod."""
        await self._world.fresh()
        pod = self._world.get(PODS, *split(request.key))
        if pod is None or not pod["spec"].get("nodeName"):
            return None
        node = self._world.get(NODES, "", pod["spec"]["nodeName"])
        if node is None:
            await self._world.delete(PODS, pod, grace=0)
            return None
        if is_deleting(pod):
            return await self._stop(pod)
        if phase(pod) in ("Succeeded", "Failed"):
            return None
        return await self._live(pod, node)

    async def _stop(self, pod: Object) -> Result | None:
        grace = float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        wait = self._wait(pod, "stop", min(self._timing.stop, grace))
        if wait > 0:
            return Result(requeue_after=wait)
        await self._world.delete(PODS, pod, grace=0)
        return None

    async def _live(self, pod: Object, node: Object) -> Result | None:
        broken = podstatus.broken_images(pod, self._broken)
        running = phase(pod) == "Running" and podstatus.runs(pod)
        if running and not broken:
            return await self._running(pod)
        if not running and not broken:
            wait = self._wait(pod, "start", self._timing.start)
            if wait > 0:
                return Result(requeue_after=wait)
        pod_ip = str(mapping(pod, "status").get("podIP") or self._address(pod))
        host_ip = podstatus.address_of(node)
        now = self._world.stamp()
        if broken:
            status = podstatus.pulling(pod, broken, host_ip=host_ip, pod_ip=pod_ip, now=now)
        else:
            status = podstatus.running(pod, host_ip=host_ip, pod_ip=pod_ip, now=now)
        if await self._world.set_status(PODS, pod, status, manager=MANAGER) and broken:
            images = ", ".join(f'"{image}"' for image in sorted(broken))
            await self._events.warn(
                PODS, pod, "Failed", f"Failed to pull image {images}: not found", source=MANAGER
            )
        return None

    async def _running(self, pod: Object) -> Result | None:
        if pod["spec"].get("restartPolicy", "Always") == "Always":
            return None
        wait = self._wait(pod, "run", self._timing.run)
        if wait > 0:
            return Result(requeue_after=wait)
        status = podstatus.succeeded(pod, now=self._world.stamp())
        await self._world.set_status(PODS, pod, status, manager=MANAGER)
        return None

    def _wait(self, pod: Object, step: str, seconds: float) -> float:
        """Return how many seconds a step of a Pod still takes; the first call of a step starts its time."""
        uid, now = pod["metadata"]["uid"], self._world.monotonic()
        known = self._due.get(uid)
        if known is None or known[0] != step:
            known = self._due[uid] = (step, now + seconds)
        return known[1] - now

    def _address(self, pod: Object) -> str:
        if pod["spec"].get("hostNetwork"):
            return podstatus.address_of(self._world.get(NODES, "", pod["spec"]["nodeName"]) or {})
        return text(self._addresses.pick(pod["metadata"]["uid"]))

    def _hold(self, pod: Object) -> None:
        held = number(str(mapping(pod, "status").get("podIP") or ""))
        if held is not None and held in self._addresses:
            self._addresses.take(held, pod["metadata"]["uid"])

    def _forget(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        self._due.pop(uid, None)
        held = number(str(mapping(pod, "status").get("podIP") or ""))
        if held is not None:
            self._addresses.release(held, uid)
