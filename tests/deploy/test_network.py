"""NetworkPolicies let exactly those talk to each other who must, by settings and the rules of the RPCs."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from hanse.process.settings import split_address
from hanse.rpc.policy import service
from tests.deploy.manifests import (
    COMPONENT,
    OVERLAYS,
    SERVICES,
    WORKLOADS,
    Manifest,
    build,
    container,
    environment,
    matches,
    named,
    needs_kubectl,
    of_kind,
    pod,
)
from tests.docs.tables import POLICIES

pytestmark = needs_kubectl
CLIENT = {"hanse.dev/client": "true"}
STRANGER = {"app": "stranger"}
Port = tuple[int, str]
RESOLVER: set[Port] = {(53, "UDP"), (53, "TCP")}


@pytest.fixture(params=[*((each,) for each in OVERLAYS), ("ha", "backup")], ids="+".join)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """An overlay, alone or with a component."""
    return build(*request.param)


def allows(
    manifests: list[Manifest], direction: str, *, own: dict[str, str], other: dict[str, str], port: Port
) -> bool:
    """Whether policies let Pods with the labels `own` talk to, or be talked to by, Pods of this namespace."""
    kind, peers = ("Egress", "to") if direction == "egress" else ("Ingress", "from")
    policies = [
        each["spec"]
        for each in of_kind(manifests, "NetworkPolicy")
        if kind in each["spec"]["policyTypes"] and matches(each["spec"]["podSelector"], own)
    ]
    assert policies, "nobody is without a policy"
    return any(
        _has_port(rule, port) and (peers not in rule or any(_has_peer(peer, other) for peer in rule[peers]))
        for spec in policies
        for rule in spec.get(direction, ())
    )


def _has_port(rule: dict[str, Any], port: Port) -> bool:
    return any((each["port"], each["protocol"]) == port for each in rule["ports"])


def _has_peer(peer: dict[str, Any], labels: dict[str, str]) -> bool:
    return "podSelector" in peer and "namespaceSelector" not in peer and matches(peer["podSelector"], labels)


def labels_of(manifests: list[Manifest]) -> dict[str, dict[str, str]]:
    """Labels of Pods, by component."""
    templates = [pod(each)["metadata"]["labels"] for each in of_kind(manifests, *WORKLOADS)]
    return {labels[COMPONENT]: labels for labels in templates}


def addressed(manifests: list[Manifest]) -> set[tuple[str, str, Port]]:
    """Who has the address of whom: (component, component, port), out of environments and Services."""
    found: set[tuple[str, str, Port]] = set()
    for workload in of_kind(manifests, *WORKLOADS):
        who = pod(workload)["metadata"]["labels"][COMPONENT]
        for name, value in environment(manifests, workload).items():
            if name.endswith(("_ENDPOINTS", "_ENDPOINT", "_PEERS")):
                addresses = [each.rpartition("=")[2] for each in value.split(",")]
                for host, port in map(split_address, addresses):
                    service = named(manifests, "Service", host)["spec"]
                    (target,) = (each["targetPort"] for each in service["ports"] if each["port"] == port)
                    number = container_port(manifests, service["selector"][COMPONENT], target)
                    found.add((who, service["selector"][COMPONENT], (number, "TCP")))
            if name == "ETCD_INITIAL_CLUSTER":
                found.add((who, who, (2380, "TCP")))
    return found


def container_port(manifests: list[Manifest], component: str, name: str) -> int:
    """The number of a named port."""
    (workload,) = (
        each
        for each in of_kind(manifests, *WORKLOADS)
        if pod(each)["metadata"]["labels"][COMPONENT] == component
    )
    (number,) = (each["containerPort"] for each in container(workload)["ports"] if each["name"] == name)
    return int(number)


def test_who_has_an_address_may_connect_and_nobody_else(manifests: list[Manifest]) -> None:
    """Between our own Pods exactly the connections are let through that somebody is told to make."""
    labels = labels_of(manifests)
    open_to_all = {("apiserver", (6443, "TCP")), ("dns", (5353, "TCP"))}
    every = [(number, "TCP") for number in (2379, 2380, 2381, 5353, 6443, 7000, 7001)]
    connected = {
        (one, other, port)
        for one, other, port in product(labels, labels, every)
        if allows(manifests, "egress", own=labels[one], other=labels[other], port=port)
        and allows(manifests, "ingress", own=labels[other], other=labels[one], port=port)
    }
    assert connected == addressed(manifests)
    listening = {
        (component, port)
        for component, port in product(labels, every)
        if allows(manifests, "ingress", own=labels[component], other=STRANGER, port=port)
    }
    assert listening == open_to_all


def test_who_may_call_by_the_rules_of_the_rpcs_may_connect(manifests: list[Manifest]) -> None:
    """The services that a service's rules let in reach it, and no others."""
    labels = labels_of(manifests)
    connected = {
        (one, other)
        for one, other in product(SERVICES, SERVICES)
        if allows(manifests, "ingress", own=labels[other], other=labels[one], port=(7000, "TCP"))
    }
    allowed = {
        (one, other) for one, other in product(SERVICES, SERVICES) if service(one) in principals(other)
    }
    assert connected == allowed
    assert {one for one, other in allowed if other == "apiserver"} == {"registry", "scheduler", "syncer"}


def principals(of: str) -> set[str]:
    """Everybody whom some rule of a service's RPCs lets in."""
    policy = dict(zip(("registry", "scheduler", "syncer", "dns", "apiserver"), POLICIES, strict=True))[of]
    return {who for rule in policy._rules.values() for who in rule}


def test_a_client_reaches_grpc_only_with_its_label(manifests: list[Manifest]) -> None:
    """A Pod of the namespace that says that it is a client reaches every service's RPCs, and etcd never."""
    labels = labels_of(manifests)
    for component in SERVICES:
        for other, expected in ((CLIENT, True), (STRANGER, False)):
            own = labels[component]
            assert allows(manifests, "ingress", own=own, other=other, port=(7000, "TCP")) is expected
            assert allows(manifests, "egress", own=other, other=own, port=(7000, "TCP")) is expected
    assert not allows(manifests, "ingress", own=labels["etcd"], other=CLIENT, port=(2379, "TCP"))


def test_who_opens_credentials_reaches_members_and_nobody_else(manifests: list[Manifest]) -> None:
    """Who has the key of the members' credentials leaves the cluster; not to link-local addresses."""
    outside = {
        component: [block for block, ports in blocks if ports != RESOLVER]
        for component, blocks in leaving(manifests).items()
    }
    with_key = {
        pod(each)["metadata"]["labels"][COMPONENT]
        for each in of_kind(manifests, "Deployment")
        if any(name.endswith("_CREDENTIALS_KEY_FILE") for name in environment(manifests, each))
    }
    assert (
        {component for component, blocks in outside.items() if blocks} == with_key == {"registry", "syncer"}
    )
    assert all(block["except"] for blocks in outside.values() for block in blocks)


def test_the_dns_service_reaches_resolvers_and_nobody_else_does(manifests: list[Manifest]) -> None:
    """Wherever `dns_upstream` has them, over UDP and TCP; nothing else leaves the cluster from there."""
    found = {
        component: {block["cidr"] for block, ports in blocks if ports == RESOLVER}
        for component, blocks in leaving(manifests).items()
    }
    assert {component for component, blocks in found.items() if blocks} == {"dns"}
    assert found["dns"] == {"0.0.0.0/0", "::/0"}
    assert all(ports == RESOLVER for _, ports in leaving(manifests)["dns"])


def leaving(manifests: list[Manifest]) -> dict[str, list[tuple[dict[str, Any], set[Port]]]]:
    """Blocks of addresses that Pods may connect to, with the ports, by component."""
    return {
        component: [
            (peer["ipBlock"], {(each["port"], each["protocol"]) for each in rule["ports"]})
            for each in of_kind(manifests, "NetworkPolicy")
            if matches(each["spec"]["podSelector"], labels)
            for rule in each["spec"].get("egress", ())
            for peer in rule["to"]
            if "ipBlock" in peer
        ]
        for component, labels in labels_of(manifests).items()
    }


def test_everything_is_denied_first(manifests: list[Manifest]) -> None:
    """One policy selects every Pod of the namespace and allows nothing, in neither direction."""
    spec = named(manifests, "NetworkPolicy", "hanse-default-deny")["spec"]
    assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    names = named(manifests, "NetworkPolicy", "hanse-resolve-names")["spec"]
    (rule,) = names["egress"]
    assert {(each["port"], each["protocol"]) for each in rule["ports"]} == {(53, "UDP"), (53, "TCP")}
