"""Where objects go: annotations of Federation v1, policies, overrides, and mistakes in them.

Next: `ownership`.
"""

from __future__ import annotations

import json

from tests.system.harness import NAMES, Federation, until, until_passes
from tests.system.manifests import (
    CLUSTER_SELECTOR,
    DEPLOYMENT_PREFERENCES,
    config_map,
    custom_kind,
    deployment,
    metadata,
    override_policy,
    placement_policy,
)
from tests.system.suite.base import events_on, everywhere, has, replicas, until_in

CLOUD = json.dumps([{"key": "location", "operator": "In", "values": ["cloud"]}])
NOWHERE = json.dumps([{"key": "location", "operator": "In", "values": ["nowhere"]}])
ON_PREM = json.dumps([{"key": "location", "operator": "=", "values": ["on-prem"]}])


class PlacingSuite:
    """Placement."""

    def test_a_cluster_selector_narrows_and_widens(self, federation: Federation, ns: str) -> None:
        """What the selector leaves out is pruned; what it lets in again is created; the rest is untouched."""
        federation.apply(config_map(ns, "web", step="0"))
        until_in(federation, NAMES, "configmaps", ns, "web")
        before = federation.member("eu-west").get("configmaps", ns, "web")["metadata"]
        annotate = ("annotate", "--overwrite", "configmap", "web", "-n", ns)
        federation.kubectl(*annotate, f"{CLUSTER_SELECTOR}={CLOUD}")
        until_in(federation, ("eu-west", "us-east"), "configmaps", ns, "web")
        federation.kubectl(*annotate, f"{CLUSTER_SELECTOR}={ON_PREM}")
        until_in(federation, ("on-prem",), "configmaps", ns, "web")
        federation.kubectl(*annotate, f"{CLUSTER_SELECTOR}-")
        until_in(federation, NAMES, "configmaps", ns, "web")
        after = federation.member("eu-west").get("configmaps", ns, "web")["metadata"]
        assert after["uid"] != before["uid"]
        assert CLUSTER_SELECTOR not in after.get("annotations", {})

    def test_bad_json_changes_nothing_and_says_so(self, federation: Federation, ns: str) -> None:
        """A cluster selector that is not JSON leaves every member as it is, and is an Event on the object."""
        federation.apply(config_map(ns, "web", step="0"))
        until_in(federation, NAMES, "configmaps", ns, "web")
        federation.kubectl("annotate", "--overwrite", "configmap", "web", "-n", ns, f"{CLUSTER_SELECTOR}=[{{")
        found = until(lambda: events_on(federation, ns, "web"), what="there is a warning")
        assert any("cluster-selector" in event["message"] for event in found)
        until_in(federation, NAMES, "configmaps", ns, "web")
        said = federation.kubectl("describe", "configmap", "web", "-n", ns).out
        assert "Warning" in said
        annotate = ("annotate", "--overwrite", "configmap", "web", "-n", ns)
        federation.kubectl(*annotate, f"{CLUSTER_SELECTOR}={CLOUD}")
        until_in(federation, ("eu-west", "us-east"), "configmaps", ns, "web")

    def test_preferences_divide(self, federation: Federation, ns: str) -> None:
        """Weights, minima and maxima divide the replicas, and a change of them moves replicas."""
        preferences = {"rebalance": True, "clusters": {"eu-west": {"weight": 2}, "us-east": {"weight": 1}}}
        federation.apply(
            deployment(ns, "web", 6, annotations={DEPLOYMENT_PREFERENCES: json.dumps(preferences)})
        )

        def divided() -> dict[str, int]:
            return {name: n for name, n in replicas(federation, "deployments.apps", ns, "web").items() if n}

        until(lambda: divided() == {"eu-west": 4, "us-east": 2}, what="replicas follow the weights")
        preferences["clusters"] = {"on-prem": {"minReplicas": 1, "maxReplicas": 1}, "us-east": {"weight": 1}}
        value = json.dumps(preferences)
        federation.kubectl(
            "annotate", "--overwrite", "deploy/web", "-n", ns, f"{DEPLOYMENT_PREFERENCES}={value}"
        )
        until(lambda: divided() == {"on-prem": 1, "us-east": 5}, what="replicas follow the new preferences")

    def test_a_placement_policy_selects_clusters(self, federation: Federation, ns: str) -> None:
        """A policy sends the kind that it selects to its clusters, and without it the default holds again."""
        about = placement_policy(ns, "cloud", api_version="v1", kind="ConfigMap", clusterNames=["us-east"])
        federation.apply(about)
        federation.apply(config_map(ns, "web"))
        until_in(federation, ("us-east",), "configmaps", ns, "web")
        federation.kubectl("delete", "placementpolicy", "cloud", "-n", ns)
        until_in(federation, NAMES, "configmaps", ns, "web")

    def test_an_override_policy_changes_one_cluster(self, federation: Federation, ns: str) -> None:
        """An override changes what one member gets, and goes when it goes."""
        federation.apply(config_map(ns, "web", where="anywhere"))
        rule = {
            "clusterNames": ["on-prem"],
            "jsonPatch": [{"op": "replace", "path": "/data/where", "value": "here"}],
        }
        federation.apply(override_policy(ns, "here", api_version="v1", kind="ConfigMap", rules=[rule]))

        def data() -> dict[str, str]:
            return {
                name: api.get("configmaps", ns, "web")["data"]["where"]
                for name, api in federation.each.items()
            }

        until(
            lambda: data() == {"eu-west": "anywhere", "us-east": "anywhere", "on-prem": "here"},
            what="the override is in on-prem only",
        )
        federation.kubectl("delete", "overridepolicy", "here", "-n", ns)
        everywhere(
            federation,
            lambda api: api.get("configmaps", ns, "web")["data"]["where"] == "anywhere",
            what="the override is gone",
        )

    def test_explain_gives_a_reason_for_each_cluster(self, federation: Federation, ns: str) -> None:
        """`hanse explain` says of each cluster whether and why it has the object."""
        federation.apply(config_map(ns, "web", {CLUSTER_SELECTOR: CLOUD}))
        until_in(federation, ("eu-west", "us-east"), "configmaps", ns, "web")
        said = federation.hanse("explain", "configmap/web", "-n", ns)
        for name in NAMES:
            assert name in said
        assert "location" in said

    def test_what_an_operator_makes_over_here_goes_where_a_policy_sends_it(
        self, federation: Federation, ns: str
    ) -> None:
        """While what it is made for is in the federation only, and without it; once that goes to the members,
        the controllers there make it."""
        group, away = f"{ns}.example.com", {CLUSTER_SELECTOR: NOWHERE}
        kind = {"apiVersion": f"{group}/v1", "kind": "Database"}
        database = kind | {"metadata": metadata("main", ns, away), "spec": {"size": 1}}
        federation.apply(custom_kind(group, "databases", "Database"))
        until_passes(lambda: federation.apply(database), what="the kind is served")
        resource = f"databases.{group}"
        owner = kind | {"name": "main", "uid": federation.api.get(resource, ns, "main")["metadata"]["uid"]}
        made = config_map(ns, "settings", size="1")
        made["metadata"]["ownerReferences"] = [owner | {"controller": True, "blockOwnerDeletion": True}]
        federation.api.create("configmaps", ns, made)

        def explained() -> str:
            return str(federation.hanse("explain", "configmap/settings", "-n", ns))

        why = "made for the Database main, which is in no cluster: it goes to no cluster unless"
        until(lambda: why in explained(), what="it is explained")
        assert has(federation, "configmaps", ns, "settings") == set()
        federation.apply(placement_policy(ns, "settings", api_version="v1", kind="ConfigMap"))
        until_in(federation, NAMES, "configmaps", ns, "settings")
        for api in federation.each.values():
            assert "ownerReferences" not in api.get("configmaps", ns, "settings")["metadata"]
        federation.api.merge(resource, ns, "main", {"metadata": {"annotations": {CLUSTER_SELECTOR: None}}})
        until_in(federation, NAMES, resource, ns, "main")
        until_in(federation, (), "configmaps", ns, "settings")
        federation.api.merge(resource, ns, "main", {"metadata": {"annotations": away}})
        until_in(federation, (), resource, ns, "main")
        until_in(federation, NAMES, "configmaps", ns, "settings")
        federation.kubectl("delete", resource, "main", "-n", ns, "--timeout=60s")
        until_in(federation, (), "configmaps", ns, "settings")
        federation.kubectl("delete", "crd", resource, "--timeout=60s")
