"""What a real kube-apiserver accepts the engine accepts, and what it refuses the engine refuses."""

from __future__ import annotations

import random
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import orjson
import pytest
import pytest_asyncio
from hanse_syncer.decide import kinds
from hanse_syncer.decide.rewritten import rewritings

from hanse.kube.client.access import ClusterAccess
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.strategies.kubernetes import kubernetes
from hanse.kube.model.objects import Object
from hanse.store import MemoryStore
from tests.kube.server.world import World
from tests.real.realcluster import ClusterSpec, RealClusters
from tests.real.verdicts.__main__ import everything
from tests.real.verdicts.known import is_known
from tests.real.verdicts.manifests import label, manifests
from tests.real.verdicts.updates import KINDS_OF_UPDATES, SERVICES, Updated, spec_after
from tests.real.verdicts.verdicts import NAMESPACE, Verdict, ask, compare, path_of, resource_of
from tests.support.machine.raw import raw
from tests.support.object_client import ObjectClient
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEED: Final = 9
SAMPLE: Final = 2_500
"""Broken objects that are compared here; `python -m tests.real.verdicts` compares all of some 27 000."""

ACCOUNT: Final = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"


class Sides:
    """The engine and a kube-apiserver, each with the namespace of the verdicts."""

    def __init__(self, ours: ObjectClient, real: ObjectClient) -> None:
        self.ours = ours
        self.real = real
        self.catalogue = Catalogue(kubernetes())

    async def prepare(self) -> None:
        """Make the namespace on both."""
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        headers = {"Content-Type": "application/json"}
        for client in (self.ours, self.real):
            await raw(client, "POST", "/api/v1/namespaces", body=orjson.dumps(namespace), headers=headers)

        async def settled() -> bool:
            return (await raw(self.real, "GET", ACCOUNT))[0] == 200

        await until(settled, what="the namespace has its service account")

    async def verdicts(self, obj: Object) -> tuple[Verdict, Verdict]:
        """Return what both servers say of a new object."""
        info = resource_of(self.catalogue, obj)
        return await ask(self.ours, info, obj), await ask(self.real, info, obj)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sides(assets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sides]:
    """The engine in memory, and a real control plane without Priority and Fairness."""
    directory = tmp_path_factory.mktemp("verdicts")
    async with AsyncExitStack() as stack:
        store = MemoryStore()
        stack.push_async_callback(store.close)
        world = await stack.enter_async_context(World(store, directory, catalogue=Catalogue(kubernetes())))
        ours = await stack.enter_async_context(ObjectClient(world.access(), user_agent="verdicts", retries=0))
        specs = [ClusterSpec("one", throttle=False)]
        clusters = await stack.enter_async_context(RealClusters(assets_dir, directory / "real", specs))
        access = ClusterAccess.from_kubeconfig(clusters["one"].kubeconfig_path)
        real = await stack.enter_async_context(ObjectClient(access, user_agent="verdicts", retries=0))
        both = Sides(ours, real)
        await both.prepare()
        yield both


@pytest.mark.parametrize("obj", [pytest.param(obj, id=label(obj)) for obj in manifests()])
async def test_what_is_valid_is_accepted_by_both(sides: Sides, obj: Object) -> None:
    """The federation is never stricter than Kubernetes: every feature of every kind that people write."""
    ours, real = await sides.verdicts(obj)
    assert real.accepted, f"the manifest is wrong: {real.message}"
    assert ours.accepted, ours.message


@pytest.mark.parametrize("obj", [pytest.param(obj, id=label(obj)) for obj in manifests()])
async def test_nothing_of_what_is_valid_is_taken_for_rewritten(sides: Sides, obj: Object) -> None:
    """What a real API server makes of a manifest, with its defaults and its way to write values."""
    info = resource_of(sides.catalogue, obj)
    answer = await raw(
        sides.real,
        "POST",
        path_of(info),
        params={"dryRun": "All"},
        body=orjson.dumps(obj),
        headers={"Content-Type": "application/json", "Accept": "application/json"},
    )
    found = rewritings(orjson.loads(answer[2]), kinds.without_members_own(_stored(obj)))
    assert [each for each in map(str, found) if not any(field in each for field in DROPPED)] == []


DROPPED = (".deprecatedTopology ", ".lifecycle.stopSignal ")
"""Fields that a current API server does not keep: an old one, and one that is off without `spec.os`."""


def _stored(obj: Object) -> Object:
    """What the federation stores of a manifest: the text of a Secret as data."""
    texts = {name: b64encode(text.encode()).decode() for name, text in obj.get("stringData", {}).items()}
    kept = {field: value for field, value in obj.items() if field != "stringData"}
    return {**kept, "data": {**obj.get("data", {}), **texts}} if texts else kept


async def test_broken_objects_get_the_same_verdict(sides: Sides) -> None:
    """Objects with one field broken, a sample of all of them, are accepted or refused by both."""
    broken = list(everything(sides.catalogue, kind="", most=1, valid=False))
    sample = random.Random(SEED).sample(broken, SAMPLE)
    assert len(broken) > 10 * SAMPLE
    unknown, refused = [], 0
    async for one in compare(sides.real, sides.catalogue, sample):
        refused += not one.real.accepted
        if not one.agrees and one.real.status != 403 and not is_known(str(one)):
            unknown.append(str(one))
    assert refused > SAMPLE // 2
    assert not unknown, f"{len(unknown)} differences:\n" + "\n".join(unknown)


@pytest.mark.parametrize("how", KINDS_OF_UPDATES)
@pytest.mark.parametrize("after", SERVICES)
@pytest.mark.parametrize("before", SERVICES)
async def test_a_service_that_changes_its_type_has_the_same_spec(
    sides: Sides, before: str, after: str, how: str
) -> None:
    """PUT, merge patch and apply from any type to any other leave what kube-apiserver leaves."""
    name = f"{before}-{after}-{how}".lower()
    ours: Updated = await spec_after(sides.ours, name, before, after, how)
    real: Updated = await spec_after(sides.real, name, before, after, how)
    assert ours == real, f"ours {ours}\nreal {real}"
