"""`hanse clusters`, `join`, `unjoin` and `update-credentials`, which is `credentials set` too.

Concurrency: one call at a time; waits have a deadline.

Next: `hanse_cli.kubefed`, the same under the old name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from hanse_client import HanseClient
from hanse_client.names import cluster_name

from hanse.api.registry.v1.cluster_pb2 import Cluster, ClusterState
from hanse.api.registry.v1.registry_service_pb2 import (
    GetClusterRequest,
    JoinClusterRequest,
    ListClustersRequest,
    ReplaceCredentialRequest,
    UnjoinClusterRequest,
    WatchClustersRequest,
    WatchClustersResponse,
)
from hanse.api.type.v1.change_pb2 import ChangeKind
from hanse.api.type.v1.condition_pb2 import Condition, ConditionStatus
from hanse.errors import DeadlineError, NotFoundError
from hanse.messages import word_of
from hanse_cli import kubeconfig
from hanse_cli.commands.values import complete_clusters
from hanse_cli.output import GrowingTable, Printer, cell, since, to_document
from hanse_cli.plain import plain
from hanse_cli.session import Seconds, output_option, watchable, with_client

_LOOK_SECONDS = 60.0
"""Deadline of a call that looks at a whole cluster, asks about rights and waits for a probe."""
_POLL = 0.1
FILE = click.Path(path_type=Path, dir_okay=False)
service_account_option = click.option(
    "--service-account",
    is_flag=True,
    help="Only make a ServiceAccount there with it, whose token the federation keeps and renews.",
)
short_lived_option = click.option(
    "--short-lived", is_flag=True, help="Take a credential from a plugin or provider though it ends soon."
)
confirm_option = click.option(
    "--confirm-impact",
    default="",
    metavar="NUMBERS",
    help="What may be taken away from what runs, as the refusal says, such as removed=6,moved=0.",
)
HEADER = ["NAME", "STATE", "TAINTS", "REGION", "ZONES", "VERSION", "NODES", "CPU", "MEMORY", "AGE", "WHY"]
WIDE_HEADER = [*HEADER, "ADDRESS", "LABELS", "UID"]


async def list_clusters(client: HanseClient, *, selector: str = "") -> list[Cluster]:
    """Return all clusters of the federation."""
    found, _ = await _clusters_at(client, selector=selector)
    return found


async def _clusters_at(client: HanseClient, *, selector: str) -> tuple[list[Cluster], int]:
    """Return all clusters, and the revision after which a watch tells what has changed since."""
    found: list[Cluster] = []
    revision = 0
    request = ListClustersRequest(page_size=500, label_selector=selector)
    while True:
        page = await client.registry.ListClusters(request)
        found.extend(page.clusters)
        revision = revision or page.revision
        if not page.next_page_token:
            return found, revision
        request.page_token = page.next_page_token


def cluster_row(cluster: Cluster) -> list[str]:
    """Return a cluster as a row below HEADER."""
    capacity = cluster.capacity
    created = since(cluster.create_time) if cluster.HasField("create_time") else ""
    state = word_of(ClusterState.DESCRIPTOR, cluster.state) + (",cordoned" if cluster.unschedulable else "")
    return [
        cluster.name.removeprefix("clusters/"),
        state,
        cell(cluster, Cluster.DESCRIPTOR.fields_by_name["taints"], limit=None),
        cluster.region,
        ",".join(cluster.zones),
        cluster.kubernetes_version,
        f"{capacity.ready_nodes}/{capacity.total_nodes}",
        capacity.allocatable.get("cpu", ""),
        capacity.allocatable.get("memory", ""),
        created,
        _why(cluster),
    ]


def wide_cluster_row(cluster: Cluster) -> list[str]:
    """Return a cluster as a row below WIDE_HEADER."""
    fields = Cluster.DESCRIPTOR.fields_by_name
    more = [cell(cluster, fields[name], limit=None) for name in ("server", "labels", "uid")]
    return [*cluster_row(cluster), *more]


def _why(cluster: Cluster) -> str:
    """Return why a cluster is not ready, and what nobody wants there; of one that leaves, what that waits
    for.
    """
    ready = _condition(cluster, "Ready")
    if cluster.state == ClusterState.UNJOINING:
        waits = _leaving(cluster.name.removeprefix("clusters/"), orphan=cluster.orphan_objects)
        held = _condition(cluster, "Unjoined").message
        waits += f"; held by {held}" if held else ""
        unwell = ready.message and ready.status != ConditionStatus.TRUE
        return f"{waits}; {ready.message}" if unwell else waits
    said = [ready.message] if cluster.state != ClusterState.READY else []
    found = (_condition(cluster, kind) for kind in ("CredentialExpiring", "RightsMissing", "Orphans"))
    said += [each.message for each in found if each.status == ConditionStatus.TRUE]
    return "; ".join(each for each in said if each)


def answers(cluster: Cluster) -> bool:
    """Return whether the cluster can be reached at present, by what the registry says of it."""
    return _condition(cluster, "Ready").status == ConditionStatus.TRUE


def _condition(cluster: Cluster, kind: str) -> Condition:
    """Return the condition of that type; an empty one if there is none."""
    return next((each for each in cluster.conditions if each.type == kind), Condition())


def _leaving(name: str, *, orphan: bool) -> str:
    """Return what a cluster that leaves waits for, and what shows more."""
    until = "Hanse's marks are taken off its objects" if orphan else "what Hanse put there is removed"
    return f"waits until {until}: see `hanse syncer list-sync-states --filter cluster={name}`"


@click.command("clusters")
@click.option("-l", "--selector", default="", help="Kubernetes label selector.")
@output_option()
@watchable
@with_client
async def clusters_command(client: HanseClient, *, selector: str, output: str, watch: bool) -> None:
    """Show the clusters of the federation."""
    if watch and selector:
        raise click.UsageError("--watch tells of every cluster: omit --selector")
    clusters, revision = await _clusters_at(client, selector=selector)
    printer = Printer(output)
    if watch:
        await _watch(client, printer, clusters, revision)
    elif printer.structured:
        printer.document([to_document(cluster) for cluster in clusters])
    elif printer.wide:
        printer.table(WIDE_HEADER, [wide_cluster_row(cluster) for cluster in clusters])
    else:
        printer.table(HEADER, [cluster_row(cluster) for cluster in clusters])


async def _watch(client: HanseClient, printer: Printer, clusters: Sequence[Cluster], revision: int) -> None:
    """Print the clusters, then each that changes; one that has left by its name, as LEFT."""
    table = GrowingTable(WIDE_HEADER if printer.wide else HEADER)
    row = wide_cluster_row if printer.wide else cluster_row
    if printer.structured:
        for cluster in clusters:
            printer.change(to_document(cluster))
    else:
        table.add([row(cluster) for cluster in clusters])
    async for change in client.registry.WatchClusters(WatchClustersRequest(revision=revision)):
        if change.kind == ChangeKind.BOOKMARK:
            continue
        if printer.structured:
            printer.event(change)
        else:
            cells = row(change.cluster)
            table.add([[cells[0], "LEFT", *([""] * (len(cells) - 2))]] if _left(change) else [cells])


def _left(change: WatchClustersResponse) -> bool:
    return change.kind == ChangeKind.DELETED


def document_of(path: Path, context: str, *, short_lived: bool, used_once: bool = False) -> bytes:
    """Return the kubeconfig that reaches one cluster; say on stderr what there is to say of it.

    When a credential ends that is `used_once` is no matter.
    """
    found = kubeconfig.reduced(path, context, now=datetime.now(UTC), short_lived=short_lived or used_once)
    if found.warning and not used_once:
        click.echo(plain(f"hanse: {found.warning}"), err=True)
    return found.document


@click.command("join")
@click.argument("name")
@click.option(
    "--cluster-kubeconfig", "path", required=True, metavar="FILE", type=FILE, help="How to reach the cluster."
)
@click.option("--cluster-context", "context", default="", help="Context there. [default: its current one]")
@service_account_option
@short_lived_option
@click.option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label of the cluster.")
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@click.option("--wait-timeout", type=Seconds(min=0), default=30.0, show_default=True, metavar="SECONDS")
@with_client
async def join_command(
    client: HanseClient,
    *,
    name: str,
    path: Path,
    context: str,
    service_account: bool,
    short_lived: bool,
    labels: Sequence[str],
    dry_run: bool,
    wait_timeout: float,
) -> None:
    """Join a cluster to the federation under NAME. Nothing runs in it for that.

    The federation keeps the credential of the kubeconfig, or with --service-account a token of its own.
    """
    await join(
        client,
        name=name,
        document=document_of(path, context, short_lived=short_lived, used_once=service_account),
        labels=_labels(labels),
        dry_run=dry_run,
        wait_timeout=wait_timeout,
        service_account=service_account,
    )


def _labels(words: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key:
            raise click.UsageError(f"--label {word!r} must be KEY=VALUE")
        found[key] = value
    return found


async def join(
    client: HanseClient,
    *,
    name: str,
    document: bytes,
    labels: dict[str, str],
    dry_run: bool,
    wait_timeout: float,
    service_account: bool = False,
) -> None:
    """Join a cluster and wait until it is READY; says so. Raises HanseError."""
    request = JoinClusterRequest(
        cluster_id=name,
        kubeconfig=document,
        labels=labels,
        validate_only=dry_run,
        service_account=service_account,
    )
    cluster = await client.registry.JoinCluster(request, timeout=_LOOK_SECONDS)
    if dry_run:
        click.echo(f"cluster {name} can join (dry run)")
        return
    cluster = await _until_ready(client, name, cluster, wait_timeout=wait_timeout, did="joined")
    place = f"region {cluster.region or 'unknown'}, zones {', '.join(cluster.zones) or 'unknown'}"
    click.echo(plain(f"cluster {name} joined: {place}, Kubernetes {cluster.kubernetes_version}"))


async def _until_ready(
    client: HanseClient,
    name: str,
    cluster: Cluster,
    *,
    wait_timeout: float,
    did: str,
    credential_hash: str = "",
) -> Cluster:
    """Wait until a cluster is READY, by that credential if one is given, or leaves. Raises DeadlineError that
    says what it `did`."""
    deadline = time.monotonic() + wait_timeout
    while cluster.state != ClusterState.UNJOINING and (
        cluster.state != ClusterState.READY or credential_hash not in ("", cluster.credential_hash)
    ):
        if time.monotonic() > deadline:
            raise DeadlineError(f"cluster {name} {did}, but is not ready yet: see `hanse clusters`")
        await asyncio.sleep(_POLL)
        cluster = await client.registry.GetCluster(GetClusterRequest(name=cluster_name(name)))
    return cluster


@click.command("update-credentials")
@click.argument("name", shell_complete=complete_clusters)
@click.option(
    "--kubeconfig",
    "--cluster-kubeconfig",
    "path",
    required=True,
    metavar="FILE",
    type=FILE,
    help="How to reach the cluster.",
)
@click.option(
    "--context", "--cluster-context", "context", default="", help="Context there. [default: its current one]"
)
@service_account_option
@short_lived_option
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@click.option("--wait-timeout", type=Seconds(min=0), default=30.0, show_default=True, metavar="SECONDS")
@with_client
async def update_credentials_command(
    client: HanseClient,
    *,
    name: str,
    path: Path,
    context: str,
    service_account: bool,
    short_lived: bool,
    dry_run: bool,
    wait_timeout: float,
) -> None:
    """Reach the cluster NAME by another token, certificate or address from now on.

    It is tried first: nothing is changed unless it reaches the same cluster and may do what is done there.
    """
    document = document_of(path, context, short_lived=short_lived, used_once=service_account)
    request = ReplaceCredentialRequest(
        name=cluster_name(name),
        kubeconfig=document,
        validate_only=dry_run,
        service_account=service_account,
    )
    cluster = await client.registry.ReplaceCredential(request, timeout=_LOOK_SECONDS)
    if dry_run:
        click.echo(f"cluster {name} can be reached that way (dry run)")
        return
    cluster = await _until_ready(
        client,
        name,
        cluster,
        wait_timeout=wait_timeout,
        did="has the new credential",
        credential_hash=cluster.credential_hash,
    )
    click.echo(plain(f"cluster {name} is reached at {cluster.server} by the new credential"))


@click.group("credentials")
def credentials_group() -> None:
    """Change how the clusters of the federation are reached."""


credentials_group.add_command(update_credentials_command, "set")


@click.command("unjoin")
@click.argument("name", shell_complete=complete_clusters)
@click.option("--orphan", is_flag=True, help="Leave the objects there; only Hanse's marks are taken off.")
@click.option("--force", is_flag=True, help="Even if it cannot be reached; what is there stays there.")
@confirm_option
@click.option("--wait/--no-wait", default=True, help="Wait until it has left. [default: wait]")
@click.option("--wait-timeout", type=Seconds(min=0), default=120.0, show_default=True, metavar="SECONDS")
@with_client
async def unjoin_command(
    client: HanseClient,
    *,
    name: str,
    orphan: bool,
    force: bool,
    confirm_impact: str,
    wait: bool,
    wait_timeout: float,
) -> None:
    """Take the cluster NAME out of the federation, and leave it as it was."""
    await unjoin(
        client,
        name=name,
        orphan=orphan,
        force=force,
        confirm_impact=confirm_impact,
        wait_timeout=wait_timeout if wait else None,
    )


async def unjoin(
    client: HanseClient,
    *,
    name: str,
    orphan: bool,
    force: bool,
    confirm_impact: str,
    wait_timeout: float | None,
) -> None:
    """Unjoin a cluster and, unless `wait_timeout` is None, wait until it is gone. Raises HanseError."""
    request = UnjoinClusterRequest(
        name=cluster_name(name), orphan_objects=orphan, force=force, confirm_impact=confirm_impact
    )
    await client.registry.UnjoinCluster(request)
    if wait_timeout is None:
        click.echo(f"cluster {name} is leaving")
        return
    deadline = time.monotonic() + wait_timeout
    told = force  # then it waits for nothing
    while True:
        try:
            cluster = await client.registry.GetCluster(GetClusterRequest(name=cluster_name(name)))
        except NotFoundError:
            click.echo(f"cluster {name} has left")
            return
        if not told:
            click.echo(f"cluster {name} is leaving: it {_leaving(name, orphan=orphan)}")
            told = True
        if time.monotonic() > deadline:
            held = _condition(cluster, "Unjoined").message
            holder = f", held by {held}" if held else ""
            raise DeadlineError(
                f"cluster {name} is still leaving{holder}: see "
                f"`hanse syncer list-sync-states --filter cluster={name}`; "
                "if it cannot be reached, --force leaves what is there"
            )
        await asyncio.sleep(_POLL)


COMMANDS: list[click.Command] = [
    clusters_command,
    join_command,
    unjoin_command,
    update_credentials_command,
    credentials_group,
]
