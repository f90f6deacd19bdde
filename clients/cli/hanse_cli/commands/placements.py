"""`hanse placements`: which clusters each object is placed in, and every change of that.

Owns the table of placements. Why one cluster was chosen or refused is for `hanse explain`.

Concurrency: one call at a time; a watch lasts until Ctrl-C.

Next: `hanse_cli.commands.explain`.
"""

from __future__ import annotations

from collections.abc import Sequence

import click
from hanse_client import HanseClient
from hanse_client.names import placement_name

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.scheduler.v1.scheduler_service_pb2 import ListPlacementsRequest, WatchPlacementsRequest
from hanse.api.type.v1.change_pb2 import ChangeKind
from hanse.paths import resource_path
from hanse_cli.commands.values import complete_namespaces, complete_objects
from hanse_cli.output import GrowingTable, Printer, since, to_document
from hanse_cli.resources import Resources, targets
from hanse_cli.session import output_option, watchable, with_client

HEADER = ["OBJECT", "NAMESPACE", "CLUSTERS", "LEAVING", "POLICY", "AGE", "ERROR"]
WIDE_HEADER = [*HEADER, "REASONS", "REFUSED", "GENERATION", "CHANGED"]
DEFAULT_NAMESPACE = "default"


async def list_placements(
    client: HanseClient, *, parent: str = "", chosen_by: str = ""
) -> tuple[list[Placement], int]:
    """Return the placements below `parent` that the filter `chosen_by` matches, and the revision after which
    a watch tells what has changed since.
    """
    found: list[Placement] = []
    revision = 0
    request = ListPlacementsRequest(parent=parent, page_size=500, filter=chosen_by)
    while True:
        page = await client.scheduler.ListPlacements(request)
        found.extend(page.placements)
        revision = revision or page.revision
        if not page.next_page_token:
            return found, revision
        request.page_token = page.next_page_token


def placement_row(placement: Placement) -> list[str]:
    """Return a placement as a row below WIDE_HEADER, of which HEADER is the beginning."""
    reference = placement.object
    group = f".{reference.group}" if reference.group else ""
    return [
        f"{reference.resource}{group}/{reference.name}" if reference.name else placement.name,
        reference.namespace,
        clusters_of(placement),
        ",".join(each.cluster for each in placement.releasing),
        placement.policy,
        since(placement.create_time) if placement.HasField("create_time") else "",
        placement.error,
        ", ".join(f"{each.cluster}: {each.reason}" for each in placement.clusters),
        ", ".join(f"{each.cluster}: {each.reason}" for each in placement.refused),
        str(placement.generation),
        since(placement.update_time) if placement.HasField("update_time") else "",
    ]


def clusters_of(placement: Placement) -> str:
    """Return the clusters that a placement names, each with its replicas: `eu-west:2,us-east:4`."""
    return ",".join(
        f"{each.cluster}:{each.replicas}" if each.HasField("replicas") else each.cluster
        for each in placement.clusters
    )


@click.command("placements")
@click.argument(
    "what", required=False, default="", metavar="[RESOURCE | RESOURCE/NAME]", shell_complete=complete_objects
)
@click.option(
    "-n",
    "--namespace",
    default="",
    help="Only there. [default: all; of RESOURCE/NAME: default]",
    shell_complete=complete_namespaces,
)
@output_option()
@watchable
@with_client
async def placements_command(
    client: HanseClient, *, what: str, namespace: str, output: str, watch: bool
) -> None:
    """Show in which clusters objects are placed, with their replicas."""
    parent, name = await _parent(client, what, namespace)
    found, revision = await list_placements(client, parent=parent)
    found = [placement for placement in found if name in ("", placement.name)]
    printer = Printer(output)
    if watch:
        request = WatchPlacementsRequest(parent=parent, revision=revision)
        await _watch(client, printer, found, request=request, name=name)
    elif printer.structured:
        printer.document([to_document(placement) for placement in found])
    else:
        header = WIDE_HEADER if printer.wide else HEADER
        printer.table(header, [placement_row(placement)[: len(header)] for placement in found])


async def _parent(client: HanseClient, what: str, namespace: str) -> tuple[str, str]:
    """Return the parent of the placements that are meant, and the name of the one, "" for all there.

    Raises click.UsageError and NotFoundError.
    """
    if not what:
        if namespace:
            raise click.UsageError("say of what: a resource such as deploy goes with --namespace")
        return "", ""
    [target] = targets([what], await Resources.load(client))
    namespace = (namespace or DEFAULT_NAMESPACE * bool(target.name)) * target.resource.namespaced
    words = ["placements", resource_path(target.group, target.resource.resource), namespace]
    name = placement_name(target.reference(namespace)) if target.name else ""
    return "/".join(filter(None, words)), name


async def _watch(
    client: HanseClient,
    printer: Printer,
    found: Sequence[Placement],
    *,
    request: WatchPlacementsRequest,
    name: str,
) -> None:
    """Print the placements, then each that changes; one that is gone with no cluster."""
    header = WIDE_HEADER if printer.wide else HEADER
    table = GrowingTable(header)
    if printer.structured:
        for placement in found:
            printer.change(to_document(placement))
    else:
        table.add([placement_row(placement)[: len(header)] for placement in found])
    async for change in client.scheduler.WatchPlacements(request):
        if change.kind == ChangeKind.BOOKMARK or name not in ("", change.placement.name):
            continue
        if printer.structured:
            printer.event(change)
        else:
            table.add([placement_row(change.placement)[: len(header)]])


COMMANDS: list[click.Command] = [placements_command]
