"""A cluster is lost where a policy allows few clusters, as a user sees it."""

from __future__ import annotations

import pytest

from tests.system.harness import Api, Federation, Json, until
from tests.system.manifests import config_map, deployment

pytestmark = pytest.mark.timeout(240)
REPLICAS = 4


def policy(namespace: str) -> Json:
    """A policy that places each object of the test in one cluster, and gives a lost one up after 2 s."""
    kinds = [("apps/v1", "Deployment"), ("v1", "ConfigMap")]
    return {
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "PlacementPolicy",
        "metadata": {"name": "one", "namespace": namespace},
        "spec": {
            "resourceSelectors": [{"apiVersion": version, "kind": kind} for version, kind in kinds],
            "maxClusters": 1,
            "tolerationSeconds": 2,
        },
    }


def test_another_cluster_takes_over_and_keeps_what_it_took(federation: Federation, ns: str) -> None:
    """With `maxClusters: 1` the replicas of a cluster that is killed run elsewhere after the toleration, as
    does a ConfigMap; when it is back it is left, and what took over goes on with the same Pods."""
    path, config = ("deployments.apps", ns, "web"), ("configmaps", ns, "web")
    federation.apply(policy(ns), config_map(ns, "web"), deployment(ns, "web", REPLICAS))

    def ready(api: Api) -> bool:
        found = api.find(*path)
        return found is not None and int(found.get("status", {}).get("readyReplicas", 0)) == REPLICAS

    def running() -> list[str]:
        return [name for name, api in federation.each.items() if name != lost and ready(api)]

    def pods(api: Api) -> set[str]:
        return {str(pod["metadata"]["uid"]) for pod in api.list("pods", ns)}

    lost = ""
    until(running, what="one cluster to run the Deployment")
    (lost,) = running()
    holder = [name for name, api in federation.each.items() if api.find(*config)]
    federation.members.lose(federation, lost)
    try:
        until(running, seconds=60, what="another cluster to run the Deployment")
        (new,) = running()
        if holder == [lost]:
            others = [api for name, api in federation.each.items() if name != lost]
            until(lambda: any(api.find(*config) for api in others), what="the ConfigMap to be elsewhere, too")
        before = pods(federation.member(new))
    finally:
        federation.members.restore(federation, lost)
    gone = federation.member(lost)
    until(lambda: not gone.find(*path), seconds=60, what="the cluster that is back to be left")
    assert pods(federation.member(new)) == before
    assert running() == [new]
