"""Clusters and the store say anything: it is read as far as it can be, and harms one cluster at most."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hanse_registry import intent, membership_controller
from hanse_registry.controller import stored_cluster
from hanse_registry.member.health import ClusterHealth
from hanse_registry.member.inventory import MAX_RESOURCES, MAX_ZONES, capacity, topology
from hanse_registry.membership import compile_cluster
from hanse_registry.remaining import held_by
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hanse.api.registry.v1 import cluster_pb2, registry_service_pb2
from hanse.api.scheduler.v1 import placement_pb2
from hanse.api.syncer.v1 import sync_state_pb2
from hanse.errors import HanseError, InvalidArgumentError
from hanse.kube.client.bounds import MisbehavingMemberError
from hanse.kube.model.quantity import Quantity
from hanse.store import KeyValue, MemoryStore, keys
from tests.support.shapes import anything, gone_wrong

from .test_pure import node
from .test_service import World, world  # noqa: F401 - the fixture

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CLUSTER = {
    "apiVersion": "hanse.dev/v1alpha1",
    "kind": "Cluster",
    "metadata": {
        "name": "eu", "uid": "u", "labels": {"a": "b"}, "annotations": {"a": "b"},
        "creationTimestamp": "2026-01-01T00:00:00Z",
    },
    "spec": {
        "server": "https://eu", "region": "r", "zones": ["a"], "unschedulable": True,
        "taints": [{"key": "k", "value": "v", "effect": "NoSchedule", "timeAdded": "2026-01-01T00:00:00Z"}],
    },
}  # fmt: skip


def key_of(name: str) -> keys.ObjectKey:
    """The key of a ConfigMap."""
    return keys.ObjectKey("", "configmaps", "shop", name)


@given(
    nodes=st.lists(gone_wrong(node(region="eu", zone="a")).filter(lambda n: isinstance(n, dict)), max_size=3)
)
@settings(max_examples=200)
@example(
    nodes=[node(cpu="1e999999"), node(cpu="1e9999"), node(cpu="9" * 10_000), node(cpu="1e100"), node(cpu="1")]
)
def test_any_node_counts_as_far_as_it_can_be_read(nodes: list[Any]) -> None:
    """Labels, conditions and quantities of any shape make a capacity that can be stored."""
    found = capacity(nodes)
    assert found.total_nodes == len(nodes)
    assert len(found.SerializeToString()) < 100_000
    topology(nodes)


def test_what_nodes_name_without_end_is_bounded() -> None:
    """Zones and resources of one cluster are bounded."""
    nodes = [node(zone=f"z{n}") for n in range(2000)]
    for number, each in enumerate(nodes):
        each["status"]["allocatable"] = {f"example.org/r{number}": "1"}
    for read, most in ((topology, MAX_ZONES), (capacity, MAX_RESOURCES)):
        read(nodes[:most])
        with pytest.raises(MisbehavingMemberError, match=str(most)):
            read(nodes)


@pytest.mark.parametrize("text", ["1e999999", "1e-9999", "9" * 10_000, "1" * 101, {"x": 1}, [1], None])
def test_an_absurd_quantity_is_none(text: Any) -> None:
    """A number that nothing can have so much of is refused, at no cost."""
    with pytest.raises(InvalidArgumentError):
        Quantity.parse(text)


@given(obj=gone_wrong(CLUSTER))
@settings(max_examples=200)
def test_any_stored_cluster_object_is_compiled_or_unreadable(obj: Any) -> None:
    """A Cluster of another release makes no controller fail."""
    where = intent.object_key("eu")
    with contextlib.suppress(ValueError, HanseError):
        stored = intent.decode(KeyValue(where, orjson.dumps(obj), 1, 1, 1))
        made = compile_cluster(
            stored, health=ClusterHealth(), inventory=None, previous=None, credential_hash="", now=NOW
        )
        made.SerializeToString()
        return
    with pytest.raises((ValueError, HanseError)):
        intent.decode(KeyValue(where, orjson.dumps(obj), 1, 1, 1))


@given(value=st.one_of(st.binary(max_size=20), anything().map(orjson.dumps)))
def test_any_stored_view_is_read_or_refused(value: bytes) -> None:
    """Decoding raises nothing but what the follower takes for "cannot be read"."""
    with contextlib.suppress(ValueError):
        stored_cluster(KeyValue("clusters/eu", value, 1, 1, 1))


async def test_what_cannot_be_read_may_be_in_the_cluster() -> None:
    """An unjoin does not take an unreadable placement or sync state for none; junk keys are of no object."""
    store = MemoryStore()
    for key in ("placements/x", "syncstates/x", "syncstates/x/eu", "placements/a/b/c/d/e/f"):
        await store.put(key, b"\xff")
    assert not await held_by(store, "eu")
    await store.put(key_of("a").sync_state("us"), b"\xff")
    assert not await held_by(store, "eu")
    await store.put(key_of("a").sync_state("eu"), b"\xff")
    assert "sync state cannot be read" in await held_by(store, "eu")
    removed = sync_state_pb2.SyncState(name="x", phase=sync_state_pb2.REMOVED)
    await store.put(key_of("a").sync_state("eu"), removed.SerializeToString())
    assert not await held_by(store, "eu")
    await store.put(key_of("a").key("placements"), b"\xff")
    assert "placement cannot be read" in await held_by(store, "eu")
    await store.put(key_of("a").key("placements"), b"")
    assert "placement cannot be read" in await held_by(store, "eu")


async def test_what_holds_a_cluster_is_told_in_any_phase_and_under_any_key() -> None:
    """A phase of a newer release is its number; a key that nobody can write is of no object."""
    store = MemoryStore()
    placed = placement_pb2.Placement(clusters=[placement_pb2.ClusterPlacement(cluster="eu")])
    for name in ("x" * 600, "a\x01b"):
        await store.put(f"placements/core/configmaps/shop/{name}", placed.SerializeToString())
        unknown = sync_state_pb2.SyncState(name="x").SerializeToString()
        await store.put(f"syncstates/core/configmaps/shop/{name}/eu", unknown)
    assert not await held_by(store, "eu")
    state = sync_state_pb2.SyncState(name="x", reason="Because")
    state.phase = 99  # type: ignore[assignment]
    await store.put(key_of("a").sync_state("eu"), state.SerializeToString())
    assert await held_by(store, "eu") == "configmaps shop/a in cluster eu: 99, Because"


async def test_keys_that_no_cluster_has_keep_no_registry_from_leading(world: World) -> None:  # noqa: F811
    """Views under such keys are of no cluster, whatever they say, and are there when a registry begins."""
    for name in ("x" * 600, "a\x01b", "x/", "x/y"):
        view = cluster_pb2.Cluster(name=f"clusters/{name}", state=cluster_pb2.READY)
        await world.store.put(f"clusters/{name}", view.SerializeToString())
    await world.join("us")
    await world.until("us", cluster_pb2.READY)
    leadership = world.registrar._leadership
    assert leadership is not None
    await world.store.revoke(leadership.lease.id)  # it begins again
    await world.join("eu")
    await world.until("eu", cluster_pb2.READY)


async def test_one_controllers_error_reaches_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """An error about one cluster, of whatever class, does not end the attention to the others."""
    await world.join("a")
    await world.until("a", cluster_pb2.READY)
    runs: list[str] = []
    run = membership_controller.MembershipController.run

    async def counted(self: membership_controller.MembershipController) -> None:
        runs.append(self._name)
        if self._name == "b":
            raise InvalidArgumentError("of this cluster alone")
        await run(self)

    monkeypatch.setattr(membership_controller.MembershipController, "run", counted)
    with contextlib.suppress(HanseError):
        await world.join("b")
    await world.join("c")
    await world.until("c", cluster_pb2.READY)
    assert runs.count("b") >= 1
    assert "a" not in runs  # its controller was not started again


async def test_junk_in_the_registrys_prefixes_keeps_no_cluster_away(world: World) -> None:  # noqa: F811
    """Views, credentials, catalogues and objects that cannot be read stop nobody from joining."""
    for key in ("clusters/x", "clusters/x/y", "credentials/x", "catalogues/x", "placements/x",
                intent.object_key("x"), f"{intent.PREFIX}x"):  # fmt: skip
        await world.store.put(key, b"\xffjunk")
    await world.join("eu")
    await world.until("eu", cluster_pb2.READY)
    await world.store.put(keys.cluster("eu"), b"\xffjunk")
    await world.stub.UnjoinCluster(registry_service_pb2.UnjoinClusterRequest(name="clusters/eu"))
    await world.until_gone("eu")
    assert await world.store.get(intent.object_key("x")) is not None
