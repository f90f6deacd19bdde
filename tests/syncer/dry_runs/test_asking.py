"""DryRunObject: members are asked whether they would take an object, and nothing is written anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web
from google.protobuf.duration_pb2 import Duration

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1 import syncer_service_pb2 as pb
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.errors import InvalidArgumentError
from hanse.kube.model.objects import Object
from tests.support.federation.federation import Federation
from tests.support.waiting import until
from tests.syncer.harness import config_map, deployment
from tests.syncer.test_service import served

CONFIG = ObjectReference(resource="configmaps", namespace="default", name="web")
WEB = ObjectReference(group="apps", resource="deployments", namespace="default", name="web")
PATH = "/api/v1/namespaces/default/configmaps/web"


@pytest.fixture
async def stub(fed: Federation) -> AsyncIterator[Any]:
    """The service, without a syncer that would write."""
    async with served(fed) as running:
        yield running


def named(obj: Object, name: str = "web") -> Object:
    """The object as it would be stored."""
    return {**obj, "metadata": {**obj["metadata"], "name": name, "namespace": "default"}}


async def ask(
    stub: Any,
    reference: ObjectReference,
    obj: Object,
    *clusters: str | ClusterPlacement,
    seconds: float = 5,
) -> dict[str, pb.ClusterDryRun]:
    """What the members say, by name."""
    timeout = Duration()
    timeout.FromNanoseconds(round(seconds * 1e9))
    request = pb.DryRunObjectRequest(
        object=reference,
        manifest=orjson.dumps(obj),
        clusters=[
            each if isinstance(each, ClusterPlacement) else ClusterPlacement(cluster=each)
            for each in clusters
        ],
        timeout=timeout,
    )
    response = await stub.DryRunObject(request)
    return {each.cluster: each for each in response.clusters}


def denies(code: int, message: str, *, reason: str = "Forbidden") -> Any:
    """A fault: every write is refused so."""

    async def fault(request: web.Request) -> web.StreamResponse | None:
        if request.method == "GET":
            return None
        body = {
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
            "message": message,
        }  # fmt: skip
        return web.json_response(body, status=code)

    return fault


async def test_one_member_of_a_version_is_asked_and_nothing_is_stored(fed: Federation, stub: Any) -> None:
    """a speaks for b, by a dry run of what the syncer would send."""
    told = await ask(stub, CONFIG, named(config_map()), "b", "a")
    assert {name: each.outcome for name, each in told.items()} == {"a": pb.ACCEPTED}
    (asked,) = [path for method, path in fed.members["a"].requests if method == "PATCH"]
    assert asked.startswith(PATH)
    assert "dryRun=All" in asked
    assert not [path for method, path in fed.members["b"].requests if method == "PATCH"]
    assert fed.members["a"].get("core/configmaps/default/web") is None


async def test_members_of_two_versions_are_asked_at_the_same_time(fed: Federation, stub: Any) -> None:
    """Neither waits for the other: each answers when both have been asked."""
    asked = asyncio.Barrier(2)

    async def together(request: web.Request) -> None:
        if request.method == "PATCH":
            await asked.wait()

    for member in fed.members.values():
        member.fault = together
    await fed.cluster("a", kubernetes_version="v1.36.0")
    await fed.cluster("b", kubernetes_version="v1.37.0")

    async def both() -> bool:
        told = await ask(stub, CONFIG, named(config_map()), "a", "b", seconds=2)
        return {name: each.outcome for name, each in told.items()} == {"a": pb.ACCEPTED, "b": pb.ACCEPTED}

    await until(both, what="both versions are known to the syncer", seconds=20)


async def test_what_a_cluster_gets_is_what_is_tried(fed: Federation, stub: Any) -> None:
    """An override that makes the object invalid is refused in that cluster, in its words, with causes."""
    broken = orjson.dumps(
        [{"op": "replace", "path": "/spec/selector/matchLabels", "value": {"app": "other"}}]
    )
    told = await ask(stub, WEB, named(deployment()), ClusterPlacement(cluster="a", overrides=broken))
    assert (told["a"].outcome, told["a"].code) == (pb.REFUSED, 422)
    assert "spec.template.metadata.labels" in told["a"].message
    assert [cause.field for cause in told["a"].causes] == ["spec.template.metadata.labels"]
    told = await ask(stub, WEB, named(deployment()), ClusterPlacement(cluster="a", replicas=7))
    assert told["a"].outcome == pb.ACCEPTED


async def test_an_update_is_tried_on_the_very_object(fed: Federation) -> None:
    """Of what is there already only what may not change is refused; nothing is changed by asking."""
    async with fed.syncer() as sharing, served(fed, sharing) as stub:
        await fed.put("apps/deployments/default/web", deployment())
        await fed.place("apps/deployments/default/web", "a")
        await fed.reaches("apps/deployments/default/web", "a", sync.APPLIED)
        before = fed.members["a"].get("apps/deployments/default/web")
        assert (await ask(stub, WEB, named(deployment(replicas=5)), "a"))["a"].outcome == pb.ACCEPTED
        other = named(deployment())
        other["spec"]["selector"] = {"matchLabels": {"app": "x"}}
        other["spec"]["template"]["metadata"]["labels"] = {"app": "x"}
        refused = (await ask(stub, WEB, other, "a"))["a"]
        assert (refused.outcome, refused.code) == (pb.REFUSED, 422)
        assert "immutable" in refused.message
        assert fed.members["a"].get("apps/deployments/default/web") == before


async def test_the_next_of_a_version_is_asked_where_one_does_not_tell(fed: Federation, stub: Any) -> None:
    """A member that hangs, is down, or answers nonsense has another one speak for it."""
    fed.members["b"].fault = denies(403, 'admission webhook "x.y" denied the request: no')
    hanging = asyncio.Event()

    async def hangs(request: web.Request) -> None:
        await hanging.wait()

    async def nonsense(request: web.Request) -> web.StreamResponse | None:
        return None if request.method == "GET" else web.Response(text="<html>welcome</html>")

    for fault in (hangs, nonsense, denies(403, 'x is forbidden: User "hanse" cannot patch resource "y"')):
        fed.members["a"].fault = fault
        told = await ask(stub, CONFIG, named(config_map()), "a", "b", seconds=4)
        assert {name: each.outcome for name, each in told.items()} == {"b": pb.REFUSED}
    hanging.set()
    await fed.members["a"].stop()
    told = await ask(stub, CONFIG, named(config_map()), "a", "b")
    assert {name: each.outcome for name, each in told.items()} == {"b": pb.REFUSED}


async def test_who_hangs_costs_one_write_its_time_and_not_the_next(fed: Federation, stub: Any) -> None:
    """It is not asked again for a while about that kind in that namespace; about others it is."""
    asked: list[str] = []

    async def hangs(request: web.Request) -> None:
        if request.method == "PATCH":
            asked.append(request.path)
            await asyncio.Event().wait()

    fed.members["a"].fault = hangs
    for _ in range(3):
        told = await ask(stub, CONFIG, named(config_map()), "a", seconds=1)
        assert {name: each.outcome for name, each in told.items()} == {"a": pb.UNKNOWN}
    assert asked == [PATH]
    fed.members["a"].fault = None
    assert (await ask(stub, WEB, named(deployment()), "a"))["a"].outcome == pb.ACCEPTED
    assert (await ask(stub, CONFIG, named(config_map()), "a", "b"))["b"].outcome == pb.ACCEPTED


async def test_what_nobody_tells_is_unknown(fed: Federation, stub: Any) -> None:
    """A namespace or an object of somebody else's that is there, refused credentials, silence, no member."""
    missing = named(config_map())
    missing["metadata"]["namespace"] = "nowhere"
    reference = ObjectReference(resource="configmaps", namespace="nowhere", name="web")
    assert (await ask(stub, reference, missing, "a"))["a"].outcome == pb.UNKNOWN
    await fed.members["a"].create("core/configmaps/default/web", named(config_map("theirs")))
    assert (await ask(stub, CONFIG, named(config_map()), "a"))["a"].outcome == pb.UNKNOWN
    fed.members["b"].fault = denies(401, "Unauthorized", reason="Unauthorized")
    assert (await ask(stub, CONFIG, named(config_map()), "b"))["b"].outcome == pb.UNKNOWN
    for member in fed.members.values():
        await member.stop()
    assert {each.outcome for each in (await ask(stub, CONFIG, named(config_map()), "a", "b")).values()} == {
        pb.UNKNOWN
    }
    assert await ask(stub, CONFIG, named(config_map()), "elsewhere") == {}
    assert await ask(stub, CONFIG, named(config_map())) == {}


async def test_a_request_without_an_object_is_refused(stub: Any) -> None:
    """The manifest must be one."""
    for manifest in (b"", b"[]", b"{}", b"nonsense"):
        with pytest.raises(InvalidArgumentError, match="manifest"):
            await stub.DryRunObject(pb.DryRunObjectRequest(object=CONFIG, manifest=manifest))
