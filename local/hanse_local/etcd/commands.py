"""The commands `hanse etcd`: which etcd `hanse up` would start, and how a better one is built.

Concurrency: none.

Next: `hanse_local.etcd.build`.
"""

from __future__ import annotations

import os
import sys

import click
from rich.console import Console

from hanse.errors import ConfigError, HanseError
from hanse_local.display import print_failure
from hanse_local.etcd import binary as etcd
from hanse_local.etcd import build as etcd_build


@click.group("etcd")
def etcd_group() -> None:
    """Show or build the etcd that `hanse up` starts."""


@etcd_group.command("install")
def install() -> None:
    """Build etcd from its Go module, with Go.

    It takes a minute or two, and is kept in HANSE_CACHE, XDG_CACHE_HOME/hanse or ~/.cache/hanse. `hanse up`
    prefers it to every other etcd but HANSE_ETCD.
    """
    console = Console(stderr=True)
    try:
        found = etcd_build.install(
            os.environ, say=lambda line: console.print(line, highlight=False, soft_wrap=True)
        )
    except HanseError as error:
        print_failure(console, type(error)(f"etcd {etcd_build.version()} cannot be built: {error.message}"))
        sys.exit(1)
    click.echo(f"{found / 'etcd'}")


@etcd_group.command("which")
@click.option("--path", "only_path", is_flag=True, help="Print the path of the program only.")
def which(*, only_path: bool) -> None:
    """Show which etcd `hanse up` starts on new data."""
    try:
        binary = etcd.find()
    except ConfigError as error:
        print_failure(Console(stderr=True), error)
        sys.exit(2)
    click.echo(str(binary.path) if only_path else binary.words)
    if binary.warning and not only_path:
        Console(stderr=True).print(f"warning: {binary.warning}", highlight=False, soft_wrap=True)
