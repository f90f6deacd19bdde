"""The cluster selector of Federation v1: each operator against its definition, and what cannot be one."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hanse_scheduler.decide.selector import (
    EVERYTHING,
    ClusterSelector,
    Requirement,
    parse_cluster_selector,
)
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import InvalidArgumentError
from hanse.well_known import CLUSTER_SELECTOR

KEYS = st.sampled_from(["tier", "region", "hanse.dev/rank"])
VALUES = st.sampled_from(["prod", "test", "5", "12", ""])
LABELS = st.dictionaries(KEYS, VALUES)
SPELLINGS = st.sampled_from(
    ["In", "in", "=", "==", "NotIn", "notin", "!=", "Exists", "exists", "!", "DoesNotExist", "Gt", ">", "<"]
)


def parse(*items: Any) -> ClusterSelector:
    """The selector with these requirements."""
    return parse_cluster_selector(orjson.dumps(items).decode())


def holds(operator: str, value: str | None, values: list[str]) -> bool:
    """What a label selector of Kubernetes says."""
    number = int(value) if value is not None and value.isdigit() else None
    match operator.casefold():
        case "in" | "=" | "==":
            return value in values
        case "notin" | "!=":
            return value not in values
        case "exists":
            return value is not None
        case "!" | "doesnotexist":
            return value is None
        case "gt" | ">":
            return number is not None and number > int(values[0])
    return number is not None and number < int(values[0])


@given(KEYS, SPELLINGS, st.lists(VALUES, min_size=1, max_size=3), st.integers(0, 20), LABELS)
def test_operators_mean_what_kubernetes_says(
    key: str, operator: str, values: list[str], number: int, labels: dict[str, str]
) -> None:
    """In every spelling; NotIn holds for a cluster without the label, Gt for whole numbers only."""
    if operator in ("Exists", "exists", "!", "DoesNotExist"):
        values = []
    elif operator in ("Gt", ">", "<"):
        values = [str(number)]
    elif operator in ("=", "==", "!="):
        values = values[:1]
    selector = parse({"key": key, "operator": operator, "values": values})
    assert (selector.broken(labels) is None) is holds(operator, labels.get(key), values)


@given(st.lists(st.tuples(KEYS, st.sampled_from(["Exists", "DoesNotExist"])), max_size=4), LABELS)
def test_all_requirements_must_hold(items: list[tuple[str, str]], labels: dict[str, str]) -> None:
    """The first that does not is named; none select everything."""
    selector = parse(*({"key": key, "operator": operator} for key, operator in items))
    expected = next(
        (index for index, (k, op) in enumerate(items) if (k in labels) is not (op == "Exists")), None
    )
    broken = selector.broken(labels)
    assert broken == (None if expected is None else selector.requirements[expected])


def test_values_are_a_set() -> None:
    """Order and repetition of values make no other selector, so that equal ones share what is computed."""
    assert parse({"key": "tier", "operator": "In", "values": ["b", "a", "b"]}) == parse(
        {"key": "tier", "operator": "in", "values": ["a", "b"]}
    )
    assert parse({"Key": "tier", "OPERATOR": "exists"}) == parse({"key": "tier", "operator": "Exists"})


@pytest.mark.parametrize(
    ("requirement", "text"),
    [
        (Requirement("tier", "In", ("a", "b")), "tier in (a, b)"),
        (Requirement("tier", "NotIn", ("a",)), "tier notin (a)"),
        (Requirement("tier", "Exists"), "tier"),
        (Requirement("tier", "DoesNotExist"), "!tier"),
        (Requirement("rank", "Gt", ("4",)), "rank > 4"),
        (Requirement("rank", "Lt", ("4",)), "rank < 4"),
    ],
)
def test_requirements_read_as_kubectl_writes_them(requirement: Requirement, text: str) -> None:
    """A refusal quotes the requirement."""
    assert str(requirement) == text


@pytest.mark.parametrize("annotation", [None, "", "  ", "[]", "null"])
def test_nothing_is_everything(annotation: str | None) -> None:
    """No requirement keeps no cluster out."""
    assert parse_cluster_selector(annotation) == EVERYTHING


@pytest.mark.parametrize(
    ("annotation", "what"),
    [
        ("{", "not JSON"),
        ('{"key": "a"}', "a JSON object"),
        ('"a"', "a JSON string"),
        ("true", "a JSON boolean"),
        ("1", "a JSON number"),
        ('["a"]', "requirement 0 is a JSON string"),
        ('[{"key": "a", "operator": "In", "value": "b"}]', "unknown field 'value'"),
        ('[{"operator": "Exists"}]', "the key None"),
        ('[{"key": "a b", "operator": "Exists"}]', "not a label key"),
        ('[{"key": "a", "operator": "Near", "values": ["b"]}]', "the operator 'Near'"),
        ('[{"key": "a", "operator": 1}]', "the operator 1"),
        ('[{"key": "a", "operator": "In", "values": "b"}]', "not a list of strings"),
        ('[{"key": "a", "operator": "In", "values": [1]}]', "not a list of strings"),
        ('[{"key": "a", "operator": "In"}]', "at least one value"),
        ('[{"key": "a", "operator": "=", "values": ["b", "c"]}]', "exactly one value, not 2"),
        ('[{"key": "a", "operator": "!", "values": ["b"]}]', "takes no values"),
        ('[{"key": "a", "operator": "Gt", "values": ["b"]}]', "needs an integer"),
        ('[{"key": "a", "operator": "In", "values": ["b c"]}]', "not a label value"),
    ],
)
def test_what_is_wrong_is_named(annotation: str, what: str) -> None:
    """The message names the annotation, what is wrong with it, and what to write."""
    with pytest.raises(InvalidArgumentError, match=what) as caught:
        parse_cluster_selector(annotation)
    assert CLUSTER_SELECTOR in str(caught.value)
    assert "write a JSON list" in str(caught.value)
