"""Members that say too much: each is left alone for itself, told of, and synced again when it behaves."""

from __future__ import annotations

import asyncio
import itertools
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from aiohttp import web
from hanse_syncer.member.endpoints import ready_endpoints
from hanse_syncer.member.slices import MAX_ENDPOINTS, Slices
from hanse_syncer.report import state_table, transitions
from hanse_syncer.report.state_table import SyncStateTable

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.api.type.v1 import condition_pb2
from hanse.kube.client import bounds
from hanse.kube.client.bounds import MisbehavingMemberError
from hanse.kube.client.pace import Pace
from hanse.store import BatchWriter, Compare, MemoryStore, TxnResult, keys
from hanse.store.keys import ObjectKey
from tests.support.federation.federation import FEDERATION_ID, Federation
from tests.support.waiting import until
from tests.syncer.harness import config_map

PATHS = [f"core/configmaps/default/c{number}" for number in range(10)]
LATER = "core/configmaps/default/later"
MIB = 1024 * 1024


async def reported(fed: Federation, cluster: str) -> condition_pb2.Condition | None:
    """Return what the registry is told of a cluster."""
    found = await fed.store.get(keys.member_report(cluster))
    return condition_pb2.Condition.FromString(found.value) if found is not None else None


async def is_reported(fed: Federation, cluster: str) -> condition_pb2.Condition:
    """Wait for the report of a cluster."""

    async def probe() -> bool:
        return await reported(fed, cluster) is not None

    await until(probe, what=f"{cluster} is reported", seconds=20)
    found = await reported(fed, cluster)
    assert found is not None
    return found


async def is_well(fed: Federation, cluster: str) -> None:
    """Wait until nothing is reported of a cluster."""

    async def probe() -> bool:
        return await reported(fed, cluster) is None

    await until(probe, what=f"{cluster} is not reported any more", seconds=20)


def lists(request: web.Request, resource: str = "configmaps") -> bool:
    """Whether a request is for a list of a resource."""
    return request.method == "GET" and request.path.endswith(f"/{resource}") and "watch" not in request.query


def endless_list(size: int = 200) -> Callable[[web.Request], Any]:
    """Return a fault: lists of ConfigMaps have no end."""
    numbers = itertools.count()

    async def answer(request: web.Request) -> web.StreamResponse | None:
        if not lists(request):
            return None
        items = [
            {"metadata": {"name": f"x{next(numbers)}", "namespace": "n", "uid": "u", "resourceVersion": "1",
                          "annotations": {"a": "x" * 2000}}}
            for _ in range(size)
        ]  # fmt: skip
        metadata = {"resourceVersion": "1", "continue": f"t{next(numbers)}"}
        body = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        return web.json_response(body | {"metadata": metadata, "items": items})

    return answer


async def huge_list(request: web.Request) -> web.StreamResponse | None:
    """A fault: one page of a list is larger than any."""
    return web.Response(body=b" " * 5 * MIB, content_type="application/json") if lists(request) else None


async def huge_object(request: web.Request) -> web.StreamResponse | None:
    """A fault: the answer to an apply is larger than any object."""
    if request.method != "PATCH":
        return None
    await request.read()
    return web.Response(body=b" " * 5 * MIB, content_type="application/json")


async def huge_event(request: web.Request) -> web.StreamResponse | None:
    """A fault: an event of a watch has no end."""
    if "watch" not in request.query or not request.path.endswith("/configmaps"):
        return None
    answer = web.StreamResponse()
    await answer.prepare(request)
    try:
        while True:
            await answer.write(b" " * 65536)
    except ConnectionError:
        return answer


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (endless_list(), "more than 2000 objects"),
        (huge_list, "as a page of a list"),
        (huge_object, "as an object"),
        (huge_event, "as an event of a watch"),
    ],
    ids=["endless-list", "huge-list", "huge-object", "huge-event"],
)
async def test_a_member_that_says_too_much_is_left_alone(
    fed: Federation, monkeypatch: pytest.MonkeyPatch, fault: Any, says: str
) -> None:
    """It alone is suspended, with the reason; nothing is removed; it is synced again when it behaves."""
    monkeypatch.setattr(bounds, "LIST_ITEMS", 2000)
    member = fed.members["a"]
    member.fault = fault
    async with fed.syncer():
        await fed.spread(PATHS)
        await fed.arrived(PATHS, "b")
        found = await is_reported(fed, "a")
        assert (found.type, found.status, found.reason) == (
            "Behaves",
            condition_pb2.FALSE,
            "MisbehavingMember",
        )
        assert says in found.message
        assert await reported(fed, "b") is None
        await fed.put(LATER, config_map())
        await fed.place(LATER, "a", "b")
        await fed.reaches(LATER, "b", sync.APPLIED)
        state = await fed.reaches(LATER, "a", sync.UNREACHABLE)
        assert state.reason in ("MisbehavingMember", "MemberUnreachable")
        member.fault = None
        await is_well(fed, "a")
        await fed.arrived([*PATHS, LATER], "a")
    assert all(method == "PATCH" for each in fed.members.values() for method, _ in each.writes)


async def test_nothing_is_written_before_a_suspended_member_has_proved_itself(fed: Federation) -> None:
    """While its lists are wrong, neither what is new nor what is to go is sent to it."""
    member = fed.members["a"]
    async with fed.syncer():
        await fed.spread(PATHS)
        await fed.arrived(PATHS, "a", "b")
    async with fed.syncer():
        member.fault = huge_list
        await is_reported(fed, "a")
        member.writes.clear()
        asked = len(member.requests)
        await fed.put(LATER, config_map())
        await fed.place(LATER, "a", "b")
        await fed.place(PATHS[0], "b", releasing=["a"])
        await fed.reaches(LATER, "b", sync.APPLIED)
        await until(
            lambda: sum("configmaps" in path for _, path in member.requests[asked:]) >= 5,
            what="its lists are asked for again",
            seconds=20,
        )
        assert member.writes == []
        assert len(member.requests) - asked < 200
        member.fault = None
        await fed.reaches(LATER, "a", sync.APPLIED, seconds=20)
        await fed.reaches(PATHS[0], "a", sync.REMOVED, seconds=20)
        await is_well(fed, "a")


async def test_a_namespace_whose_contents_have_no_end_stays(
    fed: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What of it is foreign is not asked for for ever: the member is left alone, and nothing is deleted."""
    monkeypatch.setattr(bounds, "LIST_ITEMS", 2000)
    numbers = itertools.count()
    labels = {"app.kubernetes.io/managed-by": "hanse", "hanse.dev/federation": FEDERATION_ID}

    async def endless(request: web.Request) -> web.StreamResponse | None:
        if not request.path.endswith("/namespaces/shop/secrets"):
            return None
        items = [
            {"metadata": {"name": f"x{next(numbers)}", "namespace": "shop", "labels": labels}}
            for _ in range(100)
        ]
        metadata = {"resourceVersion": "1", "continue": f"t{next(numbers)}"}
        body = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        return web.json_response(body | {"metadata": metadata, "items": items})

    space, member = "core/namespaces/_/shop", fed.members["a"]
    async with fed.syncer():
        await fed.put(space, {"apiVersion": "v1", "kind": "Namespace"})
        await fed.place(space, "a")
        await fed.reaches(space, "a", sync.APPLIED)
        member.writes.clear()
        member.fault = endless
        await fed.mark_deleted(space)
        found = await is_reported(fed, "a")
        assert "more than 2000 objects" in found.message
        assert member.writes == []
        member.fault = None
        await fed.reaches(space, "a", sync.REMOVED, seconds=20)
        await is_well(fed, "a")


async def test_endless_lists_cost_little_memory(fed: Federation) -> None:
    """At the real bounds a list without end is cut off, and what it brought is let go."""
    member = fed.members["a"]
    async with fed.syncer():
        await fed.spread(PATHS[:1])
        await fed.arrived(PATHS[:1], "a", "b")
    member.fault = endless_list(500)
    tracemalloc.start()
    try:
        async with fed.syncer():
            await until(
                lambda: sum(path.startswith("/api/v1/configmaps") for _, path in member.requests) > 60,
                what="many pages were sent",
                seconds=60,
            )
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * MIB  # the pages have more than that together


async def test_a_flood_of_events_is_read_at_a_pace_and_then_suspends(
    fed: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes too fast for too long is a reason to leave the member alone; the other goes on."""
    sent = 0

    async def flood(request: web.Request) -> web.StreamResponse | None:
        nonlocal sent
        if "watch" not in request.query or not request.path.endswith("/configmaps"):
            return None
        answer = web.StreamResponse()
        await answer.prepare(request)
        live = fed.members["a"].get(PATHS[0])
        assert live is not None
        try:
            for version in itertools.count(10**9):
                live = {**live, "metadata": {**live["metadata"], "resourceVersion": str(version)}}
                await answer.write(orjson.dumps({"type": "MODIFIED", "object": live}) + b"\n")
                sent += 1
        except ConnectionError:
            pass
        return answer

    monkeypatch.setattr(
        "hanse.kube.client.transport.Pace", lambda server: Pace(server, rate=500, burst=50, patience=1)
    )
    member = fed.members["a"]
    async with fed.syncer():
        await fed.spread(PATHS)
        await fed.arrived(PATHS, "a", "b")
    member.fault = flood
    async with fed.syncer():
        found = await is_reported(fed, "a")
        assert "more than 500 events a second" in found.message
        await fed.put(LATER, config_map())
        await fed.place(LATER, "b")
        await fed.reaches(LATER, "b", sync.APPLIED)
    assert sent > 500


async def test_a_report_goes_with_the_lease_of_the_cluster(fed: Federation) -> None:
    """A syncer that gives a cluster up takes its report along: nobody is held to what nobody means."""
    fed.members["a"].fault = huge_list
    async with fed.syncer():
        await fed.spread(PATHS[:1])
        await is_reported(fed, "a")
    assert await reported(fed, "a") is None


# --- what is stored


def state(size: int, name: str = "web") -> SyncState:
    """A sync state with a status of so many bytes."""
    return SyncState(name=name, phase=sync.APPLIED, status=b"x" * size)


def subject() -> transitions.Subject:
    """A ConfigMap in cluster a."""
    key = ObjectKey("", "configmaps", "default", "web")
    return transitions.Subject(key=key, cluster="a", uid="u", generation=1, placement_revision=1)


async def written(store: MemoryStore, cluster: str = "a") -> dict[str, SyncState]:
    """Return the stored states by path."""
    found = await store.range(f"{keys.SYNCSTATES}/")
    return {kv.key.split("/", 1)[1].rpartition("/")[0]: SyncState.FromString(kv.value) for kv in found.items}


async def table_in(store: MemoryStore) -> SyncStateTable:
    """A sync state table of cluster a."""
    await store.put(keys.cluster("a"), b"")
    return SyncStateTable(
        BatchWriter(store, spacing=0.0), "a", fence=lambda: Compare.exists(keys.cluster("a"))
    )


async def test_a_state_that_the_store_refuses_is_shortened_and_the_others_are_written() -> None:
    """It is never tried again as it is; what cannot be shortened is left out, and the table goes on."""
    store = MemoryStore()
    table = await table_in(store)
    running = asyncio.create_task(table.run())
    try:
        table.update("core/configmaps/default/large", lambda _: state(2 * MIB))
        hopeless = SyncState(name="x" * 2 * MIB, phase=sync.APPLIED)
        table.update("core/configmaps/default/hopeless", lambda _: hopeless)
        table.update("core/configmaps/default/small", lambda _: state(10))
        assert await table.flush(10)
    finally:
        running.cancel()
    found = await written(store)
    assert set(found) == {"core/configmaps/default/large", "core/configmaps/default/small"}
    large = found["core/configmaps/default/large"]
    assert (large.status, large.reason) == (b"", "StatusTooLarge")
    assert f"{2 * MIB} bytes" in large.message


async def test_the_statuses_of_a_cluster_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound they are left out with the reason; what is let go makes room; small ones are kept."""
    monkeypatch.setattr(state_table, "MAX_STATUS_TOTAL", 100_000)
    table = await table_in(MemoryStore())
    for number in range(10):
        table.update(f"core/configmaps/default/c{number}", lambda _: state(30_000))
    kept = [len(found.status) for _, found in table.items()]
    assert kept == [30_000] * 3 + [0] * 7
    last = table.get("core/configmaps/default/c9")
    assert last is not None
    assert last.reason == "StatusTooLarge"
    assert "100000 for all of a cluster" in last.message
    table.update("core/configmaps/default/small", lambda _: state(100))
    small = table.get("core/configmaps/default/small")
    assert small is not None
    assert (len(small.status), small.reason) == (100, "")
    table.drop("core/configmaps/default/c0")
    _, after = table.update("core/configmaps/default/c9", lambda _: state(30_000))
    assert len(after.status) == 30_000


class Counting(MemoryStore):
    """Counts the bytes of what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    async def txn(self, compares: Any, success: Any, failure: Any = ()) -> TxnResult:
        """Count and pass on."""
        self.bytes += sum(len(getattr(op, "value", b"")) for op in success)
        return await super().txn(compares, success, failure)


async def test_large_states_are_written_at_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member whose large statuses change all the time fills no disk: what is between is not written."""
    monkeypatch.setattr(state_table, "LARGE_BURST", 1.0 * MIB)
    store = Counting()
    table = await table_in(store)
    running = asyncio.create_task(table.run())
    try:
        for turn in range(100):
            for number in range(10):
                path = f"core/configmaps/default/c{number}"
                table.update(path, lambda _, turn=turn: state(100_000 + turn))  # type: ignore[misc]
            await asyncio.sleep(0.01)
    finally:
        running.cancel()
    assert store.bytes < 10 * MIB  # of 100 MB; what is written in a second or two, and the burst


def test_what_a_member_says_in_a_state_is_bounded() -> None:
    """Its uid, version, status and zones."""
    live = {
        "kind": "ConfigMap",
        "metadata": {"uid": "u" * MIB, "resourceVersion": "7" * MIB},
        "status": {"x": "y" * 300_000},
    }
    manifest: Any = type("M", (), {"api_version": "v1", "kind": "ConfigMap", "hash": "h"})()
    applied = transitions.applied(subject(), None, manifest=manifest, live=live, now=datetime.now(UTC))
    zones = [sync.ZoneEndpoints(zone=f"z{number}", ready=1) for number in range(1000)]
    counted = transitions.counted(applied, ready=zones)
    assert counted.reason == "StatusTooLarge"
    failed = transitions.failed(
        subject(), counted, phase=sync.FAILED, reason="r" * MIB, message="m" * MIB, now=datetime.now(UTC)
    )
    assert failed.ByteSize() < 8192


def test_of_an_endpoint_no_more_is_kept_than_is_counted() -> None:
    """Slices of any size and shape are kept in little, and counted as they are."""
    junk: Any = {"x" * MIB: ["y" * MIB] * 3}
    endpoints = [
        {
            "addresses": ["a" * MIB, junk],
            "zone": "z" * MIB,
            "conditions": junk,
            "targetRef": junk,
            "more": junk,
        },
        {"addresses": ["10.0.0.1"], "zone": "a", "conditions": {"ready": False, **junk}, "hints": junk},
        {"addresses": junk, "zone": junk, "conditions": [junk], "targetRef": {"uid": junk}},
        {"addresses": ["10.0.0.2"], "zone": "a", "conditions": {"ready": None}, "targetRef": {"uid": "u"}},
    ]
    labels = {"kubernetes.io/service-name": "web"}
    item = {"metadata": {"namespace": "default", "name": "one", "labels": labels}, "endpoints": endpoints}
    slices = Slices()
    slices.take(item, gone=False)
    kept = list(slices.of(("default", "web")))
    assert len(orjson.dumps(kept)) < 4096
    assert [(zone.zone[:3], zone.ready) for zone in ready_endpoints(kept)] == [("", 1), ("a", 1), ("zzz", 1)]


def test_endpoints_of_a_member_are_bounded() -> None:
    """Those of slices that went, or changed, do not count."""

    def piece(name: str, count: int) -> dict[str, Any]:
        labels = {"kubernetes.io/service-name": "web"}
        metadata = {"namespace": "default", "name": name, "labels": labels}
        return {"metadata": metadata, "endpoints": [{"addresses": ["10.0.0.1"]}] * count}

    slices = Slices()
    for _ in range(5):
        slices.take(piece("one", MAX_ENDPOINTS // 2), gone=False)
    slices.take(piece("two", MAX_ENDPOINTS // 2), gone=False)
    slices.take(piece("two", 0), gone=True)
    slices.take(piece("three", MAX_ENDPOINTS // 2), gone=False)
    with pytest.raises(MisbehavingMemberError, match=str(MAX_ENDPOINTS)):
        slices.take(piece("four", 1), gone=False)
