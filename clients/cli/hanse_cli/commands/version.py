"""`hanse version`: of this program, of the federation and of each of its services, if they can be reached.

Owns what is said where they differ. Each service tells its release with every answer; behind an address with
several processes it is that of the one which answers.

Next: `hanse.process.skew`, which has the rule.
"""

from __future__ import annotations

import click
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from hanse_client import HanseClient
from hanse_client.config import SERVICES

from hanse import __version__
from hanse.api.federation.v1.federation_service_pb2 import GetFederationRequest
from hanse.errors import HanseError
from hanse.process import skew
from hanse_cli import exits
from hanse_cli.session import GlobalOptions, run

_HEALTH = "/grpc.health.v1.Health/Check"
_UNTOLD = "an earlier release, which does not tell"


@click.command("version")
@click.option("--client", "only_client", is_flag=True, help="Do not ask the federation.")
def version_command(only_client: bool) -> None:
    """Show the versions of this program, of the federation and of its services.

    A warning says which of them are not supported beside each other.
    """
    click.echo(f"client: {__version__}")
    if only_client:
        return
    session = click.get_current_context().find_object(GlobalOptions) or GlobalOptions()
    try:
        federation, releases = run(session, _federation)
    except HanseError as error:
        click.echo(f"federation: {exits.sentence(error)}", err=True)
        return
    click.echo(f"federation: {federation}")
    for service, release in releases.items():
        click.echo(f"{service}: {release or _UNTOLD}")
    for complaint in skew.complaints({"client": __version__, **releases}):
        click.echo(f"warning: {complaint}", err=True)


async def _federation(client: HanseClient) -> tuple[str, dict[str, str]]:
    found = await client.federation.GetFederation(GetFederationRequest())
    said = f"{found.version} ({found.short_name}, id {found.id}, names below {found.dns_suffix})"
    releases: dict[str, str] = {}
    for service in SERVICES if client.config.host_cluster else client.config.endpoints:
        name = "apiserver" if service == "federation" else service
        try:
            check = client.channel(service).unary_unary(
                _HEALTH, HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
            )
            call = check(HealthCheckRequest())
            await call
            releases[name] = skew.told(await call.trailing_metadata())
        except HanseError as error:
            click.echo(f"{name}: {exits.sentence(error)}", err=True)
    return said, releases


COMMANDS: list[click.Command] = [version_command]
