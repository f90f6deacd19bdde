"""Sharing a workload's number out: nothing is lost, nothing runs twice, what is away keeps its replicas."""

from __future__ import annotations

import math

import pytest
from hanse_scheduler.decide.division import ClusterReplicas, Division, divide
from hanse_scheduler.decide.planner import DEFAULT_PREFERENCES, ClusterPreference, Preferences
from hypothesis import given
from hypothesis import strategies as st

from tests.scheduler.builders import NOW, offline, view

TOLERATION = 60.0
COUNTS = st.none() | st.integers(0, 12)
NAMES = ("a", "b", "c", "d")


def in_cluster(
    name: str,
    *,
    away_since: float | None = None,
    assigned: int | None = None,
    suspended: bool = False,
    reported: int | None = None,
    unschedulable: int = 0,
) -> ClusterReplicas:
    """What a cluster has, placed there if it was told a number."""
    return ClusterReplicas(
        cluster=view(name) if away_since is None else offline(name, since=away_since),
        placed=assigned is not None,
        suspended=suspended and assigned is not None,
        assigned=assigned,
        reported=reported,
        unschedulable=unschedulable,
    )


CLUSTERS = st.lists(
    st.builds(
        in_cluster,
        st.sampled_from(NAMES),
        away_since=st.sampled_from([None, None, NOW - 10, NOW - 100]),
        assigned=COUNTS,
        suspended=st.booleans(),
        reported=COUNTS,
        unschedulable=st.sampled_from([0, 0, 3]),
    ),
    unique_by=lambda item: item.cluster.name,
    min_size=1,
)
PREFERENCES = st.sampled_from(
    [
        DEFAULT_PREFERENCES,
        Preferences(clusters=DEFAULT_PREFERENCES.clusters, rebalance=True),
        Preferences(
            clusters={"a": ClusterPreference(weight=1, min_replicas=2), "*": ClusterPreference(weight=2)}
        ),
        Preferences(
            clusters={"a": ClusterPreference(weight=1, max_replicas=3), "b": ClusterPreference(weight=1)}
        ),
    ]
)


def share(
    total: int, clusters: list[ClusterReplicas], preferences: Preferences = DEFAULT_PREFERENCES
) -> Division:
    """Divide at NOW."""
    return divide(
        total,
        clusters=clusters,
        preferences=preferences,
        toleration=TOLERATION,
        now=NOW,
        key="shop/web",
    )


def counts(division: Division) -> dict[str, int]:
    """Replicas by cluster, without those that are suspended."""
    return {name: item.replicas for name, item in division.shares.items() if not item.suspended}


@given(st.integers(0, 30), CLUSTERS, PREFERENCES)
def test_every_cluster_gets_a_share_or_a_reason(
    total: int, clusters: list[ClusterReplicas], preferences: Preferences
) -> None:
    """None is forgotten, none is in both, and no share is less than nothing."""
    division = share(total, clusters, preferences)
    names = {item.cluster.name for item in clusters}
    assert division.shares.keys() | division.refused.keys() == names
    assert not division.shares.keys() & division.refused.keys()
    assert all(item.replicas >= 0 for item in division.shares.values())
    assert all(reason and message for reason, message in division.refused.values())


@given(st.integers(0, 30), CLUSTERS)
def test_no_replica_is_lost_or_made_up(total: int, clusters: list[ClusterReplicas]) -> None:
    """Where every cluster may take any number, all are asked for; beside them what cannot run yet."""
    division = share(total, clusters)
    asked = sum(counts(division).values())
    missing = next((int(note.split(" ")[0]) for note in division.notes if "have no cluster" in note), 0)
    full = any(item.unschedulable for item in clusters)
    assert asked + missing >= total
    assert asked + missing == total or full


@given(st.integers(0, 30), CLUSTERS, PREFERENCES)
def test_what_is_placed_is_never_refused_in_silence(
    total: int, clusters: list[ClusterReplicas], preferences: Preferences
) -> None:
    """A cluster that has the object and whose share is 0 is scaled to 0 there, if it has a preference."""
    division = share(total, clusters, preferences)
    for item in clusters:
        if item.placed and not item.suspended:
            assert item.cluster.name in division.shares


@given(st.integers(0, 30), CLUSTERS)
def test_dividing_again_moves_nothing(total: int, clusters: list[ClusterReplicas]) -> None:
    """What was told is what runs: a second division of the same gives the same."""
    clusters = [
        item for item in clusters if not item.unschedulable and (item.placed or not item.cluster.since)
    ]
    if not clusters:  # a cluster that is away is never new: filtering refuses it
        return
    first = share(total, clusters)
    told = [
        in_cluster(
            name,
            away_since=next(c.cluster.since for c in clusters if c.cluster.name == name) or None,
            assigned=item.replicas,
            suspended=item.suspended,
        )
        for name, item in sorted(first.shares.items())
    ]
    if told:
        second = share(total, told)
        assert {name: item.replicas for name, item in second.shares.items()} == {
            name: item.replicas for name, item in first.shares.items()
        }


def test_a_cluster_that_is_away_keeps_its_replicas_for_the_toleration() -> None:
    """Until then it counts as it is, and the time when it is over is known."""
    division = share(9, [in_cluster("a", assigned=3, away_since=NOW - 10), in_cluster("b", assigned=6)])
    assert counts(division) == {"a": 3, "b": 6}
    assert division.reconsider_at == NOW - 10 + TOLERATION


def test_after_the_toleration_its_replicas_count_elsewhere() -> None:
    """It is suspended with what it has; the others take all of the total."""
    division = share(
        9, [in_cluster("a", assigned=3, away_since=NOW - TOLERATION), in_cluster("b", assigned=6)]
    )
    assert division.shares["a"].suspended
    assert division.shares["a"].replicas == 3
    assert counts(division) == {"b": 9}
    assert division.reconsider_at == math.inf


def test_a_suspended_cluster_stays_so_until_it_is_back() -> None:
    """The toleration does not begin again; one that is back takes part at once."""
    away = in_cluster("a", assigned=3, suspended=True, away_since=NOW - 1)
    assert share(9, [away, in_cluster("b", assigned=9)]).shares["a"].suspended
    back = in_cluster("a", assigned=3, suspended=True)
    assert sum(counts(share(9, [back, in_cluster("b", assigned=9)])).values()) == 9


@pytest.mark.parametrize("suspended", [False, True])
@given(total=st.integers(0, 20), has=st.integers(0, 10))
def test_nothing_moves_because_a_credential_is_refused(suspended: bool, total: int, has: int) -> None:
    """However long: what was placed stays, without a share of what is new; what was suspended stays so."""
    refused = in_cluster("a", assigned=has, suspended=suspended, away_since=math.inf)
    division = share(total, [refused, in_cluster("b", assigned=max(0, total - has))])
    assert division.shares["a"].suspended is suspended
    assert division.shares["a"].replicas <= has
    assert division.reconsider_at == math.inf
    if not suspended and total >= has:
        assert counts(division) == {"a": has, "b": total - has}


def test_where_nobody_could_take_them_they_stay() -> None:
    """Without a reachable cluster nothing is suspended, and it says so."""
    division = share(4, [in_cluster("a", assigned=4, away_since=NOW - 100)])
    assert counts(division) == {"a": 4}
    assert division.notes == [
        "no reachable cluster could take the replicas over, so they stay where they are"
    ]


def test_a_new_cluster_that_is_away_has_no_toleration() -> None:
    """There is nothing to wait for where the object is not."""
    division = share(4, [in_cluster("a", away_since=NOW - 10), in_cluster("b", assigned=4)])
    assert division.reconsider_at == math.inf


@pytest.mark.parametrize(
    ("item", "current", "capacity"),
    [
        (in_cluster("a", assigned=5, reported=3), 5, None),
        (in_cluster("a", reported=3), 3, None),
        (in_cluster("a"), None, None),
        (in_cluster("a", assigned=5, reported=5, unschedulable=2), 5, 3),
        (in_cluster("a", assigned=5, unschedulable=2), 5, 3),
        (in_cluster("a", assigned=2, reported=2, unschedulable=5), 2, 0),
        (in_cluster("a", unschedulable=5), None, None),
    ],
)
def test_what_is_known_of_a_cluster(item: ClusterReplicas, current: int | None, capacity: int | None) -> None:
    """what it was assigned counts before what it reports; what it cannot run bounds what it can."""
    assert (item.current, item.capacity) == (current, capacity)


def test_zero_replicas_go_everywhere() -> None:
    """An object that is to run nowhere is there all the same, so that it can be scaled up."""
    assert counts(share(0, [in_cluster("a"), in_cluster("b")])) == {"a": 0, "b": 0}


def test_who_is_in_no_preference_gets_nothing_and_says_so() -> None:
    """Even of 0 replicas: the preferences name neither it nor *."""
    preferences = Preferences(clusters={"a": ClusterPreference(weight=1)})
    for total in (0, 5):
        assert share(total, [in_cluster("a"), in_cluster("b")], preferences).refused["b"] == (
            "NotInPreferences",
            "the replica preferences name neither it nor *",
        )


def test_too_few_replicas_leave_clusters_out() -> None:
    """One replica goes to one cluster; the others say that none is left."""
    division = share(1, [in_cluster("a"), in_cluster("b"), in_cluster("c")])
    assert sum(counts(division).values()) == 1
    assert {reason for reason, _ in division.refused.values()} == {"NoReplicas"}


def test_maxima_that_are_too_small_are_noted() -> None:
    """What nobody may run is said, and not given to somebody."""
    preferences = Preferences(clusters={"*": ClusterPreference(weight=1, max_replicas=2)})
    division = share(9, [in_cluster("a"), in_cluster("b")], preferences)
    assert counts(division) == {"a": 2, "b": 2}
    assert division.notes == ["5 of 9 replicas have no cluster that may or can run them"]
