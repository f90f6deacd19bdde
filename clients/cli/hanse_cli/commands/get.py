"""`hanse get`: the objects of the federation, with the status of all members, and every change of them.

Concurrency: one call at a time; a watch lasts until Ctrl-C.

Next: `hanse_cli.commands.objects`, which has the columns.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click
from hanse_client import HanseClient
from hanse_client.names import collection_name, object_name

from hanse.api.federation.v1.federation_service_pb2 import (
    GetObjectRequest,
    ListObjectsRequest,
    WatchObjectsRequest,
)
from hanse.api.type.v1.change_pb2 import ChangeKind
from hanse_cli import manifests
from hanse_cli.commands.objects import AGE, columns_of, object_table
from hanse_cli.commands.values import complete_objects, files_option, namespace_option
from hanse_cli.output import GrowingTable, Printer
from hanse_cli.resources import NamedResource, Resources, targets
from hanse_cli.session import output_option, watchable, with_client

_PAGE = 500


@click.command("get")
@click.argument(
    "what", nargs=-1, metavar="RESOURCE [NAME...] | RESOURCE/NAME...", shell_complete=complete_objects
)
@files_option
@namespace_option
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="In all namespaces.")
@click.option("-l", "--selector", default="", help="Kubernetes label selector.")
@click.option("--field-selector", default="", help="Such as metadata.name=web.")
@output_option("name")
@watchable
@with_client
async def get_command(
    client: HanseClient,
    *,
    what: Sequence[str],
    files: Sequence[str],
    namespace: str,
    everywhere: bool,
    selector: str,
    field_selector: str,
    output: str,
    watch: bool,
) -> None:
    """Show objects of the federation, with the status of all members merged in."""
    resources = await Resources.load(client)
    wanted: list[tuple[NamedResource, str]]
    if files:
        wanted = [
            (
                NamedResource(resources.of_manifest(each), each["metadata"]["name"]),
                each["metadata"].get("namespace", namespace),
            )
            for each in manifests.read(files)
        ]
    else:
        wanted = [(target, "" if everywhere else namespace) for target in targets(what, resources)]
    if watch:
        await _watch(client, wanted, selector=selector, field_selector=field_selector, output=output)
        return
    found: list[tuple[NamedResource, list[dict[str, Any]]]] = []
    for target, place in wanted:
        objects, _ = await _fetch(client, target, place, selector=selector, field_selector=field_selector)
        if found and found[-1][0].resource == target.resource:
            found[-1][1].extend(objects)
        else:
            found.append((target, objects))
    single = len(wanted) == 1 and bool(wanted[0][0].name)
    _show(found, output=output, single=single, with_namespace=everywhere)


async def _fetch(
    client: HanseClient, target: NamedResource, namespace: str, *, selector: str, field_selector: str
) -> tuple[list[dict[str, Any]], int]:
    """Return the objects that are meant, and the revision after which a watch tells what changed since."""
    if target.name:
        if target.resource.namespaced and not namespace:
            raise click.UsageError("a name and --all-namespaces do not go together: give --namespace")
        request = GetObjectRequest(name=object_name(target.reference(namespace)))
        return [json.loads((await client.federation.GetObject(request)).manifest)], 0
    parent = _collection(target, namespace)
    revision = 0
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        page = await client.federation.ListObjects(
            ListObjectsRequest(
                parent=parent,
                page_size=_PAGE,
                page_token=token,
                label_selector=selector,
                field_selector=field_selector,
            )
        )
        found.extend(json.loads(each.manifest) for each in page.objects)
        revision = revision or page.revision
        token = page.next_page_token
        if not token:
            return found, revision


def _show(
    found: list[tuple[NamedResource, list[dict[str, Any]]]],
    *,
    output: str,
    single: bool,
    with_namespace: bool,
) -> None:
    printer = Printer(output)
    everything = [each for _, objects in found for each in objects]
    if output == "name":
        for target, objects in found:
            for each in objects:
                click.echo(NamedResource(target.resource, each["metadata"]["name"]).title)
    elif printer.structured:
        listed = {"apiVersion": "v1", "kind": "List", "items": everything}
        printer.document(everything[0] if single else listed)
    else:
        for number, (target, objects) in enumerate(found):
            if number:
                click.echo()
            header, rows = object_table(
                objects,
                with_namespace=with_namespace and target.resource.namespaced,
                wide=printer.wide,
            )
            printer.table(header, rows)


def _collection(target: NamedResource, namespace: str) -> str:
    return collection_name(
        group=target.group,
        resource=target.resource.resource,
        namespace=namespace if target.resource.namespaced else "",
    )


async def _watch(
    client: HanseClient,
    wanted: Sequence[tuple[NamedResource, str]],
    *,
    selector: str,
    field_selector: str,
    output: str,
) -> None:
    """Print the objects of one resource, then each that changes. Raises click.UsageError."""
    if len({target.resource.resource + target.group for target, _ in wanted}) > 1:
        raise click.UsageError("--watch follows one resource")
    if field_selector:
        raise click.UsageError("--watch and --field-selector do not go together: give names")
    target, namespace = wanted[0]
    names = {each.name for each, _ in wanted if each.name}
    everything = NamedResource(target.resource)
    if target.resource.namespaced and names and not namespace:
        raise click.UsageError("a name and --all-namespaces do not go together: give --namespace")
    found, revision = await _fetch(client, everything, namespace, selector=selector, field_selector="")
    show = _Changes(target, output=output, with_namespace=not namespace and target.resource.namespaced)
    show.add([each for each in found if not names or each["metadata"]["name"] in names])
    request = WatchObjectsRequest(
        parent=_collection(target, namespace), revision=revision, label_selector=selector
    )
    async for change in client.federation.WatchObjects(request):
        if change.kind == ChangeKind.BOOKMARK or (names and change.object.name.split("/")[-1] not in names):
            continue
        if change.kind == ChangeKind.DELETED:
            show.deleted(change.object.name)
        else:
            show.add([json.loads(change.object.manifest)])


class _Changes:
    """Prints objects of one resource as they change."""

    def __init__(self, target: NamedResource, *, output: str, with_namespace: bool) -> None:
        self._target = target
        self._printer = Printer(output)
        kind = (target.resource.group, target.resource.kind)
        self._columns = columns_of(kind, with_namespace=with_namespace, wide=self._printer.wide)
        self._table = GrowingTable([title for title, _ in self._columns])

    def add(self, objects: Sequence[dict[str, Any]]) -> None:
        """Print objects as they are now."""
        if self._printer.structured:
            for each in objects:
                self._printer.change(each)
        elif self._printer.output == "name":
            for each in objects:
                click.echo(self._title(each["metadata"]["name"]))
            sys.stdout.flush()
        else:
            self._table.add([[text(each) for _, text in self._columns] for each in objects])

    def deleted(self, resource_name: str) -> None:
        """Print that an object is gone."""
        *_, namespace, name = resource_name.split("/")
        metadata = {"name": name} | ({"namespace": namespace} if self._target.resource.namespaced else {})
        if self._printer.structured:
            self._printer.change({"kind": self._target.resource.kind, "metadata": metadata, "deleted": True})
        elif self._printer.output == "name":
            click.echo(f"{self._title(name)} deleted")
            sys.stdout.flush()
        else:
            known = {"NAME": name, "NAMESPACE": namespace, AGE: "deleted"}
            self._table.add([[known.get(title, "") for title, _ in self._columns]])

    def _title(self, name: str) -> str:
        return NamedResource(self._target.resource, name).title


COMMANDS: list[click.Command] = [get_command]
