"""The release handshake: placed, releasing, confirmed, gone; and nothing that falls silently out of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest
from hanse_scheduler.handshake.releases import ClusterFacts, ReleaseRules
from hanse_scheduler.reasons import TEMPORARY, UNJOINING, Refusal
from hanse_scheduler.times import seconds_of
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, ClusterRelease, Placement
from hanse.federation.placements import named_clusters
from tests.scheduler.builders import NOW

NAMES = ("a", "b", "c", "d", "e")
CLUSTERS = st.frozensets(st.sampled_from(NAMES))
REFUSALS = st.dictionaries(
    st.sampled_from(NAMES),
    st.sampled_from([("NotNamedByPolicy", "no"), ("ClusterOffline", "away"), ("ClusterNotReady", "not yet")]),
)


def rules(
    exists: Collection[str] = NAMES,
    *,
    confirmed: Collection[str] = (),
    lingering: Collection[str] = (),
    leaving: Collection[str] = (),
) -> ReleaseRules:
    """Rules at revision 40."""
    facts = ClusterFacts(
        exists=frozenset(exists),
        confirmed=frozenset(confirmed),
        lingering=tuple(lingering),
        leaving=frozenset(leaving),
    )
    return ReleaseRules(facts=facts, revision=40, now=NOW)


def before(placed: Collection[str] = (), releasing: Collection[str] = ()) -> Placement:
    """A placement, whose releases began after revision 7."""
    return Placement(
        clusters=[ClusterPlacement(cluster=name) for name in sorted(placed)],
        releasing=[
            ClusterRelease(cluster=name, reason="NotPlaced", after_revision=7) for name in sorted(releasing)
        ],
    )


def test_what_is_placed_no_more_is_released_after_the_placement_that_had_it() -> None:
    """The release says why, when, and which confirmations are older than it."""
    found = rules().releases(
        before(["a", "b"]), staying={"a"}, refused={"b": ("NotNamedByPolicy", "p does not name it")}
    )
    (release,) = found.values()
    assert (release.cluster, release.reason, release.message) == (
        "b",
        "NotNamedByPolicy",
        "p does not name it",
    )
    assert (release.after_revision, seconds_of(release.release_time)) == (40, NOW)


def test_a_release_that_goes_on_stays_as_it_was() -> None:
    """A later decision does not begin a release again: its confirmation would count for nothing."""
    found = rules().releases(before(["a"], ["b"]), staying={"a"}, refused={"b": ("Evicted", "now")})
    assert (found["b"].after_revision, found["b"].reason) == (7, "NotPlaced")


def test_a_confirmed_release_ends_and_one_that_is_placed_again_is_taken_back() -> None:
    """Both are out of the list: the first is done, the second is wanted."""
    assert rules(confirmed=["b"]).releases(before([], ["a", "b"]), staying={"a"}, refused={}) == {}


def test_a_cluster_that_is_no_more_is_not_waited_for() -> None:
    """Nobody could confirm anything of it."""
    assert rules(exists=["a"]).releases(before(["b"], ["c"]), staying=(), refused={}) == {}


@pytest.mark.parametrize("reason", sorted(TEMPORARY))
def test_what_lies_in_a_cluster_that_is_away_for_now_is_left(reason: str) -> None:
    """It may be placed there in a moment; what was placed there is released all the same."""
    away = rules(lingering=["a"])
    assert away.releases(None, staying=(), refused={"a": (reason, "away")}) == {}
    assert set(away.releases(before(["a"]), staying=(), refused={"a": (reason, "away")})) == {"a"}


def test_a_confirmed_release_begins_again_where_something_turns_up() -> None:
    """A cluster that confirmed and then shows the object again is released once more, from here on."""
    found = rules(confirmed=["a"], lingering=["a"]).releases(before([], ["a"]), staying=(), refused={})
    assert found["a"].after_revision == 40


@given(
    exists=CLUSTERS,
    placed=CLUSTERS,
    releasing=CLUSTERS,
    staying=CLUSTERS,
    confirmed=CLUSTERS,
    lingering=CLUSTERS,
    refused=REFUSALS,
)
def test_no_cluster_falls_silently_out(
    *,
    exists: frozenset[str],
    placed: frozenset[str],
    releasing: frozenset[str],
    staying: frozenset[str],
    confirmed: frozenset[str],
    lingering: frozenset[str],
    refused: Mapping[str, Refusal],
) -> None:
    """Of what a placement named each cluster stays, is released, has confirmed, or does not exist."""
    made = rules(exists, confirmed=confirmed, lingering=lingering)
    old = before(placed, releasing)
    found = made.releases(old, staying=staying, refused=refused)
    assert list(found) == sorted(found)
    assert not found.keys() & staying
    assert found.keys() <= exists
    for name in named_clusters(old) & exists - staying:
        assert name in found or (name in confirmed and name not in placed)
    for name in lingering & exists - staying - named_clusters(old):
        temporary = name in refused and refused[name][0] in TEMPORARY
        assert (name in found) is not temporary
    for name in found.keys() - named_clusters(old):
        assert name in lingering


@given(placed=CLUSTERS, releasing=CLUSTERS, lingering=CLUSTERS, refused=REFUSALS)
def test_deciding_again_releases_the_same(
    placed: frozenset[str], releasing: frozenset[str], lingering: frozenset[str], refused: dict[str, Refusal]
) -> None:
    """Releases of a placement that has them already are those releases, whatever the time."""
    first = rules(lingering=lingering).releases(before(placed, releasing), staying=(), refused=refused)
    stored = Placement(releasing=first.values())
    later = ReleaseRules(facts=rules(lingering=lingering).facts, revision=90, now=NOW + 60)
    assert later.releases(stored, staying=(), refused=refused) == first


@given(
    exists=CLUSTERS,
    placed=CLUSTERS,
    releasing=CLUSTERS,
    confirmed=CLUSTERS,
    lingering=CLUSTERS,
    leaving=CLUSTERS,
)
def test_a_deletion_waits_for_every_cluster_that_may_have_the_object(
    *,
    exists: frozenset[str],
    placed: frozenset[str],
    releasing: frozenset[str],
    confirmed: frozenset[str],
    lingering: frozenset[str],
    leaving: frozenset[str],
) -> None:
    """While an object is being deleted only a cluster that leaves and has confirmed is let go of."""
    leaving &= exists
    staying = (placed & exists) - leaving
    releasing -= placed
    made = rules(exists, confirmed=confirmed, lingering=lingering, leaving=leaving)
    found = made.while_deleting(before(placed, releasing), staying)
    names = [release.cluster for release in found]
    assert names == sorted(set(names))
    assert set(names) <= exists
    assert not staying & set(names)
    for name in (placed | releasing | lingering) & exists - staying:
        confirmed_leaver = name in leaving and name in confirmed and name in releasing
        assert name in names or (confirmed_leaver and name not in lingering)
    for release in found:
        if release.cluster in placed & leaving:
            assert (release.reason, release.message) == UNJOINING
