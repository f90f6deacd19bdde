"""Moving between clusters without a gap: whatever moves a workload, and whatever its deadline decides.

The case move-without-gap: the new cluster gets an image that it cannot pull, and the old one keeps all that
runs until the new one has as many.

Next: `membership`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.system.harness import Api, Federation, Json, until
from tests.system.harness.members import labels
from tests.system.manifests import config_map, deployment

REPLICAS = 4
OLD, NEW = "eu-west", "on-prem"
CAUSES = ["policy", "taint", "drain", "eviction", "unjoin"]


def policy(namespace: str, *clusters: str, **spec: Any) -> Json:
    """A policy that places everything of the test in these clusters, in one of them at a time."""
    kinds = [("apps/v1", "Deployment"), ("v1", "ConfigMap")]
    return {
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "PlacementPolicy",
        "metadata": {"name": "api", "namespace": namespace},
        "spec": {
            "resourceSelectors": [{"apiVersion": version, "kind": kind} for version, kind in kinds],
            "clusterNames": list(clusters),
            "maxClusters": 1,
            **spec,
        },
    }


def broken_in(namespace: str, cluster: str) -> Json:
    """An override by which one cluster gets an image that it cannot pull."""
    return {
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "OverridePolicy",
        "metadata": {"name": "api", "namespace": namespace},
        "spec": {
            "resourceSelectors": [{"apiVersion": "apps/v1", "kind": "Deployment"}],
            "rules": [{"clusterNames": [cluster], "image": {"repository": "mirror/broken"}}],
        },
    }


class MovingSuite:
    """Moves from one cluster to another."""

    def test_with_what_it_needs(self, federation: Federation, ns: str) -> None:
        """A ConfigMap of the namespace stays with the Deployment, and leaves after it."""
        old, new = federation.member(OLD), federation.member(NEW)
        path, config = ("deployments.apps", ns, "api"), ("configmaps", ns, "api")
        self._broken(federation, ns, config_map(ns, "api"))
        federation.apply(policy(ns, NEW))
        self._waits(federation, ns)
        assert old.find(*config)
        self._mend(federation, ns)
        until(lambda: not old.find(*path), what="the old cluster to be left by the Deployment")
        until(lambda: not old.find(*config), what="the old cluster to be left by the ConfigMap after it")
        assert new.find(*config)

    @pytest.mark.parametrize("cause", CAUSES)
    def test_old_replicas_stay_until_the_new_ones_are_ready(
        self, federation: Federation, ns: str, cause: str
    ) -> None:
        """With a broken image in the new cluster the old one keeps all, and `explain` says so; once it
        is mended the old cluster is left."""
        old = federation.member(OLD)
        self._broken(federation, ns)
        federation.apply(policy(ns, OLD, NEW) if cause != "policy" else policy(ns, NEW))
        undo = self._move(federation, ns, cause)
        try:
            self._waits(federation, ns)
            self._mend(federation, ns)
            until(
                lambda: not old.find("deployments.apps", ns, "api"),
                what="the old cluster to be left by the Deployment",
            )
            assert ready(federation.member(NEW), ns) == REPLICAS
        finally:
            undo()

    @pytest.mark.parametrize("decision", ["Wait", "Proceed", "Abort"])
    def test_the_policy_decides_after_the_deadline(
        self, federation: Federation, ns: str, decision: str
    ) -> None:
        """Wait keeps the old replicas and says that it is late, Proceed removes them, Abort gives up."""
        old, new = federation.member(OLD), federation.member(NEW)
        path = ("deployments.apps", ns, "api")
        move = {"deadlineSeconds": 2, "onDeadline": decision}
        self._broken(federation, ns, move=move)
        federation.apply(policy(ns, NEW, move=move))
        if decision == "Proceed":
            until(lambda: not old.find(*path), what="the old cluster to be left, ready or not")
            assert new.get(*path)["spec"]["replicas"] == REPLICAS
            return
        said = "late by its deadline" if decision == "Wait" else "given up after 2 s"
        until(lambda: said in explained(federation, ns), what=f"explain to say {said!r}")
        if decision == "Abort":
            until(lambda: not new.find(*path), what="the new cluster to be left again")
        assert ready(old, ns) == REPLICAS

    @staticmethod
    def _broken(federation: Federation, ns: str, *more: Json, move: Json | None = None) -> None:
        """Everything runs in the old cluster, and the new one would get a broken image."""
        federation.apply(
            policy(ns, OLD, **({"move": move} if move else {})),
            broken_in(ns, NEW),
            *more,
            deployment(ns, "api", REPLICAS),
        )
        until(
            lambda: ready(federation.member(OLD), ns) == REPLICAS, what="the old cluster to have all replicas"
        )

    @staticmethod
    def _waits(federation: Federation, ns: str) -> None:
        """The new cluster has the Deployment, and the old one keeps its replicas."""
        new = federation.member(NEW)
        until(lambda: new.find("deployments.apps", ns, "api"), what="the new cluster to get the Deployment")
        said = f"0 of {REPLICAS} new replicas are ready in {NEW}; {OLD} keeps {REPLICAS} old ones"
        until(lambda: said in explained(federation, ns), what="explain to say how far the move is")
        assert ready(federation.member(OLD), ns) == REPLICAS

    @staticmethod
    def _mend(federation: Federation, ns: str) -> None:
        """The new cluster gets an image that it can pull."""
        federation.kubectl("delete", "overridepolicy", "api", "-n", ns)
        until(
            lambda: ready(federation.member(NEW), ns) == REPLICAS, what="the new cluster to have all replicas"
        )

    @staticmethod
    def _move(federation: Federation, ns: str, cause: str) -> Callable[[], object]:
        """Let something other than the policy move it; return what undoes that."""
        if cause == "taint":
            key = f"drain-{ns}"
            patch = f'{{"spec": {{"taints": [{{"key": "{key}", "effect": "NoExecute"}}]}}}}'
            federation.kubectl("patch", "cluster", OLD, "--type=merge", "-p", patch)
            return lambda: federation.kubectl(
                "patch", "cluster", OLD, "--type=merge", "-p", '{"spec": {"taints": null}}'
            )
        if cause == "eviction":
            federation.hanse("evict", "deploy/api", "-n", ns, "--cluster", OLD)
        if cause == "drain":
            federation.hanse("drain", OLD, "--no-wait")
            return lambda: federation.hanse("drain", OLD, "--undo")
        if cause == "unjoin":
            federation.hanse("unjoin", OLD, "--no-wait")
            return lambda: rejoin(federation)
        return lambda: None


def rejoin(federation: Federation) -> None:
    """Let the old cluster finish leaving, and take it in again."""
    until(lambda: OLD not in federation.api.names("clusters.hanse.dev"), what=f"{OLD} to have left")
    kubeconfig = str(federation.members.kubeconfigs(federation)[OLD])
    words = [word for item in labels(OLD).items() for word in ("--label", "=".join(item))]
    federation.hanse("join", OLD, "--cluster-kubeconfig", kubeconfig, *words)


def ready(api: Api, ns: str) -> int:
    """How many replicas of the Deployment are ready in a cluster."""
    found = api.find("deployments.apps", ns, "api")
    return int(found.get("status", {}).get("readyReplicas", 0)) if found else 0


def explained(federation: Federation, ns: str) -> str:
    """What `hanse explain` says of the Deployment."""
    return federation.hanse("explain", "deploy/api", "-n", ns)
