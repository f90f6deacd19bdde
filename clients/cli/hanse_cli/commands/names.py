"""`hanse names` and `hanse dns`: the names of the federation and what they answer.

Concurrency: one call at a time.

Next: `hanse_cli.commands.explain`, which shows the names of one Service.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import click
from hanse_client import HanseClient
from hanse_client.names import object_name, quoted

from hanse.api.dns.v1.dns_service_pb2 import ListRecordSetsRequest, ListZonesRequest
from hanse.api.dns.v1.record_set_pb2 import AnswerScope, Endpoint, RecordSet, Zone
from hanse.api.federation.v1.federation_service_pb2 import GetObjectRequest
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.messages import word_of
from hanse_cli.commands.objects import get
from hanse_cli.commands.values import complete_namespaces
from hanse_cli.generated import SERVICES, ServiceGroup
from hanse_cli.output import Printer, since, to_document
from hanse_cli.session import OUTPUTS, output_option, with_client

HEADER = ["NAME", "TTL", "FROM", "ADDRESSES", "LEFT OUT", "WHY"]
WIDE_HEADER = [*HEADER, "SERVICE", "CHANGED", "AGE"]


async def list_zones(client: HanseClient) -> list[Zone]:
    """Return all zones of the federation."""
    found: list[Zone] = []
    request = ListZonesRequest(page_size=500)
    while True:
        page = await client.dns.ListZones(request)
        found.extend(page.zones)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def list_record_sets(client: HanseClient, *, zone: str, service: str = "") -> list[RecordSet]:
    """Return the record sets of a zone, or of one Service ("namespace/name") in it."""
    found: list[RecordSet] = []
    namespace, _, name = service.partition("/")
    chosen = ""
    if service:
        chosen = f"service.namespace = {quoted(namespace)} AND service.name = {quoted(name)}"
    request = ListRecordSetsRequest(parent=zone, page_size=500, filter=chosen)
    while True:
        page = await client.dns.ListRecordSets(request)
        found.extend(page.record_sets)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def record_row(record: RecordSet) -> list[str]:
    """Return a record set as a row below HEADER."""
    return [
        record.fqdn.removesuffix("."),
        str(record.ttl),
        scope_word(record.scope),
        addresses(record),
        left_out(record),
        record.reason,
    ]


def wide_record_row(record: RecordSet) -> list[str]:
    """Return a record set as a row below WIDE_HEADER."""
    return [
        *record_row(record),
        f"{record.service.namespace}/{record.service.name}",
        since(record.update_time) if record.HasField("update_time") else "",
        since(record.create_time) if record.HasField("create_time") else "",
    ]


def scope_word(scope: AnswerScope.ValueType) -> str:
    """`zone`, `region` or `global`."""
    return word_of(AnswerScope.DESCRIPTOR, scope).lower() if scope else ""


def addresses(record: RecordSet) -> str:
    """Return the addresses, each with its cluster, and whether it is the last good one of a host name."""

    def of(each: Endpoint) -> str:
        said = [each.cluster] if each.cluster else []
        said += [f"last known: {each.host_name}: {each.stale}"] if each.stale else []
        return f"{each.address} ({'; '.join(said)})" if said else each.address

    return ", ".join(map(of, record.endpoints))


def left_out(record: RecordSet) -> str:
    """Return the clusters that have the Service and are not answered, each with the reason."""
    return "; ".join(f"{each.cluster}: {each.reason}" for each in record.left_out)


async def _names(client: HanseClient, *, service: str, namespace: str, output: str) -> None:
    wanted = service if not service or "/" in service else f"{namespace}/{service}"
    records: list[RecordSet] = []
    zones = await list_zones(client)
    for zone in zones:
        records += await list_record_sets(client, zone=zone.name, service=wanted)
    without = await _why_none(client, wanted) if wanted and not records else ""
    printer = Printer(output)
    if printer.structured:
        printer.document([to_document(record) for record in records])
        return
    if without:
        click.echo(without, err=True)
        return
    if printer.wide:
        printer.table(WIDE_HEADER, [wide_record_row(record) for record in records])
    else:
        printer.table(HEADER, [record_row(record) for record in records])
    for zone in zones:
        if zone.server:
            host, _, port = zone.server.rpartition(":")
            click.echo(f"{zone.origin} is served at {zone.server}: dig @{host} -p {port} NAME", err=True)


async def _why_none(client: HanseClient, service: str) -> str:
    """Return why a Service ("namespace/name") has no names. Raises NotFoundError if there is no such
    Service.
    """
    namespace, _, name = service.partition("/")
    if not namespace or not name or "/" in name:
        raise click.UsageError(f"{service!r} must be NAME or NAMESPACE/NAME of a Service")
    reference = ObjectReference(resource="services", namespace=namespace, name=name)
    stored = await client.federation.GetObject(GetObjectRequest(name=object_name(reference)))
    kind = get(json.loads(stored.manifest), "spec.type", "ClusterIP")
    if kind != "LoadBalancer":
        return f"service/{name} has no names: only a Service of type LoadBalancer has, and it is {kind}"
    return f"service/{name} has no names yet: see `hanse explain service/{name} -n {namespace}`"


@click.command("names")
@click.argument("service", default="")
@click.option(
    "-n",
    "--namespace",
    default="default",
    show_default=True,
    help="Of SERVICE, unless it is NS/NAME.",
    shell_complete=complete_namespaces,
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
        click.Option(["-o", "--output"], type=click.Choice(OUTPUTS), default="table")
    ]
    return ServiceGroup(
        SERVICES["dns"], invoke_without_command=True, callback=callback, params=list(parameters)
    )


COMMANDS: list[click.Command] = [names_command]
