"""`hanse apply` and `delete`: the objects of the federation without kubectl.

They go through FederationService and mean what they mean in kubectl: apply is a server-side apply, and an
object that apply or delete cannot do does not keep the others from being done.

Concurrency: one call at a time; `delete` waits until the federation confirms.

Next: `hanse_cli.commands.get`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import click
from hanse_client import HanseClient
from hanse_client.names import object_name

from hanse.api.federation.v1.federation_pb2 import Object, Resource
from hanse.api.federation.v1.federation_service_pb2 import (
    ApplyObjectRequest,
    DeleteObjectRequest,
    DeletePropagation,
    GetObjectRequest,
)
from hanse.errors import ConflictError, DeadlineError, NotFoundError
from hanse.well_known import CLI_FIELD_MANAGER
from hanse_cli import manifests
from hanse_cli.commands.values import complete_objects, files_option, namespace_option
from hanse_cli.failures import Failures
from hanse_cli.resources import NamedResource, Resources, targets
from hanse_cli.session import Seconds, with_client

_CRD_SECONDS = 10.0
_POLL = 0.1
_FIELDS_OF_OTHERS = "Apply failed with"
"""How Kubernetes' message of an apply begins that would change what others manage."""


@click.command("apply")
@files_option
@namespace_option
@click.option("--force", is_flag=True, help="Take over fields that others manage.")
@click.option("--dry-run", is_flag=True, help="Check everything, store nothing.")
@with_client
async def apply_command(
    client: HanseClient, *, files: Sequence[str], namespace: str, force: bool, dry_run: bool
) -> int:
    """Apply manifests to the federation (server-side apply)."""
    if not files:
        raise click.UsageError("say what to apply: -f FILE, -f DIR or -f -")
    read = manifests.read(files)
    kinds = _Kinds(client, await Resources.load(client))
    failures = Failures()
    for number, manifest in enumerate(read, start=1):
        with failures.of(manifests.title(manifest)):
            resource = await kinds.of(manifest)
            target = NamedResource(resource, manifest["metadata"]["name"])
            done = await _apply_one(
                client, target, _in_namespace(manifest, target, namespace), force=force, dry_run=dry_run
            )
            click.echo(f"{target.title} {done}{' (dry run)' if dry_run else ''}")
        if failures.unreachable:
            failures.left_out(len(read) - number)
            break
    return failures.status


class _Kinds:
    """The resources of manifests; waits a little for a kind whose CustomResourceDefinition is new, once."""

    def __init__(self, client: HanseClient, resources: Resources) -> None:
        self._client = client
        self._resources = resources
        self._absent: set[tuple[str, str]] = set()

    async def of(self, manifest: manifests.Manifest) -> Resource:
        """Return the resource of a manifest. Raises NotFoundError."""
        deadline = time.monotonic() + _CRD_SECONDS
        kind = (manifest["apiVersion"], manifest["kind"])
        while True:
            try:
                return self._resources.of_manifest(manifest)
            except NotFoundError:
                is_custom = "." in manifest["apiVersion"].partition("/")[0]
                if not is_custom or kind in self._absent:
                    raise
                if time.monotonic() > deadline:
                    self._absent.add(kind)
                    raise
                await asyncio.sleep(_POLL)
                self._resources = await Resources.load(self._client)


def _in_namespace(manifest: manifests.Manifest, target: NamedResource, namespace: str) -> manifests.Manifest:
    if not target.resource.namespaced or manifest["metadata"].get("namespace"):
        return manifest
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}


async def _apply_one(
    client: HanseClient, target: NamedResource, manifest: manifests.Manifest, *, force: bool, dry_run: bool
) -> str:
    name = object_name(target.reference(manifest["metadata"].get("namespace", "")))
    try:
        before = _intent(await client.federation.GetObject(GetObjectRequest(name=name)))
    except NotFoundError:
        before = None
    request = ApplyObjectRequest(
        manifest=json.dumps(manifest).encode(),
        field_manager=CLI_FIELD_MANAGER,
        force=force,
        validate_only=dry_run,
    )
    try:
        after = _intent(await client.federation.ApplyObject(request))
    except ConflictError as error:
        if force or not error.message.startswith(_FIELDS_OF_OTHERS):
            raise
        raise ConflictError(
            f"{error.message}; --force takes over what others manage",
            reason=error.reason,
            metadata=error.metadata,
        ) from error
    if before is None:
        return "created"
    return "unchanged" if after == before else "configured"


def _intent(stored: Object) -> dict[str, Any]:
    """Return an object without what changes by itself."""
    manifest: dict[str, Any] = json.loads(stored.manifest)
    metadata = {
        key: value
        for key, value in manifest.get("metadata", {}).items()
        if key not in {"resourceVersion", "managedFields"}
    }
    return {key: value for key, value in manifest.items() if key != "status"} | {"metadata": metadata}


@click.command("delete")
@click.argument(
    "what", nargs=-1, metavar="RESOURCE NAME... | RESOURCE/NAME...", shell_complete=complete_objects
)
@files_option
@namespace_option
@click.option(
    "--cascade",
    type=click.Choice(["background", "foreground", "orphan"]),
    default="background",
    show_default=True,
    help="orphan leaves the members' objects where they are.",
)
@click.option("--wait/--no-wait", default=True, help="Wait until every member has confirmed. [default: wait]")
@click.option("--wait-timeout", type=Seconds(min=0), default=60.0, show_default=True, metavar="SECONDS")
@click.option("--ignore-not-found", is_flag=True, help="What is not there is no error.")
@with_client
async def delete_command(
    client: HanseClient,
    *,
    what: Sequence[str],
    files: Sequence[str],
    namespace: str,
    cascade: str,
    wait: bool,
    wait_timeout: float,
    ignore_not_found: bool,
) -> int:
    """Delete objects from the federation and, unless they are orphaned, from its members."""
    resources = await Resources.load(client)
    failures = Failures()
    wanted: list[tuple[NamedResource, str]] = []
    if files:
        for manifest in reversed(manifests.read(files)):
            with failures.of(manifests.title(manifest)):
                target = NamedResource(resources.of_manifest(manifest), manifest["metadata"]["name"])
                wanted.append((target, manifest["metadata"].get("namespace", namespace)))
    else:
        wanted = [(target, namespace) for target in targets(what, resources)]
        if any(not target.name for target, _ in wanted):
            raise click.UsageError("say which: give a name after the resource")
    propagation = DeletePropagation.Value(cascade.upper())
    names: list[tuple[NamedResource, str]] = []
    for number, (target, place) in enumerate(wanted, start=1):
        with failures.of(target.title):
            name = object_name(target.reference(place))
            try:
                await client.federation.DeleteObject(DeleteObjectRequest(name=name, propagation=propagation))
            except NotFoundError:
                if ignore_not_found:
                    continue
                raise
            names.append((target, name))
            click.echo(f"{target.title} {'deletion asked for' if wait else 'deleted'}")
        if failures.unreachable:
            failures.left_out(len(wanted) - number)
            return failures.status
    deadline = time.monotonic() + wait_timeout
    for target, name in names if wait else []:
        with failures.of(target.title):
            await _gone(client, target, name, deadline=deadline)
            click.echo(f"{target.title} deleted")
    return failures.status


async def _gone(client: HanseClient, target: NamedResource, name: str, *, deadline: float) -> None:
    """Wait until the object is gone. Raises DeadlineError that says how to find out what it waits for."""
    while True:
        try:
            await client.federation.GetObject(GetObjectRequest(name=name))
        except NotFoundError:
            return
        if time.monotonic() > deadline:
            raise DeadlineError(
                f"it is still being deleted: `hanse explain {target.title}` says what it waits for"
            )
        await asyncio.sleep(_POLL)


COMMANDS: list[click.Command] = [apply_command, delete_command]
