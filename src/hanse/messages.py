"""Enums and times of protobuf messages in words, whoever wrote them.

Owns two readings that never raise: a value of an enum that this release does not know is its number, and a
time that no calendar has is none. A message with one of them is stored by another release or by a broken
tool; what shows a list of messages goes on with the others.

Pure functions. Next: nothing; this is the bottom.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

_FIRST_SECOND: Final = -62135596800  # 0001-01-01T00:00:00Z
_LAST_SECOND: Final = 253402300799  # 9999-12-31T23:59:59Z


def word_of(enum: EnumDescriptor, number: int) -> str:
    """Return the name of an enum's value, as `APPLIED`; its number if it has none."""
    known = enum.values_by_number.get(number)
    return known.name if known is not None else str(number)


def is_time(stamp: Timestamp) -> bool:
    """Return whether a timestamp is one that protobuf allows: what is not can be stored, and written
    nowhere.
    """
    return _FIRST_SECOND <= stamp.seconds <= _LAST_SECOND and 0 <= stamp.nanos < 1_000_000_000


def moment_of(stamp: Timestamp) -> datetime | None:
    """Return when a timestamp is; None for one that is no time."""
    return stamp.ToDatetime(tzinfo=UTC) if is_time(stamp) else None
