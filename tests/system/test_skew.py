"""Services of the release before beside those of this one, in every pair, through an upgrade and back.

What docs/upgrades.md promises: whoever is older and whoever newer, what was applied stays as it is in the
members, what is new is placed, synced and named, what is deleted goes when the members have confirmed, and
watches go on.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness import (
    SERVICES,
    Api,
    ApiError,
    Federation,
    Json,
    Simulated,
    Witness,
    until,
    until_passes,
)
from tests.system.harness.api import collection
from tests.system.harness.releases import Releases, modules
from tests.system.manifests import config_map, deployment, metadata, service

pytestmark = pytest.mark.timeout(300)

NS = "skew"
KEPT = ("configmaps", "services", "deployments.apps", "replicasets.apps", "pods")
UPGRADE = ("apiserver", "registry", "scheduler", "syncer", "dns")
"""The order of docs/upgrades.md; of all but the apiserver any order is fine."""


def plan() -> list[frozenset[str]]:
    """Which services are new, step by step: the upgrade, each service alone old, each alone new, all old."""
    everything = frozenset(UPGRADE)
    steps = [frozenset(UPGRADE[: count + 1]) for count in range(len(UPGRADE))]
    steps += [everything - {name} for name in ("syncer", "scheduler", "registry", "apiserver")]
    steps += [frozenset({name}) for name in ("dns", "syncer", "scheduler", "registry")]
    return [*steps, frozenset()]


def test_the_plan_has_every_service_alone_old_and_alone_new() -> None:
    """So every two services meet with the older on either side."""
    steps = set(plan())
    for name in SERVICES:
        assert {frozenset({name}), frozenset(SERVICES) - {name}} <= steps


class Watcher:
    """Follows the Services of the namespace over every restart of the apiserver, as client-go does.

    It goes on from where it was; where the apiserver does not have that any more (410), it lists again and
    takes the difference.
    """

    def __init__(self, api: Api) -> None:
        self.came: list[str] = []
        self.went: list[str] = []
        self._there: dict[str, str] = {}  # uid -> name
        self._api = api
        self._path = collection("services", NS)
        self._version = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(15)
        self._api.close()

    def check_gone(self, name: str) -> None:
        """The watch goes on, and has told that a Service went."""
        assert self._thread.is_alive()
        assert name in self.went, self.went

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                if not self._version:
                    self._list()
                with self._api.watch(self._path, self._version, seconds=2) as events:
                    for kind, obj in events:
                        if kind == "ERROR":
                            raise ApiError(obj["code"], obj["reason"], obj["message"])
                        self._version = obj["metadata"]["resourceVersion"]
                        self._note(obj["metadata"], there=kind != "DELETED")
            except ApiError as error:
                if error.status == 410:
                    self._version = ""
            except OSError:
                self._stop.wait(0.1)

    def _list(self) -> None:
        answer = self._api.request("GET", self._path)
        listed = {item["metadata"]["uid"]: item["metadata"] for item in answer["items"]}
        for uid, name in list(self._there.items()):
            if uid not in listed:
                self._note({"uid": uid, "name": name}, there=False)
        for each in listed.values():
            self._note(each, there=True)
        self._version = answer["metadata"]["resourceVersion"]

    def _note(self, data: Json, *, there: bool) -> None:
        uid, name = data["uid"], data["name"]
        if there and uid not in self._there:
            self._there[uid] = name
            self.came.append(name)
        elif not there:
            del self._there[uid]
            self.went.append(name)


class Skew:
    """A federation whose services are switched between the two releases."""

    def __init__(self, federation: Federation, releases: Releases) -> None:
        self.federation = federation
        self.releases = releases
        self.new: frozenset[str] = frozenset()
        self._count = 0

    def switch(self, new: frozenset[str]) -> None:
        """Restart what changes, so that exactly the services `new` are of this release."""
        self.releases.choose_earlier(modules(set(SERVICES) - new))
        changing = self.new ^ new
        before = {name: self.federation.kill(name, signal.SIGTERM) for name in changing}
        for name, pid in before.items():
            self.federation.await_back(name, not_pid=pid)
        self.new = new
        self.check_releases()

    def check_releases(self) -> None:
        """Each service runs the release that it was told to."""
        for name in SERVICES:
            pid = self.federation.pid(name)
            assert self.releases.runs_earlier(pid, name) is (name not in self.new), f"{name} is of the other"

    def uids(self) -> dict[str, str]:
        """What the members have but for what this test makes and deletes: nothing of it may be made again."""
        return {
            f"{cluster}/{resource}/{item['metadata']['name']}": item["metadata"]["uid"]
            for cluster, api in self.federation.each.items()
            for resource in KEPT
            for item in api.list(resource, NS)
            if not item["metadata"]["name"].startswith("new-")
        }

    def everything_works(self) -> None:
        """One round of what a federation does: place, sync, name, report, change, let go."""
        federation, self._count = self.federation, self._count + 1
        labelled = self._label(str(self._count))
        name, before = f"new-{self._count}", f"new-{self._count - 1}"
        obj = service(NS, name)
        obj["spec"]["selector"] = {"app": "web"}
        patch = {"data": {"step": str(self._count)}}

        def write() -> None:
            if federation.api.find("services", NS, name) is None:
                federation.api.create("services", NS, obj)
            federation.api.merge("configmaps", NS, "kept", patch)
            if federation.api.find("services", NS, before):
                federation.api.delete("services", NS, before)

        def there() -> None:
            for cluster, api in federation.each.items():
                assert api.find("services", NS, name), f"{name} is not in {cluster}"
                kept = api.get("configmaps", NS, "kept")["data"]
                assert kept == {"color": "red", "step": str(self._count)}
                assert not api.find("services", NS, before), f"{before} is in {cluster}"
            assert not federation.api.find("services", NS, before), f"{before} waits for confirmation"
            status = federation.api.get("services", NS, name)["status"]
            assert len(status["loadBalancer"]["ingress"]) == len(federation.each)
            assert federation.api.get("deployments.apps", NS, "web")["status"]["readyReplicas"] == 4

        def names() -> None:
            assert federation.dig(f"web.{NS}.hanse.svc.example.org")
            assert federation.dig(f"{name}.{NS}.hanse.svc.example.org")
            assert not federation.dig(f"{before}.{NS}.hanse.svc.example.org")

        said = f"with {sorted(self.new) or 'none'} new"
        until_passes(write, what=f"the apiserver writes, {said}")
        until_passes(there, what=f"the members have what was applied, {said}")
        until_passes(names, what=f"the names are answered, {said}")
        out, _ = labelled.communicate(timeout=30)
        assert labelled.returncode == 0, f"{said}: {out.decode()}"

    def _label(self, step: str) -> subprocess.Popen[bytes]:
        """Have the registry change a cluster and answer when that is stored."""
        words = ["registry", "update-cluster", "--cluster.name", "clusters/eu-west"]
        words += ["--cluster.labels", "location=cloud", "--cluster.labels", f"step={step}"]
        return subprocess.Popen(
            [sys.executable, "-m", "hanse_cli.main", *words, "--update-mask", "labels"],
            env=self.federation.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture
def skew(kubectl: str, tmp_path: Path) -> Iterator[Skew]:
    """A federation of the earlier release."""
    releases = Releases(tmp_path)
    releases.choose_earlier(modules(SERVICES))
    federation = Federation(tmp_path / "data", members=Simulated(2), settings={"apiserver.shared": "true"})
    federation.environ |= releases.environ
    with federation:
        yield Skew(federation, releases)


def test_services_of_two_releases_run_side_by_side(skew: Skew, tmp_path: Path) -> None:
    """An upgrade in its order, every service alone old and alone new, and all the way back."""
    federation = skew.federation
    skew.check_releases()
    namespace: Json = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(NS, "")}
    federation.apply(
        namespace, config_map(NS, "kept", color="red"), deployment(NS, "web", 4), service(NS, "web")
    )
    skew.everything_works()
    kept = skew.uids()
    assert len(kept) >= 2 * 5, kept
    command_line(skew, tmp_path, earlier=False)
    watcher = Watcher(Api.from_kubeconfig(federation.kubeconfig, "hanse"))
    witness = Witness(federation.each, namespace=NS, resources=KEPT)
    with watcher, witness:
        for new in plan():
            skew.switch(new)
            skew.everything_works()
            assert skew.uids() == kept, f"with {sorted(new)} new"
            if new == frozenset(SERVICES):
                command_line(skew, tmp_path, earlier=True)
                two_apiservers(skew, tmp_path)
        last = f"new-{len(plan())}"
        until_passes(lambda: watcher.check_gone(last), what="the watch has seen the last deletion")
    gone = [each for each in witness.deleted if not each.name.startswith("new-")]
    assert not gone, "nothing else was deleted in a member"
    for number in range(2, len(plan()) + 1):
        told = (watcher.came.count(f"new-{number}"), watcher.went.count(f"new-{number}"))
        assert told == (1, 1), f"new-{number} came and went {told} times"


def command_line(skew: Skew, folder: Path, *, earlier: bool) -> None:
    """The command line of one release against the services of the other."""
    skew.releases.choose_earlier(["hanse_cli.main"] if earlier else modules(SERVICES))
    federation, name = skew.federation, "earlier" if earlier else "later"
    manifest = folder / f"{name}.json"
    manifest.write_text(json.dumps(config_map(NS, f"new-by-{name}", color="red")))
    federation.hanse("apply", "-f", str(manifest))
    assert name in federation.hanse("get", "configmaps", "-n", NS)
    explained = federation.hanse("explain", "deploy/web", "-n", NS)
    assert all(cluster in explained for cluster in federation.members.names)
    assert json.loads(federation.hanse("status", "-o", "json"))["phase"] == "ready"
    federation.hanse("version")
    federation.hanse("delete", "-f", str(manifest))


def two_apiservers(skew: Skew, folder: Path) -> None:
    """One of each release over one etcd: a client may ask either, and go on with the other."""
    federation = skew.federation
    config, ready = folder / "second.toml", folder / "second.json"
    lines = (federation.data_dir / "config" / "apiserver.toml").read_text().splitlines()
    own = {"listen", "https_listen", "metrics_listen", "ready_file", "trace_file", "advertise_address"}
    kept = [line for line in lines if line.partition("=")[0].strip() not in own]
    config.write_text("\n".join([*kept, f'ready_file = "{ready}"', ""]))
    skew.releases.choose_earlier(modules(["apiserver"]))
    with (folder / "second.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "hanse_apiserver", "--config", str(config)],
            env=federation.environ,
            stdout=log,
            stderr=log,
        )
    try:
        until(ready.exists, what="the second apiserver is ready")
        assert skew.releases.runs_earlier(process.pid, "apiserver")
        second = second_kubeconfig(federation, json.loads(ready.read_text())["endpoints"]["https"])
        hop(federation.api, Api.from_kubeconfig(second, "hanse"))
        hop(Api.from_kubeconfig(second, "hanse"), federation.api)
    finally:
        process.terminate()
        assert process.wait(20) == 0, (folder / "second.log").read_text()[-2000:]


def hop(first: Api, second: Api) -> None:
    """Each step at the other apiserver: create, read, update what was read, watch on, delete."""
    name = "new-hop"
    made = first.create("configmaps", NS, config_map(NS, name, color="red"))
    read = second.get("configmaps", NS, name)
    assert read["metadata"]["uid"] == made["metadata"]["uid"]
    version = read["metadata"]["resourceVersion"]
    second.replace("configmaps", NS, {**read, "data": {"color": "blue"}})
    with pytest.raises(ApiError) as stale:
        first.replace("configmaps", NS, {**read, "data": {"color": "green"}})
    assert stale.value.status == 409
    assert first.get("configmaps", NS, name)["data"] == {"color": "blue"}
    with first.watch(collection("configmaps", NS), version) as events:
        kind, obj = next(each for each in events if each[1]["metadata"]["name"] == name)
    assert kind == "MODIFIED"
    assert obj["data"] == {"color": "blue"}
    first.delete("configmaps", NS, name)
    until(lambda: second.find("configmaps", NS, name) is None, what=f"{name} is gone at the other apiserver")


def second_kubeconfig(federation: Federation, address: str) -> Path:
    """The federation's kubeconfig with another address."""
    path = federation.data_dir.parent / "second.kubeconfig"
    port = address.rpartition(":")[2]
    text = federation.kubeconfig.read_text()
    first = federation.endpoint("apiserver", "https").rpartition(":")[2]
    assert f":{first}" in text
    path.touch(mode=0o600)
    path.write_text(text.replace(f":{first}", f":{port}"))
    return path
