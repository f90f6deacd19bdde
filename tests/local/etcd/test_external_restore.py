"""An etcd of the user's that lost everything is made again from a backup, by the commands of the guide."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hanse_local.backup import restoring
from hanse_local.backup.contents import EtcdSource, file_name, keep_newest, take_services
from hanse_local.backup.sealed_file import Secret
from hanse_local.keys.certificates import ETCD
from hanse_local.layout import DataDir

from hanse.api.federation.v1.federation_pb2 import Federation
from hanse.errors import CompactedError, PermissionDeniedError
from hanse.process.settings import TlsFiles
from hanse.security.auth import service_name
from hanse.security.keyring import new_key
from hanse.store import EtcdStore
from hanse.store.admin.roles import ROOT
from hanse.store.keys import FEDERATION
from tests.support.stores.etcd_cluster import EtcdCluster, EtcdMember

OPERATIONS = Path(__file__).resolve().parents[3] / "docs" / "operations.md"
SECRET = Secret(keys=[new_key()])
OBJECT = "objects/core/configmaps/default/a"


def recipe() -> str:
    """The command of the guide that makes one member out of a snapshot."""
    (found,) = re.findall(
        r"^etcdutl snapshot restore(?:.|\n)*?(?=^```)", OPERATIONS.read_text(), re.MULTILINE
    )
    return str(found)


def made_by_the_guide(snapshot: Path, etcd: EtcdCluster, member: EtcdMember, tool: Path) -> None:
    """Run it for a member, with that one's name, directory and addresses."""
    words = shlex.split(recipe().replace("\\\n", ""))
    peers = ",".join(f"{each.name}={each.peer_url}" for each in etcd.members)
    own = {
        "--data-dir": str(member.folder / "data"),
        "--name": member.name,
        "--initial-cluster": peers,
        "--initial-advertise-peer-urls": member.peer_url,
    }
    command = [str(tool), *words[1:3], str(snapshot)]
    for word, value in zip(words[4:], [*words[5:], ""], strict=True):
        if word in own:
            command.append(f"{word}={own.pop(word)}")
        elif word.startswith("--"):
            command.append(word if value.startswith("--") or not value else f"{word}={value}")
    assert not own, "the guide says less than a member needs"
    subprocess.run(command, check=True, capture_output=True, timeout=60)


async def fill(etcd: EtcdCluster) -> int:
    """Found a federation with an object, as the apiserver does; return the revision of the object."""
    tls = etcd.tls(service_name("apiserver"))
    store = await EtcdStore.connect(etcd.endpoints, tls=tls)
    try:
        await store.put(FEDERATION, Federation(id="f", short_name="shops").SerializeToString())
        return await store.put(OBJECT, b"{}")
    finally:
        await store.close()


async def seen(member: EtcdMember, tls: TlsFiles, since: int) -> bytes:
    """The object as one member has it; a watch from before the loss has nothing to go on from."""
    store = await EtcdStore.connect([member.endpoint], tls=tls)
    try:
        found = await store.get(OBJECT)
        assert found is not None
        assert found.mod_revision == since
        with pytest.raises(CompactedError):
            await anext(aiter(store.watch("objects/", start_revision=since)))
        assert await store.revision() > restoring.BUMP
        return found.value
    finally:
        await store.close()


def test_three_members_are_made_anew_from_one_snapshot(tmp_path: Path) -> None:
    """All have all that was there, with rights and revisions, at addresses and with an authority of their
    own."""
    with EtcdCluster(tmp_path / "old") as etcd:
        etcd.give_rights()
        since = asyncio.run(fill(etcd))
        target = tmp_path / file_name("shops", datetime.now(UTC))
        source = EtcdSource(ETCD, tuple(etcd.endpoints), etcd.tls(ROOT))
        take_services(source, {}, target, SECRET, prefix="/hanse")
    restored = restoring.restore(target, DataDir.at(tmp_path / "restored"), SECRET)
    assert restored.snapshot is not None
    assert not restored.manages_data
    tool = next(path for path in restoring.tools() if path.is_file())

    new = EtcdCluster(tmp_path / "new")
    for member in new.members:
        member.folder.mkdir(parents=True)
        made_by_the_guide(restored.snapshot, new, member, tool)
    with new:
        for member in new.members:
            assert asyncio.run(seen(member, new.tls(service_name("apiserver")), since)) == b"{}"
        with pytest.raises(PermissionDeniedError):
            asyncio.run(seen(new.members[0], new.tls(service_name("dns")), since))


def test_the_newest_backups_stay(tmp_path: Path) -> None:
    """Of one federation; what is called otherwise is not looked at."""
    moments = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 5)]
    names = [file_name("shops", each) for each in moments]
    others = ["other-20200101T000000Z.backup", "shops-notes.backup", "shops-20200101T000000Z.backup.old"]
    for each in (*names, *others):
        (tmp_path / each).touch()
    assert [path.name for path in keep_newest(tmp_path, "shops", 2)] == names[:2]
    assert {path.name for path in tmp_path.iterdir()} == {*names[2:], *others}
