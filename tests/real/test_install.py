"""`kubefed init` and `deinit` on a real control plane: what they make is there, and gone, and nothing else
is.

Pods are played (tests/real/README.md), so what runs in them is not; an image that cannot be pulled is.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from hanse_install.stages import waits_for
from hanse_local.backup.reading import check
from hanse_local.backup.sealed_file import Secret
from hanse_local.etcd.build import cache_dir

from hanse.security.auth import server_name
from hanse.security.keyring import read_keys
from tests.deploy.manifests import of_kind
from tests.deploy.processes import DEADLINE, Host
from tests.install import kubectl_shim
from tests.real.federation import Federation
from tests.real.realcluster import ClusterSpec, Json, RealCluster, RealClusters, until
from tests.support.stores.etcd import find_etcd
from tests.support.stores.etcd_cluster import EtcdCluster
from tests.system.harness.api import Api
from tests.system.harness.dump import differences, dump, unversioned

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAME = "hanse"
IMAGE, NEXT = "registry.example.org/hanse:0.1.0", "registry.example.org/hanse:0.2.0"
UNSECURED = ("--no-etcd-check", "--skip-backup")
APPS = f"/apis/apps/v1/namespaces/{NAME}"
CORE = f"/api/v1/namespaces/{NAME}"
SERVICES = ("apiserver", "registry", "scheduler", "syncer", "dns")
OF_THE_CLUSTER = ("/api/v1/nodes/", "/leases/", "/componentstatuses/", "/horizontalpodautoscalers/")
"""What a cluster writes by itself, whenever it likes."""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Installer:
    """Runs kubefed against a host cluster, with a home and a kubeconfig of its own."""

    host: RealCluster
    home: Path

    @property
    def kubeconfig(self) -> Path:
        """Has the context `host`."""
        return self.home / "kubeconfig"

    @property
    def keys(self) -> Path:
        """The default directory of the federation's keys."""
        return self.home / ".hanse" / "federations" / NAME

    async def run(self, *words: str, kubeconfig: Path | None = None) -> Done:
        """Run a command of kubefed; the event loop plays Pods meanwhile."""
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("kubefed")),
            *words,
            f"--kubeconfig={kubeconfig or self.kubeconfig}",
            "--host-cluster-context=host",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HOME": str(self.home)},
        )
        try:
            async with asyncio.timeout(300):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())

    async def init(self, *words: str, status: int = 0, name: str = NAME) -> Done:
        """`kubefed init`, which ends with that status."""
        done = await self.run(
            "init", name, f"--image={IMAGE}", "--api-server-advertise-address=127.0.0.1", *words
        )
        assert done.status == status, done.err
        return done

    async def deinit(self, *words: str, status: int = 0) -> Done:
        """`kubefed deinit`, which ends with that status."""
        done = await self.run("deinit", NAME, *words)
        assert done.status == status, done.err
        return done

    async def dump(self) -> dict[str, Json]:
        """All that the host cluster has, once it is at rest."""

        def look() -> dict[str, Json]:
            api = Api.from_kubeconfig(self.host.kubeconfig_path)
            try:
                return dump(api)
            finally:
                api.close()

        last: dict[str, Json] = {}
        for _ in range(60):
            found = await asyncio.to_thread(look)
            if found == last:
                return found
            last = found
            await asyncio.sleep(0.5)
        raise AssertionError("the host cluster is not at rest")

    def config(self) -> Any:
        """The kubeconfig."""
        return yaml.safe_load(self.kubeconfig.read_text())

    async def images(self) -> dict[str, str]:
        """The image of each service, as the host cluster is told."""
        found = (await self.host.api.get(f"{APPS}/deployments"))["items"]
        containers = {
            each["metadata"]["name"]: each["spec"]["template"]["spec"]["containers"] for each in found
        }
        return {name.removeprefix("hanse-"): own[0]["image"] for name, own in containers.items()}


def without(before: dict[str, Json], after: dict[str, Json]) -> list[str]:
    """What is another, but for what the cluster does by itself."""
    return differences(before, after, but=OF_THE_CLUSTER)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def host(assets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealCluster]:
    """A cluster with one node."""
    directory = tmp_path_factory.mktemp("host")
    async with RealClusters(assets_dir, directory, [ClusterSpec("host")]) as clusters:
        yield clusters["host"]


@pytest_asyncio.fixture(loop_scope="module")
async def kubefed(host: RealCluster, tmp_path: Path) -> AsyncIterator[Installer]:
    """An installer; what it has made is taken out at the end."""
    home = tmp_path / "home"
    home.mkdir()
    found = Installer(host, home)
    shutil.copy(host.kubeconfig_path, found.kubeconfig)
    host.pods.broken_images.clear()
    host.pods.resume()
    yield found
    host.pods.broken_images.clear()
    host.pods.resume()
    await found.run("deinit", NAME, "--force", "--delete-data")


async def test_init_makes_all_a_second_run_changes_nothing_and_deinit_leaves_nothing(
    kubefed: Installer,
) -> None:
    """Every manifest is taken, strictly; the context is written; then nothing at all is written again. At the
    end the host cluster is byte for byte what it was, and the kubeconfig too."""
    untouched, own = await kubefed.dump(), kubefed.config()
    flags = ("--dns-zone-name=fed.example.com", "--overlay=ha", "--api-server-service-type=NodePort")
    done = await kubefed.init(*flags)
    assert "4 of 4: registry, scheduler, syncer and dns" in done.err
    assert await kubefed.images() == dict.fromkeys(SERVICES, IMAGE)
    etcd = await kubefed.host.api.get(f"{APPS}/statefulsets/hanse-etcd")
    assert etcd["status"]["availableReplicas"] == 3

    config = kubefed.config()
    assert config["current-context"] == "host"
    assert {"name": NAME, "context": {"cluster": NAME, "user": NAME}} in config["contexts"]
    (cluster,) = [each["cluster"] for each in config["clusters"] if each["name"] == NAME]
    service = await kubefed.host.api.get(f"{CORE}/services/hanse-api")
    assert cluster["server"] == f"https://127.0.0.1:{service['spec']['ports'][0]['nodePort']}"
    assert cluster["tls-server-name"] == server_name("apiserver")
    assert base64.b64decode(cluster["certificate-authority-data"]) == (kubefed.keys / "ca.crt").read_bytes()

    await until(lambda: _scaled(kubefed.host), what="the autoscalers have seen to their least", seconds=90)
    before, keys = await kubefed.dump(), {path: path.read_bytes() for path in kubefed.keys.rglob("*.*")}
    await kubefed.init()  # what was said the first time holds
    assert without(before, await kubefed.dump()) == []
    assert {path: path.read_bytes() for path in kubefed.keys.rglob("*.*")} == keys
    assert kubefed.config() == config

    await kubefed.deinit("--force", "--delete-data")
    assert without(untouched, await kubefed.dump()) == []
    assert {**kubefed.config(), "preferences": None} == {**own, "preferences": None}
    assert (kubefed.keys / "credentials.key").exists()


async def _scaled(host: RealCluster) -> bool:
    scaled = [await host.api.get(f"{APPS}/deployments/hanse-{name}") for name in ("apiserver", "syncer")]
    return all(each["spec"]["replicas"] == 2 and not waits_for(each) for each in scaled)


async def test_an_upgrade_goes_in_order_and_stops_where_it_fails(kubefed: Installer) -> None:
    """Etcd before its rights before the apiserver before the others: what does not get ready holds back what
    comes after it and says why, and another run goes on. What is not asked for any more goes at the end."""
    await kubefed.init("--apiserver-arg-overrides=--event-ttl=60")
    unsecured = await kubefed.init(f"--image={NEXT}", status=6)  # what is played has no port to reach
    assert "nothing was changed, since etcd cannot be looked at or backed up" in unsecured.err
    assert "add --no-etcd-check --skip-backup" in unsecured.err
    assert not (kubefed.keys / "backups").exists()
    broken = "registry.example.org/etcd:v9"
    kubefed.host.pods.broken_images = {broken}
    first = await kubefed.init(
        f"--etcd-image={broken}", f"--image={NEXT}", "--wait-timeout=12", *UNSECURED, status=6
    )
    assert "warning: no backup is taken (--skip-backup)" in first.err
    assert "1 of 4: etcd" in first.err
    assert "hanse-etcd-0: ImagePullBackOff" in first.err.splitlines()[-1]
    assert set((await kubefed.images()).values()) == {IMAGE}

    kubefed.host.pods.broken_images = {NEXT}
    etcd = "--etcd-image=registry.example.org/etcd:v3.6.5"
    second = await kubefed.init(etcd, f"--image={NEXT}", "--wait-timeout=20", *UNSECURED, status=6)
    assert "2 of 4: the rights of services in etcd" in second.err
    assert "hanse-etcd-roles-" in second.err.splitlines()[-1]
    assert set((await kubefed.images()).values()) == {IMAGE}

    kubefed.host.pods.broken_images = set()
    kubefed.host.pods.resume()
    async with following(kubefed.host) as seen:
        third = await kubefed.init(etcd, f"--image={NEXT}", "--apiserver-arg-overrides=--event-ttl=90")
    assert await kubefed.images() == dict.fromkeys(SERVICES, NEXT)
    new = [each for each in seen if each["spec"]["template"]["spec"]["containers"][0]["image"] == NEXT]
    names = [each["metadata"]["name"] for each in new]
    ready = [each["metadata"]["name"] == "hanse-apiserver" and not waits_for(each) for each in new].index(
        True
    )
    assert set(names[:ready]) == {"hanse-apiserver"}
    assert set(names[ready:]) >= {f"hanse-{service}" for service in SERVICES}

    assert "removes configmap/hanse-apiserver-" in third.err
    config_maps = (await kubefed.host.api.get(f"{CORE}/configmaps"))["items"]
    of_apiserver = [
        each["data"] for each in config_maps if each["metadata"]["name"].startswith("hanse-apiserver-")
    ]
    assert [each["HANSE_APISERVER_EVENT_TTL"] for each in of_apiserver] == ["90"]


@asynccontextmanager
async def following(host: RealCluster) -> AsyncIterator[list[Json]]:
    """The Deployments as they change, in the order in which they do."""
    seen: list[Json] = []
    version = (await host.api.get(f"{APPS}/deployments"))["metadata"]["resourceVersion"]

    async def follow() -> None:
        async with aclosing(host.api.watch(f"{APPS}/deployments", version)) as changes:
            async for _, item in changes:
                seen.append({**item, "kind": "Deployment"})

    task = asyncio.create_task(follow())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_deinit_leaves_what_it_did_not_make(kubefed: Installer) -> None:
    """A namespace that was there, its labels, and what others have in it."""
    namespace = {"metadata": {"name": NAME, "labels": {"team": "platform"}}}
    await kubefed.host.api.create("/api/v1/namespaces", namespace)
    await kubefed.host.api.create(f"{CORE}/configmaps", {"metadata": {"name": "ours"}, "data": {"a": "b"}})
    try:
        await until(lambda: kubefed.host.api.get(f"{CORE}/serviceaccounts/default"), what="it is made")
        before = await kubefed.dump()
        await kubefed.init()
        labels = (await kubefed.host.api.get(f"/api/v1/namespaces/{NAME}"))["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        await kubefed.deinit("--force", "--delete-data")
        after = await kubefed.dump()
        assert without(unversioned(before), unversioned(after)) == []
    finally:
        await kubefed.host.api.delete(f"/api/v1/namespaces/{NAME}")
        await until(lambda: _is_gone(kubefed.host), what="the namespace is gone", seconds=60)


async def _is_gone(host: RealCluster) -> bool:
    names = {each["metadata"]["name"] for each in (await host.api.get("/api/v1/namespaces"))["items"]}
    return NAME not in names


async def test_data_stays_until_it_is_told_to_go(kubefed: Installer) -> None:
    """With the keys that read it; a later init goes on with both, and no other keys are taken. Then the
    namespace stays alone, if there is something else in it: it is said what."""
    await kubefed.init()
    done = await kubefed.deinit("--force")
    assert "the data stays, in PersistentVolumeClaims of namespace hanse (data-hanse-etcd-0)" in done.err
    (claim,) = (await kubefed.host.api.get(f"{CORE}/persistentvolumeclaims"))["items"]
    secrets = (await kubefed.host.api.get(f"{CORE}/secrets"))["items"]
    assert {each["metadata"]["name"] for each in secrets} == {"hanse-credentials-key", "hanse-secrets-key"}

    other = await kubefed.init(f"--keys-directory={kubefed.home / 'other'}", status=1)
    assert "name the directory of its keys with --keys-directory" in other.err
    assert not (kubefed.home / "other").exists()

    await kubefed.init()
    (same,) = (await kubefed.host.api.get(f"{CORE}/persistentvolumeclaims"))["items"]
    assert same["metadata"]["uid"] == claim["metadata"]["uid"]

    await kubefed.host.api.create(f"{CORE}/configmaps", {"metadata": {"name": "ours"}, "data": {"a": "b"}})
    done = await kubefed.deinit("--force", "--delete-data")
    assert "namespace hanse stays: configmap/ours in it is not of this federation" in done.err
    left = (await kubefed.host.api.get(f"{CORE}/configmaps"))["items"]
    assert {each["metadata"]["name"] for each in left} == {"ours", "kube-root-ca.crt"}
    await kubefed.host.api.delete(f"/api/v1/namespaces/{NAME}")
    await until(lambda: _is_gone(kubefed.host), what="the namespace is gone", seconds=60)


async def test_two_federations_share_a_host_cluster(kubefed: Installer) -> None:
    """Each in its namespace; what both need goes with the last of them."""
    east = ("--federation-system-namespace=east",)
    await kubefed.init()
    await kubefed.init(*east, name="east")
    taken = await kubefed.init("--federation-system-namespace=hanse", name="west", status=1)
    assert "namespace hanse of the host cluster has the federation hanse" in taken.err
    await kubefed.deinit("--force", "--delete-data")
    assert await kubefed.host.api.get("/apis/scheduling.k8s.io/v1/priorityclasses/hanse")
    done = await kubefed.run("deinit", "east", "--force", "--delete-data")
    assert done.status == 0, done.err
    classes = (await kubefed.host.api.get("/apis/scheduling.k8s.io/v1/priorityclasses"))["items"]
    assert NAME not in {each["metadata"]["name"] for each in classes}


async def test_an_etcd_of_the_users_is_used_looked_at_and_backed_up(
    kubefed: Installer, tmp_path: Path
) -> None:
    """Three members with TLS and rights. The services run from exactly what the host cluster was given, as
    processes. An upgrade backs that etcd up first, and does nothing while a member is lost or it is full."""
    with EtcdCluster(tmp_path / "etcd") as etcd:
        etcd.write_authority(kubefed.keys / "etcd")
        servers = ",".join(f"https://{each}" for each in etcd.endpoints)
        await kubefed.init(f"--etcd-servers={servers}")
        assert not (await kubefed.host.api.get(f"{APPS}/statefulsets"))["items"]
        made = await given(kubefed.host)
        host = Host(tmp_path / "pods", made, made=of_kind(made, "Secret"))
        await asyncio.to_thread(run_pods, host)

        done = await kubefed.init(f"--image={NEXT}")
        assert "looks whether etcd is fit for an upgrade" in done.err
        (backup,) = (kubefed.keys / "backups").iterdir()
        assert f"a backup is in {backup}, sealed with {kubefed.keys / 'backup.key'}" in done.err
        content = check(backup, Secret(keys=read_keys(kubefed.keys / "backup.key")))
        assert (content.federation_name, list(content.etcd_endpoints)) == (NAME, etcd.endpoints)
        asked = await kubefed.init(f"--image={NEXT}", f"--backup-dir={tmp_path / 'asked'}")
        assert "a backup is in" in asked.err
        assert len(list((tmp_path / "asked").iterdir())) == 1

        later = "registry.example.org/hanse:0.3.0"
        lost = await asyncio.to_thread(etcd.follower)
        etcd.kill(lost)
        refused = await kubefed.init(f"--image={later}", status=6)
        assert f"etcd does not answer at {lost.endpoint}" in refused.err
        await asyncio.to_thread(etcd.restart, lost)
        await asyncio.to_thread(etcd.alarm, raised=True)
        refused = await kubefed.init(f"--image={later}", status=1)
        assert "etcd has raised the alarm NOSPACE for its member" in refused.err
        assert "make room first" in refused.err
        await asyncio.to_thread(etcd.alarm, raised=False)
        assert await kubefed.images() == dict.fromkeys(SERVICES, NEXT)
        assert len(list((kubefed.keys / "backups").iterdir())) == 1

        await kubefed.deinit("--force", "--delete-data")
        refused = await kubefed.init(f"--restore-from={backup}", status=1)
        assert "restore one of yours by etcdutl" in refused.err


async def test_an_installation_is_backed_up_and_restored_to_a_new_host_cluster(
    kubefed: Installer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade reaches etcd by port-forward. When all is lost but that backup and its key, init makes the
    volumes of three members out of it, through Pods that the host cluster admits; what was said holds. No
    number of replicas makes three of one."""
    await kubefed.init("--dns-zone-name=fed.example.com")
    made = await given(kubefed.host)
    host = Host(tmp_path / "pods", made, made=of_kind(made, "Secret"))
    pods = tmp_path / "shim"
    pods.mkdir()
    kubectl_shim.install(pods)
    monkeypatch.setenv("HANSE_TEST_KUBECTL", str(shutil.which("kubectl")))
    monkeypatch.setenv("HANSE_TEST_PODS", str(pods))
    monkeypatch.setenv("HANSE_CACHE", str(cache_dir(os.environ)))  # has etcdutl, and is in another home
    monkeypatch.setenv("PATH", f"{pods}{os.pathsep}{os.environ['PATH']}")
    with host.started("etcd", who="hanse-etcd-0", program=[find_etcd()]):
        ports = {"hanse-etcd-0:2379": host.port("hanse-etcd-0", 2379)}
        (pods / "ports.json").write_text(json.dumps(ports))
        await asyncio.to_thread(host.until, "hanse-etcd-0", 2381, "/health")
        await asyncio.to_thread(run_pods, host)
        await kubefed.init(f"--image={NEXT}")
    grown = await kubefed.init("--overlay=ha", *UNSECURED, status=1)
    assert "etcd has 1 member and would get 3" in grown.err
    (backup,) = (kubefed.keys / "backups").iterdir()
    kept = [shutil.copy(each, tmp_path) for each in (backup, kubefed.keys / "backup.key")]
    keys = {name: (kubefed.keys / name).read_bytes() for name in ("ca.key", "etcd/ca.key", "secrets.key")}
    await kubefed.deinit("--force", "--delete-data")
    shutil.rmtree(kubefed.keys)

    names = [f"hanse-etcd-{number}" for number in range(3)]
    volumes = {f"{name}-restore": str(tmp_path / "volumes" / name) for name in names}
    (pods / "volumes.json").write_text(json.dumps(volumes))
    flags = (f"--restore-from={kept[0]}", f"--backup-key-file={kept[1]}", "--overlay=ha")
    done = await kubefed.init(*flags, "--api-server-service-type=NodePort")
    assert "restores member 3 of 3" in done.err
    assert {name: (kubefed.keys / name).read_bytes() for name in keys} == keys
    found = (await kubefed.host.api.get(f"{CORE}/persistentvolumeclaims"))["items"]
    assert {each["metadata"]["name"] for each in found} == {f"data-{name}" for name in names}
    for name in names:
        assert (tmp_path / "volumes" / name / "data" / "member" / "snap" / "db").is_file()
    left = (await kubefed.host.api.get(f"{CORE}/pods"))["items"]
    assert not [each for each in left if each["metadata"]["name"].endswith("-restore")]
    (settings,) = (
        each["data"]
        for each in (await kubefed.host.api.get(f"{CORE}/configmaps"))["items"]
        if each["metadata"]["name"].startswith("hanse-federation-")
    )
    assert settings["dnsSuffix"] == "fed.example.com"

    again = await kubefed.init(*flags, status=1)
    assert "already: take it out first" in again.err


async def given(host: RealCluster) -> list[Json]:
    """What the host cluster has of the installation's workloads, settings and Secrets."""
    found: list[Json] = []
    for kind, path in (
        ("Deployment", f"{APPS}/deployments"),
        ("StatefulSet", f"{APPS}/statefulsets"),
        ("Job", f"/apis/batch/v1/namespaces/{NAME}/jobs"),
        ("ConfigMap", f"{CORE}/configmaps"),
        ("Secret", f"{CORE}/secrets"),
    ):
        found += [{**each, "kind": kind} for each in (await host.api.get(path))["items"]]
    return found


def run_pods(host: Host) -> None:
    """Give the services their rights, and run each until it is ready."""
    with host.started("etcd-roles", who="hanse-etcd-roles", program=[sys.executable]) as job:
        assert job.wait(DEADLINE) == 0, host.log("hanse-etcd-roles")
    with ExitStack() as stack:
        for service in SERVICES:
            stack.enter_context(host.started(service, who=f"hanse-{service}", program=[sys.executable]))
        for service in SERVICES:
            host.until(f"hanse-{service}", 7001, "/readyz")


async def test_what_is_refused_leaves_nothing(kubefed: Installer, tmp_path: Path) -> None:
    """One line with the remedy; no object, no key, no context."""
    before, config = await kubefed.dump(), kubefed.kubeconfig.read_bytes()

    async def refused(*words: str, said: str, status: int = 1, kubeconfig: Path | None = None) -> None:
        done = await kubefed.run("init", NAME, *words, kubeconfig=kubeconfig)
        assert done.status == status, done.err
        (line,) = [each for each in done.err.splitlines() if not each.startswith("warning: ")]
        assert said in line
        assert not (kubefed.home / ".hanse").exists()

    image = f"--image={IMAGE}"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = f"https://127.0.0.1:{closed.getsockname()[1]}"
        await refused(image, f"--etcd-servers={away}", said="etcd does not answer at 127.0.0.1", status=6)
    await refused(said="--image is missing", status=2)
    await refused(image, "--etcd-pv-storage-class=fast", said="fast is not in the host cluster")

    named = kubefed.config()
    named["contexts"].append({"name": NAME, "context": {"cluster": "host", "user": "host-admin"}})
    taken = tmp_path / "taken"
    taken.write_text(yaml.safe_dump(named))
    await refused(image, said="has a context, cluster or user hanse that is not this", kubeconfig=taken)

    nobody = kubefed.config()
    nobody["users"][0]["user"]["as"] = "nobody"
    limited = tmp_path / "limited"
    limited.write_text(yaml.safe_dump(nobody))
    await refused(image, said="have no rights for this in the host cluster", status=7, kubeconfig=limited)

    assert kubefed.kubeconfig.read_bytes() == config
    assert without(before, await kubefed.dump()) == []


async def test_what_others_have_made_is_not_taken_over(kubefed: Installer) -> None:
    """An installation by `kubectl apply`, for one."""
    await kubefed.host.api.create("/api/v1/namespaces", {"metadata": {"name": NAME}})
    await kubefed.host.api.create(f"{CORE}/serviceaccounts", {"metadata": {"name": "hanse-dns"}})
    try:
        before = await kubefed.dump()
        done = await kubefed.init(status=1)
        assert "has serviceaccount/hanse-dns already, and no `kubefed init` made it" in done.err
        assert without(before, await kubefed.dump()) == []
    finally:
        await kubefed.host.api.delete(f"/api/v1/namespaces/{NAME}")
        await until(lambda: _is_gone(kubefed.host), what="the namespace is gone", seconds=60)


async def test_members_are_taken_out_first(kubefed: Installer, assets_dir: Path, tmp_path: Path) -> None:
    """deinit refuses while a cluster is joined; --unjoin takes it out as it was. The federation runs beside
    the
    host cluster, with the keys of the installation, at the address that init is told: its Pods are played."""
    async with (
        RealClusters(assets_dir, tmp_path / "members", [ClusterSpec("eu")]) as clusters,
        Federation(tmp_path / "data") as federation,
        federation.api() as api,
    ):
        member = clusters["eu"]
        of_member = replace(kubefed, host=member)
        before = await of_member.dump()
        keys = tmp_path / "keys"
        keys.mkdir()
        for name in ("ca.crt", "ca.key", "admin.crt", "admin.key"):
            shutil.copy(federation.pki(name), keys)
        address = federation.server.removeprefix("https://")
        where = (f"--keys-directory={keys}",)
        await kubefed.init(*where, f"--api-server-advertise-address={address}")
        await federation.join("eu", member.kubeconfig_path)
        collection = "/api/v1/namespaces/default/configmaps"
        await api.create(collection, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hello"}})
        await until(lambda: member.api.get(f"{collection}/hello"), what="the ConfigMap arrives")

        refused = await kubefed.deinit(status=1)
        assert "eu is joined: unjoin them first, or give --unjoin" in refused.err
        assert await kubefed.images()
        done = await kubefed.deinit("--unjoin", "--delete-data")
        assert "takes cluster eu out of the federation" in done.err
        assert without(unversioned(before), unversioned(await of_member.dump())) == []
        assert await _is_gone(kubefed.host)
