"""Snapshots of etcd through its maintenance API: whole, checked, and for etcd's administrator only."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanse.errors import PermissionDeniedError, UnavailableError
from hanse.process.settings import TlsFiles
from hanse.security.auth import service_name
from hanse.security.pki import CertificateAuthority
from hanse.store import EtcdStore
from hanse.store.admin.roles import ROOT, Roles
from hanse.store.admin.snapshot import save_snapshot
from tests.support.machine.ports import free_ports
from tests.support.stores.etcd import EtcdServer


class House:
    """An etcd with rights, and who calls it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = CertificateAuthority.create("etcd-ca")
        server = self.tls("server")
        self.etcd = EtcdServer(directory / "etcd", tls=(server.ca, server.cert, server.key))

    def tls(self, name: str) -> TlsFiles:
        """The files of the certificate with the common name `name`."""
        return self.ca.ensure_local(self.directory, name.replace(":", "-"), common_name=name)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Its etcd runs and has rights."""
    made = House(tmp_path)

    async def entitle() -> None:
        roles = await Roles.connect([made.etcd.endpoint], prefix="/hanse", tls=made.tls(ROOT))
        await roles.apply()
        await roles.close()

    with made.etcd:
        asyncio.run(entitle())
        yield made


async def test_a_snapshot_is_whole(house: House, tmp_path: Path) -> None:
    """It ends with the checksum of all before, and an endpoint that is dead is passed over."""
    store = await EtcdStore.connect([house.etcd.endpoint], tls=house.tls(ROOT))
    revision = 0
    for number in range(40):
        revision = await store.put(f"objects/{number}", b"x" * 100_000)
    await store.close()
    dead = f"127.0.0.1:{free_ports(1)[0]}"
    with (tmp_path / "snapshot").open("w+b") as file:
        found = await save_snapshot([dead, house.etcd.endpoint], tls=house.tls(ROOT), file=file)
    content = (tmp_path / "snapshot").read_bytes()
    assert len(content) == found.size > 4_000_000
    assert content[-32:] == hashlib.sha256(content[:-32]).digest()
    assert found.revision == revision
    assert found.version.startswith("3.")


async def test_a_service_gets_none(house: House, tmp_path: Path) -> None:
    """Not even the apiserver."""
    with (tmp_path / "snapshot").open("w+b") as file, pytest.raises(PermissionDeniedError):
        await save_snapshot([house.etcd.endpoint], tls=house.tls(service_name("apiserver")), file=file)


async def test_an_etcd_that_does_not_answer_gives_none(house: House, tmp_path: Path) -> None:
    """That is said, and is not an empty snapshot."""
    house.etcd.stop()
    with (tmp_path / "snapshot").open("w+b") as file, pytest.raises(UnavailableError):
        await save_snapshot([house.etcd.endpoint], tls=house.tls(ROOT), file=file)
