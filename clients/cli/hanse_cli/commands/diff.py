"""`hanse diff`: how the members' objects differ from what the federation has for them.

Owns the table. It ends with status 1 where something differs, as diff and `kubectl diff` do.

Concurrency: one call at a time.

Next: `hanse_cli.commands.explain`, which says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click
from hanse_client import HanseClient

from hanse.api.syncer.v1.syncer_service_pb2 import ClusterDiff, DiffObjectRequest
from hanse_cli import exits
from hanse_cli.commands.values import cluster_option, complete_objects, namespace_option
from hanse_cli.output import Printer, to_document
from hanse_cli.resources import named_objects
from hanse_cli.session import output_option, with_client

HEADER = ["OBJECT", "CLUSTER", "STATE", "CHANGE", "PATH", "VALUE"]
DIFFERS = 1
"""Exit status where something differs."""


@click.command("diff")
@click.argument("what", nargs=-1, required=True, metavar="RESOURCE/NAME...", shell_complete=complete_objects)
@namespace_option
@cluster_option
@output_option()
@with_client
async def diff_command(
    client: HanseClient, *, what: Sequence[str], namespace: str, cluster: str, output: str
) -> int:
    """Show what Hanse would change in each cluster to make an object there what it should be.

    Ends with status 1 if anything differs, and with 6 if a cluster has no answer.
    """
    found: list[tuple[str, ClusterDiff]] = []
    for target in await named_objects(client, what):
        request = DiffObjectRequest(object=target.reference(namespace), cluster=cluster)
        response = await client.syncer.DiffObject(request)
        found += [(target.title, each) for each in response.diffs]
    printer = Printer(output)
    if printer.structured:
        printer.document([{"object": title, **to_document(each)} for title, each in found])
    else:
        printer.table(HEADER, [row for title, each in found for row in diff_rows(title, each)])
    if any(each.error for _, each in found):
        return exits.UNREACHABLE
    return DIFFERS if any(not each.in_sync for _, each in found) else exits.OK


def diff_rows(title: str, found: ClusterDiff) -> Iterator[list[str]]:
    """Yield the rows of one cluster below HEADER, one for each operation that would repair it."""
    if found.error:
        yield [title, found.cluster, "unknown", "", "", found.error]
    elif found.in_sync:
        yield [title, found.cluster, "in sync", "", "", ""]
    else:
        for operation in _operations(found.patch) or [{}]:
            value = json.dumps(operation["value"], ensure_ascii=False) if "value" in operation else ""
            yield [
                title,
                found.cluster,
                "differs",
                str(operation.get("op", "")),
                str(operation.get("path", "")),
                value,
            ]


def _operations(patch: bytes) -> list[dict[str, Any]]:
    """Return the operations of an RFC 6902 patch; none if it cannot be read."""
    try:
        operations = json.loads(patch or b"[]")
    except ValueError:
        return []
    return [each for each in operations if isinstance(each, dict)] if isinstance(operations, list) else []


COMMANDS: list[click.Command] = [diff_command]
