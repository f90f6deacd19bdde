"""Which tests go to the same worker of a run in parallel."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.conftest import group_of

ROOT = Path(__file__).parents[2]
FILES = ("tests/control/test_ring.py", "tests/control/test_queue.py", "tests/rpc/test_names.py")


@pytest.mark.parametrize("dist", [(), ("--dist", "loadgroup")])
def test_a_file_runs_on_one_worker(dist: tuple[str, ...]) -> None:
    """Every file's tests pass on one worker, and both workers have some."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-n", "2", "-p", "no:cacheprovider", *dist, *FILES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    workers: dict[str, set[str]] = defaultdict(set)
    for worker, file in re.findall(r"^\[(gw\d)\] \[ *\d+%\] PASSED (.*?)::", ran.stdout, re.MULTILINE):
        workers[file].add(worker)
    assert set(workers) == set(FILES)
    assert all(len(found) == 1 for found in workers.values()), workers
    assert set.union(*workers.values()) == {"gw0", "gw1"}


def test_what_has_one_federation_stays_together() -> None:
    """All of a folder that has one federation is one group, whatever a test's parameters are."""
    assert group_of("tests/system/test_suite.py::TestPlacing::test_a[x::y@z]") == "tests/system"
    assert group_of("tests/system/keys/test_keys.py::test_b") == "tests/system"
    assert group_of("tests/chaos/test_liars.py::test_c[tests/system/]") == "tests/chaos"
    assert group_of("tests/systems/test_d.py::test_d[a::b]") == "tests/systems/test_d.py"
