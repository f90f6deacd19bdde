"""`hanse explain`: why each cluster has what it has, on one page.

Asks the apiserver, the scheduler, the syncer and dns, and shows what `hanse_cli.commands.page` makes of it.
For a workload the names of the Services that select its pods are shown too.

Concurrency: the services are asked at the same time; a watch follows two of them beside.

Next: `hanse_cli.commands.page`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import click
from hanse_client import HanseClient
from hanse_client.names import (
    collection_name,
    object_name,
    placement_name,
    sync_state_parent,
    tombstone_object_name,
)
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hanse.api.dns.v1.record_set_pb2 import RecordSet
from hanse.api.federation.v1.federation_service_pb2 import GetObjectRequest, ListObjectsRequest
from hanse.api.registry.v1.registry_service_pb2 import ListClustersRequest
from hanse.api.scheduler.v1.scheduler_service_pb2 import (
    ExplainPlacementRequest,
    ExplainPlacementResponse,
    ListPlacementsRequest,
    WatchPlacementsRequest,
)
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.api.syncer.v1.syncer_service_pb2 import ListSyncStatesRequest, WatchSyncStatesRequest
from hanse.api.type.v1.change_pb2 import ChangeKind
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.errors import HanseError, NotFoundError, leaves
from hanse.well_known import OWN_GROUPS
from hanse_cli import exits
from hanse_cli.commands.clusters import answers
from hanse_cli.commands.names import list_record_sets, list_zones
from hanse_cli.commands.objects import get
from hanse_cli.commands.page import PLACED, ExplainPage, compile_page, deleted_page
from hanse_cli.commands.values import complete_objects, namespace_option
from hanse_cli.output import Printer
from hanse_cli.plain import plain_all
from hanse_cli.resources import NamedResource, named_objects
from hanse_cli.session import output_option, watchable, with_client

NO_TERMINAL_WIDTH = 1_000_000
"""Width in characters where no terminal reads: no line is wrapped."""
_COLORS = {PLACED: "green", "refused": "dim", "leaving": "yellow", "suspended": "red"}


@click.command("explain")
@click.argument("what", nargs=-1, required=True, metavar="RESOURCE/NAME", shell_complete=complete_objects)
@namespace_option
@click.option("--steps", is_flag=True, help="Show how the scheduler came to its decision, as -o wide does.")
@output_option()
@watchable
@with_client
async def explain_command(
    client: HanseClient, *, what: tuple[str, ...], namespace: str, steps: bool, output: str, watch: bool
) -> None:
    """Say why each cluster has what it has, and what waits for what."""
    targets = await named_objects(client, what)
    printer = Printer(output)

    def tell(page: ExplainPage) -> None:
        if not printer.structured:
            show(_console(), page, steps=steps or printer.wide)
        elif watch:
            printer.change(page.document())
        else:
            printer.document(page.document())

    if not watch:
        for target in targets:
            tell(await explain(client, target, namespace))
    elif len(targets) == 1:
        await _watch(client, targets[0], namespace, tell)
    else:
        raise click.UsageError("--watch tells of one object: name one")


async def _watch(
    client: HanseClient, target: NamedResource, namespace: str, tell: Callable[[ExplainPage], None]
) -> None:
    """Tell the page now, and again whenever something changed that makes another page of it.

    Ends when the services end the streams. Raises HanseError.
    """
    reference = target.reference(namespace)
    placement, below = placement_name(reference), sync_state_parent(reference)
    above = placement.rpartition("/")[0]
    placed = await client.scheduler.ListPlacements(ListPlacementsRequest(parent=above, page_size=1))
    synced = await client.syncer.ListSyncStates(ListSyncStatesRequest(parent=below, page_size=1))
    news = asyncio.Event()
    news.set()

    async def placements() -> None:
        request = WatchPlacementsRequest(parent=above, revision=placed.revision)
        async for change in client.scheduler.WatchPlacements(request):
            if change.kind != ChangeKind.BOOKMARK and change.placement.name == placement:
                news.set()

    async def states() -> None:
        request = WatchSyncStatesRequest(parent=below, revision=synced.revision)
        async for change in client.syncer.WatchSyncStates(request):
            if change.kind != ChangeKind.BOOKMARK:
                news.set()

    told: dict[str, Any] | None = None
    try:
        async with asyncio.TaskGroup() as group:
            streams = [group.create_task(placements()), group.create_task(states())]
            for stream in streams:
                stream.add_done_callback(lambda _: news.set())
            while True:
                await news.wait()
                news.clear()
                over = all(stream.done() for stream in streams)
                page = await explain(client, target, namespace)
                if page.document() != told:
                    told = page.document()
                    tell(page)
                if over:
                    return
    except ExceptionGroup as errors:
        raise next(leaves(errors)) from None


async def explain(client: HanseClient, target: NamedResource, namespace: str) -> ExplainPage:
    """Ask the services about one object and merge what they say. Raises HanseError."""
    reference = target.reference(namespace)
    tombstone = await _object(client, tombstone_object_name(reference))
    try:
        stored = await client.federation.GetObject(GetObjectRequest(name=object_name(reference)))
    except NotFoundError:
        if tombstone is None:
            raise
        where = f" in {reference.namespace}" if reference.namespace else ""
        return deleted_page(f"{target.title}{where}", tombstone)
    manifest: dict[str, Any] = json.loads(stored.manifest)
    if not target.resource.propagates and not _may_have_placement(target):
        raise click.UsageError(
            f"{target.title} configures the federation itself and goes to no cluster: see it with `hanse get`"
        )
    explanation, states, records, offline = await asyncio.gather(
        _explanation(client, target, reference),
        _states(client, sync_state_parent(reference)),
        _records(client, target, manifest, reference.namespace),
        _offline(client),
    )
    where = f" in {reference.namespace}" if reference.namespace else ""
    return compile_page(
        title=f"{target.title}{where}",
        manifest=manifest,
        explanation=explanation,
        states=states,
        records=records,
        offline=offline,
        tombstone=tombstone,
    )


async def _object(client: HanseClient, name: str) -> dict[str, Any] | None:
    """Return an object of the federation; None if there is none, or the federation knows no such kind."""
    try:
        stored = await client.federation.GetObject(GetObjectRequest(name=name))
    except HanseError:
        return None
    found: dict[str, Any] = json.loads(stored.manifest)
    return found


async def _explanation(
    client: HanseClient, target: NamedResource, reference: ObjectReference
) -> ExplainPlacementResponse:
    """Return what the scheduler says of an object that exists."""
    try:
        return await client.scheduler.ExplainPlacement(ExplainPlacementRequest(object=reference))
    except NotFoundError:
        if target.resource.propagates:
            raise
        raise click.UsageError(
            f"{target.title} is of a kind that never goes to clusters: see it with `hanse get`"
        ) from None


async def _offline(client: HanseClient) -> frozenset[str]:
    """Return the clusters that cannot be reached; none known without the registry, whose word is an
    addition.
    """
    try:
        page = await client.registry.ListClusters(ListClustersRequest(page_size=1000))
    except HanseError:
        return frozenset()
    return frozenset(
        cluster.name.removeprefix("clusters/") for cluster in page.clusters if not answers(cluster)
    )


def _may_have_placement(target: NamedResource) -> bool:
    """Return whether it can be placed: a policy can place what does not propagate by default, but never
    the federation's own kinds.
    """
    return target.resource.group not in OWN_GROUPS


async def _states(client: HanseClient, parent: str) -> list[SyncState]:
    found: list[SyncState] = []
    request = ListSyncStatesRequest(parent=parent, page_size=500)
    while True:
        page = await client.syncer.ListSyncStates(request)
        found.extend(page.sync_states)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def _records(
    client: HanseClient, target: NamedResource, manifest: Mapping[str, Any], namespace: str
) -> list[RecordSet]:
    """Return the names of the object: a Service's own, or those of the Services that select its pods.

    Names are an addition to the page: without the dns service the page is shown without them.
    """
    try:
        services = await _services_of(client, target, manifest, namespace)
        if not services:
            return []
        found: list[RecordSet] = []
        for zone in await list_zones(client):
            for service in services:
                found += await list_record_sets(client, zone=zone.name, service=f"{namespace}/{service}")
    except HanseError as error:
        click.echo(f"without names: {exits.sentence(error)}", err=True)
        return []
    return found


async def _services_of(
    client: HanseClient, target: NamedResource, manifest: Mapping[str, Any], namespace: str
) -> list[str]:
    if (target.resource.group, target.resource.resource) == ("", "services"):
        return [target.name]
    labels = get(manifest, "spec.template.metadata.labels")
    if not labels or not namespace:
        return []
    parent = collection_name(group="", resource="services", namespace=namespace)
    listed = await client.federation.ListObjects(ListObjectsRequest(parent=parent, page_size=500))
    services = [json.loads(each.manifest) for each in listed.objects]
    return [str(get(each, "metadata.name")) for each in services if _selects(each, labels)]


def _selects(service: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    selector = get(service, "spec.selector") or {}
    return bool(selector) and selector.items() <= labels.items()


def _console() -> Console:
    """Return standard output; where there is no terminal no line is wrapped, whatever its length."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=NO_TERMINAL_WIDTH)


def show(console: Console, page: ExplainPage, *, steps: bool) -> None:
    """Write the page for a person."""
    page = plain_all(page)
    console.print(f"[bold]{escape(page.object)}[/]  generation {page.generation}, by {escape(page.policy)}")
    console.print()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("CLUSTER", "DECISION", "REPLICAS", "APPLIED", "LIVE", "WHY"):
        table.add_column(column, no_wrap=column in {"CLUSTER", "DECISION"}, overflow="fold")
    for row in page.clusters:
        decision = Text(row.decision, style=_COLORS.get(row.decision, ""))
        table.add_row(row.cluster, decision, row.replicas, row.applied, row.live, Text(row.why))
    if page.clusters:
        console.print(table)
    elif not page.stays:
        console.print("no cluster has been considered: there is none, or not yet")
    if page.stays:
        console.print(escape(page.stays))
    if page.names:
        console.print("\n[bold]Names[/]")
        names = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        for name in page.names:
            why = f"{name.why}; left out: {name.left_out}" if name.left_out else name.why
            names.add_row(name.name, name.scope, name.addresses or "no address", Text(why))
        console.print(names)
    if steps:
        console.print("\n[bold]How it was decided[/]")
        for number, step in enumerate(page.steps, start=1):
            console.print(f"{number:>3}. {escape(step)}")
    console.print()
    if page.pending:
        console.print("[bold yellow]Pending[/]")
        for line in page.pending:
            console.print(f"  • {escape(line)}")
    elif not page.stays:
        console.print("[green]Nothing is pending: every cluster has what it should have.[/]")


COMMANDS: list[click.Command] = [explain_command]
