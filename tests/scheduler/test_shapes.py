"""Objects, policies and derived values of any shape: each is decided on, or left alone with a reason."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hanse_scheduler.decide.decision import decide
from hanse_scheduler.decide.inputs import DecisionInput, Rules
from hanse_scheduler.decide.policies import (
    OverridePolicy,
    PlacementPolicy,
    compile_override,
    compile_placement,
)
from hanse_scheduler.state.records import (
    ObjectRecord,
    decode_member_cluster,
    decode_object,
    decode_observed,
    decode_served,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hanse.api.scheduler.v1 import scheduler_service_pb2 as pb
from hanse.errors import HanseError
from hanse.federation.records import decode_placement
from hanse.store import KeyValue, keys
from hanse.store.keys import ObjectKey
from tests.scheduler.builders import CONFIG, NOW, WEB, config, deployment, policy_object, table
from tests.support.federation.federation import Federation
from tests.support.shapes import anything, gone_wrong

from .test_service import serve

OVERRIDE = {
    **policy_object("ClusterOverridePolicy"),
    "spec": {
        "priority": 1,
        "resourceSelectors": [
            {"apiVersion": "v1", "kind": "ConfigMap", "labelSelector": {"matchLabels": {"a": "b"}}}
        ],
        "rules": [
            {
                "clusterNames": ["a"],
                "clusterSelector": {"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]},
                "jsonPatch": [{"op": "add", "path": "/metadata/labels/x", "value": "y"}],
                "image": {"registry": "r"},
                "labels": {"a": "b"},
                "replicas": 2,
            }
        ],
    },
}
POLICY = policy_object(
    clusterNames=["a"],
    excludeClusters=["b"],
    clusterSelector={"matchLabels": {"a": "b"}},
    maxClusters=2,
    spreadBy="region",
    tolerations=[{"key": "k", "operator": "Exists", "effect": "NoSchedule"}],
    replicas={"mode": "Divided", "rebalance": True, "clusters": {"*": {"weight": 1}}},
    tolerationSeconds=3,
    conflictResolution="Adopt",
)
ANNOTATIONS = {
    "federation.alpha.kubernetes.io/cluster-selector": '[{"key":"a","operator":"in","values":["b"]}]',
    "federation.kubernetes.io/deployment-preferences": '{"clusters":{"*":{"weight":1}}}',
}


def stored(key: ObjectKey, value: Any) -> KeyValue:
    """A value in the store."""
    return KeyValue(key.key(), value if isinstance(value, bytes) else orjson.dumps(value), 1, 1, 1)


@given(
    obj=gone_wrong({**deployment(3), "metadata": {**deployment(3)["metadata"], "annotations": ANNOTATIONS}})
)
@settings(max_examples=200)
def test_any_stored_workload_is_decided_on_or_unreadable(obj: Any) -> None:
    """What is readable gives a decision, if need be one that says what is wrong; the rest is unreadable."""
    try:
        record = decode_object(stored(WEB, obj))
    except (ValueError, HanseError):
        return
    assert isinstance(record, ObjectRecord)
    inputs = DecisionInput(key=WEB, obj=record.reduced, table=table("a", "b"), propagates=record.propagates)
    assert decide(inputs, rules=Rules(), now=NOW).changed


@given(policy=gone_wrong(POLICY), override=gone_wrong(OVERRIDE))
@settings(max_examples=200)
def test_any_policy_is_compiled_with_its_error(policy: Any, override: Any) -> None:
    """A policy of any shape compiles; what cannot be used is said, and touches no more than it selects."""
    if isinstance(policy, dict):
        found = compile_placement(policy)
        inputs = DecisionInput(key=CONFIG, obj=config(), table=table("a", "b"), policy=found)
        decide(inputs, rules=Rules(), now=NOW)
    if isinstance(override, dict):
        compile_override(override)


@pytest.mark.parametrize(
    "broken",
    [
        {"labelSelector": {"matchLabels": [1]}},
        {"labelSelector": "x"},
        {"labelSelector": {"matchExpressions": [7]}},
        {"labelSelector": {"matchLabels": {"a": {"b": 1}}}},
    ],
)
def test_a_selector_that_cannot_be_read_may_mean_every_object_of_its_kind(broken: dict[str, Any]) -> None:
    """Such a policy is used for nothing, and what it may mean keeps what it has."""
    spec = {"resourceSelectors": [{"apiVersion": "v1", "kind": "ConfigMap", **broken}]}
    found = decode_object(
        stored(ObjectKey("hanse.dev", "clusterplacementpolicies", "", "p"), {**POLICY, "spec": spec})
    )
    assert isinstance(found, PlacementPolicy)
    assert "cannot be used" in found.head.error
    assert [(each.kind, each.labels) for each in found.head.selectors] == [("ConfigMap", None)]


def test_a_policy_with_broken_metadata_is_about_what_it_selects() -> None:
    """Only objects that it selects wait for it to be mended."""
    key = ObjectKey("hanse.dev", "clusteroverridepolicies", "", "p")
    found = decode_object(stored(key, {**OVERRIDE, "metadata": {"name": "p", "labels": 7}}))
    assert isinstance(found, OverridePolicy)
    assert "labels" in found.head.error
    assert [each.kind for each in found.head.selectors] == ["ConfigMap"]


DECODERS: dict[str, Callable[[KeyValue], object]] = {
    "objects": decode_object,
    "placements": decode_placement,
    "syncstates": decode_observed,
    "clusters": decode_member_cluster,
    "catalogues": decode_served,
}


@given(
    prefix=st.sampled_from(sorted(DECODERS)),
    rest=st.lists(st.sampled_from(["", "a", "core", "hanse.dev", "placementpolicies", "_"]), max_size=7),
    value=st.one_of(st.binary(max_size=20), anything().map(orjson.dumps)),
)
@example(prefix="clusters", rest=["a", "b"], value=b"\n\nclusters/b")
def test_any_key_and_value_is_read_or_refused(prefix: str, rest: list[str], value: bytes) -> None:
    """Decoding raises nothing but errors that the follower takes for "cannot be read"."""
    with contextlib.suppress(ValueError, HanseError):
        DECODERS[prefix](KeyValue("/".join([prefix, *rest]), value, 1, 1, 1))


async def test_junk_in_every_prefix_keeps_nothing_else_from_being_decided(federation: Federation) -> None:
    """Clusters, catalogues, placements, sync states, objects and policies elsewhere that cannot be read."""
    junk = ObjectKey("", "configmaps", "other", "junk")
    for key in (
        junk.key(), junk.key("placements"), junk.sync_state("a"), keys.cluster("zzz"), keys.catalogue("zzz"),
        ObjectKey("hanse.dev", "placementpolicies", "other", "p").key(), "objects/x", "placements/x/y",
        "syncstates/x", "clusters/x/y", "catalogues/x/y",
    ):  # fmt: skip
        await federation.store.put(key, b"\xffjunk")
        await federation.store.put(f"{key}0", b"")
    await federation.clusters("a", "b")
    process = await federation.start_scheduler()
    await federation.apply(CONFIG, config())
    await federation.apply(WEB, deployment(4))
    await federation.placed(WEB, {"a": 2, "b": 2})
    await federation.placed(CONFIG, {"a": None, "b": None})
    await federation.settled(process)
    kept = await federation.store.get(junk.key("placements"))
    assert kept is not None
    assert kept.value == b"\xffjunk"


async def test_a_defect_in_a_decision_is_that_objects_error(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object keeps what it has, its placement says why, and the others are decided on."""
    await federation.clusters("a")
    process = await federation.start_scheduler()
    await federation.apply(CONFIG, config())
    await federation.placed(CONFIG, {"a": None})

    def picky(inputs: DecisionInput, **more: Any) -> Any:
        if inputs.key == CONFIG and not inputs.fault:
            raise KeyError("surprise")
        return decide(inputs, **more)

    monkeypatch.setattr("hanse_scheduler.placing.evaluator.decide", picky)
    await federation.apply(CONFIG, config(annotations={"a": "b"}))
    await federation.clusters("b")
    await federation.apply(WEB, deployment(4))
    await federation.placed(WEB, {"a": 2, "b": 2})
    await federation.settled(process)
    placement = await federation.placed(CONFIG, {"a": None})
    assert "surprise" in placement.error


async def test_a_placement_that_cannot_be_read_is_listed_with_the_reason(federation: Federation) -> None:
    """One that is junk hides no other from those who ask over gRPC."""
    await federation.clusters("a")
    process = await federation.start_scheduler()
    await federation.apply(CONFIG, config())
    await federation.placed(CONFIG, {"a": None})
    junk = ObjectKey("", "configmaps", "other", "junk").key("placements")
    await federation.store.put(junk, b"\xffjunk")
    stub = await serve(federation, process)
    listed = await stub.ListPlacements(pb.ListPlacementsRequest())
    assert [each.name for each in listed.placements] == [junk, CONFIG.key("placements")]
    assert "cannot be read" in listed.placements[0].error
    assert (await stub.GetPlacement(pb.GetPlacementRequest(name=junk))).error
