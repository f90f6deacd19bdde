"""What Endpoints and EndpointSlices contain for a Service and its Pods. Pure functions.

After Kubernetes' endpointslice and endpoints controllers: a terminating Pod still serves if it is ready,
and is not ready for new traffic. Next: `hanse_simulator.network.endpoints`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hanse.kube.kinds.kubernetes import core
from hanse.kube.model.objects import Object, is_deleting, labels_of, mapping, name_of, sequence
from hanse.numbers import whole_number
from hanse_simulator.controllers.pods import is_ready, phase
from hanse_simulator.world import owner_reference

SLICE_SIZE = 100
"""Endpoints per slice. As kube-controller-manager's --max-endpoints-per-slice."""

LEGACY_SIZE = 1000
"""Addresses that Endpoints hold at most."""

_SLICE_CONTROLLER = "endpointslice-controller.k8s.io"
_LEGACY_CONTROLLER = "endpoint-controller"
_MANAGED = "endpointslice.kubernetes.io/managed-by"
_LEGACY_MANAGED = "endpoints.kubernetes.io/managed-by"
_SERVICE_NAME = "kubernetes.io/service-name"
_HEADLESS = "service.kubernetes.io/headless"


def same_to_services(before: Object, now: Object) -> bool:
    """Report whether two states of a Pod make the same endpoint of the same Services."""
    return _facts(before) == _facts(now)


def _facts(pod: Object) -> tuple[Any, ...]:
    ended = phase(pod) in ("Succeeded", "Failed")
    return (labels_of(pod), mapping(pod, "status").get("podIP"), is_ready(pod), is_deleting(pod), ended)


def is_ours(endpoints: Object) -> bool:
    """Report whether this simulator made these Endpoints."""
    return labels_of(endpoints).get(_LEGACY_MANAGED) == _LEGACY_CONTROLLER


def slices(service: Object, pods: Sequence[Object], *, zone_of: Callable[[str], str]) -> dict[str, Object]:
    """Return the slices of a Service by name; at least one. `zone_of` gives the zone of a node, "" for none.

    Pods whose containers name ports differently go into slices of their own, as a port name is per slice.
    """
    groups: dict[tuple[tuple[str, int, str], ...], list[Object]] = {}
    for pod in pods:
        groups.setdefault(_ports_for(service, pod), []).append(pod)
    if not groups:
        groups[_ports_for(service, {})] = []
    result: dict[str, Object] = {}
    for ports, members in sorted(groups.items()):
        for start in range(0, max(1, len(members)), SLICE_SIZE):
            part = members[start : start + SLICE_SIZE]
            name = f"{name_of(service)[:50]}-{len(result)}"
            result[name] = _slice(service, name, ports, [_endpoint(p, service, zone_of) for p in part])
    return result


def _slice(
    service: Object, name: str, ports: Sequence[tuple[str, int, str]], endpoints: list[dict[str, Any]]
) -> Object:
    labels = {
        **{k: v for k, v in labels_of(service).items() if not k.startswith("endpointslice.")},
        _SERVICE_NAME: name_of(service),
        _MANAGED: _SLICE_CONTROLLER,
    }
    if mapping(service, "spec").get("clusterIP") == "None":
        labels[_HEADLESS] = ""
    return {
        "metadata": {
            "name": name, "namespace": service["metadata"]["namespace"], "labels": labels,
            "ownerReferences": [owner_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": name, "port": port, "protocol": protocol} for name, port, protocol in ports],
    }  # fmt: skip


def _endpoint(pod: Object, service: Object, zone_of: Callable[[str], str]) -> dict[str, Any]:
    ready, terminating = is_ready(pod), is_deleting(pod)
    publish = bool(mapping(service, "spec").get("publishNotReadyAddresses"))
    metadata, node = pod["metadata"], pod["spec"].get("nodeName", "")
    result: dict[str, Any] = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": publish or (ready and not terminating),
            "serving": ready,
            "terminating": terminating,
        },
        "nodeName": node,
        "targetRef": {
            "kind": core.POD.name, "namespace": metadata["namespace"], "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }  # fmt: skip
    zone = zone_of(node)
    if zone:
        result["zone"] = zone
    if pod["spec"].get("hostname") and pod["spec"].get("subdomain") == name_of(service):
        result["hostname"] = pod["spec"]["hostname"]
    return result


def _ports_for(service: Object, pod: Object) -> tuple[tuple[str, int, str], ...]:
    """Return (name, number, protocol) of a Service's ports as a Pod has them; unknown names are left out."""
    result = []
    for port in sequence(service, "spec", "ports"):
        protocol = str(port.get("protocol") or "TCP")
        found = _target(port, pod, protocol)
        if found is not None:
            result.append((str(port.get("name") or ""), found, protocol))
    return tuple(result)


def _target(port: Mapping[str, Any], pod: Object, protocol: str) -> int | None:
    target = port.get("targetPort") or port.get("port")
    if isinstance(target, int):
        return target
    if isinstance(target, str) and (number := whole_number(target, maximum=65535)) is not None:
        return number
    for container in sequence(pod, "spec", "containers"):
        for named in sequence(container, "ports"):
            if named.get("name") == target and (named.get("protocol") or "TCP") == protocol:
                return int(named["containerPort"])
    return None


def legacy(service: Object, pods: Sequence[Object]) -> Object:
    """Return the Endpoints of a Service: its Pods by whether they are ready, grouped by ports."""
    publish = bool(mapping(service, "spec").get("publishNotReadyAddresses"))
    groups: dict[tuple[tuple[str, int, str], ...], list[Object]] = {}
    for pod in pods[:LEGACY_SIZE]:
        if not is_deleting(pod) or publish:
            groups.setdefault(_ports_for(service, pod), []).append(pod)
    subsets = []
    for ports, members in sorted(groups.items()):
        ready = [_address(p) for p in members if publish or is_ready(p)]
        waiting = [_address(p) for p in members if not publish and not is_ready(p)]
        subset: dict[str, Any] = {}
        if ready:
            subset["addresses"] = ready
        if waiting:
            subset["notReadyAddresses"] = waiting
        if ports:
            subset["ports"] = [
                {**({"name": name} if name else {}), "port": port, "protocol": protocol}
                for name, port, protocol in ports
            ]
        subsets.append(subset)
    labels = {**labels_of(service), _LEGACY_MANAGED: _LEGACY_CONTROLLER}
    metadata = service["metadata"]
    return {
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "labels": labels},
        "subsets": subsets,
    }


def _address(pod: Object) -> dict[str, Any]:
    metadata = pod["metadata"]
    return {
        "ip": pod["status"]["podIP"],
        "nodeName": pod["spec"].get("nodeName", ""),
        "targetRef": {
            "kind": core.POD.name, "namespace": metadata["namespace"], "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }  # fmt: skip
