"""Changes that would take away much of what runs: refused until they are confirmed. The scheduler is real."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hanse_apiserver.impact_admission import ImpactAdmission
from hanse_scheduler.decide.inputs import Rules
from hanse_scheduler.leading import PlacementController
from hanse_scheduler.placing.evaluator import Evaluator
from hanse_scheduler.service import SchedulerServicer
from hanse_scheduler.state.scheduler_state import SchedulerState

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.scheduler.v1.scheduler_service_pb2 import PreviewPolicyRequest, PreviewPolicyResponse
from hanse.api.scheduler.v1.scheduler_service_pb2_grpc import (
    SchedulerServiceStub,
    add_SchedulerServiceServicer_to_server,
)
from hanse.errors import PermissionDeniedError
from hanse.federation.policies.impact import ImpactLimits
from hanse.federation.strategies import federation_kinds
from hanse.kube.engine.hooks import AdmissionRequest
from hanse.kube.model.identity import User
from hanse.kube.model.objects import Object
from hanse.rpc.channel import RpcChannel
from hanse.rpc.policy import Policy
from hanse.rpc.server import RpcServer
from hanse.security.auth import service_name
from hanse.store import MemoryStore, Store
from hanse.store.keys import ObjectKey
from tests.apiserver.world import World, config_map, deployment, namespace
from tests.support.waiting import until

POLICIES = "/apis/hanse.dev/v1alpha1/clusterplacementpolicies"
DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
ANNOTATION = "hanse.dev/confirm-impact"


def policy(*names: str, confirm: str = "") -> Object:
    """A policy that has the Deployments of shop in these clusters."""
    return {
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "ClusterPlacementPolicy",
        "metadata": {"name": "web", **({"annotations": {ANNOTATION: confirm}} if confirm else {})},
        "spec": {
            "resourceSelectors": [{"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop"}],
            "clusterNames": list(names),
        },
    }


class Scheduled:
    """An apiserver and a scheduler over one store, and the connection between them."""

    def __init__(self, world: World, server: RpcServer) -> None:
        self.world = world
        self.server = server

    async def placed(self, name: str, expected: dict[str, int]) -> None:
        """Wait until a Deployment is placed so."""
        key = ObjectKey("apps", "deployments", "shop", name)

        async def is_so() -> bool:
            kv = await self.world.store.get(key.key("placements"))
            placement = Placement.FromString(kv.value) if kv else Placement()
            return {each.cluster: each.replicas for each in placement.clusters} == expected

        await until(is_so, seconds=30)
        kv = await self.world.store.get(key.key("placements"))
        await self.world.apiserver.engine.cache.reached(kv.mod_revision if kv else 0)

    async def apply(self, path: str, obj: Object, **params: str) -> tuple[int, Any]:
        """Replace an object; return the status code and the answer."""
        current = await self.world.get(f"{path}/{obj['metadata']['name']}")
        obj = {
            **obj,
            "metadata": {**obj["metadata"], "resourceVersion": current["metadata"]["resourceVersion"]},
        }
        name = obj["metadata"]["name"]
        answer = await self.world.call("PUT", f"{path}/{name}", obj, params=params)
        return answer.status, answer.body


async def serve(stack: AsyncExitStack, store: Store) -> RpcServer:
    """A scheduler that leads, and its server."""
    state = await stack.enter_async_context(SchedulerState(store, clock=time.time))
    evaluator = Evaluator(store=store, state=state, rules=Rules(), clock=time.time)
    scheduler = PlacementController(
        store=store, state=state, evaluator=evaluator, clock=time.time, identity="one"
    )
    await state.follower.synced()
    await stack.enter_async_context(scheduler)
    server = RpcServer(listen="127.0.0.1:0", tls=None, policy=Policy.allow_all(), grace=0.5)
    servicer = SchedulerServicer(store=store, state=state, evaluator=evaluator, scheduler=scheduler)
    server.add(add_SchedulerServiceServicer_to_server, servicer)
    return await stack.enter_async_context(server)


@pytest.fixture
async def scheduled() -> AsyncIterator[Scheduled]:
    """Two clusters, and a Deployment of four replicas whose policy has it in eu."""
    async with AsyncExitStack() as stack:
        store = MemoryStore()
        server = await serve(stack, store)
        channel = await stack.enter_async_context(RpcChannel(server.address, tls=None, timeout=10))
        world = await stack.enter_async_context(World(store, scheduler=SchedulerServiceStub(channel)))
        await world.create("/api/v1/namespaces", namespace())
        await world.cluster("eu")
        await world.cluster("us")
        found = Scheduled(world, server)
        await world.create(POLICIES, policy("eu"))
        await world.create(DEPLOYMENTS, deployment("web", replicas=4))
        await found.placed("web", {"eu": 4})
        yield found


async def test_one_wrong_letter_is_refused(scheduled: Scheduled) -> None:
    """The message has the numbers, the workload, and the annotation that confirms; nothing is stored."""
    status, body = await scheduled.apply(POLICIES, policy("ue"))
    assert status == 403
    assert body["message"] == (
        'clusterplacementpolicies.hanse.dev "web" is not changed: the change removes 4 of the 4 replicas of '
        "1 object, and apps/deployments/shop/web would run nowhere (spec.clusterNames: there is no cluster "
        "'ue'); if it is meant, give it the annotation "
        "hanse.dev/confirm-impact: removed=4,moved=0 (what follows a space in it is a comment)"
    )
    stored = await scheduled.world.get(f"{POLICIES}/web")
    assert stored["spec"]["clusterNames"] == ["eu"]


async def test_kubectl_shows_it_without_doing_it(scheduled: Scheduled) -> None:
    """`kubectl apply --dry-run=server` refuses what would be refused, and counts what would not."""
    for names, code, said in (
        (["ue"], 1, "removed=4,moved=0"),
        (["us"], 0, "Warning: this change moves 4 of the 4 replicas of 1 object"),
        (["eu", "us"], 0, ""),
    ):
        manifest = orjson.dumps(policy(*names)).decode()
        ran = await scheduled.world.kubectl(
            "apply", "--dry-run=server", "-f", "-", stdin=manifest, check=False
        )
        assert ran.code == code, ran
        assert said in ran.err
    stored = await scheduled.world.get(f"{POLICIES}/web")
    assert stored["spec"]["clusterNames"] == ["eu"]


async def test_a_confirmation_counts_once(scheduled: Scheduled) -> None:
    """Numbers that are too small confirm nothing, and neither do those of an earlier write."""
    small = policy("ue", confirm="removed=3,moved=9")
    assert (await scheduled.apply(POLICIES, small))[0] == 403
    assert (await scheduled.apply(POLICIES, policy("ue", confirm="removed=4,moved=0")))[0] == 200
    await scheduled.placed("web", {})
    assert (await scheduled.apply(POLICIES, policy("eu", confirm="removed=4,moved=0")))[0] == 200
    await scheduled.placed("web", {"eu": 4})
    assert (await scheduled.apply(POLICIES, policy("ue", confirm="removed=4,moved=0")))[0] == 403
    assert (await scheduled.apply(POLICIES, policy("ue", confirm="removed=4,moved=0 again")))[0] == 200


async def test_what_takes_little_is_not_asked_about(scheduled: Scheduled) -> None:
    """A move of one workload, and every change that is not about where things go."""
    assert (await scheduled.apply(POLICIES, policy("us")))[0] == 200
    changed = policy("us")
    changed["metadata"]["labels"] = {"team": "shop"}
    assert (await scheduled.apply(POLICIES, changed))[0] == 200


async def test_a_label_that_takes_an_object_out(scheduled: Scheduled) -> None:
    """Of the object itself: what it says of clusters that none has."""
    selector = orjson.dumps([{"key": "tier", "operator": "In", "values": ["gold"]}]).decode()
    changed = deployment("web", replicas=4)
    changed["metadata"]["annotations"] = {"federation.alpha.kubernetes.io/cluster-selector": selector}
    status, body = await scheduled.apply(DEPLOYMENTS, changed)
    assert status == 403
    assert "the change removes 4 of the 4 replicas of 1 object" in body["message"]
    changed["metadata"]["annotations"][ANNOTATION] = "removed=4,moved=0"
    assert (await scheduled.apply(DEPLOYMENTS, changed))[0] == 200


async def test_a_deletion_is_confirmed_before(scheduled: Scheduled) -> None:
    """A policy that goes lets a second one decide, which has the object nowhere."""
    other = policy("ue")
    other["metadata"]["name"] = "younger"
    await scheduled.world.create(POLICIES, other)
    answer = await scheduled.world.call("DELETE", f"{POLICIES}/web")
    assert answer.status == 403
    assert "first give it the annotation" in answer.body["message"]
    assert (await scheduled.apply(POLICIES, policy("eu", confirm="removed=4,moved=0")))[0] == 200
    assert (await scheduled.world.call("DELETE", f"{POLICIES}/web")).status == 200


async def test_what_nobody_can_count_is_refused(scheduled: Scheduled) -> None:
    """While the scheduler is down, unless somebody says that it does not matter."""
    await scheduled.server.stop()
    status, body = await scheduled.apply(POLICIES, policy("us"))
    assert status == 503
    assert "the scheduler does not answer" in body["message"]
    assert (await scheduled.apply(POLICIES, policy("us", confirm="removed=9,moved=9")))[0] == 503
    assert (await scheduled.apply(POLICIES, policy("us", confirm="unknown")))[0] == 200
    changed = policy("us", confirm="unknown")
    changed["metadata"]["labels"] = {"team": "shop"}
    assert (await scheduled.apply(POLICIES, changed))[0] == 200


async def test_what_does_not_run_is_not_asked_about(scheduled: Scheduled) -> None:
    """A ConfigMap may change its labels while the scheduler is down: it has no replicas."""
    maps = "/api/v1/namespaces/shop/configmaps"
    await scheduled.world.create(maps, config_map("settings"))
    await scheduled.world.place(ObjectKey("", "configmaps", "shop", "settings"), {"eu": None})
    await scheduled.server.stop()
    changed = config_map("settings")
    changed["metadata"]["labels"] = {"team": "shop"}
    assert (await scheduled.apply(maps, changed))[0] == 200


async def test_services_are_not_asked() -> None:
    """What a service writes it was asked for by somebody else; the scheduler is not even called."""

    async def preview(_: PreviewPolicyRequest) -> PreviewPolicyResponse:
        return PreviewPolicyResponse(objects=1, replicas=4, removed_replicas=4, emptied_count=1)

    admission = ImpactAdmission(preview, limits=ImpactLimits(), is_placed=lambda _: True)
    info = federation_kinds().resources()
    kind = next(each for each in info if each.kind == "ClusterPlacementPolicy")
    request = AdmissionRequest(
        operation="UPDATE",
        info=kind,
        key=ObjectKey("hanse.dev", "clusterplacementpolicies", "", "web"),
        object=policy("ue"),
        old=policy("eu"),
        subresource="",
        user=User(service_name("registry"), groups=("hanse:services",)),
        dry_run=False,
    )
    assert await admission.admit(request) is request.object
    with pytest.raises(PermissionDeniedError):
        await admission.admit(replace(request, user=User("somebody")))
