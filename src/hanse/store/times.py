"""The times of a stored record: when there was one first, and when anything of it changed last.

Owns `stamp`, which every writer of a record with `create_time` and `update_time` calls before it writes. etcd
keeps no times, so they are in the record. Pure.

Next: `hanse.store.decoding`, which keeps what a newer release has stored.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

M = TypeVar("M", bound=Message)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def stamp(before: M | None, after: M, *, now: datetime) -> M:
    """Return `after`, which takes the place of `before`, with its times.

    If it says the same as `before`, it is equal to it. A record from before there was a `create_time` gets
    none: nobody knows it. `after` is changed.
    """
    made: Any = after
    for name in ("create_time", "update_time"):
        if before is not None and before.HasField(name):
            getattr(made, name).CopyFrom(getattr(before, name))
        else:
            made.ClearField(name)
    if before is None:
        _set(made.create_time, now)
    if before != after:
        _set(made.update_time, now)
    return after


def _set(timestamp: Timestamp, moment: datetime) -> None:
    """Set a timestamp to an aware time; `FromDatetime` takes four times as long, and this is called a lot."""
    since = moment - _EPOCH
    timestamp.seconds = since.days * 86400 + since.seconds
    timestamp.nanos = since.microseconds * 1000
