"""A federation that lost everything goes on from its backup, and its members do not notice."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness import Federation, Json, Standalone, Witness, until, until_passes
from tests.system.manifests import config_map, metadata, workload

PASSPHRASE = "a passphrase for this test"
TOKEN = "a-token-that-nobody-may-read"
KINDS = ("configmaps", "secrets", "deployments.apps")
NS = "shop"


@pytest.fixture
def federation(kubectl: str, tmp_path: Path) -> Iterator[Federation]:
    """A federation with two members that are not in its data directory."""
    folder = tmp_path / "members"
    folder.mkdir()
    made = Federation(tmp_path / "fed" / "data", members=Standalone(folder, 2))
    made.environ["HANSE_BACKUP_PASSPHRASE"] = PASSPHRASE
    with made:
        yield made


def secret() -> Json:
    """A Secret with the token."""
    data = {"token": base64.b64encode(TOKEN.encode()).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata("login", NS), "data": data}


def in_members(federation: Federation) -> dict[tuple[str, str, str], tuple[str, str]]:
    """uid and resourceVersion of what is in the members, by cluster, kind and name.

    A Deployment's version moves with its Pods, so its generation stands for it.
    """
    found = {}
    for cluster, api in federation.each.items():
        for kind in KINDS:
            for item in api.list(kind, NS):
                meta = item["metadata"]
                version = meta["generation"] if kind.startswith("deployments") else meta["resourceVersion"]
                found[cluster, kind, meta["name"]] = (meta["uid"], str(version))
    return found


def wanted(federation: Federation) -> dict[tuple[str, str], Any]:
    """What users asked for, by kind and name, without what the members report."""
    return {
        (kind, item["metadata"]["name"]): {
            "uid": item["metadata"]["uid"],
            **{name: item.get(name) for name in ("data", "spec")},
        }
        for kind in KINDS
        for item in federation.api.list(kind, NS)
    }


def replicas(federation: Federation) -> dict[str, int]:
    """How many replicas each member was told to run."""
    return {
        name: api.get("deployments.apps", NS, "web")["spec"]["replicas"]
        for name, api in federation.each.items()
    }


def ready(federation: Federation) -> dict[str, str]:
    """Which clusters are joined, and whether they are ready."""
    return {
        item["metadata"]["name"]: next(
            each["status"] for each in item["status"]["conditions"] if each["type"] == "Ready"
        )
        for item in federation.api.list("clusters.hanse.dev")
    }


def test_everything_is_lost_and_comes_back_from_the_backup(federation: Federation, tmp_path: Path) -> None:
    """The whole data directory is deleted. After the restore objects, Secrets and joined clusters are there
    again; in the members nothing was deleted, written or moved, though they have changed since."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(NS, "")}
    web = workload("Deployment", NS, "web", replicas=5)
    federation.apply(namespace, config_map(NS, "kept", color="red"), config_map(NS, "gone", color="blue"))
    federation.apply(secret(), web)
    federation.api.create("configmaps", NS, config_map(NS, "large", text='"' * 1024 * 1024))
    names = {"kept", "gone", "login", "web", "large"}

    def arrived() -> None:
        assert len([key for key in in_members(federation) if key[2] in names]) == 10
        assert sum(replicas(federation).values()) == 5
        assert federation.api.get("deployments.apps", NS, "web")["status"]["readyReplicas"] == 5

    until_passes(arrived, what="the members have everything", seconds=60)
    intent, clusters, divided = wanted(federation), ready(federation), replicas(federation)
    assert set(clusters.values()) == {"True"}

    backup = tmp_path / "hanse.backup"
    said = federation.run(["hanse", "backup", str(backup)])
    assert "can be read" in said.err
    content = backup.read_bytes()
    assert backup.stat().st_mode & 0o777 == 0o600
    for word in (TOKEN.encode(), base64.b64encode(TOKEN.encode()), b"kept", b"BEGIN"):
        assert word not in content
    assert not list((federation.data_dir / "run").glob("backup.*")), "the plain snapshot was left behind"
    again = federation.run(["hanse", "backup", str(backup)], check=False)
    assert (again.status, backup.read_bytes()) == (1, content), "a backup was overwritten"

    # What happens after the backup is not in it.
    federation.apply(config_map(NS, "late", color="green"))
    until(
        lambda: all(api.find("configmaps", NS, "late") for api in federation.each.values()),
        what="the late one arrives",
    )
    federation.api.delete("configmaps", NS, "gone")
    until(
        lambda: not any(api.find("configmaps", NS, "gone") for api in federation.each.values()),
        what="one is deleted",
    )
    listed = federation.api.request("GET", f"/api/v1/namespaces/{NS}/configmaps")
    version = str(listed["metadata"]["resourceVersion"])
    before = in_members(federation)

    with Witness(federation.each, namespace=NS, resources=KINDS) as witness:
        federation.down()
        shutil.rmtree(federation.data_dir)

        wrong = {**federation.environ, "HANSE_BACKUP_PASSPHRASE": "another passphrase"}
        right, federation.environ = federation.environ, wrong
        refused = federation.run(["hanse", "restore", str(backup)], check=False)
        federation.environ = right
        assert refused.status == 2
        assert "was not made with this passphrase" in refused.err
        assert not federation.data_dir.exists()
        assert not list(federation.data_dir.parent.glob(".*restoring*"))

        federation.hanse("restore", str(backup))
        occupied = federation.run(["hanse", "restore", str(backup)], check=False)
        assert occupied.status == 1
        assert "is not empty, and a restore overwrites nothing" in occupied.err
        federation.hanse("up", "--detach")
        federation.close()  # the kubeconfig from before is used on: same address, same authority

        def back() -> None:
            assert wanted(federation) == intent
            assert ready(federation) == clusters
            assert all(api.find("configmaps", NS, "gone") for api in federation.each.values())
            assert federation.api.get("deployments.apps", NS, "web")["status"]["readyReplicas"] == 5

        until_passes(back, what="the federation is as it was", seconds=60)
        token = federation.api.get("secrets", NS, "login")["data"]["token"]
        assert base64.b64decode(token).decode() == TOKEN
        federation.apply(config_map(NS, "new", color="white"))
        until(
            lambda: all(api.find("configmaps", NS, "new") for api in federation.each.values()),
            what="a new one arrives",
        )
        after = in_members(federation)
        assert {key: after.get(key) for key in before} == before, "a member's object was written or replaced"
        assert {key[2] for key in after.keys() - before.keys()} == {"gone", "new"}
        assert replicas(federation) == divided
    assert witness.deleted == []

    # What a client goes on with from before is of no use, and it is told so.
    watch = f"/api/v1/namespaces/{NS}/configmaps?watch=1&timeoutSeconds=5&resourceVersion={version}"
    answer = federation.kubectl("get", "--raw", watch, check=False)
    assert "410" in answer.out + answer.err or "Expired" in answer.out + answer.err, answer
    until(lambda: "late" in federation.hanse("orphans"), what="the late one is an orphan", seconds=60)


def test_a_key_file_and_a_check(federation: Federation, tmp_path: Path) -> None:
    """A key instead of a passphrase; `--check` says what is in a backup and writes nothing; a federation that
    does not run, and a directory without one, give none."""
    key = tmp_path / "backup.key"
    key.write_text("k1:" + base64.b64encode(b"k" * 32).decode() + "\n")
    key.chmod(0o600)
    backup = tmp_path / "hanse.backup"
    federation.hanse("backup", str(backup), "--key-file", str(key))
    said = federation.run(["hanse", "restore", str(backup), "--check", "--key-file", str(key)]).err
    state = json.loads((federation.data_dir / "state.json").read_text())
    assert state["federation_id"] in said
    assert "can be restored" in said
    federation.close()
    federation.down()
    stopped = federation.run(
        ["hanse", "backup", str(tmp_path / "other"), "--key-file", str(key)], check=False
    )
    assert stopped.status == 1
    assert "start it with `hanse up`" in stopped.err
    nothing = federation.run(
        ["hanse", "backup", str(tmp_path / "other"), "--data-dir", str(tmp_path / "none")], check=False
    )
    assert nothing.status == 1
    assert "has no federation" in nothing.err
    assert not (tmp_path / "other").exists()
    for done in (stopped, nothing):
        assert done.err.count("\n") == 1, done.err
