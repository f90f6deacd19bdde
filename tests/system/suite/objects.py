"""What a user's writes do in the members: create, update, patch, apply, scale, delete.

Next: `placing`.
"""

from __future__ import annotations

import json

from tests.system.harness import NAMES, Api, Federation, until, until_passes
from tests.system.manifests import config_map, custom_kind, deployment
from tests.system.suite.base import everywhere, is_ours, replicas, until_in


class ObjectSuite:
    """Writes of a user."""

    def test_create_reaches_every_member_with_hanses_marks(self, federation: Federation, ns: str) -> None:
        """An object without annotations or policy is in every member, labelled as ours, and its namespace is
        too."""
        federation.apply(config_map(ns, "web", color="red"))
        until_in(federation, NAMES, "configmaps", ns, "web")
        for api in federation.each.values():
            found = api.get("configmaps", ns, "web")
            assert found["data"] == {"color": "red"}
            assert is_ours(found)
            assert "hanse.dev/sync" not in found["metadata"].get("finalizers", [])
            assert is_ours(api.get("namespaces", "", ns))
        served = federation.api.get("configmaps", ns, "web")
        assert not is_ours(served)
        assert "hanse.dev/traceparent" not in served["metadata"].get("annotations", {})

    def test_every_way_to_update_arrives(self, federation: Federation, ns: str) -> None:
        """Replace, merge patch, JSON patch, strategic merge patch and server-side apply reach the members."""
        federation.apply(config_map(ns, "web", step="0", gone="soon"))

        def arrives(**data: str) -> None:
            def same(api: Api) -> bool:
                return bool(api.get("configmaps", ns, "web")["data"] == data)

            everywhere(federation, same, what=f"data is {data}")

        arrives(step="0", gone="soon")
        current = federation.api.get("configmaps", ns, "web")
        federation.api.replace("configmaps", ns, current | {"data": {"step": "1"}})
        arrives(step="1")
        patches = {
            "merge": {"data": {"step": "2", "more": "x"}},
            "json": [{"op": "replace", "path": "/data/step", "value": "3"}],
            "strategic": {"data": {"step": "4", "more": None}},
        }
        for kind, patch in patches.items():
            words = ("patch", "configmap", "web", "-n", ns, "--type", kind, "-p", json.dumps(patch))
            federation.kubectl(*words)
        arrives(step="4")
        federation.kubectl(
            *("apply", "--server-side", "--force-conflicts", "-f", "-"),
            stdin=json.dumps(config_map(ns, "web", step="5", applied="yes")),
        )
        arrives(step="5", applied="yes")

    def test_a_mebibyte_of_data_arrives(self, federation: Federation, ns: str) -> None:
        """Though JSON makes it twice as long; a change of it arrives, too, and it is listed."""
        for number, sign in enumerate(('"', "\\")):
            wanted = config_map(ns, "large", text=sign * 1024 * 1024)
            if number:
                federation.api.merge("configmaps", ns, "large", {"data": wanted["data"]})
            else:
                federation.api.create("configmaps", ns, wanted)
            until_in(federation, NAMES, "configmaps", ns, "large")

            def same(api: Api, data: object = wanted["data"]) -> bool:
                return bool(api.get("configmaps", ns, "large")["data"] == data)

            everywhere(federation, same, what=f"the data is a MiB of {sign}")
            assert federation.api.get("configmaps", ns, "large")["data"] == wanted["data"]

    def test_an_update_against_an_old_version_conflicts(self, federation: Federation, ns: str) -> None:
        """Replacing an object that was changed meanwhile is refused, and changes nothing."""
        old = federation.api.create("configmaps", ns, config_map(ns, "web", step="0"))
        federation.api.merge("configmaps", ns, "web", {"data": {"step": "1"}})
        done = federation.kubectl("replace", "-f", "-", stdin=json.dumps(old), check=False)
        assert done.status != 0
        assert "Conflict" in done.err or "modified" in done.err
        assert federation.api.get("configmaps", ns, "web")["data"] == {"step": "1"}

    def test_scale_is_divided(self, federation: Federation, ns: str) -> None:
        """`kubectl scale` changes the total; members divide it."""
        federation.apply(deployment(ns, "web", 6))
        until(
            lambda: replicas(federation, "deployments.apps", ns, "web") == dict.fromkeys(NAMES, 2),
            what="6 replicas are 2 in each member",
        )
        federation.kubectl("scale", "deploy/web", "-n", ns, "--replicas=9")
        until(
            lambda: replicas(federation, "deployments.apps", ns, "web") == dict.fromkeys(NAMES, 3),
            what="9 replicas are 3 in each member",
        )

    def test_delete_is_finished_when_it_answers(self, federation: Federation, ns: str) -> None:
        """An object is gone from the federation at once, and from every member soon; then its tombstone is
        gone, too. In the foreground `kubectl delete` returns when no member has the object any more."""
        federation.apply(config_map(ns, "web"), config_map(ns, "stays"))
        until_in(federation, NAMES, "configmaps", ns, "web")
        federation.api.delete("configmaps", ns, "web")
        assert federation.api.find("configmaps", ns, "web") is None
        until_in(federation, (), "configmaps", ns, "web")
        until(lambda: not federation.api.list("tombstones.hanse.dev", ns), what="no tombstone is left")
        federation.kubectl("delete", "configmap", "stays", "-n", ns, "--cascade=foreground", "--timeout=30s")
        for api in federation.each.values():
            assert api.find("configmaps", ns, "stays") is None

    def test_what_is_deleted_and_made_again_at_once_is_not_lost(
        self, federation: Federation, ns: str
    ) -> None:
        """`kubectl apply --force` and delete-and-create, five times each: every member has the last one."""
        federation.apply(config_map(ns, "web", step="0"), deployment(ns, "web", 3))
        until_in(federation, NAMES, "configmaps", ns, "web")
        until_in(federation, NAMES, "deployments.apps", ns, "web")
        for number in range(1, 6):
            federation.api.delete("configmaps", ns, "web")
            federation.api.create("configmaps", ns, config_map(ns, "web", step=str(number)))
            changed = deployment(ns, "web", 3)
            changed["spec"]["selector"]["matchLabels"]["step"] = str(number)
            changed["spec"]["template"]["metadata"]["labels"]["step"] = str(number)
            federation.run(["kubectl", "apply", "--force", "-f", "-"], stdin=json.dumps(changed))
        everywhere(
            federation,
            lambda api: (
                (api.find("configmaps", ns, "web") or {}).get("data") == {"step": "5"}
                and (api.find("deployments.apps", ns, "web") or {})
                .get("spec", {})
                .get("selector", {})
                .get("matchLabels", {})
                .get("step")
                == "5"
            ),
            what="it has the last of them",
        )

    def test_delete_takes_the_pods_along(self, federation: Federation, ns: str) -> None:
        """A deleted Deployment leaves no ReplicaSet and no Pod in a member."""
        federation.apply(deployment(ns, "web", 3))
        everywhere(federation, lambda api: len(api.list("pods", ns)) == 1, what="there is a pod")
        federation.kubectl("delete", "deployment", "web", "-n", ns, "--timeout=30s")
        everywhere(
            federation,
            lambda api: not api.list("replicasets.apps", ns) and not api.list("pods", ns),
            what="no ReplicaSet and no Pod is left",
        )

    def test_orphan_leaves_the_members_objects(self, federation: Federation, ns: str) -> None:
        """`--cascade=orphan` takes the object out of the federation only; members' objects lose our marks."""
        federation.apply(deployment(ns, "web", 3))
        until_in(federation, NAMES, "deployments.apps", ns, "web")
        everywhere(federation, lambda api: len(api.list("pods", ns)) == 1, what="there is a pod")
        before = {
            name: {pod["metadata"]["uid"] for pod in api.list("pods", ns)}
            for name, api in federation.each.items()
        }
        federation.kubectl("delete", "deployment", "web", "-n", ns, "--cascade=orphan", "--timeout=30s")
        assert federation.api.find("deployments.apps", ns, "web") is None
        everywhere(
            federation,
            lambda api: not is_ours(api.get("deployments.apps", ns, "web")),
            what="its object is not ours any more",
        )
        for name, api in federation.each.items():
            assert {pod["metadata"]["uid"] for pod in api.list("pods", ns)} == before[name]

    def test_hanse_does_without_kubectl(self, federation: Federation, ns: str) -> None:
        """`hanse apply`, `hanse get` and `hanse delete` do what kubectl does, over gRPC."""
        manifest = json.dumps(config_map(ns, "web", color="red"))
        federation.run(["hanse", "apply", "-f", "-"], stdin=manifest)
        until_in(federation, NAMES, "configmaps", ns, "web")
        assert "web" in federation.hanse("get", "configmaps", "-n", ns)
        federation.hanse("delete", "configmap/web", "-n", ns)
        until_in(federation, (), "configmaps", ns, "web")

    def test_a_namespace_takes_everything_along(self, federation: Federation, ns: str) -> None:
        """Deleting a namespace removes what is in it, and then itself, here and in the members."""
        federation.apply(config_map(ns, "web"), deployment(ns, "web", 3))
        until_in(federation, NAMES, "configmaps", ns, "web")
        until_in(federation, NAMES, "deployments.apps", ns, "web")
        federation.kubectl("delete", "namespace", ns, "--timeout=60s")
        assert federation.api.find("namespaces", "", ns) is None
        until_in(federation, (), "namespaces", "", ns)

    def test_a_custom_kind_and_its_objects(self, federation: Federation, ns: str) -> None:
        """A CustomResourceDefinition goes to the members, and then its objects do; kubectl knows it."""
        group = f"{ns}.example.com"
        federation.apply(custom_kind(group, "widgets", "Widget"))
        federation.kubectl("wait", "--for=condition=Established", f"crd/widgets.{group}", "--timeout=30s")
        widget = {
            "apiVersion": f"{group}/v1",
            "kind": "Widget",
            "metadata": {"name": "one", "namespace": ns},
            "spec": {"size": 3},
        }
        until_passes(lambda: federation.apply(widget), what="the new kind is served")
        until_in(federation, NAMES, f"widgets.{group}", ns, "one")
        bad = widget | {"metadata": {"name": "two", "namespace": ns}, "spec": {"size": "large"}}
        assert federation.apply(bad, check=False).status != 0
        said = federation.kubectl("get", "widgets", "-n", ns, "-o", "name").out
        assert said.split() == [f"widget.{group}/one"]
        federation.kubectl("delete", "crd", f"widgets.{group}", "--timeout=30s")
        until_in(federation, (), "customresourcedefinitions.apiextensions.k8s.io", "", f"widgets.{group}")
