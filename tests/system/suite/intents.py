"""Status against the intent: never more than is asked for and true, by kubectl and the member's own API.

Next: `membership`.
"""

from __future__ import annotations

from tests.system.harness import Federation, until, until_passes
from tests.system.manifests import custom_kind, deployment, placement_policy, workload
from tests.system.suite.base import events_on, replicas, until_in


class IntentSuite:
    """What is shown is what is asked for, and what members have of it."""

    def test_a_divided_canary_updates_as_many_pods_as_asked(self, federation: Federation, ns: str) -> None:
        """Partition 2 of 4 in two clusters: one Pod of each is updated, and `kubectl rollout status` ends."""
        names = ["eu-west", "us-east"]
        federation.apply(
            placement_policy(
                ns,
                "canary",
                api_version="apps/v1",
                kind="StatefulSet",
                clusterNames=names,
                replicas={"mode": "Divided"},
            ),
            workload(
                "StatefulSet",
                ns,
                "canary",
                serviceName="canary",
                replicas=4,
                updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}},
            ),
        )
        federation.kubectl("rollout", "status", "sts/canary", "-n", ns, "--timeout=60s")
        assert replicas(federation, "statefulsets.apps", ns, "canary") == dict.fromkeys(names, 2)
        federation.kubectl("set", "image", "sts/canary", "main=example.org/other:2", "-n", ns)
        federation.kubectl("rollout", "status", "sts/canary", "-n", ns, "--timeout=60s")
        status = federation.api.get("statefulsets.apps", ns, "canary")["status"]
        assert (status["updatedReplicas"], status["currentReplicas"], status["readyReplicas"]) == (2, 2, 4)
        for name in names:
            pods = federation.member(name).list("pods", ns)
            images = sorted(pod["spec"]["containers"][0]["image"] == "example.org/other:2" for pod in pods)
            assert images == [False, True]

    def test_a_set_in_three_clusters_counts_them_all(self, federation: Federation, ns: str) -> None:
        """READY is 9/9 where each of three clusters runs 3."""
        federation.apply(workload("StatefulSet", ns, "db", serviceName="db", replicas=3))
        federation.kubectl("rollout", "status", "sts/db", "-n", ns, "--timeout=60s")
        columns = federation.kubectl("get", "sts", "db", "-n", ns, "--no-headers").out.split()
        assert columns[:2] == ["db", "9/9"]

    def test_replicas_without_a_cluster_are_not_available(self, federation: Federation, ns: str) -> None:
        """With 5 of 12 placed nothing is available, `explain` has 7 pending, and an Event names them."""
        limits = {"mode": "Divided", "clusters": {"*": {"maxReplicas": 5, "weight": 1}}}
        federation.apply(
            placement_policy(
                ns, "few", api_version="apps/v1", kind="Deployment", clusterNames=["eu-west"], replicas=limits
            ),
            deployment(ns, "web", 12),
        )

        def check() -> None:
            status = federation.api.get("deployments.apps", ns, "web")["status"]
            found = {each["type"]: each["status"] for each in status["conditions"]}
            assert found == {"Available": "False", "Progressing": "False", "Placed": "False"}
            assert (status["readyReplicas"], status["unavailableReplicas"]) == (5, 7)

        until_passes(check, what="5 of 12 replicas run, and the Deployment is not available")
        columns = federation.kubectl("get", "deploy", "web", "-n", ns, "--no-headers").out.split()
        assert columns[1] == "5/12"
        until(
            lambda: any("7 of 12 replicas" in each["message"] for each in events_on(federation, ns, "web")),
            what="an Event names the 7 replicas that have no cluster",
        )
        explained = federation.hanse("explain", "deploy/web", "-n", ns)
        assert "7 of 12 replicas have no cluster" in explained
        assert "Nothing is pending" not in explained

    def test_what_all_members_say_of_a_custom_resource_can_be_waited_for(
        self, federation: Federation, ns: str
    ) -> None:
        """Fields that are equal in all members are at the top; one that differs is not."""
        group = f"{ns}.example.org"
        federation.apply(custom_kind(group, "gadgets", "Gadget"))
        federation.kubectl("wait", "--for=condition=Established", f"crd/gadgets.{group}", "--timeout=60s")
        policy = placement_policy(ns, "all", api_version=f"{group}/v1", kind="Gadget")
        gadget = {
            "apiVersion": f"{group}/v1",
            "kind": "Gadget",
            "metadata": {"name": "one", "namespace": ns},
            "spec": {"size": 1},
        }
        federation.apply(policy, gadget)
        until_in(federation, federation.each, f"gadgets.{group}", ns, "one")
        for name, api in federation.each.items():
            status = {"phase": "Ready", "at": {"id": name, "state": "up"}}
            api.merge(f"gadgets.{group}", ns, "one/status", {"status": status})
        for path, value in (("phase", "Ready"), ("at.state", "up")):
            wanted = f"--for=jsonpath={{.status.{path}}}={value}"
            federation.kubectl("wait", wanted, f"gadgets.{group}/one", "-n", ns, "--timeout=30s")
        found = federation.api.get(f"gadgets.{group}", ns, "one")["status"]
        assert found["at"] == {"state": "up"}

    def test_a_member_that_undoes_every_repair_contests_the_object(
        self, federation: Federation, ns: str
    ) -> None:
        """Who changes it, and how often, is a condition and an Event; the object is not healthy."""
        federation.apply(deployment(ns, "web", 3))
        federation.kubectl("rollout", "status", "deploy/web", "-n", ns, "--timeout=60s")
        member = federation.member("eu-west")

        def contested() -> bool:
            live = member.get("deployments.apps", ns, "web")
            if live["spec"]["replicas"]:
                member.merge("deployments.apps", ns, "web", {"spec": {"replicas": 0}})
            status = federation.api.get("deployments.apps", ns, "web")["status"]
            return any(each["type"] == "Contested" for each in status["conditions"])

        until(contested, what="the Deployment is contested")
        status = federation.api.get("deployments.apps", ns, "web")["status"]
        assert {each["name"]: each.get("health") for each in status["clusters"]}["eu-west"] == "Degraded"
        (condition,) = (each for each in status["conditions"] if each["type"] == "Contested")
        assert condition["message"].startswith("eu-west: field manager ")
        until(
            lambda: any(each["reason"] == "Contested" for each in events_on(federation, ns, "web")),
            what="an Event says so",
        )
