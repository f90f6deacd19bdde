"""The commands `hanse keys`: what is sealed with which key, and how keys are changed.

Concurrency: none. Next: `hanse_local.keys.rings`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from rich.console import Console

from hanse.errors import ConfigError, FailedPreconditionError, HanseError
from hanse.security.keyring import add_key, promote_key, remove_keys
from hanse_local.backup.commands import etcd_options, etcd_source
from hanse_local.command_line import FAILED, WRONG_INPUT, data_dir_option, reported
from hanse_local.display import print_failure
from hanse_local.keys import rings as keys
from hanse_local.keys.rings import CREDENTIALS, SECRETS, Ring
from hanse_local.layout import DataDir
from hanse_local.supervise import background

if TYPE_CHECKING:
    from hanse.store.census import Census

NOT_WELL = 8

_ring_option = click.option(
    "--ring",
    "names",
    type=click.Choice([CREDENTIALS, SECRETS]),
    multiple=True,
    help="Keys of the members' credentials, or of Secrets. [default: both]",
)
_file_argument = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


@click.group("keys")
def keys_group() -> None:
    """Show and change the keys that seal members' credentials and Secrets in etcd."""


@keys_group.command("status")
@data_dir_option
@etcd_options
@click.option("--credentials-key-file", type=click.Path(path_type=Path), metavar="FILE", help="Of them.")
@click.option("--secrets-key-file", type=click.Path(path_type=Path), metavar="FILE", help="Of them.")
@reported
def keys_status(
    *,
    data: DataDir,
    credentials_key_file: Path | None,
    secrets_key_file: Path | None,
    **etcd: str,
) -> None:
    """Count what is sealed in etcd with each key, and what cannot be opened.

    Without a data directory, for services that you run yourself: give --etcd-endpoints, and the key files, as
    far as you have them; without its file the keys of a ring are counted, and nothing is opened.

    Exit status 0 if all can be opened, 8 if not.
    """
    console = Console(stderr=True)
    try:
        source = etcd_source(**etcd)
        if source is not None:
            where, prefix = source, etcd["etcd_prefix"]
            rings: Sequence[Ring] = (Ring(CREDENTIALS, credentials_key_file), Ring(SECRETS, secrets_key_file))
        else:
            _check_runs(data)
            (where, prefix), rings = keys.source_of(data), keys.rings_of(data)
        lost = [_show(ring, asyncio.run(keys.count(where, prefix, ring))) for ring in rings]
    except HanseError as error:
        _end(console, error)
    if any(lost):
        sys.exit(NOT_WELL)


def _show(ring: Ring, found: Census) -> int:
    there = [key.id for key in ring.read()]
    by_id = found.by_id
    for at, key in enumerate(there):
        seals = at == 0 and not ring.kms_socket
        what = "seals" if seals else "opens" if found.count(key) else "may go"
        click.echo(f"{ring.name:<12} {key:<24} {found.count(key):>8} sealed  {what}")
    for key, number in sorted(by_id.items()):
        if key in found.plugin_keys:
            click.echo(f"{ring.name:<12} {key:<24} {number:>8} sealed  of the KMS plugin")
        elif key not in there:
            state = "not in the key file" if ring.key_file is not None else ""
            click.echo(f"{ring.name:<12} {key:<24} {number:>8} sealed  {state}".rstrip())
    if found.unreadable:
        click.echo(f"{ring.name:<12} {found.unreadable} cannot be opened:")
        for reason in found.reasons:
            click.echo(f"  {reason}")
    return found.unreadable


@keys_group.command("rotate")
@data_dir_option
@_ring_option
@click.option("--timeout", type=float, default=600.0, show_default=True, metavar="SECONDS")
@reported
def keys_rotate(*, data: DataDir, names: tuple[str, ...], timeout: float) -> None:
    """Have a new key seal, and everything be sealed again with it, while the federation runs.

    The old keys stay until `hanse keys prune`.
    """
    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    try:
        for ring in _rings(data, names):
            if ring.kms_socket and not names:
                say(f"{ring.name}: sealed by the KMS plugin at {ring.kms_socket}; rotate its key there")
                continue
            old = keys.rotate(data, ring, timeout=timeout, say=say)
            may = f"{', '.join(old)} may go: hanse keys prune" if old else "no key may go"
            say(f"{ring.name}: everything is sealed with the new key; {may}")
    except HanseError as error:
        _end(console, error)


@keys_group.command("prune")
@data_dir_option
@_ring_option
@reported
def keys_prune(*, data: DataDir, names: tuple[str, ...]) -> None:
    """Take away the keys that nothing in etcd is sealed with.

    Backups have the keys that they need. A snapshot of etcd that you took yourself needs those of its time.
    """
    console = Console(stderr=True)
    try:
        for ring in _rings(data, names):
            gone = keys.prune(data, ring)
            words = f"{', '.join(gone)} removed" if gone else "nothing to remove"
            console.print(f"{ring.name}: {words}", highlight=False, soft_wrap=True)
    except HanseError as error:
        _end(console, error)


@keys_group.command("add")
@_file_argument
@reported
def keys_add(*, file: Path) -> None:
    """Put a new key last into the key FILE of services that you run yourself, and print its id.

    Distribute the file, and wait until every service has read it, before `hanse keys first`.
    """
    try:
        click.echo(add_key(file).id)
    except HanseError as error:
        _end(Console(stderr=True), error)


@keys_group.command("first")
@_file_argument
@click.argument("key")
@reported
def keys_first(*, file: Path, key: str) -> None:
    """Put KEY first in the key FILE, so that it seals, once every service can open with it."""
    try:
        promote_key(file, key)
    except HanseError as error:
        _end(Console(stderr=True), error)


@keys_group.command("remove")
@_file_argument
@click.argument("key", nargs=-1, required=True)
@reported
def keys_remove(*, file: Path, key: tuple[str, ...]) -> None:
    """Take KEY out of the key FILE, once `hanse keys status` counts nothing for it."""
    try:
        remove_keys(file, key)
    except HanseError as error:
        _end(Console(stderr=True), error)


def _rings(data: DataDir, names: tuple[str, ...]) -> list[Ring]:
    _check_runs(data)
    return [ring for ring in keys.rings_of(data) if not names or ring.name in names]


def _check_runs(data: DataDir) -> None:
    if background.query(data) is None:
        raise FailedPreconditionError(f"nothing runs in {data.root}: start it with `hanse up`")


def _end(console: Console, error: HanseError) -> NoReturn:
    print_failure(console, error)
    sys.exit(WRONG_INPUT if isinstance(error, ConfigError) else FAILED)
