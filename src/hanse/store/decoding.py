"""Messages out of the store: one way to read a value, so that junk is never taken for a message.

Owns `decode` and `leased`. An empty value is a valid encoding of any message with nothing set, and nobody
stores one: taken for a placement it would say "nowhere". Pure. Next: `hanse.store.mirror`, whose decoders
call this.
"""

from __future__ import annotations

from typing import TypeVar

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


def leased(kv: KeyValue) -> bytes:
    """Return the value of a key that says something for as long as its writer lives. Raises ValueError.

    Without a lease it would be said for ever, and by nobody.
    """
    if not kv.lease:
        raise ValueError("a key that should go with its writer has no lease")
    return kv.value
