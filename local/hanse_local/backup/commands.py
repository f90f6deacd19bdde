"""The commands `hanse backup` and `hanse restore`.

Owns where the passphrase comes from. It is never an argument, which every user of the machine could read.

Concurrency: none. Next: `hanse_local.backup.contents` and `hanse_local.backup.restoring`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console

from hanse.errors import ConfigError, HanseError
from hanse.process.settings import TlsFiles
from hanse.security.keyring import read_keys
from hanse_local.backup.contents import EtcdSource, file_name, included, keep_newest, take, take_services
from hanse_local.backup.manifest import BackupManifest
from hanse_local.backup.reading import check
from hanse_local.backup.restoring import restore as make
from hanse_local.backup.sealed_file import Secret
from hanse_local.command_line import FAILED, WRONG_INPUT, data_dir_option, reported
from hanse_local.display import print_failure
from hanse_local.keys.certificates import ETCD
from hanse_local.layout import DataDir

F = TypeVar("F", bound=Callable[..., Any])
VARIABLE = "HANSE_BACKUP_PASSPHRASE"
SHORTEST = 12
"""Least length of a passphrase, in characters."""


def _secret_options(function: F) -> F:
    passphrase = click.option(
        "--passphrase-file", metavar="FILE", type=click.Path(path_type=Path), help="File with the passphrase."
    )
    key = click.option(
        "--key-file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="File with keys instead of a passphrase, ID:BASE64 of 32 bytes a line; the first seals, all "
        "open.",
    )
    return passphrase(key(function))


_ETCD_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--etcd-endpoints",
        metavar="HOST:PORT,...",
        default="",
        help="Services without a data directory: their etcd.",
    ),
    click.option("--etcd-ca", default="", metavar="FILE", help="Authority of that etcd."),
    click.option(
        "--etcd-cert", default="", metavar="FILE", help="Certificate of a user of etcd with the role root."
    ),
    click.option("--etcd-key", default="", metavar="FILE", help="Key of the certificate."),
    click.option(
        "--etcd-server-name", default="", metavar="NAME", help="Name in etcd's certificate. [default: HOST]"
    ),
    click.option(
        "--etcd-prefix", default="/hanse", metavar="PATH", show_default=True, help="Prefix of all keys."
    ),
)


def etcd_options(function: F) -> F:
    """Return the options by which an etcd is named that is of no data directory."""
    for option in reversed(_ETCD_OPTIONS):
        function = option(function)
    return function


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@_secret_options
@data_dir_option
@click.option(
    "--into",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Instead of FILE: a directory, for backups on a schedule. The name has the time.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Of the backups in DIR, the newest that stay once this one is there. [default: all]",
)
@click.option(
    "--name", default="hanse", metavar="NAME", show_default=True, help="How names of files in DIR begin."
)
@etcd_options
@click.option(
    "--include",
    multiple=True,
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Files or directories of such services: their keys, authorities and settings.",
)
@reported
def backup(
    *,
    file: Path | None,
    into: Path | None,
    keep: int | None,
    name: str,
    passphrase_file: Path | None,
    key_file: Path | None,
    data: DataDir,
    include: tuple[Path, ...],
    **etcd: str,
) -> None:
    """Back the federation up to the new FILE, or into a directory, encrypted, while it runs.

    It has all that a new machine needs: etcd, the keys, the authorities with all certificates, settings. The
    passphrase is asked for, unless it is in a file or in HANSE_BACKUP_PASSPHRASE. Without it, or the key, the
    backup cannot be opened: keep it elsewhere.
    """
    console = Console(stderr=True)
    try:
        source = etcd_source(**etcd)
        if include and source is None:
            raise ConfigError("--include is for services without a data directory: give --etcd-endpoints too")
        target = _target(file, into, name, keep)
        secret = read_secret(passphrase_file, key_file, new=True)
        with console.status("backing up"):
            if source is None:
                manifest = take(data, target, secret)
            else:
                files = included([path.absolute() for path in include])
                manifest = take_services(source, files, target, secret, prefix=etcd["etcd_prefix"])
    except HanseError as error:
        _end(console, error)
    _describe(console, manifest)
    size = target.stat().st_size
    console.print(f"{target} has {size} bytes and can be read", highlight=False, soft_wrap=True)
    for each in keep_newest(target.parent, name, keep) if keep else ():
        console.print(f"{each} is removed: {keep} newer ones are there", highlight=False, soft_wrap=True)


def _target(file: Path | None, into: Path | None, name: str, keep: int | None) -> Path:
    """Return the new file. Raises ConfigError."""
    wrong = ConfigError("name one of them: a new FILE, or a directory with --into")
    if into is None:
        if file is None:
            raise wrong
        if keep:
            raise ConfigError("--keep is for a directory: give --into too")
        return file.absolute()
    if file is not None:
        raise wrong
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name):
        raise ConfigError(
            f"--name {name!r} cannot begin the name of a file: use lower case letters and digits"
        )
    return into.absolute() / file_name(name, datetime.now(UTC))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--check", "only_check", is_flag=True, help="Read all of it and say what it is; write nothing.")
@_secret_options
@data_dir_option
@reported
def restore(
    *, file: Path, only_check: bool, passphrase_file: Path | None, key_file: Path | None, data: DataDir
) -> None:
    """Make a new data directory out of the backup FILE; nothing is overwritten.

    `hanse up` then goes on as of the backup. What was made since is in the clusters and nowhere else, and is
    left alone there: see `hanse orphans`.
    """
    console = Console(stderr=True)
    try:
        secret = read_secret(passphrase_file, key_file, new=False)
        if only_check:
            with console.status("reading"):
                manifest = check(file, secret)
            _describe(console, manifest)
            console.print(f"{file} can be restored", highlight=False, soft_wrap=True)
            return
        with console.status("restoring"):
            done = make(file, data, secret)
    except HanseError as error:
        _end(console, error)
    _describe(console, done.manifest)
    console.print(f"restored to {data.root}", highlight=False, soft_wrap=True)
    if not done.manages_data:
        console.print(
            f"it has no data directory: {done.snapshot} is for `etcdutl snapshot restore`, and the keys are "
            "beside it (see docs/install.md, From a backup)",
            highlight=False,
            soft_wrap=True,
        )
        return
    if done.snapshot is None:
        console.print(f"next: hanse up --data-dir {data.root} --detach", highlight=False, soft_wrap=True)
        return
    endpoints = ",".join(done.manifest.etcd_endpoints)
    console.print(
        f"its etcd is at {endpoints}, which is yours to restore, should it be lost too: {done.snapshot} is "
        "for `etcdutl snapshot restore`, once for each member (see docs/operations.md); then hanse up",
        highlight=False,
        soft_wrap=True,
    )


def etcd_source(
    *,
    etcd_endpoints: str,
    etcd_ca: str,
    etcd_cert: str,
    etcd_key: str,
    etcd_server_name: str,
    etcd_prefix: str,
) -> EtcdSource | None:
    """Return the etcd that was named; None if none was. Raises ConfigError."""
    given = (etcd_ca, etcd_cert, etcd_key)
    endpoints = tuple(part.strip() for part in etcd_endpoints.split(",") if part.strip())
    if not endpoints:
        if any(given) or etcd_server_name:
            raise ConfigError("give --etcd-endpoints too")
        return None
    if any(given) and not all(given):
        raise ConfigError("give all of --etcd-ca, --etcd-cert and --etcd-key, or none of them")
    if not etcd_prefix.startswith("/"):
        raise ConfigError(f"the prefix {etcd_prefix!r} does not start with '/'")
    tls = TlsFiles(*map(Path, given)) if all(given) else None
    return EtcdSource(ETCD, endpoints, tls, etcd_server_name)


def read_secret(passphrase_file: Path | None, key_file: Path | None, *, new: bool) -> Secret:
    """Return what the user gave to seal or open with. Raises ConfigError."""
    if passphrase_file and key_file:
        raise ConfigError("give --passphrase-file or --key-file, not both")
    if key_file:
        keys = read_keys(key_file)
        if not keys:
            raise ConfigError(f"there is no key in {key_file}: put one there, as ID:BASE64 of 32 bytes")
        return Secret(keys=keys)
    if passphrase_file:
        try:
            passphrase = passphrase_file.read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the passphrase in {passphrase_file}: {error}") from error
    else:
        passphrase = os.environ.get(VARIABLE, "") or _asked(new=new)
    if new and len(passphrase) < SHORTEST:
        raise ConfigError(f"the passphrase is too short: {SHORTEST} characters at least")
    return Secret(passphrase=passphrase.encode())


def _asked(*, new: bool) -> str:
    if not sys.stdin.isatty():
        raise ConfigError(f"there is no passphrase: give --passphrase-file, --key-file, or {VARIABLE}")
    return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=new, err=True))


def _describe(console: Console, manifest: BackupManifest) -> None:
    lines = [
        f"federation   {manifest.federation_name} {manifest.federation_id}",
        f"taken        {manifest.created} by Hanse {manifest.hanse}",
        *(f"{e.name:<12} {e.version}, revision {e.revision}, {e.file.size} bytes" for e in manifest.etcds),
        f"files        {len(manifest.files)}",
    ]
    if manifest.plugin_keys:
        needed = ", ".join(manifest.plugin_keys)
        lines.append(f"needs        the KMS plugin, which is not in it, with its keys {needed}")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _end(console: Console, error: HanseError) -> NoReturn:
    print_failure(console, error)
    sys.exit(WRONG_INPUT if isinstance(error, ConfigError) else FAILED)
