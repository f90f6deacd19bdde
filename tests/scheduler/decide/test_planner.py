"""The planner divides replicas exactly as Federation v1 did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pytest
from hanse_scheduler.decide.planner import ClusterPreference, Preferences, ReplicaPlan, fnv1_32, order, plan
from hypothesis import given
from hypothesis import strategies as st

Want = ClusterPreference


NONE: Mapping[str, int] = {}


class Case(NamedTuple):
    total: int
    clusters: str
    preferences: dict[str, ClusterPreference]
    expected: tuple[int, ...]
    current: Mapping[str, int] = NONE
    capacity: Mapping[str, int] = NONE
    overflow: Mapping[str, int] = NONE
    rebalance: bool = False


EQUAL = {"*": Want(weight=1)}
V1 = [
    Case(50, "ABC", EQUAL, (16, 17, 17)),
    Case(50, "AB", EQUAL, (25, 25)),
    Case(1, "AB", EQUAL, (0, 1)),
    Case(1, "ABCD", EQUAL, (0, 0, 0, 1)),
    Case(1, "A", EQUAL, (1,)),
    Case(1, "", EQUAL, ()),
    Case(50, "ABC", EQUAL, (10, 10, 30), current={"C": 30}),
    Case(50, "AB", EQUAL, (30, 20), current={"A": 30}),
    Case(50, "ABC", {"*": Want(min_replicas=2)}, (2, 2, 2)),
    Case(50, "ABC", {"*": Want(min_replicas=20)}, (10, 20, 20)),
    Case(50, "ABC", {"*": Want(weight=1, max_replicas=2)}, (2, 2, 2)),
    Case(50, "ABC", {"*": Want(weight=0)}, (0, 0, 0)),
    Case(50, "ABC", {}, (0, 0, 0)),
    Case(60, "ABC", {"A": Want(weight=1), "B": Want(weight=2)}, (20, 40, 0)),
    Case(50, "ABC", {"A": Want(weight=10000), "B": Want(weight=1)}, (50, 0, 0)),
    Case(
        50,
        "ABC",
        {"A": Want(weight=10000, max_replicas=10), "B": Want(weight=1), "C": Want(weight=1)},
        (10, 20, 20),
    ),
    Case(50, "ABC", EQUAL, (20, 20, 10), capacity={"C": 10}, overflow={"C": 7}, rebalance=True),
    Case(50, "ABC", EQUAL, (20, 20, 10), capacity={"C": 10}),
]


def run(case: Case) -> ReplicaPlan:
    return plan(
        case.total,
        clusters=list(case.clusters),
        preferences=Preferences(case.preferences, rebalance=case.rebalance),
        current=case.current,
        capacity=case.capacity,
    )


@pytest.mark.parametrize("case", V1, ids=str)
def test_gives_v1s_results(case: Case) -> None:
    """Every result of v1's own tests is reproduced."""
    result = run(case)
    assert tuple(result.replicas[name] for name in case.clusters) == case.expected
    assert result.overflow == case.overflow


def test_hash_is_fnv1_not_fnv1a() -> None:
    """The order of equal clusters comes from FNV-1; these are the reference values of the FNV authors."""
    assert fnv1_32(b"") == 0x811C9DC5
    assert fnv1_32(b"a") == 0x050C5D7E
    assert fnv1_32(b"foobar") == 0x31F0B262


def test_order_depends_on_the_object() -> None:
    """Different objects hand their remainders to different clusters."""
    clusters = [f"cluster-{number}" for number in range(5)]
    firsts = {order(clusters, Preferences(EQUAL), f"shop/web-{number}")[0] for number in range(50)}
    assert len(firsts) > 1


NAMES = list("ABCDE")
preference = st.builds(
    Want,
    min_replicas=st.integers(0, 20),
    max_replicas=st.none() | st.integers(20, 60),
    weight=st.integers(0, 5),
)
preferences = st.builds(
    Preferences,
    st.dictionaries(st.sampled_from([*NAMES, "*"]), preference, max_size=6),
    st.booleans(),
)
clusters = st.lists(st.sampled_from(NAMES), unique=True)
counts = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 60), max_size=5)


@given(st.integers(0, 200), clusters, preferences, counts, counts)
def test_bounds_hold(
    total: int,
    clusters: list[str],
    preferences: Preferences,
    current: dict[str, int],
    capacity: dict[str, int],
) -> None:
    """The sum never exceeds the total; maximum and capacity are kept; every cluster has an answer."""
    result = plan(
        total, clusters=clusters, preferences=preferences, current=current, capacity=capacity, key="a/b"
    )
    assert set(result.replicas) == set(clusters)
    assert sum(result.replicas.values()) <= total
    for name, count in result.replicas.items():
        own = preferences.of(name)
        assert count >= 0
        if own is None:
            assert count == 0
        elif own.max_replicas is not None:
            assert count <= own.max_replicas
        if name in capacity:
            assert count <= capacity[name]


@given(st.integers(0, 200), clusters, preferences, counts)
def test_minimum_is_kept_while_there_is_enough(
    total: int, clusters: list[str], preferences: Preferences, current: dict[str, int]
) -> None:
    """If all minima fit into the total, everyone has at least its minimum."""
    minima = {name: own.min_replicas for name in clusters if (own := preferences.of(name)) is not None}
    result = plan(total, clusters=clusters, preferences=preferences, current=current)
    if sum(minima.values()) <= total:
        assert all(result.replicas[name] >= least for name, least in minima.items())


@given(st.integers(0, 200), clusters, preferences)
def test_order_of_clusters_does_not_matter(total: int, clusters: list[str], preferences: Preferences) -> None:
    """The result depends on which clusters there are, not on how they are listed."""
    assert plan(total, clusters=clusters, preferences=preferences, key="k") == plan(
        total, clusters=clusters[::-1], preferences=preferences, key="k"
    )


@given(st.integers(0, 200), clusters, preferences, counts)
def test_nothing_moves_when_nothing_changes(
    total: int, clusters: list[str], preferences: Preferences, capacity: dict[str, int]
) -> None:
    """Without rebalance, planning again with what was planned as what runs gives the same plan."""
    still = Preferences(preferences.clusters, rebalance=False)
    first = plan(total, clusters=clusters, preferences=still, capacity=capacity, key="k")
    again = plan(
        total, clusters=clusters, preferences=still, capacity=capacity, current=first.replicas, key="k"
    )
    assert again.replicas == first.replicas


@given(st.integers(1, 200), clusters.filter(bool), counts)
def test_running_replicas_stay_when_there_is_room(
    total: int, clusters: list[str], current: dict[str, int]
) -> None:
    """Without rebalance, clusters keep what they run as long as the total allows for all of it."""
    running = {name: count for name, count in current.items() if name in clusters}
    result = plan(total, clusters=clusters, current=running)
    if sum(running.values()) <= total:
        assert all(result.replicas[name] >= count for name, count in running.items())
