"""The bounds that operators read are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest
from hanse_scheduler.decide.overrides import MAX_OVERRIDE_BYTES

from hanse import documents, numbers
from hanse.federation.policies import validation as policies
from hanse.kube.engine.resources import preparation
from hanse.kube.kinds.fields import crds
from hanse.kube.kinds.fields.rules import MAX_LABELS
from hanse.kube.merge import json_patch
from hanse.kube.model import patterns, selectors
from hanse.kube.server import connections
from hanse.kube.server.app import MAX_BODY_BYTES
from hanse.kube.validation import objects as validation
from hanse.store import MAX_REQUEST_BYTES
from hanse.store.keys import MAX_SEGMENT

TEXT = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
TABLE = TEXT[TEXT.index("## Bounds on input") : TEXT.index("### What a cluster may say")]
MIB, KIB = 1024 * 1024, 1024


@pytest.mark.parametrize(
    ("row", "values"),
    [
        (
            "a body",
            [
                f"{MAX_BODY_BYTES // MIB} MiB",
                documents.MAX_VALUES,
                documents.MAX_DEPTH,
                preparation.MAX_OBJECT_DEPTH,
            ],
        ),
        (
            "the head of a request",
            [
                f"{connections.MAX_LINE_BYTES // KIB} KiB",
                f"{connections.MAX_HEADER_BYTES // KIB} KiB",
                connections.MAX_HEADERS,
            ],
        ),
        ("YAML", [f"{documents.MAX_EXPANDED_BYTES // MIB} MiB"]),
        (
            "a JSON patch",
            [
                json_patch.MAX_OPERATIONS,
                f"{json_patch.MAX_COPIED_BYTES // MIB} MiB",
                json_patch.MAX_SHIFTED_ITEMS,
                f"{preparation.MAX_PATCHED_BYTES // MIB} MiB",
            ],
        ),
        (
            "an object",
            [
                f"{MAX_REQUEST_BYTES / MIB} MiB",
                MAX_LABELS,
                validation.MAX_ANNOTATION_KEYS,
                f"{validation.MAX_ANNOTATIONS // KIB} KiB",
            ],
        ),
        ("a selector", [selectors.MAX_TERMS, f"{selectors.MAX_TEXT // KIB} KiB"]),
        (
            "a CustomResourceDefinition",
            [
                crds.MAX_VERSIONS,
                crds.MAX_INSTRUCTIONS,
                crds.MAX_SCHEMA_NODES,
                crds.MAX_PATTERNS,
                crds.MAX_COLUMNS,
            ],
        ),
        ("a pattern", [patterns.MAX_PATTERN, patterns.MAX_PROGRAM, patterns.MAX_WORK]),
        ("checks of one object", [patterns.MAX_CHECKS]),
        ("a policy", [policies.MAX_RULES, json_patch.MAX_OPERATIONS, f"{MAX_OVERRIDE_BYTES // KIB} KiB"]),
        ("numbers", [numbers.MAX_WHOLE]),
        ("a name in a key", [MAX_SEGMENT]),
    ],
)
def test_the_table_of_bounds_is_true(row: str, values: list[object]) -> None:
    """Each row has the numbers of the constants."""
    (line,) = [each for each in TABLE.splitlines() if each.startswith(f"| {row}")]
    assert [value for value in values if str(value) not in line] == []
