"""Between the store's values and etcd's protobuf messages, and etcd's errors as ours. Pure functions.

What is packed in etcd is unpacked here (`hanse.store.packing`).

The messages and stubs are those that etcd3aio carries. Its own watch, retry and lease loops are not used:
its watch resumes after the header's revision, which loses events of a watch that is catching up, and goes
on past a compaction without a word; its retry sends a write again that may have happened.

Next: `hanse.store.etcd.store`, which sends these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import Any, Final

import grpc
from etcd3aio import _protobuf as pb

from hanse.errors import (
    STORE_FULL,
    FailedPreconditionError,
    HanseError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    error_class,
)
from hanse.store.mvcc import compacted, duplicate_key, future, too_large
from hanse.store.packing import read_value
from hanse.store.types import Compare, Delete, Event, Get, KeyValue, Op, Put, RangeResult

_TARGETS: Final = {
    "version": pb.Compare.VERSION,
    "create": pb.Compare.CREATE,
    "mod": pb.Compare.MOD,
    "lease": pb.Compare.LEASE,
}
_FIELDS: Final = {
    "version": "version",
    "create": "create_revision",
    "mod": "mod_revision",
    "lease": "lease",
}
_OPERATORS: Final = {
    "==": pb.Compare.EQUAL,
    "!=": pb.Compare.NOT_EQUAL,
    ">": pb.Compare.GREATER,
    "<": pb.Compare.LESS,
}
_DELETE: Final = 1  # mvccpb.Event.DELETE


def prefix_end(prefix: bytes) -> bytes:
    """Return the first key after all that start with `prefix`, which must not be all 0xff."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,))


def key_bytes(key: str) -> bytes:
    """Return a key as etcd has it; the reverse of `key_text`."""
    return key.encode(errors="surrogateescape")


def key_text(key: bytes) -> str:
    """Return a key of etcd as text, also one that is not UTF-8: reading goes on, and it can be deleted."""
    return key.decode(errors="surrogateescape")


def compare_message(root: bytes, compare: Compare) -> Any:
    """Return a `Compare` message."""
    return pb.Compare(
        key=root + key_bytes(compare.key),
        target=_TARGETS[compare.target],
        result=_OPERATORS[compare.operator],
        **{_FIELDS[compare.target]: compare.number},
    )


def op_message(root: bytes, op: Op) -> Any:
    """Return a `RequestOp` message."""
    key = root + key_bytes(op.key)
    if isinstance(op, Put):
        return pb.RequestOp(request_put=pb.PutRequest(key=key, value=op.value, lease=op.lease))
    end = prefix_end(key) if op.prefix else b""
    if isinstance(op, Delete):
        return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key, range_end=end))
    return pb.RequestOp(request_range=pb.RangeRequest(key=key, range_end=end))


def key_values(kvs: Iterable[Any], skip: int) -> tuple[KeyValue, ...]:
    """Return the items of a response; `skip` is the length of the store's prefix."""
    return tuple(
        KeyValue(
            key := key_text(kv.key[skip:]),
            read_value(key, kv.value),
            kv.create_revision,
            kv.mod_revision,
            kv.version,
            kv.lease,
        )
        for kv in kvs
    )


def events(messages: Iterable[Any], *, skip: int, first: int) -> list[Event]:
    """Return the events of revision `first` and later."""
    result = []
    for message in messages:
        kv = message.kv
        revision = kv.mod_revision
        if revision < first:
            continue
        prev = key_values((message.prev_kv,), skip)[0] if message.HasField("prev_kv") else None
        key = key_text(kv.key[skip:])
        if message.type == _DELETE:
            result.append(Event("delete", KeyValue(key, b"", 0, revision, 0), prev))
        else:
            result.append(
                Event(
                    "put",
                    KeyValue(
                        key,
                        read_value(key, kv.value),
                        kv.create_revision,
                        revision,
                        kv.version,
                        kv.lease,
                    ),
                    prev,
                )
            )
    return result


def responses(messages: Iterable[Any], *, skip: int, revision: int) -> tuple[RangeResult | None, ...]:
    """Return the responses of a transaction's operations."""
    result: list[RangeResult | None] = []
    for message in messages:
        if message.HasField("response_range"):
            found = message.response_range
            result.append(
                RangeResult(key_values(found.kvs, skip), revision, more=found.more, count=found.count)
            )
        else:
            result.append(None)
    return tuple(result)


def cannot_happen_twice(compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op]) -> bool:
    """Return whether sending the transaction again is safe when nobody knows if it happened.

    That is so if it only reads; or if its success branch changes a key that a compare pins to one write
    (revisions never come back, so that compare fails the second time) and its failure branch only reads.
    A compare for absence does not count: between the two, another could delete what the first created.
    """
    if not all(isinstance(op, Get) for op in failure):
        return False
    if all(isinstance(op, Get) for op in success):
        return True
    pinned = {
        c.key: c.target
        for c in compares
        if c.operator == "==" and c.number > 0 and c.target in ("mod", "create")
    }
    return any(
        (isinstance(op, Put) and pinned.get(op.key) == "mod") or (isinstance(op, Delete) and op.key in pinned)
        for op in success
    )


_DENIED: Final = "permission denied"


class Outcome(Enum):
    """What a failed call means for what it asked."""

    REFUSED = auto()
    """The server answered: it will not be done, and not the next time either."""
    NOT_DONE = auto()
    """It never reached a server that would do it: send it again."""
    UNKNOWN = auto()
    """It may have been done."""


_NEVER_SENT: Final = (
    "failed to connect to all addresses",
    "connections to all backends failing",
    "dns resolution failed",
    "empty address list",
    "etcdserver: too many requests",
)
_OLD_RIGHTS: Final = ("auth: revision in header is old", "revision of auth store is old")
"""Somebody changed a user or a role while the request was on its way; it was not done. The second is
what etcd says from 3.5.10 on."""
_UNCLEAR: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.ABORTED,
    }
)


def outcome(code: grpc.StatusCode, details: str) -> Outcome:
    """Return what a gRPC failure means. What is not known for certain is `UNKNOWN`."""
    lower = details.lower()
    if any(text in lower for text in _OLD_RIGHTS):  # before etcd 3.5.10 with the code UNKNOWN
        return Outcome.NOT_DONE
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED) and any(
        text in lower for text in _NEVER_SENT
    ):
        return Outcome.NOT_DONE
    if _DENIED in lower:  # etcd 3.5 sends this as UNKNOWN for maintenance
        return Outcome.REFUSED
    return Outcome.UNKNOWN if code in _UNCLEAR else Outcome.REFUSED


def refusal(code: grpc.StatusCode, details: str, *, what: str, revision: int = 0) -> HanseError:
    """Return our error for what etcd refused. `what` names the operation and key."""
    lower = details.lower()
    text = f"etcd refused to {what}: {details}"
    if _DENIED in lower:
        return PermissionDeniedError(text)
    match code:
        case grpc.StatusCode.OUT_OF_RANGE:
            return future(revision) if "future" in lower else compacted(revision)
        case grpc.StatusCode.INVALID_ARGUMENT if "duplicate key" in lower:
            return duplicate_key()
        case grpc.StatusCode.INVALID_ARGUMENT if "too large" in lower:
            return too_large()
        case grpc.StatusCode.INVALID_ARGUMENT if "too many operations" in lower:
            return InvalidArgumentError(f"{text}: split the transaction", reason="TOO_MANY_OPERATIONS")
        case grpc.StatusCode.RESOURCE_EXHAUSTED if "larger than max" in lower:
            return too_large()
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return ResourceExhaustedError(
                f"{text}: delete what is not needed, compact and defragment etcd, or raise its quota",
                reason=STORE_FULL,  # without a time to try again: kubectl would wait instead of saying so
            )
        case grpc.StatusCode.NOT_FOUND:
            reason = "LEASE_NOT_FOUND" if "lease" in lower else None
            return NotFoundError(text, reason=reason)
        case grpc.StatusCode.FAILED_PRECONDITION:
            return FailedPreconditionError(text)
        case grpc.StatusCode.PERMISSION_DENIED:
            return PermissionDeniedError(text)
        case grpc.StatusCode.UNAUTHENTICATED:
            return UnauthenticatedError(text)
        case _:
            cls = error_class(code)
            return InternalError(text) if cls is HanseError else cls(text)
