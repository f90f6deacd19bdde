"""`kubefed`: init, join, unjoin and version under the name and with the flags of Federation v1.

init and deinit are plug-ins, from functions in the entry point group `kubefed.commands`. A join needs no host
cluster and no secret in it: their flags are accepted and ignored. As in v1, the kubeconfig is --kubeconfig,
else $KUBECONFIG, else ~/.kube/config, and the context is the cluster's
name unless --cluster-context says otherwise.

Next: `hanse_cli.commands.clusters`, which does the work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
from hanse_client import HanseClient

from hanse_cli.commands.clusters import confirm_option, document_of, join, short_lived_option, unjoin
from hanse_cli.commands.version import version_command
from hanse_cli.main import end_in_order, run
from hanse_cli.plugins import plugins
from hanse_cli.session import global_options, with_client, with_global_options

GROUP = "kubefed.commands"


class KubefedGroup(click.Group):
    """The root command; finds the commands of plug-ins when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all commands."""
        return sorted({*self.commands, *plugins(GROUP)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name."""
        command = super().get_command(ctx, cmd_name) or plugins(GROUP).get(cmd_name)
        return None if command is None else with_global_options(command)


@click.group(
    cls=KubefedGroup, params=global_options(), context_settings={"help_option_names": ["-h", "--help"]}
)
def kubefed() -> None:
    """Make a federation in a host cluster and join clusters, as with Federation v1; `hanse` does the rest."""


def _v1_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the flags of v1 that mean nothing here."""
    for flag in ("--host-cluster-context", "--federation-system-namespace", "--secret-name", "--context"):
        function = click.option(flag, hidden=True, expose_value=False)(function)
    return function


@kubefed.command("join")
@click.argument("name")
@click.option("--cluster-context", default="", help="Context of the cluster. [default: NAME]")
@click.option(
    "--kubeconfig", "path", default="", metavar="FILE", help="[default: $KUBECONFIG or ~/.kube/config]"
)
@short_lived_option
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@_v1_flags
@with_client
async def join_command(
    client: HanseClient, *, name: str, cluster_context: str, path: str, short_lived: bool, dry_run: bool
) -> None:
    """Join a cluster to the federation."""
    document = document_of(_kubeconfig_path(path), cluster_context or name, short_lived=short_lived)
    await join(client, name=name, document=document, labels={}, dry_run=dry_run, wait_timeout=30.0)


def _kubeconfig_path(given: str) -> Path:
    named = given or os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(named).expanduser() if named else Path.home() / ".kube" / "config"


@kubefed.command("unjoin")
@click.argument("name")
@click.option("--cluster-context", hidden=True, expose_value=False)
@click.option("--kubeconfig", hidden=True, expose_value=False)
@click.option("--force", is_flag=True, help="Even if the cluster cannot be reached.")
@confirm_option
@_v1_flags
@with_client
async def unjoin_command(client: HanseClient, *, name: str, force: bool, confirm_impact: str) -> None:
    """Take a cluster out of the federation."""
    await unjoin(
        client,
        name=name,
        orphan=False,
        force=force,
        confirm_impact=confirm_impact,
        wait_timeout=120.0,
    )


kubefed.add_command(version_command)


def main() -> NoReturn:
    """Run the command `kubefed`."""
    end_in_order()
    sys.exit(run(kubefed, sys.argv[1:], program="kubefed"))
