"""What a backup has in it, and that a restore that cannot be finished leaves nothing."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hanse_cli import exits
from hanse_cli.main import hanse, run
from hanse_local.backup import restoring
from hanse_local.backup.contents import included
from hanse_local.backup.manifest import BackupManifest, EtcdPart, Part
from hanse_local.backup.reading import check
from hanse_local.backup.restoring import find_tool, restore
from hanse_local.backup.sealed_file import SealedWriter, Secret
from hanse_local.etcd import binary as etcd
from hanse_local.layout import DataDir
from hanse_local.supervise.state import DirectoryState

from hanse.errors import ConfigError, DataLossError, FailedPreconditionError, HanseError
from hanse.security.keyring import new_key
from tests.local.fakes import fake_etcd

SECRET = Secret(keys=[new_key()])
STATE = DirectoryState(
    ports={"etcd.peer": 1}, founded=True, federation_id="f", etcd_version="3.5.35"
).encode()


def part(name: str, content: bytes) -> Part:
    """What a manifest says of a file."""
    return Part(name, len(content), hashlib.sha256(content).hexdigest())


def manifest(files: dict[str, bytes], snapshots: dict[str, bytes]) -> BackupManifest:
    """A manifest that is true."""
    return BackupManifest(
        hanse="0.1.0",
        created="2026-11-27T04:05:38+00:00",
        federation_id="f",
        federation_name="hanse",
        etcd_endpoints=(),
        files=tuple(part(f"files/{name}", content) for name, content in files.items()),
        etcds=tuple(
            EtcdPart(name, "3.5.35", 7, part(f"snapshots/{name}.db", content))
            for name, content in snapshots.items()
        ),
    )


def written(path: Path, said: bytes, entries: dict[str, bytes]) -> Path:
    """A backup that says `said` of itself and has `entries` in it."""
    with path.open("wb") as file:
        writer = SealedWriter(file, SECRET)
        with tarfile.open(fileobj=writer, mode="w|") as tar:  # type: ignore[call-overload]
            for name, content in {"manifest.json": said, **entries}.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        writer.finish()
    return path


def one(path: Path, **changes: object) -> Path:
    """A backup with a state and a snapshot that is none, and another manifest if `changes` say so."""
    true = manifest({"state.json": STATE}, {"etcd": b"no snapshot"})
    document = json.loads(true.encode()) | changes
    return written(
        path,
        json.dumps(document).encode(),
        {"files/state.json": STATE, "snapshots/etcd.db": b"no snapshot"},
    )


def nothing_left(folder: Path) -> bool:
    """Whether there is neither a data directory nor a half one."""
    return not [each for each in folder.iterdir() if each.name != "b"]


def test_a_manifest_says_the_same_again() -> None:
    """Written and read."""
    made = manifest({"state.json": STATE, "pki/ca.crt": b"x"}, {"etcd": b"y"})
    assert BackupManifest.decode(made.encode()) == made


def test_a_backup_can_be_checked(tmp_path: Path) -> None:
    """Without writing anything."""
    assert check(one(tmp_path / "b"), SECRET).federation_id == "f"
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"format": 2}, FailedPreconditionError, "content of format 2, this Hanse knows 1"),
        ({"files": 3}, DataLossError, "cannot be understood"),
        ({"created": None, "etcds": [{}]}, DataLossError, "cannot be understood"),
        ({"files": []}, DataLossError, "where snapshots/etcd.db of 11 should be"),
        (
            {"files": [{"name": "files/state.json", "size": len(STATE), "sha256": "0" * 64}]},
            DataLossError,
            "the checksum of files/state.json is wrong",
        ),
        *(
            ({"files": [{"name": name, "size": 1, "sha256": ""}]}, DataLossError, "it names")
            for name in ("/etc/passwd", "files/../../x", "files", "files//x", "other/x", "files/./x")
        ),
    ],
)
def test_a_backup_that_is_not_what_it_says_is_refused(
    tmp_path: Path, changes: dict[str, object], kind: type[HanseError], words: str
) -> None:
    """Though the key is right; a restore leaves nothing."""
    path = one(tmp_path / "b", **changes)
    for work in (lambda: check(path, SECRET), lambda: restore(path, DataDir.at(tmp_path / "data"), SECRET)):
        with pytest.raises(kind, match=words):
            work()
    assert nothing_left(tmp_path)


def test_a_state_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    """Before etcd's data is made."""
    newer = STATE.replace(b'"version": 2', b'"version": 99')
    assert newer != STATE
    true = manifest({"state.json": newer}, {"etcd": b"x"})
    path = written(tmp_path / "b", true.encode(), {"files/state.json": newer, "snapshots/etcd.db": b"x"})
    with pytest.raises(ConfigError, match="version 99"):
        restore(path, DataDir.at(tmp_path / "data"), SECRET)
    assert nothing_left(tmp_path)


def test_a_snapshot_that_etcd_refuses_leaves_nothing(tmp_path: Path) -> None:
    """What etcdutl says is the message."""
    with pytest.raises(FailedPreconditionError, match="etcdutl snapshot failed"):
        restore(one(tmp_path / "b"), DataDir.at(tmp_path / "data"), SECRET)
    assert nothing_left(tmp_path)


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    """An empty directory is taken, one with anything in it is not, a file is not."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "mine").write_text("mine")
    path = one(tmp_path / "b")
    with pytest.raises(FailedPreconditionError, match="is not empty, and a restore overwrites nothing"):
        restore(path, DataDir.at(data), SECRET)
    assert (data / "mine").read_text() == "mine"
    with pytest.raises(ConfigError, match="cannot be a data directory"):
        restore(path, DataDir.at(path), SECRET)


def test_the_tool_is_of_the_same_minor_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one beside etcd first; one of another minor version is never used."""
    binary = etcd.EtcdBinary(fake_etcd(tmp_path / "bin", "3.6.4"), (3, 6, 4), "a test")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    with pytest.raises(ConfigError, match=r"there is no etcdutl 3\.6"):
        find_tool(binary)
    for folder, version in (("path", "3.6.1"), ("bin", "3.6.4")):
        tool = fake_etcd(tmp_path / folder, version)
        tool.write_text(f"#!/bin/sh\necho 'etcdutl version: {version}'\n")
        tool.rename(tool.with_name("etcdutl"))
        assert find_tool(replace(binary, path=tmp_path / "bin" / "etcd")) == tmp_path / folder / "etcdutl"
    packaged = etcd.find(environ={"PATH": ""})
    assert find_tool(packaged) == packaged.path.parent / "etcdutl"
    assert restoring.BUMP > 1_000_000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name one of them: a new FILE, or a directory with --into"),
        (["b", "--into", "."], "name one of them"),
        (["b", "--keep", "3"], "--keep is for a directory"),
        (["--into", ".", "--name", "../x"], "--name '../x' cannot begin the name of a file"),
        (["--into", ".", "--include", "."], "--include is for services without a data directory"),
    ],
)
def test_words_that_say_nothing_are_wrong_usage(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before a passphrase is asked for; nothing is written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run(hanse, ["backup", *words, "--data-dir", str(tmp_path / "data")], program="hanse")
    assert ended.value.code == exits.USAGE
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_a_volume_of_kubernetes_is_read_once(tmp_path: Path) -> None:
    """Its files are links into a folder whose name begins with two dots; a name that two have is refused."""
    volume = tmp_path / "keys"
    (volume / "..2026").mkdir(parents=True)
    (volume / "..2026" / "credentials.key").write_text("k")
    (volume / "..data").symlink_to("..2026")
    (volume / "credentials.key").symlink_to("..data/credentials.key")
    assert included([volume]) == {"keys/credentials.key": volume / "credentials.key"}
    other = tmp_path / "other" / "keys"
    other.mkdir(parents=True)
    (other / "credentials.key").touch()
    with pytest.raises(ConfigError, match="would have the same name in the backup"):
        included([volume, other])
