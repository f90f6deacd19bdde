"""`hanse up` gives each service its rights in the federation's etcd, in a new one and in one from before."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hanse_local.checks import SERVICES
from hanse_local.etcd.continuity import EtcdAccess, read_id
from hanse_local.keys.certificates import Certificates
from hanse_local.layout import DataDir
from hanse_local.options import UpOptions

from hanse.api.federation.v1.federation_pb2 import Federation
from hanse.errors import PermissionDeniedError
from hanse.process.settings import TlsFiles
from hanse.store import EtcdStore, keys
from tests.local.fakes import plan_of
from tests.support.stores.etcd import EtcdServer


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """A new data directory."""
    made = DataDir.at(tmp_path / "data")
    made.create()
    return made


async def test_an_etcd_from_before_keeps_its_data_and_gets_rights(data: DataDir) -> None:
    """What services could read and write before is still there, and closed to those whose it is not."""
    certificates = Certificates(data)
    server = certificates.etcd_server()
    with EtcdServer(data.etcd("etcd"), tls=(server.ca, server.cert, server.key)) as etcd:

        async def store(tls: TlsFiles) -> EtcdStore:
            return await EtcdStore.connect([etcd.endpoint], tls=tls)

        names = await store(certificates.etcd_client("dns"))
        await names.put(keys.FEDERATION, Federation(id="f1").SerializeToString())
        access = EtcdAccess((etcd.endpoint,), "/hanse", tls=certificates.etcd_root(), where="x", root=True)
        assert await read_id(access) == "f1"
        assert await read_id(access) == "f1"
        for key in (keys.FEDERATION, keys.ObjectKey("", "secrets", "n", "a").key(), keys.credential("a")):
            with pytest.raises(PermissionDeniedError):
                await names.get(key)
            with pytest.raises(PermissionDeniedError):
                await names.put(key, b"")
        apiserver = await store(certificates.etcd_client("apiserver"))
        assert await apiserver.get(keys.FEDERATION) is not None
        for each in (names, apiserver):
            await each.close()


def test_each_service_gets_only_the_files_that_it_needs(data: DataDir) -> None:
    """Each has a certificate for etcd of its own; credentials open to registry and syncer."""
    plan_of(data, UpOptions(clusters=0))
    settings = {name: tomllib.loads(data.config_file(name).read_text()) for name in SERVICES}
    assert {settings[name]["etcd_cert"] for name in SERVICES} == {
        str(data.etcd_pki / f"{name}.crt") for name in SERVICES
    }
    assert {n for n in SERVICES if "credentials_key_file" in settings[n]} == {"registry", "syncer"}
    assert {n for n in SERVICES if "secrets_key_file" in settings[n]} == {"apiserver", "syncer"}
