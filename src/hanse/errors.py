"""The one error type that crosses every hop of Hanse.

Everything that Hanse raises on purpose is a `HanseError`: it has a gRPC status code, a stable
`reason` (AIP-193, `ErrorInfo.reason`) and metadata that a program can act on; `str(error)` is the
sentence for a person. Errors are values: nothing here does I/O or knows about a transport. They are
rendered only at the edge: `hanse.rpc` turns them into `google.rpc.Status` and back, and the apiserver
turns that into a Kubernetes `Status`.

Next: `hanse.rpc` for errors on the wire; `hanse.store` for who raises most of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import grpc

DOMAIN = "hanse.dev"
"""`ErrorInfo.domain` of every Hanse error."""

OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
"""Reason of an `UnavailableError` or `DeadlineError` for a write that may or may not have happened."""


def shown(value: object, *, limit: int = 80) -> str:
    """Return a value for a message: its repr, cut where it is long."""
    text = repr(value[: limit + 1]) if isinstance(value, str | bytes) else repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


FEDERATION_LOST = "FEDERATION_LOST"
"""Reason of a `FailedPreconditionError` for an etcd that has no federation where there was one."""

FEDERATION_DIFFERS = "FEDERATION_DIFFERS"
"""Reason of a `FailedPreconditionError` for an etcd that has another federation than it had."""

STORE_FULL = "STORE_FULL"
"""Reason of a `ResourceExhaustedError` for a write that does not fit into etcd's quota."""


class HanseError(Exception):
    """Base of all errors of Hanse.

    `code` is the gRPC status code of the class. `reason` is UPPER_SNAKE_CASE and stable across
    releases. `metadata` holds the names that the message speaks of. `retry_after` is in seconds, or
    None if the error says nothing about when to try again.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    default_reason: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata: dict[str, str] = dict(metadata or {})
        self.retry_after = retry_after

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, reason={self.reason!r})"


class InvalidArgumentError(HanseError):
    """The request is wrong whatever the state of the world is; sending it again does not help."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    default_reason = "INVALID_ARGUMENT"


class ConfigError(InvalidArgumentError):
    """A setting, flag or configuration file is wrong; the process cannot start with it."""

    default_reason = "CONFIG_INVALID"


class NotFoundError(HanseError):
    """What the request names does not exist."""

    code = grpc.StatusCode.NOT_FOUND
    default_reason = "NOT_FOUND"


class AlreadyExistsError(HanseError):
    """What the request creates exists already."""

    code = grpc.StatusCode.ALREADY_EXISTS
    default_reason = "ALREADY_EXISTS"


class ConflictError(HanseError):
    """An optimistic lock was lost: what the request was based on has changed. Read again, then retry."""

    code = grpc.StatusCode.ABORTED
    default_reason = "CONFLICT"


class FailedPreconditionError(HanseError):
    """The world is not in the state that the request needs; somebody must change that first."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    default_reason = "FAILED_PRECONDITION"


class UnauthenticatedError(HanseError):
    """The caller did not prove who it is."""

    code = grpc.StatusCode.UNAUTHENTICATED
    default_reason = "UNAUTHENTICATED"


class PermissionDeniedError(HanseError):
    """The caller is known and may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED
    default_reason = "PERMISSION_DENIED"


class UnavailableError(HanseError):
    """A peer cannot be reached now. With reason `OUTCOME_UNKNOWN` the write may have happened."""

    code = grpc.StatusCode.UNAVAILABLE
    default_reason = "UNAVAILABLE"


class DeadlineError(HanseError):
    """The time that the caller gave has passed."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    default_reason = "DEADLINE_EXCEEDED"


class ResourceExhaustedError(HanseError):
    """A quota, a rate or the space is used up; `retry_after` says when to try again if that is known."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    default_reason = "RESOURCE_EXHAUSTED"


class CompactedError(HanseError):
    """The revision that was asked for has been compacted away (HTTP: 410 Gone, reason Expired).

    `compact_revision` is where the store was compacted, 0 if unknown: a read needs a revision of at
    least that, a watch a start revision above it. List again and watch from there.
    """

    code = grpc.StatusCode.OUT_OF_RANGE
    default_reason = "COMPACTED"

    def __init__(
        self,
        message: str,
        *,
        compact_revision: int = 0,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        metadata = {"compactRevision": str(compact_revision), **(metadata or {})}
        super().__init__(message, reason=reason, metadata=metadata, retry_after=retry_after)
        self.compact_revision = int(self.metadata["compactRevision"])


class FutureRevisionError(CompactedError):
    """The revision to watch from does not exist yet. A client does what it does after a compaction.

    So it is one: list again and watch from there. It happens after a backup was restored.
    """

    default_reason = "FUTURE_REVISION"

    def __init__(self, revision: int, *, current: int) -> None:
        super().__init__(
            f"there is no revision {revision} yet, the newest is {current}: list again and watch from there",
            metadata={"revision": str(revision), "current": str(current)},
        )


class UnimplementedError(HanseError):
    """This server does not offer the operation."""

    code = grpc.StatusCode.UNIMPLEMENTED
    default_reason = "UNIMPLEMENTED"


class InternalError(HanseError):
    """A defect of Hanse itself. It should be reported."""

    code = grpc.StatusCode.INTERNAL
    default_reason = "INTERNAL"


class CancelledByPeerError(HanseError):
    """The other side cancelled the call. Not `asyncio.CancelledError`: this task goes on."""

    code = grpc.StatusCode.CANCELLED
    default_reason = "CANCELLED_BY_PEER"


class DataLossError(HanseError):
    """Stored data cannot be read back: a corrupt value, or a key that opens nothing."""

    code = grpc.StatusCode.DATA_LOSS
    default_reason = "DATA_LOSS"


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Return the exceptions that a group holds, however deep; an exception that is none is its own leaf."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error


def error_class(code: grpc.StatusCode) -> type[HanseError]:
    """Return the class for a gRPC status code; `HanseError` itself for a code that Hanse never sends."""
    return _BY_CODE.get(code, HanseError)


_BY_CODE: Mapping[grpc.StatusCode, type[HanseError]] = {
    cls.code: cls
    for cls in (
        InvalidArgumentError,
        NotFoundError,
        AlreadyExistsError,
        ConflictError,
        FailedPreconditionError,
        UnauthenticatedError,
        PermissionDeniedError,
        UnavailableError,
        DeadlineError,
        ResourceExhaustedError,
        CompactedError,
        UnimplementedError,
        InternalError,
        CancelledByPeerError,
        DataLossError,
    )
}
