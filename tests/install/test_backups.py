"""Before an upgrade etcd is looked at and backed up; out of a backup a new host cluster gets its federation.

Pods are real processes with the environment and files of the manifests, and `kubectl_shim` leads to them.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from etcd3aio import _protobuf as pb
from hanse_install import backups, restoring
from hanse_install.backups import Backups
from hanse_install.kubectl import Kubectl
from hanse_install.options import InitOptions
from hanse_install.record import InstallationRecord
from hanse_local.backup.reading import check
from hanse_local.backup.restoring import BUMP
from hanse_local.backup.sealed_file import Secret

from hanse.errors import ConfigError, FailedPreconditionError, UnavailableError
from hanse.installation import secrets
from hanse.process.settings import TlsFiles
from hanse.security.keyring import add_key, create_key_file, promote_key, read_keys, remove_keys
from hanse.store import EtcdStore
from hanse.store.etcd.channel import open_channel
from hanse.store.keys import FEDERATION
from tests.deploy.manifests import Manifest, build, named, needs_kubectl, of_kind
from tests.deploy.processes import DEADLINE, Host
from tests.install import kubectl_shim
from tests.support.stores.etcd import find_etcd

pytestmark = [needs_kubectl, pytest.mark.timeout(300)]
OPTIONS = InitOptions("hanse", overlay="single", image="hanse:1")
RECORD = InstallationRecord("hanse", "hanse", "authority", options=OPTIONS.said())


@dataclass
class House:
    """An installation whose Pods run here."""

    host: Host
    pods: Path

    @property
    def keys(self) -> Path:
        """The directory of authorities, certificates and keys."""
        return self.host.directory / "pki"

    def root(self) -> TlsFiles:
        """The certificate of etcd's root."""
        own = self.keys / "etcd"
        return TlsFiles(own / "ca.crt", own / "etcd-root.crt", own / "etcd-root.key")

    def write(self, name: str, content: Any) -> None:
        """Tell the shim."""
        (self.pods / name).write_text(json.dumps(content))


@pytest.fixture(autouse=True, scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Puts the shim on PATH as kubectl, once the manifests are built."""
    for variant in (("single",), ("single", "backup"), ("ha",), ("ha", "external-etcd")):
        build(*variant)
    folder = tmp_path_factory.mktemp("shim")
    kubectl_shim.install(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("HANSE_TEST_PODS", str(folder))
        patch.delenv("HANSE_BACKUP_PASSPHRASE", raising=False)
        yield folder


@pytest.fixture(scope="module")
def house(shim: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """An installation of the overlay single with a federation in it."""
    folder = tmp_path_factory.mktemp("house")
    create_key_file(folder / "nightly.key")
    more = {"hanse-backup-key": {"backup.key": (folder / "nightly.key").read_bytes()}}
    host = Host(folder, build("single", "backup"), more=more)
    with ExitStack() as stack:
        stack.enter_context(host.started("etcd", who="hanse-etcd-0", program=[find_etcd()]))
        host.until("hanse-etcd-0", 2381, "/health")
        with host.started("etcd-roles", who="hanse-etcd-roles", program=[sys.executable]) as job:
            assert job.wait(DEADLINE) == 0, host.log("hanse-etcd-roles")
        with host.started("apiserver", who="hanse-apiserver", program=[sys.executable]):
            host.until("hanse-apiserver", 7001, "/readyz")
        found = House(host, shim)
        found.write("ports.json", {"hanse-etcd-0:2379": host.port("hanse-etcd-0", 2379)})
        found.write("statefulset.json", named(host.manifests, "StatefulSet", "hanse-etcd"))
        yield found


@pytest.fixture(scope="module")
def backup(house: House) -> Path:
    """A backup before an upgrade, of which nobody said where or how."""
    with backups.reached(Kubectl(), RECORD, OPTIONS, house.keys) as etcd:
        backups.check(etcd, house.host.manifests)
        return backups.take(etcd, RECORD, OPTIONS, house.keys, Backups())


def federation_of(endpoint: str, tls: TlsFiles) -> tuple[bytes, int]:
    """The federation in etcd, and the revision at which that is."""

    async def read() -> tuple[bytes, int]:
        store = await EtcdStore.connect([endpoint], tls=tls, tls_server_name="hanse-etcd")
        try:
            found = await store.get(FEDERATION)
            assert found is not None
            return found.value, await store.revision()
        finally:
            await store.close()

    return asyncio.run(read())


def test_a_backup_has_all_that_a_new_host_cluster_needs(house: House, backup: Path) -> None:
    """Etcd, authorities with their keys, certificates, the keys that seal, the record: not what opens it."""
    assert backup.parent == house.keys / "backups"
    assert backup.stat().st_mode & 0o077 == 0
    found = check(backup, Secret(keys=read_keys(house.keys / "backup.key")))
    names = {part.name for part in found.files}
    assert {
        "files/installation.json",
        *(f"files/keys/{each}" for each in ("ca.key", "admin.crt", "credentials.key", "secrets.key")),
        *(f"files/keys/etcd/{each}" for each in ("ca.key", "etcd-root.key", "dns-etcd.crt")),
    } <= names
    assert not [name for name in names if "backup" in name]
    assert found.federation_name == "hanse"
    assert found.etcd_endpoints == ("hanse-etcd:2379",)


def test_a_backup_is_where_and_under_what_was_said(house: House, tmp_path: Path) -> None:
    """A directory, and a passphrase; the key of the directory is not asked for then."""
    said = tmp_path / "passphrase"
    said.write_text("a passphrase of the test\n")
    wanted = Backups(folder=tmp_path / "there", passphrase_file=said)
    with backups.reached(Kubectl(), RECORD, OPTIONS, house.keys) as etcd:
        path = backups.take(etcd, RECORD, OPTIONS, house.keys, wanted)
    assert path.parent == tmp_path / "there"
    assert check(path, Secret(passphrase=b"a passphrase of the test")).etcds
    told: list[str] = []
    backups.announce(path, house.keys, wanted, told.append)
    assert told == [f"a backup is in {path}"]


def test_an_etcd_that_is_not_fit_is_told_with_the_remedy(house: House) -> None:
    """A member that is not there, and an alarm; nothing is looked at that is not etcd's."""
    workload = named(house.host.manifests, "StatefulSet", "hanse-etcd")
    two = {**workload, "spec": {**workload["spec"], "replicas": 2}}
    house.write("statefulset.json", two)
    try:
        with (
            backups.reached(Kubectl(), RECORD, OPTIONS, house.keys) as etcd,
            pytest.raises(FailedPreconditionError, match=r"does not answer \(hanse-etcd-1: .*bring it back"),
        ):
            backups.check(etcd, house.host.manifests)
    finally:
        house.write("statefulset.json", workload)

    alarm(house, raised=True)
    try:
        with (
            backups.reached(Kubectl(), RECORD, OPTIONS, house.keys) as etcd,
            pytest.raises(
                FailedPreconditionError, match="alarm NOSPACE for its member hanse-etcd-0: make room"
            ),
        ):
            backups.check(etcd, house.host.manifests)
    finally:
        alarm(house, raised=False)


def alarm(house: House, *, raised: bool) -> None:
    """Raise the alarm of a full store, or take it back."""

    async def work() -> None:
        endpoint = f"127.0.0.1:{house.host.port('hanse-etcd-0', 2379)}"
        channel = await open_channel([endpoint], tls=house.root(), tls_server_name="hanse-etcd", timeout=10)
        try:
            request = pb.AlarmRequest(action=1 if raised else 2, alarm=1, memberID=0)
            status = await channel.maintenance.Status(pb.StatusRequest())
            request.memberID = status.header.member_id
            await channel.maintenance.Alarm(request)
        finally:
            await channel.close()

    asyncio.run(work())


def test_an_etcd_that_cannot_be_reached_is_told(house: House) -> None:
    """With what kubectl says, before anything is made."""
    before = sorted(house.keys.rglob("*"))
    house.write("ports.json", {})
    try:
        with (
            pytest.raises(UnavailableError, match=r"pod/hanse-etcd-. cannot be reached"),
            backups.reached(Kubectl(), RECORD, OPTIONS, house.keys),
        ):
            pass
    finally:
        house.write("ports.json", {"hanse-etcd-0:2379": house.host.port("hanse-etcd-0", 2379)})
    assert sorted(house.keys.rglob("*")) == before


def test_the_job_of_each_night_makes_a_backup(house: House) -> None:
    """From what its Pod has: the newest are kept; it can be restored with the user's key."""
    folder = house.host.directory / "hanse-backup" / "var" / "lib" / "hanse-backup"
    folder.mkdir(parents=True)
    old = [folder / f"hanse-20200101T00000{number}Z.backup" for number in range(3)]
    for each in (*old, folder / "mine"):
        each.touch()
    command = house.host.workloads["backup"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][
        0
    ]
    command["command"][command["command"].index("--keep=14")] = "--keep=2"
    with house.host.started("backup", who="hanse-backup", program=[sys.executable]) as job:
        assert job.wait(DEADLINE) == 0, house.host.log("hanse-backup")
    (made,) = set(folder.iterdir()) - {*old, folder / "mine"}
    assert {each.name for each in folder.iterdir()} == {made.name, old[-1].name, "mine"}
    found = check(made, Secret(keys=read_keys(house.host.directory / "nightly.key")))
    assert [part.name for part in found.files] == ["files/keys/credentials.key", "files/keys/secrets.key"]
    assert [each.name for each in found.etcds] == ["etcd"]


@pytest.mark.parametrize("overlay", ["single", "ha"])
def test_a_new_host_cluster_gets_the_federation(
    house: House, backup: Path, tmp_path: Path, overlay: str
) -> None:
    """All was lost but the backup and its key. Of one member three may become: each gets its volume with the
    same content, at a revision above all that was served, and etcd and apiserver start from the manifests."""
    before, revision = federation_of(f"127.0.0.1:{house.host.port('hanse-etcd-0', 2379)}", house.root())
    key = shutil.copy(house.keys / "backup.key", tmp_path / "kept.key")
    keys = tmp_path / "pki"
    manifests = build(overlay)
    workload = named(manifests, "StatefulSet", "hanse-etcd")
    with restoring.opened(backup, keys, passphrase_file=None, key_file=Path(key)) as restored:
        assert restored.options == OPTIONS.said()
        restoring.check(Kubectl(), restored, manifests, keys)
        restoring.write_keys(restored, keys)
        new = Host(tmp_path, manifests, made=secrets(keys))
        names = restoring.members(workload)
        house.write(
            "volumes.json",
            {f"{name}-restore": str(tmp_path / name / "var" / "lib" / "etcd") for name in names},
        )
        told: list[str] = []
        restoring.fill(Kubectl(), restored, addressed(new, manifests), say=told.append, seconds=30)
    assert told == [f"  restores member {number} of {len(names)}" for number in range(1, len(names) + 1)]
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(new.started("etcd", who=name, program=[find_etcd()]))
        for name in names:
            new.until(name, 2381, "/health")
        for name in names:
            after, at = federation_of(f"127.0.0.1:{new.port(name, 2379)}", House(new, tmp_path).root())
            assert after == before
            assert at > revision + BUMP // 2
        with new.started("etcd-roles", who="hanse-etcd-roles", program=[sys.executable]) as job:
            assert job.wait(DEADLINE) == 0, new.log("hanse-etcd-roles")
        with new.started("apiserver", who="hanse-apiserver", program=[sys.executable]):
            new.until("hanse-apiserver", 7001, "/readyz")


def addressed(host: Host, manifests: list[Manifest]) -> list[Manifest]:
    """The manifests with the addresses that etcd's members have here."""
    (config,) = (each for each in of_kind(manifests, "ConfigMap") if "ETCD_INITIAL_CLUSTER" in each["data"])
    here = host.translated(config["data"]["ETCD_INITIAL_CLUSTER"], who="", root=host.directory)
    own = {**config, "data": {**config["data"], "ETCD_INITIAL_CLUSTER": here}}
    return [own if each is config else each for each in manifests]


def test_a_volume_that_cannot_be_filled_is_removed_again(house: House, backup: Path, tmp_path: Path) -> None:
    """So that the same command can be run again."""
    manifests = build("ha")
    house.write("volumes.json", {})
    (house.pods / "calls.jsonl").unlink(missing_ok=True)
    with (
        restoring.opened(backup, house.keys, passphrase_file=None, key_file=None) as restored,
        pytest.raises(FailedPreconditionError, match="kubectl exec"),
    ):
        restoring.fill(Kubectl(), restored, manifests, say=lambda _: None, seconds=30)
    calls = [json.loads(line) for line in (house.pods / "calls.jsonl").read_text().splitlines()]
    assert [words[0] for words, _ in calls] == ["apply", "delete", "delete"]
    assert calls[0][1].count("hanse.dev/restoring") == 3
    made = [calls[0][1].count(f"kind: {kind}\n") for kind in ("PersistentVolumeClaim", "Pod")]
    gone = [calls[number][1].count("name: hanse-etcd-") for number in (1,)]
    assert made == [3, 3]
    assert gone[0] >= 3


def test_what_cannot_be_restored_is_refused(house: House, backup: Path, tmp_path: Path) -> None:
    """Another directory's keys, an etcd of the user's, the wrong key."""
    with restoring.opened(backup, house.keys, passphrase_file=None, key_file=None) as restored:
        other = tmp_path / "other"
        list(secrets(other))
        with pytest.raises(FailedPreconditionError, match="is another key than that of the backup"):
            restoring.check(Kubectl(), restored, build("single"), other)
        ring = house.keys / "secrets.key"
        rotated = tmp_path / "rotated"
        shutil.copytree(house.keys, rotated)
        added = add_key(rotated / "secrets.key").id
        promote_key(rotated / "secrets.key", added)
        restoring.check(Kubectl(), restored, build("single"), rotated)
        remove_keys(rotated / "secrets.key", {each.id for each in read_keys(ring)})
        restoring.write_keys(restored, rotated)
        after = [each.id for each in read_keys(rotated / "secrets.key")]
        assert after == [added, *(each.id for each in read_keys(ring))]
        with pytest.raises(FailedPreconditionError, match="restore one of yours by etcdutl"):
            restoring.check(Kubectl(), restored, build("ha", "external-etcd"), house.keys)
    create_key_file(tmp_path / "wrong.key")
    with (
        pytest.raises(ConfigError, match="it was sealed with the key"),
        restoring.opened(backup, tmp_path, passphrase_file=None, key_file=tmp_path / "wrong.key"),
    ):
        pass
