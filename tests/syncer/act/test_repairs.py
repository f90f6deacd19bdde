"""Repairs of drift: at once where there is peace, later and later where two fight."""

from __future__ import annotations

import random

from hanse_syncer.act.repairs import QUIET_SECONDS, REPAIRS, repair_wait
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


def test_after_a_quiet_minute_a_repair_is_at_once() -> None:
    """And counts as the first again."""
    transient, rng = TransientState(repairs=9, repaired_at=100.0), random.Random(0)
    assert repair_wait(transient, 100.0 + QUIET_SECONDS / 10, rng) > 0
    assert transient.repairs == 9
    assert repair_wait(transient, 100.1 + QUIET_SECONDS, rng) == 0.0
    assert transient.repairs == 1
