"""The small JSONPath that CRDs use for printer columns: fields, indexes, `[*]`, filters on equality.

Pure; paths are parsed once. Anything that a path does not reach is absent, never an error. Next:
`hanse.kube.kinds.table`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from hanse.errors import shown

_STEP = re.compile(
    r"""\.?(?:
        (?P<field>(?:\\.|[^.\[\]\\])+)
      | \[\s*'(?P<quoted>(?:\\'|[^'])*)'\s*\]
      | \[\s*"(?P<double>(?:\\"|[^"])*)"\s*\]
      | \[\s*(?P<index>-?[0-9]{1,9})\s*\]
      | \[\s*(?P<all>\*)\s*\]
      | \[\?\(\s*@\.(?P<key>[^=!\s\[\]()?]+)\s*(?P<op>==|!=)\s*(?P<value>'[^']*'|"[^"]*"|[^)]*?)\s*\)\]
    )""",
    re.VERBOSE,
)

MAX_LENGTH = 1_000
"""Characters of a path."""

Step = tuple[str, Any]


@functools.lru_cache(maxsize=1024)
def parse(path: str) -> tuple[Step, ...]:
    """Return the steps of a path such as `.conditions[?(@.type=='Ready')].status`, in braces or not.

    Raises ValueError if it cannot be read.
    """
    text = path.strip().removeprefix("{").removesuffix("}").strip().removeprefix("$")
    steps: list[Step] = []
    position = 0
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a JSONPath has at most {MAX_LENGTH} characters")
    while position < len(text):
        if text[position] == "." and position + 1 == len(text):
            break
        match = _STEP.match(text, position)
        if match is None:
            raise ValueError(f"cannot read the JSONPath {shown(path)} at {shown(text[position:])}")
        position = match.end()
        steps.append(_step(match))
    return tuple(steps)


def _step(match: re.Match[str]) -> Step:
    if match["field"] is not None:
        name = re.sub(r"\\(.)", r"\1", match["field"])
        return ("all", None) if name == "*" else ("field", name)
    if match["quoted"] is not None:
        return ("field", match["quoted"].replace("\\'", "'"))
    if match["double"] is not None:
        return ("field", match["double"].replace('\\"', '"'))
    if match["index"] is not None:
        return ("index", int(match["index"]))
    if match["all"] is not None:
        return ("all", None)
    parse(f".{match['key']}")
    return ("filter", (match["key"], match["op"] == "==", match["value"].strip("'\"")))


def find(path: str, obj: Any) -> list[Any]:
    """Return every value that the path reaches, in order."""
    return list(_walk(parse(path), obj))


def _walk(steps: tuple[Step, ...], node: Any) -> Iterator[Any]:
    if not steps:
        yield node
        return
    for child in _children(steps[0], node):
        yield from _walk(steps[1:], child)


def _children(step: Step, node: Any) -> Iterator[Any]:
    kind, argument = step
    if kind == "field" and isinstance(node, dict):
        if argument in node:
            yield node[argument]
    elif kind == "index" and isinstance(node, list):
        if -len(node) <= argument < len(node):
            yield node[argument]
    elif kind == "all" and isinstance(node, (list, dict)):
        yield from node if isinstance(node, list) else node.values()
    elif kind == "filter" and isinstance(node, list):
        key, equal, value = argument
        for item in node:
            reached = find(f".{key}", item)
            if reached and (_text(reached[0]) == value) == equal:
                yield item


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
