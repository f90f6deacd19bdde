"""`hanse names` and `hanse dns`: the names of the federation and what they answer.

Concurrency: one call at a time.

Next: `hanse_cli.explain`, which shows the names of one Service.
"""

from __future__ import annotations

from collections.abc import Sequence

import click
from hanse_client import HanseClient

from hanse.api.dns.v1.dns_service_pb2 import ListRecordSetsRequest, ListZonesRequest
from hanse.api.dns.v1.record_set_pb2 import AnswerScope, RecordSet, Zone
from hanse_cli.generated import SERVICES, ServiceGroup
from hanse_cli.output import Printer, to_document
from hanse_cli.session import output_option, with_client

HEADER = ["NAME", "TTL", "FROM", "ADDRESSES", "WHY"]


async def list_zones(client: HanseClient) -> list[Zone]:
    """All zones of the federation."""
    found: list[Zone] = []
    request = ListZonesRequest(page_size=500)
    while True:
        page = await client.dns.ListZones(request)
        found.extend(page.zones)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def list_record_sets(client: HanseClient, *, zone: str, service: str = "") -> list[RecordSet]:
    """The record sets of a zone, or of one Service ("namespace/name") in it."""
    found: list[RecordSet] = []
    request = ListRecordSetsRequest(parent=zone, page_size=500, service=service)
    while True:
        page = await client.dns.ListRecordSets(request)
        found.extend(page.record_sets)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def record_row(record: RecordSet) -> list[str]:
    """A record set as a row below HEADER."""
    return [
        record.fqdn.removesuffix("."),
        str(record.ttl),
        scope_word(record.scope),
        addresses(record),
        record.reason,
    ]


def scope_word(scope: AnswerScope.ValueType) -> str:
    """`zone`, `region` or `global`."""
    return AnswerScope.Name(scope).lower() if scope else ""


def addresses(record: RecordSet) -> str:
    """The addresses, each with its cluster."""
    return ", ".join(
        f"{each.address} ({each.cluster})" if each.cluster else each.address for each in record.endpoints
    )


async def _names(client: HanseClient, *, service: str, namespace: str, output: str) -> None:
    wanted = service if not service or "/" in service else f"{namespace}/{service}"
    records: list[RecordSet] = []
    zones = await list_zones(client)
    for zone in zones:
        records += await list_record_sets(client, zone=zone.name, service=wanted)
    printer = Printer(output)
    if output != "table":
        printer.document([to_document(record) for record in records])
        return
    printer.table(HEADER, [record_row(record) for record in records])
    for zone in zones:
        if zone.server:
            host, _, port = zone.server.rpartition(":")
            click.echo(f"{zone.origin} is served at {zone.server}: dig @{host} -p {port} NAME", err=True)


@click.command("names")
@click.argument("service", default="")
@click.option(
    "-n", "--namespace", default="default", show_default=True, help="Of SERVICE, unless it is NS/NAME."
)
@output_option()
@with_client
async def names_command(client: HanseClient, *, service: str, namespace: str, output: str) -> None:
    """Show the names of SERVICE, or of all Services, and the addresses behind them."""
    await _names(client, service=service, namespace=namespace, output=output)


def dns_group() -> click.Group:
    """`hanse dns`: without a command the names; with one, a method of DnsService."""

    @with_client
    async def names(client: HanseClient, *, output: str) -> None:
        await _names(client, service="", namespace="", output=output)

    def callback(*, output: str) -> None:
        if click.get_current_context().invoked_subcommand is None:
            names(output=output)

    parameters: Sequence[click.Parameter] = [
        click.Option(["-o", "--output"], type=click.Choice(["table", "json", "yaml"]), default="table")
    ]
    return ServiceGroup(
        SERVICES["dns"], invoke_without_command=True, callback=callback, params=list(parameters)
    )


COMMANDS: list[click.Command] = [names_command]
