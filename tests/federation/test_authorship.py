"""What of a custom resource its author wrote, and what the federation's schema filled in."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from hanse.federation.stored.authorship import as_written, defaulted_of, with_defaulted
from hanse.well_known import DEFAULTED

Object = dict[str, Any]
NAMES = st.sampled_from(["a", "b", "c", "d"])
VALUES = st.recursive(
    st.integers(0, 3),
    lambda inner: st.one_of(st.dictionaries(NAMES, inner, max_size=3), st.lists(inner, max_size=3)),
    max_leaves=10,
)


def cart(spec: Any) -> Object:
    """A custom resource."""
    return {"apiVersion": "x.io/v1", "kind": "Cart", "metadata": {"name": "one"}, "spec": spec}


def filled(value: Any) -> Any:
    """What a schema with defaults for `c` and `d` makes of a value."""
    if isinstance(value, dict):
        return {"c": [1], "d": 2} | {name: filled(item) for name, item in value.items()}
    return [filled(item) for item in value] if isinstance(value, list) else value


def stored(spec: Any, *, old: Object | None = None, **metadata: Any) -> Object:
    """What is stored when somebody sends an object with that spec."""
    written = cart(spec)
    obj = {**written, "metadata": {**written["metadata"], **metadata}, "spec": filled(spec)}
    return with_defaulted(obj, written=written, old=old)


@given(VALUES)
def test_what_was_filled_in_is_not_sent(spec: Any) -> None:
    """Of a new object, what is left is what was sent."""
    assert as_written(stored(spec))["spec"] == spec


@given(VALUES)
def test_what_a_client_sends_back_stays_filled_in(spec: Any) -> None:
    """Reading an object and writing it again makes nobody the author of its defaults."""
    first = stored(spec)
    assert as_written(stored(first["spec"], old=first))["spec"] == spec


@given(VALUES, VALUES)
def test_what_is_sent_and_what_was_filled_in_are_the_whole(before: Any, after: Any) -> None:
    """Whatever was stored before: filling in again gives the same."""
    obj = stored(after, old=stored(before))
    assert filled(as_written(obj)["spec"]) == obj["spec"]


def test_another_value_is_the_authors() -> None:
    """Also that of a field that had its default before; and the default again, once it was written."""
    first = stored({"a": 1})
    assert defaulted_of(first) == {"spec": {"c": {}, "d": {}}}
    second = stored({"a": 1, "d": 7}, old=first)
    assert as_written(second)["spec"] == {"a": 1, "d": 7}
    assert as_written(stored({"a": 1, "d": 2}, old=second))["spec"] == {"a": 1, "d": 2}


def test_what_an_apply_names_is_the_authors() -> None:
    """Though the value is that of the default."""
    first = stored({"a": 1})
    entry = {"manager": "m", "operation": "Apply", "fieldsV1": {"f:spec": {"f:a": {}, "f:d": {}}}}
    again = stored({"a": 1, "c": [1], "d": 2}, old=first, managedFields=[entry])
    assert as_written(again)["spec"] == {"a": 1, "d": 2}


def test_a_record_that_nobody_can_read_is_none() -> None:
    """Then everything is sent."""
    for record in ("{", "[]", "7", ""):
        obj = cart({"a": 1})
        obj["metadata"]["annotations"] = {DEFAULTED: record}
        assert as_written(obj) == obj
    obj = stored({"a": 1})
    assert orjson.loads(obj["metadata"]["annotations"][DEFAULTED]) == {"spec": {"c": {}, "d": {}}}
    assert "annotations" not in with_defaulted(obj, written=obj, old=None)["metadata"]
