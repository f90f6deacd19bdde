"""A federation that lost etcd and has no backup is put together again from what its members have."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.system.harness import Federation, Json, Standalone, Witness, until, until_passes
from tests.system.manifests import CLUSTER_SELECTOR, config_map, metadata, workload
from tests.system.test_backup import KINDS, NS, in_members, ready, replicas, secret

CRD: Json = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.org"},
    "spec": {
        "group": "example.org",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}


def override() -> Json:
    """Gives one member another value of one ConfigMap."""
    return {
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "OverridePolicy",
        "metadata": metadata("other-in-eu", NS),
        "spec": {
            "resourceSelectors": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "differs"}],
            "rules": [
                {
                    "clusterNames": ["eu-west"],
                    "jsonPatch": [{"op": "replace", "path": "/data/value", "value": "european"}],
                }
            ],
        },
    }


@pytest.fixture
def federation(kubectl: str, tmp_path: Path) -> Iterator[Federation]:
    """A federation with two members that are not in its data directory."""
    folder = tmp_path / "members"
    folder.mkdir()
    with Federation(tmp_path / "fed" / "data", members=Standalone(folder, 2)) as made:
        yield made


def names(federation: Federation) -> set[str]:
    """The ConfigMaps of the namespace in the federation, but for the one that each namespace has."""
    found = {item["metadata"]["name"] for item in federation.api.list("configmaps", NS)}
    return found - {"kube-root-ca.crt"}


def test_a_lost_federation_is_rebuilt_from_its_members(federation: Federation, tmp_path: Path) -> None:
    """Nothing is written before it is confirmed; what members disagree about is listed and left alone; in the
    members nothing is deleted, written or moved."""
    selector = json.dumps([{"key": "location", "operator": "In", "values": ["cloud"]}])
    only = json.dumps([{"key": "hanse.dev/cluster", "operator": "In", "values": ["us-east"]}])
    federation.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(NS, "")}, CRD)
    federation.apply(
        override(),
        config_map(NS, "kept", {CLUSTER_SELECTOR: selector}, color="red"),
        config_map(NS, "one", {CLUSTER_SELECTOR: only}, color="blue"),
        config_map(NS, "differs", value="common"),
        secret(),
        workload("Deployment", NS, "web", replicas=5),
    )
    widget = {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": metadata("w", NS), "size": 3}
    until_passes(lambda: federation.apply(widget), what="widgets are served", seconds=30)

    def arrived() -> None:
        found = {key[::2] for key in in_members(federation) if key[2] != "kube-root-ca.crt"}
        wanted = {
            (cluster, name) for cluster in federation.each for name in ("kept", "differs", "login", "web")
        }
        assert found >= wanted | {("us-east", "one")}
        assert ("eu-west", "one") not in found
        assert sum(replicas(federation).values()) == 5
        assert federation.api.get("deployments.apps", NS, "web")["status"]["readyReplicas"] == 5
        assert {
            api.get("configmaps", NS, "differs")["data"]["value"] for api in federation.each.values()
        } == {"european", "common"}
        for api in federation.each.values():
            api.get("widgets.example.org", NS, "w")

    until_passes(arrived, what="the members have everything", seconds=90)
    before, divided = in_members(federation), replicas(federation)
    identity = json.loads((federation.data_dir / "state.json").read_text())["federation_id"]

    with Witness(federation.each, namespace=NS, resources=KINDS) as witness:
        federation.close()
        federation.down()
        shutil.rmtree(federation.data_dir / "etcd")
        other = "00000000-0000-0000-0000-000000000000"
        refused = federation.run(["hanse", "up", "--detach", "--rebuild", other], check=False)
        assert refused.status == 2
        assert f"had the federation {identity}" in refused.err
        federation.hanse("up", "--detach", "--rebuild", identity)
        federation.members.join(federation)
        federation.write_kubeconfig()
        assert set(ready(federation).values()) == {"True"}

        plan = tmp_path / "plan.yaml"
        said = federation.run(["hanse", "rebuild", "--from-members", "--write", str(plan)])
        assert "configmaps/one -n shop" in said.out
        assert 'disagreement: configmaps/differs -n shop: data.value: eu-west: "european"' in said.out
        assert "nothing was written to the federation" in said.err
        assert plan.stat().st_mode & 0o777 == 0o600
        assert federation.api.find("namespaces", "", NS) is None
        assert in_members(federation) == before

        done = federation.run(["hanse", "rebuild", "--from-members", "--yes"])
        assert "1 objects that members disagree about are left alone" in done.err
        assert names(federation) == {"kept", "one"}

        def settled() -> None:
            assert federation.api.get("deployments.apps", NS, "web")["status"]["readyReplicas"] == 5
            states = json.loads(federation.hanse("syncer", "list-sync-states", "-o", "json"))
            phases = [each["phase"] for each in states.get("sync_states", states.get("syncStates", []))]
            assert len(phases) >= 11
            assert set(phases) == {"APPLIED"}

        until_passes(settled, what="everything is synced", seconds=60)
        assert federation.api.get("widgets.example.org", NS, "w")["size"] == 3
        assert federation.api.get("deployments.apps", NS, "web")["spec"]["replicas"] == 5
        assert in_members(federation) == before, "a member's object was written or replaced"
        assert replicas(federation) == divided
        until(lambda: "configmaps/differs" in federation.hanse("orphans"), what="it is an orphan", seconds=60)

        # The reviewed plan, with the value that is meant.
        documents = list(yaml.safe_load_all(plan.read_text()))
        for each in documents:
            if each and each["metadata"]["name"] == "differs":
                each["data"]["value"] = "reviewed"
        plan.write_text(yaml.safe_dump_all(documents))
        again = federation.run(["hanse", "rebuild", "--plan", str(plan)])
        assert "1 objects created" in again.err
        until(
            lambda: all(
                api.get("configmaps", NS, "differs")["data"]["value"] == "reviewed"
                for api in federation.each.values()
            ),
            what="what was reviewed arrives",
        )
        federation.api.merge("configmaps", NS, "kept", {"data": {"color": "green"}})
        until(
            lambda: all(
                api.get("configmaps", NS, "kept")["data"]["color"] == "green"
                for api in federation.each.values()
            ),
            what="a change arrives",
        )
        uids = {key: uid for key, (uid, _) in in_members(federation).items()}
        assert uids == {key: uid for key, (uid, _) in before.items()}
    assert witness.deleted == []
    nothing = federation.run(["hanse", "rebuild", "--from-members"])
    assert "0 objects in eu-west, us-east are not in the federation" in nothing.err
