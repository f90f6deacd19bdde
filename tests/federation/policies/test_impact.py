"""What a change takes away, and when that needs a confirmation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.federation.policies.impact import Impact, ImpactLimits, ObjectImpact, confirms, confirms_unknown

DIVISIONS = st.dictionaries(st.sampled_from(["eu", "us", "ap"]), st.integers(0, 50))


@given(before=DIVISIONS, after=DIVISIONS)
def test_what_is_lost_is_removed_or_moved(before: dict[str, int], after: dict[str, int]) -> None:
    """Each replica that leaves a cluster runs elsewhere, or nowhere; what stays is not counted."""
    found = ObjectImpact.between("x", before, after)
    lost = sum(max(0, count - after.get(cluster, 0)) for cluster, count in before.items())
    assert found.removed >= 0
    assert found.moved >= 0
    assert found.removed + found.moved == lost
    assert found.replicas - found.removed <= sum(after.values())
    assert found.emptied == (sum(before.values()) > 0 and sum(after.values()) == 0)


@given(DIVISIONS)
def test_nothing_is_lost_where_nothing_changes(division: dict[str, int]) -> None:
    """Nor where more comes."""
    more = {cluster: count + 1 for cluster, count in division.items()} | {"new": 3}
    assert Impact.of([ObjectImpact.between("x", division, more)]) == Impact()


@pytest.mark.parametrize(
    ("losses", "exceeded"),
    [
        ([], False),
        ([ObjectImpact("a", replicas=4, removed=4, moved=0)], True),
        ([ObjectImpact("a", replicas=4, removed=3, moved=1)], False),
        ([ObjectImpact("a", replicas=4, removed=0, moved=4)] * 5, False),
        ([ObjectImpact("a", replicas=10, removed=0, moved=3)] * 6, False),
        ([ObjectImpact("a", replicas=10, removed=0, moved=4)] * 6, True),
    ],
)
def test_the_default_limits(losses: list[ObjectImpact], exceeded: bool) -> None:
    """A last replica counts always, a share only of more than five objects."""
    assert ImpactLimits().exceeded(Impact.of(losses)) is exceeded


def test_limits_can_be_set() -> None:
    """Without the rule of the last replica, only the share counts."""
    emptied = Impact.of([ObjectImpact("a", replicas=4, removed=4, moved=0)])
    assert not ImpactLimits(last_replica=False).exceeded(emptied)
    assert ImpactLimits(last_replica=False, objects=0).exceeded(emptied)
    assert not ImpactLimits(last_replica=False, objects=0, percent=100).exceeded(emptied)


@given(removed=st.integers(0, 10**6), moved=st.integers(0, 10**6), more=st.integers(1, 9))
def test_a_confirmation_is_of_its_numbers(removed: int, moved: int, more: int) -> None:
    """It allows that much or less, and never more."""
    impact = Impact(objects=1, replicas=removed + moved, removed=removed, moved=moved)
    assert confirms(impact.confirmation, impact)
    assert confirms(f"{impact.confirmation} as agreed\nwith the team", impact)
    assert confirms(f"removed={removed + more},moved={moved + more}", impact)
    assert not confirms(impact.confirmation, Impact(removed=removed + more, moved=moved))
    assert not confirms(impact.confirmation, Impact(removed=removed, moved=moved + more))


@pytest.mark.parametrize(
    "value", ["", "yes", "removed=30", "removed=-1,moved=0", "unknown", "removed=1,moved=1x"]
)
def test_anything_else_confirms_nothing(value: str) -> None:
    """The numbers must be there."""
    assert not confirms(value, Impact())


def test_what_nobody_can_count_is_confirmed_by_its_own_word() -> None:
    """And numbers do not confirm it."""
    assert confirms_unknown("unknown while the scheduler is down")
    assert not confirms_unknown("removed=30,moved=0")
    assert not confirms_unknown("")


def test_a_loss_reads_as_a_sentence() -> None:
    """As messages have it."""
    assert str(Impact(objects=6, replicas=40, removed=30, moved=4)) == (
        "removes 30 and moves 4 of the 40 replicas of 6 objects"
    )
    assert str(Impact(objects=1, replicas=4, moved=4)) == "moves 4 of the 4 replicas of 1 object"
