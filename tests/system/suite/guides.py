"""The guides' examples, as written: what they do to a member, and that they do nothing else to it.

A full dump of the member before and after says so. Next: `membership`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yaml

from tests.docs.examples import manifests
from tests.system.harness import NAMES, Api, Federation, Json, until, until_passes
from tests.system.harness.dump import check_same, settled, unversioned
from tests.system.manifests import config_map, deployment, metadata, service
from tests.system.suite.base import is_ours, until_in

MEMBER = "us-east"
SYSTEM = ("default", "kube-node-lease", "kube-public", "kube-system")
SHOP = "examples/shop"
(ADOPT,) = manifests("migration.md")


class GuidesSuite:
    """The examples of docs/*.md."""

    @pytest.fixture
    def legacy(self, federation: Federation, ns: str) -> Iterator[str]:
        """A namespace of the member's own, with a workload, a Service and the Lease of a node in it."""
        name, member = f"{ns}-legacy", federation.member(MEMBER)
        member.create(
            "namespaces", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(name, "")}
        )
        member.create("configmaps", name, config_map(name, "settings", color="red"))
        member.create("deployments.apps", name, deployment(name, "web", 2))
        member.create("services", name, service(name, "web", kind="ClusterIP"))
        node = member.list("nodes")[0]["metadata"]
        owner = {"apiVersion": "v1", "kind": "Node", "name": node["name"], "uid": node["uid"]}
        lease: Json = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        lease["metadata"] = {**metadata(f"{name}-node", "kube-node-lease"), "ownerReferences": [owner]}
        member.create("leases.coordination.k8s.io", "kube-node-lease", lease)
        until(lambda: _ready(member, name) == 2, what="the workload runs", seconds=60)
        yield name
        member.delete("namespaces", "", name)
        member.delete("leases.coordination.k8s.io", "kube-node-lease", f"{name}-node")

    def test_the_policy_for_moving_over_takes_nothing(
        self, federation: Federation, ns: str, legacy: str
    ) -> None:
        """The policy of docs/migration.md, applied and deleted, leaves every object of a member untouched."""
        assert ADOPT["spec"]["conflictResolution"] == "Adopt"
        until_in(federation, NAMES, "namespaces", "", ns)
        before = at_rest(federation)
        with applied(federation, ADOPT):
            until_passes(lambda: _decided_by(federation, ns, "adopt"), what="the policy is in force")
            placements = federation.api.names("clusterplacements.hanse.dev")
            assert not [name for name in placements if name.endswith(SYSTEM)]
            for name in SYSTEM:
                assert "of its own" in federation.hanse("explain", f"namespace/{name}")
            check_same(before, settled(federation.member(MEMBER)))
        until_passes(lambda: _decided_by(federation, ns, ""), what="the policy is gone")
        check_same(before, settled(federation.member(MEMBER)))
        assert is_ours(federation.member(MEMBER).get("namespaces", "", ns))

    def test_moving_over_touches_what_is_moved_and_nothing_else(
        self, federation: Federation, legacy: str
    ) -> None:
        """The guide's way: policy, manifests, no policy. What is adopted keeps its uid, and is given back
        whole when the federation lets go of it; nothing else of the member changes."""
        member = federation.member(MEMBER)
        before = at_rest(federation)
        only = {"federation.alpha.kubernetes.io/cluster-selector": _only(MEMBER)}
        moved = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(legacy, "", only)},
            config_map(legacy, "settings", only, color="red"),
        ]
        moved_paths = (f"namespaces//{legacy}", f"configmaps/{legacy}/settings")
        with applied(federation, ADOPT):
            federation.apply(*moved)
            until(lambda: is_ours(member.get("configmaps", legacy, "settings")), what="it is adopted")
            until(lambda: is_ours(member.get("namespaces", "", legacy)), what="its namespace is adopted")
        check_same(before, settled(member), but=moved_paths)
        federation.kubectl("delete", "configmap", "settings", "-n", legacy, "--cascade=orphan")
        federation.kubectl("delete", "namespace", legacy, "--timeout=60s")
        until(lambda: not is_ours(member.get("namespaces", "", legacy)), what="the namespace is given back")
        after = settled(member)
        check_same(unversioned(before), unversioned(after))
        check_same(before, after, but=moved_paths)

    def test_naming_what_is_a_clusters_own_is_refused(self, federation: Federation) -> None:
        """A policy that names a namespace of the clusters says why not, in explain and as an Event."""
        before = at_rest(federation)
        named = {"apiVersion": "v1", "kind": "Namespace", "name": "kube-node-lease"}
        policy: Json = {**ADOPT, "metadata": {"name": "adopt-by-name"}}
        policy["spec"] = {**ADOPT["spec"], "resourceSelectors": [named]}
        explain = functools.partial(federation.hanse, "explain", "namespace/kube-node-lease")
        with applied(federation, policy):
            until(lambda: "refused" in explain() and "BelongsToCluster" in explain(), what="it is explained")
            until(
                lambda: any(
                    event["reason"] == "PlacementRefused"
                    and event["involvedObject"]["name"] == "kube-node-lease"
                    for event in federation.api.list("events", "default")
                ),
                what="an Event says so",
            )
        check_same(before, settled(federation.member(MEMBER)))

    def test_the_examples_leave_a_member_as_it_was(self, federation: Federation, legacy: str) -> None:
        """All that the guides show, applied with the example app and deleted, leaves nothing in a member."""
        member = federation.member(MEMBER)
        _delete_example(federation)  # that of an earlier test
        before = at_rest(federation)
        shown = [each for guide in ("getting-started.md", "concepts.md") for each in manifests(guide)]
        assert {each["kind"] for each in shown} == {"PlacementPolicy", "OverridePolicy"}
        federation.kubectl("apply", "-f", SHOP)
        with applied(federation, ADOPT, *shown):
            until_in(federation, ("eu-west", MEMBER), "deployments.apps", "shop", "web")
            until(lambda: _ready(member, "shop") > 0, what="the example runs", seconds=60)
        _delete_example(federation)
        check_same(before, settled(member))


def _delete_example(federation: Federation) -> None:
    federation.kubectl("delete", "-f", SHOP, "--ignore-not-found", "--timeout=60s")
    member = federation.member(MEMBER)
    until(lambda: member.find("namespaces", "", "shop") is None, what="the namespace is gone", seconds=60)


def at_rest(federation: Federation) -> dict[str, Json]:
    """The dump of the member, when nothing of earlier tests is left to be taken out of it."""
    member = federation.member(MEMBER)

    def is_clear() -> None:
        kept = {each["metadata"]["name"] for each in federation.api.list("namespaces") if _stays(each)}
        leaving = [
            each["metadata"]
            for each in member.list("namespaces")
            if not _stays(each) or (is_ours(each) and each["metadata"]["name"] not in kept)
        ]
        assert leaving == []

    until_passes(is_clear, what="no namespace is on its way out", seconds=60)
    return settled(member)


@contextmanager
def applied(federation: Federation, *objects: Json) -> Iterator[None]:
    """Apply manifests, and delete them afterwards."""
    text = yaml.safe_dump_all(objects)
    federation.kubectl("apply", "-f", "-", stdin=text)
    try:
        yield
    finally:
        federation.kubectl("delete", "-f", "-", "--ignore-not-found", stdin=text)


def _decided_by(federation: Federation, namespace: str, policy: str) -> None:
    """Fails unless the policy of that name, or none, decides on the namespace."""
    said = federation.hanse("explain", f"namespace/{namespace}").splitlines()[0]
    assert said.endswith(f"by ClusterPlacementPolicy {policy}" if policy else "by default rules")


def _stays(obj: Json) -> bool:
    return "deletionTimestamp" not in obj["metadata"]


def _only(cluster: str) -> str:
    """A cluster selector for one cluster, by the region that it joined with."""
    return f'[{{"key": "topology.kubernetes.io/region", "operator": "In", "values": ["{cluster}"]}}]'


def _ready(member: Api, namespace: str) -> int:
    found = member.list("deployments.apps", namespace)
    return sum(each.get("status", {}).get("readyReplicas", 0) for each in found)
