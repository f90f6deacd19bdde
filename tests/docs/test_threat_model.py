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
OPEN = {
    "an answer counts only if it is, by content type, kind and shape, the answer to what was asked",
    "a DELETE or GET that is answered wrongly is no confirmation",
    "an address that answers as another cluster is written to never",
    "a member restored from a backup is told of, and loses nothing",
    "what belongs to a cluster is never adopted, selected or removed",
    "a member's lists, catalogues and events are bounded; only that member is suspended",
    "every input has a bound and an answer of 4xx; none holds the event loop for longer than 50 ms",
    "patterns are matched in linear time",
    "JSON patches copy no more than their bound, in policies as in requests",
    "YAML and JSON are neither deep nor aliased without bound",
    "names cannot be stored under another kind's key",
    "half a request, an idle connection and a reader that does not read are closed",
    "one user's requests leave room for others",
    "answers are limited by client, and TCP connections too",
    "no acknowledged write is lost; no watch skips, repeats or reorders",
    "a full disk or a full etcd stops no process, and users can still delete",
}
"""Rules that have no test yet."""


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
    assert {rule for rule, tests in rules().items() if not NAMED.search(tests)} == OPEN
