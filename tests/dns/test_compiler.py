"""Which addresses stand behind which name."""

from __future__ import annotations

import pytest
from hanse_dns.compiler import (
    MAX_TARGETS,
    ClusterView,
    CompiledRecord,
    Presence,
    Scope,
    compile_service,
)
from hanse_dns.names import Naming
from hanse_dns.sources import cluster_view
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.registry.v1 import cluster_pb2
from hanse.api.type.v1 import condition_pb2
from hanse.store import KeyValue

NAMING = Naming("hanse", "example.org")
EU = ClusterView("eu-west", "eu-west", ("a", "b"), reachable=True)
EU_TOO = ClusterView("eu-west-2", "eu-west", ("c",), reachable=True)
US = ClusterView("us-east", "us-east", ("a",), reachable=True)


def names(clusters: list[ClusterView], presences: dict[str, Presence]) -> dict[str, CompiledRecord]:
    """The compiled records of Service web in namespace shop, by what stands between "svc." and the suffix."""
    records = compile_service(
        naming=NAMING, namespace="shop", service="web", clusters=clusters, presences=presences
    )
    return {
        record.fqdn.removeprefix("web.shop.hanse.svc.").removesuffix("example.org.").rstrip("."): record
        for record in records
    }


def addresses(record: CompiledRecord) -> list[str]:
    """The addresses of a record."""
    return [target.address for target in record.targets]


def test_every_zone_every_region_and_the_globe_has_a_name() -> None:
    """A name exists for each place of the federation, wherever the Service runs."""
    found = names([EU, US], {"us-east": Presence(("127.0.1.1",), 1)})
    assert set(found) == {"", "eu-west", "a.eu-west", "b.eu-west", "us-east", "a.us-east"}


def test_a_name_has_no_more_addresses_than_an_answer_has_room_for() -> None:
    """A member that reports addresses without end makes no name that cannot be stored; the reason tells."""
    many = tuple(f"10.{n // 65536}.{n // 256 % 256}.{n % 256}" for n in range(5000))
    record = names([EU], {"eu-west": Presence(many, 1)})["eu-west"]
    assert addresses(record) == sorted(many)[:MAX_TARGETS]
    assert record.reason.endswith(f"; the first {MAX_TARGETS} of 5000")


def test_a_name_prefers_its_zone_then_its_region_then_the_world() -> None:
    """The nearest healthy addresses win, and the record says how far it looked."""
    presences = {
        "eu-west": Presence(("127.0.0.1",), 1),
        "eu-west-2": Presence(("127.0.0.2",), 1),
        "us-east": Presence(("127.0.1.1",), 0),
    }
    found = names([EU, EU_TOO, US], presences)
    assert (found["a.eu-west"].scope, addresses(found["a.eu-west"])) == (Scope.ZONE, ["127.0.0.1"])
    assert addresses(found["c.eu-west"]) == ["127.0.0.2"]
    assert addresses(found["eu-west"]) == ["127.0.0.1", "127.0.0.2"]
    assert (found["a.us-east"].scope, addresses(found["us-east"])) == (
        Scope.GLOBAL,
        ["127.0.0.1", "127.0.0.2"],
    )
    assert "none healthy in zone a; none healthy in region us-east" in found["a.us-east"].reason


def test_a_zone_without_health_gets_the_regions_addresses() -> None:
    """The region stands in for its zone before the world does."""
    presences = {"eu-west-2": Presence(("127.0.0.2",), 1), "us-east": Presence(("127.0.1.1",), 1)}
    record = names([EU, EU_TOO, US], presences)["a.eu-west"]
    assert (record.scope, addresses(record)) == (Scope.REGION, ["127.0.0.2"])


def test_an_address_needs_a_ready_endpoint_and_an_endpoint_needs_an_address() -> None:
    """Neither alone is health."""
    found = names([EU, US], {"eu-west": Presence(("127.0.0.1",), 0), "us-east": Presence((), 3)})
    assert all(record.targets == () for record in found.values())
    assert found[""].reason == "no healthy address anywhere"


def test_a_lost_cluster_leaves_the_names() -> None:
    """Its addresses are gone everywhere while others are healthy."""
    lost = ClusterView("us-east", "us-east", ("a",), reachable=False)
    presences = {"eu-west": Presence(("127.0.0.1",), 1), "us-east": Presence(("127.0.1.1",), 1)}
    assert all(addresses(record) == ["127.0.0.1"] for record in names([EU, lost], presences).values())


def test_when_nobody_can_be_reached_the_last_known_addresses_stay() -> None:
    """Unknown is not empty: losing sight of all clusters empties no name."""
    dark = [ClusterView(c.name, c.region, c.zones, reachable=False) for c in (EU, US)]
    presences = {"eu-west": Presence(("127.0.0.1",), 1), "us-east": Presence(("127.0.1.1",), 1)}
    found = names(dark, presences)
    assert addresses(found["a.eu-west"]) == ["127.0.0.1"]
    assert "last known" in found[""].reason


def test_places_that_are_no_dns_labels_are_left_out() -> None:
    """A region called "EU West" cannot be asked for, and does not break the others."""
    odd = ClusterView("odd", "EU West", ("Zone 1",), reachable=True)
    found = names([odd, US], {"odd": Presence(("127.0.0.9",), 1)})
    assert set(found) == {"", "us-east", "a.us-east"}
    assert addresses(found["us-east"]) == ["127.0.0.9"]


views = st.builds(
    ClusterView,
    name=st.sampled_from([f"c{i}" for i in range(6)]),
    region=st.sampled_from(["", "r1", "r2"]),
    zones=st.lists(st.sampled_from(["a", "b"]), unique=True).map(tuple),
    reachable=st.booleans(),
)
presence = st.builds(
    Presence,
    addresses=st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1"]), unique=True).map(tuple),
    ready_endpoints=st.integers(0, 2),
)


@given(
    clusters=st.lists(views, unique_by=lambda c: c.name),
    presences=st.dictionaries(st.sampled_from([f"c{i}" for i in range(6)]), presence),
)
def test_no_name_is_empty_while_somebody_is_healthy(
    clusters: list[ClusterView], presences: dict[str, Presence]
) -> None:
    """Either every name has addresses, all of healthy clusters, or nobody is healthy at all."""
    found = names(clusters, presences)
    healthy = {c.name for c in clusters if c.name in presences and presences[c.name].healthy}
    reachable = {c.name for c in clusters if c.name in healthy and c.reachable}
    for record in found.values():
        assert bool(record.targets) == bool(healthy)
        assert {target.cluster for target in record.targets} <= (reachable or healthy)


@pytest.mark.parametrize(
    ("state", "ready", "reachable"),
    [
        (cluster_pb2.READY, condition_pb2.TRUE, True),
        (cluster_pb2.OFFLINE, condition_pb2.UNKNOWN, False),
        (cluster_pb2.UNJOINING, condition_pb2.TRUE, True),
        (cluster_pb2.UNJOINING, condition_pb2.UNKNOWN, False),
    ],
)
def test_a_cluster_that_leaves_is_reachable_only_while_it_answers(
    state: cluster_pb2.ClusterState.ValueType, ready: condition_pb2.ConditionStatus.ValueType, reachable: bool
) -> None:
    """Unjoining a lost cluster does not bring its addresses back into the names."""
    message = cluster_pb2.Cluster(
        name="clusters/a",
        state=state,
        conditions=[condition_pb2.Condition(type="Ready", status=ready)],
    )
    kv = KeyValue("clusters/a", message.SerializeToString(), create_revision=1, mod_revision=1, version=1)
    assert cluster_view(kv).reachable is reachable
