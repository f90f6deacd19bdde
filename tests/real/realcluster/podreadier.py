"""Plays the scheduler and the kubelets: pods are bound, run, end and go as they would on real nodes.

`PodReadier` follows Pods and Nodes and keeps a queue of pod names; workers take a name, look at the newest
object and do what is due (`_settle`). Level-based: doing it twice is doing it once, and an outage of the
cluster only delays it. One task runs `run`; the attributes may be changed at any time by that loop. The
next modules are `nodes` (which node) and `podstatus` (what is reported).
"""

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Iterator

from . import podstatus
from .api import LOST, RETRY_SECONDS, ApiError, Json, KubeApi
from .nodes import Nodes, requested

LOG = logging.getLogger(__name__)
WORKERS = 16


class PodReadier:
    """Makes the pods of one cluster ready.

    `ready_after` is how many seconds a pod takes from its binding to Ready, or a Job's pod to Succeeded.
    A pod with a container whose image is in `broken_images` stays Pending with ImagePullBackOff. With
    `paused` nothing is done at all, as if every node had lost its kubelet. Call `resume` after images are
    mended or to end a pause.
    """

    def __init__(self, api: KubeApi, *, pod_cidr: str) -> None:
        self.ready_after = 0.0
        self.broken_images: set[str] = set()
        self.paused = False
        self._api = api
        self._nodes = Nodes()
        self._pods: dict[str, Json] = {}
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._busy: set[str] = set()
        self._waiting_for_room: set[str] = set()
        self._later: set[asyncio.TimerHandle] = set()
        self._due: dict[str, float] = {}  # when a bound pod becomes ready, on the loop's clock
        self._reported: set[str] = set()  # pods that were told to run, so that no echo tells them again
        self._network = ipaddress.ip_network(pod_cidr)
        self._addresses = self._hosts()
        self._address_of: dict[str, str] = {}
        self._addresses_used: set[str] = set()

    async def run(self) -> None:
        """Do the work until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(
                    self._api.follow("/api/v1/nodes", replace=self._replace_nodes, change=self._change_node)
                )
                tasks.create_task(
                    self._api.follow("/api/v1/pods", replace=self._replace_pods, change=self._change_pod)
                )
                for _ in range(WORKERS):
                    tasks.create_task(self._work())
        finally:
            for handle in self._later:
                handle.cancel()

    def resume(self) -> None:
        """End a pause, and look at all pods again."""
        self.paused = False
        for key in self._pods:
            self._enqueue(key)

    def _replace_nodes(self, nodes: list[Json]) -> None:
        self._nodes.replace(nodes)
        self._retry_waiting()

    def _change_node(self, kind: str, node: Json) -> None:
        self._nodes.change(kind, node)
        self._retry_waiting()

    def _replace_pods(self, pods: list[Json]) -> None:
        present = {_key(pod) for pod in pods}
        for key in (set(self._pods) | self._nodes.keys()) - present:
            self._forget(key)
        for pod in pods:
            self._change_pod("ADDED", pod)

    def _change_pod(self, kind: str, pod: Json) -> None:
        key = _key(pod)
        if kind == "DELETED":
            self._forget(key)
            return
        known = self._pods.get(key)
        if known is not None and known["metadata"]["uid"] != pod["metadata"]["uid"]:
            self._forget(key)
        self._pods[key] = pod
        if pod.get("status", {}).get("phase") in podstatus.ENDED:
            self._release(key)
        elif node := pod["spec"].get("nodeName"):
            self._nodes.hold(key, node, requested(pod))
        if address := pod.get("status", {}).get("podIP"):
            self._address_of[key] = address
            self._addresses_used.add(address)
        self._enqueue(key)

    def _forget(self, key: str) -> None:
        self._pods.pop(key, None)
        self._waiting_for_room.discard(key)
        self._reported.discard(key)
        self._due.pop(key, None)
        self._addresses_used.discard(self._address_of.pop(key, ""))
        self._release(key)

    def _release(self, key: str) -> None:
        if self._nodes.release(key):
            self._retry_waiting()

    def _retry_waiting(self) -> None:
        for key in self._waiting_for_room:
            self._enqueue(key)
        self._waiting_for_room.clear()

    def _enqueue(self, key: str) -> None:
        if key not in self._queued:
            self._queued.add(key)
            self._queue.put_nowait(key)

    def _enqueue_later(self, key: str, seconds: float) -> None:
        def fire() -> None:
            self._later.discard(handle)
            self._enqueue(key)

        handle = asyncio.get_running_loop().call_later(seconds, fire)
        self._later.add(handle)

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            self._queued.discard(key)
            if key in self._busy:  # one worker per pod
                self._enqueue_later(key, 0.01)
                continue
            pod = self._pods.get(key)
            if pod is None or self.paused:
                continue
            self._busy.add(key)
            try:
                await self._settle(key, pod)
            except ApiError as error:
                if error.status >= 500 or error.status == 429:
                    self._enqueue_later(key, RETRY_SECONDS)
                elif error.status not in (404, 409):  # gone, or changed: the watch tells
                    LOG.warning("pod %s cannot be made ready: %s", key, error)
            except LOST:
                self._enqueue_later(key, RETRY_SECONDS)
            finally:
                self._busy.discard(key)

    async def _settle(self, key: str, pod: Json) -> None:
        phase = pod.get("status", {}).get("phase", "Pending")
        node = pod["spec"].get("nodeName", "")
        if pod["metadata"].get("deletionTimestamp"):
            await self._finish(key, pod, phase)
        elif phase in podstatus.ENDED:
            return
        elif not node:
            await self._bind(key, pod)
        elif phase == "Pending":
            await self._start(key, pod, node)

    async def _finish(self, key: str, pod: Json, phase: str) -> None:
        """End a pod that is asked to go, as the kubelet does once its containers have stopped."""
        metadata = pod["metadata"]
        if metadata.get("deletionGracePeriodSeconds") == 0:
            return  # only finalizers hold it
        if metadata.get("finalizers") and phase not in podstatus.ENDED:
            node = pod["spec"].get("nodeName", "")
            await self._report(key, pod, node, podstatus.failed)
        await self._api.delete(
            _path(pod), {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
        )

    async def _bind(self, key: str, pod: Json) -> None:
        node, refusal = self._nodes.place(pod)
        if not node:
            self._waiting_for_room.add(key)
            told = [each.get("message") for each in pod["status"].get("conditions", [])]
            if refusal not in told:
                await self._api.merge(f"{_path(pod)}/status", podstatus.unschedulable(pod, refusal))
            return
        self._nodes.hold(key, node, requested(pod))
        metadata = {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        try:
            await self._api.create(
                f"{_path(pod)}/binding",
                {
                    "apiVersion": "v1",
                    "kind": "Binding",
                    "metadata": metadata,
                    "target": {"apiVersion": "v1", "kind": "Node", "name": node},
                },
            )
        except (ApiError, *LOST):
            self._nodes.release(key)
            raise
        await self._start(key, pod, node)

    async def _start(self, key: str, pod: Json, node: str) -> None:
        if key in self._reported:
            return
        now = asyncio.get_running_loop().time()
        due = self._due.setdefault(key, now + self.ready_after)
        if now < due:
            self._enqueue_later(key, due - now)
            return
        if any(each["image"] in self.broken_images for each in pod["spec"]["containers"]):
            if not pod.get("status", {}).get("containerStatuses"):
                await self._report(key, pod, node, podstatus.image_missing)
            return
        job = podstatus.owner_kind(pod) == "Job"
        await self._report(key, pod, node, podstatus.succeeded if job else podstatus.running)
        self._reported.add(key)

    async def _report(self, key: str, pod: Json, node: str, status: Callable[..., Json]) -> None:
        body = status(pod, ip=self._address(key), host_ip=self._nodes.address(node))
        await self._api.merge(f"{_path(pod)}/status", body)

    def _address(self, key: str) -> str:
        while key not in self._address_of:
            address = next(self._addresses)
            if address not in self._addresses_used:
                self._addresses_used.add(address)
                self._address_of[key] = address
        return self._address_of[key]

    def _hosts(self) -> Iterator[str]:
        """The addresses of the network round and round."""
        while True:
            for number in range(16, self._network.num_addresses - 1):
                yield str(self._network[number])


def _key(item: Json) -> str:
    return f"{item['metadata']['namespace']}/{item['metadata']['name']}"


def _path(pod: Json) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
