"""Makes a data directory out of a backup.

Owns the order: everything is checked and built in a directory beside the target, which gets its name at the
very end, so a restore that fails leaves nothing. A data directory that has anything in it is never written
to.

etcd's data is made by `etcdutl` of the etcd that will run. Where it can (that of 3.5.1 cannot), its
revision is raised above all that was served before, and everything below counts as compacted: a watch or a
list that a client goes on with from before gets `410 Gone` and lists again, and never the changes of another
history.

Concurrency: none. Next: `hanse_local.etcd.continuity`, which knows the federation again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from hanse.errors import ConfigError, FailedPreconditionError
from hanse_local.backup.manifest import FILES, BackupManifest, EtcdPart
from hanse_local.backup.reading import Backup
from hanse_local.backup.sealed_file import Secret
from hanse_local.etcd import binary as etcd
from hanse_local.etcd import build as etcd_build
from hanse_local.keys.certificates import ETCD
from hanse_local.layout import DataDir
from hanse_local.supervise.state import DirectoryState

BUMP: Final = 1_000_000_000
"""By how much the revision is raised: more than a federation writes between a backup and its loss. etcd's
documentation proposes as much ("Disaster recovery")."""
TOOL_SECONDS: Final = 600.0
LEFT_SNAPSHOT: Final = "etcd-snapshot.db"
"""The snapshot of an etcd that is not ours, for whoever runs it."""


@dataclass(frozen=True, slots=True)
class RestoredDirectory:
    """What was done."""

    manifest: BackupManifest
    snapshot: Path | None
    """The snapshot of an etcd that is not ours; None if etcd's data was made."""

    @property
    def manages_data(self) -> bool:
        """Whether `hanse up` continues with it; services without a data directory have no state."""
        return any(each.name == f"{FILES}/state.json" for each in self.manifest.files)


def restore(path: Path, data: DataDir, secret: Secret) -> RestoredDirectory:
    """Make the data directory `data` out of the backup at `path`.

    Raises FailedPreconditionError if there is something already, HanseError for a backup that cannot be used,
    OSError.
    """
    _check_free(data)
    data.root.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{data.root.name}.restoring.", dir=data.root.parent))
    try:
        with Backup(path, secret) as backup:
            manifest = backup.manifest
            for part in manifest.files:
                target = work / PurePosixPath(part.name).relative_to(FILES)
                target.parent.mkdir(parents=True, exist_ok=True)
                backup.copy(part, target)
            state = DirectoryState.load(work / "state.json")  # services without a data directory have none
            snapshot: Path | None = None
            for each in manifest.etcds:
                own = not (each.name == ETCD and manifest.etcd_endpoints)
                saved = work / (f"{each.name}.snapshot" if own else LEFT_SNAPSHOT)
                backup.copy(each.file, saved)
                if own:
                    _make_etcd(saved, each, work / each.name, peer_port=state.ports[f"{each.name}.peer"])
                    saved.unlink()
                else:
                    snapshot = data.root / LEFT_SNAPSHOT
        if data.root.is_dir():
            data.root.rmdir()  # it is empty; if it no longer is, this fails
        work.rename(data.root)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return RestoredDirectory(manifest, snapshot)


def _check_free(data: DataDir) -> None:
    try:
        taken = any(data.root.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{data.root} cannot be a data directory: {error.strerror}") from error
    if taken:
        raise FailedPreconditionError(
            f"{data.root} is not empty, and a restore overwrites nothing: move it away, or name another "
            "--data-dir"
        )


def _make_etcd(snapshot: Path, part: EtcdPart, directory: Path, *, peer_port: int) -> None:
    """Make etcd's data out of a snapshot, for the etcd that `hanse up` will start."""
    last = etcd.parse_version(part.version)
    binary = etcd.find(last=last)
    etcd.check_change(last, binary.version, source=binary.source)
    tool = find_tool(binary)
    peer = f"https://127.0.0.1:{peer_port}"
    make_member(tool, snapshot, directory, name=part.name, peer_url=peer, cluster=f"{part.name}={peer}")


def make_member(
    tool: Path, snapshot: Path, directory: Path, *, name: str, peer_url: str, cluster: str, token: str = ""
) -> None:
    """Make the data of one member of a new etcd out of a snapshot; `cluster` has all of them.

    Raises FailedPreconditionError.
    """
    command = [str(tool), "snapshot", "restore", str(snapshot), f"--data-dir={directory}", f"--name={name}"]
    command += [f"--initial-cluster={cluster}", f"--initial-advertise-peer-urls={peer_url}"]
    command += [f"--initial-cluster-token={token}"] if token else []
    if raises_revision(tool):
        command += [f"--bump-revision={BUMP}", "--mark-compacted"]
    _said(command)


def raises_revision(tool: Path) -> bool:
    """Return whether an `etcdutl` can raise the revision; that of 3.5.1 cannot."""
    return "--bump-revision" in _said([str(tool), "snapshot", "restore", "--help"])


def find_tool(binary: etcd.EtcdBinary) -> Path:
    """Return the `etcdutl` of the minor version of `binary`. Raises ConfigError if there is none."""
    if found := tool_among(_tools(binary), binary.version):
        return found
    minor = etcd.dotted(binary.version).rpartition(".")[0]
    raise ConfigError(
        f"there is no etcdutl {minor}, which makes etcd's data out of a snapshot: put the one that belongs "
        f"to etcd {etcd.dotted(binary.version)} ({binary.source}) beside it or on PATH, or build etcd with "
        "`hanse etcd install`"
    )


def tool_among(candidates: Iterable[Path], version: etcd.Version) -> Path | None:
    """Return the first `etcdutl` that is of the minor version of `version`."""
    for path in candidates:
        if os.access(path, os.X_OK):
            try:
                found = etcd.parse_version(_said([str(path), "version"]))
            except (ConfigError, FailedPreconditionError):
                continue
            if found[:2] == version[:2]:
                return path
    return None


def _tools(binary: etcd.EtcdBinary) -> Iterator[Path]:
    yield binary.path.parent / "etcdutl"
    yield from tools()


def tools() -> Iterator[Path]:
    """Yield where an `etcdutl` may be."""
    if built := etcd_build.built(os.environ):
        yield built / "etcdutl"
    if found := shutil.which("etcdutl"):
        yield Path(found)
    if packaged := etcd.bundled():
        yield packaged.parent / "etcdutl"


def _said(command: list[str]) -> str:
    """Run a tool; return what it said. Raises FailedPreconditionError if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FailedPreconditionError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        raise FailedPreconditionError(f"{command[0]} {command[1]} failed: {lines[-1][:300]}")
    return done.stdout + done.stderr
