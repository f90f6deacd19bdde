"""Members answer with objects of any shape: each is judged, reported and compared without harm to others."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from aiohttp import web
from hanse_syncer.decide import drift, fingerprints, kinds
from hanse_syncer.decide.render import render
from hanse_syncer.federation.intent import decode_intent
from hanse_syncer.federation.state import FederationState
from hanse_syncer.member import endpoints, pods
from hanse_syncer.report import transitions
from hanse_syncer.report.state_loader import load_states
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, Placement
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1 import syncer_service_pb2 as pb
from hanse.errors import HanseError
from hanse.kube.model.untrusted import MAX_STATUS_BYTES
from hanse.store import KeyValue, MemoryStore
from hanse.store.keys import ObjectKey
from tests.support.federation.federation import Federation, federation
from tests.support.shapes import anything, deep, gone_wrong
from tests.support.waiting import until
from tests.syncer.harness import config_map
from tests.syncer.test_service import served

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ObjectKey("apps", "deployments", "shop", "web")
SUBJECT = transitions.Subject(key=KEY, cluster="eu", uid="u", generation=1, placement_revision=1)
POD = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
TEMPLATE: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}, "annotations": {"a": "b"}},
    "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": POD},
}
LIVE: dict[str, Any] = {
    **TEMPLATE,
    "metadata": {**TEMPLATE["metadata"], "uid": "m", "resourceVersion": "7", "generation": 3},
    "spec": {
        **TEMPLATE["spec"],
        "parallelism": 1,
        "updateStrategy": {"rollingUpdate": {"partition": 1}},
        "type": "LoadBalancer",
    },
    "status": {
        "observedGeneration": 3,
        "replicas": 2,
        "readyReplicas": 2,
        "updatedReplicas": 2,
        "availableReplicas": 2,
        "ready": 1,
        "active": 1,
        "phase": "Bound",
        "loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]},
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "Progressing", "status": "True"}],
    },
}
KINDS = [*(kind.group_kind for kind in kinds.RULES), ("example.org", "Widget")]
MANIFEST = render(TEMPLATE, placement=ClusterPlacement(cluster="eu"), federation_id="f")
POD_SEEN = {
    "metadata": {"name": "p"},
    "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]},
}
SLICE = {
    "endpoints": [
        {"addresses": ["10.0.0.1"], "conditions": {"ready": True}, "targetRef": {"uid": "a"}, "zone": "z"}
    ]
}


@pytest.mark.parametrize(("group", "kind"), KINDS)
@given(live=gone_wrong(LIVE))
@settings(max_examples=60)
def test_any_live_object_is_judged_and_reported(group: str, kind: str, live: Any) -> None:
    """Whatever a member shows, there is a health and a sync state that can be stored."""
    if not isinstance(live, dict):
        live = {"status": live, "spec": live, "metadata": live}
    live = {**live, "apiVersion": f"{group}/v1" if group else "v1", "kind": kind}
    assert kinds.health_of(live) in (sync.HEALTHY, sync.PROGRESSING, sync.DEGRADED)
    kinds.lags(live)
    kinds.desired_replicas(live)
    state = transitions.applied(SUBJECT, None, manifest=MANIFEST, live=live, now=NOW)
    stored = state.SerializeToString()
    assert sync.SyncState.FromString(stored) == state
    assert not state.status or isinstance(orjson.loads(state.status), dict)
    assert fingerprints.fingerprint(live, TEMPLATE)
    drift.changes(live, LIVE)
    drift.changes_to_manifest(live, TEMPLATE)


def test_a_status_that_cannot_be_stored_is_left_out_with_the_reason() -> None:
    """Too large, too deep, or no object: the sync state says so, and fits."""
    for status, reason in (
        ({"x": "y" * MAX_STATUS_BYTES}, "StatusTooLarge"),
        ({"x": deep(200)}, "StatusTooLarge"),
        ({"x": deep(900)}, "StatusTooLarge"),
        (["x"], "StatusUnreadable"),
    ):
        state = transitions.confirmed(
            SUBJECT, None, manifest=MANIFEST, live={**LIVE, "status": status}, now=NOW
        )
        assert (state.status, state.reason) == (b"", reason)
        assert len(state.SerializeToString()) < 4000


@given(slices=st.lists(gone_wrong(SLICE).filter(lambda value: isinstance(value, dict)), max_size=3))
def test_any_slice_is_counted(slices: list[Any]) -> None:
    """What is no endpoint does not count."""
    assert all(each.ready >= 1 for each in endpoints.ready_endpoints(slices))


def test_zones_without_end_are_counted_together() -> None:
    """A member that names a zone for each endpoint does not make a sync state without end."""
    many = [{"addresses": [f"a{n}"], "zone": f"zone-{n}"} for n in range(5000)]
    counted = endpoints.ready_endpoints([{"endpoints": many}])
    assert len(counted) <= endpoints.MAX_ZONES + 1
    assert sum(each.ready for each in counted) == 5000


@given(items=st.lists(st.one_of(gone_wrong(POD_SEEN), anything()), max_size=3))
def test_any_pod_is_counted(items: list[Any]) -> None:
    """What is no pod is no unschedulable pod."""
    assert 0 <= pods.unschedulable([item for item in items if isinstance(item, dict)]) <= len(items)


@given(template=gone_wrong(TEMPLATE))
@settings(max_examples=200)
def test_any_stored_template_is_rendered_or_is_this_objects_trouble(template: Any) -> None:
    """A template that cannot be rendered never reaches a member; nothing but an exception comes of it."""
    value = orjson.dumps(template)
    kv = KeyValue(KEY.key(), value, 1, 1, 1)
    try:
        intent = decode_intent(kv)
    except (ValueError, HanseError):
        return
    assert intent is not None
    try:
        made = render(
            intent.object(), placement=ClusterPlacement(cluster="eu", replicas=1), federation_id="f"
        )
    except Exception:  # noqa: BLE001 - the reconciler's boundary makes a condition of it
        return
    assert made.object["metadata"]["labels"]["hanse.dev/federation"] == "f"


async def test_stored_states_that_cannot_be_read_hide_no_others() -> None:
    """Junk under syncstates/ is left out of what a controller starts from."""
    store = MemoryStore()
    good = sync.SyncState(name="x", phase=sync.APPLIED)
    await store.put(KEY.sync_state("eu"), good.SerializeToString())
    for key, value in (
        (KEY.sync_state("us"), b""),
        (ObjectKey("", "configmaps", "shop", "b").sync_state("eu"), b"\xffjunk"),
        ("syncstates/x", good.SerializeToString()),
        ("syncstates/a/b/c/d/e/f/g", good.SerializeToString()),
    ):
        await store.put(key, value)
    assert await load_states(store) == {"eu": [("apps/deployments/shop/web", good)]}


async def test_junk_in_every_prefix_stops_nothing_from_being_followed() -> None:
    """What cannot be read is unknown: it is no intent and no placement, and it is said to be there."""
    store = MemoryStore()
    other = ObjectKey("", "configmaps", "shop", "a")
    placement = Placement(name="x", clusters=[ClusterPlacement(cluster="eu")])
    await store.put(KEY.key(), b"junk")
    await store.put(KEY.key("placements"), placement.SerializeToString())
    await store.put(
        other.key(), orjson.dumps({**config_map("a"), "metadata": {"name": "a", "namespace": "shop"}})
    )
    await store.put(other.key("placements"), b"\xff")
    for prefix in ("objects", "placements", "clusters", "catalogues", "credentials", "syncstates"):
        for name in ("x", "a/b", "a/b/c/d", "a/b/c/d/e/f/g"):
            await store.put(f"{prefix}/{name}", b"\xffjunk")
            await store.put(f"{prefix}/{name}0", b"")
    async with FederationState(store) as state:
        assert [state.unreadable(key.path()) for key in (KEY, other)] == [True, True]
        assert (state.intent(KEY.path()), state.placement(other.path())) == (None, None)
        assert state.cluster_names() == []
        assert list(state.placed("eu")) == [KEY.path()]
        assert state.wanted_inside("shop", "eu")  # for all that is known
        assert not state.wanted_inside("other", "eu")


async def test_one_objects_defect_is_its_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should looking at an object raise what nobody expected, its state says so; the others go on."""
    observe = transitions._observe

    def picky(state: sync.SyncState, live: Any, now: datetime) -> None:
        if live["metadata"]["name"] == "odd":
            raise AttributeError("'str' object has no attribute 'get'")
        observe(state, live, now)

    monkeypatch.setattr(transitions, "_observe", picky)
    async with federation("a") as fed, fed.syncer():
        for name in ("odd", "even"):
            await fed.put(f"core/configmaps/default/{name}", config_map())
            await fed.place(f"core/configmaps/default/{name}", "a")
        await fed.reaches("core/configmaps/default/even", "a", sync.APPLIED)
        state = await fed.reaches("core/configmaps/default/odd", "a", sync.FAILED)
        assert state.reason == "Unreadable"
        assert "no attribute" in state.message


async def test_what_is_stored_of_an_object_and_cannot_be_read_moves_nothing() -> None:
    """Junk in place of the object, its placement or its sync state: the member keeps it as it is."""
    paths = [f"core/configmaps/default/{name}" for name in ("object", "placement", "state", "well")]
    async with federation("a") as fed:
        async with fed.syncer():
            for path in paths:
                await fed.put(path, config_map())
                await fed.place(path, "a")
                await fed.reaches(path, "a", sync.APPLIED)
        await fed.store.put(f"objects/{paths[0]}", b"\xffjunk")
        await fed.store.put(f"placements/{paths[1]}", b"\xffjunk")
        await fed.store.put(f"syncstates/{paths[2]}/a", b"\xffjunk")
        async with fed.syncer() as sharing:
            await until(
                lambda: "a" in sharing.controllers and sharing.controllers["a"].settled,
                what="all is looked at",
            )
            assert all(fed.members["a"].get(path) is not None for path in paths)
            await until(lambda: _is_readable(fed, paths[2]), what="the member was asked, and has it")
            await fed.reaches(paths[2], "a", sync.APPLIED)
            await fed.put(paths[3], config_map("2"))
            await until(lambda: _value(fed.members["a"].get(paths[3])) == "2", what="another changes")
        assert not [write for write in fed.members["a"].writes if write[0] == "DELETE"]


async def _is_readable(fed: Federation, path: str) -> bool:
    found = await fed.store.get(f"syncstates/{path}/a")
    return found is not None and found.value != b"\xffjunk"


def _value(live: Any) -> Any:
    return live["data"]["value"]


async def test_a_watch_whose_objects_have_odd_parts_stops_no_other_resource() -> None:
    """A member that shows one resource in a form that cannot be read is followed for the others."""

    async def lie(request: web.Request) -> web.StreamResponse | None:
        if request.method == "GET" and request.path.endswith("/secrets"):
            body = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                    "metadata": {"resourceVersion": "7"}, "items": [{"metadata": "text"}]}  # fmt: skip
            return web.json_response(body)
        return None

    async with federation("a") as fed, fed.syncer():
        fed.members["a"].fault = lie
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {}, "type": "Opaque"}
        await fed.put("core/secrets/default/s", secret)
        await fed.place("core/secrets/default/s", "a")
        await fed.reaches("core/secrets/default/s", "a", sync.APPLIED)
        path = "core/configmaps/default/web"
        await fed.put(path, config_map())
        await fed.place(path, "a")
        await fed.reaches(path, "a", sync.APPLIED)
        await fed.members["a"].change(path, lambda live: {**live, "data": {"value": "drift"}})
        await until(lambda: _value(fed.members["a"].get(path)) == "1", what="drift is repaired")


async def test_a_sync_state_that_cannot_be_read_is_listed_with_the_reason() -> None:
    """One that is junk hides no other from those who ask over gRPC."""
    async with federation("a") as fed:
        good = sync.SyncState(name="syncStates/apps/deployments/shop/web/a", phase=sync.APPLIED)
        await fed.store.put(KEY.sync_state("a"), good.SerializeToString())
        await fed.store.put(KEY.sync_state("b"), b"\xffjunk")
        async with served(fed) as stub:
            listed = (await stub.ListSyncStates(pb.ListSyncStatesRequest())).sync_states
            assert [each.name for each in listed] == [good.name, f"{good.name[:-1]}b"]
            assert (listed[1].cluster, listed[1].reason) == ("b", "StatusUnreadable")
