"""Filters of lists (AIP-160): an expression over the fields of a resource, and whether a message matches.

Owns the language, as far as lists take it::

    state = READY AND labels.tier = "prod"
    phase = FAILED OR phase = CONFLICT
    NOT cluster = "eu-*" AND update_time > "2026-01-01T00:00:00Z"
    clusters.cluster:eu-west

AND joins, and so does a space; OR binds closer than AND, as AIP-160 has it; NOT or a minus negates; brackets
group. What a comparison means is for `hanse.rpc.lists.restrictions`. Texts with other characters than
letters, digits and `-_./*+` are quoted. Words alone, which would search everything, are refused.

Concurrency: pure functions.

Next: `hanse.rpc.lists.restrictions`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from hanse.errors import shown
from hanse.rpc.lists.restrictions import ORDERS, Operand, Test, refuse, restrict

MAX_CHARS: Final = 2048
MAX_DEPTH: Final = 16
"""How deep parentheses and negations may be."""

_PART: Final = r"""(?:[\w\-./*+]+|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_TOKEN: Final = re.compile(rf"\s*(?:(?P<operand>{_PART}+)|(?P<sign><=|>=|!=|[<>=:()]))")
_PIECE: Final = re.compile(r"""([\w\-/*+]+)|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|(\.)""")


@dataclass(frozen=True, slots=True)
class ListFilter:
    """A filter that was read. `text` is what it was read from."""

    text: str
    matches: Callable[[Message], bool]
    """Whether a message satisfies it."""
    fixed: Mapping[str, str] = field(default_factory=dict)
    """The fields that must have one text, by name, whatever else is asked."""

    @classmethod
    def parse(cls, text: str, descriptor: Descriptor) -> ListFilter:
        """Read a filter of messages of `descriptor`; an empty one matches all.

        Raises InvalidArgumentError.
        """
        if not text.strip():
            return cls(text, lambda message: True)
        if len(text) > MAX_CHARS:
            refuse(f"it has {len(text)} characters: {MAX_CHARS} are the most")
        reader = _FilterReader(_tokens(text), descriptor)
        test = reader.expression(0)
        if reader.following is not None:
            refuse(f"{reader.following!r} is not expected there")
        return cls(text, test, reader.fixed)


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            refuse(f"what begins with {shown(text[at : at + 20].strip())} cannot be read: quote texts")
        found.append(match["operand"] or match["sign"])
        at = match.end()
    return found


class _FilterReader:
    """Reads an expression by recursive descent; makes a test of it."""

    def __init__(self, tokens: list[str], descriptor: Descriptor) -> None:
        self._tokens = tokens
        self._at = 0
        self._descriptor = descriptor
        self.fixed: dict[str, str] = {}

    @property
    def following(self) -> str | None:
        """The token that is next, None at the end."""
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def expression(self, depth: int) -> Test:
        """Factors that must all hold."""
        tests = [self._factor(depth)]
        while self.following not in (None, ")"):
            if self.following == "AND":
                self._at += 1
            tests.append(self._factor(depth))
        return tests[0] if len(tests) == 1 else lambda message: all(test(message) for test in tests)

    def _factor(self, depth: int) -> Test:
        before = dict(self.fixed)
        tests = [self._term(depth)]
        while self.following == "OR":
            self._at += 1
            tests.append(self._term(depth))
        if len(tests) == 1:
            return tests[0]
        self.fixed = before
        return lambda message: any(test(message) for test in tests)

    def _term(self, depth: int) -> Test:
        if depth > MAX_DEPTH:
            refuse(f"it is nested more than {MAX_DEPTH} deep")
        word = self.following
        if word == "(":
            self._at += 1
            test = self.expression(depth + 1)
            if self.following != ")":
                refuse("a parenthesis is not closed")
            self._at += 1
            return test
        if word is None or not (word == "NOT" or word.startswith("-")):
            return self._restriction()
        if word in ("NOT", "-"):
            self._at += 1
        else:
            self._tokens[self._at] = word[1:]
        before = dict(self.fixed)
        inner = self._term(depth + 1)
        self.fixed = before
        return lambda message: not inner(message)

    def _restriction(self) -> Test:
        name, sign, value = (self._take() for _ in range(3))
        if name is None or name in _SIGNS:
            refuse(f"a field is expected, and not {name or 'the end'!r}")
        if sign not in _COMPARATORS:
            refuse(f"{name} is not compared with anything: write FIELD = VALUE")
        if value is None or value in _SIGNS:
            refuse(f"{name} {sign} has no value: quote a text")
        path = _path(name)
        operand = _operand(value)
        if sign == "=" and len(path) == 1 and "*" not in operand.text:
            self.fixed[path[0]] = operand.text
        return restrict(self._descriptor, path, sign, operand, name)

    def _take(self) -> str | None:
        token = self.following
        self._at += token is not None
        return token


_COMPARATORS: Final = frozenset({*ORDERS, ":"})
_SIGNS: Final = frozenset({*_COMPARATORS, "(", ")"})


def _path(token: str) -> list[str]:
    """Return the parts of a field's path; a quoted part may have dots."""
    parts, part = [], ""
    for bare, double, single, dot in _PIECE.findall(token):
        if dot:
            parts.append(part)
            part = ""
        else:
            part += bare or _unescaped(double or single)
    parts.append(part)
    if not all(parts):
        refuse(f"{token} is no field")
    return parts


def _operand(token: str) -> Operand:
    if token[0] in "\"'" and token[0] == token[-1]:
        return Operand(_unescaped(token[1:-1]), quoted=True)
    return Operand(token, quoted=False)


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
