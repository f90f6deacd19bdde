"""The command `hanse rebuild`: intent from what members have, after etcd was lost without a backup.

Owns the order: read and show first; write only what was confirmed, by `--yes` or by a file that was reviewed.

Concurrency: the members are read at the same time; objects are created one after the other.

Next: `hanse_local.rebuild.rebuilding`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from hanse.documents import yaml_documents
from hanse.errors import AlreadyExistsError, ConfigError, HanseError, InvalidArgumentError, NotFoundError
from hanse.security.pki import write_private
from hanse_local.command_line import FAILED, WRONG_INPUT, data_dir_option, reported
from hanse_local.display import print_failure
from hanse_local.layout import DataDir
from hanse_local.supervise import background

if TYPE_CHECKING:
    from hanse_client import HanseClient

    from hanse_local.rebuild.reading import Reading
    from hanse_local.rebuild.rebuilding import Rebuilt

FIELD_MANAGER = "hanse-rebuild"
PATIENCE = 30.0
"""Seconds in which a kind must be served whose CustomResourceDefinition was just created."""


@click.command()
@click.option(
    "--from-members", "from_members", is_flag=True, help="Read the members, and show what they have."
)
@click.option(
    "--write", metavar="FILE", type=click.Path(path_type=Path), help="Write that as a plan to be reviewed."
)
@click.option(
    "--yes", is_flag=True, help="Create what the members agree about; what they disagree about is left alone."
)
@click.option(
    "--plan", metavar="FILE", type=click.Path(path_type=Path), help="Create what is in this reviewed plan."
)
@data_dir_option
@reported
def rebuild(*, from_members: bool, write: Path | None, yes: bool, plan: Path | None, data: DataDir) -> None:
    """Make the federation's objects again from what its members have: etcd is lost and there is no backup.

    First `hanse up --rebuild ID`, then `hanse join` each member. With --from-members alone nothing is
    written. Each object is kept where it is, with the replicas that it has there; no member changes. Policies
    and all that was only in the federation are lost.
    """
    console = Console(stderr=True)
    try:
        if bool(plan) == from_members or (plan and (yes or write)):
            raise ConfigError("give --from-members, with --write FILE or --yes, or --plan FILE alone")
        if background.query(data) is None:
            raise ConfigError(f"nothing runs in {data.root}: start it with `hanse up --rebuild ID`")
        problems = (
            _create(data, _reviewed(plan), console) if plan else _from_members(data, console, write, yes)
        )
    except HanseError as error:
        print_failure(console, error)
        sys.exit(WRONG_INPUT if isinstance(error, ConfigError) else FAILED)
    if problems:
        sys.exit(FAILED)


def _from_members(data: DataDir, console: Console, write: Path | None, yes: bool) -> int:
    """Read and show; create if that was confirmed. Returns how many objects could not be created."""
    from hanse_local.rebuild.reading import read_members
    from hanse_local.rebuild.rebuilding import put_together, written

    if write is not None and write.exists():
        raise ConfigError(f"{write} exists: name another file, or remove it")
    with console.status("reading the members"):
        reading = asyncio.run(read_members(data))
    plan = put_together(reading.copies)
    _show(plan, reading, console)
    if write is not None:
        text = written(plan, federation_id=reading.federation_id, notes=reading.notes)
        write_private(write, text.encode())
        console.print(f"written to {write}; review it, then: hanse rebuild --plan {write}", highlight=False)
    agreed = [each for each in plan if not each.disagreements]
    if yes:
        left = len(plan) - len(agreed)
        if left:
            console.print(f"{left} objects that members disagree about are left alone", highlight=False)
        return _create(data, [each.manifest for each in agreed], console)
    if plan:
        console.print("nothing was written to the federation", highlight=False)
    return 0


def _show(plan: Sequence[Rebuilt], reading: Reading, console: Console) -> None:
    from hanse_cli.output import Printer

    if plan:
        Printer("table").table(["OBJECT", "CLUSTERS"], [[each.title, each.where] for each in plan])
    for each in plan:
        for difference in each.disagreements:
            click.echo(f"disagreement: {each.title}: {difference}")
    for note in reading.notes:
        click.echo(f"not read: {note}")
    different = sum(bool(each.disagreements) for each in plan)
    console.print(
        f"{len(plan)} objects in {', '.join(reading.clusters)} are not in the federation; members disagree "
        f"about {different}; {reading.known} copies belong to objects that it has",
        highlight=False,
        soft_wrap=True,
    )


def _reviewed(path: Path | None) -> list[dict[str, Any]]:
    """Return the manifests of a plan. Raises ConfigError."""
    if path is None:
        raise ConfigError("name the file of the plan")
    try:
        documents = [each for each in yaml_documents(path.read_bytes(), what=str(path)) if each is not None]
    except (OSError, InvalidArgumentError) as error:
        raise ConfigError(f"cannot read the plan {path}: {error}".replace("\n", " ")) from error
    for number, each in enumerate(documents, 1):
        if not isinstance(each, dict) or not isinstance(each.get("metadata"), dict) or "kind" not in each:
            raise ConfigError(f"document {number} of {path} is no Kubernetes object")
    return documents


def _create(data: DataDir, manifests: Sequence[dict[str, Any]], console: Console) -> int:
    """Create the objects; say what was done. Returns how many could not be created."""
    with console.status("creating"):
        made, there, problems = asyncio.run(_created(data, manifests))
    for problem in problems:
        console.print(f"[red]problem:[/] {problem}", highlight=False, soft_wrap=True)
    console.print(
        f"{made} objects created, {there} were there; what is left in members and in no intent is in "
        "`hanse orphans`",
        highlight=False,
        soft_wrap=True,
    )
    return len(problems)


async def _created(data: DataDir, manifests: Sequence[dict[str, Any]]) -> tuple[int, int, list[str]]:
    from hanse_client import HanseClient

    made = there = 0
    problems: list[str] = []
    async with HanseClient.from_config(data.client_config) as client:
        for manifest in [*_namespaces(manifests), *manifests]:
            wanted = manifest in manifests
            try:
                await _one(client, manifest)
                made += wanted
            except AlreadyExistsError:
                there += wanted
            except HanseError as error:
                metadata = manifest["metadata"]
                where = f"{metadata.get('namespace', '')}/{metadata.get('name')}"
                problems.append(f"{manifest['kind']} {where}: {error.message}")
    return made, there, problems


def _namespaces(manifests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the namespaces that objects are in and that are not themselves in the plan."""
    planned = {each["metadata"].get("name") for each in manifests if each["kind"] == "Namespace"}
    needed = {str(each["metadata"].get("namespace") or "") for each in manifests} - planned - {""}
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in sorted(needed)]


async def _one(client: HanseClient, manifest: dict[str, Any]) -> None:
    import json

    from hanse.api.federation.v1.federation_service_pb2 import CreateObjectRequest

    request = CreateObjectRequest(manifest=json.dumps(manifest).encode(), field_manager=FIELD_MANAGER)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            await client.federation.CreateObject(request)
        except (NotFoundError, InvalidArgumentError):
            # The kind, where its definition was created a moment ago.
            if time.monotonic() > deadline or _is_builtin(str(manifest.get("apiVersion"))):
                raise
            await asyncio.sleep(0.5)
        else:
            return


def _is_builtin(api_version: str) -> bool:
    group = api_version.partition("/")[0] if "/" in api_version else ""
    return "." not in group or group.endswith(".k8s.io")
