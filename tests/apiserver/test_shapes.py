"""Members report anything: whatever it is, the fold gives a status of bounded size that can be served."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hanse_apiserver.aggregate import Decision, Member, aggregate
from hanse_apiserver.aggregate.fold import MAX_WHOLE_BYTES, RULES
from hanse_apiserver.views.parts import status_of
from hanse_apiserver.views.view import FederationView
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, Placement
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.federation.strategies import federation_kinds
from hanse.kube.engine.hooks import Deferred
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.table import layout
from hanse.kube.model.untrusted import MAX_DEPTH, MAX_STATUS_BYTES
from hanse.store import Event, KeyValue
from hanse.store.keys import ObjectKey
from tests.support.shapes import anything, deep, gone_wrong

CONDITIONS = [
    {
        "type": kind,
        "status": "True",
        "reason": "Because",
        "message": "said",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "lastProbeTime": "2026-01-01T00:00:00Z",
    }
    for kind in ("Available", "Ready", "Failed", "Complete")
]
VALID: dict[str, Any] = {
    "observedGeneration": 1,
    "replicas": 2,
    "readyReplicas": 2,
    "updatedReplicas": 2,
    "availableReplicas": 2,
    "unavailableReplicas": 0,
    "currentRevision": "a",
    "updateRevision": "a",
    "desiredNumberScheduled": 2,
    "numberAvailable": 2,
    "active": 1,
    "succeeded": 1,
    "startTime": "2026-01-01T00:00:00Z",
    "completionTime": "2026-01-01T00:00:00Z",
    "phase": "Bound",
    "accessModes": ["ReadWriteOnce"],
    "capacity": {"storage": "1Gi"},
    "lastScaleTime": "2026-01-01T00:00:00Z",
    "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageValue": "1m"}}}],
    "currentHealthy": 1,
    "disruptionsAllowed": 1,
    "loadBalancer": {
        "ingress": [{"ip": "192.0.2.1", "ports": [{"port": 80}]}, {"hostname": "lb.example.org"}]
    },
    "conditions": CONDITIONS,
}
KINDS = [*(kind.group_plural for kind in RULES), ("example.org", "widgets")]
OBJ = {
    "apiVersion": "v1",
    "kind": "X",
    "metadata": {"name": "web", "namespace": "shop", "generation": 1, "uid": "u"},
    "spec": {"replicas": 2},
}


def member(cluster: str, status: Any) -> Member:
    """A member with a status that came from the store."""
    encoded = orjson.dumps(status)
    found, why = status_of(encoded)
    return Member(
        cluster=cluster, phase="Applied", reason=why, status=found, size=len(encoded), applied_generation=1,
        member_generation=1,
    )  # fmt: skip


@pytest.mark.parametrize(("group", "resource"), KINDS)
@given(statuses=st.lists(gone_wrong(VALID), min_size=1, max_size=3))
@settings(max_examples=60)
def test_any_status_of_any_kind_is_folded_and_can_be_served(
    group: str, resource: str, statuses: list[Any]
) -> None:
    """The fold raises on nothing, and what it gives is JSON that a Table can be made of."""
    members = [member(f"c{index}", status) for index, status in enumerate(statuses)]
    status = aggregate(group, resource, OBJ, members=members, decision=Decision(generation=1), now="")
    served = {**OBJ, "status": status}
    assert orjson.loads(orjson.dumps(served))["metadata"]["name"] == "web"
    assert [each["name"] for each in status["clusters"]] == [each.cluster for each in members]
    for condition in status.get("conditions") or ():
        if resource not in ("namespaces", "customresourcedefinitions"):
            assert condition["status"] in ("True", "False", "Unknown")


@given(value=anything())
def test_a_condition_whose_status_is_no_text_is_unknown(value: Any) -> None:
    """A member that writes an object where a status belongs makes the condition Unknown, and no more."""
    ready = {"type": "Ready", "status": value}
    members = [member("a", {"conditions": [ready]}), member("b", VALID)]
    status = aggregate("example.org", "widgets", OBJ, members=members, decision=Decision(generation=1))
    known = value if isinstance(value, str) and value in ("True", "False") else "Unknown"
    assert next(c for c in status["conditions"] if c["type"] == "Ready")["status"] == known
    assert status["clusters"][1]["status"] == VALID


def test_the_size_of_what_members_report_is_bounded() -> None:
    """Statuses that are too large together are left out with a reason; endless lists are cut."""
    large = {"text": "x" * (MAX_STATUS_BYTES - 5000), "conditions": CONDITIONS}
    members = [member(f"c{index}", large) for index in range(6)]
    status = aggregate("example.org", "widgets", OBJ, members=members, decision=Decision(generation=1))
    assert ["status" in each for each in status["clusters"]] == [True] * 4 + [False] * 2
    assert status["clusters"][5]["reason"] == "StatusTooLarge"
    assert len(orjson.dumps(status)) < 2 * MAX_WHOLE_BYTES
    endless = {
        "loadBalancer": {"ingress": [{"ip": f"192.0.2.{n}", "x": n} for n in range(20_000)]},
        "conditions": [{"type": f"T{n}", "status": "True", "message": "m" * 5000} for n in range(20_000)],
    }
    status = aggregate("", "services", OBJ, members=[member("a", endless)], decision=Decision(generation=1))
    assert len(orjson.dumps(status)) < 300_000


def test_a_status_that_is_nested_too_deep_is_left_out_with_a_reason() -> None:
    """What could not be encoded inside another object is not passed on."""
    assert status_of(orjson.dumps({"x": deep(MAX_DEPTH - 3)}))[1] == ""
    for levels in (MAX_DEPTH, 240):
        found, why = status_of(orjson.dumps({"x": deep(levels)}))
        assert (found, "levels deep" in why) == ({}, True)
    assert status_of(b'{"x": "' + b"[" * 5000 + b'"}')[1] == ""
    assert "no JSON" in status_of(b"{")[1]
    assert "no JSON object" in status_of(b"[1]")[1]


async def test_a_member_that_the_fold_fails_on_is_served_with_the_reason(monkeypatch: Any) -> None:
    """Should a rule raise after all, that member's status is left out, and the others' are folded."""
    view = FederationView(Catalogue(federation_kinds()))
    key = ObjectKey("apps", "deployments", "shop", "web")
    placement = Placement(name="x", generation=1, clusters=[ClusterPlacement(cluster=c) for c in "ab"])
    _put(view, key.key("placements"), placement.SerializeToString())
    for cluster, status in (("a", b'{"readyReplicas":1}'), ("b", b'{"readyReplicas":2,"poison":1}')):
        state = sync.SyncState(name="x", phase=sync.APPLIED, applied_generation=1, status=status)
        _put(view, key.sync_state(cluster), state.SerializeToString())

    def picky(group: str, resource: str, obj: Any, *, members: list[Member], **more: Any) -> Any:
        if any("poison" in each.status for each in members):
            raise TypeError("unhashable type: 'dict'")
        return aggregate(group, resource, obj, members=members, **more)

    monkeypatch.setattr("hanse_apiserver.views.view.aggregate", picky)
    served = view.render(key, OBJ)
    assert isinstance(served, dict)
    assert served["status"]["readyReplicas"] == 1
    first, second = served["status"]["clusters"]
    assert ("reason" in first, second["reason"]) == (False, "StatusUnreadable")
    assert "unhashable" in second["message"]


@given(value=st.binary(max_size=40))
def test_any_bytes_in_a_derived_prefix_hide_nothing(value: bytes) -> None:
    """A sync state that cannot be read confirms nothing, and is no reason that the others are not served."""
    view = FederationView(Catalogue(federation_kinds()))
    key = ObjectKey("", "configmaps", "shop", "web")
    _put(view, key.sync_state("eu"), value)
    parts = view.parts(key)
    if view.is_unreadable(key):
        assert parts is not None
        assert parts.unconfirmed() == ["eu"]
        assert view.keepers(key)
    for path in (key.key("placements"), "clusters/eu", "clusters/a/b", "syncstates/x", "placements/x"):
        _put(view, path, value)
    for served in (key, ObjectKey("hanse.dev", "syncstates", "shop", "configmaps.web.eu")):
        made = view.render(served, OBJ if served is key else None)
        if isinstance(made, Deferred):
            made.make()


def test_values_of_a_newer_release_are_served_as_numbers() -> None:
    """A phase or health that nobody here knows, or a time that no calendar has, is no reason to fail."""
    view = FederationView(Catalogue(federation_kinds()))
    key = ObjectKey("", "configmaps", "shop", "web")
    state = sync.SyncState(name="x", status=b"[" * 300)
    state.phase = 99  # type: ignore[assignment]
    state.transition_time.seconds = 2**50
    _put(view, key.sync_state("eu"), state.SerializeToString())
    made = view.render(ObjectKey("hanse.dev", "syncstates", "shop", "configmaps.web.eu"), None)
    assert isinstance(made, Deferred)
    assert made.make()["phase"] == "99"


def _put(view: FederationView, path: str, value: bytes) -> None:
    list(view.apply(Event("put", KeyValue(path, value, 5, 5, 1, 0))))


def test_every_kind_has_a_layout() -> None:
    """The kinds that are folded here are shown by `kubectl get` too."""
    catalogue = Catalogue(federation_kinds())
    for group, resource in (kind.group_plural for kind in RULES):
        info = catalogue.storage(group, resource)
        assert info is not None
        assert layout(info).columns
