"""The times of a stored record: when there was one first, and when anything of it changed last.

Owns `stamp`, which every writer of a record with `create_time` and `update_time` calls before it writes. etcd
keeps no times, so they are in the record. Pure.

Next: `hanse.store.decoding`, which keeps what a newer release has stored.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


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
        made.create_time.FromDatetime(now)
    if before != after:
        made.update_time.FromDatetime(now)
    return after
