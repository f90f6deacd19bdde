"""Choosing some clusters of many: who runs the object first, then what spreads best, then weight and hash."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from hanse_scheduler.decide.clusters import MemberCluster
from hanse_scheduler.decide.planner import DEFAULT_PREFERENCES, ClusterPreference, Preferences
from hanse_scheduler.decide.spreading import choose
from hypothesis import given
from hypothesis import strategies as st

from tests.scheduler.builders import view

NAMES = ("a", "b", "c", "d", "e", "f")
CLUSTERS = st.lists(
    st.builds(
        lambda name, region, zones: view(name, region=region, zones=zones),
        st.sampled_from(NAMES),
        st.sampled_from(["eu", "us", "ap"]),
        st.sampled_from([(), ("1",), ("1", "2"), ("3",)]),
    ),
    unique_by=lambda item: item.name,
)
GROUPS = st.lists(st.frozensets(st.sampled_from(NAMES)), max_size=2)
SpreadBy = Literal["", "region", "zone"]


def pick(
    clusters: list[MemberCluster],
    limit: int,
    *,
    spread_by: SpreadBy = "",
    placed: list[frozenset[str]] | None = None,
    preferences: Preferences = DEFAULT_PREFERENCES,
    key: str = "shop/web",
) -> list[str]:
    """Choose at most `limit` of the clusters."""
    return choose(
        clusters, limit=limit, spread_by=spread_by, placed=placed or [], preferences=preferences, key=key
    )


@given(CLUSTERS, st.integers(0, 7), st.sampled_from(["", "region", "zone"]), GROUPS)
def test_as_many_as_allowed_each_once(
    clusters: list[MemberCluster], limit: int, spread_by: SpreadBy, placed: list[frozenset[str]]
) -> None:
    """A limit of 0 is none; no cluster is chosen twice, or that is no candidate."""
    names = pick(clusters, limit, spread_by=spread_by, placed=placed)
    candidates = {cluster.name for cluster in clusters}
    assert len(names) == len(set(names)) == (min(limit, len(clusters)) if limit else len(clusters))
    assert set(names) <= candidates


@given(CLUSTERS, st.integers(1, 6), st.sampled_from(["", "region", "zone"]), GROUPS)
def test_what_is_chosen_stays_chosen(
    clusters: list[MemberCluster], limit: int, spread_by: SpreadBy, placed: list[frozenset[str]]
) -> None:
    """Choosing again with what was chosen in place gives the same clusters: nothing moves by itself."""
    names = set(pick(clusters, limit, spread_by=spread_by, placed=placed))
    assert set(pick(clusters, limit, spread_by=spread_by, placed=[frozenset(names)])) == names


@given(CLUSTERS, st.integers(1, 6), st.sampled_from(["", "region", "zone"]), GROUPS)
def test_earlier_groups_come_first(
    clusters: list[MemberCluster], limit: int, spread_by: SpreadBy, placed: list[frozenset[str]]
) -> None:
    """No cluster of a later group is chosen while one of an earlier group is left out."""
    chosen = set(pick(clusters, limit, spread_by=spread_by, placed=placed))

    def group(name: str) -> int:
        return next((index for index, names in enumerate(placed) if name in names), len(placed))

    left_out = {cluster.name for cluster in clusters} - chosen
    if chosen and left_out:
        assert max(map(group, chosen)) <= min(map(group, left_out))


@given(CLUSTERS, st.integers(1, 6))
def test_regions_are_filled_evenly(clusters: list[MemberCluster], limit: int) -> None:
    """No region gets a second cluster while another one that has candidates left has none."""
    chosen = pick(clusters, limit, spread_by="region")
    regions = {cluster.name: cluster.region for cluster in clusters}
    used = Counter(regions[name] for name in chosen)
    for cluster in clusters:
        if cluster.name not in chosen:
            assert used[cluster.region] >= max(used.values(), default=0) - 1


@given(st.permutations(NAMES), st.integers(1, 5))
def test_the_order_of_candidates_does_not_matter(names: list[str], limit: int) -> None:
    """Weight and hash decide among equals, and not who is listed first."""
    assert set(pick([view(name) for name in names], limit)) == set(pick([view(n) for n in NAMES], limit))


def test_the_heaviest_are_chosen_first() -> None:
    """Without anything that runs and without spreading, weight decides."""
    preferences = Preferences(
        clusters={name: ClusterPreference(weight=number) for number, name in enumerate(NAMES, start=1)}
    )
    assert pick([view(name) for name in NAMES], 2, preferences=preferences) == ["f", "e"]


def test_objects_do_not_all_go_to_the_same_cluster() -> None:
    """Among equal clusters the hash of the object's name spreads them."""
    clusters = [view(name) for name in NAMES]
    assert len({pick(clusters, 1, key=f"shop/web-{number}")[0] for number in range(60)}) > 1


def test_a_cluster_in_several_zones_counts_by_its_emptiest() -> None:
    """A cluster that reaches into an unused zone is better than one whose only zone is used."""
    clusters = [
        view("a", region="eu", zones=("1",)),
        view("b", region="eu", zones=("1",)),
        view("c", region="eu", zones=("1", "2")),
    ]
    chosen = pick(clusters, 2, spread_by="zone", placed=[frozenset("a")])
    assert chosen == ["a", "c"]


def test_a_cluster_without_zones_counts_by_its_region() -> None:
    """Nobody has to name zones to be spread."""
    clusters = [view("a", region="eu"), view("b", region="eu"), view("c", region="us")]
    assert set(pick(clusters, 2, spread_by="zone", placed=[frozenset("a")])) == {"a", "c"}
