"""Plain technical English: phrases that a maintainer of Kubernetes would not write do not come back."""

from __future__ import annotations

import re
import subprocess

from tests.docs.tables import ROOT

INSTEAD = {
    r"\banew\b": "again",
    r"\b(?:leave|leaves) (?:[^\s.]+ ){0,3}away (?:for|to|or|and)\b": "omit",
    r"\bleft away\b": "omitted",
    r"\brevisions? to come\b": "future revision",
    r"\bgone on with\b": "continued",
}
"""What is not said, and what is said instead."""
READ = {".py", ".md", ".proto", ".yaml", ".toml", ".sh", ""}


def test_phrases_that_nobody_would_write_are_not_there() -> None:
    """In sources, messages and documents. The changelog stays as it was published."""
    listing = ["git", "ls-files"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found: list[str] = []
    for name in listed.splitlines():
        path = ROOT / name
        skipped = name in {"CHANGELOG.md", "tests/docs/test_language.py"} or name.startswith("src/hanse/api/")
        if skipped or path.suffix not in READ or not path.is_file():
            continue
        text = path.read_text()
        for phrase, better in INSTEAD.items():
            found += [f"{name}: {match.group()!r}: {better!r}" for match in re.finditer(phrase, text)]
    assert found == []
