"""`hanse orphans`: what carries the federation's marks in a cluster and nobody wants there.

Owns the list, with the commands that end it, and those commands: `remove` has an orphan deleted in its
cluster, `adopt` makes an object of the federation of it, placed where it is. Both name the uid that was
seen, so that nothing else of that name is meant.

Concurrency: one call at a time.

Next: `hanse_cli.session`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
from hanse_client import HanseClient
from hanse_client.names import object_name

from hanse.api.federation.v1.federation_service_pb2 import CreateObjectRequest, GetObjectRequest
from hanse.api.syncer.v1.orphan_pb2 import NOT_PLACED_THERE, Orphan, OrphanReason
from hanse.api.syncer.v1.syncer_service_pb2 import (
    DeleteOrphanRequest,
    ExportOrphanRequest,
    ListOrphansRequest,
)
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from hanse.messages import word_of
from hanse.paths import path_to
from hanse.well_known import CLI_FIELD_MANAGER, CLUSTER_LABEL, CLUSTER_SELECTOR
from hanse_cli.commands.values import complete_clusters, complete_namespaces
from hanse_cli.output import Printer, since, to_document
from hanse_cli.plain import argument, plain
from hanse_cli.session import output_option, with_client

HEADER = ["CLUSTER", "OBJECT", "NAMESPACE", "SINCE", "WHY"]
WIDE_HEADER = [*HEADER, "REASON", "UID"]
_CONTAINERS = {("", "namespaces"): 0, ("apiextensions.k8s.io", "customresourcedefinitions"): 0}
"""What holds others: adopted first, removed last."""
_LIST = "list"


class _Group(click.Group):
    """A group whose arguments are those of `list`, unless they name another command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `list` before what is no command."""
        asks_for_help = args[:1] in (["--help"], ["-h"])
        if not asks_for_help and (not args or args[0] not in self.commands):
            args = [_LIST, *args]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name; what is none is a cluster, for `list`."""
        return super().get_command(ctx, cmd_name) or self.commands[_LIST]


@click.group("orphans", cls=_Group)
def orphans_command() -> None:
    """Show what carries the federation's marks in a cluster and nobody wants there."""


@orphans_command.command(_LIST)
@click.argument("cluster", required=False, default="", shell_complete=complete_clusters)
@output_option()
@with_client
async def list_command(client: HanseClient, *, cluster: str, output: str) -> None:
    """List the orphans of CLUSTER, or of all, with the commands to remove or adopt each."""
    found, total = await list_orphans(client, cluster)
    printer = Printer(output)
    if printer.structured:
        printer.document([to_document(orphan) for orphan in found])
        return
    if not found:
        click.echo("no orphans")
        return
    header = WIDE_HEADER if printer.wide else HEADER
    printer.table(header, [_row(orphan)[: len(header)] for orphan in found])
    click.echo("\nTo remove them from their clusters:")
    for orphan in sorted(found, key=_depth, reverse=True):
        click.echo(f"  {_command('remove', orphan)}")
    click.echo("\nTo have them in the federation, each where it is:")
    for orphan in sorted(found, key=_depth):
        if orphan.reason == NOT_PLACED_THERE:
            where = f" -n {orphan.object.namespace}" if orphan.object.namespace else ""
            title = plain(f"{_title(orphan)}{where}")
            click.echo(f"  {title}: the federation has it; let its placement select {orphan.cluster}")
        else:
            click.echo(f"  {_command('adopt', orphan)}")
    if total > len(found):
        click.echo(f"\n{total - len(found)} more are listed when these are done")


@orphans_command.command("remove")
@click.argument("cluster", shell_complete=complete_clusters)
@click.argument("what", metavar="RESOURCE[.GROUP]/NAME")
@click.option("-n", "--namespace", default="", help="Its namespace.", shell_complete=complete_namespaces)
@click.option("--uid", default="", help="metadata.uid that it must have. [default: the one that is listed]")
@with_client
async def remove_command(client: HanseClient, *, cluster: str, what: str, namespace: str, uid: str) -> None:
    """Delete an orphan in CLUSTER. Refused if it is wanted after all, or if anything would go with it."""
    name = orphan_name(cluster, what, namespace)
    request = DeleteOrphanRequest(name=name, member_uid=uid or await _uid(client, cluster, name))
    await client.syncer.DeleteOrphan(request)
    click.echo(f"{what} removed from {cluster}")


@orphans_command.command("adopt")
@click.argument("cluster", shell_complete=complete_clusters)
@click.argument("what", metavar="RESOURCE[.GROUP]/NAME")
@click.option("-n", "--namespace", default="", help="Its namespace.", shell_complete=complete_namespaces)
@click.option("--uid", default="", help="metadata.uid that it must have. [default: the one that is listed]")
@click.option("--everywhere", is_flag=True, help="Place it by policies and defaults, not in CLUSTER alone.")
@with_client
async def adopt_command(
    client: HanseClient, *, cluster: str, what: str, namespace: str, uid: str, everywhere: bool
) -> None:
    """Make an object of the federation of an orphan in CLUSTER; its namespace too if there is none."""
    name = orphan_name(cluster, what, namespace)
    request = ExportOrphanRequest(name=name, member_uid=uid or await _uid(client, cluster, name))
    exported = await client.syncer.ExportOrphan(request)
    manifest: dict[str, Any] = json.loads(exported.manifest)
    if not everywhere:
        _select(manifest, cluster)
    if namespace:
        await _ensure_namespace(client, namespace)
    try:
        await _create(client, manifest)
    except AlreadyExistsError as error:
        raise AlreadyExistsError(
            f"the federation has {what} already: let its placement select {cluster}, and the orphan there is "
            "its copy again",
            reason=error.reason,
            metadata=error.metadata,
        ) from error
    click.echo(f"{what} of {cluster} is an object of the federation")


async def list_orphans(client: HanseClient, cluster: str = "") -> tuple[list[Orphan], int]:
    """Return all orphans that are listed, and how many there are."""
    found: list[Orphan] = []
    request = ListOrphansRequest(page_size=500, cluster=cluster)
    while True:
        page = await client.syncer.ListOrphans(request)
        found.extend(page.orphans)
        if not page.next_page_token:
            return found, page.total_size
        request.page_token = page.next_page_token


def orphan_name(cluster: str, what: str, namespace: str) -> str:
    """Return the resource name of `what`, RESOURCE[.GROUP]/NAME as it is listed. Raises
    InvalidArgumentError.
    """
    kind, separator, name = what.partition("/")
    resource, _, group = kind.partition(".")
    if not separator or not resource or not name or "/" in name:
        raise InvalidArgumentError(f"{what!r} must be RESOURCE[.GROUP]/NAME, such as deployments.apps/web")
    return f"orphans/{path_to(group=group, resource=resource, namespace=namespace, name=name)}/{cluster}"


def _row(orphan: Orphan) -> list[str]:
    """Return an orphan as a row below WIDE_HEADER, of which HEADER is the beginning."""
    found = since(orphan.create_time) if orphan.HasField("create_time") else ""
    reason = word_of(OrphanReason.DESCRIPTOR, orphan.reason)
    shown = [orphan.cluster, _title(orphan), orphan.object.namespace, found, orphan.message]
    return [*shown, reason, orphan.member_uid]


def _title(orphan: Orphan) -> str:
    group = f".{orphan.object.group}" if orphan.object.group else ""
    return f"{orphan.object.resource}{group}/{orphan.object.name}"


def _command(verb: str, orphan: Orphan) -> str:
    words = ["hanse", "orphans", verb, orphan.cluster, _title(orphan)]
    if orphan.object.namespace:
        words += ["-n", orphan.object.namespace]
    return " ".join(map(argument, [*words, "--uid", orphan.member_uid]))


def _depth(orphan: Orphan) -> tuple[int, str]:
    return _CONTAINERS.get((orphan.object.group, orphan.object.resource), 1), orphan.name


async def _uid(client: HanseClient, cluster: str, name: str) -> str:
    found, _ = await list_orphans(client, cluster)
    uids: Sequence[str] = [orphan.member_uid for orphan in found if orphan.name == name]
    if not uids:
        raise NotFoundError(f"{name} is not listed: see `hanse orphans {cluster}`, or give its --uid")
    return uids[0]


def _select(manifest: dict[str, Any], cluster: str) -> None:
    """Have the object placed in the cluster alone."""
    requirement = {"key": CLUSTER_LABEL, "operator": "In", "values": [cluster]}
    metadata = manifest["metadata"]
    metadata["annotations"] = {
        **(metadata.get("annotations") or {}),
        CLUSTER_SELECTOR: json.dumps([requirement]),
    }


async def _ensure_namespace(client: HanseClient, namespace: str) -> None:
    """Create the namespace if the federation has none of that name; it goes where what is in it goes."""
    reference = ObjectReference(resource="namespaces", name=namespace)
    try:
        await client.federation.GetObject(GetObjectRequest(name=object_name(reference)))
    except NotFoundError:
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await _create(client, manifest)
        click.echo(f"namespaces/{namespace} created in the federation")


async def _create(client: HanseClient, manifest: dict[str, Any]) -> None:
    request = CreateObjectRequest(manifest=json.dumps(manifest).encode(), field_manager=CLI_FIELD_MANAGER)
    await client.federation.CreateObject(request)


COMMANDS: list[click.Command] = [orphans_command]
