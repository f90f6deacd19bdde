"""Pods that a real member's quota refuses: they count elsewhere after the toleration."""

from __future__ import annotations

from tests.system.harness import Federation, until, until_passes
from tests.system.manifests import config_map, deployment, placement_policy
from tests.system.suite.base import replicas, until_in

FULL, OTHER = "eu-west", "on-prem"


def test_pods_that_a_quota_refuses_run_elsewhere(federation: Federation, ns: str) -> None:
    """Of six replicas over two clusters one can run in the cluster whose quota is one Pod: the other one gets
    the rest, and keeps it."""
    path = ("deployments.apps", ns, "web")
    federation.apply(
        placement_policy(
            ns,
            "web",
            api_version="apps/v1",
            kind="Deployment",
            clusterNames=[FULL, OTHER],
            tolerationSeconds=3,
        ),
        config_map(ns, "settings"),
    )
    until_in(federation, federation.members.names, "configmaps", ns, "settings")
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "one", "namespace": ns},
        "spec": {"hard": {"pods": "1"}},
    }
    member = federation.member(FULL)
    member.create("resourcequotas", ns, quota)
    until(
        lambda: member.get("resourcequotas", ns, "one").get("status", {}).get("hard", {}).get("pods") == "1",
        what="the member to know its quota",
    )
    federation.apply(deployment(ns, "web", 6))
    until(
        lambda: "are refused there" in federation.hanse("explain", "deploy/web", "-n", ns),
        what="explain to name the Pods that are refused",
    )

    def moved() -> None:
        assert replicas(federation, *path) == {FULL: 1, OTHER: 5}
        assert federation.member(OTHER).get(*path)["status"]["readyReplicas"] == 5
        assert member.get(*path)["status"]["readyReplicas"] == 1

    until_passes(moved, seconds=60, what="the other cluster to run what is refused")
