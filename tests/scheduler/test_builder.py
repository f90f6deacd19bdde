"""The placement message: what each way of ending a decision says, and what it keeps of the one before."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import pytest
from hanse_scheduler.handshake.builder import MAX_MESSAGE, PlacementBuilder, placement_name, reference_of
from hanse_scheduler.handshake.previous import PreviousPlacement, essence
from hanse_scheduler.handshake.releases import ClusterFacts, ReleaseRules
from hanse_scheduler.reasons import UNJOINING, Refusal
from hanse_scheduler.times import seconds_of, timestamp_of
from hanse_scheduler.trace import DecisionStep, DecisionTrace
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.scheduler.v1.placement_pb2 import (
    ADOPT,
    ClusterPlacement,
    ClusterRefusal,
    ClusterRelease,
    Placement,
)
from hanse.kube.model.objects import Object
from hanse.store.keys import ObjectKey
from tests.scheduler.builders import NOW, WEB, deployment

EARLIER = NOW - 3600


def builder(
    previous: Placement | None = None,
    *,
    obj: Object | None = None,
    exists: Collection[str] = ("a", "b", "c"),
    confirmed: Collection[str] = (),
    lingering: Collection[str] = (),
    leaving: Collection[str] = (),
    trace: DecisionTrace | None = None,
) -> PlacementBuilder:
    """A builder for the Deployment shop/web."""
    facts = ClusterFacts(
        exists=frozenset(exists),
        confirmed=frozenset(confirmed),
        lingering=tuple(lingering),
        leaving=frozenset(leaving),
    )
    return PlacementBuilder(
        WEB,
        obj or deployment(),
        previous=PreviousPlacement(previous, 40 if previous is not None else 0),
        rules=ReleaseRules(facts=facts, revision=40, now=NOW),
        trace=trace or DecisionTrace(enabled=False),
    )


def stored(
    *placed: str, releasing: Collection[str] = (), uid: str = "u1", refused: Collection[str] = ()
) -> Placement:
    """A placement in force, an hour old."""
    placement = Placement(
        name="placements/apps/deployments/shop/web",
        clusters=[ClusterPlacement(cluster=name) for name in placed],
        releasing=[ClusterRelease(cluster=name, after_revision=7) for name in releasing],
        refused=[ClusterRefusal(cluster=name, reason="NotNamedByPolicy") for name in refused],
        policy="ClusterPlacementPolicy p",
        create_time=timestamp_of(EARLIER),
        update_time=timestamp_of(EARLIER + 60),
    )
    placement.object.uid = uid
    return placement


def place(
    made: PlacementBuilder,
    *names: str,
    refused: Mapping[str, Refusal] | None = None,
    reconsider_at: float = math.inf,
) -> Placement:
    """Place the object in these clusters."""
    return made.place(
        clusters=[ClusterPlacement(cluster=name, reason="AllReadyClusters") for name in names],
        refused=refused or {},
        evicted={"c": EARLIER},
        policy="ClusterPlacementPolicy p",
        adopt=True,
        reconsider_at=reconsider_at,
    )


def names(items: Collection[ClusterPlacement | ClusterRelease | ClusterRefusal]) -> list[str]:
    """The clusters of entries."""
    return [item.cluster for item in items]


def test_a_placement_says_all_that_was_decided() -> None:
    """Name, object, clusters, refusals, evictions, policy, adoption and when to decide again."""
    placement = place(
        builder(), "a", refused={"c": ("Evicted", "x"), "b": ("ApiNotServed", "y")}, reconsider_at=NOW + 5
    )
    assert placement.name == "placements/apps/deployments/shop/web"
    assert (placement.object.kind, placement.object.uid, placement.generation) == ("Deployment", "u1", 1)
    assert names(placement.clusters) == ["a"]
    assert [(item.cluster, item.reason, item.message) for item in placement.refused] == [
        ("b", "ApiNotServed", "y"),
        ("c", "Evicted", "x"),
    ]
    assert [(item.cluster, seconds_of(item.evict_time)) for item in placement.evicted] == [("c", EARLIER)]
    assert (placement.policy, placement.conflict_resolution) == ("ClusterPlacementPolicy p", ADOPT)
    assert seconds_of(placement.reconsider_time) == NOW + 5
    assert not place(builder(), "a").HasField("reconsider_time")


def test_what_is_released_is_not_refused_too() -> None:
    """A cluster is in one list: while it is left, why it is left stands there."""
    placement = place(builder(stored("a", "b")), "a", refused={"b": ("Evicted", "x"), "c": ("Evicted", "x")})
    assert (names(placement.releasing), names(placement.refused)) == (["b"], ["c"])


def test_age_is_that_of_the_first_placement_of_the_object() -> None:
    """An update keeps the time of creation; another object of that name starts at now."""
    assert seconds_of(place(builder(stored("a")), "a").create_time) == EARLIER
    assert seconds_of(place(builder(stored("a", uid="older")), "a").create_time) == NOW
    without = stored("a")
    without.ClearField("create_time")
    assert seconds_of(place(builder(without), "a").create_time) == EARLIER + 60
    assert seconds_of(place(builder(stored("a")), "a").update_time) == NOW


def test_an_object_that_goes_nowhere_leaves_everything_first() -> None:
    """Without anything to release there is no placement; else one that only releases."""
    assert builder().withdraw() is None
    assert builder(stored("z"), exists=["a"]).withdraw() is None
    placement = builder(stored("a", releasing=["b"]), confirmed=["b"]).withdraw()
    assert placement is not None
    assert (names(placement.clusters), names(placement.releasing)) == ([], ["a"])
    assert (placement.policy, placement.generation) == ("", 1)


def test_an_error_keeps_what_is_and_lets_go_of_what_must_go() -> None:
    """Clusters that are gone, that leave or that have confirmed are not held by somebody's mistake."""
    before = stored("a", "b", "gone", releasing=["c"], refused=["gone", "d"])
    made = builder(before, exists=["a", "b", "c", "d"], confirmed=["c"], leaving=["b"])
    placement = made.keep_with_error("the annotation is no JSON")
    assert placement.error == "the annotation is no JSON"
    assert (names(placement.clusters), names(placement.releasing)) == (["a"], ["b"])
    assert (placement.releasing[0].reason, placement.releasing[0].message) == UNJOINING
    assert names(placement.refused) == ["d"]
    assert placement.policy == "ClusterPlacementPolicy p"


@pytest.mark.parametrize("before", [None, stored("a", uid="older")])
def test_an_error_about_a_new_object_places_nothing(before: Placement | None) -> None:
    """Only what is left of an earlier object of that name is released."""
    placement = builder(before).keep_with_error("no")
    assert (names(placement.clusters), placement.error, placement.policy) == ([], "no", "")
    assert names(placement.releasing) == (["a"] if before is not None else [])


def test_a_deletion_moves_nothing() -> None:
    """What is placed stays placed, so that the syncer deletes it there; nothing new is said of the rest."""
    before = stored("a", "b", releasing=["c"], refused=["d", "gone"])
    placement = builder(before, exists=["a", "b", "c", "d"]).keep_deleting()
    assert placement is not None
    assert names(placement.clusters) == ["a", "b"]
    assert names(placement.releasing) == ["c"]
    assert names(placement.refused) == ["d"]


def test_a_deletion_that_changes_nothing_is_the_same_message() -> None:
    """Not even the time of writing moves: nothing is written."""
    before = stored("a")
    assert builder(before).keep_deleting() == before


@pytest.mark.parametrize("before", [None, stored("a", uid="older")])
def test_a_deletion_of_an_object_that_was_not_placed(before: Placement | None) -> None:
    """It ends at once, unless something of an earlier object of that name is to leave first."""
    placement = builder(before).keep_deleting()
    if before is None:
        assert placement is None
    else:
        assert placement is not None
        assert (names(placement.clusters), names(placement.releasing)) == ([], ["a"])


def test_new_releases_are_explained_and_old_ones_are_not_repeated() -> None:
    """The trace has what this decision began."""
    trace = DecisionTrace(enabled=True)
    place(builder(stored("a", "b", releasing=["c"]), trace=trace), "a", refused={"b": ("Evicted", "by x")})
    assert trace.steps == (DecisionStep("release", "Evicted: by x", "b"),)


def test_nothing_is_noted_for_nobody() -> None:
    """A trace that is not enabled stays empty."""
    trace = DecisionTrace(enabled=False)
    trace.note("policy", "p decides")
    assert trace.steps == ()


def test_long_reasons_are_cut_off_visibly() -> None:
    """Messages and errors of any length are stored with at most MAX_MESSAGE characters."""
    placement = place(builder(), refused={"a": ("SelectorDoesNotMatch", "x" * 5000)})
    assert len(placement.refused[0].message) == MAX_MESSAGE
    assert placement.refused[0].message.endswith("...")
    assert len(builder().keep_with_error("y" * 5000).error) == MAX_MESSAGE


def test_names_of_core_and_of_cluster_scope() -> None:
    """The core group and cluster scope have names of their own in keys."""
    reference = reference_of(
        ObjectKey("", "namespaces", "", "shop"), {"apiVersion": "v1", "kind": "Namespace"}
    )
    assert placement_name(reference) == "placements/core/namespaces/_/shop"
    assert (reference.version, reference.kind, reference.uid) == ("v1", "Namespace", "")


def test_only_content_makes_a_difference() -> None:
    """Times, trace and revision are no content; a placement that comes or goes is a difference."""
    before = stored("a")
    other = stored("a")
    other.update_time.CopyFrom(timestamp_of(NOW))
    other.traceparent, other.revision = "00-1", 9
    assert not PreviousPlacement(before, 1).differs(other)
    assert essence(before) == essence(other)
    other.clusters[0].message = "else"
    assert PreviousPlacement(before, 1).differs(other)
    assert PreviousPlacement().differs(before)
    assert PreviousPlacement(before, 1).differs(None)
    assert not PreviousPlacement().differs(None)


def test_where_an_earlier_object_was_says_nothing_of_this_one() -> None:
    """Only placements of this very object count, and only clusters that exist; without uid it is trusted."""
    obj = deployment()
    assert set(PreviousPlacement(stored("a", "b"), 1).placed(obj, {"a"})) == {"a"}
    assert PreviousPlacement(stored("a", uid="older"), 1).placed(obj, {"a"}) == {}
    assert set(PreviousPlacement(stored("a", uid=""), 1).placed(obj, {"a"})) == {"a"}
    assert PreviousPlacement().placed(obj, {"a"}) == {}
    assert not PreviousPlacement().is_about(obj)


NAMES = st.frozensets(st.sampled_from(["a", "b", "c", "d"]))


@given(placed=NAMES, releasing=NAMES, confirmed=NAMES, lingering=NAMES, leaving=NAMES, now=NAMES)
def test_building_twice_says_the_same(
    *,
    placed: frozenset[str],
    releasing: frozenset[str],
    confirmed: frozenset[str],
    lingering: frozenset[str],
    leaving: frozenset[str],
    now: frozenset[str],
) -> None:
    """Each way of ending a decision is stable, and changes no message that it was given."""
    before = stored(*sorted(placed), releasing=sorted(releasing - placed))
    copy = Placement()
    copy.CopyFrom(before)

    def made(previous: Placement) -> PlacementBuilder:
        return builder(
            previous,
            exists=["a", "b", "c", "d"],
            confirmed=confirmed - lingering,
            lingering=sorted(lingering),
            leaving=leaving,
        )

    for build in (
        lambda each: place(each, *sorted(now)),
        lambda each: each.keep_with_error("no"),
        lambda each: each.keep_deleting(),
    ):
        first = build(made(before))
        if first is None:
            continue
        second = build(made(first))
        if second is not None:  # what was confirmed meanwhile is let go of
            assert {*names(second.clusters), *names(second.releasing)} <= {
                *names(first.clusters),
                *names(first.releasing),
            }
            assert names(second.clusters) == names(first.clusters)
    assert before == copy
