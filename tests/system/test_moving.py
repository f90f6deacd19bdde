"""Moving between clusters without a gap, as a user sees it (case move-without-gap)."""

from __future__ import annotations

import pytest

from tests.system.harness import Api, Federation, Json, until
from tests.system.manifests import config_map, deployment

pytestmark = pytest.mark.timeout(180)
REPLICAS = 4


def policy(namespace: str, cluster: str) -> Json:
    """A policy that places everything of the test in one cluster."""
    kinds = [("apps/v1", "Deployment"), ("v1", "ConfigMap")]
    return {
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "PlacementPolicy",
        "metadata": {"name": "api", "namespace": namespace},
        "spec": {
            "resourceSelectors": [{"apiVersion": version, "kind": kind} for version, kind in kinds],
            "clusterNames": [cluster],
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


def test_old_replicas_stay_until_the_new_ones_are_ready(federation: Federation, ns: str) -> None:
    """With a broken image in the new cluster the old one keeps all, with what they need, and `explain` says
    why; once the image is right the old cluster is left."""
    old, new = federation.member("eu-west"), federation.member("on-prem")
    path, config = ("deployments.apps", ns, "api"), ("configmaps", ns, "api")

    def ready(api: Api) -> int:
        found = api.find(*path)
        return int(found.get("status", {}).get("readyReplicas", 0)) if found else 0

    def explained() -> str:
        return federation.hanse("explain", "deploy/api", "-n", ns)

    federation.apply(
        policy(ns, "eu-west"),
        broken_in(ns, "on-prem"),
        config_map(ns, "api"),
        deployment(ns, "api", REPLICAS),
    )
    until(lambda: ready(old) == REPLICAS, what="eu-west to have all replicas")
    federation.apply(policy(ns, "on-prem"))
    until(lambda: new.find(*path), what="on-prem to get the Deployment")
    until(
        lambda: (
            "0 of 4 new replicas are ready in on-prem" in federation.hanse("explain", "deploy/api", "-n", ns)
        ),
        what="explain to say how far the move is",
    )
    assert ready(old) == REPLICAS
    assert old.find(*config)
    federation.kubectl("delete", "overridepolicy", "api", "-n", ns)
    until(lambda: ready(new) == REPLICAS, what="on-prem to have all replicas")
    until(lambda: not old.find(*path), what="eu-west to be left by the Deployment")
    until(lambda: not old.find(*config), what="eu-west to be left by the ConfigMap after it")
    assert new.find(*config)
