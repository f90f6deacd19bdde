"""What docstrings and documents point at exists: modules, names in them, and files."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = (ROOT, ROOT / "src", ROOT / "local", *ROOT.glob("services/*"), *ROOT.glob("clients/*"))
ENTRY_POINTS = frozenset({"hanse.commands", "hanse.dev"})
"""Dotted names that are neither modules nor names in one: groups of entry points and of the API."""
DOTTED = re.compile(r"`((?:hanse(?:_[a-z]+)?|tests|benchmarks)(?:\.\w+)+)(?:\(\))?`")
FILE = re.compile(r"(?<![\w/:<*.{}-])((?:[\w-]+/)+[\w.-]+\.(?:py|md|proto|sh|toml|ya?ml|txt|bash))\b")
NEXT = re.compile(r"Next: (.*?)(?:\.\s|\.$|$)", re.DOTALL)
WRITTEN_BY_USERS = re.compile(r"^(?:k8s|manifests|etc|var|folder|clusters|hanse-pki|my|build|dist)/")


def _sources() -> list[Path]:
    roots = ("src", "services", "clients", "local", "tests", "benchmarks", "scripts", "deploy")
    found = (path for root in roots for path in (ROOT / root).rglob("*.py"))
    return sorted(path for path in found if "api" not in path.relative_to(ROOT).parts[:3])


def _documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def _module_file(dotted: str) -> Path | None:
    """Return the file of a module or a package, None if there is none."""
    relative = dotted.replace(".", "/")
    for place in PLACES:
        for path in (place / f"{relative}.py", place / relative / "__init__.py"):
            if path.exists():
                return path
        if (place / relative).is_dir():
            return place / relative
    return None


@cache
def _defined(path: Path) -> frozenset[str]:
    """Return what a module defines or imports, and `Class.member`."""
    if path.is_dir():
        return frozenset()
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        names.update(_names(node))
        if isinstance(node, ast.ClassDef):
            names.update(f"{node.name}.{name}" for inner in ast.walk(node) for name in _names(inner))
    return frozenset(names)


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name):
                yield target.id
            elif isinstance(target, ast.Attribute):
                yield target.attr
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            yield (alias.asname or alias.name).split(".")[0]


@cache
def _instruments() -> frozenset[str]:
    """Return the names of metrics and their attributes, which look like modules."""
    product = (path for path in _sources() if not path.is_relative_to(ROOT / "tests"))
    text = "".join(path.read_text() for path in product)
    return frozenset(re.findall(r'"(hanse\.[a-z_.]+)"', text))


def _exists(dotted: str) -> bool:
    """Return whether this is a module, a name in one, a metric or an entry point."""
    if dotted in ENTRY_POINTS or dotted in _instruments():
        return True
    whole = dotted.split(".")
    for length in range(len(whole), 0, -1):
        file = _module_file(".".join(whole[:length]))
        if file is not None:
            rest = ".".join(whole[length:])
            return not rest or rest in _defined(file)
    return False


def _docstrings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield text


def _next_exists(pointer: str, path: Path) -> bool:
    """Return whether a name in a "Next:" is a module, a name in one, or a module beside this one."""
    if pointer.startswith(("hanse", "tests", "benchmarks")) and "." in pointer:
        return _exists(pointer)
    plain = pointer.lstrip(".").removesuffix("()")
    beside = path.parent / plain.split(".")[0]
    return plain.split(".")[0] in _defined(path) or beside.with_suffix(".py").exists() or beside.is_dir()


@pytest.mark.parametrize("path", _sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_point_at_what_exists(path: Path) -> None:
    """Dotted names, files and the modules after "Next:" in docstrings exist."""
    missing: list[str] = []
    for text in _docstrings(path):
        missing += [name for name in DOTTED.findall(text) if not _exists(name)]
        missing += [file for file in FILE.findall(text) if not _is_file(file, path)]
        for sentence in NEXT.findall(text):
            pointers = re.findall(r"`([\w.]+(?:\(\))?)`", sentence)
            missing += [name for name in pointers if not _next_exists(name, path)]
    assert not missing


@pytest.mark.parametrize("path", _documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_point_at_what_exists(path: Path) -> None:
    """Dotted names and files that the documents name exist."""
    text = path.read_text()
    missing = [name for name in DOTTED.findall(text) if not _exists(name)]
    missing += [
        file for file in re.findall(r"`([^`\s]+)`", text) if FILE.fullmatch(file) and not _is_file(file, path)
    ]
    assert not missing


@cache
def _tracked() -> tuple[str, ...]:
    """Return all files of the repository, each with a slash before it."""
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(f"/{name}" for name in listing.stdout.splitlines())


def _is_file(file: str, path: Path) -> bool:
    """Return whether a path, which may begin at any folder, ends at a file of the repository."""
    if WRITTEN_BY_USERS.match(file) or (path.parent / file).exists():
        return True
    return any(name.endswith(f"/{file}") for name in _tracked())
