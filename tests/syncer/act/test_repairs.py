"""Repairs of drift: at once where there is peace, later and later where two fight."""

from __future__ import annotations

import random

import pytest
from hanse_syncer.act.repairs import QUIET_SECONDS, REPAIRS, quiet_seconds, repair_wait
from hanse_syncer.act.request import TransientState
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.floats(0.0, 90.0), max_size=40), st.integers())
def test_no_two_repairs_are_closer_than_the_backoff_allows(steps: list[float], seed: int) -> None:
    """Whenever drift is seen: a wait is never longer than the bound, and each repair is counted once."""
    transient, now, repaired = TransientState(), 0.0, 0
    rng = random.Random(seed)
    for step in steps:
        now += step
        before = transient.repaired_at
        wait = repair_wait(transient, now, rng)
        assert 0.0 <= wait <= 2 * REPAIRS.limit
        if wait:
            assert transient.repaired_at == before
            continue
        repaired += 1
        assert transient.repaired_at == now
        assert transient.repairs <= repaired


def test_a_fight_comes_to_a_repair_a_minute() -> None:
    """Drift that is there again at once is repaired some times in the first minute, and not a hundred."""
    transient, now, repairs = TransientState(), 0.0, 0
    rng = random.Random(0)
    while now < 60.0:
        if not repair_wait(transient, now, rng):
            repairs += 1
        now += 0.05
    assert 3 <= repairs <= 30


@pytest.mark.parametrize("repairs", [7, 9, 12, 40])
def test_after_a_quiet_while_a_repair_is_at_once(repairs: int) -> None:
    """And counts as the first again. The while is longer than the wait: a fight does not end by waiting."""
    transient, rng = TransientState(repairs=repairs, repaired_at=100.0), random.Random(0)
    assert repair_wait(transient, 100.0 + QUIET_SECONDS / 20, rng) > 0
    assert transient.repairs == repairs
    again = TransientState(repairs=repairs, repaired_at=100.0)
    assert repair_wait(again, 100.1 + quiet_seconds(repairs), rng) == 0.0
    assert again.repairs == 1
    waited = REPAIRS.delay(repairs, rng=random.Random(1))
    assert repair_wait(transient, 100.0 + max(waited, 2.0), rng) >= 0.0
    assert transient.repairs >= repairs


@given(st.integers(1, 200), st.integers())
def test_no_wait_is_as_long_as_the_quiet_that_ends_a_fight(repairs: int, seed: int) -> None:
    """Who waits for a repair is not forgotten before it is made."""
    assert REPAIRS.delay(repairs, rng=random.Random(seed)) < quiet_seconds(repairs)


def test_a_fight_that_never_ends_is_fought_less_and_less() -> None:
    """In a day of a fight there are some hundred repairs, the last of them minutes apart."""
    transient, now, times = TransientState(), 0.0, list[float]()
    rng = random.Random(0)
    while now < 86_400.0:
        wait = repair_wait(transient, now, rng)
        if not wait:
            times.append(now)
        now += max(wait, 0.05)
    assert len(times) < 400
    assert times[-1] - times[-2] >= REPAIRS.limit
