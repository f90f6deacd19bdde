"""The hash ring."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hanse.control import HashRing

names = st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=6)
KEYS = [f"cluster-{number}" for number in range(200)]


@given(names)
def test_every_key_has_one_owner_whatever_the_order(members: set[str]) -> None:
    """Shares are a partition, and every process computes the same."""
    ring = HashRing(members, points=16)
    assert ring == HashRing(sorted(members, reverse=True), points=16)
    shares = [ring.share(member, KEYS) for member in members]
    assert sum(map(len, shares)) == len(KEYS)
    assert frozenset().union(*shares) == set(KEYS)


@given(names, st.text(min_size=1, max_size=8))
def test_a_member_that_joins_takes_keys_only_for_itself(members: set[str], joiner: str) -> None:
    """Minimal movement, for joins and (read backwards) for leaves."""
    before, after = HashRing(members, points=16), HashRing({*members, joiner}, points=16)
    for key in KEYS:
        if before.owner(key) != after.owner(key):
            assert after.owner(key) == joiner


@given(names)
def test_the_second_owner_is_who_follows_when_the_first_leaves(members: set[str]) -> None:
    """owners() foretells a failover."""
    ring = HashRing(members, points=16)
    for key in KEYS[:20]:
        owners = ring.owners(key, 2)
        assert owners[0] == ring.owner(key)
        rest = HashRing(members - {owners[0]}, points=16)
        assert rest.owner(key) == (owners[1] if len(owners) > 1 else None)


def test_shares_are_about_even() -> None:
    """With the default virtual nodes no member has twice its share."""
    ring = HashRing([f"syncer-{number}" for number in range(4)])
    keys = [f"key-{number}" for number in range(4000)]
    assert all(600 < len(ring.share(member, keys)) < 1500 for member in ring.members)


def test_an_empty_ring_owns_nothing() -> None:
    """No member, no owner."""
    assert HashRing([]).owner("a") is None
    assert HashRing([]).owners("a", 2) == ()
