"""Which clusters a placement names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, ClusterRelease, Placement
from hanse.federation import placements

NAMES = st.sampled_from(["a", "b", "c", "d"])
PLACED = st.builds(
    lambda name, after, suspended: ClusterPlacement(cluster=name, after_revision=after, suspended=suspended),
    NAMES, st.integers(0, 9), st.booleans(),
)  # fmt: skip
RELEASED = st.builds(
    lambda name, after: ClusterRelease(cluster=name, after_revision=after), NAMES, st.integers(0, 9)
)
PLACEMENTS = st.builds(
    lambda placed, released: Placement(clusters=placed, releasing=released),
    st.lists(PLACED, max_size=4, unique_by=lambda entry: entry.cluster),
    st.lists(RELEASED, max_size=4, unique_by=lambda entry: entry.cluster),
)


@given(PLACEMENTS, NAMES)
def test_a_cluster_is_named_if_it_is_placed_or_releasing(placement: Placement, cluster: str) -> None:
    """The sets and the questions about one cluster say the same."""
    placed = placements.is_placed_in(placement, cluster)
    named = placed or placements.is_releasing(placement, cluster)
    assert placed is (cluster in placements.placed_clusters(placement))
    assert placed is (placements.placement_in(placement, cluster) is not None)
    assert placements.is_named(placement, cluster) is named
    assert (cluster in placements.named_clusters(placement)) is named
    assert (cluster in placements.after_revisions(placement)) is named


@given(PLACEMENTS)
def test_a_suspended_cluster_is_a_placed_one(placement: Placement) -> None:
    """Suspended clusters are those of the placed ones whose entry says so."""
    for cluster in placements.placed_clusters(placement):
        entry = placements.placement_in(placement, cluster)
        assert entry is not None
        assert entry.suspended is (cluster in placements.suspended_clusters(placement))
    assert placements.suspended_clusters(placement) <= placements.placed_clusters(placement)


@given(PLACEMENTS)
def test_a_release_says_what_a_confirmation_must_be_newer_than(placement: Placement) -> None:
    """Where a cluster is placed and releasing, the release's revision counts."""
    after = placements.after_revisions(placement)
    released = {entry.cluster: entry.after_revision for entry in placement.releasing}
    for entry in placement.clusters:
        assert after[entry.cluster] == released.get(entry.cluster, entry.after_revision)
    assert after.items() >= released.items()
