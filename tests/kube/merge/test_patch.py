"""JSON patch, merge patch and strategic merge patch do what their specifications say."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hanse.errors import InvalidArgumentError
from hanse.kube.merge.patch import UnsupportedPatchError, json_patch, merge_patch, strategic_merge_patch
from hanse.kube.merge.schema import Schema, SchemaSet
from hanse.kube.model.objects import Object
from tests.kube.merge.differences import merge_difference, strategic_difference
from tests.support import objects


def schema(group: str, version: str, kind: str) -> Schema:
    """A built-in schema that must exist."""
    found = SchemaSet.builtin().lookup(group, version, kind)
    assert found is not None
    return found


POD = schema("", "v1", "Pod")
DEPLOYMENT = schema("apps", "v1", "Deployment")


def pod(*names: str, **spec: Any) -> Object:
    """A Pod with containers of these names."""
    return objects.pod(*(objects.container(name, name) for name in names), **spec)


def names(obj: Object) -> list[str]:
    """The containers' names in order."""
    return [c["name"] for c in obj["spec"]["containers"]]


def test_json_patch_applies_in_order_and_leaves_its_inputs() -> None:
    """Operations see each other's results; neither the object nor the patch changes."""
    obj: Object = {"a": [1, 2], "b": {"c": 1}}
    ops = [
        {"op": "add", "path": "/a/-", "value": {"x": []}},
        {"op": "add", "path": "/a/2/x/-", "value": 1},
        {"op": "test", "path": "/b/c", "value": 1},
        {"op": "move", "from": "/b/c", "path": "/d"},
        {"op": "remove", "path": "/a/0"},
        {"op": "replace", "path": "/b", "value": 3},
    ]
    before = copy.deepcopy((obj, ops))
    assert json_patch(obj, ops) == {"a": [2, {"x": [1]}], "b": 3, "d": 1}
    assert (obj, ops) == before


@pytest.mark.parametrize(
    "ops",
    [
        {"op": "add"},
        ["x"],
        [{"op": "zap", "path": "/a"}],
        [{"op": "add", "path": "/a"}],
        [{"op": "remove", "path": "/nope"}],
        [{"op": "replace", "path": "/nope/x", "value": 1}],
        [{"op": "test", "path": "/a", "value": 2}],
        [{"op": "test", "path": "/a", "value": True}],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "replace", "path": "", "value": []}],
    ],
)
def test_a_json_patch_that_does_not_fit_is_refused(ops: Any) -> None:
    """Malformed patches, missing paths and failed tests are InvalidArgumentError."""
    with pytest.raises(InvalidArgumentError):
        json_patch({"a": 1}, ops)


def test_errors_do_not_show_the_object() -> None:
    """A Secret's data does not leak into an error message."""
    with pytest.raises(InvalidArgumentError) as caught:
        json_patch({"data": {"p": "hunter2"}}, [{"op": "replace", "path": "/data/q/r", "value": 1}])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_examples(target: Object, patch: Object, result: Object) -> None:
    """The examples of RFC 7386, appendix A."""
    assert merge_patch(target, patch) == result


JSON = st.recursive(
    st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
JSON_OBJECT = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)


@given(JSON_OBJECT, JSON_OBJECT)
def test_a_merge_patch_made_from_a_difference_gives_the_target(old: Object, new: Object) -> None:
    """Applying the difference gives the new object, and equal objects have an empty difference."""
    assert merge_patch(old, merge_difference(old, new)) == new
    assert merge_difference(new, new) == {}


def test_lists_merge_by_key() -> None:
    """A known item is merged in place; a new one goes first, as in Kubernetes."""
    patch = {"spec": {"containers": [{"name": "b", "image": "2"}]}}
    after = strategic_merge_patch(pod("a", "b"), patch, POD)
    assert after["spec"]["containers"] == [{"name": "a", "image": "a"}, {"name": "b", "image": "2"}]
    added = strategic_merge_patch(pod("a", "b"), {"spec": {"containers": [{"name": "c"}]}}, POD)
    assert names(added) == ["c", "a", "b"]


def test_lists_without_a_merge_strategy_are_replaced() -> None:
    """Tolerations are atomic."""
    live = pod("a", tolerations=[{"key": "x"}])
    after = strategic_merge_patch(live, {"spec": {"tolerations": [{"key": "y"}]}}, POD)
    assert after["spec"]["tolerations"] == [{"key": "y"}]


def test_patch_directives() -> None:
    """delete takes an item, replace a whole list or map, null a field."""
    live = pod("a", "b")
    gone = strategic_merge_patch(live, {"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}, POD)
    assert names(gone) == ["b"]
    replaced = strategic_merge_patch(
        live, {"spec": {"containers": [{"name": "z"}, {"$patch": "replace"}]}}, POD
    )
    assert replaced["spec"]["containers"] == [{"name": "z"}]
    labelled = {"metadata": {"labels": {"a": "1", "b": "2"}}}
    assert strategic_merge_patch(
        labelled, {"metadata": {"labels": {"$patch": "replace", "c": "3"}}}, POD
    ) == {"metadata": {"labels": {"c": "3"}}}
    assert strategic_merge_patch(labelled, {"metadata": {"labels": {"$patch": "delete"}}}, POD) == {
        "metadata": {"labels": {}}
    }
    assert strategic_merge_patch(labelled, {"metadata": {"labels": {"$patch": "merge", "a": None}}}, POD) == {
        "metadata": {"labels": {"b": "2"}}
    }


def test_retain_keys_drops_the_rest() -> None:
    """Switching a Deployment's strategy drops the fields that the new one does not have."""
    live: Object = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge_patch(live, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}
    bad = {"spec": {"strategy": {"$retainKeys": ["rollingUpdate"], "type": "Recreate"}}}
    with pytest.raises(InvalidArgumentError, match="leaves out 'type'"):
        strategic_merge_patch(live, bad, DEPLOYMENT)


def test_primitive_lists() -> None:
    """Finalizers are added once, deleted by directive, and ordered by directive."""
    live: Object = {"metadata": {"finalizers": ["a", "b", "c"]}}
    added = strategic_merge_patch(live, {"metadata": {"finalizers": ["c", "d"]}}, POD)
    assert sorted(added["metadata"]["finalizers"]) == ["a", "b", "c", "d"]
    deleted = strategic_merge_patch(live, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"]}}, POD)
    assert deleted["metadata"]["finalizers"] == ["a", "c"]
    patch = {"$setElementOrder/finalizers": ["d", "a", "c"], "finalizers": ["d"]}
    ordered = strategic_merge_patch(live, {"metadata": patch}, POD)
    assert [f for f in ordered["metadata"]["finalizers"] if f != "b"] == ["d", "a", "c"]


def test_element_order_rules_and_is_checked() -> None:
    """$setElementOrder orders the named items, keeps the server's others, and must fit the patch."""
    order = [{"name": "c"}, {"name": "a"}]
    patch = {"spec": {"$setElementOrder/containers": order, "containers": [{"name": "c", "image": "2"}]}}
    after = strategic_merge_patch(pod("a", "b", "c"), patch, POD)
    assert [n for n in names(after) if n != "b"] == ["c", "a"]
    assert len(names(after)) == 3
    wrong = {"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "q"}]}}
    with pytest.raises(InvalidArgumentError, match="does not match"):
        strategic_merge_patch(pod("a"), wrong, POD)


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"containers": [{"image": "no-key"}]}},
        {"spec": {"containers": [{"name": "a", "$patch": "zap"}]}},
        {"spec": {"containers": [{"name": "a", "$patch": "merge"}]}},
        {"spec": {"containers": ["a", {"name": "b"}]}},
        {"spec": {"$patch": "zap"}},
        {"spec": {"$setElementOrder/containers": "a"}},
        [],
    ],
)
def test_a_malformed_strategic_patch_is_refused(patch: Any) -> None:
    """Missing merge keys and unknown directives are InvalidArgumentError."""
    with pytest.raises(InvalidArgumentError):
        strategic_merge_patch(pod("a"), patch, POD)


def test_custom_resources_do_not_take_strategic_patches() -> None:
    """A kind that is not built in answers UnsupportedPatchError."""
    widget = SchemaSet.builtin().with_kind(
        group="x.org", version="v1", kind="W", openapi_v3_schema={"type": "object"}
    )
    for node in (None, widget.lookup("x.org", "v1", "W")):
        with pytest.raises(UnsupportedPatchError):
            strategic_merge_patch({}, {}, node)


WORD = st.sampled_from(["a", "b", "c"])
ENV = (
    st.lists(WORD, unique=True, max_size=3)
    .flatmap(
        lambda found: st.tuples(*[st.fixed_dictionaries({"name": st.just(n), "value": WORD}) for n in found])
    )
    .map(list)
)
CONTAINER = st.fixed_dictionaries(
    {}, optional={"image": WORD, "env": ENV, "args": st.lists(WORD, max_size=2), "resources": st.just({})}
)
VOLUME = st.sampled_from([{"emptyDir": {}}, {"configMap": {"name": "x"}}, {"configMap": {"name": "y"}}])


@st.composite
def pods(draw: st.DrawFn) -> Object:
    """Pods with every kind of list and map that patches treat differently."""

    def keyed(strategy: st.SearchStrategy[Any]) -> list[Object]:
        return [{**draw(strategy), "name": n} for n in draw(st.lists(WORD, unique=True, max_size=3))]

    spec: Object = {"containers": keyed(CONTAINER)}
    if draw(st.booleans()):
        spec["volumes"] = keyed(VOLUME)
    if draw(st.booleans()):
        spec["tolerations"] = [{"key": k} for k in draw(st.lists(WORD, max_size=2))]
    metadata: Object = {"name": "p"}
    if draw(st.booleans()):
        metadata["finalizers"] = draw(st.lists(WORD, unique=True, max_size=3))
    if draw(st.booleans()):
        metadata["labels"] = draw(st.dictionaries(WORD, WORD, max_size=3))
    return {"metadata": metadata, "spec": spec}


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=200)
@given(pods(), pods())
def test_a_strategic_patch_made_from_a_difference_gives_the_target(old: Object, new: Object) -> None:
    """Applying the difference gives the new object, order too; it is idempotent and changes no input."""
    inputs = copy.deepcopy((old, new))
    patch = strategic_difference(old, new, POD)
    assert strategic_merge_patch(old, patch, POD) == new
    assert strategic_merge_patch(new, patch, POD) == new
    assert strategic_difference(new, new, POD) == {}
    assert (old, new) == inputs
