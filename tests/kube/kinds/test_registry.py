"""Kinds are declared once, are found by each of their names, and have strategies that fit them."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from hanse.federation.kinds import KINDS as HANSE
from hanse.federation.strategies import STRATEGIES as HANSE_STRATEGIES
from hanse.federation.strategies import federation_kinds
from hanse.kube.kinds.builtin import KUBERNETES
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.kind import Kind, by_group_plural
from hanse.kube.kinds.registry import KindRegistry
from hanse.kube.kinds.strategies.kubernetes import STRATEGIES, kubernetes
from hanse.kube.kinds.strategy import NO_STRATEGY, Strategy
from hanse.kube.kinds.table import layout
from hanse.kube.model.objects import Object
from hanse.kube.validation.objects import validate_update

REGISTRY = federation_kinds()
NOW = datetime(2026, 11, 27, tzinfo=UTC)
TABLES = [kind for kind in KUBERNETES if REGISTRY.strategy(kind).table is not None]
IMMUTABLE = [(kind, path) for kind in REGISTRY for path in REGISTRY.strategy(kind).immutable]


def test_no_two_kinds_have_one_name() -> None:
    """Each kind is found by its group and name, and by its group and plural."""
    for kind in REGISTRY:
        assert REGISTRY.by_kind(*kind.group_kind) is kind
        assert REGISTRY.by_resource(*kind.group_plural) is kind
    assert REGISTRY.by_kind("apps", "Pod") is None
    assert REGISTRY.by_resource("example.com", "widgets") is None


def test_each_strategy_is_of_a_kind_that_is_served() -> None:
    """A strategy that nothing leads to would be dead."""
    assert set(STRATEGIES) <= set(kubernetes())
    assert set(HANSE_STRATEGIES) <= set(HANSE)
    unknown = Kind("example.com", "Widget", "widgets")
    assert REGISTRY.strategy(unknown) is NO_STRATEGY


def test_discovery_lists_groups_together_and_resources_in_order() -> None:
    """A group is never taken up again, and within it resources are sorted by their plural."""
    groups = [
        group
        for group, after in pairwise(kind.group for kind in (*KUBERNETES, KUBERNETES[0]))
        if group != after
    ]
    assert len(groups) == len(set(groups))
    for before, after in pairwise(KUBERNETES):
        assert before.group != after.group or before.plural < after.plural


def test_registries_are_joined_and_do_not_change() -> None:
    """What one registry adds is in the sum, with its strategies; neither of the two is changed."""
    widget = Kind("example.com", "Widget", "widgets", versions=("v2", "v1"))
    strategy = Strategy(immutable=("spec.colour",))
    more = KindRegistry([widget], {widget: strategy})
    both = kubernetes() + more
    assert both.strategy(widget) is strategy
    assert both.by_kind("", "Pod") is kubernetes().by_kind("", "Pod")
    assert kubernetes().by_kind("example.com", "Widget") is None
    versions = [info for info in both.resources() if info.kind == "Widget"]
    assert [(info.version, info.storage_version) for info in versions] == [("v2", "v2"), ("v1", "v2")]
    assert all(info.strategy is strategy for info in versions)
    assert "example.com" in Catalogue(both).reserved_groups


def test_a_view_is_stored_where_the_kind_is_that_it_shows() -> None:
    """Events of events.k8s.io are core's, Clusters of Federation v1 are those of hanse.dev."""
    stored = {(info.group, info.plural): info.storage_key for info in REGISTRY.resources()}
    views = {resource: key for resource, key in stored.items() if resource != key}
    assert views == {
        ("events.k8s.io", "events"): ("", "events"),
        ("federation", "clusters"): ("hanse.dev", "clusters"),
    }


@pytest.mark.parametrize("kind", TABLES, ids=repr)
def test_a_row_has_a_cell_for_each_column(kind: Kind) -> None:
    """Also of an object that says nothing but its name."""
    info = next(info for info in REGISTRY.resources() if (info.group, info.kind) == kind.group_kind)
    table = layout(info)
    cells = table.render({"metadata": {"name": "a"}}, NOW)
    assert len(cells) == len(table.columns)
    assert cells[[column.name for column in table.columns].index("Name")] == "a"


def nested(path: str, value: str) -> Object:
    """An object with a value at a dotted path."""
    result: Any = value
    for step in reversed(path.split(".")):
        result = {step: result}
    return {"metadata": {"name": "a"}, **result}


@pytest.mark.parametrize(("kind", "path"), IMMUTABLE, ids=str)
def test_an_immutable_field_may_be_set_once_and_never_changed(kind: Kind, path: str) -> None:
    """Whatever the kind; a kind without that field in its strategy may change it."""

    def refused(old: Object, new: Object, strategy: Strategy) -> bool:
        return path in [error.field for error in validate_update(old, new, strategy=strategy)]

    strategy = REGISTRY.strategy(kind)
    assert refused(nested(path, "old"), nested(path, "new"), strategy)
    assert not refused(nested(path, "old"), nested(path, "old"), strategy)
    assert not refused({"metadata": {"name": "a"}}, nested(path, "new"), strategy)
    assert not refused(nested(path, "old"), nested(path, "new"), NO_STRATEGY)


def test_tables_by_kind_are_found_by_what_objects_carry() -> None:
    """A service keys its table by kind, and looks up by what it has at hand."""
    table = dict.fromkeys(KUBERNETES, 1)
    assert len(by_group_plural(table)) == len(KUBERNETES)
    assert by_group_plural(table)["", "pods"] == 1
