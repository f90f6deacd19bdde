"""Joins the simulated clusters through the registry, as any cluster is joined.

Concurrency: the clusters are joined at the same time; each wait has a deadline.

Next: `hanse_local.supervise.host`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from hanse_client import HanseClient
from hanse_client.names import cluster_name

from hanse.api.registry.v1.cluster_pb2 import Cluster, ClusterState
from hanse.api.registry.v1.registry_service_pb2 import GetClusterRequest, JoinClusterRequest
from hanse.errors import AlreadyExistsError, DeadlineError, HanseError, UnavailableError
from hanse.federation.clusters import is_ready
from hanse.messages import word_of
from hanse_local.layout import DataDir
from hanse_local.topology import SimulatedCluster

_POLL = 0.1


async def join_all(
    data: DataDir,
    clusters: Sequence[SimulatedCluster],
    *,
    timeout: float,
    on_joined: Callable[[SimulatedCluster], None],
) -> None:
    """Join `clusters` and wait until each is READY. `on_joined` is called for each that was joined.

    Raises HanseError that names the cluster if one cannot be joined within `timeout` seconds.
    """
    kubeconfigs = {cluster.name: data.cluster_kubeconfig(cluster.name).read_bytes() for cluster in clusters}
    async with HanseClient.from_config(data.client_config) as client:

        async def one(cluster: SimulatedCluster) -> None:
            deadline = time.monotonic() + timeout
            request = JoinClusterRequest(
                cluster_id=cluster.name, kubeconfig=kubeconfigs[cluster.name], labels=cluster.labels
            )
            await _join(client, request, deadline=deadline)
            on_joined(cluster)
            await _await_ready(client, cluster.name, deadline=deadline)

        results = await asyncio.gather(*map(one, clusters), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result


async def _join(client: HanseClient, request: JoinClusterRequest, *, deadline: float) -> None:
    name = request.cluster_id
    while True:
        try:
            await client.registry.JoinCluster(request)
        except AlreadyExistsError:
            return  # joined in a run that ended before it could remember it
        except (UnavailableError, DeadlineError) as error:
            if time.monotonic() > deadline:
                raise type(error)(f"cannot join {name}: {error}") from error
            await asyncio.sleep(_POLL)
        except HanseError as error:
            raise type(error)(f"cannot join {name}: {error}", reason=error.reason) from error
        else:
            return


async def _await_ready(client: HanseClient, name: str, *, deadline: float) -> None:
    while True:
        cluster = await client.registry.GetCluster(GetClusterRequest(name=cluster_name(name)))
        if is_ready(cluster):
            return
        if time.monotonic() > deadline:
            raise DeadlineError(f"{name} was joined and is not ready: {_condition(cluster)}")
        await asyncio.sleep(_POLL)


def _condition(cluster: Cluster) -> str:
    for condition in cluster.conditions:
        if condition.type == "Ready" and condition.message:
            return condition.message
    return f"its state is {word_of(ClusterState.DESCRIPTOR, cluster.state)}"
