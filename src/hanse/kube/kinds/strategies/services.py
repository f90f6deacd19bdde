"""Services, and their endpoints in both forms.

Pure functions, and the strategies made of them. Next: `hanse.kube.kinds.strategies.kubernetes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from hanse.kube.kinds.fields.cells import NONE, UNSET, columns, ingress_addresses, join, labels_text
from hanse.kube.kinds.fields.filling import dicts, ensure, fill, fill_texts
from hanse.kube.kinds.fields.service_updates import carry_over
from hanse.kube.kinds.kubernetes import core, networking
from hanse.kube.kinds.strategy import Cell, Strategy
from hanse.kube.kinds.types.networking import service_annotations
from hanse.kube.model.fielderrors import FieldError, invalid
from hanse.kube.model.names import label_problems
from hanse.kube.model.objects import Object, mapping, sequence


def _default_service(obj: Object) -> None:
    spec = ensure(obj, "spec")
    spec["type"] = spec.get("type") or "ClusterIP"
    spec["sessionAffinity"] = spec.get("sessionAffinity") or "None"
    if spec["sessionAffinity"] == "ClientIP":
        ensure(ensure(spec, "sessionAffinityConfig"), "clientIP").setdefault("timeoutSeconds", 10800)
    elif spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    for port in dicts(spec, "ports"):
        port["protocol"] = port.get("protocol") or "TCP"
        if port.get("targetPort") in (None, 0, "") and "port" in port:
            port["targetPort"] = port["port"]
    reachable = spec["type"] in ("NodePort", "LoadBalancer")
    if reachable or (spec["type"] == "ClusterIP" and spec.get("externalIPs")):
        fill_texts(spec, {"externalTrafficPolicy": "Cluster"})
    if reachable or spec["type"] == "ClusterIP":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] == "ExternalName":
        spec.pop("internalTrafficPolicy", None)
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def _default_endpoints(obj: Object) -> None:
    for subset in dicts(obj, "subsets"):
        for port in dicts(subset, "ports"):
            fill_texts(port, {"protocol": "TCP"})


def _default_endpoint_slice(obj: Object) -> None:
    for port in dicts(obj, "ports"):
        fill(port, {"name": "", "protocol": "TCP"})


def _service_errors(obj: Object) -> Iterator[FieldError]:
    yield from service_annotations(obj)


def _service_changes(old: Object, new: Object) -> Iterator[FieldError]:
    before, after = mapping(old, "spec"), mapping(new, "spec")
    if "ExternalName" in (before.get("type"), after.get("type")):
        return
    address, wanted = before.get("clusterIP"), after.get("clusterIP")
    if not address and wanted == "None":
        # Nobody said an address, so each member has given one away.
        yield invalid("spec.clusterIPs[0]", [wanted], "may not change once set")
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
        name_problems=label_problems,
        defaults=_default_service,
        carry_over=carry_over,
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
