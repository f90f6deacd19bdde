"""SchedulerService over real gRPC."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hanse_scheduler.service import POLICY, SchedulerServicer

from hanse.api.scheduler.v1 import scheduler_service_pb2 as pb
from hanse.api.scheduler.v1.scheduler_service_pb2_grpc import (
    SchedulerServiceStub,
    add_SchedulerServiceServicer_to_server,
)
from hanse.api.type.v1.change_pb2 import BOOKMARK, DELETED, UPDATED
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError, UnavailableError
from hanse.rpc.channel import RpcChannel
from hanse.rpc.policy import Policy
from hanse.rpc.server import RpcServer
from hanse.store.keys import ObjectKey
from tests.scheduler.builders import CONFIG, SELECTOR, WEB, config, deployment
from tests.support.federation.federation import Federation, where
from tests.support.federation.parts import SchedulerPart

WEB_NAME = "placements/apps/deployments/shop/web"
WEB_REFERENCE = ObjectReference(group="apps", resource="deployments", namespace="shop", name="web")

IN_B = "clusters.cluster:b OR releasing.cluster:b"


async def serve(federation: Federation, process: SchedulerPart) -> Any:
    """A stub of a server around the process."""
    servicer = SchedulerServicer(
        store=federation.store,
        state=process.state,
        evaluator=process.evaluator,
        scheduler=process.scheduler,
    )
    server = RpcServer(listen="127.0.0.1:0", tls=None, policy=Policy.allow_all(), grace=0.5)
    server.add(add_SchedulerServiceServicer_to_server, servicer)
    await federation.stack.enter_async_context(server)
    channel = await federation.stack.enter_async_context(RpcChannel(server.address, tls=None, timeout=5))
    return SchedulerServiceStub(channel)


@pytest.fixture
async def stub(federation: Federation) -> Any:
    """A scheduler that serves, with Deployment and ConfigMap in two clusters."""
    await federation.clusters("a", "b")
    process = await federation.start_scheduler()
    await federation.apply(WEB, deployment(4))
    await federation.apply(CONFIG, config())
    await federation.placed(WEB, {"a": 2, "b": 2})
    await federation.placed(CONFIG, {"a": None, "b": None})
    return await serve(federation, process)


def test_every_method_has_a_rule() -> None:
    """The policy covers the service; only admins may move things."""
    methods = [f"hanse.api.scheduler.v1.SchedulerService/{m.name}" for m in _methods()]
    POLICY.check(methods)


def _methods() -> Any:
    return pb.DESCRIPTOR.services_by_name["SchedulerService"].methods


async def test_get_and_list(stub: Any) -> None:
    """Placements are read one by one and in pages that are all of one revision."""
    placement = await stub.GetPlacement(pb.GetPlacementRequest(name=WEB_NAME))
    assert where(placement) == {"a": 2, "b": 2}
    assert placement.revision > 0
    first = await stub.ListPlacements(pb.ListPlacementsRequest(page_size=1))
    second = await stub.ListPlacements(
        pb.ListPlacementsRequest(page_size=1, page_token=first.next_page_token)
    )
    assert [item.object.name for item in (*first.placements, *second.placements)] == ["web", "settings"]
    assert second.next_page_token == ""
    assert first.revision == second.revision
    only = await stub.ListPlacements(pb.ListPlacementsRequest(parent="placements/core"))
    assert [item.object.name for item in only.placements] == ["settings"]


async def test_list_by_cluster(federation: Federation, stub: Any) -> None:
    """Only placements that name the cluster are listed, page by page."""
    pages = await stub.ListPlacements(pb.ListPlacementsRequest(filter=IN_B, page_size=1))
    more = await stub.ListPlacements(
        pb.ListPlacementsRequest(filter=IN_B, page_size=1, page_token=pages.next_page_token)
    )
    assert {item.object.name for item in (*pages.placements, *more.placements)} == {"web", "settings"}
    assert not (await stub.ListPlacements(pb.ListPlacementsRequest(filter="clusters.cluster:c"))).placements


async def test_errors_say_what_is_wrong(stub: Any) -> None:
    """Names that are not names are INVALID_ARGUMENT, those of nothing NOT_FOUND."""
    with pytest.raises(InvalidArgumentError, match="placements/GROUP"):
        await stub.GetPlacement(pb.GetPlacementRequest(name="web"))
    with pytest.raises(NotFoundError, match="placements/core/configmaps/shop/none"):
        await stub.GetPlacement(pb.GetPlacementRequest(name="placements/core/configmaps/shop/none"))
    with pytest.raises(InvalidArgumentError, match="parent"):
        await stub.ListPlacements(pb.ListPlacementsRequest(parent="objects"))
    reference = ObjectReference(resource="configmaps", namespace="shop", name="none")
    with pytest.raises(NotFoundError, match="shop/none"):
        await stub.ExplainPlacement(pb.ExplainPlacementRequest(object=reference))


async def test_watch_resumes(federation: Federation, stub: Any) -> None:
    """A watch sends what there is, then changes; a second one resumes where the first ended."""
    kinds: list[int] = []
    stream = stub.WatchPlacements(pb.WatchPlacementsRequest(parent="placements/apps"))
    revision = 0
    async for message in stream:
        kinds.append(message.kind)
        if message.kind == BOOKMARK:
            revision = message.revision
            break
        assert message.placement.name == WEB_NAME
    assert kinds == [UPDATED, BOOKMARK]
    await federation.apply(WEB, deployment(6))
    await federation.placed(WEB, {"a": 3, "b": 3})
    await federation.forget(WEB)
    await federation.placed(WEB, None)
    resumed = stub.WatchPlacements(pb.WatchPlacementsRequest(revision=revision, parent="placements/apps"))
    seen = []
    async for message in resumed:
        seen.append((message.kind, message.placement.name, message.placement.revision == message.revision))
        if message.kind == DELETED:
            break
    assert seen == [(UPDATED, WEB_NAME, True), (DELETED, WEB_NAME, False)]


async def test_explain_gives_reasons_and_sees_the_last_write(federation: Federation, stub: Any) -> None:
    """An explanation right after a write is about that write, with a step for each cluster."""
    await federation.apply(WEB, deployment(4, **{SELECTOR: "{"}))
    answer = await stub.ExplainPlacement(pb.ExplainPlacementRequest(object=WEB_REFERENCE))
    assert SELECTOR in answer.decision.error
    await federation.apply(WEB, deployment(8))
    answer = await stub.ExplainPlacement(pb.ExplainPlacementRequest(object=WEB_REFERENCE))
    assert where(answer.decision) == {"a": 4, "b": 4}
    assert {step.cluster for step in answer.steps if step.step == "filter"} == {"a", "b"}
    assert answer.HasField("current")


async def test_preview_stores_nothing(federation: Federation, stub: Any) -> None:
    """A manifest that does not exist is decided on, and is not there afterwards."""
    manifest = deployment(10)
    manifest["metadata"] = {"name": "new", "namespace": "shop"}
    answer = await stub.PreviewPlacement(pb.PreviewPlacementRequest(manifest=orjson.dumps(manifest)))
    assert where(answer.decision) == {"a": 5, "b": 5}
    assert not answer.HasField("current")
    assert await federation.placement(ObjectKey("apps", "deployments", "shop", "new")) is None
    odd = {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}}
    with pytest.raises(InvalidArgumentError, match="Widget"):
        await stub.PreviewPlacement(pb.PreviewPlacementRequest(manifest=orjson.dumps(odd)))


async def test_preview_of_a_custom_resource(federation: Federation, stub: Any) -> None:
    """A kind that a stored CRD defines can be previewed."""
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets"},
        },
    }
    key = ObjectKey("apiextensions.k8s.io", "customresourcedefinitions", "", "widgets.example.org")
    await federation.apply(key, crd)
    for name, value in (("a.example.org", b"\xffjunk"), ("b.example.org", b"[1]")):  # stored by another tool
        await federation.store.put(f"objects/apiextensions.k8s.io/customresourcedefinitions/_/{name}", value)
    odd = {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}}
    answer = await stub.PreviewPlacement(pb.PreviewPlacementRequest(manifest=orjson.dumps(odd)))
    assert answer.decision.name == "placements/example.org/widgets/default/w"


async def test_evict_and_rebalance(federation: Federation, stub: Any) -> None:
    """An eviction moves replicas when others are ready, and lasts; a rebalance takes it back."""
    begun = await stub.EvictPlacement(pb.EvictPlacementRequest(name=WEB_NAME, cluster="b"))
    assert where(begun) == {"a": 4, "b": 2}
    assert begun.move.message == "0 of 2 new replicas are ready in a; b keeps 2 old ones until as many are"
    assert begun.revision > 0
    await federation.ready(WEB, "a", 4)
    gone = await federation.placed(WEB, {"a": 4})
    assert [item.cluster for item in gone.releasing] == ["b"]
    assert not gone.HasField("move")
    with pytest.raises(FailedPreconditionError, match="'b'"):
        await stub.EvictPlacement(pb.EvictPlacementRequest(name=WEB_NAME, cluster="b"))
    await federation.removed(WEB, "b")
    await federation.clusters("c")
    await federation.apply(WEB, deployment(6))
    placement = await federation.placed(WEB, {"a": 4, "c": 2})
    assert [item.cluster for item in placement.evicted] == ["b"]
    back = await stub.RebalancePlacement(pb.RebalancePlacementRequest(name=WEB_NAME))
    assert where(back) == {"a": 4, "b": 2, "c": 2}
    assert not back.evicted
    await federation.ready(WEB, "b", 2)
    await federation.ready(WEB, "c", 2)
    await federation.placed(WEB, {"a": 2, "b": 2, "c": 2})


async def test_who_does_not_lead_says_so(federation: Federation) -> None:
    """A standby explains, but refuses to change anything."""
    await federation.clusters("a")
    await federation.start_scheduler("leader")
    standby = await federation.start_scheduler("standby", lead=False)
    await federation.apply(WEB, deployment(4))
    await federation.placed(WEB, {"a": 4})
    stub = await serve(federation, standby)
    answer = await stub.ExplainPlacement(pb.ExplainPlacementRequest(object=WEB_REFERENCE))
    assert where(answer.decision) == {"a": 4}
    with pytest.raises(UnavailableError, match="does not lead"):
        await stub.RebalancePlacement(pb.RebalancePlacementRequest(name=WEB_NAME))
