"""Which clusters an object goes to: what eligibility means for where it is, and how a policy limits them."""

from __future__ import annotations

import math
from collections.abc import Collection

import pytest
from hanse_scheduler.decide.candidates import (
    Candidates,
    ClusterBound,
    candidates_of,
    limit,
    note_candidates,
    without_share,
)
from hanse_scheduler.decide.filtering import Eligibility
from hanse_scheduler.decide.planner import DEFAULT_PREFERENCES
from hanse_scheduler.trace import DecisionTrace
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from tests.scheduler.builders import NOW, offline, view


def each(name: str = "a", *, admits: bool = True, leave_at: float = math.inf) -> Eligibility:
    """The eligibility of a cluster."""
    return Eligibility(
        view(name),
        admits,
        "AllReadyClusters" if admits else "ClusterUnschedulable",
        "it is cordoned",
        "AllReadyClusters",
        "chosen",
        leave_at,
        "TaintNotTolerated" if math.isfinite(leave_at) else "",
        "the taint",
    )


def placed(*names: str, suspended: Collection[str] = ()) -> dict[str, ClusterPlacement]:
    """Where the object is placed."""
    return {name: ClusterPlacement(cluster=name, suspended=name in suspended) for name in names}


@pytest.mark.parametrize(
    ("eligibility", "there", "holds", "evicted", "expected"),
    [
        (each(), False, False, False, ""),
        (each(admits=False), False, False, False, "ClusterUnschedulable"),
        (each(admits=False), True, False, False, ""),
        (each(leave_at=NOW + 5), True, False, False, ""),
        (each(leave_at=NOW), True, False, False, "TaintNotTolerated"),
        (each(admits=False, leave_at=NOW), True, False, False, "TaintNotTolerated"),
        (each(admits=False, leave_at=NOW), False, False, False, "ClusterUnschedulable"),
        (each(admits=False, leave_at=NOW), False, True, False, ""),
        (each(admits=False, leave_at=NOW), True, True, False, ""),
        (each(), False, False, True, "Evicted"),
        (each(), True, False, True, "Evicted"),
        (each(), True, True, True, ""),
    ],
)
def test_what_eligibility_means_for_where_the_object_is(
    *, eligibility: Eligibility, there: bool, holds: bool, evicted: bool, expected: str
) -> None:
    """What keeps new objects out lets one stay; a namespace stays with what it holds; evictions last."""
    found = candidates_of(
        [eligibility],
        placed=placed("a") if there else {},
        contents={"a"} if holds else (),
        evicted={"a"} if evicted else (),
        now=NOW,
    )
    assert ("a" in found.chosen) is not bool(expected)
    assert found.refused.get("a", ("", ""))[0] == expected


def test_a_namespace_stays_where_something_is_in_it_and_says_why() -> None:
    """It is not refused by a taint, and a decision is not due when that taint is over."""
    found = candidates_of([each(admits=False, leave_at=NOW)], placed={}, contents={"a"}, evicted=(), now=NOW)
    assert found.chosen["a"].chosen_reason == "HoldsObjects"
    assert found.reconsider_at == math.inf


def test_the_first_cluster_that_must_be_left_says_when_to_decide_again() -> None:
    """Clusters that the object is not in count as well: they are chosen until then."""
    found = candidates_of(
        [each("a", leave_at=NOW + 9), each("b", leave_at=NOW + 3), each("c")],
        placed=placed("a"),
        contents=(),
        evicted=(),
        now=NOW,
    )
    assert found.reconsider_at == NOW + 3


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.booleans(), st.sampled_from([0.0, NOW, NOW + 5, math.inf])),
        unique_by=lambda item: item[0],
    ),
    st.frozensets(st.sampled_from("abcdef")),
    st.frozensets(st.sampled_from("abcdef")),
    st.frozensets(st.sampled_from("abcdef")),
)
def test_every_cluster_is_chosen_or_refused(
    clusters: list[tuple[str, bool, float]],
    there: frozenset[str],
    contents: frozenset[str],
    evicted: frozenset[str],
) -> None:
    """No cluster is left out, none is in both; what holds objects is chosen, whatever else there is."""
    eligible = [each(name, admits=admits, leave_at=when) for name, admits, when in clusters]
    found = candidates_of(eligible, placed=placed(*there), contents=contents, evicted=evicted, now=NOW)
    names = {name for name, _, _ in clusters}
    assert found.chosen.keys() | found.refused.keys() == names
    assert not found.chosen.keys() & found.refused.keys()
    assert names & contents <= found.chosen.keys()
    assert found.reconsider_at > NOW
    for name in found.refused.keys() & evicted:
        assert found.refused[name][0] == "Evicted"


def test_every_cluster_is_explained() -> None:
    """One line for each, in the order of the clusters; also what would keep a new object out."""
    eligible = [each("a"), each("b", admits=False), each("c", admits=False)]
    found = candidates_of(eligible, placed=placed("b"), contents=(), evicted=(), now=NOW)
    trace = DecisionTrace(enabled=True)
    note_candidates(found, placed={"b"}, trace=trace, order=eligible)
    yes, cordoned = "yes: AllReadyClusters: chosen", "ClusterUnschedulable: it is cordoned"
    assert [(step.cluster, step.message) for step in trace.steps] == [
        ("a", yes),
        (
            "b",
            f"{yes}; it is there already; a new object would be refused: {cordoned}",
        ),
        ("c", f"no: {cordoned}"),
    ]


def chosen(*items: Eligibility) -> Candidates:
    """Candidates, all of them chosen."""
    found = Candidates()
    for item in items:
        found.choose(item.cluster.name, item)
    return found


def limited(
    found: Candidates,
    most: int,
    *,
    there: dict[str, ClusterPlacement],
    contents: Collection[str] = (),
    lost: Collection[str] = (),
) -> list[str]:
    """Limit the candidates to `most` clusters."""
    return limit(
        found,
        ClusterBound(most, spread_by="", message=f"{most} are allowed"),
        placed=there,
        lost=lost,
        contents=contents,
        preferences=DEFAULT_PREFERENCES,
        key="shop/web",
    )


def test_who_has_the_object_stays_when_a_policy_allows_fewer() -> None:
    """Clusters that run it come first; the others are refused with what the bound says."""
    found = chosen(each("a"), each("b"), each("c"))
    assert sorted(limited(found, 1, there=placed("c"))) == ["a", "b"]
    assert set(found.chosen) == {"c"}
    assert found.refused["a"] == (
        "NotAmongMaxClusters",
        "1 are allowed",
    )


def test_one_that_has_lost_its_share_does_not_count() -> None:
    """It keeps its entry, so that its replicas come back with it, and another cluster takes its place."""
    away = Eligibility(offline("a"), False, "ClusterOffline", "away", "AllReadyClusters", "chosen")
    found = chosen(away, each("b"), each("c"))
    there = placed("a", suspended=["a"])
    lost = without_share(found, placed=there, observed={}, toleration=60, now=NOW)
    assert lost == {"a"}
    left_out = limited(found, 1, there=there, lost=lost)
    assert len(left_out) == 1
    assert "a" in found.chosen
    assert len(found.chosen) == 2


def test_one_that_is_suspended_gives_way_to_those_that_run_it() -> None:
    """Of clusters that have the object those that are not suspended are kept first."""
    found = chosen(each("a"), each("b"))
    assert limited(found, 1, there=placed("a", "b", suspended=["a"])) == ["a"]


def test_a_namespace_is_not_limited_to_less_than_it_holds() -> None:
    """Where something is in it, it stays."""
    found = chosen(each("a"), each("b"), each("c"))
    limited(found, 1, there=placed("a"), contents={"b", "c"})
    assert found.chosen.keys() >= {"b", "c"}


@given(
    names=st.frozensets(st.sampled_from("abcdef"), min_size=1),
    there=st.frozensets(st.sampled_from("abcdef")),
    most=st.integers(1, 6),
)
def test_a_limit_is_kept_and_used(names: frozenset[str], there: frozenset[str], most: int) -> None:
    """So many clusters as are allowed are left, those that have the object before all others."""
    found = chosen(*(each(name) for name in sorted(names)))
    left_out = limited(found, most, there=placed(*there))
    assert len(found.chosen) == min(most, len(names))
    assert set(left_out) == names - found.chosen.keys()
    have = names & there
    assert have <= found.chosen.keys() or found.chosen.keys() <= have
