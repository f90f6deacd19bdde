"""From the stored health of clusters to answers: the whole dns service over a store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import dns.asyncquery
import dns.message
import dns.rcode
import orjson
import pytest
from hanse_dns.compiler import MAX_TARGETS, CompiledRecord, Scope, Target
from hanse_dns.journal import Journal
from hanse_dns.service import DnsServicer
from hanse_dns.settings import DnsSettings

from hanse.api.dns.v1 import dns_service_pb2, record_set_pb2
from hanse.api.dns.v1.dns_service_pb2_grpc import DnsServiceStub, add_DnsServiceServicer_to_server
from hanse.api.registry.v1 import cluster_pb2
from hanse.api.syncer.v1 import sync_state_pb2
from hanse.errors import ConflictError, InvalidArgumentError, NotFoundError
from hanse.rpc.channel import RpcChannel
from hanse.rpc.policy import Policy
from hanse.rpc.server import RpcServer
from hanse.store import Compare, MemoryStore, keys
from tests.support.federation.federation import Federation
from tests.support.federation.parts import NamesPart, compiling
from tests.support.waiting import SECONDS

WEB = keys.ObjectKey("", "services", "shop", "web")
EU = "web.shop.hanse.svc.eu-west.example.org."
SETTINGS = DnsSettings()

OF_WEB = "service.namespace = shop AND service.name = web"


async def cluster(
    federation: Federation, name: str, *, state: cluster_pb2.ClusterState.ValueType = cluster_pb2.READY
) -> None:
    """Store a cluster of zones a and b in the region of its name."""
    await federation.cluster(name, state, region=name, zones=["a", "b"])


async def service(federation: Federation, *, kind: str = "LoadBalancer", deleting: bool = False) -> None:
    """Store Service shop/web."""
    await federation.put(WEB, {"spec": {"type": kind}})
    if deleting:
        await federation.mark_deleted(WEB)


async def present(
    federation: Federation,
    cluster: str,
    *,
    ip: str,
    host: str = "",
    ready: int = 1,
    phase: sync_state_pb2.SyncPhase.ValueType = sync_state_pb2.APPLIED,
) -> None:
    """Store what the syncer sees of Service shop/web in a cluster."""
    await federation.synced(
        WEB,
        cluster,
        phase=phase,
        status=orjson.dumps({"loadBalancer": {"ingress": [{"ip": ip}, {"hostname": host}]}}),
        ready_endpoints=[sync_state_pb2.ZoneEndpoints(zone="a", ready=ready)],
    )


@pytest.fixture
async def federation() -> AsyncIterator[Federation]:
    """A federation of eu-west and us-east with Service shop/web in both."""
    async with Federation() as found:
        for number, name in enumerate(("eu-west", "us-east"), start=1):
            await cluster(found, name)
            await present(found, name, ip=f"127.0.{number}.1")
        await service(found)
        yield found
    await found.store.close()


@pytest.fixture
async def names(federation: Federation) -> NamesPart:
    """Its dns service."""
    return await federation.start_names("first")


async def test_names_follow_the_health_of_clusters(federation: Federation, names: NamesPart) -> None:
    """Zone, region and globe are answered; a lost cluster leaves them; it comes back."""
    await names.until(EU, ["127.0.1.1"])
    await names.until("web.shop.hanse.svc.example.org.", ["127.0.1.1", "127.0.2.1"])
    assert await names.addresses("web.shop.hanse.svc.b.us-east.example.org.") == ["127.0.2.1"]
    await cluster(federation, "eu-west", state=cluster_pb2.OFFLINE)
    await names.until(EU, ["127.0.2.1"])
    await cluster(federation, "eu-west")
    await names.until(EU, ["127.0.1.1"])


async def test_no_ready_endpoint_or_a_conflict_takes_an_address_out(
    federation: Federation, names: NamesPart
) -> None:
    """An address without somebody behind it, or of an object that is not ours, is no answer."""
    await names.until(EU, ["127.0.1.1"])
    await present(federation, "eu-west", ip="127.0.1.1", ready=0)
    await names.until(EU, ["127.0.2.1"])
    await present(federation, "eu-west", ip="127.0.1.1")
    await names.until(EU, ["127.0.1.1"])
    await present(federation, "eu-west", ip="127.0.1.1", phase=sync_state_pb2.CONFLICT)
    await names.until(EU, ["127.0.2.1"])


@pytest.mark.parametrize("host", [f"{'x' * 64}.example.com", "a..example.com", f"{'x.' * 130}com"])
async def test_an_address_that_fits_into_no_answer_is_none(
    federation: Federation, names: NamesPart, host: str
) -> None:
    """Whatever host name a member reports, all other addresses are answered, and go on changing."""
    await names.until(EU, ["127.0.1.1"])
    await present(federation, "eu-west", ip="127.0.1.2", host=host)
    await names.until(EU, ["127.0.1.2"])


async def test_a_stored_name_that_cannot_be_served_stops_no_other(
    federation: Federation, names: NamesPart
) -> None:
    """A record set that an earlier release wrote, say, is left out, and the zone goes on being followed."""
    await names.until(EU, ["127.0.1.1"])
    bad = record_set_pb2.RecordSet(fqdn="bad.example.org.", ttl=30)
    bad.endpoints.add(address=f"{'x' * 64}.example.com")
    await federation.store.put(keys.record("example.org", "bad.example.org"), bad.SerializeToString())
    await present(federation, "eu-west", ip="127.0.1.2")
    await names.until(EU, ["127.0.1.2"])
    assert (await names.ask("bad.example.org.")).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("change", ["deleting", "cluster-ip", "gone"])
async def test_a_service_that_ends_takes_its_names_along(
    federation: Federation, names: NamesPart, change: str
) -> None:
    """Names go when the Service is being deleted, is no load balancer any more, or is gone."""
    await names.until(EU, ["127.0.1.1"])
    if change == "gone":
        await federation.store.delete(WEB.key())
    else:
        await service(
            federation,
            kind="ClusterIP" if change == "cluster-ip" else "LoadBalancer",
            deleting=change == "deleting",
        )
    await names.until(EU, [])
    assert (await names.ask(EU)).rcode() == dns.rcode.NXDOMAIN


async def test_nothing_is_written_again_that_did_not_change(federation: Federation, names: NamesPart) -> None:
    """A second leader finds the journal right and writes nothing; the serial grows with changes only."""
    await names.until(EU, ["127.0.1.1"])
    before = await federation.store.range("records/")
    serial = names.answering.serial
    async with compiling(federation.store, identity="second"):
        await present(federation, "eu-west", ip="127.0.1.9")
        await names.until(EU, ["127.0.1.9"])
    after = await federation.store.range("records/")
    changed = {new.key for new, old in zip(after.items, before.items, strict=True) if new != old}
    assert changed == {key for key in changed if "eu-west" in key or key.endswith(("/@", ".svc.example.org"))}
    assert names.answering.serial == serial + 1


async def test_the_journal_of_a_former_leader_is_refused() -> None:
    """A write that comes after leadership was lost does nothing."""
    store = MemoryStore()
    journal = Journal(store, zone="example.org", fence=Compare.exists("elections/dns/1"))
    await journal.load()
    record = CompiledRecord(EU, (Target("127.0.0.1", "eu-west"),), Scope.REGION, "because")
    with pytest.raises(ConflictError, match=r"example\.org"):
        await journal.apply({("shop", "web"): (record,)}, ttl=30, traceparents={})
    assert (await store.range("records/")).items == ()


async def test_more_names_than_fit_in_one_transaction_are_written_in_several() -> None:
    """Three hundred names need three transactions; all of them arrive, and all go again."""
    store = MemoryStore()
    await store.put("leader", b"")
    journal = Journal(store, zone="example.org", fence=Compare.exists("leader"))
    await journal.load()
    records = tuple(
        CompiledRecord(f"n{i}.example.org.", (Target("127.0.0.1", "c"),), Scope.GLOBAL, "")
        for i in range(300)
    )
    assert await journal.apply({("shop", "web"): records}, ttl=30, traceparents={}) == 300
    assert (await store.range("records/", count_only=True)).count == 301
    again = Journal(store, zone="example.org", fence=Compare.exists("leader"))
    await again.load()
    assert await again.apply({("shop", "web"): records}, ttl=30, traceparents={}) == 0
    assert await again.apply({("shop", "web"): ()}, ttl=30, traceparents={}) == 300
    assert (await store.range("records/", count_only=True)).count == 1


async def test_large_record_sets_are_split_over_transactions() -> None:
    """What a name holds at most is stored whatever the number of such names: no transaction is too large."""
    store = MemoryStore()
    await store.put("leader", b"")
    journal = Journal(store, zone="example.org", fence=Compare.exists("leader"))
    await journal.load()
    host = "x" * 60
    targets = tuple(Target(f"{host}.{host}.{host}.n{i}.example.org", "c" * 60) for i in range(MAX_TARGETS))
    wanted = {
        ("shop", f"web{s}"): tuple(
            CompiledRecord(f"n{i}.web{s}.example.org.", targets, Scope.GLOBAL, "") for i in range(10)
        )
        for s in range(3)
    }
    assert await journal.apply(wanted, ttl=30, traceparents={}) == 30
    assert (await store.range("records/", count_only=True)).count == 31


async def test_a_record_set_tells_since_when_it_is_served() -> None:
    """The time stays while addresses change; a record set of an older release has none, and gets none."""
    store = MemoryStore()
    await store.put("leader", b"")
    key = keys.record("example.org", EU.rstrip("."))

    async def written(address: str) -> record_set_pb2.RecordSet:
        journal = Journal(store, zone="example.org", fence=Compare.exists("leader"))
        await journal.load()
        record = CompiledRecord(EU, (Target(address, "eu"),), Scope.GLOBAL, "")
        assert await journal.apply({("shop", "web"): (record,)}, ttl=30, traceparents={}) == 1
        stored = await store.get(key)
        assert stored is not None
        return record_set_pb2.RecordSet.FromString(stored.value)

    first, second = await written("192.0.2.1"), await written("192.0.2.2")
    assert first.create_time == first.update_time == second.create_time
    assert second.update_time.ToNanoseconds() > first.update_time.ToNanoseconds()
    second.ClearField("create_time")
    await store.put(key, second.SerializeToString())
    assert not (await written("192.0.2.3")).HasField("create_time")
    await store.close()


async def test_the_rpcs_say_what_is_served(federation: Federation, names: NamesPart) -> None:
    """Zones, record sets, a watch, and a resolution with its reason."""
    await names.until(EU, ["127.0.1.1"])
    servicer = DnsServicer(names.answering, server="127.0.0.1:53")
    server = RpcServer(listen="127.0.0.1:0", tls=None, policy=Policy.allow_all())
    server.add(add_DnsServiceServicer_to_server, servicer)
    async with server, RpcChannel(server.address, tls=None) as channel:
        stub = DnsServiceStub(channel)
        zones = await stub.ListZones(dns_service_pb2.ListZonesRequest())
        assert [(zone.origin, zone.record_sets) for zone in zones.zones] == [("example.org.", 7)]
        zone = zones.zones[0]
        assert zone.create_time.ToNanoseconds() > 0
        assert zone.update_time.ToNanoseconds() >= zone.create_time.ToNanoseconds()
        turned = await stub.ListRecordSets(
            dns_service_pb2.ListRecordSetsRequest(
                parent="zones/example.org", order_by="scope desc, fqdn desc"
            )
        )
        places = [(-record.scope, [-ord(c) for c in record.fqdn]) for record in turned.record_sets]
        assert places == sorted(places)
        assert len(places) == 7
        first = await stub.ListRecordSets(
            dns_service_pb2.ListRecordSetsRequest(parent="zones/example.org", page_size=5, filter=OF_WEB)
        )
        rest = await stub.ListRecordSets(
            dns_service_pb2.ListRecordSetsRequest(
                parent="zones/example.org",
                page_size=5,
                filter=OF_WEB,
                page_token=first.next_page_token,
            )
        )
        assert len({record.fqdn for record in [*first.record_sets, *rest.record_sets]}) == 7
        answer = await stub.Resolve(dns_service_pb2.ResolveRequest(fqdn="web.shop.hanse.svc.eu-west"))
        assert answer.rcode == "NOERROR"
        assert answer.answers == [f"{EU} 30 IN A 127.0.1.1"]
        assert answer.record_set.scope == record_set_pb2.REGION
        with pytest.raises(NotFoundError, match=r"example\.org") as no_zone:
            await stub.GetZone(dns_service_pb2.GetZoneRequest(name="zones/example.com"))
        assert no_zone.value.metadata == {"name": "zones/example.com", "zone": "zones/example.org"}
        name = "zones/example.org/recordSets/none.example.org."
        with pytest.raises(NotFoundError, match="no record set") as no_record:
            await stub.GetRecordSet(dns_service_pb2.GetRecordSetRequest(name=name))
        assert no_record.value.metadata == {"name": name}
        with pytest.raises(InvalidArgumentError, match="not of the form zones/ZONE"):
            await stub.GetZone(dns_service_pb2.GetZoneRequest(name="example.com"))
        with pytest.raises(InvalidArgumentError, match="BOGUS"):
            await stub.Resolve(dns_service_pb2.ResolveRequest(fqdn="x", type="BOGUS"))
        watch = stub.WatchRecordSets(dns_service_pb2.WatchRecordSetsRequest(revision=first.revision))
        await present(federation, "eu-west", ip="127.0.1.7")
        changed = await asyncio.wait_for(anext(aiter(watch)), SECONDS)
        assert changed.record_set.service.name == "web"
        watch.cancel()
