"""Fuzzes everything that takes input from outside.

    python -m tests.fuzz --seconds 60 --seed 0 [--surface rest] [--keep-going]

Each surface runs in a process of its own, so that the end of that process is a failure like others, with the
input that it got last. Failures are written to tests/fuzz/cases and exit with 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from random import Random

from tests.fuzz.engine import CASES, Failure, Fuzzer
from tests.fuzz.surfaces import SURFACES

BUILD = Path("build/fuzz")
SHARES = {"decoders": 2, "rest": 3, "rpcs": 2}
"""How much of the time a surface gets, 1 unless it is here."""


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all surfaces together")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same inputs")
    parser.add_argument("--surface", choices=sorted(SURFACES), action="append", help="only this one")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.surface or sorted(SURFACES)
    if options.here:
        return _here(names[0], seconds=options.seconds, seed=options.seed)
    shares = {name: SHARES.get(name, 1) for name in names}
    second = options.seconds / sum(shares.values())
    return max(_apart(name, seconds=second * shares[name], seed=options.seed) for name in names)


def _apart(name: str, *, seconds: float, seed: int) -> int:
    """Fuzz a surface in a process of its own."""
    command = [sys.executable, "-m", "tests.fuzz", "--here", "--surface", name]
    command += ["--seconds", str(seconds), "--seed", str(seed)]
    journal = _journal(name)
    try:
        code = subprocess.run(command, check=False, timeout=seconds * 3 + 120).returncode
        problem = f"the process ended with {code}"
    except subprocess.TimeoutExpired:
        code, problem = -1, "the process hung"
    if code in (0, 1):
        return code
    print(f"{name}: {problem}", flush=True)
    if journal.exists():
        failure = Failure(name, problem, (json.loads(journal.read_text()),))
        print(f"  its last input: {failure.save()}", flush=True)
    return 1


def _here(name: str, *, seconds: float, seed: int) -> int:
    """Fuzz a surface in this process."""
    fuzzer = Fuzzer(SURFACES[name](), Random(f"{name} {seed}"), _journal(name))
    began = time.monotonic()
    fuzzer.run(seconds=seconds)
    took = time.monotonic() - began
    print(
        f"{name}: {fuzzer.sent} inputs in {took:.0f} s, {len(fuzzer.failures)} kinds of failures", flush=True
    )
    for problem in fuzzer.unrepeated:
        print(f"  not repeated: {problem[:300]}", flush=True)
    for failure in fuzzer.failures.values():
        print(f"  {failure.problem[:600]}\n    {failure.save(CASES)}", flush=True)
    return 1 if fuzzer.failures else 0


def _journal(name: str) -> Path:
    return BUILD / f"{name}.json"


if __name__ == "__main__":
    sys.exit(main())
