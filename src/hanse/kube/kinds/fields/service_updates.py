"""What an update makes of a Service: values that were given away are kept, and those of another type go.

The law: *after an update a Service has the spec that kube-apiserver would leave it*, so that it can be
created again as it is. What a client does not say of addresses and ports stays as it was while the type
still has them. What the new type does not have goes, if the update did not change it; what it did change is
left for validation to refuse. Pure; changes the new object in place. Next:
`hanse.kube.kinds.strategies.services`.
"""

from __future__ import annotations

from hanse.kube.kinds.fields.filling import Spec, dicts, section
from hanse.kube.kinds.types.networking import is_exposed
from hanse.kube.model.objects import Object


def carry_over(old: Object, new: Object) -> None:
    """Bring the new object to what is stored in place of the old one."""
    before, after = section(old, "spec") or {}, section(new, "spec")
    if after is None:
        return
    if not after.get("clusterIP") and after.get("clusterIPs") == before.get("clusterIPs"):
        after.pop("clusterIPs", None)
    _keep_given(before, after)
    _drop_of_type(before, after)


def _kind(spec: Spec) -> str:
    return str(spec.get("type") or "ClusterIP")


def _has_address(spec: Spec) -> bool:
    return _kind(spec) != "ExternalName"


def _has_node_ports(spec: Spec) -> bool:
    return _kind(spec) in ("NodePort", "LoadBalancer")


def _gets_node_ports(spec: Spec) -> bool:
    """Report whether ports of nodes are given to a Service, which can ask for none."""
    kind = _kind(spec)
    wanted = spec.get("allocateLoadBalancerNodePorts") is not False
    return kind == "NodePort" or (kind == "LoadBalancer" and wanted)


def _is_checked(spec: Spec) -> bool:
    return _kind(spec) == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _node_ports(spec: Spec) -> set[int]:
    return {port["nodePort"] for port in dicts(spec, "ports") if port.get("nodePort")}


def _keep_given(before: Spec, after: Spec) -> None:
    if _has_address(before) and _has_address(after):
        for field in ("clusterIP", "clusterIPs"):
            if not after.get(field) and before.get(field):
                after[field] = before[field]
    if _gets_node_ports(before) and _gets_node_ports(after):
        used = _node_ports(before) & _node_ports(after)
        known = {port.get("name") or "": port.get("nodePort") for port in dicts(before, "ports")}
        for port in dicts(after, "ports"):
            given = known.get(port.get("name") or "")
            if not port.get("nodePort") and given and given not in used:
                port["nodePort"] = given
    if _is_checked(before) and _is_checked(after) and before.get("healthCheckNodePort"):
        after["healthCheckNodePort"] = after.get("healthCheckNodePort") or before["healthCheckNodePort"]


def _drop_of_type(before: Spec, after: Spec) -> None:
    if _has_address(before) and not _has_address(after):
        if all((before.get(f) or None) == (after.get(f) or None) for f in ("clusterIP", "clusterIPs")):
            _drop(after, "clusterIP", "clusterIPs")
        for field in ("ipFamilies", "ipFamilyPolicy"):
            _drop_same(before, after, field)
    if _has_node_ports(before) and not _has_node_ports(after) and _node_ports(after) <= _node_ports(before):
        for port in dicts(after, "ports"):
            port.pop("nodePort", None)
    if _is_checked(before) and not _is_checked(after):
        _drop_same(before, after, "healthCheckNodePort")
    if _kind(before) == "LoadBalancer" != _kind(after):
        _drop_same(before, after, "allocateLoadBalancerNodePorts")
        _drop_same(before, after, "loadBalancerClass")
    if is_exposed(before) and not is_exposed(after):
        _drop_same(before, after, "externalTrafficPolicy")


def _drop(spec: Spec, *fields: str) -> None:
    for field in fields:
        spec.pop(field, None)


def _drop_same(before: Spec, after: Spec, field: str) -> None:
    if before.get(field) == after.get(field):
        after.pop(field, None)
