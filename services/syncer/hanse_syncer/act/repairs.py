"""How soon drift is put right again: two who fight over a field or an object must not make a storm.

Owns the budget of repairs of one object. The first is at once, each one after it later, up to some minutes;
when what was put right has stayed so for a quiet while, which is longer than the last wait, the next one is
the first again. Repairs in a row survive a restart: they are in the sync state
(`hanse.federation.contention`).

Time is an argument. Next: `hanse_syncer.act.applying`, which repairs, `hanse_syncer.report.contention` for
what is written down of a fight.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Final

from hanse.api.syncer.v1.sync_state_pb2 import Contention
from hanse.backoff import Backoff
from hanse_syncer.act.request import TransientState

REPAIRS: Final = Backoff(base=0.1, limit=300.0)
QUIET_SECONDS: Final = 60.0
"""After so long without a repair the next one is made at once again, unless the waits were longer by then."""
_NEGLIGIBLE_SECONDS: Final = 0.01
"""So short a wait is none."""
_PLAIN: Final = Backoff(base=REPAIRS.base, limit=REPAIRS.limit, jitter=0.0)
_NO_JITTER: Final = random.Random(0)  # noqa: S311 - nothing is drawn of it


def quiet_seconds(repairs: int) -> float:
    """Return for how long there must be no repair until so many of them in a row are forgotten."""
    return max(QUIET_SECONDS, 2 * _PLAIN.delay(max(1, repairs), rng=_NO_JITTER))


def repair_wait(transient: TransientState, now: float, rng: random.Random) -> float:
    """Return for how many seconds to leave drift alone; 0 to repair now, which is counted as done."""
    quiet = now - transient.repaired_at
    if quiet > quiet_seconds(transient.repairs):
        transient.repairs = 0
    wait = 0.0
    if transient.repairs:
        wait = max(0.0, REPAIRS.delay(transient.repairs, rng=rng) - quiet)
    if wait > _NEGLIGIBLE_SECONDS:
        return wait
    transient.repairs += 1
    transient.repaired_at = now
    return 0.0


def quiet_left(transient: TransientState, now: float) -> float:
    """Return in how many seconds the repairs in a row are forgotten if there is none until then."""
    return max(0.0, transient.repaired_at + quiet_seconds(transient.repairs) - now)


def remember(transient: TransientState, contention: Contention, *, now: float, clock: datetime) -> None:
    """Take in what an earlier process has written of repairs in a row, if nothing is known of any here.

    `now` is in seconds of the monotonic clock, `clock` the time of day.
    """
    if transient.repairs or not contention.repairs:
        return
    since = (clock - contention.last_time.ToDatetime(tzinfo=UTC)).total_seconds()
    transient.repairs = contention.repairs
    transient.repaired_at = now - max(0.0, since)
