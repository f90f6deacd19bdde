"""Changes that would take away much of what runs: refused until they are confirmed. The scheduler is real."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
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
from hanse.errors import ConflictError, PermissionDeniedError, UnavailableError
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


CLUSTERS = "/apis/hanse.dev/v1alpha1/clusters"


def cluster(name: str, *, taint: str = "", confirm: str = "") -> Object:
    """A Cluster that is drained by a taint, if one is given."""
    taints = [{"key": taint, "effect": "NoExecute"}] if taint else []
    metadata: Object = {"name": name, **({"annotations": {ANNOTATION: confirm}} if confirm else {})}
    spec = {"server": f"https://{name}.example:6443", "credentialRef": {"name": name}, "taints": taints}
    return {"apiVersion": "hanse.dev/v1alpha1", "kind": "Cluster", "metadata": metadata, "spec": spec}


async def test_two_changes_at_once_are_judged_together(scheduled: Scheduled) -> None:
    """Each taint alone moves the Deployment to the other cluster; both together leave it nowhere. No registry
    has taken the first one up when the second is counted."""
    for name in ("eu", "us"):
        await scheduled.world.create(CLUSTERS, cluster(name))
    assert (await scheduled.apply(POLICIES, policy("eu", "us")))[0] == 200
    answers = await asyncio.gather(
        *(scheduled.apply(CLUSTERS, cluster(name, taint="down")) for name in ("eu", "us"))
    )
    assert sorted(status for status, _ in answers) == [200, 403]
    (refused,) = (body for status, body in answers if status == 403)
    assert "apps/deployments/shop/web would run nowhere" in refused["message"]


async def test_what_makes_no_difference_is_not_held_up(scheduled: Scheduled) -> None:
    """A change that follows one that was confirmed is not blamed for what that takes away."""
    await scheduled.world.create(CLUSTERS, cluster("eu"))
    confirmed = cluster("eu", taint="down", confirm="removed=4,moved=0")
    assert (await scheduled.apply(CLUSTERS, confirmed))[0] == 200
    changed = deployment("web", replicas=4)
    changed["metadata"]["labels"] = {"team": "shop"}
    assert (await scheduled.apply(DEPLOYMENTS, changed))[0] == 200


@pytest.mark.parametrize("keeps", ["", "orphan", "force"])
async def test_an_unjoin_counts_unless_what_runs_stays(scheduled: Scheduled, keeps: str) -> None:
    """With --orphan or --force nothing that runs in the cluster is touched."""
    leaving = cluster("eu")
    if keeps == "orphan":
        leaving["spec"]["orphanObjects"] = True
    elif keeps == "force":
        leaving["metadata"]["annotations"] = {"hanse.dev/force-unjoin": "true"}
    await scheduled.world.create(CLUSTERS, leaving)
    answer = await scheduled.world.call("DELETE", f"{CLUSTERS}/eu")
    if keeps:
        assert answer.status == 200
        return
    assert answer.status == 403
    assert "commands of hanse have --confirm-impact removed=4,moved=0" in answer.body["message"]
    assert (await scheduled.apply(CLUSTERS, cluster("eu", confirm="removed=4,moved=0")))[0] == 200
    assert (await scheduled.world.call("DELETE", f"{CLUSTERS}/eu")).status == 200


def asked(user: User, *, old: Object | None = None) -> AdmissionRequest:
    """An update of the policy web, by which its Deployments run nowhere."""
    info = federation_kinds().resources()
    return AdmissionRequest(
        operation="UPDATE",
        info=next(each for each in info if each.kind == "ClusterPlacementPolicy"),
        key=ObjectKey("hanse.dev", "clusterplacementpolicies", "", "web"),
        object=policy("ue"),
        old=old or policy("eu"),
        subresource="",
        user=user,
        dry_run=False,
    )


async def test_whoever_writes_is_asked() -> None:
    """What a service changes somebody has asked it for."""

    async def preview(_: PreviewPolicyRequest) -> PreviewPolicyResponse:
        return PreviewPolicyResponse(
            objects=1, replicas=4, removed_replicas=4, emptied_count=1, emptied=["shop/web"]
        )

    admission = ImpactAdmission(preview, limits=ImpactLimits(), is_placed=lambda _: True)
    for user in (User("somebody"), User(service_name("registry"), groups=("hanse:services",))):
        request = asked(user)
        async with request.until_done:
            with pytest.raises(PermissionDeniedError):
                await admission.admit(request)


@pytest.mark.parametrize("conflicts", [1, 2, 3])
async def test_what_keeps_changing_is_counted_again(conflicts: int) -> None:
    """Three times; then nobody knows what the change takes away, and whoever makes it is told so."""
    left = conflicts

    async def preview(_: PreviewPolicyRequest) -> PreviewPolicyResponse:
        nonlocal left
        left -= 1
        if left >= 0:
            raise ConflictError("shop/web keeps changing while it is counted: ask again")
        return PreviewPolicyResponse()

    admission = ImpactAdmission(preview, limits=ImpactLimits(), is_placed=lambda _: True)
    request = asked(User("somebody"))
    async with request.until_done:
        if conflicts < 3:
            assert await admission.admit(request) is request.object
        else:
            with pytest.raises(UnavailableError, match="keeps changing"):
                await admission.admit(request)


async def test_the_next_is_counted_when_the_one_before_it_is_done() -> None:
    """Stored or not; a write that is made again keeps its turn."""
    counted: list[str] = []

    async def preview(asked: PreviewPolicyRequest) -> PreviewPolicyResponse:
        counted.append(orjson.loads(asked.manifest)["metadata"]["name"])
        return PreviewPolicyResponse()

    admission = ImpactAdmission(preview, limits=ImpactLimits(), is_placed=lambda _: True)
    first, second = asked(User("somebody")), asked(User("another"))
    second.object = {**second.object, "metadata": {"name": "second"}}
    async with asyncio.TaskGroup() as tasks:
        async with first.until_done:
            await admission.admit(first)
            await admission.admit(first)
            waiting = tasks.create_task(admission.admit(second))
            for _ in range(10):
                await asyncio.sleep(0)
            assert counted == ["web", "web"]
            assert not waiting.done()
        await waiting
        assert counted == ["web", "web", "second"]
        await second.until_done.aclose()
