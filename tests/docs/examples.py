"""The manifests that the guides show, taken out of them, so that what is tried is what is written.

Pure, but for reading the documents. Next: `tests.system.suite.guides`, which applies them.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).resolve().parents[2] / "docs"
_FENCE = re.compile(r"^(?P<indent> *)```yaml\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)


def manifests(guide: str) -> list[dict[str, Any]]:
    """Return the whole manifests of a guide such as `migration.md`, in order; fragments are left out."""
    blocks = [found["body"] for found in _FENCE.finditer((DOCS / guide).read_text())]
    documents = [each for block in blocks for each in yaml.safe_load_all(textwrap.dedent(block))]
    return [each for each in documents if {"apiVersion", "kind", "metadata"} <= each.keys()]
