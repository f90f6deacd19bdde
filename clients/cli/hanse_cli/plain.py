"""Text that others wrote, fit for a terminal and for a shell.

Owns two forms of it. Members name their objects and say why they refuse one, and none of that may steer the
terminal of whoever reads it, or be run by whoever copies a command. Pure functions.

Next: `hanse_cli.output` and `hanse_cli.commands.explain`, which show it.
"""

from __future__ import annotations

import shlex
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

T = TypeVar("T")


def plain(text: str) -> str:
    """Return the text in one line, with what a terminal would not print made visible."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)


def argument(text: str) -> str:
    """Return the text as one word of a shell's command line."""
    return plain(shlex.quote(text))


def plain_all(value: T) -> T:
    """Return the value with all texts in it plain: dataclasses, lists and tuples of them included."""
    return cast(T, _plain_all(value))


def _plain_all(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_plain_all(each) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: _plain_all(getattr(value, each.name)) for each in fields(value)})
    return value
