"""Services, and their endpoints in both forms.

Pure functions, and the strategies made of them. Next: `hanse.kube.kinds.strategies.kubernetes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from hanse.kube.kinds.fields.cells import NONE, UNSET, columns, ingress_addresses, join, labels_text
from hanse.kube.kinds.fields.filling import dicts, ensure, fill
from hanse.kube.kinds.fields.rules import label_errors
from hanse.kube.kinds.kubernetes import core, networking
from hanse.kube.kinds.strategy import Cell, Strategy
from hanse.kube.model.fielderrors import FieldError, duplicate, forbidden, invalid, not_supported, required
from hanse.kube.model.names import label_1035_problems, label_problems
from hanse.kube.model.objects import Object, mapping, sequence

from hanse.kube.kinds.types.checks import PORT_MESSAGE


def is_port(v: Any) -> bool:
    return isinstance(v, int) and 1 <= v <= 65535


_SERVICE_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")


def _default_service(obj: Object) -> None:
    spec = ensure(obj, "spec")
    spec["type"] = spec.get("type") or "ClusterIP"
    spec["sessionAffinity"] = spec.get("sessionAffinity") or "None"
    if spec["sessionAffinity"] == "ClientIP":
        ensure(ensure(spec, "sessionAffinityConfig"), "clientIP").setdefault("timeoutSeconds", 10800)
    for port in dicts(spec, "ports"):
        port["protocol"] = port.get("protocol") or "TCP"
        if port.get("targetPort") in (None, 0, "") and "port" in port:
            port["targetPort"] = port["port"]
    reachable = spec["type"] in ("NodePort", "LoadBalancer")
    if reachable or (spec["type"] == "ClusterIP" and spec.get("externalIPs")):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if reachable or spec["type"] == "ClusterIP":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def _default_endpoints(obj: Object) -> None:
    for subset in dicts(obj, "subsets"):
        for port in dicts(subset, "ports"):
            port.setdefault("protocol", "TCP")


def _default_endpoint_slice(obj: Object) -> None:
    for port in dicts(obj, "ports"):
        fill(port, {"name": "", "protocol": "TCP"})


def _service_errors(obj: Object) -> Iterator[FieldError]:
    spec = mapping(obj, "spec")
    kind = spec.get("type", "ClusterIP")
    ports = sequence(spec, "ports")
    if kind not in _SERVICE_TYPES:
        yield not_supported("spec.type", kind, _SERVICE_TYPES)
    if kind == "ExternalName":
        if not spec.get("externalName"):
            yield required("spec.externalName")
        if spec.get("clusterIP") not in (None, ""):
            yield forbidden("spec.clusterIPs", "may not be set for ExternalName services")
    elif not ports and spec.get("clusterIP") != "None":
        yield required("spec.ports")
    if spec.get("clusterIP") == "None" and kind in ("NodePort", "LoadBalancer"):
        yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    if spec.get("sessionAffinity") not in (None, "None", "ClientIP"):
        yield not_supported("spec.sessionAffinity", spec["sessionAffinity"], ("ClientIP", "None"))
    yield from label_errors(mapping(spec, "selector"), "spec.selector")
    yield from _service_port_errors(ports)


def _service_port_errors(ports: list[dict[str, Any]]) -> Iterator[FieldError]:
    names: set[str] = set()
    seen: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        where = f"spec.ports[{index}]"
        name = port.get("name") or ""
        if not name and len(ports) > 1:
            yield required(f"{where}.name")
        if name:
            for problem in label_problems(name):
                yield invalid(f"{where}.name", name, problem)
            if name in names:
                yield duplicate(f"{where}.name", name)
            names.add(name)
        if not is_port(port.get("port", 1)):
            yield invalid(f"{where}.port", port["port"], PORT_MESSAGE)
        if port.get("protocol", "TCP") not in ("SCTP", "TCP", "UDP"):
            yield not_supported(f"{where}.protocol", port["protocol"], ("SCTP", "TCP", "UDP"))
        target = port.get("targetPort")
        if isinstance(target, int) and not is_port(target):
            yield invalid(f"{where}.targetPort", target, PORT_MESSAGE)
        key = (port.get("port"), port.get("protocol", "TCP"))
        if key in seen:
            yield duplicate(where, {"port": key[0], "protocol": key[1]})
        seen.add(key)


def _service_changes(old: Object, new: Object) -> Iterator[FieldError]:
    before, after = mapping(old, "spec"), mapping(new, "spec")
    if "ExternalName" in (before.get("type"), after.get("type")):
        return
    address, wanted = before.get("clusterIP"), after.get("clusterIP")
    if address and wanted is not None and wanted != address:
        yield invalid("spec.clusterIPs[0]", [wanted], "may not change once set")


def _service_row(obj: Object, now: datetime) -> Sequence[Cell]:
    spec = mapping(obj, "spec")
    ports = []
    for port in sequence(spec, "ports"):
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        ports.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    return (
        spec.get("type", "ClusterIP"),
        spec.get("clusterIP") or NONE,
        _external_ip(obj),
        join(ports),
        labels_text(spec.get("selector")),
    )


def _external_ip(obj: Object) -> str:
    spec = mapping(obj, "spec")
    given = sequence(spec, "externalIPs")
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName") or NONE)
    if spec.get("type") == "LoadBalancer":
        found = ingress_addresses(obj) + [str(ip) for ip in given]
        return ",".join(found) or "<pending>"
    return join(given)


def _endpoints_row(obj: Object, now: datetime) -> Sequence[Cell]:
    found = []
    for subset in sequence(obj, "subsets"):
        ports = [p.get("port") for p in sequence(subset, "ports")]
        for address in sequence(subset, "addresses"):
            found += [f"{address.get('ip')}:{port}" for port in ports] or [address.get("ip")]
    return (join(found, most=3),)


def _endpoint_slice_row(obj: Object, now: datetime) -> Sequence[Cell]:
    ports = [p.get("port", "*") for p in sequence(obj, "ports")]
    addresses = [a for e in sequence(obj, "endpoints") for a in sequence(e, "addresses")]
    return obj.get("addressType", ""), join(ports, most=3) if ports else UNSET, join(addresses, most=3)


STRATEGIES: Final = {
    core.ENDPOINTS: Strategy(defaults=_default_endpoints, table=columns("Endpoints,Age", _endpoints_row)),
    core.SERVICE: Strategy(
        name_problems=label_1035_problems,
        defaults=_default_service,
        rules=_service_errors,
        update_rules=_service_changes,
        table=columns("Type,Cluster-IP,External-IP,Port(s),Age,Selector*", _service_row),
    ),
    networking.ENDPOINT_SLICE: Strategy(
        defaults=_default_endpoint_slice,
        table=columns("AddressType,Ports,Endpoints,Age", _endpoint_slice_row),
    ),
}
"""The strategies of the kinds that have one."""
