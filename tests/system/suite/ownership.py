"""Whose objects are whose: foreign ones stay untouched, ours are kept as they should be.

Next: `statuses`.
"""

from __future__ import annotations

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
