"""What a newer release has stored, read and written by this one: nothing is lost, or taken for absent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
import pytest
from google.protobuf.message import Message
from hanse_apiserver.views.view import FederationView
from hanse_dns.compiler import CompiledRecord, Scope, Target
from hanse_dns.journal import Journal
from hanse_dns.sources import cluster_view, presence
from hanse_registry.member.health import ClusterHealth, ProbeOutcome, after
from hanse_registry.member.inventory import Topology
from hanse_registry.member.probe import Inventory
from hanse_registry.membership import compile_cluster
from hanse_scheduler.decide.clusters import view_of
from hanse_syncer.report import transitions
from hanse_syncer.report.state_table import SyncStateTable
from hanse_syncer.report.transitions import Subject

from hanse.api.dns.v1.record_set_pb2 import RecordSet, Zone
from hanse.api.federation.v1.federation_pb2 import Federation
from hanse.api.registry.v1 import cluster_pb2
from hanse.api.registry.v1.cluster_pb2 import ApiCatalogue, Cluster, ClusterCredential, Taint, TaintEffect
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, Placement
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.orphan_pb2 import Orphan, OrphanReport
from hanse.api.syncer.v1.sync_state_pb2 import SyncState, ZoneEndpoints
from hanse.api.type.v1 import condition_pb2
from hanse.federation.strategies import federation_kinds
from hanse.kube.kinds.catalogue import Catalogue
from hanse.store import BatchWriter, Compare, Event, KeyValue, keys
from hanse.store.decoding import carry
from hanse.store.keys import ObjectKey
from hanse.store.memory import MemoryStore
from tests.scheduler.builders import (
    NOW,
    deployment,
    offline,
    placed,
    refused,
    run,
    suspended,
    table,
)
from tests.support.federation.records import cluster_record

M = TypeVar("M", bound=Message)
STORED = (
    ApiCatalogue,
    Cluster,
    ClusterCredential,
    Federation,
    OrphanReport,
    Placement,
    RecordSet,
    SyncState,
    Zone,
)
NEWER = b"\xfa\xff\x03\x05newer"
"""Field 8191, a text, which no release has yet."""
LATER = 99
"""A value that no enum has yet."""
WEB = ObjectKey("", "services", "shop", "web")


def newer(message: M) -> M:
    """The message as a newer release has it: with one more field, at every depth."""
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for each in value if field.is_repeated else [value]:
                newer(each)
    message.MergeFromString(NEWER)
    return message


def count(message: Message) -> int:
    """How many such fields there are in it."""
    return message.SerializeToString().count(NEWER)


def nested(kind: Any, seen: set[str]) -> Iterator[Any]:
    """The message and all that may be in it."""
    if kind.full_name not in seen:
        seen.add(kind.full_name)
        yield kind
        for field in kind.fields:
            if field.message_type is not None:
                yield from nested(field.message_type, seen)


@pytest.mark.parametrize("stored", STORED)
def test_what_is_stored_has_a_form_that_can_be_carried(stored: type[Message]) -> None:
    """Elements of lists are named by their first field, a scalar; no map has messages in it."""
    for kind in nested(stored.DESCRIPTOR, set()):
        for field in kind.fields:
            if field.message_type is None:
                continue
            entry = field.message_type
            if entry.GetOptions().map_entry:
                assert entry.fields_by_name["value"].message_type is None, field.full_name
            elif field.is_repeated:
                assert entry.fields_by_number[1].message_type is None, field.full_name


def test_fields_are_carried_at_every_depth_and_once() -> None:
    """Into what has taken the place of a message, where it is about the same; the rest goes with it."""
    before = newer(
        Placement(name="x", clusters=[ClusterPlacement(cluster="a"), ClusterPlacement(cluster="gone")])
    )
    after = Placement(name="x", clusters=[ClusterPlacement(cluster="new"), ClusterPlacement(cluster="a")])
    assert carry(before, after) is after
    assert (count(before), count(after), count(after.clusters[0])) == (3, 2, 0)
    again = after.SerializeToString()
    assert carry(before, after).SerializeToString() == again, "what is there is not there twice"
    assert carry(None, after) is after


def test_nothing_is_carried_into_another_element() -> None:
    """Two taints of one key are two; what a release does not know of one is not put into the other."""
    first = newer(Taint(key="a", value="1", effect=TaintEffect.NO_SCHEDULE))
    before = Cluster(
        taints=[first, Taint(key="a", value="1", effect=TaintEffect.NO_EXECUTE), newer(Taint(key="b"))]
    )
    after = Cluster(taints=[Taint(key="a", value="1", effect=TaintEffect.NO_EXECUTE), Taint(key="b")])
    carry(before, after)
    assert [count(each) for each in after.taints] == [0, 1]


def test_the_scheduler_keeps_them_and_writes_nothing_for_them() -> None:
    """A placement of a newer release is the same decision, and keeps its fields through another one."""
    two = table("a", "b")
    first = run(deployment(4), two)
    assert first.placement is not None
    stored = newer(first.placement)
    stored.ClearField("object")  # as the message names it, so that all fields of it are new
    stored.object.CopyFrom(run(deployment(4), two).placement.object)  # type: ignore[union-attr]
    newer(stored.object)
    again = run(deployment(4), two, previous=stored, now=NOW + 5)
    assert not again.changed
    changed = run(deployment(9), two, previous=stored, now=NOW + 5)
    assert changed.changed
    assert changed.placement is not None
    assert count(changed.placement) >= 4
    assert all(count(each) == 1 for each in changed.placement.clusters)


def compiled(previous: Cluster | None, *, version: str = "v1.34.1") -> Cluster:
    """What the registry makes of a cluster that answers."""
    inventory = Inventory(
        cluster_id="u1",
        kubernetes_version=version,
        topology=Topology("eu", ("a",)),
        capacity=cluster_pb2.Capacity(ready_nodes=2, total_nodes=2),
        catalogue=ApiCatalogue(hash="h"),
    )
    return compile_cluster(
        {"metadata": {"name": "eu", "uid": "1"}, "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}},
        health=after(ClusterHealth(), ProbeOutcome(), threshold=1),
        inventory=inventory,
        previous=previous,
        credential_hash="c",
        now=datetime(2026, 1, 2, tzinfo=UTC),
    )


def test_the_registry_keeps_them_and_writes_nothing_for_them() -> None:
    """In the cluster, its conditions, its taints and its capacity."""
    stored = newer(compiled(None))
    assert compiled(stored) == stored
    changed = compiled(stored, version="v1.35.0")
    assert changed.kubernetes_version == "v1.35.0"
    assert count(changed) == count(stored) >= 4


async def test_the_syncer_keeps_them() -> None:
    """Through a count of endpoints and a removal."""
    now = datetime(2026, 1, 2, tzinfo=UTC)
    store = MemoryStore()
    table = SyncStateTable(BatchWriter(store, spacing=0.0), "eu", fence=lambda: Compare.exists("lease"))
    stored = newer(
        SyncState(name="x", phase=sync.APPLIED, ready_endpoints=[ZoneEndpoints(zone="a", ready=1)])
    )
    table.load([(WEB.path(), stored)])
    subject = Subject(WEB, "eu", "u", 1, 1)
    _, counted = table.update(
        WEB.path(), lambda known: transitions.counted(known, ready=[ZoneEndpoints(zone="a", ready=2)])
    )
    assert (counted.ready_endpoints[0].ready, count(counted)) == (2, 2)
    _, removed = table.update(
        WEB.path(), lambda known: transitions.removed(subject, known, reason="r", message="m", now=now)
    )
    assert (removed.phase, count(removed)) == (sync.REMOVED, 1)
    await store.close()


async def test_dns_keeps_them_and_writes_nothing_for_them() -> None:
    """In a record set that says the same, in one that changes, and in the zone."""
    store = MemoryStore()
    await store.put("lease", b"")

    def record(*addresses: str) -> dict[tuple[str, str], tuple[CompiledRecord, ...]]:
        targets = tuple(Target(address=each, cluster="eu") for each in addresses)
        fqdn = "web.shop.hanse.svc.example.org."
        return {("shop", "web"): (CompiledRecord(fqdn=fqdn, targets=targets, scope=Scope.GLOBAL, reason=""),)}

    async def journal() -> Journal:
        loaded = Journal(store, zone="example.org", fence=Compare.exists("lease"))
        await loaded.load()
        return loaded

    await (await journal()).apply(record("192.0.2.1"), ttl=5, traceparents={})
    name = keys.record("example.org", "web.shop.hanse.svc.example.org")
    zone = keys.record("example.org", "@")
    for key, kind in ((name, RecordSet), (zone, Zone)):
        kv = await store.get(key)
        assert kv is not None
        await store.put(key, newer(kind.FromString(kv.value)).SerializeToString())
    assert await (await journal()).apply(record("192.0.2.1"), ttl=5, traceparents={}) == 0
    assert await (await journal()).apply(record("192.0.2.1", "192.0.2.2"), ttl=5, traceparents={}) == 1
    found, served = await store.get(name), await store.get(zone)
    assert found is not None
    assert served is not None
    assert RecordSet.FromString(found.value).endpoints[1].address == "192.0.2.2"
    assert found.value.count(NEWER) >= 3, "of the set, its Service, and the address that stays"
    assert (Zone.FromString(served.value).serial, served.value.count(NEWER)) == (2, 3), "with its two times"
    await store.close()


def test_the_report_of_orphans_keeps_them() -> None:
    """Each orphan is named by its first field."""
    before = newer(OrphanReport(cluster="eu", orphans=[Orphan(name="a"), Orphan(name="b")], total=2))
    after_ = carry(before, OrphanReport(cluster="eu", orphans=[Orphan(name="b")], total=1))
    assert count(after_) == 2


def in_later_state(ready: condition_pb2.ConditionStatus.ValueType) -> Cluster:
    """A cluster in a state that only a newer release knows."""
    condition = condition_pb2.Condition(type="Ready", status=ready)
    condition.last_transition_time.FromSeconds(int(NOW) - 1000)
    message = Cluster(name="clusters/b", region="b", zones=["b"], conditions=[condition])
    message.state = LATER  # type: ignore[assignment]
    return message


def test_a_cluster_in_a_later_state_keeps_what_it_has_and_gets_nothing_new() -> None:
    """While it is Ready nothing moves; when it is not, its replicas move after the toleration."""
    before = run(deployment(4), table("a", "b"))
    both = {"a": 2, "b": 2}
    assert placed(before) == both
    later = table(view_of(cluster_record("a")), view_of(in_later_state(condition_pb2.TRUE)))
    kept = run(deployment(4), later, previous=before)
    assert (placed(kept), suspended(kept)) == (both, set())
    assert refused(run(deployment(4), later)) == {"b": "ClusterNotReady"}
    lost = table(view_of(cluster_record("a")), view_of(in_later_state(condition_pb2.UNKNOWN)))
    assert suspended(run(deployment(4), lost, previous=before)) == {"b"}
    assert suspended(run(deployment(4), table("a", offline("b", NOW - 1000)), previous=before)) == {"b"}


def test_its_addresses_stay_in_dns_and_its_status_counts() -> None:
    """What the condition Ready says holds for names and for the merged status as well."""
    for ready in (condition_pb2.TRUE, condition_pb2.UNKNOWN):
        value = in_later_state(ready).SerializeToString()
        assert cluster_view(KeyValue("clusters/b", value, 1, 1, 1)).reachable is (ready == condition_pb2.TRUE)
        view = FederationView(Catalogue(federation_kinds()))
        state = SyncState(name="x", phase=sync.APPLIED, applied_generation=1, status=b'{"readyReplicas":3}')
        key = ObjectKey("apps", "deployments", "shop", "web")
        placement = Placement(name="x", generation=1, clusters=[ClusterPlacement(cluster="b")])
        for path, stored in (
            ("clusters/b", value),
            (key.key("placements"), placement.SerializeToString()),
            (key.sync_state("b"), state.SerializeToString()),
        ):
            list(view.apply(Event("put", KeyValue(path, stored, 5, 5, 1, 0))))
        served: Any = view.render(key, {"metadata": {"generation": 1}, "spec": {"replicas": 3}})
        assert served["status"].get("readyReplicas", 0) == (3 if ready == condition_pb2.TRUE else 0)


def test_a_later_phase_is_no_absence() -> None:
    """The object is there: its addresses are served, its status is shown, its removal is not confirmed."""
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    state = SyncState(
        name="x", status=orjson.dumps(status), ready_endpoints=[ZoneEndpoints(zone="z", ready=1)]
    )
    state.phase = LATER  # type: ignore[assignment]
    kv = KeyValue(WEB.sync_state("eu"), state.SerializeToString(), 5, 5, 1, 0)
    found = presence(kv)
    assert found is not None
    assert found.addresses == ("192.0.2.1",)
    view = FederationView(Catalogue(federation_kinds()))
    placement = Placement(name="x", generation=1, clusters=[ClusterPlacement(cluster="eu")])
    list(view.apply(Event("put", KeyValue(WEB.key("placements"), placement.SerializeToString(), 5, 5, 1, 0))))
    list(view.apply(Event("put", kv)))
    served: Any = view.render(WEB, {"metadata": {"generation": 1}, "spec": {"type": "LoadBalancer"}})
    assert served["status"]["clusters"][0]["phase"] == str(LATER)
    assert served["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.1"}]
    parts = view.parts(WEB)
    assert parts is not None
    assert parts.unconfirmed() == ["eu"]
