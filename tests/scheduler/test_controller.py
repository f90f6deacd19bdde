"""The running scheduler: it writes what was decided, when something matters, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from hanse_scheduler.decide.inputs import Rules
from hanse_scheduler.metrics import observe
from hanse_scheduler.settings import SchedulerSettings
from hanse_scheduler.state.scheduler_state import SchedulerState

from hanse.api.registry.v1.cluster_pb2 import READY, UNJOINING
from hanse.api.scheduler.v1.placement_pb2 import ADOPT, Placement
from hanse.federation.events import EventRecorder
from hanse.process.telemetry import setup
from hanse.store import Compare, Put, TxnResult, keys
from hanse.store.keys import ObjectKey
from tests.scheduler.builders import CONFIG, NOW, SELECTOR, WEB, config, deployment, policy_object, selector
from tests.support.federation.federation import Federation
from tests.support.waiting import SECONDS, until

NAMESPACE = ObjectKey("", "namespaces", "", "shop")
POLICY = ObjectKey("hanse.dev", "clusterplacementpolicies", "", "p")
OVERRIDE = ObjectKey("hanse.dev", "clusteroverridepolicies", "", "p")


def namespace(**annotations: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop", "uid": "n", "annotations": annotations},
    }


async def test_places_a_new_object(federation: Federation) -> None:
    """An object is placed in every ready cluster, with the trace and generation of its change."""
    await federation.clusters("a", "b")
    await federation.start_scheduler()
    obj = deployment(4)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    obj["metadata"]["annotations"] = {"hanse.dev/traceparent": trace}
    await federation.apply(WEB, obj)
    placement = await federation.placed(WEB, {"a": 2, "b": 2})
    assert placement.name == "placements/apps/deployments/shop/web"
    assert placement.object.uid == "u1"
    assert placement.generation == 1
    assert placement.traceparent.split("-")[1] == trace.split("-")[1]


async def test_restart_writes_nothing(federation: Federation) -> None:
    """A scheduler that starts where everything is decided already writes nothing."""
    await federation.clusters("a", "b")
    async with federation.stack:
        first = await federation.start_scheduler()
        await federation.apply(WEB, deployment(4))
        await federation.apply(CONFIG, config())
        await federation.placed(WEB, {"a": 2, "b": 2})
        await federation.placed(CONFIG, {"a": None, "b": None})
        await federation.settled(first)
    second = await federation.start_scheduler("two")
    await federation.settled(second)
    assert await federation.version(WEB) == 1
    assert await federation.version(CONFIG) == 1


async def test_ignores_what_does_not_matter(federation: Federation) -> None:
    """Sync states that only say that all is well, heartbeats and data of objects lead to no work."""
    await federation.clusters("a", "b")
    process = await federation.start_scheduler()
    await federation.apply(WEB, deployment(4))
    await federation.apply(CONFIG, config())
    await federation.placed(WEB, {"a": 2, "b": 2})
    await federation.placed(CONFIG, {"a": None, "b": None})
    await federation.settled(process)
    dirty: list[str] = []
    process.state.on_dirty = lambda path, urgent: dirty.append(path)
    await federation.synced(WEB, "a", replicas=2)
    await federation.synced(WEB, "b", replicas=1)
    await federation.synced(CONFIG, "a")
    await federation.cluster("a", since=NOW + 5, kubernetes_version="v1.34.1")
    changed = config()
    changed["data"] = {"k": "other"}
    await federation.apply(CONFIG, changed)
    await process.state.follower.current()
    assert dirty == []


async def test_cluster_joins_and_unjoins(federation: Federation) -> None:
    """A joining cluster gets what is there; an unjoining one is released and dropped once it is confirmed."""
    await federation.clusters("a")
    await federation.start_scheduler()
    await federation.apply(CONFIG, config())
    await federation.placed(CONFIG, {"a": None})
    await federation.clusters("b")
    await federation.placed(CONFIG, {"a": None, "b": None})
    await federation.cluster("b", state=UNJOINING)
    placement = await federation.placed(CONFIG, {"a": None})
    assert [item.cluster for item in placement.releasing] == ["b"]
    await federation.removed(CONFIG, "b")

    async def forgotten() -> bool:
        now = await federation.placement(CONFIG)
        return now is not None and not now.releasing

    await until(forgotten)


async def test_release_waits_for_its_own_confirmation(federation: Federation) -> None:
    """A confirmation that is older than the release does not end it."""
    await federation.clusters("a", "b")
    process = await federation.start_scheduler()
    await federation.apply(CONFIG, config())
    await federation.placed(CONFIG, {"a": None, "b": None})
    await federation.removed(CONFIG, "b")
    only_a = selector({"key": "hanse.dev/cluster", "operator": "In", "values": ["a"]})
    await federation.apply(CONFIG, config(annotations=only_a))
    placement = await federation.placed(CONFIG, {"a": None})
    await federation.settled(process)
    assert [item.cluster for item in placement.releasing] == ["b"]
    await federation.removed(CONFIG, "b")

    async def forgotten() -> bool:
        now = await federation.placement(CONFIG)
        return now is not None and not now.releasing

    await until(forgotten)


async def test_forced_unjoin_drops_at_once(federation: Federation) -> None:
    """A cluster whose key is gone is no longer in any placement."""
    await federation.clusters("a", "b")
    await federation.start_scheduler()
    await federation.apply(CONFIG, config())
    await federation.placed(CONFIG, {"a": None, "b": None})
    await federation.store.delete("clusters/b")
    placement = await federation.placed(CONFIG, {"a": None})
    assert not placement.releasing


async def test_deleted_object_loses_its_placement_last(federation: Federation) -> None:
    """While an object is deleted its placement stands; when it is gone the placement goes."""
    await federation.clusters("a")
    process = await federation.start_scheduler()
    await federation.apply(CONFIG, config())
    await federation.placed(CONFIG, {"a": None})
    dying = config()
    dying["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    await federation.apply(CONFIG, dying)
    await federation.removed(CONFIG, "a")
    await federation.settled(process)
    assert await federation.version(CONFIG) == 1
    await federation.forget(CONFIG)
    await federation.placed(CONFIG, None)


async def test_what_is_not_divided_gets_another_cluster_in_virtual_time(federation: Federation) -> None:
    """Where a policy allows one cluster, the loss of that one puts a ConfigMap on the clock, too."""
    await federation.clusters("a", "b")
    process = await federation.start_scheduler()
    policy = ObjectKey("hanse.dev", "clusterplacementpolicies", "", "p")
    await federation.apply(policy, policy_object(maxClusters=1))
    await federation.apply(CONFIG, config())
    placement = Placement()

    async def in_one() -> bool:
        nonlocal placement
        placement = await federation.placement(CONFIG) or Placement()
        return len(placement.clusters) == 1

    await until(in_one)
    lost = placement.clusters[0].cluster
    await federation.lose(lost)

    async def on_the_clock() -> bool:
        found = await federation.placement(CONFIG)
        return found is not None and found.HasField("reconsider_time")

    await until(on_the_clock)
    federation.clock.now += 60
    assert process.scheduler.queue is not None
    process.scheduler.queue.add(CONFIG.path())

    async def moved() -> bool:
        found = await federation.placement(CONFIG) or Placement()
        return {each.cluster: each.suspended for each in found.clusters} == {
            name: name == lost for name in ("a", "b")
        }

    await until(moved)


async def test_offline_cluster_in_virtual_time(federation: Federation) -> None:
    """Replicas move when the toleration has passed, and come back into play when the cluster does."""
    await federation.clusters("a", "b", "c")
    process = await federation.start_scheduler()
    await federation.apply(WEB, deployment(9))
    await federation.apply(CONFIG, config())
    await federation.placed(WEB, {"a": 3, "b": 3, "c": 3})
    await federation.placed(CONFIG, {"a": None, "b": None, "c": None})
    await federation.lose("c")

    async def on_the_clock() -> bool:
        placement = await federation.placement(WEB)
        return placement is not None and placement.HasField("reconsider_time")

    await until(on_the_clock)
    federation.clock.now += 60
    assert process.scheduler.queue is not None
    process.scheduler.queue.add(WEB.path())
    placement = Placement()

    async def moved() -> bool:
        nonlocal placement
        placement = await federation.placement(WEB) or Placement()
        return any(item.suspended for item in placement.clusters)

    await until(moved)
    assert sum(item.replicas for item in placement.clusters if not item.suspended) == 9
    assert {item.cluster: item.replicas for item in placement.clusters if item.suspended} == {"c": 3}
    await federation.cluster("c", state=READY)

    async def back() -> bool:
        nonlocal placement
        placement = await federation.placement(WEB) or Placement()
        return not any(item.suspended for item in placement.clusters)

    await until(back)
    assert sum(item.replicas for item in placement.clusters) == 12
    for item in placement.clusters:
        await federation.ready(WEB, item.cluster, item.replicas)

    async def handed_over() -> bool:
        nonlocal placement
        placement = await federation.placement(WEB) or Placement()
        return sum(item.replicas for item in placement.clusters) == 9

    await until(handed_over)
    assert await federation.version(CONFIG) == 1


async def test_time_alone_moves_replicas(federation: Federation) -> None:
    """Nobody needs to poke the scheduler: it looks again when the toleration ends."""
    await federation.clusters("a", "b")
    await federation.start_scheduler(rules=Rules(toleration=0.2))
    await federation.apply(WEB, deployment(4))
    await federation.placed(WEB, {"a": 2, "b": 2})
    await federation.lose("b")
    turning = asyncio.create_task(_turn(federation))
    await federation.placed(WEB, {"a": 4})
    turning.cancel()


async def _turn(federation: Federation) -> None:
    while True:
        await asyncio.sleep(0.02)
        federation.clock.now += 0.02


async def test_namespace_follows_its_contents(federation: Federation) -> None:
    """A namespace goes where something in it goes, and leaves when the last object has left."""
    await federation.clusters("a", "b")
    await federation.start_scheduler(rules=Rules(everywhere=False))
    await federation.apply(NAMESPACE, namespace())
    await federation.placed(NAMESPACE, {})
    only_a = selector({"key": "hanse.dev/cluster", "operator": "In", "values": ["a"]})
    await federation.apply(CONFIG, config(annotations=only_a))
    await federation.placed(NAMESPACE, {"a": None})
    await federation.apply(CONFIG, config())
    placement = await federation.placed(CONFIG, {})
    assert [item.cluster for item in placement.releasing] == ["a"]
    await federation.placed(NAMESPACE, {"a": None})
    await federation.removed(CONFIG, "a")
    placement = await federation.placed(NAMESPACE, {})
    assert [item.cluster for item in placement.releasing] == ["a"]


async def test_policies_apply_as_they_come_and_go(federation: Federation) -> None:
    """Creating, changing and deleting a policy re-decides the objects that it selects."""
    await federation.clusters("a", "b")
    await federation.start_scheduler()
    await federation.apply(CONFIG, config())
    await federation.placed(CONFIG, {"a": None, "b": None})
    await federation.apply(POLICY, policy_object(clusterNames=["a"], conflictResolution="Adopt"))
    placement = await federation.placed(CONFIG, {"a": None})
    assert placement.policy == "ClusterPlacementPolicy p"
    await federation.apply(POLICY, policy_object(clusterNames=["b"]))
    await federation.placed(CONFIG, {"a": None, "b": None})
    await federation.ready(CONFIG, "b")
    await federation.placed(CONFIG, {"b": None})
    await federation.forget(POLICY)
    await federation.placed(CONFIG, {"a": None, "b": None})


async def test_override_policies_look_at_the_whole_object(federation: Federation) -> None:
    """A patch is checked against the stored object, data and all, and follows its changes."""
    await federation.clusters("a")
    await federation.start_scheduler()
    await federation.apply(CONFIG, config())
    await federation.placed(CONFIG, {"a": None})
    patch = [{"op": "replace", "path": "/data/k", "value": "here"}]
    await federation.apply(OVERRIDE, policy_object("ClusterOverridePolicy", rules=[{"jsonPatch": patch}]))

    async def overridden() -> bool:
        placement = await federation.placement(CONFIG)
        return placement is not None and placement.clusters[0].overrides == orjson.dumps(patch)

    await until(overridden)
    changed = config()
    changed["data"] = {}
    await federation.apply(CONFIG, changed)

    async def wrong() -> bool:
        placement = await federation.placement(CONFIG)
        return placement is not None and "ClusterOverridePolicy p" in placement.error

    await until(wrong)


async def test_served_apis_decide(federation: Federation) -> None:
    """A cluster gets a custom resource when it begins to serve its kind."""
    await federation.clusters("a", "b")
    await federation.serves("a", ("example.org", "widgets"))
    await federation.serves("b", ("", "configmaps"))
    await federation.start_scheduler()
    key = ObjectKey("example.org", "widgets", "shop", "w")
    widget = {
        "apiVersion": "example.org/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "namespace": "shop"},
    }
    await federation.apply(key, widget)
    await federation.placed(key, {"a": None})
    await federation.serves("b", ("example.org", "widgets"))
    await federation.placed(key, {"a": None, "b": None})


async def test_wrong_annotation_becomes_an_event(federation: Federation) -> None:
    """What cannot be understood is told to people once, on the object, and changes nothing."""
    sent: list[dict[str, Any]] = []

    async def send(manifest: bytes) -> None:
        sent.append(orjson.loads(manifest))

    recorder = EventRecorder(send, component="hanse-scheduler")
    task = asyncio.create_task(recorder.run())
    await federation.clusters("a")
    process = await federation.start_scheduler(recorder=recorder)
    await federation.apply(WEB, deployment(3))
    await federation.placed(WEB, {"a": 3})
    await federation.apply(WEB, deployment(3, **{SELECTOR: "{oops"}))

    async def told() -> bool:
        return bool(sent)

    await until(told)
    await federation.apply(WEB, deployment(4, **{SELECTOR: "{oops"}))
    await federation.settled(process)
    await federation.placed(WEB, {"a": 3})
    task.cancel()
    assert len(sent) == 1
    assert sent[0]["involvedObject"]["name"] == "web"
    assert sent[0]["type"] == "Warning"
    assert SELECTOR in sent[0]["message"]


async def test_what_belongs_to_clusters_is_refused_with_an_event(federation: Federation) -> None:
    """A policy for a kind passes the clusters' own by; one that names it gives a reason and an Event."""
    sent: list[dict[str, Any]] = []

    async def send(manifest: bytes) -> None:
        sent.append(orjson.loads(manifest))

    recorder = EventRecorder(send, component="hanse-scheduler")
    task = asyncio.create_task(recorder.run())
    await federation.clusters("a")
    process = await federation.start_scheduler(recorder=recorder)
    lease = ObjectKey("", "namespaces", "", "kube-node-lease")
    made = ObjectKey("apps", "replicasets", "shop", "web-1")
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u", "controller": True}
    metadata = {"name": "web-1", "namespace": "shop", "uid": "r", "ownerReferences": [owner]}
    await federation.apply(lease, {**namespace(), "metadata": {"name": "kube-node-lease", "uid": "k"}})
    await federation.apply(NAMESPACE, namespace())
    await federation.apply(made, {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata})
    spaces = {"apiVersion": "v1", "kind": "Namespace"}
    kinds = [spaces, {"apiVersion": "apps/v1", "kind": "ReplicaSet"}]
    await federation.apply(POLICY, policy_object(resourceSelectors=kinds, conflictResolution="Adopt"))
    placement = await federation.placed(NAMESPACE, {"a": None})
    assert placement.conflict_resolution == ADOPT
    await federation.settled(process)
    assert await federation.placement(lease) is None
    assert await federation.placement(made) is None
    named = [spaces, {**spaces, "name": "kube-node-lease"}]
    await federation.apply(POLICY, policy_object(resourceSelectors=named, conflictResolution="Adopt"))

    async def told() -> bool:
        return bool(sent)

    await until(told)
    task.cancel()
    placement = await federation.placed(lease, {})
    assert [(item.cluster, item.reason) for item in placement.refused] == [("a", "BelongsToCluster")]
    assert [(item["reason"], item["involvedObject"]["name"]) for item in sent] == [
        ("PlacementRefused", "kube-node-lease")
    ]


async def test_unreadable_object_is_left_alone(federation: Federation) -> None:
    """An object that cannot be decoded keeps its placement: unknown is not empty."""
    await federation.clusters("a")
    process = await federation.start_scheduler()
    await federation.apply(CONFIG, config())
    await federation.placed(CONFIG, {"a": None})
    await federation.store.put(CONFIG.key(), b"{broken")
    await federation.clusters("b")
    await federation.settled(process)
    await federation.placed(CONFIG, {"a": None})


async def test_failover_fences_the_old_leader(federation: Federation) -> None:
    """When the leader's lease is gone the other goes on, and what the old one still sends is refused."""
    await federation.clusters("a")
    first = await federation.start_scheduler("first")
    second = await federation.start_scheduler("second", lead=False)
    await federation.apply(CONFIG, config())
    await federation.placed(CONFIG, {"a": None})
    assert not second.scheduler.leading.is_set()
    old = first.scheduler.reconciler
    fence = old._leadership.fence()
    await federation.store.revoke(old._leadership.lease_id)
    async with asyncio.timeout(SECONDS):
        await second.scheduler.leading.wait()
    await federation.clusters("b")
    await federation.placed(CONFIG, {"a": None, "b": None})
    late: TxnResult = await federation.store.txn([fence], [Put("placements/x/y/z/w", b"")])
    assert not late.succeeded
    assert Compare.lease_held(fence.key, fence.number) == fence
    version = await federation.version(CONFIG)
    await federation.settled(second)
    assert await federation.version(CONFIG) == version


async def test_old_leader_competes_again(federation: Federation) -> None:
    """A scheduler that lost its lease becomes a candidate again."""
    await federation.clusters("a")
    first = await federation.start_scheduler("first")
    await federation.store.revoke(first.scheduler.reconciler._leadership.lease_id)
    await federation.apply(CONFIG, config())
    await federation.placed(CONFIG, {"a": None})
    async with asyncio.timeout(SECONDS):
        await first.scheduler.leading.wait()


async def test_compaction_loses_nothing(federation: Federation) -> None:
    """After a compacted watch everything is listed again, and what changed meanwhile is decided."""
    store: Any = federation.store
    await federation.clusters("a")
    await federation.start_scheduler()
    await federation.apply(CONFIG, config())
    await federation.placed(CONFIG, {"a": None})
    store.interrupt_watches()
    await federation.clusters("b")
    await federation.apply(WEB, deployment(2))
    await store.compact(await store.revision())
    await federation.placed(CONFIG, {"a": None, "b": None})
    await federation.placed(WEB, {"a": 1, "b": 1})


async def test_bulk_of_objects(federation: Federation) -> None:
    """A thousand objects are placed, each by one write."""
    await federation.clusters("a", "b", "c")
    process = await federation.start_scheduler()
    keys = [ObjectKey("", "configmaps", "shop", f"c{number}") for number in range(1000)]
    for key in keys:
        obj = config(uid=key.name)
        obj["metadata"]["name"] = key.name
        await federation.apply(key, obj)

    async def all_placed() -> bool:
        found = await federation.store.range("placements/core/configmaps/", count_only=True)
        return found.count == len(keys)

    await until(all_placed)
    await federation.settled(process)
    found = await federation.store.range("placements/core/configmaps/")
    assert all(kv.version == 1 for kv in found.items)


async def test_indexes_forget(federation: Federation) -> None:
    """When everything is deleted the indexes are empty: memory follows what there is."""
    await federation.clusters("a")
    process = await federation.start_scheduler()
    await federation.apply(CONFIG, config())
    await federation.placed(CONFIG, {"a": None})
    await federation.removed(CONFIG, "a")
    await federation.forget(CONFIG)
    await federation.store.delete(CONFIG.sync_state("a"))
    await federation.placed(CONFIG, None)
    await federation.settled(process)
    state: SchedulerState = process.state
    assert list(state.paths()) == []
    assert state._observed == {}
    for index in (state._records, state._in_force):
        assert not any(vars(index).values()), vars(index)


async def test_a_cluster_that_cannot_be_read_is_not_gone(federation: Federation) -> None:
    """A scheduler that starts and cannot read a cluster decides nothing until it can."""
    await federation.clusters("a", "b")
    async with federation.stack:
        first = await federation.start_scheduler()
        await federation.apply(CONFIG, config())
        await federation.placed(CONFIG, {"a": None, "b": None})
        await federation.settled(first)
    await federation.store.put(keys.cluster("b"), b"\xff")
    second = await federation.start_scheduler("two")
    await federation.apply(CONFIG, config(annotations=selector({"key": "x", "operator": "DoesNotExist"})))
    await federation.settled(second)
    assert await federation.version(CONFIG) == 1
    await federation.clusters("b")
    await federation.apply(WEB, deployment(4))
    await federation.placed(WEB, {"a": 2, "b": 2})
    await federation.placed(CONFIG, {"a": None, "b": None})


async def test_a_policy_that_cannot_be_read_is_not_gone(federation: Federation) -> None:
    """While a policy cannot be read, nothing goes where it may forbid it."""
    await federation.clusters("a", "b")
    await federation.store.put(POLICY.key(), b"{")
    process = await federation.start_scheduler()
    await federation.apply(CONFIG, config())
    await federation.settled(process)
    assert await federation.placement(CONFIG) is None
    await federation.apply(POLICY, policy_object(clusterNames=["a"]))
    await federation.placed(CONFIG, {"a": None})


async def test_replicas_that_are_in_no_cluster_are_counted(federation: Federation) -> None:
    """From the start, for as long as they are asked for and no cluster that answers has them."""
    process = await federation.start_scheduler()
    telemetry = setup("test", SchedulerSettings(), install=False)
    observe(telemetry.meter, state=process.state, scheduler=process.scheduler)

    def unplaced() -> float | None:
        return telemetry.registry.get_sample_value("hanse_replicas_unplaced")

    async def counted(number: int) -> None:
        async with asyncio.timeout(SECONDS):
            while unplaced() != number:  # noqa: ASYNC110 - reads the metric
                await asyncio.sleep(0.01)

    assert unplaced() == 0
    assert telemetry.registry.get_sample_value("hanse_leader", {"hanse_election": "scheduler"}) == 1
    await federation.apply(WEB, deployment(4))
    await counted(4)
    await federation.clusters("a", "b")
    await federation.placed(WEB, {"a": 2, "b": 2})
    await counted(0)
    await federation.apply(CONFIG, config())
    await federation.forget(WEB)
    await counted(0)
    telemetry.shutdown()
