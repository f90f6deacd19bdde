"""How many requests a member gets at once: additive increase, multiplicative decrease.

Owns the number (Chiu and Jain 1989, as TCP has it). It grows by about one for every `limit` quick answers
and halves on a refusal for load or a timeout, at most once per `cooldown`: one burst of refusals says one
thing. No I/O; time is an argument.

Next: `hanse_syncer.cluster.controller`, which has one for each member.
"""

from __future__ import annotations


class Limiter:
    """The adaptive limit of one member. Used from one event loop."""

    def __init__(
        self,
        *,
        initial: int = 8,
        maximum: int = 32,
        patience: float = 1.0,
        cooldown: float = 0.5,
    ) -> None:
        """Take an answer within `patience` seconds as quick. The limit is never below 1."""
        self._limit = float(min(initial, maximum))
        self._maximum = float(maximum)
        self._patience = patience
        self._cooldown = cooldown
        self._lowered_at = float("-inf")
        self._paused_until = float("-inf")

    @property
    def limit(self) -> int:
        """Requests that may be in flight."""
        return int(self._limit)

    def pause_left(self, now: float) -> float:
        """Return for how many more seconds nothing should be sent, because the member asked for it."""
        return max(0.0, self._paused_until - now)

    def answered(self, seconds: float) -> None:
        """Take in an answer that took `seconds`; a slow one neither raises nor lowers the limit."""
        if seconds <= self._patience:
            self._limit = min(self._maximum, self._limit + 1.0 / self._limit)

    def overloaded(self, now: float, *, retry_after: float | None = None) -> None:
        """Take in a refusal for load, or a timeout. `retry_after` (seconds) pauses everything."""
        if now - self._lowered_at >= self._cooldown:
            self._limit = max(1.0, self._limit / 2)
            self._lowered_at = now
        if retry_after is not None:
            self._paused_until = max(self._paused_until, now + retry_after)
