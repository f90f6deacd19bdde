"""Endpoints and EndpointSlices: the Pods that a Service selects, as they become ready and go.

A Service finds its Pods by label, a Pod its Services by `Selectors`, so that neither looks at all of the
other. Slices hold up to 100 endpoints each and are named after their Service and number.

Next: `hanse_simulator.network.endpointrules` for what is in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from hanse.control import Request
from hanse.errors import AlreadyExistsError, NotFoundError, PermissionDeniedError
from hanse.kube.engine.served import ObjectChange
from hanse.kube.kinds.kubernetes import core
from hanse.kube.model.objects import Object, is_deleting, labels_of, mapping
from hanse.kube.model.selectors import LabelSelector
from hanse.well_known import ZONE_LABEL
from hanse_simulator.controllers.loops import Loop, controlled_by, itself, split
from hanse_simulator.controllers.pods import phase
from hanse_simulator.network import endpointrules as rules
from hanse_simulator.world import (
    ENDPOINT_SLICES,
    ENDPOINTS,
    NODES,
    PODS,
    SERVICES,
    ClusterContext,
    Resource,
)

MANAGER = "kube-controller-manager"


class Selectors:
    """Which Services select a Pod, without asking each: by one label of each selector."""

    def __init__(self) -> None:
        self._services: dict[tuple[str, str], tuple[tuple[str, str, str], dict[str, str]]] = {}
        self._by_label: dict[tuple[str, str, str], set[str]] = {}

    def put(self, service: Object) -> None:
        """Take a Service's selector, instead of an older one."""
        namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
        self.remove(namespace, name)
        selector = mapping(service, "spec", "selector")
        if selector:
            label, value = min(selector.items())
            index = (namespace, label, value)
            self._services[(namespace, name)] = (index, selector)
            self._by_label.setdefault(index, set()).add(name)

    def remove(self, namespace: str, name: str) -> None:
        """Forget a Service."""
        known = self._services.pop((namespace, name), None)
        if known is not None:
            names = self._by_label[known[0]]
            names.discard(name)
            if not names:
                del self._by_label[known[0]]

    def of(self, pod: Object) -> set[str]:
        """Return the keys of the Services that select a Pod."""
        namespace, labels = pod["metadata"]["namespace"], labels_of(pod)
        return {
            f"{namespace}/{name}"
            for label in labels.items()
            for name in self._by_label.get((namespace, *label), ())
            if self._services[(namespace, name)][1].items() <= labels.items()
        }


class Endpoints:
    """Keeps the endpoints of Services."""

    def __init__(self, world: ClusterContext) -> None:
        self._world = world
        self._selectors = Selectors()
        for service in world.objects(SERVICES):
            self._selectors.put(service)

    def loop(self) -> Loop:
        """Return the controller."""
        watches = {
            SERVICES: self._service_changed,
            PODS: self._pod_changed,
            ENDPOINT_SLICES: controlled_by(core.SERVICE.name),
        }
        return Loop("endpoints", self, watches, workers=16)

    def _service_changed(self, change: ObjectChange) -> Iterable[str]:
        if change.type == "DELETED":
            self._selectors.remove(change.key.namespace, change.key.name)
        else:
            self._selectors.put(change.entry.object)
        return itself(change)

    def _pod_changed(self, change: ObjectChange) -> Iterable[str]:
        pod = change.entry.object
        before = change.previous.object if change.previous else None
        if before is not None and change.type != "DELETED" and rules.same_to_services(before, pod):
            return ()
        found = self._selectors.of(pod)
        return found | self._selectors.of(before) if before is not None else found

    async def reconcile(self, request: Request) -> None:
        """Bring a Service's Endpoints and EndpointSlices to what its Pods are."""
        await self._world.fresh()
        namespace, name = split(request.key)
        service = self._world.get(SERVICES, namespace, name)
        if service is None:
            legacy = self._world.get(ENDPOINTS, namespace, name)
            if legacy is not None and rules.is_ours(legacy):
                await self._world.delete(ENDPOINTS, legacy)
            return
        if is_deleting(service) or not mapping(service, "spec", "selector"):
            return
        pods = self._pods(service)
        try:
            await self._write_slices(service, pods)
            await self._write_legacy(service, pods)
        except (AlreadyExistsError, NotFoundError, PermissionDeniedError):
            await self._world.fresh()
            space = self._world.get(core.NAMESPACE.group_plural, "", namespace)
            if space is not None and not is_deleting(space):
                raise

    def _pods(self, service: Object) -> list[Object]:
        selector = LabelSelector.from_object({"matchLabels": mapping(service, "spec", "selector")})
        pods = self._world.matching(PODS, service["metadata"]["namespace"], selector)
        return [
            pod for pod in pods
            if mapping(pod, "status").get("podIP") and phase(pod) not in ("Succeeded", "Failed")
        ]  # fmt: skip

    async def _write_slices(self, service: Object, pods: Sequence[Object]) -> None:
        wanted = rules.slices(service, pods, zone_of=self._zone)
        known = {
            obj["metadata"]["name"]: obj for obj in self._world.owned(service, ENDPOINT_SLICES)
        }  # fmt: skip
        surplus = [obj for name, obj in known.items() if name not in wanted]
        await asyncio.gather(
            *(self._put(ENDPOINT_SLICES, slice_, known.get(name)) for name, slice_ in wanted.items()),
            *(self._world.delete(ENDPOINT_SLICES, obj) for obj in surplus),
        )

    async def _write_legacy(self, service: Object, pods: Sequence[Object]) -> None:
        metadata = service["metadata"]
        known = self._world.get(ENDPOINTS, metadata["namespace"], metadata["name"])
        if known is not None and not rules.is_ours(known):
            return  # somebody's own, made before the Service
        await self._put(ENDPOINTS, rules.legacy(service, pods), known)

    async def _put(self, resource: Resource, wanted: Object, known: Object | None) -> None:
        fields = {k: v for k, v in wanted.items() if k != "metadata"}
        labels = wanted["metadata"]["labels"]
        if known is None:
            await self._world.create(resource, wanted, manager=MANAGER)
        elif any(known.get(k, []) != v for k, v in fields.items()) or labels != labels_of(known):
            await self._world.modify(
                resource,
                known,
                lambda obj: {**obj, **fields, "metadata": {**obj["metadata"], "labels": labels}},
                manager=MANAGER,
            )

    def _zone(self, node: str) -> str:
        found = self._world.get(NODES, "", node)
        return labels_of(found).get(ZONE_LABEL, "") if found else ""
