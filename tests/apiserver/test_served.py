"""What is served: intent with the members' status, clusters, placements and sync states."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hanse_apiserver.admission import node_port_errors
from hanse_apiserver.settings import ApiserverSettings
from hanse_apiserver.views.derived import placement_key, placement_object

from hanse.api.registry.v1 import cluster_pb2 as registry
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.errors import ConfigError
from hanse.federation.kinds import KINDS
from hanse.federation.stored.authorship import as_written
from hanse.federation.strategies import federation_kinds
from hanse.kube.engine.hooks import AdmissionRequest
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.model.identity import User
from hanse.kube.model.objects import Object
from hanse.store.keys import ObjectKey
from tests.apiserver.world import WEB, World, config_map, deployment, rolled_out
from tests.support.waiting import until

DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
WEB_PATH = f"{DEPLOYMENTS}/web"


async def test_status_is_that_of_the_members(world: World) -> None:
    """A placed Deployment is served with the replicas of all clusters and the detail of each."""
    await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 3, "us": 1})
    await world.report(WEB, "eu", status=rolled_out(3), replicas=3)
    before = await world.get(WEB_PATH)
    assert before["status"]["readyReplicas"] == 3
    assert before["status"].get("observedGeneration", 0) == 0
    await world.report(WEB, "us", status=rolled_out(1), replicas=1)
    after = await world.get(WEB_PATH)
    assert after["status"]["readyReplicas"] == 4
    assert after["status"]["observedGeneration"] == 1
    assert [c["name"] for c in after["status"]["clusters"]] == ["eu", "us"]
    assert int(after["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])


async def test_the_resource_version_is_that_of_the_newest_part(world: World) -> None:
    """A sync state moves it; an update with it, or with the intent's own, is no conflict."""
    created = await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 4})
    revision = await world.report(WEB, "eu", status=rolled_out(4))
    served = await world.get(WEB_PATH)
    assert served["metadata"]["resourceVersion"] == str(revision)

    served["spec"]["replicas"] = 5
    answer = await world.call("PUT", WEB_PATH, served)
    assert answer.status == 200, answer
    assert answer.body["metadata"]["generation"] == 2

    stale = {**created, "spec": {**created["spec"], "replicas": 6}}
    answer = await world.call("PUT", WEB_PATH, stale)
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")


async def test_the_answer_to_an_update_has_all_parts_up_to_its_version(world: World) -> None:
    """A sync state just before an update is in its answer, though the watch had not brought it yet: a client
    that watches from there on would never hear of it."""
    await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 4})
    engine = world.apiserver.engine
    state = sync.SyncState(cluster="eu", phase=sync.APPLIED, status=b'{"readyReplicas":1}')
    await world.store.put(WEB.sync_state("eu"), state.SerializeToString())
    info = engine.catalogue.require("apps", "v1", "deployments")
    labels = {"metadata": {"labels": {"a": "b"}}}
    answer, _ = await engine.resources.patch(
        info, namespace="shop", name="web", patch=labels, patch_type="merge"
    )
    assert answer["status"]["readyReplicas"] == 1
    assert answer == await world.get(WEB_PATH)


async def test_a_status_change_in_between_is_no_conflict(world: World) -> None:
    """Who read before a sync state changed may still write: the intent did not change."""
    created = await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 4})
    await world.report(WEB, "eu", status=rolled_out(4))
    answer = await world.call("PUT", WEB_PATH, {**created, "spec": {**created["spec"], "paused": True}})
    assert answer.status == 200, answer


@pytest.mark.parametrize("way", ["update", "merge", "apply", "scale", "delete"])
async def test_each_version_that_was_served_of_an_intent_fits_and_no_other(world: World, way: str) -> None:
    """Versions are compared for equality: an older intent, one from between, and one to come conflict."""
    before = await world.create(DEPLOYMENTS, deployment())
    labels = {"metadata": {"labels": {"a": "b"}}}
    merge = "application/merge-patch+json"
    first = (await world.call("PATCH", WEB_PATH, labels, content_type=merge)).body
    versions = [first["metadata"]["resourceVersion"]]
    other = await world.create("/api/v1/namespaces/shop/configmaps", config_map("other"))
    unserved = other["metadata"]["resourceVersion"]
    await world.place(WEB, {"eu": 4})
    for ready in (1, 2):
        await world.report(WEB, "eu", status=rolled_out(ready))
        versions.append((await world.get(WEB_PATH))["metadata"]["resourceVersion"])
    assert len({int(each) for each in versions}) == 3
    newest = int(versions[-1])

    async def write(version: str) -> int:
        named: dict[str, Any] = {"metadata": {"name": "web", "namespace": "shop", "resourceVersion": version}}
        dry = {"dryRun": "All"}
        kind = {"apiVersion": "apps/v1", "kind": "Deployment"}
        match way:
            case "update":
                answer = await world.call("PUT", WEB_PATH, {**first, **named}, params=dry)
            case "merge":
                answer = await world.call("PATCH", WEB_PATH, named, content_type=merge, params=dry)
            case "apply":
                answer = await world.call(
                    "PATCH", WEB_PATH, {**kind, **named}, content_type="application/apply-patch+yaml",
                    params={"fieldManager": "m", **dry},
                )  # fmt: skip
            case "scale":
                scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", **named, "spec": {"replicas": 4}}
                answer = await world.call("PUT", f"{WEB_PATH}/scale", scale, params=dry)
            case _:
                answer = await world.call(
                    "DELETE", WEB_PATH, {"preconditions": {"resourceVersion": version}}, params=dry
                )
        return answer.status

    for version in versions:
        assert await write(version) == 200
    for version in (
        before["metadata"]["resourceVersion"],
        unserved,
        str(newest + 1),
        str(newest + 10**6),
    ):
        assert await write(version) == 409


async def test_a_version_that_another_process_serves_fits(world: World) -> None:
    """It listed when something had changed that is not shown, and that has changed again since then."""
    await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 4})
    reported = [
        await world.report(WEB, "eu", status=rolled_out(1), acted_on=number) for number in range(1, 5)
    ]
    await world.apiserver.engine.cache.reached(reported[-1])
    served = await world.get(WEB_PATH)
    versions = [served["metadata"]["resourceVersion"], *map(str, reported[-3:])]
    assert len(set(versions)) > 3, "what changed was not shown"
    for version in versions:
        named = {**served, "metadata": {**served["metadata"], "resourceVersion": version}}
        assert (await world.call("PUT", WEB_PATH, named, params={"dryRun": "All"})).status == 200


async def test_what_is_served_can_be_written_back_strictly(world: World) -> None:
    """`kubectl get -o yaml | kubectl replace -f -` works: the detail of the clusters is no unknown field."""
    await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 4})
    await world.report(WEB, "eu", status=rolled_out(4))
    served = await world.get(WEB_PATH)
    answer = await world.call("PUT", WEB_PATH, served, params={"fieldValidation": "Strict"})
    assert answer.status == 200, answer


async def test_watchers_see_the_members_change(world: World) -> None:
    """A watch gets MODIFIED when a sync state changes what is served, and nothing when it does not."""
    await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 4})
    await world.report(WEB, "eu", status=rolled_out(1))
    served = await world.get(WEB_PATH)
    events = world.watch(DEPLOYMENTS, resource_version=served["metadata"]["resourceVersion"])
    await world.report(WEB, "eu", status=rolled_out(1))  # the same: nobody hears of it
    await world.report(WEB, "eu", status=rolled_out(4))
    async with asyncio.timeout(30):
        kind, obj = await anext(events)
    assert (kind, obj["status"]["readyReplicas"]) == ("MODIFIED", 4)
    await events.aclose()


async def test_each_object_has_the_version_of_its_own_newest_part(world: World) -> None:
    """Two sync states of two transactions that arrive together: each object has its own state's version, so a
    watch that resumes after the first gets the second."""
    keys = [ObjectKey("apps", "deployments", "shop", name) for name in ("one", "two")]
    for key in keys:
        await world.create(DEPLOYMENTS, deployment(key.name))
        await world.place(key, {"eu": 4})
    log = world.apiserver.engine.cache.log("apps", "deployments")
    start = log.end
    state = sync.SyncState(cluster="eu", phase=sync.APPLIED, status=b'{"readyReplicas":1}')
    written = [await world.store.put(key.sync_state("eu"), state.SerializeToString()) for key in keys]
    await world.apiserver.engine.cache.reached(written[-1])
    changes = log.read(start)
    assert [(change.key, change.revision) for change in changes] == list(zip(keys, written, strict=True))
    versions = [change.entry.object["metadata"]["resourceVersion"] for change in changes]
    assert versions == [str(revision) for revision in written]
    assert log.read(log.resume(written[0])) == changes[1:]


async def test_changes_of_parts_stay_in_order_with_those_of_intents(world: World) -> None:
    """A sync state, another object and a sync state again: the log's revisions never go back, and each says
    what was so then."""
    await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 4})
    cache = world.apiserver.engine.cache
    log = cache.log("apps", "deployments")
    start = log.end
    other = ObjectKey("apps", "deployments", "shop", "other")
    written = []
    for ready in (1, 2):
        status = orjson.dumps({"readyReplicas": ready})
        state = sync.SyncState(cluster="eu", phase=sync.APPLIED, status=status)
        written.append(await world.store.put(WEB.sync_state("eu"), state.SerializeToString()))
        obj = orjson.dumps({**deployment("other"), "spec": {"replicas": ready}})
        written.append(await world.store.put(other.key(), obj))
    await cache.reached(written[-1])
    changes = log.read(start)
    assert [change.revision for change in changes] == written
    seen = [c.entry.object["status"]["readyReplicas"] for c in changes if c.key == WEB]
    assert seen == [1, 2]


async def test_a_cluster_that_goes_offline_changes_what_is_served(world: World) -> None:
    """Its replicas are no longer ready, at once, without a write of the syncer."""
    await world.create(DEPLOYMENTS, deployment())
    await world.cluster("eu")
    await world.place(WEB, {"eu": 4})
    await world.report(WEB, "eu", status=rolled_out(4))
    assert (await world.get(WEB_PATH))["status"]["readyReplicas"] == 4
    await world.cluster("eu", registry.OFFLINE)
    status = (await world.get(WEB_PATH))["status"]
    assert "readyReplicas" not in status
    assert status["clusters"][0]["phase"] == "Unreachable"


async def test_kinds_without_a_status_are_served_as_they_are(world: World) -> None:
    """A ConfigMap has no status, wherever it is placed, and its version is the intent's."""
    created = await world.create("/api/v1/namespaces/shop/configmaps", config_map("c", a="b"))
    key = type(WEB)("", "configmaps", "shop", "c")
    await world.place(key, {"eu": None})
    await world.report(key, "eu")
    assert await world.get("/api/v1/namespaces/shop/configmaps/c") == created


async def test_a_restart_serves_the_same(world: World) -> None:
    """A second apiserver over the same store serves what the first does."""
    await world.create(DEPLOYMENTS, deployment())
    await world.cluster("eu")
    await world.place(WEB, {"eu": 4})
    await world.report(WEB, "eu", status=rolled_out(4))
    async with World(world.store) as other:
        assert await other.get(WEB_PATH) == await world.get(WEB_PATH)
        assert other.apiserver.federation.id == world.apiserver.federation.id
        path = "/apis/hanse.dev/v1alpha1/namespaces/shop/syncstates"
        assert (await other.get(path))["items"] == (await world.get(path))["items"]


async def test_a_cluster_has_the_registrys_findings_as_status(world: World) -> None:
    """Cluster.status is computed, in both the new and Federation v1's form."""
    path = "/apis/hanse.dev/v1alpha1/clusters"
    cluster = {
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": "eu-west"},
        "spec": {"server": "https://10.0.0.1:6443"},
    }
    created = await world.create(path, cluster)
    assert created["metadata"]["finalizers"] == ["hanse.dev/unjoin"]
    assert (await world.get(f"{path}/eu-west"))["status"]["state"] == "Pending"
    await world.cluster("eu-west")
    status = (await world.get(f"{path}/eu-west"))["status"]
    assert (status["state"], status["region"], status["zones"]) == (
        "Ready",
        "eu-west",
        ["eu-west-a", "eu-west-b"],
    )
    assert status["nodes"] == {"ready": 2, "total": 3}
    assert status["conditions"][0]["status"] == "True"
    old = await world.get("/apis/federation/v1beta1/clusters/eu-west")
    assert old["status"]["conditions"][0]["type"] == "Ready"
    assert old["spec"]["serverAddressByClientCIDRs"][0]["serverAddress"] == "https://10.0.0.1:6443"


async def test_placements_and_sync_states_can_be_read_and_not_written(world: World) -> None:
    """They are objects of hanse.dev, in the namespace of what they are about."""
    await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 3}, releasing=["us"])
    await world.report(WEB, "eu", phase=sync.FAILED, message="quota", status=rolled_out(3))
    base = "/apis/hanse.dev/v1alpha1/namespaces/shop"
    placement = await world.get(f"{base}/placements/deployments.apps.web")
    assert placement["clusters"] == [{"cluster": "eu", "replicas": 3, "reason": "Test"}]
    assert placement["releasing"] == [{"cluster": "us"}]
    assert placement["object"]["name"] == "web"
    state = await world.get(f"{base}/syncstates/deployments.apps.web.eu")
    assert (state["phase"], state["message"], state["status"]["readyReplicas"]) == ("Failed", "quota", 3)
    assert state["appliedGeneration"] == 1
    answer = await world.call("DELETE", f"{base}/placements/deployments.apps.web")
    assert answer.status == 405, answer
    await world.unplace(WEB)
    answer = await world.call("GET", f"{base}/placements/deployments.apps.web")
    assert answer.status == 404, answer


async def test_a_placement_is_as_old_as_its_first_decision(world: World) -> None:
    """Neither its creation time nor the column AGE moves when a decision is made again."""
    await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 3})
    path = "/apis/hanse.dev/v1alpha1/namespaces/shop/placements"
    placement = await world.get(f"{path}/deployments.apps.web")
    assert placement["metadata"]["creationTimestamp"] == placement["createTime"] == "2026-05-28T20:26:40Z"
    assert placement["updateTime"] == "2026-09-21T14:13:20Z"
    columns = {
        column.name: column.json_path for kind in KINDS for column in kind.columns if kind.name == "Placement"
    }
    assert columns["Age"] == ".metadata.creationTimestamp"
    stored = Placement(name=WEB.key("placements"))
    stored.update_time.FromSeconds(1_790_000_000)
    old = placement_object(placement_key(WEB), WEB, stored)
    assert old["metadata"]["creationTimestamp"] == "2026-09-21T14:13:20Z", "the oldest that is known"


async def test_sync_states_can_be_watched(world: World) -> None:
    """A watch of a read-only view gets every change of its part."""
    base = "/apis/hanse.dev/v1alpha1/namespaces/shop/syncstates"
    listed = await world.get(base)
    events = world.watch(base, resource_version=listed["metadata"]["resourceVersion"])
    await world.report(WEB, "eu", phase=sync.WAITING)
    await world.report(WEB, "eu")
    await world.store.delete(WEB.sync_state("eu"))
    async with asyncio.timeout(30):
        seen = [await anext(events) for _ in range(3)]
    assert [(kind, obj["phase"]) for kind, obj in seen] == [
        ("ADDED", "Waiting"),
        ("MODIFIED", "Applied"),
        ("DELETED", "Applied"),
    ]
    await events.aclose()


async def test_the_trace_is_stored_and_never_served(world: World) -> None:
    """The traceparent of a change is in the stored object only; a change of nothing leaves it as it is."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    answer = await world.call("POST", DEPLOYMENTS, deployment(), headers=headers)
    assert answer.status == 201, answer
    assert "annotations" not in answer.body["metadata"]
    stored = await world.store.get(WEB.key())
    assert stored is not None
    assert trace in orjson.loads(stored.value)["metadata"]["annotations"]["hanse.dev/traceparent"]

    other = {"traceparent": f"00-{trace[::-1]}-b7ad6b7169203331-01"}
    await world.call("PUT", WEB_PATH, answer.body, headers=other)
    assert await world.store.get(WEB.key()) == stored
    changed = {**answer.body, "spec": {**answer.body["spec"], "replicas": 9}}
    answer = await world.call("PUT", WEB_PATH, changed, headers=other)
    assert "annotations" not in answer.body["metadata"]
    stored = await world.store.get(WEB.key())
    assert stored is not None
    assert trace[::-1] in orjson.loads(stored.value)["metadata"]["annotations"]["hanse.dev/traceparent"]


CARTS = "/apis/skew.example.com/v1/namespaces/default/carts"


async def test_what_a_schema_fills_in_is_served_and_not_sent(world: World) -> None:
    """A custom resource is served with the defaults of its CRD, and members get it as its author wrote it."""
    spec = {
        "type": "object",
        "properties": {"size": {"type": "integer"}, "color": {"type": "string", "default": "red"}},
    }
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "carts.skew.example.com"},
        "spec": {
            "group": "skew.example.com",
            "scope": "Namespaced",
            "names": {"plural": "carts", "singular": "cart", "kind": "Cart"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    await world.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)

    async def served() -> bool:
        return (await world.call("GET", CARTS)).status == 200

    await until(served, what="carts are served")
    cart = {"apiVersion": "skew.example.com/v1", "kind": "Cart", "metadata": {"name": "one"}}
    created = await world.create(CARTS, {**cart, "spec": {"size": 1}})
    assert created["spec"] == {"size": 1, "color": "red"}
    assert "annotations" not in created["metadata"]

    async def sent() -> object:
        stored = await world.store.get(ObjectKey("skew.example.com", "carts", "default", "one").key())
        assert stored is not None
        return as_written(orjson.loads(stored.value))["spec"]

    assert await sent() == {"size": 1}
    bigger = {**created, "spec": {**created["spec"], "size": 2}}
    answer = await world.call("PUT", f"{CARTS}/one", bigger)
    assert (answer.status, await sent()) == (200, {"size": 2})
    green = {**answer.body, "spec": {"size": 2, "color": "green"}}
    answer = await world.call("PUT", f"{CARTS}/one", green)
    assert (answer.status, await sent()) == (200, {"size": 2, "color": "green"})


async def test_the_members_win_over_a_written_status(world: World) -> None:
    """What somebody writes to /status is served until the object is placed; then the members' is."""
    created = await world.create(DEPLOYMENTS, deployment())
    answer = await world.call("PUT", f"{WEB_PATH}/status", {**created, "status": {"replicas": 77}})
    assert answer.status == 200, answer
    assert (await world.get(WEB_PATH))["status"]["replicas"] == 77
    await world.place(WEB, {"eu": 4})
    await world.report(WEB, "eu", status=rolled_out(4))
    assert (await world.get(WEB_PATH))["status"]["replicas"] == 4


async def test_nothing_is_put_together_before_it_is_read(world: World) -> None:
    """Sync states of ConfigMaps cost no rendering: what they look like is found out by their reader."""
    key = type(WEB)("", "configmaps", "shop", "c")
    await world.create("/api/v1/namespaces/shop/configmaps", config_map("c", a="b"))
    await world.report(key, "eu")
    entry = world.apiserver.engine.cache.get(type(WEB)("hanse.dev", "syncstates", "shop", "configmaps.c.eu"))
    assert entry is not None
    assert entry.deferred
    assert type(entry._object).__name__ == "Deferred"
    assert entry.object["phase"] == "Applied"


@pytest.mark.parametrize(
    ("state", "ready"),
    [
        (registry.OFFLINE, 0),
        (registry.IDENTITY_MISMATCH, 0),
        (registry.MISBEHAVING, 0),
        (registry.UNJOINING, 0),
        (registry.READY, 2),
    ],
)
async def test_pods_of_a_cluster_that_does_not_answer_are_not_ready(
    world: World, state: registry.ClusterState.ValueType, ready: int
) -> None:
    """Whether or not it is leaving: what a cluster said last counts as ready only while it answers."""
    await world.cluster("eu", state)
    await world.create(DEPLOYMENTS, deployment())
    await world.place(WEB, {"eu": 2})
    await world.report(WEB, "eu", status=rolled_out(2))
    served = await world.get(WEB_PATH)
    assert served["status"].get("readyReplicas", 0) == ready


@pytest.mark.parametrize(
    ("asked", "stored", "refused"),
    [(31999, None, False), (80, None, True), (80, 80, False), (40000, 80, True), (0, None, False)],
)
def test_a_service_asks_nodes_for_ports_that_members_give_away(
    asked: int, stored: int | None, refused: bool
) -> None:
    """A port outside of the range is refused, unless it was stored before."""

    def service(port: int) -> Object:
        return {"kind": "Service", "spec": {"ports": [{"port": 80, "nodePort": port}]}}

    request = AdmissionRequest(
        operation="UPDATE" if stored else "CREATE",
        info=Catalogue(federation_kinds()).require("", "v1", "services"),
        key=ObjectKey("core", "services", "shop", "web"),
        object=service(asked),
        old=service(stored) if stored else None,
        subresource="",
        user=User("jane"),
        dry_run=False,
    )
    ports = ApiserverSettings(etcd_endpoints=("http://127.0.0.1:1",)).node_ports()
    assert ports == range(30000, 32768)
    assert [error.field for error in node_port_errors(request, ports)] == (
        ["spec.ports[0].nodePort"] if refused else []
    )


@pytest.mark.parametrize("said", ["80", "a-b", "32767-30000", "1-70000"])
def test_a_range_of_ports_that_is_none_is_refused(said: str) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigError, match="service_node_ports"):
        ApiserverSettings(etcd_endpoints=("http://127.0.0.1:1",), service_node_ports=said).node_ports()


async def test_who_creates_what_nothing_obeys_is_warned(world: World) -> None:
    """A Role grants nothing here, and a Pod goes nowhere; Hanse's own services are told nothing."""
    made: list[tuple[str, Object]] = [
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", {"rules": []}),
        ("/api/v1/namespaces/shop/pods", {"spec": {"containers": [{"name": "c", "image": "i"}]}}),
    ]
    for path, fields in made:
        async with world.admin.post(path, json={"metadata": {"name": "x"}, **fields}) as answer:
            assert answer.status == 201, await answer.text()
            warnings = answer.headers.getall("Warning")
            assert any("goes to no cluster unless a policy selects it" in each for each in warnings)
            assert any("grants nothing" in each for each in warnings) == ("clusterroles" in path)
    async with world.admin.post(
        "/api/v1/namespaces/shop/configmaps", json={"metadata": {"name": "x"}}
    ) as answer:
        assert (answer.status, "Warning" in answer.headers) == (201, False)
