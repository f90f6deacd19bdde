"""`hanse evict`, `rebalance` and `drain`: have objects placed elsewhere.

Owns these commands. A drain is a taint of the cluster, `drain:NoExecute`: what does not tolerate it moves
away, what is made later stays out, and `--undo` takes the taint off. So it needs no list of objects and
holds through a restart of anything.

Concurrency: one call at a time; a drain waits until nothing that can move is left, within its deadline.

Next: `hanse_cli.commands.placements`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import click
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from hanse_client import HanseClient
from hanse_client.names import cluster_name, placement_name, quoted

from hanse.api.registry.v1.cluster_pb2 import NO_EXECUTE, Cluster, Taint
from hanse.api.registry.v1.registry_service_pb2 import GetClusterRequest, UpdateClusterRequest
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.scheduler.v1.scheduler_service_pb2 import EvictPlacementRequest, RebalancePlacementRequest
from hanse.errors import DeadlineError
from hanse_cli.commands.clusters import confirm_option
from hanse_cli.commands.placements import clusters_of, list_placements
from hanse_cli.commands.values import complete_clusters, complete_objects, namespace_option
from hanse_cli.failures import Failures
from hanse_cli.plain import plain
from hanse_cli.resources import named_objects
from hanse_cli.session import Seconds, with_client

DRAIN = "drain"
"""Key of the taint of a cluster that is drained."""
_POLL = 0.1
_SHOWN = 5
"""Most objects that are named in a message."""
_what = click.argument(
    "what", nargs=-1, required=True, metavar="RESOURCE/NAME...", shell_complete=complete_objects
)


@click.command("evict")
@_what
@namespace_option
@click.option("--cluster", required=True, help="Where it must leave.", shell_complete=complete_clusters)
@with_client
async def evict_command(client: HanseClient, *, what: Sequence[str], namespace: str, cluster: str) -> int:
    """Move objects away from a cluster now; they stay away until `hanse rebalance`."""
    failures = Failures()
    for target in await named_objects(client, what):
        with failures.of(target.title):
            name = placement_name(target.reference(namespace))
            placement = await client.scheduler.EvictPlacement(
                EvictPlacementRequest(name=name, cluster=cluster)
            )
            click.echo(plain(f"{target.title} leaves {cluster}, and is placed in {_places(placement)}"))
    return failures.status


@click.command("rebalance")
@_what
@namespace_option
@with_client
async def rebalance_command(client: HanseClient, *, what: Sequence[str], namespace: str) -> int:
    """Divide replicas over the clusters again, also over those that objects were evicted from."""
    failures = Failures()
    for target in await named_objects(client, what):
        with failures.of(target.title):
            name = placement_name(target.reference(namespace))
            placement = await client.scheduler.RebalancePlacement(RebalancePlacementRequest(name=name))
            click.echo(plain(f"{target.title} is placed in {_places(placement)}"))
    return failures.status


def _places(placement: Placement) -> str:
    return clusters_of(placement) or "no cluster"


@click.command("drain")
@click.argument("cluster", shell_complete=complete_clusters)
@click.option("--undo", is_flag=True, help="Let objects in again; they return as their placement decides.")
@confirm_option
@click.option("--wait/--no-wait", default=True, help="Wait until they have left. [default: wait]")
@click.option("--wait-timeout", type=Seconds(min=0), default=120.0, show_default=True, metavar="SECONDS")
@with_client
async def drain_command(
    client: HanseClient, *, cluster: str, undo: bool, confirm_impact: str, wait: bool, wait_timeout: float
) -> None:
    """Move everything that can move away from CLUSTER, and keep it out until `--undo`.

    The cluster gets the taint drain:NoExecute; what a policy lets tolerate it stays.
    """
    before = await client.registry.GetCluster(GetClusterRequest(name=cluster_name(cluster)))
    after = drained(before, undo=undo, now=time.time())
    if list(after.taints) != list(before.taints):
        request = UpdateClusterRequest(
            cluster=after, update_mask=FieldMask(paths=["taints"]), confirm_impact=confirm_impact
        )
        await client.registry.UpdateCluster(request)
    if undo:
        click.echo(f"cluster {cluster} takes objects again")
        return
    click.echo(f"cluster {cluster} is being drained: end that with `hanse drain {cluster} --undo`")
    if wait:
        await _until_empty(client, cluster, wait_timeout=wait_timeout)
        click.echo(f"cluster {cluster} is drained")


def drained(cluster: Cluster, *, undo: bool, now: float) -> Cluster:
    """Return a cluster with its taint of a drain, or with `undo` without it, to be sent in an update.

    A drain that has begun keeps its time, from which tolerations count. `now` is in seconds since the epoch.
    """
    after = Cluster(name=cluster.name, etag=cluster.etag)
    after.taints.extend(taint for taint in cluster.taints if undo is False or not _is_drain(taint))
    if not undo and not any(_is_drain(taint) for taint in cluster.taints):
        added = Timestamp(seconds=int(now))
        after.taints.append(Taint(key=DRAIN, effect=NO_EXECUTE, time_added=added))
    return after


def _is_drain(taint: Taint) -> bool:
    return taint.key == DRAIN and taint.effect == NO_EXECUTE


async def _until_empty(client: HanseClient, cluster: str, *, wait_timeout: float) -> None:
    """Wait until no placement names the cluster. Raises DeadlineError that names some that do."""
    deadline = time.monotonic() + wait_timeout
    place = quoted(cluster)
    chosen_by = f"clusters.cluster:{place} OR releasing.cluster:{place}"
    while True:
        left, _ = await list_placements(client, chosen_by=chosen_by)
        if not left:
            return
        if time.monotonic() > deadline:
            names = ", ".join(each.name.removeprefix("placements/") for each in left[:_SHOWN])
            more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
            raise DeadlineError(
                f"cluster {cluster} still has {names}{more}: `hanse explain` says why one of them stays"
            )
        await asyncio.sleep(_POLL)


COMMANDS: list[click.Command] = [evict_command, rebalance_command, drain_command]
