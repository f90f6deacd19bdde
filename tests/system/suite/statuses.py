"""One status for many members: what kubectl shows and waits for.

Next: `jobs`.
"""

from __future__ import annotations

import ipaddress

from tests.system.harness import NAMES, Federation, until
from tests.system.manifests import deployment, ingress, job, service, workload
from tests.system.suite.base import replicas, until_in


class StatusSuite:
    """Aggregated status."""

    def test_a_rollout_ends_when_all_members_are_done(self, federation: Federation, ns: str) -> None:
        """`kubectl rollout status` and `kubectl wait` end, and the status is the members' sum."""
        federation.apply(deployment(ns, "web", 6))
        said = federation.kubectl("rollout", "status", "deploy/web", "-n", ns, "--timeout=60s").out
        assert "successfully rolled out" in said
        federation.kubectl("wait", "--for=condition=Available", "deploy/web", "-n", ns, "--timeout=30s")
        status = federation.api.get("deployments.apps", ns, "web")["status"]
        assert status["replicas"] == status["readyReplicas"] == status["updatedReplicas"] == 6
        assert status["observedGeneration"] == 1
        assert {entry["name"] for entry in status["clusters"]} == set(NAMES)
        columns = federation.kubectl("get", "deploy", "web", "-n", ns, "--no-headers").out.split()
        assert columns[:4] == ["web", "6/6", "6", "6"]

    def test_stateful_and_daemon_sets(self, federation: Federation, ns: str) -> None:
        """StatefulSets and DaemonSets are summed as Deployments are."""
        federation.apply(
            workload("StatefulSet", ns, "db", serviceName="db", replicas=3),
            workload("DaemonSet", ns, "agent"),
            service(ns, "db", kind="ClusterIP"),
        )
        for target in ("statefulset/db", "daemonset/agent"):
            federation.kubectl("rollout", "status", target, "-n", ns, "--timeout=60s")
        nodes = sum(len(api.list("nodes")) for api in federation.each.values())
        agent = federation.api.get("daemonsets.apps", ns, "agent")["status"]
        assert agent["numberReady"] == agent["desiredNumberScheduled"] == nodes
        parts = replicas(federation, "statefulsets.apps", ns, "db")
        assert federation.api.get("statefulsets.apps", ns, "db")["status"]["readyReplicas"] == sum(
            parts.values()
        )

    def test_a_job_completes(self, federation: Federation, ns: str) -> None:
        """A Job is complete when it is in every member that has a part of it."""
        federation.apply(job(ns, "sums", completions=6))
        federation.kubectl("wait", "--for=condition=Complete", "job/sums", "-n", ns, "--timeout=60s")
        assert federation.api.get("jobs.batch", ns, "sums")["status"]["succeeded"] == 6

    def test_a_service_has_all_addresses(self, federation: Federation, ns: str) -> None:
        """A LoadBalancer Service shows the addresses of all members, and the names give them."""
        federation.apply(deployment(ns, "web", 3), service(ns, "web"), ingress(ns, "web"))

        def addresses() -> set[str]:
            found = federation.api.get("services", ns, "web")["status"]["loadBalancer"]["ingress"]
            return {entry["ip"] for entry in found}

        until(lambda: len(addresses()) == 3, what="three addresses are in the status")
        own = {
            name: api.get("services", ns, "web")["status"]["loadBalancer"]["ingress"][0]["ip"]
            for name, api in federation.each.items()
        }
        assert addresses() == set(own.values())
        assert all(ipaddress.ip_address(address) for address in own.values())
        name = f"web.{ns}.hanse.svc.example.org"
        until(lambda: federation.dig(name) == set(own.values()), what=f"{name} has all addresses")
        for region, address in own.items():
            nearest = f"web.{ns}.hanse.svc.{region}.example.org"
            until(lambda n=nearest, a=address: federation.dig(n) == {a}, what=f"{nearest} is {address}")  # type: ignore[misc]
        until_in(federation, NAMES, "ingresses.networking.k8s.io", ns, "web")
        assert federation.api.get("ingresses.networking.k8s.io", ns, "web")["spec"]["defaultBackend"]

    def test_names_fail_over_to_what_is_healthy(self, federation: Federation, ns: str) -> None:
        """Where no endpoint is ready a region's name gives the others' addresses."""
        federation.apply(deployment(ns, "web", 3), service(ns, "web"))
        name = f"web.{ns}.hanse.svc.us-east.example.org"
        member = federation.member("us-east")

        def addresses() -> set[str]:
            status = member.get("services", ns, "web")["status"]["loadBalancer"]
            return {entry["ip"] for entry in status["ingress"]}

        own = until(addresses, what="the Service has an address")
        until(lambda: federation.dig(name) == own, what=f"{name} is the region's own address")
        selector = '[{"key": "topology.kubernetes.io/region", "operator": "!=", "values": ["us-east"]}]'
        annotation = f"federation.alpha.kubernetes.io/cluster-selector={selector}"
        federation.kubectl("annotate", "deploy/web", "-n", ns, annotation)
        until(
            lambda: len(federation.dig(name)) == 2 and not federation.dig(name) & own,
            what=f"{name} has the addresses of the others",
        )
