"""A federation in a host cluster with a real kubelet: installed, used, attacked, upgraded and taken out.

One story in the order of the tests; each goes on where the one before has ended.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import pytest
import yaml

from tests.node import assets, files, manifests
from tests.node.assets import Images
from tests.node.machine import Machine
from tests.node.operator import Operator
from tests.system.harness.api import Api, ApiError
from tests.system.harness.dump import differences, dump, settled
from tests.system.harness.standalone import Standalone
from tests.system.harness.waiting import until, until_passes

NAME = "hanse"
ZONE = "fed.example.com"
OTHER = "us-east"
"""The simulated member."""
SERVICES = ("apiserver", "registry", "scheduler", "syncer", "dns")
SHOP = assets.ROOT / "examples/shop"
OF_THE_CLUSTER = (
    "/api/v1/nodes/",
    "/leases/",
    "/componentstatuses/",
    "/persistentvolumes//disk-",
    "/kube-system/",
)
"""What a cluster writes by itself; its own Pods were started again when it lost its power."""


@dataclass
class Story:
    """What is there, and what is remembered of it."""

    machine: Machine
    images: Images
    operator: Operator
    other: Standalone
    before: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each member had before the federation came."""
    uids: dict[str, dict[str, str]] = field(default_factory=dict)
    """The uids in each member of what the federation put there."""

    def api(self, member: str) -> Api:
        """The API of a member."""
        found = self.machine.kubeconfig if member == "host" else self.other.kubeconfigs(_NOBODY)[OTHER]
        return Api.from_kubeconfig(found)

    def dump(self, member: str) -> dict[str, Any]:
        """All that a member has, once it is at rest."""
        return settled(self.api(member))

    def shop(self, member: str) -> dict[str, str]:
        """The uids of what the example has in a member, but for Pods and what controllers make."""
        kinds = ("deployments", "services", "configmaps", "secrets")
        found = {}
        for path, item in dump(self.api(member)).items():
            kind = path.split("/")[-3]
            if "/shop/" in path and kind in kinds and "kube-root-ca" not in path:
                found[path] = item["metadata"]["uid"]
        return found

    def pods(self, namespace: str = NAME) -> list[dict[str, Any]]:
        """Pods of the host cluster."""
        found: list[dict[str, Any]] = self.operator.get("pods", "-n", namespace)["items"]
        return found

    def check_ready(self, namespace: str = NAME) -> None:
        """Fail unless each Pod that is not done is ready, and each service has one."""
        pods = [each for each in self.pods(namespace) if each["status"]["phase"] != "Succeeded"]
        waiting = [each["metadata"]["name"] for each in pods if not _ready(each)]
        assert pods, "no Pods"
        assert not waiting, waiting
        if namespace == NAME:
            names = {_component(each) for each in pods}
            assert {*SERVICES, "etcd"} <= names

    def check_synced(self) -> None:
        """Fail unless both members are ready for the federation."""
        clusters = self.operator.get("clusters.hanse.dev", context=NAME)["items"]
        states = {each["metadata"]["name"]: _condition(each, "Ready") for each in clusters}
        assert states == {"host": "True", OTHER: "True"}


_NOBODY: Any = None


def _ready(pod: dict[str, Any]) -> bool:
    return _condition(pod, "Ready") == "True" and not pod["metadata"].get("deletionTimestamp")


def _component(pod: dict[str, Any]) -> str:
    return str(pod["metadata"].get("labels", {}).get("app.kubernetes.io/component", ""))


def _condition(item: dict[str, Any], kind: str) -> str:
    found = [each["status"] for each in item["status"].get("conditions", []) if each["type"] == kind]
    return str(found[0]) if found else ""


@pytest.fixture(scope="module")
def story(machine: Machine, images: Images, folder: Path) -> Iterator[Story]:
    """A host cluster with names and storage, another member, and nothing else."""
    volumes = [machine.disk / "volumes" / str(number) for number in range(2)]
    for path in volumes:
        path.mkdir(parents=True)
    (folder / "other").mkdir()
    operator = Operator(folder / "operator", machine.kubeconfig, machine.programs["PROGRAMS"])
    other = Standalone(folder / "other", listen={OTHER: f"{files.WORLD}:6443"}, count=2)
    other.names = (OTHER,)
    other.start()
    try:
        found = Story(machine, images, operator, other)
        operator.apply(*manifests.host(volumes))
        operator.kubectl("rollout", "status", "-n", "kube-system", "deployment/coredns", "--timeout=60s")
        until(other.kubeconfigs(_NOBODY)[OTHER].exists, what="the other member is there")
        found.before = {member: found.dump(member) for member in ("host", OTHER)}
        yield found
    finally:
        other.stop()


def init(story: Story, *words: str) -> float:
    """`kubefed init`, and the seconds that it took."""
    began = time.monotonic()
    story.operator.run("kubefed", "init", NAME, "--host-cluster-context=host", *words, "--wait-timeout=240")
    return time.monotonic() - began


def test_it_is_installed(story: Story, record_property: Any) -> None:
    """The release before, if there is one: every Pod gets ready without being started twice."""
    image = story.images.old or story.images.new
    took = init(
        story,
        f"--image={image}",
        f"--etcd-image={assets.ETCD}",
        f"--dns-zone-name={ZONE}",
        "--overlay=host-member",
        f"--api-server-advertise-address={files.ADDRESS}",
    )
    record_property("init_seconds", round(took, 1))
    story.check_ready()
    restarts = {
        each["metadata"]["name"]: each["status"]["containerStatuses"][0]["restartCount"]
        for each in story.pods()
    }
    assert set(restarts.values()) == {0}, restarts
    assert story.operator.get("namespaces", "default", context=NAME)


def kubeconfig_of_host(story: Story) -> Path:
    """That of the host's ServiceAccount, as docs/install.md makes it."""
    secret = story.operator.get("secret", "-n", NAME, "hanse-member-token")["data"]
    cluster = {
        "server": "https://kubernetes.default.svc",
        "certificate-authority-data": secret["ca.crt"],
    }
    user = {"token": base64.b64decode(secret["token"]).decode()}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "host", "cluster": cluster}],
        "users": [{"name": "host", "user": user}],
        "contexts": [{"name": "host", "context": {"cluster": "host", "user": "host"}}],
        "current-context": "host",
    }
    path = story.operator.home / "host.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def test_members_join(story: Story) -> None:
    """The host by its ServiceAccount, and another cluster."""
    own = story.other.kubeconfigs(_NOBODY)[OTHER]
    story.operator.run("hanse", "join", "host", f"--cluster-kubeconfig={kubeconfig_of_host(story)}")
    story.operator.run("hanse", "join", OTHER, f"--cluster-kubeconfig={own}", "-l", "location=cloud")
    until_passes(story.check_synced, what="both members are ready")


def test_the_example_runs(story: Story) -> None:
    """Real Pods get ready on the node, the rest is in the other member, and the status has both."""
    story.operator.kubectl("apply", "-f", str(SHOP), context=NAME)

    def runs() -> None:
        story.check_ready("shop")
        deployments = story.operator.get("deployments", "-n", "shop", context=NAME)["items"]
        assert {each["metadata"]["name"]: each["status"].get("readyReplicas", 0) for each in deployments} == {
            "web": 6,
            "api": 4,
            "reports": 2,
        }

    until_passes(runs, what="the example runs", seconds=120)
    assert {each["metadata"]["labels"]["app"] for each in story.pods("shop")} == {"web", "api"}
    story.uids = {member: story.shop(member) for member in ("host", OTHER)}
    assert all(story.uids.values())


def test_names_are_answered(story: Story) -> None:
    """Through the Service, over UDP and TCP, with the addresses of both members."""
    service = ("service", "-n", "shop", "web")
    until(lambda: story.operator.get(*service)["spec"]["type"] == "LoadBalancer", what="the host has it")
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}}
    story.operator.kubectl(
        "patch", *service[:1], "web", "-n", "shop", "--subresource=status", "-p", json.dumps(status)
    )
    ports = story.operator.get("service", "-n", NAME, "hanse-names")["spec"]["ports"]
    question = dns.message.make_query(f"web.shop.{NAME}.svc.{ZONE}.", "A")

    def answered() -> None:
        for ask, protocol in ((dns.query.udp, "UDP"), (dns.query.tcp, "TCP")):
            (port,) = [each["nodePort"] for each in ports if each["protocol"] == protocol]
            answer = ask(question, files.ADDRESS, port=port, timeout=2)
            addresses = {item.address for each in answer.answer for item in each}
            assert "203.0.113.7" in addresses, answer
            assert len(addresses) == 2, answer

    until_passes(answered, what="the name has the addresses of both members", seconds=60)


CONNECT = """
import socket
found = []
for host, port in {targets}:
    try:
        socket.create_connection((host, port), timeout=1.5).close()
        found.append(f"{{host}}:{{port}}")
    except OSError:
        pass
print(" ".join(found))
"""


def test_nobody_connects_who_need_not(story: Story) -> None:
    """What the NetworkPolicies forbid cannot connect, and what they allow can: each Pod, each port."""
    foreign = manifests.prober("prober", "default", {}, story.images.new)
    inside = manifests.prober("prober", NAME, {"app.kubernetes.io/name": "other"}, story.images.new)
    client = manifests.prober("client", NAME, {"hanse.dev/client": "true"}, story.images.new)
    story.operator.apply(foreign, inside, client)
    try:
        for pod, namespace in (("prober", "default"), ("prober", NAME), ("client", NAME)):
            story.operator.kubectl(
                "wait", "-n", namespace, f"pod/{pod}", "--for=condition=Ready", "--timeout=60s"
            )
        components = {*SERVICES, "etcd"}
        addresses = {
            _component(each): each["status"]["podIP"]
            for each in story.pods()
            if _component(each) in components
        }
        ports: dict[str, tuple[int, ...]] = dict.fromkeys(SERVICES, (7000, 7001))
        ports |= {"apiserver": (6443, 7000, 7001), "dns": (5353, 7000, 7001), "etcd": (2379, 2380, 2381)}
        targets = [(addresses[name], port) for name, those in ports.items() for port in those]
        names = {
            f"{addresses[name]}:{port}": f"{name}:{port}" for name, those in ports.items() for port in those
        }
        code = CONNECT.format(targets=targets)

        def reached(pod: str, namespace: str) -> set[str]:
            return {names[each] for each in story.operator.python(pod, namespace, code).split()}

        def of(service: str) -> str:
            return f"deployment/hanse-{service}"

        public = {"apiserver:6443", "dns:5353"}
        assert reached("prober", "default") == public
        assert reached("prober", NAME) == set()
        assert reached("client", NAME) == {f"{name}:7000" for name in SERVICES}
        own = {name: reached(of(name), NAME) for name in SERVICES}
        assert all("etcd:2379" in own[name] for name in SERVICES)
        assert not any(
            {"etcd:2380", "etcd:2381", *(f"{name}:7001" for name in SERVICES)} & each - {f"{name}:7001"}
            for name, each in own.items()
        )
    finally:
        story.operator.kubectl("delete", "pod", "prober", "-n", "default", "--now")
        story.operator.kubectl("delete", "pod", "prober", "client", "-n", NAME, "--now")


def process_of(story: Story, module: str) -> int:
    """The process of a service on the machine."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().split(b"\0")
            if module.encode() in command and story.machine.cgroup in (path / "cgroup").read_text():
                return int(path.name)
        except OSError:
            continue
    raise AssertionError(f"no process of {module}")


def check_nothing_was_made_again(story: Story) -> None:
    """Fail if a member has another object than the one that it had."""
    assert {member: story.shop(member) for member in story.uids} == story.uids


@pytest.mark.parametrize("name", ["syncer", "apiserver"])
def test_a_service_that_is_killed_comes_back(story: Story, name: str) -> None:
    """The kubelet starts it again; meanwhile and afterwards nothing is made again."""
    os.kill(process_of(story, f"hanse_{name}"), signal.SIGKILL)

    def back() -> None:
        story.check_ready()
        (pod,) = [each for each in story.pods() if _component(each) == name]
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 1
        story.check_synced()

    until_passes(back, what=f"{name} is back", seconds=60)
    check_new_gets_there(story)
    check_nothing_was_made_again(story)


def check_new_gets_there(story: Story) -> None:
    """Fail unless what is changed in the federation is in the members soon, and its status back."""
    for replicas in (5, 6):
        scale = ("scale", "deployment/web", "-n", "shop", f"--replicas={replicas}")
        story.operator.kubectl(*scale, context=NAME)
        check = functools.partial(_check_scaled, story, replicas)
        until_passes(check, what="what is new gets there", seconds=60)


def _check_scaled(story: Story, replicas: int) -> None:
    status = story.operator.get("deployment", "-n", "shop", "web", context=NAME)["status"]
    assert (status.get("readyReplicas"), status.get("replicas")) == (replicas, replicas), status


def test_a_machine_without_power_comes_back(story: Story, record_property: Any) -> None:
    """All processes end at once. Nothing is lost, and nothing is made again, in either member."""
    story.machine.lose_power()
    record_property("start_seconds", round(story.machine.start(), 1))
    until_passes(story.check_ready, what="all Pods are ready", seconds=180)
    until_passes(story.check_synced, what="both members are ready", seconds=60)
    until_passes(lambda: story.check_ready("shop"), what="the example runs", seconds=60)
    check_new_gets_there(story)
    check_nothing_was_made_again(story)


def test_it_is_upgraded(story: Story, record_property: Any) -> None:
    """From the commit before: the API answers all the time, and nothing is made again."""
    if not story.images.old:
        pytest.skip(story.images.without_old)
    api = Api.from_kubeconfig(story.operator.kubeconfig, NAME)
    failures: list[str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.wait(0.2):
            try:
                api.request("GET", "/api/v1/namespaces/shop")
            except (ApiError, OSError) as error:
                failures.append(f"{type(error).__name__}: {error}")

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        record_property("upgrade_seconds", round(init(story, f"--image={story.images.new}"), 1))
    finally:
        done.set()
        asking.join()
    until_passes(story.check_ready, what="the old Pods are gone", seconds=60)
    until_passes(story.check_synced, what="both members are ready", seconds=60)
    services = [each for each in story.pods() if _component(each) in SERVICES]
    used = {
        each["spec"]["containers"][0]["image"]
        for each in services
        if "deletionTimestamp" not in each["metadata"]
    }
    assert used == {story.images.new}
    assert failures == []
    check_new_gets_there(story)
    check_nothing_was_made_again(story)


def test_it_is_restored_from_a_backup(story: Story) -> None:
    """The host cluster loses all of it, and gets it back from a backup: what the federation knew is there,
    and in the members nothing is made again."""
    folder = story.operator.home / "backups"
    story.operator.run("kubefed", "init", NAME, "--host-cluster-context=host", f"--backup-dir={folder}")
    (backup,) = folder.glob("*.backup")
    story.operator.run("kubefed", "deinit", NAME, "--host-cluster-context=host", "--force", "--delete-data")
    check_nothing_was_made_again(story)
    init(
        story,
        f"--image={story.images.new}",
        f"--restore-from={backup}",
        f"--backup-key-file={story.operator.home / '.hanse/federations' / NAME / 'backup.key'}",
    )
    until_passes(story.check_ready, what="all Pods are ready", seconds=60)
    # The host's ServiceAccount was in the namespace, so its token is another now.
    own = kubeconfig_of_host(story)
    story.operator.run("hanse", "credentials", "set", "host", f"--cluster-kubeconfig={own}")
    until_passes(story.check_synced, what="both members are ready", seconds=60)
    check_new_gets_there(story)
    check_nothing_was_made_again(story)


def test_it_is_taken_out(story: Story) -> None:
    """Members first; both clusters are as they were before it came."""
    told = story.operator.run("kubefed", "deinit", NAME, "--host-cluster-context=host", status=1)
    assert "joined" in told
    story.operator.run("kubefed", "deinit", NAME, "--host-cluster-context=host", "--unjoin", "--delete-data")
    for member, before in story.before.items():
        found = differences(before, story.dump(member), but=OF_THE_CLUSTER)
        assert not found, "\n".join(found)
    assert NAME not in story.operator.kubeconfig.read_text().split()
    assert "there is no federation here" in story.operator.run("hanse", "clusters", status=2)
