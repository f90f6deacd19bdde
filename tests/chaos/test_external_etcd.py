"""A federation on an etcd that somebody else runs: three members, TLS, a user of etcd for each service.

Its leader is killed, a member is lost and replaced, its quota is used up: the services stay up, nothing is
lost, and nothing is deleted in a member of the federation.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hanse.errors import ResourceExhaustedError, UnavailableError
from hanse.security.auth import service_name
from hanse.store import EtcdStore
from hanse.store.admin.roles import ROOT
from tests.chaos.bulk import Bulk, intent_everywhere
from tests.support.stores.etcd_cluster import EtcdCluster
from tests.system.harness import SERVICES, Federation, Simulated, Witness, until
from tests.system.suite.base import fresh_namespace

COUNT = 60
QUOTA = 32 << 20


@dataclass(frozen=True)
class House:
    """The federation and its etcd."""

    federation: Federation
    etcd: EtcdCluster

    def pids(self) -> dict[str, int]:
        """The services' processes."""
        return {name: self.federation.pid(name) for name in SERVICES}


def settings(etcd: EtcdCluster) -> dict[str, str]:
    """What gives each service its own user of etcd, and the apiserver the right to maintain it."""
    found: dict[str, str] = {}
    for service in SERVICES:
        tls = etcd.tls(service_name(service))
        found |= {f"{service}.etcd_cert": str(tls.cert), f"{service}.etcd_key": str(tls.key)}
    root = etcd.tls(ROOT)
    return found | {
        "apiserver.etcd_maintenance_cert": str(root.cert),
        "apiserver.etcd_maintenance_key": str(root.key),
        "apiserver.etcd_quota_bytes": str(QUOTA),
    }


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A federation of three simulated members on an etcd of three members."""
    folder = tmp_path_factory.mktemp("external")
    with EtcdCluster(folder / "etcd", arguments=[f"--quota-backend-bytes={QUOTA}"]) as etcd:
        etcd.give_rights()
        federation = Federation(folder / "data", members=Simulated(), settings=settings(etcd))
        own = etcd.tls(service_name("apiserver"))
        federation.arguments = (
            *("--etcd-endpoints", ",".join(etcd.endpoints)),
            *("--etcd-ca", str(own.ca), "--etcd-cert", str(own.cert), "--etcd-key", str(own.key)),
            "--production",
        )
        with federation:
            assert not (Path(federation.data_dir) / "etcd").exists()
            yield House(federation, etcd)


def test_the_leader_is_killed_in_the_middle_of_a_bulk(house: House) -> None:
    """Another leads, every write is done once, no service ends, and nothing is deleted."""
    federation, etcd = house.federation, house.etcd
    namespace = next(fresh_namespace(federation))
    bulk = Bulk(federation.api, namespace, COUNT)
    before = house.pids()
    leader = etcd.leader()
    with Witness(federation.each, namespace=namespace, resources=["configmaps"]) as witness:
        bulk.create(at=COUNT // 3, fault=lambda: etcd.kill(leader))
        intent_everywhere(federation, bulk)
        bulk.update("2")
        intent_everywhere(federation, bulk)
        etcd.restart(leader)
        bulk.update("3")
        intent_everywhere(federation, bulk)
    assert witness.deleted == []
    assert house.pids() == before
    until(
        lambda: federation.run(["hanse", "status"], check=False).status == 0, what="all is well", seconds=30
    )


def test_a_member_is_lost_with_its_data_and_replaced(house: House) -> None:
    """A new one takes its place at its address; then another is lost, so that the new one is needed."""
    federation, etcd = house.federation, house.etcd
    namespace = next(fresh_namespace(federation))
    bulk = Bulk(federation.api, namespace, COUNT)
    bulk.create()
    before = house.pids()
    with Witness(federation.each, namespace=namespace, resources=["configmaps"]) as witness:
        lost = etcd.follower()
        etcd.kill(lost)
        bulk.update("2", at=COUNT // 3, fault=lambda: etcd.replace(lost))
        intent_everywhere(federation, bulk)
        another = etcd.leader()
        etcd.kill(another)
        bulk.update("3")
        gone = list(bulk.values)[:5]
        bulk.delete(gone)
        intent_everywhere(federation, bulk)
        etcd.restart(another)
    assert {each.name for each in witness.deleted} == set(gone)
    assert house.pids() == before


async def _fill(etcd: EtcdCluster) -> None:
    """Fill etcd from outside with history that nobody needs, until it raises its alarm."""
    store = await EtcdStore.connect(etcd.endpoints, tls=etcd.tls(ROOT))
    try:
        for _ in range(500):
            try:
                await store.put("history", b"x" * 1_000_000)
            except (ResourceExhaustedError, UnavailableError):
                if (await store.status()).full:
                    return
        raise AssertionError("etcd did not become full")
    finally:
        await store.close()


def test_other_endpoints_of_the_same_etcd_are_taken(house: House) -> None:
    """`hanse up` is told where the members are now and remembers it; an etcd without the federation is
    refused."""
    federation, etcd = house.federation, house.etcd
    federation.close()
    federation.down()
    two = etcd.endpoints[1:]
    federation.hanse("up", "--detach", "--etcd-endpoints", ",".join(two))
    state = json.loads((federation.data_dir / "state.json").read_text())
    assert state["etcd_endpoints"] == two
    federation.down()
    with EtcdCluster(federation.data_dir.parent / "other") as other:
        other.give_rights()
        own = other.tls(service_name("apiserver"))
        words = ("--etcd-ca", str(own.ca), "--etcd-cert", str(own.cert), "--etcd-key", str(own.key))
        refused = federation.run(
            ["hanse", "up", "--detach", "--etcd-endpoints", ",".join(other.endpoints), *words], check=False
        )
        assert refused.status == 1
        assert "is empty, and" in refused.err
    own = etcd.tls(service_name("apiserver"))
    words = ("--etcd-ca", str(own.ca), "--etcd-cert", str(own.cert), "--etcd-key", str(own.key))
    federation.hanse("up", "--detach", "--etcd-endpoints", ",".join(etcd.endpoints), *words)
    federation.write_kubeconfig()


def test_it_is_backed_up_and_the_snapshot_is_handed_out(house: House, tmp_path: Path) -> None:
    """By the certificate that maintains etcd; a restore leaves the snapshot for who runs that etcd."""
    federation, etcd = house.federation, house.etcd
    federation.environ["HANSE_BACKUP_PASSPHRASE"] = "a passphrase for this test"
    federation.hanse("backup", str(tmp_path / "b"))
    said = federation.run(["hanse", "restore", str(tmp_path / "b"), "--data-dir", str(tmp_path / "new")]).err
    assert f"its etcd is at {','.join(etcd.endpoints)}, which is yours to restore" in said.replace("\n", " ")
    snapshot = tmp_path / "new" / "etcd-snapshot.db"
    assert (snapshot.stat().st_size % 512, snapshot.stat().st_mode & 0o777) == (32, 0o600)
    assert json.loads((tmp_path / "new" / "state.json").read_text())["etcd_endpoints"] == etcd.endpoints
    assert not (tmp_path / "new" / "etcd").exists()


def test_services_without_a_data_directory_are_backed_up(house: House, tmp_path: Path) -> None:
    """By etcd's endpoints, its root, and the files that are named; a restore gives all of it out."""
    federation, etcd, root = house.federation, house.etcd, house.etcd.tls(ROOT)
    federation.environ["HANSE_BACKUP_PASSPHRASE"] = "a passphrase for this test"
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "credentials.key").write_text("k")
    words = ["--etcd-endpoints", ",".join(etcd.endpoints), "--etcd-ca", str(root.ca)]
    words += ["--etcd-cert", str(root.cert), "--etcd-key", str(root.key)]
    backup = str(tmp_path / "services")
    federation.hanse("backup", backup, *words, "--include", str(keys), "--include", str(root.ca))
    new = tmp_path / "restored"
    said = federation.run(["hanse", "restore", backup, "--data-dir", str(new)]).err
    identity = json.loads((federation.data_dir / "state.json").read_text())["federation_id"]
    assert identity in said
    assert (new / "keys" / "credentials.key").read_text() == "k"
    assert (new / "ca.crt").read_bytes() == root.ca.read_bytes()
    assert (new / "etcd-snapshot.db").stat().st_size % 512 == 32
    own = etcd.tls(service_name("apiserver"))
    words = ["--etcd-endpoints", etcd.endpoints[0], "--etcd-ca", str(own.ca)]
    words += ["--etcd-cert", str(own.cert), "--etcd-key", str(own.key)]
    refused = federation.run(["hanse", "backup", f"{backup}-2", *words], check=False)
    assert refused.status == 1
    assert "with the role root" in refused.err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_its_quota_is_used_up(house: House) -> None:
    """The alarm is raised by all; the apiserver compacts and defragments each member and takes it back, while
    the services stay up."""
    federation, etcd = house.federation, house.etcd
    namespace = next(fresh_namespace(federation))
    bulk = Bulk(federation.api, namespace, 10)
    bulk.create()
    intent_everywhere(federation, bulk)
    before = house.pids()
    with Witness(federation.each, namespace=namespace, resources=["configmaps"]) as witness:
        asyncio.run(_fill(etcd))
        bulk.update("2")
        intent_everywhere(federation, bulk)
    assert witness.deleted == []
    assert house.pids() == before

    def tidy() -> bool:
        found = etcd.statuses()
        return len(found) == 3 and all(
            not each.errors and each.dbSize < QUOTA * 0.75 for each in found.values()
        )

    until(tidy, what="every member has room and no alarm", seconds=60)
    until(
        lambda: "etcd has room again" in federation.log("apiserver"), what="the apiserver says so", seconds=30
    )
