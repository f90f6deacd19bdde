"""Data that the packaged etcd has written comes up with the one that is built."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hanse_local.etcd import binary as etcd
from hanse_local.etcd.continuity import EtcdAccess
from hanse_local.keys.certificates import Certificates
from hanse_local.layout import DataDir

from hanse.process.settings import TlsFiles
from hanse.store import EtcdStore
from hanse.store.admin.roles import Roles
from tests.support.machine.ports import free_ports


@contextmanager
def running(
    binary: etcd.EtcdBinary, data: DataDir, tls: TlsFiles, ports: etcd.EtcdPorts
) -> Iterator[EtcdAccess]:
    """That etcd with that data, until the block ends."""
    command = etcd.command(binary, name="etcd", data_dir=data.etcd("etcd"), ports=ports, tls=tls)
    with (data.root / "etcd.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        until = time.monotonic() + 30
        while True:
            assert process.poll() is None, (data.root / "etcd.log").read_text()[-2000:]
            assert time.monotonic() < until
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{ports.health}/health", timeout=1):
                    break
            except OSError:
                time.sleep(0.05)
        root = Certificates(data).etcd_root()
        yield EtcdAccess((f"127.0.0.1:{ports.client}",), "/hanse", tls=root, where="here", root=True)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@pytest.mark.parametrize("back", [False, True], ids=["to the build", "and back to the package"])
async def test_data_of_the_packaged_etcd_is_opened_by_the_one_that_is_built(
    tmp_path: Path, back: bool
) -> None:
    """With its rights and its revisions; and, should the build be gone, by the packaged one again."""
    packaged = etcd.find(environ={"PATH": ""})
    best = etcd.find(environ=os.environ, last=packaged.version)
    data = DataDir.at(tmp_path / "data")
    data.create()
    tls = Certificates(data).etcd_server()
    ports = etcd.EtcdPorts(*free_ports(3))
    with running(packaged, data, tls, ports) as access:
        roles = await Roles.connect(access.endpoints, prefix=access.prefix, tls=access.tls)
        await roles.apply()
        await roles.close()
        store = await EtcdStore.connect(access.endpoints, prefix=access.prefix, tls=access.tls)
        written = await store.put("objects/core/configmaps/default/kept", b"kept")
        await store.close()
    for binary in (best, packaged) if back else (best,):
        with running(binary, data, tls, ports) as access:
            store = await EtcdStore.connect(access.endpoints, prefix=access.prefix, tls=access.tls)
            found = await store.get("objects/core/configmaps/default/kept")
            assert found is not None
            assert (found.value, found.mod_revision) == (b"kept", written)
            assert (await store.status()).version == etcd.dotted(binary.version)
            await store.close()
            roles = await Roles.connect(access.endpoints, prefix=access.prefix, tls=access.tls)
            await roles.apply()
            await roles.close()
