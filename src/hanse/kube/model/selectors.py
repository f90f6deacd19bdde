"""Label selectors and field selectors: parsing, and deciding what they match.

Owns both syntaxes (the query strings of list and watch, and the LabelSelector of objects). Selectors are
immutable and parsed once; matching allocates nothing. Safe from any task.

Next: `objects`; the server's list and watch, and the scheduler's policies, use this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

from hanse.errors import InvalidArgumentError, shown
from hanse.kube.model.names import label_value_problems, qualified_name_problems
from hanse.kube.model.objects import Object

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]

_OPERATORS = frozenset({"In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"})
_TOKEN = re.compile(r"\s*(?:(==|!=|[=!<>(),])|([^\s=!<>(),]+))")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")


MAX_TERMS = 1_000
"""Requirements and values that a selector may have: each is compared with the labels of every object."""

MAX_TEXT = 64 * 1024
"""Characters of a selector as text."""


def _too_many() -> InvalidArgumentError:
    return _bad(f"the selector has more than {MAX_TERMS} requirements and values: select by fewer labels")


def _bad(problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(problem, reason="BAD_SELECTOR")


@dataclass(frozen=True, slots=True)
class LabelRequirement:
    """One condition on the label `key`. `In` and `NotIn` use `values`; `Gt` and `Lt` one integer."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return True if the labels meet the condition; `NotIn` is met where the label is absent."""
        value = labels.get(self.key)
        if self.operator == "In":
            return value is not None and value in self.values
        if self.operator == "NotIn":
            return value is None or value not in self.values
        if self.operator == "Exists":
            return value is not None
        if self.operator == "DoesNotExist":
            return value is None
        if value is None or not _INTEGER.fullmatch(value):
            return False
        (bound,) = self.values
        return int(value) > int(bound) if self.operator == "Gt" else int(value) < int(bound)

    def __str__(self) -> str:
        if self.operator == "Exists":
            return self.key
        if self.operator == "DoesNotExist":
            return f"!{self.key}"
        values = sorted(self.values)
        if self.operator in ("Gt", "Lt"):
            return f"{self.key}{'>' if self.operator == 'Gt' else '<'}{values[0]}"
        if self.operator == "In" and len(values) == 1:
            return f"{self.key}={values[0]}"
        return f"{self.key} {self.operator.lower()} ({','.join(values)})"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All of its requirements must hold; without any it matches everything, unless it `matches_nothing`."""

    requirements: tuple[LabelRequirement, ...] = ()
    matches_nothing: bool = False

    @classmethod
    def everything(cls) -> LabelSelector:
        """Return the selector that matches every object."""
        return cls()

    @classmethod
    def nothing(cls) -> LabelSelector:
        """Return the selector that matches no object."""
        return cls(matches_nothing=True)

    @classmethod
    def parse(cls, text: str) -> LabelSelector:
        """Return the selector of a query such as 'app=web,tier in (a,b),!canary'; '' matches everything.

        Raises InvalidArgumentError if the text is not one.
        """
        tokens = _tokens(text)
        if len(tokens) > 2 * MAX_TERMS:
            raise _too_many()
        if not tokens:
            return cls()
        requirements: list[LabelRequirement] = []
        parser = _Parser(tokens, text)
        while True:
            requirements.append(parser.requirement())
            if parser.done:
                return cls(tuple(requirements))
            parser.expect(",")

    @classmethod
    def from_object(cls, selector: Mapping[str, Any] | None) -> LabelSelector:
        """Return the selector of an object's `matchLabels` and `matchExpressions`.

        None matches nothing, an empty selector everything. Raises InvalidArgumentError if it is malformed.
        """
        if selector is None:
            return cls.nothing()
        _typed(selector, dict, "the whole", "a map")
        labels = _typed(selector.get("matchLabels") or {}, dict, "matchLabels", "a map")
        expressions = _typed(selector.get("matchExpressions") or [], list, "matchExpressions", "a list")
        terms = len(labels)
        for expression in expressions:
            _typed(expression, dict, "an item of matchExpressions", "a map")
            terms += 1 + len(_typed(expression.get("values") or [], list, "values", "a list"))
        if terms > MAX_TERMS:
            raise _too_many()
        out = [_requirement(key, "In", [value]) for key, value in sorted(labels.items())]
        for expression in expressions:
            operator = expression.get("operator")
            if not isinstance(operator, str) or operator not in _OPERATORS:
                raise _bad(
                    f"{shown(operator)} is not a valid label selector operator:"
                    f" use one of {sorted(_OPERATORS)}"
                )
            values = expression.get("values") or []
            out.append(_requirement(expression.get("key") or "", cast(Operator, operator), values))
        return cls(tuple(out))

    @property
    def empty(self) -> bool:
        """True if it matches everything."""
        return not self.requirements and not self.matches_nothing

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return True if an object with these labels is selected."""
        if self.matches_nothing:
            return False
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


T = TypeVar("T")


def _typed(value: Any, kind: type[T], where: str, wanted: str) -> T:
    if not isinstance(value, kind):
        raise _bad(f"{where} of a label selector must be {wanted}, not {shown(value)}")
    return value


def _requirement(key: Any, operator: Operator, values: list[Any]) -> LabelRequirement:
    if not isinstance(key, str):
        raise _bad(f"key: Invalid value: {shown(key)}: must be a text")
    problems = qualified_name_problems(key)
    if problems:
        raise _bad(f"key: Invalid value: {shown(key)}: {'; '.join(problems)}")
    if operator in ("In", "NotIn"):
        if not values:
            raise _bad(
                f"values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty ({key})"
            )
    elif operator in ("Gt", "Lt"):
        if len(values) != 1 or not _INTEGER.fullmatch(str(values[0])):
            raise _bad(
                f"values: Invalid value: for 'Gt', 'Lt' operators, the value must be one integer ({key})"
            )
    elif values:
        raise _bad(f"values: Invalid value: values set must be empty for exists and does not exist ({key})")
    for value in values:
        if not isinstance(value, str) or label_value_problems(value):
            raise _bad(f"values: Invalid value: {shown(value)}: not a valid label value ({key[:80]})")
    return LabelRequirement(key, operator, frozenset(values))


def _tokens(text: str) -> list[str]:
    out: list[str] = []
    position = 0
    if len(text) > MAX_TEXT:
        raise _bad(f"the selector has {len(text)} characters, more than {MAX_TEXT}: select by fewer labels")
    stripped = text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None:
            raise _bad(f"unable to parse requirement: unexpected character in {shown(text)}")
        out.append(match.group(1) or match.group(2))
        position = match.end()
    return out


_SYMBOLS = frozenset({"==", "!=", "=", "!", "<", ">", "(", ")", ","})


class _Parser:
    """Reads requirements off a list of tokens."""

    def __init__(self, tokens: list[str], text: str) -> None:
        self._tokens = tokens
        self._text = text
        self._at = 0

    @property
    def done(self) -> bool:
        return self._at >= len(self._tokens)

    def _peek(self) -> str:
        return "" if self.done else self._tokens[self._at]

    def _take(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def expect(self, token: str) -> None:
        found = self._take()
        if found != token:
            raise _bad(
                f"unable to parse selector: found '{found[:80]}', expected: '{token}' in selector"
                f" {shown(self._text)}"
            )

    def _word(self, what: str) -> str:
        token = self._take()
        if not token or token in _SYMBOLS:
            raise _bad(
                f"unable to parse requirement: found '{token[:80]}', expected: {what} in selector"
                f" {shown(self._text)}"
            )
        return token

    def requirement(self) -> LabelRequirement:
        if self._peek() == "!":
            self._take()
            return _requirement(self._word("identifier"), "DoesNotExist", [])
        key = self._word("identifier")
        operator = self._peek()
        if operator in ("", ","):
            return _requirement(key, "Exists", [])
        self._take()
        if operator in ("=", "=="):
            return _requirement(key, "In", [self._value()])
        if operator == "!=":
            return _requirement(key, "NotIn", [self._value()])
        if operator in (">", "<"):
            return _requirement(key, "Gt" if operator == ">" else "Lt", [self._word("integer")])
        if operator in ("in", "notin"):
            return _requirement(key, "In" if operator == "in" else "NotIn", self._values())
        raise _bad(
            f"unable to parse requirement: found '{operator[:80]}', expected: in, notin, =, ==, !=, gt, lt "
            f"in selector {shown(self._text)}"
        )

    def _value(self) -> str:
        return "" if self._peek() in ("", ",") else self._word("value")

    def _values(self) -> list[str]:
        self.expect("(")
        out: list[str] = []
        while True:
            out.append("" if self._peek() in (",", ")") else self._word("value"))
            if self._peek() == ")":
                self._take()
                return out
            self.expect(",")


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """One condition on a field, named by its dotted path. A field that an object lacks is `absent`."""

    path: str
    value: str
    negated: bool = False
    steps: tuple[str, ...] = field(default=(), repr=False, compare=False)
    absent: str = field(default="", repr=False, compare=False)

    def matches(self, obj: Object) -> bool:
        """Return True if the object meets the condition."""
        node: Any = obj
        for step in self.steps:
            node = node.get(step) if isinstance(node, dict) else None
        text = self.absent if node is None else _field_text(node)
        return (text == self.value) is not self.negated

    def __str__(self) -> str:
        escaped = re.sub(r"([\\,=])", r"\\\1", self.value)
        return f"{self.path}{'!=' if self.negated else '='}{escaped}"


def _field_text(node: Any) -> str:
    if isinstance(node, bool):
        return "true" if node else "false"
    return str(node)


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All of its requirements must hold; without any it matches everything."""

    requirements: tuple[FieldRequirement, ...] = ()

    @classmethod
    def parse(cls, text: str) -> FieldSelector:
        r"""Return the selector of a query such as 'metadata.name=web,status.phase!=Running'.

        In values `\,`, `\=` and `\\` stand for the plain character. Raises InvalidArgumentError if the text
        is not one. Which fields a kind may be selected by says `hanse.kube.kinds.selectable`.
        """
        if len(text) > MAX_TEXT:
            raise _bad(f"the selector has {len(text)} characters, more than {MAX_TEXT}: select by fewer")
        terms = [term for term in _split_terms(text) if term]
        if len(terms) > MAX_TERMS:
            raise _too_many()
        return cls(tuple(_field_requirement(term, text) for term in terms))

    @property
    def empty(self) -> bool:
        """True if it matches everything."""
        return not self.requirements

    def matches(self, obj: Object) -> bool:
        """Return True if the object is selected."""
        return all(requirement.matches(obj) for requirement in self.requirements)

    def exact(self, path: str) -> str | None:
        """Return the value that `path` must equal, or None if the selector does not say."""
        for requirement in self.requirements:
            if requirement.path == path and not requirement.negated:
                return requirement.value
        return None

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


def _split_terms(text: str) -> list[str]:
    return [term.strip() for term in re.findall(r"(?:[^\\,]|\\.)+", text)] if text else []


def _field_requirement(term: str, text: str) -> FieldRequirement:
    match = re.fullmatch(r"([^=!\\]+)(!=|==|=)((?:[^\\=]|\\[\\,=])*)", term)
    if match is None:
        raise _bad(f"invalid field selector: {shown(text)}; can't understand {shown(term)}")
    path, operator, value = match.groups()
    plain = re.sub(r"\\([\\,=])", r"\1", value)
    path = path.strip()
    return FieldRequirement(path, plain, operator == "!=", tuple(path.split(".")))
