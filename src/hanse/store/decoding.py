"""Messages out of the store: one way to read a value, so that junk is never taken for a message.

Owns `decode`, `leased` and `carry`. An empty value is a valid encoding of any message with nothing set, and
nobody stores one: taken for a placement it would say "nowhere". What a newer release has stored in fields
that this one does not know is kept through each write. Pure. Next: `hanse.store.follow.collection`, whose
decoders call this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from hanse.store.types import KeyValue

M = TypeVar("M", bound=Message)


def decode(kind: type[M], value: bytes) -> M:
    """Return the message that `value` encodes. Raises ValueError for what is none."""
    if not value:
        raise ValueError(f"an empty value is no {kind.DESCRIPTOR.name}")
    try:
        return kind.FromString(value)
    except DecodeError as error:
        raise ValueError(f"the value is no {kind.DESCRIPTOR.name}: {error}") from error


def carry(before: M | None, after: M) -> M:
    """Return `after`, which takes the place of `before`, with what only a newer release knows of `before`.

    To be called before the two are compared: such fields count, and a message without them would be written
    for nothing and without them. The elements of a list are the same where their first fields, which name
    them, are; what several elements share names none of them. `after` is changed, `before` is not.
    """
    if before is not None and _has_unknown(before):
        _carry(before, after)
    return after


def _has_unknown(message: Message) -> bool:
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()  # in what is nested too
    return known.ByteSize() != message.ByteSize()


def _carry(before: Message, after: Message) -> None:
    if not _unknown(after):
        after.MergeFromString(_unknown(before))
    for field, value in before.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        if field.is_repeated:
            first = field.message_type.fields_by_number[1].name
            named, now = _by_name(value, first), _by_name(getattr(after, field.name), first)
            for name in named.keys() & now.keys():
                _carry(named[name], now[name])
        elif after.HasField(field.name):
            _carry(value, getattr(after, field.name))


def _by_name(elements: Iterable[Message], first: str) -> dict[Any, Message]:
    """Return the elements by their first field; those that share it are left out."""
    counts = Counter(getattr(each, first) for each in elements)
    return {getattr(each, first): each for each in elements if counts[getattr(each, first)] == 1}


def _unknown(message: Message) -> bytes:
    """Return the encoding of the fields that this release does not know, without those of nested messages."""
    rest = type(message)()
    rest.CopyFrom(message)
    for field, _ in message.ListFields():
        rest.ClearField(field.name)
    return rest.SerializeToString()


def leased(kv: KeyValue) -> bytes:
    """Return the value of a key that says something for as long as its writer lives. Raises ValueError.

    Without a lease it would be said for ever, and by nobody.
    """
    if not kv.lease:
        raise ValueError("a key that should go with its writer has no lease")
    return kv.value
