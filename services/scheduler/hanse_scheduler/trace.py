"""The steps of a decision, for people who ask why.

Owns `DecisionTrace`. Nothing is noted where nobody asked: then a decision does not pay for its explanation.

Used by one decision. Next: `hanse_scheduler.decide.decision`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DecisionStep:
    """One step of a decision. `cluster` is "" if it is about all of them."""

    step: str
    message: str
    cluster: str = ""


class DecisionTrace:
    """The steps of one decision, in order; none if it is not `enabled`."""

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self._steps: list[DecisionStep] = []

    @property
    def steps(self) -> tuple[DecisionStep, ...]:
        """The steps so far."""
        return tuple(self._steps)

    def note(self, step: str, message: str, *, cluster: str = "") -> None:
        """Note a step if somebody wants to know."""
        if self.enabled:
            self._steps.append(DecisionStep(step, message, cluster))
