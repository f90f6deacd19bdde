"""What a backup of a federation is: etcd, and the files without which etcd is of no use.

Owns the content of the sealed file (`hanse_local.backup.sealed_file`): a tar with `manifest.json` first, then
the files of the data directory that nobody could make again (`state.json`, `up.toml`, `pki/`, and `clusters/`
of simulated clusters) below `files/`, then a snapshot of each etcd below `snapshots/`. The manifest has the
size and the SHA-256 of each, and the versions of what made it. The key rings are read after etcd, so they
open all that is in it.

Concurrency: the federation goes on meanwhile; one stream from each etcd.

Next: `hanse_local.backup.manifest` and `hanse_local.backup.reading`.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from hanse import __version__
from hanse.errors import (
    ConfigError,
    FailedPreconditionError,
    PermissionDeniedError,
)
from hanse.process.settings import TlsFiles
from hanse_local.backup.manifest import FILES, MANIFEST, SNAPSHOTS, BackupManifest, EtcdPart, Part
from hanse_local.backup.reading import check, only_mine
from hanse_local.backup.sealed_file import SealedWriter, Secret
from hanse_local.keys.certificates import ETCD, MEMBERS_ETCD, ROOT
from hanse_local.layout import DataDir
from hanse_local.supervise import background
from hanse_local.supervise.state import DirectoryState

_PIECE: Final = 1 << 20
SUFFIX: Final = ".backup"
LEFTOVER_SECONDS: Final = 86400.0
"""After so long a snapshot of a backup that has not ended belongs to nobody."""


@dataclass(frozen=True, slots=True)
class EtcdSource:
    """An etcd that is to be backed up."""

    name: str
    endpoints: tuple[str, ...]
    tls: TlsFiles | None
    server_name: str = ""
    """The name in its certificate, where that is not the host that is dialled."""


def take(data: DataDir, target: Path, secret: Secret) -> BackupManifest:
    """Back the federation of a data directory up to the new file `target`, and read it again.

    Raises FailedPreconditionError if it does not run or the file exists, another HanseError if etcd gives no
    snapshot, OSError.
    """
    _check_target(target)
    state = DirectoryState.load(data.state)
    if not state.has_federation:
        raise FailedPreconditionError(f"{data.root} has no federation: nothing was backed up")
    if background.query(data) is None:
        raise FailedPreconditionError(
            f"nothing runs in {data.root}, and etcd gives a snapshot only while it runs: start it with "
            "`hanse up`"
        )
    _remove_leftovers(data)
    return _pack(
        tuple(etcds_of(data, state)),
        lambda: dict(_worth_keeping(data)),
        who=(state.federation_id, state.options.get("federation_name", "")),
        external=state.etcd_endpoints,
        prefix=state.options.get("etcd_prefix") or "/hanse",
        work=data.run,
        target=target,
        secret=secret,
    )


def take_services(
    etcd: EtcdSource,
    files: Mapping[str, Path],
    target: Path,
    secret: Secret,
    *,
    prefix: str,
    called: Sequence[str] = (),
) -> BackupManifest:
    """Back up services that are run without a data directory: their etcd, and the `files` by their names.

    `called` are the endpoints as the services have them, where they are others than those that are asked.
    Raises as `take`.
    """
    _check_target(target)
    return _pack(
        (etcd,),
        lambda: {f"{FILES}/{name}": path for name, path in files.items()},
        who=asyncio.run(_identity(etcd, prefix)),
        external=tuple(called) or etcd.endpoints,
        prefix=prefix,
        work=target.parent,
        target=target,
        secret=secret,
    )


def included(paths: Sequence[Path]) -> dict[str, Path]:
    """Files and what is in directories, by their names in a backup: a file has its own, what is in a
    directory also the directory's. Raises ConfigError.

    What is below a name that begins with two dots is left out: Kubernetes keeps the content of a volume
    there, with a link to each file beside it.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise ConfigError(f"there is no {path} to include")
        for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
            relative = each.relative_to(path.parent)
            if not each.is_file() or any(part.startswith("..") for part in relative.parts):
                continue
            name = relative.as_posix()
            if found.setdefault(name, each) != each:
                raise ConfigError(f"{found[name]} and {each} would have the same name in the backup")
    return found


def file_name(federation: str, moment: datetime) -> str:
    """Return the name of a backup among others of the federation; in the order of time."""
    return f"{federation}-{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}{SUFFIX}"


def keep_newest(folder: Path, federation: str, count: int) -> list[Path]:
    """Remove all backups of a federation from a folder but the newest `count`; return the removed.

    What has not the name of a backup stays, and so does what a backup that was killed has left until it is a
    day old.
    """
    pattern = re.compile(rf"{re.escape(federation)}-\d{{8}}T\d{{6}}Z{re.escape(SUFFIX)}")
    known = sorted(each for each in folder.iterdir() if pattern.fullmatch(each.name))
    gone = known[:-count] if count else []
    for each in gone:
        each.unlink(missing_ok=True)
    for each in folder.iterdir():
        unfinished = each.name.startswith("backup.") or each.name.startswith(f".{federation}-")
        if unfinished and time.time() - each.stat().st_mtime > LEFTOVER_SECONDS:
            if each.is_dir():
                shutil.rmtree(each, ignore_errors=True)
            else:
                each.unlink(missing_ok=True)
    return gone


async def _plugin_keys(etcd: EtcdSource, prefix: str) -> tuple[str, ...]:
    """Keys of a KMS plugin that something in etcd is sealed with."""
    from hanse.store import EtcdStore
    from hanse.store.census import take_credentials, take_objects

    store = await EtcdStore.connect(
        etcd.endpoints, prefix=prefix, tls=etcd.tls, tls_server_name=etcd.server_name or None
    )
    try:
        found = (await take_objects(store)).plugin_keys + (await take_credentials(store)).plugin_keys
    finally:
        await store.close()
    return tuple(sorted(set(found)))


async def _identity(etcd: EtcdSource, prefix: str) -> tuple[str, str]:
    """Id and name of the federation in an etcd. Raises FailedPreconditionError if it has none."""
    from hanse.api.federation.v1.federation_pb2 import Federation
    from hanse.store import EtcdStore
    from hanse.store.decoding import decode
    from hanse.store.keys import FEDERATION

    store = await EtcdStore.connect(
        etcd.endpoints, prefix=prefix, tls=etcd.tls, tls_server_name=etcd.server_name or None
    )
    try:
        found = await store.get(FEDERATION)
    finally:
        await store.close()
    if found is None:
        raise FailedPreconditionError(f"etcd has no federation below {prefix}: nothing was backed up")
    federation = decode(Federation, found.value)
    return federation.id, federation.short_name


def _check_target(target: Path) -> None:
    if target.exists():
        raise FailedPreconditionError(f"{target} exists: name another file, or remove it")
    if not target.parent.is_dir():
        raise ConfigError(f"{target.parent} is no directory: make it first")


def _pack(
    sources: Sequence[EtcdSource],
    files: Callable[[], Mapping[str, Path]],
    *,
    who: tuple[str, str],
    external: tuple[str, ...],
    prefix: str,
    work: Path,
    target: Path,
    secret: Secret,
) -> BackupManifest:
    """Write the backup. `files` is asked after etcd was read, `work` has room for a snapshot."""
    with tempfile.TemporaryDirectory(prefix="backup.", dir=work) as folder:
        etcds = tuple(asyncio.run(_snapshots(sources, Path(folder))))
        plugin_keys = asyncio.run(_plugin_keys(sources[0], prefix))
        contents = {name: path.read_bytes() for name, path in files().items()}
        manifest = BackupManifest(
            hanse=__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            federation_id=who[0],
            federation_name=who[1],
            etcd_endpoints=external,
            files=tuple(
                Part(name, len(content), hashlib.sha256(content).hexdigest())
                for name, content in contents.items()
            ),
            etcds=etcds,
            plugin_keys=plugin_keys,
        )
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        partial = Path(temporary)
        try:
            with os.fdopen(descriptor, "wb") as file:
                writer = SealedWriter(file, secret)
                with tarfile.open(fileobj=writer, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
                    _add(tar, MANIFEST, manifest.encode())
                    for name, content in contents.items():
                        _add(tar, name, content)
                    for each in etcds:
                        tar.add(Path(folder) / each.name, each.file.name, filter=_anonymous)
                writer.finish()
                file.flush()
                os.fsync(file.fileno())
            check(partial, secret)
            _give_name(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    return manifest


def _remove_leftovers(data: DataDir) -> None:
    """Remove snapshots of backups that were killed."""
    for folder in data.run.glob("backup.*"):
        if time.time() - folder.stat().st_mtime > LEFTOVER_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _give_name(partial: Path, target: Path) -> None:
    """Let the file be called `target`, which replaces nothing. Raises OSError."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if target.exists():
            raise
        partial.rename(target)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o600
    tar.addfile(entry, io.BytesIO(content))


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _worth_keeping(data: DataDir) -> Iterator[tuple[str, Path]]:
    """Yield the files that cannot be made again, and their names in the backup."""
    found = [data.state, data.up_config]
    for folder in (data.pki, data.clusters):
        found += sorted(folder.rglob("*"))
    for path in found:
        if path.is_file():
            yield f"{FILES}/{path.relative_to(data.root).as_posix()}", path


async def _snapshots(sources: Sequence[EtcdSource], folder: Path) -> list[EtcdPart]:
    from hanse.store.admin.snapshot import save_snapshot  # here, because it would make every command slower

    parts: list[EtcdPart] = []
    for source in sources:
        path = folder / source.name
        try:
            with open(path, "w+b", opener=only_mine) as file:  # noqa: ASYNC230 - nothing else runs
                found = await save_snapshot(
                    source.endpoints, tls=source.tls, tls_server_name=source.server_name or None, file=file
                )
        except PermissionDeniedError as error:
            raise PermissionDeniedError(
                f"{error.message}: give the certificate of an etcd user with the role root (of `hanse up`: "
                "--set apiserver.etcd_maintenance_cert=... and apiserver.etcd_maintenance_key=...)"
            ) from error
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        part = Part(f"{SNAPSHOTS}/{source.name}.db", found.size, digest)
        parts.append(EtcdPart(source.name, found.version, found.revision, part))
    return parts


def etcds_of(data: DataDir, state: DirectoryState) -> Iterator[EtcdSource]:
    """Yield the etcds of a data directory; the federation's is the first."""
    if state.etcd_endpoints:
        yield EtcdSource(ETCD, state.etcd_endpoints, _external_tls(state))
    else:
        yield EtcdSource(ETCD, _own(state, ETCD), _files(data.etcd_pki, ROOT))
    if state.clusters:
        yield EtcdSource(MEMBERS_ETCD, _own(state, MEMBERS_ETCD), _files(data.members_pki, "server"))


def _own(state: DirectoryState, name: str) -> tuple[str, ...]:
    return (f"127.0.0.1:{state.ports[f'{name}.client']}",)


def _files(folder: Path, name: str) -> TlsFiles:
    return TlsFiles(folder / "ca.crt", folder / f"{name}.crt", folder / f"{name}.key")


def _external_tls(state: DirectoryState) -> TlsFiles | None:
    """Return the certificate that may maintain an etcd that is not ours, else that of the apiserver."""
    ca = state.options.get("etcd_ca", "")
    if not ca:
        return None
    pair = [
        state.settings.get(f"apiserver.etcd_maintenance_{kind}") or state.options.get(f"etcd_{kind}", "")
        for kind in ("cert", "key")
    ]
    return TlsFiles(Path(ca), Path(pair[0]), Path(pair[1]))
