"""How large a document may be, whatever it is written in, and the errors of one that is larger.

Pure functions. Next: `hanse.documents.json_text`, `hanse.documents.yaml_text`, which check as they read.
"""

from __future__ import annotations

from typing import Any

from hanse.errors import InvalidArgumentError

MAX_DEPTH = 200
"""Maps and lists inside each other. The deepest schemas in use have about 60 levels; JSON cannot be written
with more than 254, and managedFields takes some of these."""

MAX_VALUES = 200_000
"""Values of a document, those in maps and lists and the maps and lists themselves. More do not fit into the
1.5 MiB that an object may have, unless they are nearly empty."""

MAX_EXPANDED_BYTES = 4 * 1024 * 1024
"""Bytes of text of a YAML document after its aliases are replaced by what they stand for."""

TOO_DEEP = "DOCUMENT_TOO_DEEP"
TOO_LARGE = "DOCUMENT_TOO_LARGE"
MALFORMED = "DOCUMENT_MALFORMED"


def check_bounds(value: Any, *, what: str, deepest: int = MAX_DEPTH) -> None:
    """Check depth and number of values of something decoded. Raises InvalidArgumentError."""
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    depth = count = 0
    while level:
        depth += 1
        if depth > deepest:
            raise too_deep(what, deepest)
        count += sum(map(len, level))
        if count > MAX_VALUES:
            raise too_many(what)
        below: list[Any] = []
        for node in level:
            children = node.values() if type(node) is dict else node
            below += [child for child in children if type(child) is dict or type(child) is list]
        level = below


def too_deep(what: str, deepest: int = MAX_DEPTH) -> InvalidArgumentError:
    """Return the error for a document that is nested too deeply."""
    return InvalidArgumentError(
        f"{what} is nested too deeply: at most {deepest} maps and lists may be inside each other",
        reason=TOO_DEEP,
    )


def too_many(what: str) -> InvalidArgumentError:
    """Return the error for a document of too many values."""
    return InvalidArgumentError(
        f"{what} has too many values: at most {MAX_VALUES} are taken, in all its maps and lists",
        reason=TOO_LARGE,
    )
