"""docs/threat-model.md: each rule has a test, and the tests that it names exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.tables import ROOT

DOCUMENT = ROOT / "docs" / "threat-model.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ROW = re.compile(r"^\| (?P<rule>[^|]+?) \|(?P<tests>[^|]*)\|$", re.MULTILINE)


def defined(path: Path) -> set[str]:
    """Names of all functions and methods of a module."""
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def rules() -> dict[str, str]:
    """The rows of the tables of rules: rule, and its tests."""
    found = {match["rule"]: match["tests"].strip() for match in ROW.finditer(DOCUMENT.read_text())}
    return {rule: tests for rule, tests in found.items() if rule not in ("rule", "---")}


@pytest.mark.parametrize(("file", "test"), sorted(set(NAMED.findall(DOCUMENT.read_text()))))
def test_what_is_named_exists(file: str, test: str) -> None:
    """Every test that the threat model names is there, under that name."""
    assert test in defined(ROOT / file)


def test_each_rule_names_a_test() -> None:
    """A rule without a test is a wish."""
    assert {rule for rule, tests in rules().items() if not NAMED.search(tests)} == set()
