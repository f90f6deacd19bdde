"""Restrictions of a filter: one field compared with one value, as the descriptor has the field.

`=` and `!=` compare, with a `*` at the start or the end of a text for anything; `<`, `<=`, `>` and `>=` order
numbers, times and texts; `:` asks whether a list, or a map by its keys, has something, and `FIELD:*` whether
a field is set. A field of the elements of a list is asked for by `:` alone: one element at least must be so.
What is not set is not equal to anything. What is not in the descriptor, or of another type, raises
InvalidArgumentError.

Concurrency: pure functions.

Next: `hanse.rpc.lists.query`, which chooses by filters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from hanse.errors import InternalError, InvalidArgumentError, shown

Test = Callable[[Any], bool]
ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": lambda left, right: bool(left == right),
    "!=": lambda left, right: bool(left != right),
    "<": lambda left, right: bool(left < right),
    "<=": lambda left, right: bool(left <= right),
    ">": lambda left, right: bool(left > right),
    ">=": lambda left, right: bool(left >= right),
}
_TIME: Final = "google.protobuf.Timestamp"


@dataclass(frozen=True, slots=True)
class Operand:
    """What a field is compared with; `quoted` is whether it was written in quotes."""

    text: str
    quoted: bool


ANY: Final = Operand("*", quoted=False)
"""After a colon: whatever it is."""


def refuse(why: str) -> NoReturn:
    """Raise InvalidArgumentError for a filter that cannot be used."""
    raise InvalidArgumentError(
        f"filter cannot be used: {why}", reason="FILTER_INVALID", metadata={"field": "filter"}
    )


def restrict(descriptor: Descriptor, path: Sequence[str], sign: str, operand: Operand, name: str) -> Test:
    """Return the test of one restriction, from the message of `descriptor` inwards."""
    first, *rest = path
    found = descriptor.fields_by_name.get(first)
    if found is None:
        known = ", ".join(sorted(each.name for each in descriptor.fields))
        refuse(f"{name} is not a field of {descriptor.name}; its fields are {known}")
    inner = found.message_type
    if inner is not None and inner.GetOptions().map_entry:
        return _of_map(found, rest, sign, operand, name)
    if found.is_repeated:
        return _of_list(found, rest, sign, operand, name)
    if (sign, operand, rest) == (":", ANY, []):
        return _is_set(found)
    if inner is None or inner.full_name == _TIME:
        if rest:
            refuse(f"{first} has no fields, so {name} is none")
        return _of_scalar(found, sign, operand, name)
    if not rest:
        refuse(f"{name} is a {inner.name}: name a field of it")
    within = restrict(inner, rest, sign, operand, name)
    return lambda message: within(getattr(message, first))


def _of_scalar(found: FieldDescriptor, sign: str, operand: Operand, name: str) -> Test:
    """Return what is not set is not equal to anything, and in no order."""
    first, unset = found.name, sign == "!="
    compare = _compare(found, "=" if sign == ":" else sign, operand.text, name)
    if not found.has_presence:
        return lambda message: compare(getattr(message, first))
    return lambda message: compare(getattr(message, first)) if message.HasField(first) else unset


def _of_list(found: FieldDescriptor, rest: Sequence[str], sign: str, operand: Operand, name: str) -> Test:
    """Return whether one element at least is so."""
    first, inner = found.name, found.message_type
    if sign != ":":
        refuse(f"{first} is a list: ask with {name}:VALUE for what it has")
    if operand == ANY and not rest:
        return lambda message: len(getattr(message, first)) > 0
    if inner is None:
        if rest:
            refuse(f"{first} has no fields, so {name} is none")
        test = _compare(found, "=", operand.text, name)
    elif rest:
        test = restrict(inner, rest, ":", operand, name)
    else:
        refuse(f"{name} is a list of {inner.name}: name a field of it")
    return lambda message: any(test(each) for each in getattr(message, first))


def _of_map(found: FieldDescriptor, rest: Sequence[str], sign: str, operand: Operand, name: str) -> Test:
    """`labels.tier = x` compares the value of a key, `labels:tier` asks for the key."""
    first, key = found.name, ".".join(rest)
    if not rest and sign != ":":
        refuse(f"{name} is a map: write {name}.KEY {sign} VALUE, or {name}:KEY")
    if not rest and operand == ANY:
        return lambda message: len(getattr(message, first)) > 0
    if not rest:
        return lambda message: operand.text in getattr(message, first)
    if (sign, operand) == (":", ANY):
        return lambda message: key in getattr(message, first)
    if found.message_type is None:
        raise InternalError(f"{name} is no map")
    values = found.message_type.fields_by_name["value"]
    compare, unset = _compare(values, "=" if sign == ":" else sign, operand.text, name), sign == "!="

    def test(message: Any) -> bool:
        entries = getattr(message, first)
        return compare(entries[key]) if key in entries else unset

    return test


def _is_set(found: FieldDescriptor) -> Test:
    name = found.name
    if found.has_presence:
        return lambda message: bool(message.HasField(name))
    return lambda message: bool(getattr(message, name))


def _compare(found: FieldDescriptor, sign: str, text: str, name: str) -> Test:
    """Return the test of one value of a field. Raises InvalidArgumentError for a value of another type."""
    order, equality = ORDERS[sign], sign in ("=", "!=")
    if found.enum_type is not None:
        known = found.enum_type.values_by_name
        if text not in known or not equality:
            refuse(f"{name} is compared by = or != with one of {', '.join(known)}")
        number = known[text].number
        return lambda value: order(value, number)
    if found.message_type is not None:
        moment = _moment(text, name)
        return lambda value: order(_nanoseconds(value), moment)
    if found.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if text not in ("true", "false") or not equality:
            refuse(f"{name} is compared by = or != with true or false")
        return lambda value: order(value, text == "true")
    if found.type == FieldDescriptor.TYPE_BYTES:
        refuse(f"{name} is bytes, which cannot be compared")
    if found.cpp_type != FieldDescriptor.CPPTYPE_STRING:
        wanted = _number(text, name)
        return lambda value: order(value, wanted)
    return _wildcard(text, sign) if equality else lambda value: order(value, text)


def _number(text: str, name: str) -> float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    refuse(f"{name} is a number, and {shown(text)} is none")


def _wildcard(text: str, sign: str) -> Test:
    """Return the test for a text; one with a star at either end stands for all that begins, ends, or goes
    on so.
    """
    starts, ends = text.endswith("*"), text.startswith("*")
    bare = text.strip("*")
    wanted = sign == "="
    if starts and ends:
        return lambda value: (bare in value) is wanted
    if starts:
        return lambda value: value.startswith(bare) is wanted
    if ends:
        return lambda value: value.endswith(bare) is wanted
    return lambda value: (value == text) is wanted


def _moment(text: str, name: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        refuse(f'{name} is a time: write it as in "2026-01-02T15:04:05Z", not {shown(text)}')
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000) * 1000


def _nanoseconds(value: Timestamp) -> int:
    return value.seconds * 1_000_000_000 + value.nanos
