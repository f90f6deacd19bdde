"""Override policies cost no more than the bounds, and change no more than they may, whatever they say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hanse_scheduler.decide import overrides as module
from hanse_scheduler.decide.overrides import MAX_OVERRIDE_BYTES, Overriding
from hanse_scheduler.decide.policies import OverridePolicy, compile_override
from hanse_syncer.decide.render import render

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.errors import InvalidArgumentError
from hanse.kube.merge.json_patch import MAX_OPERATIONS, MAX_POLICY_COPIED_BYTES, JsonPatcher
from tests.scheduler.builders import view

OBJ = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "c", "namespace": "n"},
    "data": {"a": "x" * 999},
}


def policy(*patches: list[dict[str, Any]]) -> OverridePolicy:
    """A compiled policy with one rule for each patch."""
    selector = {"apiVersion": "v1", "kind": "ConfigMap"}
    rules = [{"jsonPatch": patch} for patch in patches]
    spec = {"resourceSelectors": [selector], "rules": rules}
    return compile_override({"kind": "ClusterOverridePolicy", "metadata": {"name": "p"}, "spec": spec})


def copies(count: int) -> list[dict[str, Any]]:
    """So many copies of the data into itself, each twice as large as the one before."""
    return [{"op": "copy", "from": "/data", "path": f"/data/c{i}"} for i in range(count)]


def refusal(*patches: list[dict[str, Any]]) -> str:
    """Why the policy cannot be applied."""
    with pytest.raises(InvalidArgumentError) as caught:
        Overriding(OBJ, [policy(*patches)]).for_cluster(view("a"))
    assert caught.value.reason == "BAD_OVERRIDE"
    return str(caught.value)


def test_copies_of_a_policy_stop_at_the_bound() -> None:
    """Twenty copies that double stop, in one rule or in twenty."""
    assert str(MAX_POLICY_COPIED_BYTES) in refusal(copies(20))
    assert str(MAX_POLICY_COPIED_BYTES) in refusal(*([each] for each in copies(20)))


def test_operations_of_all_rules_count_together() -> None:
    """The bound of one JSON patch is that of all policies that apply to an object."""
    test = [{"op": "test", "path": "/kind", "value": "ConfigMap"}] * (MAX_OPERATIONS // 2 + 1)
    assert str(MAX_OPERATIONS) in refusal(test, test)


def test_what_goes_into_a_placement_is_bounded() -> None:
    """Operations that are too large for a placement are refused."""
    assert str(MAX_OVERRIDE_BYTES) in refusal(
        [{"op": "add", "path": "/data/b", "value": "x" * MAX_OVERRIDE_BYTES}]
    )


def test_rules_are_carried_out_once_for_clusters_that_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred clusters with the same rules cost as much as one."""
    made: list[JsonPatcher] = []

    class Counted(JsonPatcher):
        def __init__(self, obj: dict[str, Any], *, max_copied: int) -> None:
            super().__init__(obj, max_copied=max_copied)
            made.append(self)

    monkeypatch.setattr(module, "JsonPatcher", Counted)
    overriding = Overriding(OBJ, [policy(copies(2))])
    found = {overriding.for_cluster(view(f"c{i}")).operations for i in range(100)}
    assert found == {orjson.dumps(copies(2))}
    assert len(made) == 1


def test_the_syncer_stops_at_the_same_bounds() -> None:
    """Overrides that were stored before the bounds are refused, not carried out."""
    for operations in (copies(20), copies(9)):
        placement = ClusterPlacement(cluster="a", overrides=orjson.dumps(operations))
        with pytest.raises(InvalidArgumentError) as caught:
            render(OBJ, placement=placement, federation_id="f")
        assert caught.value.reason == "OVERRIDE_INVALID"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("/metadata/resourceVersion", "", "metadata.resourceVersion"),
        ("/metadata/uid", "u", "metadata.uid"),
        ("/metadata/name", "other", "metadata.name"),
        ("/metadata/namespace", "other", "metadata.namespace"),
        ("/metadata/finalizers", ["x/y"], "metadata.finalizers"),
        ("/kind", "Secret", "kind"),
        ("/metadata", [], "no metadata"),
    ],
)
def test_what_no_override_may_change_is_refused_with_its_name(path: str, value: Any, said: str) -> None:
    """Such a policy moves nothing; before, a manifest could have been written over somebody else's object."""
    assert said in refusal([{"op": "add", "path": path, "value": value}])
