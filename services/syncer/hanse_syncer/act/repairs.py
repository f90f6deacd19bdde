"""How soon drift is put right again: two who fight over a field must not make a storm.

Owns `repair_wait`. The first repair of an object is at once, each one after it later; after a quiet minute
the next one is the first again.

Time is an argument. Next: `hanse_syncer.act.applying`, which repairs.
"""

from __future__ import annotations

import random
from typing import Final

from hanse.backoff import Backoff
from hanse_syncer.act.request import TransientState

REPAIRS: Final = Backoff(base=0.1, limit=60.0)
QUIET_SECONDS: Final = 60.0
"""After so long without a repair the next one is made at once again."""
_NEGLIGIBLE_SECONDS: Final = 0.01
"""So short a wait is none."""


def repair_wait(transient: TransientState, now: float, rng: random.Random) -> float:
    """Return for how many seconds to leave drift alone; 0 to repair now, which is counted as done."""
    quiet = now - transient.repaired_at
    if quiet > QUIET_SECONDS:
        transient.repairs = 0
    wait = 0.0
    if transient.repairs:
        wait = max(0.0, REPAIRS.delay(transient.repairs, rng=rng) - quiet)
    if wait > _NEGLIGIBLE_SECONDS:
        return wait
    transient.repairs += 1
    transient.repaired_at = now
    return 0.0
