"""How long to wait after failures: exponential, bounded, with jitter. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays after failures: base * 2**(n-1) seconds, at most `limit`, plus up to `jitter` of that."""

    base: float = 0.05
    limit: float = 60.0
    jitter: float = 0.25

    def delay(self, failures: int, *, rng: random.Random) -> float:
        """Return the delay in seconds after the n-th failure in a row (n from 1)."""
        plain = min(self.limit, self.base * 2.0 ** min(failures - 1, 64))
        return plain * (1 + self.jitter * rng.random())
