"""All authorities of a running federation are replaced, interrupted at each stage, and no call fails."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from hanse_client import HanseClient
from hanse_local.keys.certificates import authorities
from hanse_local.keys.handshakes import accepts, shown
from hanse_local.layout import DataDir
from hanse_local.supervise.background import query
from hanse_local.supervise.state import DirectoryState

from hanse.api.dns.v1.dns_service_pb2 import ListZonesRequest
from hanse.api.federation.v1.federation_service_pb2 import GetFederationRequest, ListObjectsRequest
from hanse.api.registry.v1.registry_service_pb2 import ListClustersRequest
from hanse.api.scheduler.v1.scheduler_service_pb2 import ListPlacementsRequest
from hanse.api.syncer.v1.syncer_service_pb2 import ListSyncStatesRequest
from hanse.security.pki import CertificateAuthority, KeyPair, issued_by
from tests.system.harness import SERVICES, Federation, Simulated, until
from tests.system.manifests import config_map

pytestmark = pytest.mark.timeout(420)

INTERRUPTIONS = (
    "hanse-ca: a new authority is trusted",
    "members-etcd was restarted",
    "has a certificate of the new authority",
    "hanse-etcd-ca: the new authority issues",
    "all certificates are of the new authorities",
    "hanse-ca: the old authority is trusted no more",
    "etcd was restarted",
)
"""What the command says when it is killed, one run after the other; the last run is not."""
SERVERS = ("apiserver.https", *(f"{each}.grpc" for each in SERVICES))


@pytest.fixture
def federation(kubectl: str, tmp_path: Path) -> Iterator[Federation]:
    """A federation of one member; kubectl and hanse use the files of its data directory."""
    made = Federation(tmp_path / "fed" / "data", members=Simulated(1))
    with made:
        made.environ["KUBECONFIG"] = str(made.data_dir / "kubeconfig")
        yield made


class Load:
    """Calls that are made all the time. `failures` has what failed, `counts` how many did not."""

    def __init__(self, federation: Federation) -> None:
        self.failures: list[str] = []
        self.counts: dict[str, int] = {}
        self._federation = federation
        self._over = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make the calls meanwhile."""
        works = (self._kubectl_reads, self._kubectl_writes, self._clients)
        threads = [threading.Thread(target=work, name=work.__name__) for work in works]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(60)
        assert not any(thread.is_alive() for thread in threads)

    def _done(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def _kubectl_reads(self) -> None:
        while not self._over.wait(0.2):
            done = self._federation.kubectl("get", "clusters", "-o", "name", check=False)
            if done.status != 0 or "eu-west" not in done.out:
                self.failures.append(f"{time.time()} kubectl get: {done.err}")
            self._done("kubectl get")

    def _kubectl_writes(self) -> None:
        number = 0
        while not self._over.wait(0.3):
            number += 1
            done = self._federation.apply(config_map("default", "driven", number=str(number)), check=False)
            if done.status != 0:
                self.failures.append(f"{time.time()} kubectl apply: {done.err}")
            self._done("kubectl apply")

    def _clients(self) -> None:
        asyncio.run(self._call())

    async def _call(self) -> None:
        config = self._federation.data_dir / "client.toml"
        async with HanseClient.from_config(config, timeout=20) as lasting:
            while not self._over.is_set():
                async with HanseClient.from_config(config, timeout=20) as new:
                    for name, client in (("lasting", lasting), ("new", new)):
                        for call in calls(client):
                            await self._try(f"{name} client", call)
                await asyncio.sleep(0.05)

    async def _try(self, what: str, call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            self.failures.append(f"{time.time()} {what}: {error!r}")
        self._done(what)


def calls(client: HanseClient) -> list[Callable[[], Awaitable[object]]]:
    """Calls of every service."""
    objects = ListObjectsRequest(parent="objects/core/configmaps/default")
    return [
        lambda: client.registry.ListClusters(ListClustersRequest()),
        lambda: client.federation.GetFederation(GetFederationRequest()),
        lambda: client.federation.ListObjects(objects),
        lambda: client.scheduler.ListPlacements(ListPlacementsRequest()),
        lambda: client.syncer.ListSyncStates(ListSyncStatesRequest()),
        lambda: client.dns.ListZones(ListZonesRequest()),
    ]


def pids(federation: Federation) -> dict[str, int]:
    """The processes that run."""
    found = query(DataDir.at(federation.data_dir))
    assert found is not None
    return {each["name"]: each["pid"] for each in found["processes"]}


def interrupted(federation: Federation, words: str) -> str:
    """Run the command and kill it when it says `words`; what it has said."""
    said = ""
    with subprocess.Popen(
        [sys.executable, "-m", "hanse_cli.main", "certificates", "rotate-ca"],
        stderr=subprocess.PIPE,
        text=True,
        env=federation.environ,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said += line
            if words in line:
                process.send_signal(signal.SIGKILL)
    assert words in said, f"it never said {words!r}: {said}"
    return said


def test_authorities_are_replaced_while_everything_runs(federation: Federation, tmp_path: Path) -> None:
    """kubectl and gRPC calls of every service go on all the time and none fails; no process but the etcds is
    restarted; the command is killed at each stage and run again; afterwards what the old authorities have
    issued opens nothing, and the federation works."""
    data = DataDir.at(federation.data_dir)
    ports = DirectoryState.load(data.state).ports
    old = {
        name: CertificateAuthority.read(directory).pair.cert_pem
        for name, directory in authorities(data).items()
    }
    admin, root = KeyPair.read(data.pki, "admin"), KeyPair.read(data.etcd_pki, "root")
    kubeconfig = tmp_path / "old.kubeconfig"
    shutil.copy(data.kubeconfig, kubeconfig)
    before = pids(federation)
    assert all(accepts("127.0.0.1", ports[name], admin) for name in SERVERS)
    assert accepts("127.0.0.1", ports["etcd.client"], root)

    load = Load(federation)
    with load.running():
        time.sleep(3)
        for words in INTERRUPTIONS:
            interrupted(federation, words)
            status = federation.run(["hanse", "status"], check=False).out
            assert "note: authorities are being replaced" in status
        done = federation.run([sys.executable, "-m", "hanse_cli.main", "certificates", "rotate-ca"])
        assert "done: what the old authorities have issued is refused" in done.err
        time.sleep(3)
    assert load.failures == []
    assert min(load.counts.values()) > 50, load.counts

    after = pids(federation)
    etcds = {"etcd", "members-etcd"}
    assert {name: pid for name, pid in after.items() if name not in etcds} == {
        name: pid for name, pid in before.items() if name not in etcds
    }
    for name in SERVERS:
        assert not accepts("127.0.0.1", ports[name], admin), (
            f"{name} takes a certificate of the old authority"
        )
        certificate = x509.load_der_x509_certificate(shown("127.0.0.1", ports[name]))
        assert issued_by(certificate, (data.pki / "ca.crt").read_bytes())
        assert accepts("127.0.0.1", ports[name], KeyPair.read(data.pki, "admin"))
    assert not accepts("127.0.0.1", ports["etcd.client"], root)
    assert accepts("127.0.0.1", ports["etcd.client"], KeyPair.read(data.etcd_pki, "root"))
    refused = federation.kubectl("--kubeconfig", str(kubeconfig), "get", "clusters", check=False)
    assert refused.status != 0
    assert "x509" in refused.err
    for name, directory in authorities(data).items():
        assert old[name] not in (directory / "ca.crt").read_bytes()
    assert federation.run(["hanse", "status"]).status == 0
    federation.apply(config_map("default", "after", color="red"))
    member = federation.each["eu-west"]
    until(lambda: member.find("configmaps", "default", "after"), what="the member has what came after")
    federation.down()
