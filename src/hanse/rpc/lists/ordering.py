"""Orders of lists (AIP-132): `order_by`, read against the descriptor, and where an item stands in that order.

Owns the language: fields in the order in which they count, with commas between them and `desc` after one that
descends, as in `phase desc, update_time`. A field of a field has dots. What can be ordered by is what has one
value: texts, whole numbers, truth values, times, and enums, which are in the order of their numbers. Lists,
maps, messages and bytes are refused. What is not set comes first; those that are equal are in the order of
their names, so that every order is total and a page can begin after any item.

Concurrency: pure functions.

Next: `hanse.rpc.lists.query`, which pages through what is ordered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import total_ordering
from typing import Any, Final, NoReturn

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from hanse.errors import InvalidArgumentError, shown

Place = Sequence[Any]
"""Where an item stands: the value of each field, None where it is not set; a time is [seconds, nanos]."""

MAX_FIELDS: Final = 8
_TIME: Final = "google.protobuf.Timestamp"
_FLOATS: Final = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)


@total_ordering
@dataclass(frozen=True, slots=True, eq=True)
class _Descending:
    """Turns the order of a value around."""

    value: tuple[Any, ...]

    def __lt__(self, other: _Descending) -> bool:
        return other.value < self.value


@dataclass(frozen=True, slots=True)
class _OrderField:
    name: str
    value_of: Callable[[Any], Any]
    kind: type
    descends: bool


@dataclass(frozen=True, slots=True)
class ListOrder:
    """An order that was read. Without fields it is the order of the names."""

    fields: tuple[_OrderField, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.fields)

    @classmethod
    def parse(cls, text: str, descriptor: Descriptor) -> ListOrder:
        """Read an order of messages of `descriptor`; an empty one is that of the names.

        Raises InvalidArgumentError.
        """
        if not text.strip():
            return cls()
        parts = text.split(",")
        if len(parts) > MAX_FIELDS:
            _refuse(f"it has {len(parts)} fields: {MAX_FIELDS} are the most")
        fields = tuple(_read(part, descriptor) for part in parts)
        names = [field.name for field in fields]
        for name in names:
            if names.count(name) > 1:
                _refuse(f"{name} stands in it twice")
        return cls(fields)

    def place(self, message: Message) -> Place:
        """Return where a message stands."""
        return [field.value_of(message) for field in self.fields]

    def key(self, place: Place, name: str) -> tuple[Any, ...]:
        """Return what to sort by: the place, then the name."""
        found: list[Any] = []
        for field, value in zip(self.fields, place, strict=True):
            ranked = (value is not None, _comparable(value))
            found.append(_Descending(ranked) if field.descends else ranked)
        return (*found, name)

    def takes(self, place: object) -> bool:
        """Return whether something, read from outside, is a place in this order."""
        return (
            isinstance(place, list)
            and len(place) == len(self.fields)
            and all(
                value is None or _is(value, field) for value, field in zip(place, self.fields, strict=True)
            )
        )


def _comparable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _is(value: object, field: _OrderField) -> bool:
    if field.kind is list:
        return isinstance(value, list) and len(value) == 2 and all(type(part) is int for part in value)
    return type(value) is field.kind


def _read(part: str, descriptor: Descriptor) -> _OrderField:
    words = part.split()
    if not words:
        _refuse("a field is missing between two commas")
    name, *rest = words
    if rest not in ([], ["asc"], ["desc"]):
        _refuse(f"after {name} only desc is expected, and not {shown(' '.join(rest))}")
    value_of, kind = _reader(name, name.split("."), descriptor)
    return _OrderField(name, value_of, kind, descends=rest == ["desc"])


def _reader(name: str, path: Sequence[str], descriptor: Descriptor) -> tuple[Callable[[Any], Any], type]:
    """Return what reads a field out of a message, and the type of what it reads."""
    first, *rest = path
    found = descriptor.fields_by_name.get(first)
    if found is None:
        known = ", ".join(sorted(each.name for each in descriptor.fields))
        _refuse(f"{shown(name)} is not a field of {descriptor.name}; its fields are {known}")
    inner = found.message_type
    if found.is_repeated:
        _refuse(f"{first} is a list or a map, which has no order")
    if inner is not None and inner.full_name != _TIME:
        if not rest:
            _refuse(f"{name} is a {inner.name}: name a field of it")
        within, kind = _reader(name, rest, inner)
        return lambda message: within(getattr(message, first)) if message.HasField(first) else None, kind
    if rest:
        _refuse(f"{first} has no fields, so {shown(name)} is none")
    if inner is not None:
        return lambda message: _moment(message, first), list
    if found.type == FieldDescriptor.TYPE_BYTES or found.cpp_type in _FLOATS:
        _refuse(f"{name} has no order")
    kind = {FieldDescriptor.CPPTYPE_STRING: str, FieldDescriptor.CPPTYPE_BOOL: bool}.get(found.cpp_type, int)
    if found.has_presence:
        return lambda message: getattr(message, first) if message.HasField(first) else None, kind
    return lambda message: getattr(message, first), kind


def _moment(message: Any, name: str) -> list[int] | None:
    if not message.HasField(name):
        return None
    moment = getattr(message, name)
    return [moment.seconds, moment.nanos]


def _refuse(why: str) -> NoReturn:
    raise InvalidArgumentError(
        f"order_by cannot be used: {why}", reason="ORDER_INVALID", metadata={"field": "order_by"}
    )
