"""`hanse version`: of this program, and of the federation if one can be reached.

Next: nothing.
"""

from __future__ import annotations

import click
from hanse_client import HanseClient

from hanse import __version__
from hanse.api.federation.v1.federation_service_pb2 import GetFederationRequest
from hanse.errors import HanseError
from hanse_cli import exits
from hanse_cli.session import Session, run


@click.command("version")
@click.option("--client", "only_client", is_flag=True, help="Do not ask the federation.")
def version_command(only_client: bool) -> None:
    """Show the versions of this program and of the federation."""
    click.echo(f"client: {__version__}")
    if only_client:
        return
    session = click.get_current_context().find_object(Session) or Session()
    try:
        federation = run(session, _federation)
    except HanseError as error:
        click.echo(f"federation: {exits.sentence(error)}", err=True)
        return
    click.echo(f"federation: {federation}")


async def _federation(client: HanseClient) -> str:
    found = await client.federation.GetFederation(GetFederationRequest())
    return f"{found.version} ({found.short_name}, id {found.id}, names below {found.dns_suffix})"


COMMANDS: list[click.Command] = [version_command]
