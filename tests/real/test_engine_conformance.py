"""The API engine answers as kube-apiserver does: the same requests to both, and all that differs is known."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from hanse.kube.client.access import ClusterAccess
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.strategies.kubernetes import kubernetes
from hanse.store import MemoryStore
from tests.kube.server.world import World
from tests.real.conformance import scenarios_mistakes, scenarios_owned, scenarios_reads, scenarios_writes
from tests.real.conformance.compare import differences
from tests.real.conformance.known import KNOWN
from tests.real.conformance.sides import Side
from tests.real.realcluster import ClusterSpec, RealClusters
from tests.support.object_client import ObjectClient
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

Scenario = Callable[[Side], Awaitable[None]]

SCENARIOS: dict[str, Scenario] = {
    "kinds": scenarios_writes.every_kind,
    "stored": scenarios_writes.stored_kinds,
    "apply-config-maps": scenarios_writes.apply_config_maps,
    "apply-deployments": scenarios_writes.apply_deployments,
    "apply-services": scenarios_writes.apply_services,
    "strategic": scenarios_writes.strategic_patches,
    "patches": scenarios_writes.other_patches,
    "updates": scenarios_writes.updates,
    "deletes": scenarios_writes.deletes,
    "lists": scenarios_reads.lists,
    "tables": scenarios_reads.tables,
    "watches": scenarios_reads.watches,
    "custom": scenarios_reads.custom_kinds,
    "generated": scenarios_reads.generated,
    "objects": scenarios_mistakes.objects,
    "owned": scenarios_owned.owned,
    "requests": scenarios_mistakes.requests,
    "sizes": scenarios_mistakes.sizes,
}

# Nothing but namespaces is looked after, so that objects stay as requests leave them.
IDLE = (
    "cronjob", "daemonset", "deployment", "disruption", "endpoints", "endpointslice",
    "garbage-collector", "horizontal-pod-autoscaler", "job", "persistentvolume-binder",
    "persistentvolume-protection", "persistentvolumeclaim-protection", "replicaset",
    "replicationcontroller", "resourcequota", "statefulset", "storage-version-migrator",
)  # fmt: skip
CONTROLLERS = "--controllers=" + ",".join(f"-{name}-controller" for name in IDLE)


class Both:
    """A client of each server, and which of the known differences have been seen."""

    def __init__(self, ours: ObjectClient, real: ObjectClient) -> None:
        self.ours = ours
        self.real = real
        self.seen: set[str] = set()
        self.done: set[str] = set()

    async def run(self, name: str) -> list[str]:
        """Run a scenario on both, each in a namespace of its own; return the unknown differences."""
        scenario = SCENARIOS[name]
        sides = [Side("ours", self.ours, f"c-{name}"), Side("real", self.real, f"c-{name}")]
        async with asyncio.TaskGroup() as tasks:
            for side in sides:
                tasks.create_task(_play(scenario, side))
        self.done.add(name)
        unknown = []
        for line in differences(sides[0].answers, sides[1].answers):
            found = {known.pattern for known in KNOWN if re.match(known.pattern, f"{name} {line}")}
            self.seen |= found
            if not found:
                unknown.append(f"{name} {line}")
        return unknown


async def _play(scenario: Scenario, side: Side) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": side.namespace}}
    made = await side.ask("", "POST", "/api/v1/namespaces", body)
    assert made.status == 201, made

    async def settled() -> bool:
        account = "/api/v1/namespaces/{ns}/serviceaccounts/default"
        return side.name == "ours" or (await side.ask("", "GET", account)).status == 200

    await until(settled, what="the namespace has its service account")
    await scenario(side)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def both(assets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Both]:
    """A real API server, and the engine over a store in memory."""
    directory = tmp_path_factory.mktemp("conformance")
    spec = ClusterSpec("real", throttle=False, controller_manager_args=(CONTROLLERS,))
    async with AsyncExitStack() as stack:
        clusters = await stack.enter_async_context(RealClusters(assets_dir, directory / "real", [spec]))
        (directory / "ours").mkdir()
        store = MemoryStore(progress_interval=0.1)
        stack.push_async_callback(store.close)
        world = await stack.enter_async_context(
            World(store, directory / "ours", catalogue=Catalogue(kubernetes()))
        )
        access = ClusterAccess.from_kubeconfig(clusters["real"].kubeconfig_path)
        ours = await stack.enter_async_context(
            ObjectClient(world.access(), user_agent="conformance", retries=0)
        )
        real = await stack.enter_async_context(ObjectClient(access, user_agent="conformance", retries=0))
        yield Both(ours, real)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_answers_are_those_of_kubernetes(both: Both, name: str) -> None:
    """Status codes, bodies, managedFields and events are the same, but for known differences."""
    unknown = await both.run(name)
    assert not unknown, f"{len(unknown)} differences:\n" + "\n".join(unknown)


async def test_the_known_differences_exist(both: Both) -> None:
    """A difference that is gone is taken out of the table."""
    if both.done != set(SCENARIOS):
        pytest.skip("only after all scenarios")
    gone = [known.pattern for known in KNOWN if known.pattern not in both.seen]
    assert not gone, f"no longer seen: {gone}"
