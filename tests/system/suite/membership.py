"""Joining and leaving: a member is left as it was.

Next: `acceptance`.
"""

from __future__ import annotations

from typing import Any

from tests.system.harness import NAMES, Api, Federation, Json, until, until_passes
from tests.system.manifests import config_map, deployment, metadata, service
from tests.system.suite.base import until_in

NAME = "on-prem"
# What a cluster writes by itself, whether it is a member or not.
RESTLESS = ("nodes", "events", "leases", "endpoints", "endpointslices", "componentstatuses")


def everything(api: Api) -> dict[str, Json]:
    """All objects of a cluster, by path, without what it writes by itself all the time."""
    found: dict[str, Json] = {}
    for root in ("/api/v1", *_group_roots(api)):
        for resource in api.request("GET", root)["resources"]:
            name = resource["name"]
            if "/" in name or "list" not in resource["verbs"] or name in RESTLESS:
                continue
            for item in api.request("GET", f"{root}/{name}")["items"]:
                data = item["metadata"]
                found[f"{root}/{name}/{data.get('namespace', '')}/{data['name']}"] = item
    return found


def _group_roots(api: Api) -> list[str]:
    groups = api.request("GET", "/apis")["groups"]
    return [f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups]


def identity(objects: dict[str, Json]) -> dict[str, Any]:
    """What must be the same: which objects there are, which they are, and their labels and data."""
    return {
        path: (
            item["metadata"]["uid"],
            item["metadata"].get("labels"),
            item["metadata"].get("annotations"),
            item["metadata"].get("finalizers"),
            item.get("data"),
            item["spec"] if not path.startswith("/api/v1/namespaces") else item["spec"].get("finalizers"),
        )
        if "spec" in item
        else (item["metadata"]["uid"], item["metadata"].get("labels"), item.get("data"))
        for path, item in objects.items()
    }


class MembershipSuite:
    """Unjoin and join."""

    def test_unjoin_leaves_the_cluster_as_it_was_and_join_brings_it_back(
        self, federation: Federation, ns: str
    ) -> None:
        """After unjoin a cluster has exactly the objects that it had before it joined; after joining again it
        gets what the federation has."""
        member = federation.member(NAME)
        federation.hanse("unjoin", NAME)
        until_passes(lambda: _nothing_of_ours(member), what="nothing of ours is left")
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(f"{ns}-own", "")}
        member.create("namespaces", "", body)
        member.create("configmaps", f"{ns}-own", config_map(f"{ns}-own", "own", color="blue"))
        until(
            lambda: (
                member.find("configmaps", f"{ns}-own", "kube-root-ca.crt")
                and member.find("serviceaccounts", f"{ns}-own", "default")
            ),
            what="the namespace is furnished",
        )
        before = everything(member)
        join_again(federation)
        federation.apply(
            config_map(ns, "web", color="red"),
            deployment(ns, "web", 3),
            service(ns, "web"),
        )
        until_in(federation, NAMES, "configmaps", ns, "web")
        until_in(federation, NAMES, "services", ns, "web")
        until(lambda: member.list("pods", ns), what="a pod runs")
        federation.hanse("unjoin", NAME)
        assert NAME not in federation.api.names("clusters.hanse.dev")

        def same() -> None:
            now = identity(everything(member))
            assert now == identity(before), _difference(identity(before), now)

        until_passes(same, what="the cluster is as it was")
        others = tuple(name for name in NAMES if name != NAME)
        for name in others:
            assert federation.member(name).find("configmaps", ns, "web")
        until(
            lambda: (
                sum(
                    federation.member(name).get("deployments.apps", ns, "web")["spec"]["replicas"]
                    for name in others
                )
                == 3
            ),
            what="the replicas are divided over those that are left",
        )
        join_again(federation)
        until_in(federation, NAMES, "configmaps", ns, "web")
        assert member.get("configmaps", f"{ns}-own", "own")["data"] == {"color": "blue"}
        member.delete("namespaces", "", f"{ns}-own")

    def test_unjoin_with_orphan_leaves_the_objects(self, federation: Federation, ns: str) -> None:
        """`hanse unjoin --orphan` takes our marks off and leaves the objects; they are a conflict when the
        cluster joins again."""
        federation.apply(config_map(ns, "web", color="red"))
        until_in(federation, NAMES, "configmaps", ns, "web")
        member = federation.member(NAME)
        uid = member.get("configmaps", ns, "web")["metadata"]["uid"]
        federation.hanse("unjoin", NAME, "--orphan")
        left = member.get("configmaps", ns, "web")
        assert left["metadata"]["uid"] == uid
        _nothing_of_ours(member)
        for item in member.list("namespaces"):
            name = item["metadata"]["name"]
            if name.startswith("t") and name != ns:
                member.delete("namespaces", "", name)
        member.delete("namespaces", "", ns)
        until(lambda: member.find("namespaces", "", ns) is None, what="the namespace is gone")
        join_again(federation)
        until_in(federation, NAMES, "configmaps", ns, "web")

    def test_unjoin_does_not_wait_for_a_cluster_that_is_down(self, federation: Federation, ns: str) -> None:
        """A healthy cluster leaves though another one is down in which an object is still to be deleted."""
        federation.apply(config_map(ns, "web", color="red"))
        until_in(federation, NAMES, "configmaps", ns, "web")
        down = next(name for name in NAMES if name != NAME)
        federation.members.lose(federation, down)
        try:
            federation.kubectl("delete", "configmap", "web", "-n", ns, "--wait=false")
            federation.hanse("unjoin", NAME)
            assert NAME not in federation.api.names("clusters.hanse.dev")
            assert federation.api.find("tombstones.hanse.dev", ns, "configmaps.web"), f"it waits for {down}"
        finally:
            federation.members.restore(federation, down)
        _nothing_of_ours(federation.member(NAME))
        until(
            lambda: federation.api.find("tombstones.hanse.dev", ns, "configmaps.web") is None,
            what="it is deleted everywhere",
        )
        join_again(federation)

    def test_a_cluster_that_is_gone_can_be_forced_out(self, federation: Federation, ns: str) -> None:
        """`hanse unjoin --force` does not wait for a cluster that cannot be reached; what is in it stays, and
        is known again when it joins again."""
        federation.apply(config_map(ns, "web", color="red"))
        until_in(federation, NAMES, "configmaps", ns, "web")
        before = federation.member(NAME).get("configmaps", ns, "web")["metadata"]
        federation.members.lose(federation, NAME)
        try:
            federation.hanse("unjoin", NAME, "--force")
            assert NAME not in federation.api.names("clusters.hanse.dev")
        finally:
            federation.members.restore(federation, NAME)
        assert federation.member(NAME).get("configmaps", ns, "web")["metadata"]["uid"] == before["uid"]
        join_again(federation)
        federation.kubectl("patch", "configmap", "web", "-n", ns, "-p", '{"data": {"color": "blue"}}')
        until(
            lambda: federation.member(NAME).get("configmaps", ns, "web")["data"] == {"color": "blue"},
            what="the cluster is a member again",
        )
        assert federation.member(NAME).get("configmaps", ns, "web")["metadata"]["uid"] == before["uid"]

    def test_federation_v1_sees_its_clusters(self, federation: Federation) -> None:
        """The clusters are served as federation/v1beta1 too, and kubefed has its commands."""
        assert federation.api.names("clusters.federation") == set(NAMES)
        assert "hanse" in federation.run(["kubefed", "version"]).out.lower()

    def test_a_name_can_be_joined_once_only(self, federation: Federation) -> None:
        """Joining under a name that is taken is refused in one line."""
        kubeconfig = str(federation.members.kubeconfigs(federation)[NAME])
        done = federation.run(["hanse", "join", NAME, "--cluster-kubeconfig", kubeconfig], check=False)
        assert done.status == 5
        assert len(done.err.strip().splitlines()) == 1
        assert "Traceback" not in done.err


def join_again(federation: Federation) -> None:
    """Join the cluster `NAME`, which has left."""
    kubeconfig = str(federation.members.kubeconfigs(federation)[NAME])
    federation.hanse("join", NAME, "--cluster-kubeconfig", kubeconfig, "--label", "location=on-prem")
    clusters = federation.kubectl("get", "clusters", "-o", "name").out
    assert NAME in clusters


def _nothing_of_ours(api: Api) -> None:
    """Fails if an object of the cluster has Hanse's marks."""
    marked = [
        path
        for path, item in everything(api).items()
        if "hanse.dev/federation" in item["metadata"].get("labels", {})
    ]
    assert not marked


def _difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    changed = [path for path in before.keys() & after.keys() if before[path] != after[path]]
    return (
        f"gone {sorted(before.keys() - after.keys())}, new {sorted(after.keys() - before.keys())}, "
        f"changed {sorted(changed)}"
    )
