"""What the fuzzers found once fails no more, and the fuzzers find what they should."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.engine import CASES, Fuzzer, Input, judged, replay
from tests.fuzz.loops import LAG_SECONDS
from tests.fuzz.surfaces import SURFACES

FOUND = sorted(CASES.glob("*.json"))
INPUTS = {"decoders": 400, "members": 60, "packets": 40, "rest": 80, "rpcs": 60}
"""How many inputs of each surface every run of the tests sends; `make fuzz` sends many more."""


@pytest.mark.parametrize("surface", sorted(SURFACES))
def test_no_case_fails_again(surface: str) -> None:
    """Each input that was a crash, a 5xx, a hang or a long hold of the loop is now an answer in time."""
    cases = [json.loads(path.read_text()) for path in FOUND if path.name.startswith(f"{surface}-")]
    problems = [problem for case in cases if (problem := replay(SURFACES[surface](), case["steps"]))]
    assert problems == []


@pytest.mark.parametrize("surface", sorted(SURFACES))
def test_seeds_and_a_few_inputs_do_no_harm(surface: str, tmp_path: Path) -> None:
    """What is fine passes, and the first inputs of a fixed seed do."""
    subject = SURFACES[surface]()
    assert replay(subject, subject.seeds()) == ""
    fuzzer = Fuzzer(subject, Random(20), tmp_path / "journal.json")
    fuzzer.run(seconds=30.0, inputs=INPUTS[surface])
    assert fuzzer.sent > INPUTS[surface] // 4
    assert list(fuzzer.failures.values()) == []


class _Fragile:
    """A surface that breaks at some inputs: 13 after 7, or one that takes long."""

    name = "fragile"

    def __init__(self) -> None:
        self.seen: list[int] = []

    def start(self) -> None:
        """Forget."""
        self.seen = []

    def stop(self) -> None:
        """Nothing is left."""

    def seeds(self) -> list[Input]:
        """One input."""
        return [{"number": 1}]

    def mutated(self, rng: Random, seed: Input) -> Input:
        """Another number."""
        return {"number": rng.randrange(20)}

    def run(self, step: Input) -> str:
        """Break at 13 once 7 was seen."""
        self.seen.append(step["number"])
        return "broke" if step["number"] == 13 and 7 in self.seen else ""

    def lag(self) -> float:
        """Number 17 takes long."""
        return 2 * LAG_SECONDS if self.seen[-1] == 17 else 0.0


def test_a_failure_is_reduced_to_the_inputs_that_it_needs(tmp_path: Path) -> None:
    """The case has the input before that matters, and no other; long holds are failures, too."""
    fuzzer = Fuzzer(_Fragile(), Random(1), tmp_path / "journal.json")
    fuzzer.run(seconds=20.0, inputs=2000)
    kept = {
        failure.problem.split()[0]: [s["number"] for s in failure.steps]
        for failure in fuzzer.failures.values()
    }
    assert kept == {"broke": [7, 13], "held": [17]}
    saved = [failure.save(tmp_path) for failure in fuzzer.failures.values()]
    assert all(replay(_Fragile(), json.loads(path.read_text())["steps"]) for path in saved)


def test_a_long_hold_counts_only_if_it_comes_again() -> None:
    """A pause of the collector, or of the machine, is none of the input's."""
    surface = _Fragile()
    surface.start()
    holds = iter([1.0, 0.0])
    surface.lag = lambda: next(holds)  # type: ignore[method-assign]
    assert judged(surface, {"number": 1}) == ""
