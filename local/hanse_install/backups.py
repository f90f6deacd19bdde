"""Before an upgrade: whether etcd is fit for it, and a backup of the installation, on the user's machine.

Owns how etcd is reached (the members in the host cluster by `kubectl port-forward`, an etcd of the user's by
its endpoints), and what a backup of an installation has beside the snapshot: the directory of authorities,
certificates and keys below `keys/`, and the record below `installation.json`. Nothing is put into the host
cluster for it.

Concurrency: synchronous; the federation goes on meanwhile.

Next: `hanse_local.backup.contents`, of whose form it is, and `hanse.store.admin.checkup`.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from hanse_client.forwarding import forward
from hanse_local.backup.commands import VARIABLE, read_secret
from hanse_local.backup.contents import SUFFIX, EtcdSource, file_name, take_services
from hanse_local.keys.certificates import ETCD

from hanse.errors import ConfigError, FailedPreconditionError, HanseError, UnavailableError
from hanse.numbers import whole_number
from hanse.process.settings import TlsFiles
from hanse.security.keyring import create_key_file
from hanse.store.admin import checkup
from hanse_install import keys
from hanse_install.kubectl import Kubectl, Manifest
from hanse_install.options import InitOptions
from hanse_install.record import InstallationRecord

FOLDER = "backups"
KEY = "backup.key"
RECORD = "installation.json"
KEYS = "keys"
STATEFUL_SET = "hanse-etcd"
_PORT = 2379
_QUOTA = "HANSE_APISERVER_ETCD_QUOTA_BYTES"


class UnfitError(FailedPreconditionError):
    """Etcd answers, and an upgrade is not to be begun with it as it is."""


@dataclass(frozen=True, slots=True)
class Backups:
    """What the user said of backups."""

    folder: Path | None = None
    """Where to; None is `backups` in the directory of the keys."""
    passphrase_file: Path | None = None
    key_file: Path | None = None
    skip: bool = False
    asked: bool = False
    """Whether one is wanted though nothing is upgraded."""


@dataclass(frozen=True, slots=True)
class Etcd:
    """How the etcd of an installation is reached from here."""

    endpoints: tuple[str, ...]
    """Of each member in the host cluster, or those that the user said."""
    names: tuple[str, ...]
    """What people call them."""
    tls: TlsFiles
    server_name: str = ""
    unreached: Mapping[str, str] = field(default_factory=dict)
    """Members that cannot be reached, and why."""


@contextmanager
def reached(
    kubectl: Kubectl, record: InstallationRecord, options: InitOptions, directory: Path
) -> Iterator[Etcd]:
    """Etcd, for as long as the block lasts. Raises HanseError if no member can be reached."""
    own = directory / "etcd"
    root = TlsFiles(keys.etcd_authority(directory, options), own / "etcd-root.crt", own / "etcd-root.key")
    if options.endpoints:
        yield Etcd(options.endpoints, options.endpoints, root)
        return
    pods = [f"{STATEFUL_SET}-{number}" for number in range(_members(kubectl, record.namespace))]
    with ExitStack() as stack:
        found: dict[str, str] = {}
        unreached: dict[str, str] = {}
        problem: HanseError = UnavailableError("etcd has no members")
        for pod in pods:
            try:
                port = forward(
                    stack, kubectl.command("port-forward", "-n", record.namespace, f"pod/{pod}"), _PORT
                )
                found[pod] = f"127.0.0.1:{port}"
            except HanseError as error:
                problem = error
                unreached[pod] = error.message
        if not found:
            raise problem
        yield Etcd(tuple(found.values()), tuple(found), root, STATEFUL_SET, unreached)


def _members(kubectl: Kubectl, namespace: str) -> int:
    found: Manifest | None = kubectl.json(
        "get", "statefulset", STATEFUL_SET, "-n", namespace, "--ignore-not-found"
    )
    if not found:
        raise FailedPreconditionError(
            f"namespace {namespace} of the host cluster has no StatefulSet {STATEFUL_SET}"
        )
    return int(found["spec"].get("replicas", 1))


def check(etcd: Etcd, manifests: Iterable[Manifest]) -> None:
    """Raise UnfitError with the remedies unless etcd is fit for an upgrade to `manifests`."""
    found = asyncio.run(
        checkup.examine(etcd.endpoints, tls=etcd.tls, tls_server_name=etcd.server_name or None)
    )
    called = dict(zip(etcd.endpoints, etcd.names, strict=True))
    silent = {called[where]: why for where, why in found.silent.items()}
    found = replace(found, silent={**silent, **etcd.unreached})
    told = checkup.faults(found, quota=_quota(manifests))
    if told:
        raise UnfitError(
            f"etcd is not fit for an upgrade, so nothing was changed: {'; '.join(told)}. Where this run is "
            "to mend it, add --no-etcd-check"
        )


def _quota(manifests: Iterable[Manifest]) -> int:
    """Return what the apiserver is told of etcd's quota, for an etcd that does not tell it itself; 0 is
    unknown.
    """
    for each in manifests:
        if each["kind"] == "ConfigMap" and (value := each.get("data", {}).get(_QUOTA)):
            return whole_number(str(value)) or 0
    return 0


def take(
    etcd: Etcd, record: InstallationRecord, options: InitOptions, directory: Path, wanted: Backups
) -> Path:
    """Make a new backup; return where it is. Raises HanseError, and then there is none."""
    folder = (wanted.folder or directory / FOLDER).absolute()
    if wanted.passphrase_file is None and wanted.key_file is None and not os.environ.get(VARIABLE):
        create_key_file(directory / KEY)
        secret = read_secret(None, directory / KEY, new=True)
    else:
        secret = read_secret(wanted.passphrase_file, wanted.key_file, new=True)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        target = folder / file_name(record.federation, datetime.now(UTC))
        with tempfile.TemporaryDirectory(prefix="kubefed-") as scratch:
            said = Path(scratch, RECORD)
            said.write_text(json.dumps(record.manifest(), indent=2) + "\n")
            take_services(
                EtcdSource(ETCD, etcd.endpoints, etcd.tls, etcd.server_name),
                {RECORD: said, **_keys(directory)},
                target,
                secret,
                prefix="/hanse",
                called=options.endpoints or (f"{STATEFUL_SET}:{_PORT}",),
            )
    except OSError as error:
        raise ConfigError(f"no backup can be made in {folder}: {error.strerror or error}") from error
    return target


def _keys(directory: Path) -> dict[str, Path]:
    """Files of the directory by their names in a backup: not other backups, and not what opens this one."""
    found: dict[str, Path] = {}
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory)
        if path.is_file() and relative.parts[0] not in {FOLDER, KEY} and path.suffix != SUFFIX:
            found[f"{KEYS}/{relative.as_posix()}"] = path
    return found


def announce(path: Path, directory: Path, wanted: Backups, say: Callable[[str], None]) -> None:
    """Say where the backup is, and what opens it."""
    if wanted.key_file or wanted.passphrase_file or os.environ.get(VARIABLE):
        say(f"a backup is in {path}")
    else:
        say(
            f"a backup is in {path}, sealed with {directory / KEY}: keep a copy of that key elsewhere, it is "
            "not in the backup"
        )
