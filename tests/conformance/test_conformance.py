"""The conformance specs that an API server can pass, run against a federation of one simulated cluster.

`make test-conformance` runs those that are expected to pass. With `LISTED=1` it runs the others too, each for
at most a minute: what passes now leaves `expected.txt`, and may not return to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.conformance.specs import EXPECTED, SOMETIMES, Program, built, expected_failures
from tests.system.harness import Federation, Simulated

pytestmark = pytest.mark.timeout(3600)
LISTED = bool(os.environ.get("LISTED"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    directory = tmp_path_factory.mktemp("conformance")
    with Federation(directory / "data", members=Simulated(1)) as running:
        yield Program(built(), kubeconfig=running.kubeconfig, directory=directory)


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    return expected_failures(EXPECTED.read_text())


def test_the_list_names_specs_that_there_are(program: Program, expected: dict[str, str]) -> None:
    assert not expected.keys() - set(program.specs())


def test_specs_pass_that_are_not_expected_to_fail(program: Program, expected: dict[str, str]) -> None:
    wanted = [spec for spec in program.specs() if spec not in expected]
    found = program.run(wanted)
    assert {spec: o.trouble for spec, o in found.items() if o.trouble} == {}
    assert found.keys() == set(wanted)


def test_specs_on_the_list_fail(program: Program, expected: dict[str, str]) -> None:
    if not LISTED:
        return
    always = [spec for spec, reason in expected.items() if not reason.startswith(SOMETIMES)]
    passed = [spec for spec in always if not program.run_one(spec).trouble]
    assert passed == [], "these pass: take them off expected.txt"
