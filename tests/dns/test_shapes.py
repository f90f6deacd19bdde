"""Members and the store say anything: names are made of what can be read, and stay where it cannot be."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hanse_dns.compiler import MAX_TARGETS
from hanse_dns.controller import Compilation
from hanse_dns.journal import MAX_BYTES, Journal, _parts
from hanse_dns.serving.answering import Answering
from hanse_dns.serving.responder import SERVFAIL
from hanse_dns.settings import DnsSettings
from hanse_dns.sources import cluster_view, presence, service_intent
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.api.dns.v1 import record_set_pb2
from hanse.api.registry.v1 import cluster_pb2
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import ZoneEndpoints
from hanse.errors import HanseError
from hanse.kube.model.untrusted import MAX_ADDRESSES
from hanse.store import Compare, KeyValue, MemoryStore, Put, keys
from hanse.store.keys import ObjectKey
from tests.support.shapes import anything, gone_wrong

WEB = ObjectKey("", "services", "shop", "web")
STATUS = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ports": []}, {"hostname": "lb.example.org"}]}}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "shop", "uid": "u", "annotations": {"a": "b"}},
    "spec": {"type": "LoadBalancer"},
}


def state(status: bytes, phase: sync.SyncPhase.ValueType = sync.APPLIED) -> bytes:
    """A sync state with a ready endpoint."""
    endpoints = [ZoneEndpoints(zone="z", ready=1)]
    return sync.SyncState(name="x", phase=phase, status=status, ready_endpoints=endpoints).SerializeToString()


def cluster(name: str) -> bytes:
    """A cluster that answers."""
    return cluster_pb2.Cluster(
        name=f"clusters/{name}", region="r", zones=["z"], state=cluster_pb2.READY
    ).SerializeToString()


@given(status=gone_wrong(STATUS))
@settings(max_examples=200)
def test_any_status_has_addresses_that_a_dns_message_can_carry(status: Any) -> None:
    """What is no address is left out, and nothing is raised."""
    kv = KeyValue(WEB.sync_state("eu"), state(orjson.dumps(status)), 1, 1, 1)
    found = presence(kv)
    assert found is not None
    assert all(isinstance(address, str) and address for address in found.addresses)


def test_addresses_without_end_are_bounded() -> None:
    """Of thousands of addresses in one cluster a bounded number is served."""
    many = {"loadBalancer": {"ingress": [{"ip": f"10.0.{n // 256}.{n % 256}"} for n in range(8_000)]}}
    found = presence(KeyValue(WEB.sync_state("eu"), state(orjson.dumps(many)), 1, 1, 1))
    assert found is not None
    assert len(found.addresses) == MAX_ADDRESSES


@given(
    key=st.sampled_from(["services", "x", "clusters/a", "clusters/a/b", WEB.key(), WEB.sync_state("a")]),
    value=st.one_of(
        st.binary(max_size=16), gone_wrong(SERVICE).map(orjson.dumps), anything().map(orjson.dumps)
    ),
)
def test_any_stored_value_is_read_or_refused(key: str, value: bytes) -> None:
    """Decoding raises nothing but errors that the follower takes for "cannot be read"."""
    for decode in (cluster_view, service_intent, presence):
        with contextlib.suppress(ValueError, HanseError):
            decode(KeyValue(key, value, 1, 1, 1))


async def compiled(store: MemoryStore) -> Compilation:
    """What a dns service knows of what is stored."""
    compilation = Compilation(store, DnsSettings(dns_suffix="example.org"))
    async with compilation.follower:
        await compilation.follower.synced()
    return compilation


@pytest.mark.parametrize("junk", [WEB.key(), WEB.sync_state("a"), keys.cluster("a")])
async def test_names_of_what_cannot_be_read_stay_as_they_are(junk: str) -> None:
    """Of a Service, sync state or cluster that never could be read nothing is concluded."""
    store = MemoryStore()
    other = ObjectKey("", "services", "shop", "other")
    good = state(orjson.dumps(STATUS))
    for key, value in (
        (WEB.key(), orjson.dumps(SERVICE)),
        (other.key(), orjson.dumps({**SERVICE, "metadata": {"name": "other", "namespace": "shop"}})),
        (WEB.sync_state("a"), good),
        (other.sync_state("b"), good),
        (keys.cluster("a"), cluster("a")),
        (keys.cluster("b"), cluster("b")),
        ("objects/core/services/x", b"junk"),
        ("syncstates/core/services/x", b""),
        ("clusters/x/y", b""),
        (junk, b"\xffjunk"),
    ):
        await store.put(key, value)
    compilation = await compiled(store)
    assert compilation.compile(("shop", "web")) is None
    records = compilation.compile(("shop", "other"))
    assert records
    assert all(record.targets for record in records)
    assert compilation.blind()


async def test_a_defect_in_compiling_one_service_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its names stay, those of the others are compiled."""
    store = MemoryStore()
    await store.put(WEB.key(), orjson.dumps(SERVICE))
    compilation = await compiled(store)

    def fail(**_: Any) -> Any:
        raise TypeError("surprise")

    monkeypatch.setattr("hanse_dns.controller.compile_service", fail)
    assert compilation.compile(("shop", "web")) is None
    assert compilation.compile(("shop", "none")) == ()


async def test_a_journal_with_junk_in_it_is_loaded() -> None:
    """A record set or zone that cannot be read stops nothing; the serial does not go back."""
    store = MemoryStore()
    await store.put(keys.record("example.org", "@"), b"\xff")
    await store.put(keys.record("example.org", "web.shop"), b"\xffjunk")
    journal = Journal(store, zone="example.org", fence=Compare.exists("x"))
    await journal.load()
    assert journal.services == set()
    assert journal._stored_zone is not None
    assert journal._stored_zone.serial > 1_000_000_000


async def test_a_stored_record_set_of_no_service_or_another_name_is_not_taken_in() -> None:
    """The name that it speaks of is not changed for it, and no Service is compiled that cannot be one."""
    store = MemoryStore()
    good = record_set_pb2.RecordSet(fqdn="web.example.org.", ttl=5)
    good.service.namespace, good.service.name = "shop", "web"
    nobodys = record_set_pb2.RecordSet(fqdn="x.example.org.", ttl=5)
    for name, value in (("web", good), ("alias", good), ("x", nobodys)):
        await store.put(keys.record("example.org", f"{name}.example.org"), value.SerializeToString())
    await store.put("leader", b"")
    journal = Journal(store, zone="example.org", fence=Compare.exists("leader"))
    await journal.load()
    assert journal.services == {("shop", "web")}
    assert await journal.apply({("shop", "web"): ()}, ttl=5, traceparents={}) == 1
    left = {keys.last_segment(kv.key) for kv in (await store.range("records/")).items}
    assert left == {"@", "alias.example.org", "x.example.org"}


@pytest.mark.parametrize("name", ["x" * 600, "a\x01b", ""])
async def test_a_name_that_nobody_can_have_stops_the_names_of_no_other(name: str) -> None:
    """A sync state under a key that nobody writes is no sync state, and no such Service is an error."""
    store = MemoryStore()
    await store.put(f"syncstates/core/services/shop/{name}/a", state(orjson.dumps(STATUS)))
    compilation = await compiled(store)
    assert not compilation._by_service
    assert compilation.compile(("shop", name)) is None or compilation.compile(("shop", name)) == ()


def test_a_transaction_has_a_size_that_etcd_takes() -> None:
    """Large record sets are in transactions of their own."""
    ops = [Put(f"k{n}", b"x" * (MAX_BYTES // 3)) for n in range(7)]
    assert [len(part) for part in _parts(ops)] == [3, 3, 1]
    assert MAX_TARGETS * 300 < 2 * MAX_BYTES


async def test_a_question_that_the_responder_fails_on_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """SERVFAIL for this one; and record sets that cannot be served hide no others."""
    store = MemoryStore()
    good = record_set_pb2.RecordSet(fqdn="web.example.org.", ttl=5)
    good.endpoints.add(address="192.0.2.1", cluster="a")
    odd = record_set_pb2.RecordSet(fqdn="odd.example.org.", ttl=5)
    odd.endpoints.add(address="²..", cluster="a")
    for name, value in (("web", good.SerializeToString()), ("odd", odd.SerializeToString()), ("x", b"\xff")):
        await store.put(keys.record("example.org", f"{name}.example.org"), value)
    other = record_set_pb2.RecordSet(fqdn="web.example.org.", ttl=5)
    other.endpoints.add(address="198.51.100.9", cluster="a")
    await store.put(keys.record("example.org", "x2.example.org"), other.SerializeToString())
    answering = Answering(store, zone="example.org", name_server="ns", address="127.0.0.1", negative_ttl=5)
    async with answering.follower:
        await answering.follower.synced()
        question = (
            b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x07example\x03org\x00\x00\x01\x00\x01"
        )
        response = answering.respond(question, False)
        assert response is not None
        assert response[3] & 0xF == 0
        assert bytes([192, 0, 2, 1]) in response
        assert bytes([198, 51, 100, 9]) not in response  # what is stored of another name says nothing of this

        def fail(*_: Any, **__: Any) -> Any:
            raise IndexError("surprise")

        monkeypatch.setattr("hanse_dns.serving.answering.respond", fail)
        response = answering.respond(question, False)
        assert response is not None
        assert (response[:2], response[3] & 0xF) == (b"\x00\x07", SERVFAIL)
        assert answering.respond(b"\x00", False) is None
