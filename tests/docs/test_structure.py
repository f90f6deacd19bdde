"""Rooms that are small enough to know: few modules in a folder, and one meaning for the name of a class."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from pathlib import Path

from tests.docs.tables import ROOT

PRODUCT = ("src/hanse", "services", "clients", "local")
FULLEST = 15
"""Modules in a folder, beside its `__init__`."""


def _modules(*roots: str) -> list[Path]:
    found = (path for root in roots for path in (ROOT / root).rglob("*.py"))
    return [path for path in found if not path.is_relative_to(ROOT / "src" / "hanse" / "api")]


def test_no_folder_holds_more_modules_than_one_can_know() -> None:
    """Of the product, and of the tests: a folder with more holds several subjects."""
    folders = Counter(path.parent for path in _modules(*PRODUCT, "tests") if path.name != "__init__.py")
    full = {str(folder.relative_to(ROOT)): count for folder, count in folders.items() if count > FULLEST}
    assert full == {}


def test_the_name_of_a_class_has_one_meaning() -> None:
    """Two classes of one name make a reader look up which is meant."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in _modules(*PRODUCT):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
