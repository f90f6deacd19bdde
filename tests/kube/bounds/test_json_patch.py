"""A JSON patch costs no more than its bounds, which are in the message of what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.documents import TOO_DEEP
from hanse.errors import InvalidArgumentError
from hanse.kube.merge.json_patch import (
    MAX_COPIED_BYTES,
    MAX_OPERATIONS,
    MAX_SHIFTED_ITEMS,
    JsonPatcher,
    json_patch,
)
from hanse.kube.merge.patch import strategic_merge_patch
from hanse.kube.merge.schema import SchemaSet


def refusal(obj: dict[str, Any], ops: Any) -> InvalidArgumentError:
    """The error for a patch that must be refused."""
    with pytest.raises(InvalidArgumentError) as caught:
        json_patch(obj, ops)
    return caught.value


def test_copies_stop_at_the_bound() -> None:
    """Twenty copies of the whole into itself would be a gigabyte."""
    obj = {"data": {"a": "x" * 1000}}
    ops = [{"op": "copy", "from": "/data", "path": f"/data/c{i}"} for i in range(20)]
    error = refusal(obj, ops)
    assert error.reason == "PATCH_TOO_LARGE"
    assert str(MAX_COPIED_BYTES) in str(error)
    assert len(json_patch(obj, ops[:5])["data"]) == 6


def test_copies_stop_where_they_get_too_deep() -> None:
    """A result that is deeper than an object may be is refused, however it was made."""
    ops = [{"op": "add", "path": "/a" * i, "value": {}} for i in range(1, 250)]
    assert refusal({}, ops).reason == TOO_DEEP


def test_operations_are_bounded() -> None:
    """As many as kube-apiserver takes, over all lists that one patcher applies."""
    ops = [{"op": "test", "path": "/a", "value": 1}] * MAX_OPERATIONS
    assert json_patch({"a": 1}, ops) == {"a": 1}
    assert str(MAX_OPERATIONS) in str(refusal({"a": 1}, ops + ops[:1]))
    patcher = JsonPatcher({"a": 1})
    patcher.apply(ops)
    with pytest.raises(InvalidArgumentError, match=str(MAX_OPERATIONS)):
        patcher.apply(ops[:1])


def test_shifting_the_items_of_lists_is_bounded() -> None:
    """Ten thousand insertions at the front of a long list are refused."""
    obj = {"a": [0] * 100_000}
    ops = [{"op": "add", "path": "/a/0", "value": 1}] * MAX_OPERATIONS
    assert str(MAX_SHIFTED_ITEMS) in str(refusal(obj, ops))
    at_the_end = [{"op": "add", "path": "/a/-", "value": 1}] * MAX_OPERATIONS
    assert len(json_patch(obj, at_the_end)["a"]) == 110_000


@pytest.mark.parametrize(
    ("ops", "result"),
    [
        ([{"op": "copy", "from": "/a", "path": "/c"}, {"op": "add", "path": "/c/-", "value": 3}],
         {"a": [1, 2], "b": {"x": None}, "c": [1, 2, 3]}),
        ([{"op": "move", "from": "/b/x", "path": "/b/x"}], {"a": [1, 2], "b": {"x": None}}),
        ([{"op": "add", "path": "/b/~1~0", "value": 1}], {"a": [1, 2], "b": {"x": None, "/~": 1}}),
        ([{"op": "add", "path": "/b/", "value": 1}], {"a": [1, 2], "b": {"x": None, "": 1}}),
        ([{"op": "replace", "path": "", "value": {"z": 1}}], {"z": 1}),
        ([{"op": "remove", "path": "/b/x"}], {"a": [1, 2], "b": {}}),
    ],
)  # fmt: skip
def test_operations_do_what_rfc_6902_says(ops: Any, result: Any) -> None:
    """Copies are independent; `~` is escaped; a move to the same place changes nothing."""
    assert json_patch({"a": [1, 2], "b": {"x": None}}, ops) == result


@pytest.mark.parametrize(
    "op",
    [
        {"op": "add", "path": "/a/3", "value": 1}, {"op": "add", "path": "/a/01", "value": 1},
        {"op": "add", "path": "/a/²", "value": 1}, {"op": "add", "path": "/a/" + "9" * 5000, "value": 1},
        {"op": "remove", "path": "/a/-"}, {"op": "remove", "path": ""},
        {"op": "replace", "path": "/a/2", "value": 1},
        {"op": "move", "from": "/b", "path": "/b/x/y"}, {"op": "move", "from": 1, "path": "/b"},
        {"op": "copy", "path": "/b"}, {"op": "add", "path": None, "value": 1}, {"op": ["add"], "path": "/a"},
        {"op": "add", "path": "/b/~2", "value": 1}, {"op": "add", "path": "/a/0/x", "value": 1}, {},
    ],
)  # fmt: skip
def test_operations_that_do_not_fit_are_refused(op: Any) -> None:
    """Each is an InvalidArgumentError that does not repeat long input."""
    assert len(str(refusal({"a": [1, 2], "b": {"x": None}}, [op]))) < 500


POINTERS = st.lists(st.sampled_from(["a", "b", "0", "1", "-", "~0", "~1", "", "²"]), max_size=3).map(
    lambda steps: "".join(f"/{step}" for step in steps)
)
VALUES: st.SearchStrategy[Any] = st.sampled_from([None, True, 1, "x", [], {}, [1, [2]], {"a": {"b": []}}])
OPERATIONS = st.lists(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), "path": POINTERS,
         "from": POINTERS, "value": VALUES}
    ),
    max_size=6,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from("ab"), VALUES), OPERATIONS)
def test_a_patch_applies_or_is_refused_and_changes_no_input(obj: dict[str, Any], ops: Any) -> None:
    """Whatever the operations are; object and operations stay as they were."""
    before = copy.deepcopy((obj, ops))
    try:
        result = json_patch(obj, ops)
    except InvalidArgumentError:
        result = {}
    assert isinstance(result, dict)
    assert (obj, ops) == before


def test_a_strategic_merge_of_long_lists_is_not_quadratic() -> None:
    """Twenty thousand items are merged by key in one pass over each list."""
    schema = SchemaSet.builtin().lookup("", "v1", "Pod")
    old = {"spec": {"containers": [{"name": f"c{i}", "image": "a"} for i in range(20_000)]}}
    change = [{"name": f"c{i}", "image": "b"} for i in range(10_000, 30_000)]
    order = [{"name": f"c{i}"} for i in range(30_000)]
    gone = [{"name": f"c{i}", "$patch": "delete"} for i in range(5_000)]
    patch = {"spec": {"containers": [*change, *gone], "$setElementOrder/containers": order}}
    found = strategic_merge_patch(old, patch, schema)["spec"]["containers"]
    assert [item["name"] for item in found] == [f"c{i}" for i in range(5_000, 30_000)]
    assert found[-1]["image"] == "b"
