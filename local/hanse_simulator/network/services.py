"""What a Service is given: cluster addresses and node ports in the write, a load balancer address after.

As in Kubernetes the API server gives cluster addresses and node ports in the write itself, so a client sees
them in the answer (`ServiceAdmission`); load balancers get their address from a controller (`LoadBalancers`).
Which address a Service gets depends on its name alone unless that one is taken, and what it has it keeps.

One event loop; the pools follow the cache. Next: `hanse_simulator.network.endpoints`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hanse.control import Request
from hanse.errors import ConflictError, InvalidArgumentError
from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.hooks import AdmissionRequest
from hanse.kube.engine.served import ObjectChange
from hanse.kube.model.objects import Object, is_deleting, mapping, sequence
from hanse_simulator.addresses import Pool, number, text
from hanse_simulator.controllers.loops import Loop, itself, split
from hanse_simulator.world import SERVICES, ClusterContext

NODE_PORTS = (30000, 2768)
"""First node port and how many there are. As kube-apiserver's --service-node-port-range."""


class ServiceAdmission:
    """Gives cluster addresses and node ports to Services as they are written."""

    def __init__(self, addresses: Pool) -> None:
        self._addresses = addresses
        self._ports = Pool("node port", first=NODE_PORTS[0], size=NODE_PORTS[1])

    def follow(self, cache: ObjectCache) -> None:
        """Take note of what the Services have, and from now on of what they give back."""
        for entry in cache.objects(*SERVICES):
            self._hold(entry.object)
        cache.subscribe(self._changed)

    async def admit(self, request: AdmissionRequest) -> Object:
        """Return the Service with what it lacks. Raises InvalidArgumentError for an address that is taken."""
        if (request.info.group, request.info.plural) != SERVICES or request.operation == "DELETE":
            return request.object
        if request.subresource:
            return request.object
        holder = f"{request.key.namespace}/{request.key.name}"
        spec = dict(mapping(request.object, "spec"))
        old = mapping(request.old, "spec") if request.old else {}
        self._give_address(spec, old, holder)
        self._give_ports(spec, old, holder)
        return {**request.object, "spec": spec}

    def _give_address(self, spec: dict[str, Any], old: dict[str, Any], holder: str) -> None:
        if spec.get("type") == "ExternalName":
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                spec.pop(field, None)
            return
        wanted = spec.get("clusterIP") or (spec.get("clusterIPs") or [""])[0] or old.get("clusterIP")
        if wanted in (None, ""):
            wanted = text(self._addresses.pick(holder))
        elif wanted != "None":
            given = number(str(wanted))
            if given is not None and given in self._addresses and not self._addresses.take(given, holder):
                raise InvalidArgumentError(
                    f"spec.clusterIPs: Invalid value: [{wanted}]: failed to allocate IP {wanted}: provided "
                    "IP is already allocated"
                )
        spec["clusterIP"] = wanted
        spec["clusterIPs"] = [wanted]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")

    def _give_ports(self, spec: dict[str, Any], old: dict[str, Any], holder: str) -> None:
        if not _has_node_ports(spec):
            ports = [{k: v for k, v in p.items() if k != "nodePort"} for p in spec.get("ports") or ()]
            if spec.get("type") != "LoadBalancer" and ports:
                spec["ports"] = ports
            return
        had = {_port_key(p): p["nodePort"] for p in old.get("ports") or () if p.get("nodePort")}
        result = []
        for port in spec.get("ports") or ():
            key = f"{holder}/{port.get('protocol', 'TCP')}/{port.get('port')}"
            wanted = port.get("nodePort") or had.get(_port_key(port))
            if not wanted:
                wanted = self._ports.pick(key)
            elif not self._take_port(int(wanted), key, holder):
                raise InvalidArgumentError(
                    f"spec.ports[].nodePort: Invalid value: {wanted}: provided port is already allocated"
                )
            result.append({**port, "nodePort": wanted})
        spec["ports"] = result

    def _take_port(self, port: int, key: str, holder: str) -> bool:
        """Hold a port for a Service; ports of one Service may share it with two protocols."""
        owner = self._ports.holder(port)
        return (owner is not None and owner.startswith(f"{holder}/")) or self._ports.take(port, key)

    def _changed(self, change: ObjectChange) -> None:
        if (change.key.group, change.key.resource) != SERVICES:
            return
        before = change.entry if change.type == "DELETED" else change.previous
        if before is not None:
            self._release(before.object)
        if change.type != "DELETED":
            self._hold(change.entry.object)

    def _hold(self, service: Object) -> None:
        holder = _holder(service)
        address = number(str(mapping(service, "spec").get("clusterIP") or ""))
        if address is not None and address in self._addresses:
            self._addresses.take(address, holder)
        for port in sequence(service, "spec", "ports"):
            if port.get("nodePort"):
                key = f"{holder}/{port.get('protocol', 'TCP')}/{port.get('port')}"
                self._take_port(int(port["nodePort"]), key, holder)

    def _release(self, service: Object) -> None:
        holder = _holder(service)
        address = number(str(mapping(service, "spec").get("clusterIP") or ""))
        if address is not None:
            self._addresses.release(address, holder)
        for port in sequence(service, "spec", "ports"):
            key = f"{holder}/{port.get('protocol', 'TCP')}/{port.get('port')}"
            if port.get("nodePort"):
                self._ports.release(int(port["nodePort"]), key)


class LoadBalancers:
    """Gives Services of type LoadBalancer an address, and takes it back from others."""

    def __init__(self, world: ClusterContext, addresses: Pool) -> None:
        self._world = world
        self._addresses = addresses
        for service in world.objects(SERVICES):
            for address in _ingress(service):
                self._addresses.take(address, _holder(service))

    def loop(self) -> Loop:
        """Return the controller."""
        return Loop("load-balancers", self, {SERVICES: self._service_changed}, workers=8)

    def _service_changed(self, change: ObjectChange) -> Iterable[str]:
        if change.type == "DELETED":
            service = change.entry.object
            for address in _ingress(service):
                self._addresses.release(address, _holder(service))
            return ()
        service = change.entry.object
        concerned = mapping(service, "spec").get("type") == "LoadBalancer" or _ingress(service)
        return itself(change) if concerned else ()

    async def reconcile(self, request: Request) -> None:
        """Bring a Service's load balancer address to what its type says."""
        await self._world.fresh()
        service = self._world.get(SERVICES, *split(request.key))
        if service is None or is_deleting(service):
            return
        has = _ingress(service)
        if mapping(service, "spec").get("type") != "LoadBalancer":
            for address in has:
                self._addresses.release(address, request.key)
            await self._world.set_status(SERVICES, service, {"loadBalancer": {}})
            return
        if mapping(service, "spec").get("loadBalancerClass"):
            return  # somebody else's
        if any(self._addresses.take(address, request.key) for address in has if address in self._addresses):
            return
        ingress = {"ip": text(self._pick(service, request.key)), "ipMode": "VIP"}
        status = {**mapping(service, "status"), "loadBalancer": {"ingress": [ingress]}}
        await self._world.set_status(SERVICES, service, status, manager="cloud-controller-manager")

    def _pick(self, service: Object, holder: str) -> int:
        asked = number(str(mapping(service, "spec").get("loadBalancerIP") or ""))
        if asked is not None and asked in self._addresses:
            if not self._addresses.take(asked, holder):
                raise ConflictError(f"the address {text(asked)} that {holder} asks for is taken")
            return asked
        return self._addresses.pick(holder)


def _ingress(service: Object) -> list[int]:
    found = (number(str(i.get("ip") or "")) for i in sequence(service, "status", "loadBalancer", "ingress"))
    return [address for address in found if address is not None]


def _holder(service: Object) -> str:
    metadata = service["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}"


def _has_node_ports(spec: dict[str, Any]) -> bool:
    if spec.get("type") == "NodePort":
        return True
    return spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False


def _port_key(port: dict[str, Any]) -> tuple[Any, Any]:
    return (port.get("protocol", "TCP"), port.get("port"))
