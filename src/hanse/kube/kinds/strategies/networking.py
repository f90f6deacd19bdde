"""Ingresses, their classes, and NetworkPolicies.

Pure functions, and the strategies made of them. Next: `hanse.kube.kinds.strategies.kubernetes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from hanse.kube.kinds.fields.cells import NONE, columns, ingress_addresses, join, selector_text
from hanse.kube.kinds.fields.filling import dicts, ensure, section
from hanse.kube.kinds.kubernetes.networking import INGRESS, INGRESS_CLASS, IP_ADDRESS, NETWORK_POLICY
from hanse.kube.kinds.strategy import Cell, Strategy
from hanse.kube.kinds.types.networking import ingress_annotations
from hanse.kube.model.fielderrors import FieldError
from hanse.kube.model.names import address_problems
from hanse.kube.model.objects import Object, mapping, sequence


def _default_ingress_class(obj: Object) -> None:
    parameters = section(section(obj, "spec"), "parameters")
    if parameters is not None:
        parameters.setdefault("scope", "Cluster")


def _default_network_policy(obj: Object) -> None:
    spec = ensure(obj, "spec")
    for direction in ("ingress", "egress"):
        for rule in dicts(spec, direction):
            for port in dicts(rule, "ports"):
                port.setdefault("protocol", "TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _ingress_errors(obj: Object) -> Iterator[FieldError]:
    yield from ingress_annotations(obj)


def _ingress_row(obj: Object, now: datetime) -> Sequence[Cell]:
    spec = mapping(obj, "spec")
    hosts = [r["host"] for r in sequence(spec, "rules") if r.get("host")]
    return (
        spec.get("ingressClassName") or NONE,
        join(hosts, most=3) if hosts else "*",
        ",".join(ingress_addresses(obj)),
        "80, 443" if sequence(spec, "tls") else "80",
    )


def _ingress_class_row(obj: Object, now: datetime) -> Sequence[Cell]:
    parameters = mapping(obj, "spec", "parameters")
    shown = f"{parameters.get('kind')}.{parameters.get('apiGroup')}/{parameters.get('name')}"
    return mapping(obj, "spec").get("controller", ""), shown if parameters else NONE


def _network_policy_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return (selector_text(mapping(obj, "spec").get("podSelector")),)


STRATEGIES: Final = {
    INGRESS: Strategy(
        create_rules=_ingress_errors, table=columns("Class,Hosts,Address,Ports,Age", _ingress_row)
    ),
    INGRESS_CLASS: Strategy(
        defaults=_default_ingress_class,
        immutable=("spec.controller",),
        table=columns("Controller,Parameters,Age", _ingress_class_row),
    ),
    IP_ADDRESS: Strategy(name_problems=address_problems),
    NETWORK_POLICY: Strategy(
        defaults=_default_network_policy, table=columns("Pod-Selector,Age", _network_policy_row)
    ),
}
"""The strategies of the kinds that have one."""
