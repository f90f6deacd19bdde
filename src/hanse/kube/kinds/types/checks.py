"""What the rules of a type are made of: checks of one field, and how several become the rule of a struct.

The law that every rule of a type keeps: *it says what kube-apiserver says of the same value, and never
more*. A field that is absent or has Go's zero value is not checked, unless it is needed, `Given` (a pointer
in Go, whose zero value is a value) or `Plain` (a field whose zero value is checked like any other). Types are
found by their name in the schema, so that a Pod template is looked at alike in every workload. Pure. Next:
`hanse.kube.kinds.types.table`.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hanse.errors import InvalidArgumentError
from hanse.kube.model.fielderrors import (
    FieldError,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
)
from hanse.kube.model.quantity import Quantity
from hanse.numbers import whole_number

Struct = Mapping[str, Any]
Check = Callable[[Any, str], Iterator[FieldError]]
"""Yields what is wrong with a value at a path."""

MAX_INT32: Final = 2**31 - 1
PORT_MESSAGE: Final = "must be between 1 and 65535, inclusive"
PERCENT_MESSAGE: Final = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%', '93%')"
)
_ZERO: Final = (None, "", 0, False)


@dataclass(frozen=True, slots=True)
class Given:
    """A check of a field that is a pointer in Go: its zero value is checked, too."""

    check: Check


@dataclass(frozen=True, slots=True)
class Plain:
    """A check of a field whose zero value Go has where the field is absent, and checks like any other."""

    check: Check
    zero: Any = ""


def is_zero(value: Any) -> bool:
    """Report whether a value is what Go takes for absent."""
    return value in _ZERO if not isinstance(value, dict | list) else not value


def struct(*rules: Check, needs: str = "", **fields: Check | Given | Plain) -> Check:
    """Return the check of a struct: its fields, those that it `needs`, and rules of the whole."""
    wanted = tuple(needs.split())

    def check(value: Any, where: str) -> Iterator[FieldError]:
        if not isinstance(value, dict):
            return
        for name in wanted:
            if is_zero(value.get(name)):
                yield required(f"{where}.{name}".lstrip("."))
        for name, of_field in fields.items():
            found = value.get(name.rstrip("_"))
            at = f"{where}.{name.rstrip('_')}".lstrip(".")
            if isinstance(of_field, Plain):
                yield from of_field.check(of_field.zero if found is None else found, at)
            elif isinstance(of_field, Given):
                if found is not None:
                    yield from of_field.check(found, at)
            elif not is_zero(found):
                yield from of_field(found, at)
        for rule in rules:
            yield from rule(value, where)

    return check


def each(check: Check, *, unique: bool = False) -> Check:
    """Return the check of a list by that of an item."""

    def items(value: Any, where: str) -> Iterator[FieldError]:
        seen: list[Any] = []
        for index, item in enumerate(value if isinstance(value, list) else ()):
            yield from check(item, f"{where}[{index}]")
            if unique and item in seen:
                yield duplicate(f"{where}[{index}]", item)
            seen.append(item)

    return items


def entries(keys: Check | None, values: Check | None = None) -> Check:
    """Return the check of a map by those of its keys and of its values."""

    def check(value: Any, where: str) -> Iterator[FieldError]:
        for key, item in (value if isinstance(value, dict) else {}).items():
            if keys is not None:
                yield from keys(key, where)
            if values is not None:
                yield from values(item, f"{where}[{key}]")

    return check


def unique(*keys: str, field: str = "") -> Check:
    """Return the check that no two items of a list have the same values of these fields."""

    def check(value: Any, where: str) -> Iterator[FieldError]:
        seen: list[Any] = []
        for index, item in enumerate(value if isinstance(value, list) else ()):
            if not isinstance(item, dict):
                continue
            said = tuple(item.get(key) for key in keys)
            if said in seen and not is_zero(said[0]):
                at = f"{where}[{index}].{field or keys[0]}" if len(keys) == 1 else f"{where}[{index}]"
                yield duplicate(at, said[0] if len(keys) == 1 else dict(zip(keys, said, strict=True)))
            seen.append(said)

    return check


def both(*checks: Check) -> Check:
    """Return the check that makes several."""

    def check(value: Any, where: str) -> Iterator[FieldError]:
        for each_ in checks:
            yield from each_(value, where)

    return check


def text(problems: Callable[[str], Iterable[str]]) -> Check:
    """Return the check of a text by a function of `hanse.kube.model.names`."""

    def check(value: Any, where: str) -> Iterator[FieldError]:
        if isinstance(value, str):
            for problem in problems(value):
                yield invalid(where, value, problem)

    return check


def choice(*names: str) -> Check:
    """Return the check that a text is one of several."""

    def check(value: Any, where: str) -> Iterator[FieldError]:
        if value not in names:
            yield not_supported(where, value, names)

    return check


def within(low: int | None = None, high: int | None = None, message: str = "") -> Check:
    """Return the check that a number is in a range; both ends belong to it."""
    said = message or (
        f"must be greater than or equal to {low}" if high is None else f"must be between {low} and {high}"
    )

    def check(value: Any, where: str) -> Iterator[FieldError]:
        if not isinstance(value, int) or isinstance(value, bool):
            return
        if (low is not None and value < low) or (high is not None and value > high):
            yield invalid(where, value, said)

    return check


def matching(pattern: str, message: str, *, longest: int = 0) -> Check:
    """Return the check that a whole text matches a pattern."""
    compiled = re.compile(pattern)

    def check(value: Any, where: str) -> Iterator[FieldError]:
        if longest and len(str(value)) > longest:
            yield FieldError(where, "FieldValueTooLong", f"may not be more than {longest} bytes")
        elif not compiled.fullmatch(str(value)):
            yield invalid(where, value, message)

    return check


def at_most(items: int) -> Check:
    """Return the check that a list or map is no longer."""

    def check(value: Any, where: str) -> Iterator[FieldError]:
        if len(value) > items:
            yield FieldError(where, "FieldValueTooMany", f"must have at most {items} items", len(value))

    return check


def longest(characters: int) -> Check:
    """Return the check that a text is no longer."""

    def check(value: Any, where: str) -> Iterator[FieldError]:
        if len(value) > characters:
            yield FieldError(where, "FieldValueTooLong", f"may not be more than {characters} bytes")

    return check


NOT_NEGATIVE: Final = within(0)
POSITIVE: Final = within(1, message="must be greater than zero")
PORT: Final = within(1, 65535, PORT_MESSAGE)


def one_of(*names: str, message: str, least: int = 1, found: str = "") -> Check:
    """Return the rule that a struct has exactly one of some fields; `least` 0 allows none."""

    def check(value: Any, where: str) -> Iterator[FieldError]:
        present = [name for name in names if value.get(name) is not None]
        if len(present) < least:
            yield required(where, message)
        for extra in present[1:]:
            yield forbidden(f"{where}.{extra}", found or message)

    return check


def address(value: Any, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with an IP address."""
    if not is_address(value):
        yield invalid(where, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


def is_address(value: Any) -> bool:
    """Report whether it is an IP address. Go's old parser takes leading zeros, which ours drops."""
    try:
        ipaddress.ip_address(_without_zeros(str(value)))
    except ValueError:
        return False
    return "%" not in str(value)


def _without_zeros(value: str) -> str:
    if ":" in value:
        return value
    return ".".join(part.lstrip("0") or "0" if part.isdigit() else part for part in value.split("."))


def cidr(value: Any, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with a range of addresses."""
    if network(value) is None:
        yield invalid(where, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")


def network(value: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return a range of addresses; None for what is none."""
    start, slash, length = str(value).partition("/")
    if not slash or not length.isascii() or not length.isdigit():
        return None
    try:
        return ipaddress.ip_network(f"{_without_zeros(start)}/{length}", strict=False)
    except ValueError:
        return None


def port_or_name(named: Check) -> Check:
    """Return the check of a port that may be named."""

    def check(value: Any, where: str) -> Iterator[FieldError]:
        yield from (PORT if isinstance(value, int) else named)(value, where)

    return check


def count_or_percent(value: Any, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with a number that is not negative, or a percentage."""
    if isinstance(value, int):
        yield from NOT_NEGATIVE(value, where)
    elif not str(value).endswith("%") or whole_number(str(value)[:-1]) is None:
        yield invalid(where, value, PERCENT_MESSAGE)


def percent_of(value: Any) -> int | None:
    """Return the number in a percentage; None for what is none."""
    return whole_number(value[:-1]) if isinstance(value, str) and value.endswith("%") else None


def amount(value: Any) -> int | None:
    """Return a quantity in billionths; None for what is none."""
    try:
        return Quantity.parse(value).nanos
    except InvalidArgumentError:
        return None


def quantity(low: int = 0, message: str = "must be greater than or equal to 0") -> Check:
    """Return the check of a quantity; `low` is the least number of billionths."""

    def check(value: Any, where: str) -> Iterator[FieldError]:
        found = amount(value)
        if found is not None and found < low:
            yield invalid(where, str(value), message)

    return check


def decoded(value: Any) -> bytes | None:
    """Return the bytes of base64; None for what is none."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        return None


def descending(value: Any, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with a path below another one."""
    if str(value).startswith("/"):
        yield invalid(where, value, "must be a relative path")
    yield from no_backsteps(value, where)


def no_backsteps(value: Any, where: str) -> Iterator[FieldError]:
    """Yield the error for a path that leaves its directory."""
    if ".." in str(value).split("/"):
        yield invalid(where, value, "must not contain '..'")


def local_path(value: Any, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with the path of a projected file."""
    yield from descending(value, where)
    if str(value).startswith("..") and not str(value).startswith("../"):
        yield invalid(where, value, "must not start with '..'")


def absolute(value: Any, where: str) -> Iterator[FieldError]:
    """Yield the error for a path that is not absolute."""
    if not str(value).startswith("/"):
        yield invalid(where, value, "must be an absolute path")


def nothing(value: Any, where: str) -> Iterator[FieldError]:
    """Yield nothing: every value is right."""
    return iter(())
