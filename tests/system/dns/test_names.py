"""Names on a running federation: host names as addresses of load balancers (the case `names`)."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tests.dns.upstream import FakeResolver, resolver
from tests.system.harness import Federation, Simulated, until
from tests.system.manifests import deployment

pytestmark = pytest.mark.timeout(240)
NAME = "web.dnsx.hanse.svc.example.org."


@pytest.fixture
def upstream() -> Iterator[FakeResolver]:
    """A resolver in a thread of its own."""
    started: Future[FakeResolver] = Future()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with resolver() as server:
            started.set_result(server)
            await stop.wait()

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield started.result(10)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture
def federation(kubectl: str, tmp_path: Path, upstream: FakeResolver) -> Iterator[Federation]:
    """A federation whose dns service asks that resolver."""
    settings = {"dns.dns_upstream": f"127.0.0.53:{upstream.port}"}
    with Federation(tmp_path / "data", members=Simulated(), settings=settings) as made:
        yield made


def test_addresses_and_host_names_answer_both(federation: Federation, upstream: FakeResolver) -> None:
    """One cluster's load balancer has an address, another's a host name: both are answered. Who cannot be is
    said, by `hanse names` and by `hanse explain`; a resolver that is gone takes nothing away."""
    upstream.aliases = {"lb.example.net": (60, "a.example.net")}
    upstream.records = {
        "a.example.net": (7, ["10.1.1.1", "2001:db8::1"]),
        "here.example.net": (7, ["127.0.0.1"]),
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "dnsx"},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "example.net/by-hand",
            "selector": {"app": "web"},
            "ports": [{"port": 80}],
        },
    }
    federation.kubectl("create", "namespace", "dnsx")
    federation.apply(deployment("dnsx", "web", 3), service)
    for cluster, address in (("eu-west", {"ip": "10.9.9.9"}), ("us-east", {"hostname": "lb.example.net"})):
        balanced(federation, cluster, address)

    def answered() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for each in record(federation).get("endpoints", ()):
            found.setdefault(each["cluster"], set()).add(each["address"])
        return found

    both = {"eu-west": {"10.9.9.9"}, "us-east": {"10.1.1.1", "2001:db8::1"}}
    until(lambda: answered() == both, what="both answer", seconds=30)
    assert record(federation)["ttl"] <= 7
    out = {each["cluster"]: each["reason"] for each in record(federation).get("leftOut", ())}
    assert out == {"on-prem": "its load balancer has no address"}

    balanced(federation, "on-prem", {"hostname": "here.example.net"})
    until(
        lambda: "no client can be sent to 127.0.0.1" in federation.hanse("names", "dnsx/web"),
        what="who sends clients to themselves is left out",
        seconds=30,
    )
    assert "left out: on-prem: its host name here.example.net has no address" in " ".join(
        federation.hanse("explain", "service/web", "-n", "dnsx").split()
    )

    upstream.silent = True
    until(
        lambda: "last known: lb.example.net: no resolver answers" in federation.hanse("names", "dnsx/web"),
        what="the resolver is gone",
        seconds=60,
    )
    assert answered() == both


def balanced(federation: Federation, cluster: str, address: dict[str, str]) -> None:
    """Say in a member where its load balancer is, as the cloud's controller does."""

    def there() -> bool:
        return federation.member(cluster).find("services", "dnsx", "web") is not None

    until(there, what=f"the Service is in {cluster}", seconds=30)
    status = json.dumps({"status": {"loadBalancer": {"ingress": [address]}}})
    patch = ("patch", "service", "web", "-n", "dnsx", "--subresource=status", "--type=merge", "-p", status)
    federation.kubectl("--context", cluster, *patch)


def record(federation: Federation) -> dict[str, Any]:
    """What is answered to the global name."""
    records = json.loads(federation.hanse("names", "dnsx/web", "-o", "json"))
    return next((dict(each) for each in records if each["fqdn"] == NAME), {})
