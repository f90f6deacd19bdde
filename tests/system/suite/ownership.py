"""Whose objects are whose: foreign ones stay untouched, ours are kept as they should be.

Next: `statuses`.
"""

from __future__ import annotations

import shlex

from tests.system.harness import NAMES, Api, ApiError, Federation, until
from tests.system.manifests import config_map, deployment, metadata
from tests.system.suite.base import events_on, is_ours, until_in


def ensure_namespace(member: Api, name: str) -> None:
    """Make a namespace in a member, unless the federation was faster."""
    try:
        member.create(
            "namespaces", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(name, "")}
        )
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise


def _condition(federation: Federation, cluster: str, kind: str) -> str:
    """The status of a condition of a cluster; empty if it has none."""
    status = federation.api.get("clusters.hanse.dev", "", cluster)["status"]
    return next((str(each["status"]) for each in status["conditions"] if each["type"] == kind), "")


class OwnershipSuite:
    """Conflicts and drift."""

    def test_a_foreign_object_is_left_alone(self, federation: Federation, ns: str) -> None:
        """An object that a member had before is a conflict that is reported, and stays as it was."""
        member = federation.member("us-east")
        ensure_namespace(member, ns)
        foreign = member.create("configmaps", ns, config_map(ns, "web", owner="somebody"))
        federation.apply(config_map(ns, "web", owner="federation"))
        until(lambda: events_on(federation, ns, "web"), what="the conflict is reported")
        until_in(federation, NAMES, "configmaps", ns, "web")
        assert "us-east" in " ".join(event["message"] for event in events_on(federation, ns, "web"))
        assert "us-east" in federation.hanse("explain", "configmap/web", "-n", ns)
        assert member.get("configmaps", ns, "web") == foreign
        federation.kubectl("delete", "configmap", "web", "-n", ns, "--timeout=30s")
        until_in(federation, ("us-east",), "configmaps", ns, "web")
        assert member.get("configmaps", ns, "web") == foreign
        member.delete("configmaps", ns, "web")

    def test_a_foreign_object_that_goes_makes_room(self, federation: Federation, ns: str) -> None:
        """When the object in the way is deleted in the member, ours takes its place."""
        member = federation.member("on-prem")
        ensure_namespace(member, ns)
        member.create("configmaps", ns, config_map(ns, "web", owner="somebody"))
        federation.apply(config_map(ns, "web", owner="federation"))
        until(lambda: events_on(federation, ns, "web"), what="the conflict is reported")
        member.delete("configmaps", ns, "web")
        until(
            lambda: member.get("configmaps", ns, "web")["data"] == {"owner": "federation"},
            what="ours is there",
            seconds=60,
        )

    def test_what_nobody_wants_is_told_and_dealt_with(self, federation: Federation, ns: str) -> None:
        """What carries our marks and nobody wants is told with commands, which work as they are printed."""
        federation.apply(config_map(ns, "web", color="red"))
        until_in(federation, NAMES, "configmaps", ns, "web")
        member = federation.member("us-east")
        marks = member.get("configmaps", ns, "web")["metadata"]["labels"]
        for name in ("drop", "keep"):
            orphan = config_map(ns, name, color="green")
            orphan["metadata"]["labels"] = marks
            member.create("configmaps", ns, orphan)

        def told() -> str:
            out = federation.hanse("orphans", "us-east")
            return out if "configmaps/drop" in out and "configmaps/keep" in out else ""

        until(told, what="both are told")
        printed = [shlex.split(line) for line in told().splitlines() if line.startswith("  hanse orphans")]
        commands = {(words[2], words[4]): words[1:] for words in printed}
        until(lambda: _condition(federation, "us-east", "Orphans") == "True", what="the cluster says so")
        assert "configmaps" in federation.hanse("clusters")
        federation.hanse(*commands["remove", "configmaps/drop"])
        assert member.find("configmaps", ns, "drop") is None
        uid = member.get("configmaps", ns, "keep")["metadata"]["uid"]
        federation.hanse(*commands["adopt", "configmaps/keep"])
        federation.kubectl("patch", "configmap", "keep", "-n", ns, "-p", '{"data": {"color": "blue"}}')
        until(
            lambda: member.get("configmaps", ns, "keep")["data"] == {"color": "blue"},
            what="what was adopted is kept as the federation wants it",
        )
        assert member.get("configmaps", ns, "keep")["metadata"]["uid"] == uid
        until_in(federation, ("us-east",), "configmaps", ns, "keep")
        until(lambda: _condition(federation, "us-east", "Orphans") == "False", what="nothing is left")
        assert federation.hanse("orphans", "us-east") == "no orphans\n"

    def test_what_is_deleted_in_a_member_comes_back(self, federation: Federation, ns: str) -> None:
        """An object of ours that somebody deletes in a member is created again."""
        federation.apply(config_map(ns, "web", color="red"))
        until_in(federation, NAMES, "configmaps", ns, "web")
        member = federation.member("eu-west")
        before = member.get("configmaps", ns, "web")["metadata"]["uid"]
        member.delete("configmaps", ns, "web")
        until(
            lambda: member.get("configmaps", ns, "web")["metadata"]["uid"] != before,
            what="it is there again",
        )
        assert is_ours(member.get("configmaps", ns, "web"))

    def test_our_fields_are_repaired_and_others_kept(self, federation: Federation, ns: str) -> None:
        """A field that we own is set back in a member; a field that somebody added stays."""
        federation.apply(deployment(ns, "web", 3))
        until_in(federation, NAMES, "deployments.apps", ns, "web")
        member = federation.member("us-east")
        foreign = {"annotations": {"example.com/note": "mine"}}
        member.merge("deployments.apps", ns, "web", {"metadata": foreign, "spec": {"replicas": 5}})
        until(
            lambda: member.get("deployments.apps", ns, "web")["spec"]["replicas"] == 1,
            what="the replicas are as the federation says",
        )
        annotations = member.get("deployments.apps", ns, "web")["metadata"]["annotations"]
        assert annotations["example.com/note"] == "mine"

    def test_a_namespace_with_foreign_objects_stays(self, federation: Federation, ns: str) -> None:
        """Deleting a namespace removes what is ours from a member, and leaves what is not where it is."""
        federation.apply(config_map(ns, "web"))
        until_in(federation, NAMES, "configmaps", ns, "web")
        member = federation.member("eu-west")
        foreign = member.create("configmaps", ns, config_map(ns, "own", owner="somebody"))
        federation.kubectl("delete", "namespace", ns, "--timeout=60s")
        until_in(federation, ("eu-west",), "namespaces", "", ns)
        assert not is_ours(member.get("namespaces", "", ns))
        assert member.get("configmaps", ns, "own") == foreign
        assert member.find("configmaps", ns, "web") is None
        member.delete("namespaces", "", ns)
