"""Types of networking: Services, endpoints in both forms, Ingresses, NetworkPolicies.

Pure. Next: `hanse.kube.kinds.types.table`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any, Final

from hanse.kube.kinds.types.checks import (
    PORT,
    Check,
    Given,
    Plain,
    address,
    at_most,
    both,
    choice,
    cidr,
    each,
    is_address,
    network,
    port_or_name,
    struct,
    text,
    unique,
)
from hanse.kube.kinds.types.metadata import LABELS
from hanse.kube.model.fielderrors import FieldError, duplicate, forbidden, invalid, required
from hanse.kube.model.names import (
    label_problems,
    label_value_problems,
    path_segment_problems,
    port_name_problems,
    qualified_name_problems,
    subdomain_problems,
)
from hanse.kube.model.objects import mapping, sequence

_PROTOCOL: Final = choice("SCTP", "TCP", "UDP")
_QUALIFIED: Final = Given(text(qualified_name_problems))
_SEGMENT: Final = text(path_segment_problems)
_SUBDOMAIN: Final = text(subdomain_problems)
_LABEL: Final = text(label_problems)
_FAMILIES: Final = ("IPv4", "IPv6")
_DISTRIBUTIONS: Final = ("PreferClose", "PreferSameNode", "PreferSameZone")
_PATHS_WITHOUT: Final = ("//", "/./", "/../", "%2f", "%2F")
_PATHS_NOT_ENDING: Final = ("/..", "/.")
_SOURCE_RANGES: Final = "service.beta.kubernetes.io/load-balancer-source-ranges"
_URL_PATH: Final = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")
_CLASS: Final = "kubernetes.io/ingress.class"


def endpoint_address(value: Any, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with the address of an endpoint: what no other machine can reach."""
    if not is_address(value):
        yield from address(value, where)
        return
    found = ipaddress.ip_address(".".join(p.lstrip("0") or "0" for p in str(value).split("."))
                                 if ":" not in str(value) else str(value))  # fmt: skip
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    if found.is_unspecified:
        yield invalid(where, value, f"may not be unspecified ({value})")
    elif found.is_loopback:
        yield invalid(where, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    elif found.is_link_local:
        yield invalid(where, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    elif found in _LOCAL_MULTICAST[found.version]:
        yield invalid(where, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")


_LOCAL_MULTICAST: Final[dict[int, Any]] = {
    4: ipaddress.ip_network("224.0.0.0/24"),
    6: ipaddress.ip_network("ff02::/16"),
}


def is_headless(spec: Any) -> bool:
    """Report whether a Service has no address of its own."""
    return spec.get("clusterIP") == "None" or sequence(spec, "clusterIPs")[:1] == ["None"]


def _service(value: Any, where: str) -> Iterator[FieldError]:
    kind = value.get("type") or "ClusterIP"
    ports = sequence(value, "ports")
    headless = is_headless(value)
    if not ports and not headless and kind != "ExternalName":
        yield required(f"{where}.ports")
    if kind in ("LoadBalancer", "NodePort") and headless:
        yield invalid(f"{where}.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    if kind == "ExternalName":
        yield from _external_name(value, where)
    else:
        yield from _addresses(value, where, headless=headless)
    yield from _ports(value, where, kind)
    config = value.get("sessionAffinityConfig")
    if value.get("sessionAffinity") == "ClientIP":
        seconds = mapping(config, "clientIP").get("timeoutSeconds")
        if isinstance(seconds, int) and not 0 < seconds <= 86400:
            at = f"{where}.sessionAffinityConfig.clientIP.timeoutSeconds"
            yield invalid(at, seconds, "must be greater than 0 and less than 86400")
    elif config is not None:
        message = "must not be set when session affinity is None"
        yield forbidden(f"{where}.sessionAffinityConfig", message)
    yield from _load_balancer(value, where, kind)
    yield from _traffic(value, where, kind)


def _external_name(value: Any, where: str) -> Iterator[FieldError]:
    if value.get("clusterIP") or value.get("clusterIPs"):
        yield forbidden(f"{where}.clusterIPs", "may not be set for ExternalName services")
    for field in ("ipFamilies", "ipFamilyPolicy"):
        if value.get(field):
            yield forbidden(f"{where}.{field}", "may not be set for ExternalName services")
    name = (value.get("externalName") or "").removesuffix(".")
    if not name:
        yield required(f"{where}.externalName")
    else:
        yield from _SUBDOMAIN(name, f"{where}.externalName")


def _addresses(value: Any, where: str, *, headless: bool) -> Iterator[FieldError]:
    one, several = value.get("clusterIP") or "", sequence(value, "clusterIPs")
    at = f"{where}.clusterIPs"
    if one and several and several[0] != one:
        yield invalid(at, several, "first value must match `clusterIP`")
    found = [str(each_) for each_ in several or ([one] if one else [])]
    if headless:
        if len(found) > 1:
            yield invalid(at, several, "'None' must be the first and only value")
        return
    wrong = [index for index, each_ in enumerate(found) if not is_address(each_)]
    for index in wrong:
        yield from address(found[index], f"{at}[{index}]")
    if len(found) > 2:
        yield invalid(at, several, "may only hold up to 2 values")
    six = [":" in each_ for each_ in found]
    if not wrong and len(found) == 2 and six[0] == six[1]:
        yield invalid(at, several, "may specify no more than one IP for each IP family")
    for index, (is_six, family) in enumerate(zip(six, sequence(value, "ipFamilies"), strict=False)):
        if family in _FAMILIES and is_six != (family == "IPv6"):
            message = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            yield invalid(f"{at}[{index}]", found[index], message)


def _ports(value: Any, where: str, kind: str) -> Iterator[FieldError]:
    ports = sequence(value, "ports")
    names: set[str] = set()
    seen: set[tuple[Any, Any]] = set()
    nodes: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        at = f"{where}.ports[{index}]"
        name = port.get("name") or ""
        if not name and len(ports) > 1:
            yield required(f"{at}.name")
        if name and name in names:
            yield duplicate(f"{at}.name", name)
        names.add(name)
        protocol, node = port.get("protocol") or "TCP", port.get("nodePort")
        if (protocol, port.get("port")) in seen:
            yield duplicate(at, {"port": port.get("port"), "protocol": protocol})
        seen.add((protocol, port.get("port")))
        if not node:
            continue
        if kind == "ClusterIP":
            yield forbidden(f"{at}.nodePort", "may not be used when `type` is 'ClusterIP'")
        if (protocol, node) in nodes:
            yield duplicate(f"{at}.nodePort", node)
        nodes.add((protocol, node))


def _load_balancer(value: Any, where: str, kind: str) -> Iterator[FieldError]:
    for index, given in enumerate(sequence(value, "loadBalancerSourceRanges")):
        yield from cidr(given.strip(), f"{where}.LoadBalancerSourceRanges[{index}]")
    if kind != "LoadBalancer":
        message = "may only be used when `type` is 'LoadBalancer'"
        if value.get("loadBalancerSourceRanges"):
            yield forbidden(f"{where}.LoadBalancerSourceRanges", message)
        for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if value.get(field) is not None:
                yield forbidden(f"{where}.{field}", message)
    elif value.get("loadBalancerClass") is not None:
        yield from text(qualified_name_problems)(value["loadBalancerClass"], f"{where}.loadBalancerClass")


def is_exposed(spec: Any) -> bool:
    """Report whether a Service is reached from outside of its cluster."""
    kind = spec.get("type") or "ClusterIP"
    return kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def _traffic(value: Any, where: str, kind: str) -> Iterator[FieldError]:
    policy = value.get("externalTrafficPolicy")
    if policy and not is_exposed(value):
        yield invalid(
            f"{where}.externalTrafficPolicy", policy, "may only be set for externally-accessible services"
        )
    health = value.get("healthCheckNodePort") or 0
    checked = kind == "LoadBalancer" and policy == "Local"
    at = f"{where}.healthCheckNodePort"
    if health and not checked:
        message = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield invalid(at, health, message)
    elif health:
        yield from PORT(health, at)


def service_annotations(obj: Any) -> Iterator[FieldError]:
    """Yield what is wrong with the annotations of a Service."""
    annotations = mapping(obj, "metadata", "annotations")
    ranges = annotations.get(_SOURCE_RANGES)
    if ranges is None or mapping(obj, "spec").get("loadBalancerSourceRanges"):
        return
    at = f"metadata.annotations[{_SOURCE_RANGES}]"
    if mapping(obj, "spec").get("type") != "LoadBalancer":
        yield forbidden(at, "may only be used when `type` is 'LoadBalancer'")
    for given in filter(None, ranges.strip().split(",")):
        yield from cidr(given.strip(), at)


def ingress_annotations(obj: Any) -> Iterator[FieldError]:
    """Yield what is wrong with the annotations of a new Ingress."""
    said = mapping(obj, "metadata", "annotations").get(_CLASS)
    name = mapping(obj, "spec").get("ingressClassName")
    if said is not None and name is not None and said != name:
        yield invalid(f"annotations.{_CLASS}", said, "must match `ingressClassName` when both are specified")


def _slice(value: Any, where: str) -> Iterator[FieldError]:
    kind = value.get("addressType")
    for index, endpoint in enumerate(sequence(value, "endpoints")):
        for number, given in enumerate(sequence(endpoint, "addresses")):
            at = f"endpoints[{index}].addresses[{number}]"
            if kind == "FQDN":
                problems = subdomain_problems(given.removesuffix("."))
                if not problems and len(given.removesuffix(".").split(".")) < 2:
                    problems = ["should be a domain with at least two segments separated by dots"]
                for problem in problems:
                    yield invalid(at, given, problem)
            elif kind in _FAMILIES:
                if is_address(given) and (":" in given) != (kind == "IPv6"):
                    yield invalid(at, given, f"must be an {kind} address")
                yield from endpoint_address(given, at)
                if kind == "IPv6" and is_address(given) and str(ipaddress.ip_address(given)) != given:
                    yield invalid(at, given, "must be in canonical form")


def _subset(value: Any, where: str) -> Iterator[FieldError]:
    if not value.get("addresses") and not value.get("notReadyAddresses"):
        yield required(where, "must specify `addresses` or `notReadyAddresses`")
    ports = sequence(value, "ports")
    for index, port in enumerate(ports if len(ports) > 1 else ()):
        if not port.get("name"):
            yield required(f"{where}.ports[{index}].name")


def _host(value: Any, where: str) -> Iterator[FieldError]:
    if is_address(value):
        yield invalid(where, value, "must be a DNS name, not an IP address")
    yield from host_name(value, where)


def host_name(value: Any, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with the name of a host, which may begin with a wildcard."""
    if "*" in value:
        rest = value.removeprefix("*.")
        if rest == value or subdomain_problems(rest):
            yield invalid(where, value, "a wildcard DNS-1123 subdomain must start with '*.'")
    else:
        yield from _SUBDOMAIN(value, where)


def _ingress(value: Any, where: str) -> Iterator[FieldError]:
    if not value.get("rules") and value.get("defaultBackend") is None:
        yield invalid(where, value.get("rules"), "either `defaultBackend` or `rules` must be specified")


def _path(value: Any, where: str) -> Iterator[FieldError]:
    path, kind = value.get("path") or "", value.get("pathType")
    at = f"{where}.path"
    if kind is None:
        yield required(f"{where}.pathType", "pathType must be specified")
    if kind in ("Exact", "Prefix"):
        if not path.startswith("/"):
            yield invalid(at, path, "must be an absolute path")
        for part in _PATHS_WITHOUT:
            if part in path:
                yield invalid(at, path, f"must not contain '{part}'")
        for end in _PATHS_NOT_ENDING:
            if path.endswith(end):
                yield invalid(at, path, f"cannot end with '{end}'")
    elif path and not path.startswith("/"):
        yield invalid(at, path, "must be an absolute path")
    if value.get("backend") is None:
        yield invalid(f"{where}.backend", "", "resource or service backend is required")


_RESOURCE: Final = struct(needs="kind name", apiGroup=Given(_SUBDOMAIN), kind=_SEGMENT, name=_SEGMENT)


def _backend(value: Any, where: str) -> Iterator[FieldError]:
    resource, service = value.get("resource"), value.get("service")
    if resource is not None and service is not None:
        yield invalid(where, "", "cannot set both resource and service backends")
    elif resource is None and service is None:
        yield invalid(where, "", "resource or service backend is required")
    elif service is not None:
        port = mapping(service, "port")
        if port.get("name") and port.get("number"):
            yield invalid(where, "", "cannot set both port name & port number")
        elif not port.get("name") and not port.get("number"):
            yield required(where, "port name or number is required")
    elif resource is not None:
        yield from _RESOURCE(resource, f"{where}.resource")


def _parameters(value: Any, where: str) -> Iterator[FieldError]:
    scope, namespace = value.get("scope"), value.get("namespace")
    if scope == "Namespace":
        if namespace is None:
            yield required(f"{where}.namespace", "`parameters.scope` is set to 'Namespace'")
        else:
            yield from _LABEL(namespace, f"{where}.namespace")
    elif scope == "Cluster" and namespace is not None:
        yield forbidden(f"{where}.namespace", "`parameters.scope` is set to 'Cluster'")


def _policy_port(value: Any, where: str) -> Iterator[FieldError]:
    port, end = value.get("port"), value.get("endPort")
    at = f"{where}.endPort"
    if port is None:
        if end is not None:
            yield invalid(at, end, "may not be specified when `port` is not specified")
    elif isinstance(port, int):
        yield from PORT(port, f"{where}.port")
        if end is not None and end < port:
            yield invalid(at, end, "must be greater than or equal to `port`")
        if end is not None:
            yield from PORT(end, at)
    else:
        if end is not None:
            yield invalid(at, end, "may not be specified when `port` is non-numeric")
        yield from text(port_name_problems)(port, f"{where}.port")


def _peer(value: Any, where: str) -> Iterator[FieldError]:
    given = [f for f in ("podSelector", "namespaceSelector", "ipBlock") if value.get(f) is not None]
    if not given:
        yield required(where, "must specify a peer")
    elif len(given) > 1 and "ipBlock" in given:
        yield forbidden(where, "may not specify both ipBlock and another peer")


def _block(value: Any, where: str) -> Iterator[FieldError]:
    outer = network(value.get("cidr"))
    for index, given in enumerate(sequence(value, "except")):
        at = f"{where}.except[{index}]"
        inner = network(given)
        if inner is None:
            yield from cidr(given, at)
        elif outer is not None and (
            inner.version != outer.version
            or inner.prefixlen <= outer.prefixlen
            or inner.network_address not in outer
        ):
            yield invalid(at, given, "must be a strict subset of `cidr`")


def domain_path(value: Any, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with a path below a domain, such as `acme.io/foo`."""
    domain, _, path = value.partition("/")
    if not path or subdomain_problems(domain) or not _URL_PATH.fullmatch(path):
        yield invalid(where, value, 'must be a domain-prefixed path (such as "acme.io/foo")')


def _service_ranges(value: Any, where: str) -> Iterator[FieldError]:
    ranges = sequence(value, "cidrs")
    at = f"{where}.cidrs"
    if not ranges:
        yield required(at, "at least one CIDR required")
    if len(ranges) > 2:
        yield invalid(at, ranges, "may only hold up to 2 values")
    for index, given in enumerate(ranges):
        found = network(given)
        if found is None or str(found) != given:
            yield invalid(f"{at}[{index}]", given, "must be in canonical form")
    if len(ranges) == 2 and (":" in ranges[0]) == (":" in ranges[1]):
        yield invalid(at, ranges, "may specify no more than one IP for each IP family")


TYPES: Final[dict[str, Check]] = {
    "core.v1.EndpointAddress": struct(
        ip=Plain(endpoint_address), hostname=_LABEL, nodeName=Given(_SUBDOMAIN)
    ),
    "core.v1.EndpointPort": struct(
        name=_LABEL, port=Plain(PORT, 0), protocol=_PROTOCOL, appProtocol=_QUALIFIED
    ),
    "core.v1.EndpointSubset": struct(_subset),
    "core.v1.Service": struct(),
    "core.v1.ServicePort": struct(
        name=_LABEL,
        port=Plain(PORT, 0),
        protocol=_PROTOCOL,
        targetPort=Given(port_or_name(text(port_name_problems))),
        appProtocol=_QUALIFIED,
    ),
    "core.v1.ServiceSpec": struct(
        _service,
        type=choice("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"),
        selector=LABELS,
        sessionAffinity=choice("ClientIP", "None"),
        ipFamilies=each(choice(*_FAMILIES), unique=True),
        ipFamilyPolicy=Given(choice("PreferDualStack", "RequireDualStack", "SingleStack")),
        externalIPs=each(endpoint_address),
        externalTrafficPolicy=choice("Cluster", "Local"),
        internalTrafficPolicy=Given(choice("Cluster", "Local")),
        trafficDistribution=Given(choice(*_DISTRIBUTIONS)),
    ),
    "discovery.v1.Endpoint": struct(
        needs="addresses",
        addresses=at_most(100),
        hostname=Given(_LABEL),
        nodeName=Given(_SUBDOMAIN),
    ),
    "discovery.v1.EndpointHints": struct(
        forZones=both(at_most(8), unique("name")), forNodes=both(at_most(8), unique("name"))
    ),
    "discovery.v1.EndpointPort": struct(name=_LABEL, protocol=Given(_PROTOCOL), appProtocol=_QUALIFIED),
    "discovery.v1.EndpointSlice": struct(
        _slice,
        addressType=Plain(choice("FQDN", *_FAMILIES)),
        endpoints=at_most(1000),
        ports=both(at_most(20000), unique("name")),
    ),
    "discovery.v1.ForNode": struct(name=Plain(_SUBDOMAIN)),
    "discovery.v1.ForZone": struct(name=text(label_value_problems)),
    "networking.v1.HTTPIngressPath": struct(
        _path, pathType=Given(choice("Exact", "ImplementationSpecific", "Prefix"))
    ),
    "networking.v1.HTTPIngressRuleValue": struct(needs="paths"),
    "networking.v1.IPAddressSpec": struct(needs="parentRef"),
    "networking.v1.IPBlock": struct(_block, needs="cidr", cidr=cidr),
    "networking.v1.IngressBackend": struct(_backend),
    "networking.v1.IngressClassParametersReference": struct(
        _parameters,
        needs="kind name",
        apiGroup=Given(_SUBDOMAIN),
        kind=_SEGMENT,
        name=_SEGMENT,
        scope=Given(choice("Cluster", "Namespace")),
    ),
    "networking.v1.IngressClassSpec": struct(needs="controller", controller=domain_path),
    "networking.v1.IngressRule": struct(host=_host),
    "networking.v1.IngressServiceBackend": struct(needs="name", name=_LABEL),
    "networking.v1.IngressSpec": struct(_ingress, ingressClassName=Given(_SUBDOMAIN)),
    "networking.v1.IngressTLS": struct(hosts=each(host_name), secretName=_SUBDOMAIN),
    "networking.v1.NetworkPolicyPeer": struct(_peer),
    "networking.v1.NetworkPolicyPort": struct(_policy_port, protocol=Given(_PROTOCOL)),
    "networking.v1.NetworkPolicySpec": struct(
        policyTypes=both(at_most(2), each(choice("Egress", "Ingress")))
    ),
    "networking.v1.ParentReference": struct(
        needs="resource name", group=_SUBDOMAIN, resource=_SEGMENT, name=_SEGMENT, namespace=_SEGMENT
    ),
    "networking.v1.ServiceBackendPort": struct(name=text(port_name_problems), number=PORT),
    "networking.v1.ServiceCIDRSpec": struct(_service_ranges),
}
"""The checks of these types, by their short names."""
