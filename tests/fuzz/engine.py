"""Runs one surface: makes inputs, judges what they do, and reduces those that fail to a case.

Owns `Surface`, what every surface must do, and `Fuzzer`. A failure is an exception that is none of Hanse's,
an answer 5xx, no answer in time, or an event loop that is held longer than the bound, three times in a row.
The end of the process is one too: `tests.fuzz.__main__` sees it and finds the input in the journal.

Concurrency: one thread sends; the surface serves in another.

Next: `tests.fuzz.surfaces`.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol

from tests.fuzz.loops import LAG_SECONDS

Input = dict[str, Any]
CASES = Path(__file__).parent / "cases"
HISTORY = 12
"""Inputs before a failure that are tried with it, if it does not fail alone."""

RESTART_AFTER = 1500
"""Inputs after which a surface starts again, so that what they leave behind does not add up."""


class Surface(Protocol):
    """Something that takes input from outside."""

    name: str

    def start(self) -> None:
        """Make what is needed, in the same state each time."""

    def stop(self) -> None:
        """Take it down."""

    def seeds(self) -> list[Input]:
        """Return inputs that are fine."""

    def mutated(self, rng: Random, seed: Input) -> Input:
        """Return a changed copy of an input."""

    def run(self, step: Input) -> str:
        """Send an input; return what is wrong with what it did, "" if nothing is."""

    def lag(self) -> float:
        """Return for how many seconds the last input held the event loop."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Inputs that fail, in their order, and how."""

    surface: str
    problem: str
    steps: tuple[Input, ...]

    def save(self, folder: Path = CASES) -> Path:
        """Write the case, named by its content."""
        document = {"surface": self.surface, "problem": self.problem, "steps": list(self.steps)}
        text = json.dumps(document, indent=1, ensure_ascii=True, sort_keys=True) + "\n"
        digest = hashlib.sha256(json.dumps(document["steps"], sort_keys=True).encode()).hexdigest()[:12]
        path = folder / f"{self.surface}-{digest}.json"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


def judged(surface: Surface, step: Input) -> str:
    """Send one input and return what is wrong; a long hold of the loop counts if it comes three times."""
    problem = surface.run(step)
    holds = [surface.lag()]
    while not problem and holds[-1] > LAG_SECONDS and len(holds) < 3:
        problem = surface.run(step)
        holds.append(surface.lag())
    if not problem and min(holds) > LAG_SECONDS:
        problem = f"held the event loop for {min(holds) * 1000:.0f} ms, more than {LAG_SECONDS * 1000:.0f}"
    return problem


def replay(surface: Surface, steps: Iterable[Input]) -> str:
    """Start the surface and send inputs; return what is wrong with the first that fails."""
    surface.start()
    try:
        return next((problem for step in steps if (problem := judged(surface, step))), "")
    finally:
        surface.stop()


@dataclass(slots=True)
class Fuzzer:
    """Fuzzes one surface for some time, or some inputs."""

    surface: Surface
    rng: Random
    journal: Path
    sent: int = 0
    failures: dict[str, Failure] = field(default_factory=dict)
    unrepeated: list[str] = field(default_factory=list)

    def run(self, *, seconds: float, inputs: int = 0) -> None:
        """Send inputs until the time is over, or so many were sent."""
        end = time.monotonic() + seconds
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        while time.monotonic() < end and (not inputs or self.sent < inputs):
            self.surface.start()
            try:
                steps = self._batch(end, inputs)
            finally:
                self.surface.stop()
            if steps is not None:
                self._reduce(steps)
        self.journal.unlink(missing_ok=True)

    def _batch(self, end: float, inputs: int) -> tuple[str, list[Input]] | None:
        seeds = self.surface.seeds()
        pool = list(seeds)
        history: deque[Input] = deque(maxlen=HISTORY)
        for _ in range(RESTART_AFTER):
            if time.monotonic() >= end or (inputs and self.sent >= inputs):
                return None
            step = self.surface.mutated(self.rng, self.rng.choice(pool))
            if len(pool) < 300 and self.rng.random() < 0.05:
                pool.append(step)
            self.journal.write_text(json.dumps(step))
            self.sent += 1
            problem = judged(self.surface, step)
            if problem:
                return problem, [*history, step]
            history.append(step)
        return None

    def _reduce(self, found: tuple[str, list[Input]]) -> None:
        problem, steps = found
        kind = _kind(problem)
        if kind in self.failures:
            return
        if replay(self.surface, steps[-1:]):
            steps = steps[-1:]
        elif not replay(self.surface, steps):
            self.unrepeated.append(problem)
            if problem.startswith("held"):
                return
        else:
            for step in steps[:-1]:
                fewer = [each for each in steps if each is not step]
                if replay(self.surface, fewer):
                    steps = fewer
        self.failures[kind] = Failure(self.surface.name, problem, tuple(steps))


def _kind(problem: str) -> str:
    """Return what two failures of one cause have in common."""
    return re.sub(r"[0-9]+|'[^']*'|\"[^\"]*\"", "#", problem)[:160]
