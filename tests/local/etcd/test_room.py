"""The supervisor compacts the embedded etcd, which newer releases let no service do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hanse_local.etcd.continuity import EtcdAccess
from hanse_local.etcd.room import keep_room
from hanse_local.layout import DataDir
from hanse_local.options import UpOptions

from hanse.errors import CompactedError
from hanse.security.pki import CertificateAuthority
from hanse.store import EtcdStore
from hanse.store.admin import upkeep
from hanse.store.admin.roles import ROOT, Roles
from tests.local.fakes import plan_of
from tests.support.stores.etcd import EtcdServer


async def forgotten(store: EtcdStore, revision: int) -> bool:
    """Whether etcd has compacted this revision."""
    try:
        await store.get("a", revision=revision)
    except CompactedError:
        return True
    return False


async def test_history_is_compacted_as_the_setting_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the rights of root, in an etcd that has rights."""
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.3)
    ca = CertificateAuthority.create("etcd-ca")
    server = ca.ensure_local(tmp_path, "server", common_name="etcd")
    root = ca.ensure_local(tmp_path, "root", common_name=ROOT)
    with EtcdServer(tmp_path / "etcd", tls=(server.ca, server.cert, server.key)) as etcd:
        roles = await Roles.connect([etcd.endpoint], prefix="/hanse", tls=root)
        await roles.apply()
        await roles.close()
        access = EtcdAccess((etcd.endpoint,), "/hanse", tls=root, where="here", root=True)
        store = await EtcdStore.connect(access.endpoints, tls=root)
        first = await store.put("a", b"1")
        await store.put("a", b"2")
        keeping = asyncio.create_task(keep_room(access, quota=1 << 30, compact_seconds=0.5))
        try:
            async with asyncio.timeout(20):
                while not await forgotten(store, first):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        finally:
            keeping.cancel()
            await store.close()


def test_the_supervisor_does_what_the_apiservers_setting_asks(tmp_path: Path) -> None:
    """Where etcd is ours; the apiserver, which may not, is told to leave it."""
    data = DataDir.at(tmp_path / "data")
    data.create()
    assert plan_of(data, UpOptions(clusters=0)).etcd_compact_seconds == 600
    settings = {"apiserver.etcd_compact_seconds": "60"}
    assert plan_of(data, UpOptions(clusters=0, settings=settings)).etcd_compact_seconds == 60
    assert "etcd_compact_seconds = 0.0" in data.config_file("apiserver").read_text()
