"""Label and field selectors parse and match as Kubernetes says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import InvalidArgumentError
from hanse.federation.strategies import federation_kinds
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.kind import SelectableField
from hanse.kube.kinds.selectable import field_selector
from hanse.kube.model.selectors import FieldSelector, LabelRequirement, LabelSelector


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("app=web", {"app": "web"}, True),
        ("app==web", {"app": "db"}, False),
        ("app=web", {}, False),
        ("app!=web", {}, True),
        ("app != web", {"app": "web"}, False),
        ("app", {"app": ""}, True),
        ("!app", {"app": ""}, False),
        ("! app", {}, True),
        ("tier in (a, b)", {"tier": "b"}, True),
        ("tier in (a)", {}, False),
        ("tier notin (a)", {}, True),
        ("tier notin (a,b)", {"tier": "b"}, False),
        ("x in (,a)", {"x": ""}, True),
        ("app=", {"app": ""}, True),
        ("n>5", {"n": "6"}, True),
        ("n>5", {"n": "five"}, False),
        ("n<5", {}, False),
        ("example.org/a=b,c", {"example.org/a": "b", "c": "d"}, True),
        ("example.org/a=b,c", {"example.org/a": "b"}, False),
    ],
)
def test_label_queries(text: str, labels: dict[str, str], matches: bool) -> None:
    """Every operator, with and without the label."""
    assert LabelSelector.parse(text).matches(labels) is matches


@pytest.mark.parametrize(
    "text",
    ["a b", "a in x", "=b", "a,,b", "a=b c", "a in (b", "a=b)", ",a", "a,", "a=%", "_/a=b", "n>x", "!"],
)
def test_malformed_label_queries_are_refused(text: str) -> None:
    """Syntax errors and bad keys or values are InvalidArgumentError."""
    with pytest.raises(InvalidArgumentError):
        LabelSelector.parse(text)


def test_selector_objects() -> None:
    """matchLabels and matchExpressions are joined; None matches nothing, {} everything."""
    selector = LabelSelector.from_object(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "NotIn", "values": ["db"]},
                {"key": "x", "operator": "Exists"},
            ],
        }
    )
    assert selector.matches({"app": "web", "x": ""})
    assert not selector.matches({"app": "web", "x": "", "tier": "db"})
    assert not LabelSelector.from_object(None).matches({})
    assert LabelSelector.from_object({}).matches({})
    assert LabelSelector.from_object({}).empty
    assert not LabelSelector.nothing().empty


@pytest.mark.parametrize(
    "expression",
    [
        {"key": "a", "operator": "in", "values": ["b"]},
        {"key": "a", "operator": "In", "values": []},
        {"key": "a", "operator": "Exists", "values": ["b"]},
        {"key": "", "operator": "Exists"},
        {"key": "a", "operator": "Gt", "values": ["b"]},
    ],
)
def test_malformed_expressions_are_refused(expression: dict[str, Any]) -> None:
    """Unknown operators and wrong numbers of values are InvalidArgumentError."""
    with pytest.raises(InvalidArgumentError):
        LabelSelector.from_object({"matchExpressions": [expression]})


KEYS = st.sampled_from(["a", "b", "x.org/c"])
VALUES = st.sampled_from(["", "1", "2", "v"])
REQUIREMENTS = st.one_of(
    st.builds(LabelRequirement, KEYS, st.sampled_from(["In", "NotIn"]), st.frozensets(VALUES, min_size=1)),
    st.builds(LabelRequirement, KEYS, st.sampled_from(["Exists", "DoesNotExist"])),
    st.builds(LabelRequirement, KEYS, st.sampled_from(["Gt", "Lt"]), st.frozensets(st.just("1"), min_size=1)),
)


@given(st.lists(REQUIREMENTS, max_size=3).map(tuple), st.dictionaries(KEYS, VALUES))
def test_a_selector_prints_as_what_it_parses_from(
    requirements: tuple[LabelRequirement, ...], labels: dict[str, str]
) -> None:
    """Parsing the text of a selector gives a selector that matches the same."""
    selector = LabelSelector(requirements)
    again = LabelSelector.parse(str(selector))
    assert again == selector
    assert again.matches(labels) == selector.matches(labels)


def test_field_queries() -> None:
    """Paths, both operators, absent fields, booleans and escapes."""
    obj = {"metadata": {"name": "a,b"}, "spec": {"unschedulable": True, "replicas": 3}}
    assert FieldSelector.parse(r"metadata.name=a\,b,spec.replicas==3").matches(obj)
    assert FieldSelector.parse("spec.unschedulable=true").matches(obj)
    assert FieldSelector.parse("status.phase=").matches(obj)
    assert FieldSelector.parse("status.phase!=Running").matches(obj)
    assert not FieldSelector.parse("metadata.name!=a\\,b").matches(obj)
    assert FieldSelector.parse("metadata.name=x,spec.replicas!=3").exact("metadata.name") == "x"
    assert FieldSelector.parse("").empty
    assert str(FieldSelector.parse(r"metadata.name=a\,b")) == r"metadata.name=a\,b"


def test_a_kind_is_selected_by_its_own_fields_and_no_others() -> None:
    """Name and namespace for all; more for a few kinds, by what Kubernetes takes an absent field for."""
    catalogue = Catalogue(federation_kinds())
    pods, nodes, maps = (catalogue.require("", "v1", plural) for plural in ("pods", "nodes", "configmaps"))
    pod = {"metadata": {"name": "p"}, "status": {"phase": "Running"}}
    assert field_selector(pods, "status.phase=Running,spec.hostNetwork=false,spec.nodeName!=x").matches(pod)
    assert field_selector(nodes, "spec.unschedulable!=true").matches({"metadata": {"name": "n"}})
    jobs = catalogue.require("batch", "v1", "jobs")
    assert field_selector(jobs, "status.successful=2").matches({"status": {"succeeded": 2}})
    with pytest.raises(InvalidArgumentError, match="is not a known field selector: only"):
        field_selector(maps, "metadata.name=x,spec.nodeName!=x")
    with pytest.raises(InvalidArgumentError, match=r"field label not supported: spec.nodename"):
        field_selector(pods, "spec.nodename=x")
    widgets = replace(maps, group="example.com", custom=True, selectable=(SelectableField("spec.color"),))
    assert not field_selector(widgets, "spec.color!=red").matches({"spec": {"color": "red"}})
    with pytest.raises(InvalidArgumentError, match=r"field label not supported: spec.size"):
        field_selector(widgets, "spec.size!=1")


@pytest.mark.parametrize("text", ["metadata.name", "=x", "a=b=c", "a<b"])
def test_malformed_field_queries_are_refused(text: str) -> None:
    """Terms without operator or path are InvalidArgumentError."""
    with pytest.raises(InvalidArgumentError, match="invalid field selector"):
        FieldSelector.parse(text)
