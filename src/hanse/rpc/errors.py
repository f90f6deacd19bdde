"""Errors on the wire: `HanseError` to `google.rpc.Status` and back.

Owns the mapping, both ways. The status carries `ErrorInfo` (reason, domain, metadata; AIP-193) and, if
the error says when to try again, `RetryInfo`. Errors of peers that are not Hanse's keep their code and
message and get the reason of their code.

Concurrency: pure functions.

Next: `hanse.rpc.interceptor` (server) and `hanse.rpc.channel` (client), which call them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from hanse.errors import (
    DOMAIN,
    CompactedError,
    DeadlineError,
    HanseError,
    InternalError,
    UnimplementedError,
    error_class,
)
from hanse.numbers import whole_number

DETAILS_KEY = "grpc-status-details-bin"
_MESSAGE_LIMIT = 1024  # the whole status must fit into HTTP/2 trailers, 8 KiB by default
_VALUE_LIMIT = 256
_METADATA_LIMIT = 16


def to_status(error: HanseError) -> status_pb2.Status:
    """Return the status that carries `error`. Long messages and metadata are cut to fit a trailer."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    for key, value in list(error.metadata.items())[:_METADATA_LIMIT]:
        info.metadata[key] = _cut(value, _VALUE_LIMIT)
    status = status_pb2.Status(code=error.code.value[0], message=_cut(error.message, _MESSAGE_LIMIT))
    status.details.append(_pack(info))
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after * 1e9))
        status.details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status


def from_status(status: status_pb2.Status) -> HanseError:
    """Return the error that a status carries."""
    reason: str | None = None
    metadata: dict[str, str] = {}
    retry_after: float | None = None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
            reason, metadata = info.reason or None, dict(info.metadata)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry_after = (
                error_details_pb2.RetryInfo.FromString(detail.value).retry_delay.ToNanoseconds() / 1e9
            )
    return make_error(
        _CODES.get(status.code, grpc.StatusCode.UNKNOWN),
        status.message,
        reason=reason,
        metadata=metadata,
        retry_after=retry_after,
    )


def from_rpc_error(error: grpc.RpcError) -> HanseError:
    """Return the HanseError for an error that a gRPC call raised.

    `hanse.rpc.channel.RpcChannel` raises HanseError by itself; this is for other channels.
    """
    if not isinstance(error, grpc.aio.AioRpcError):
        return InternalError(f"unexpected RPC error: {error}")
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
            except ValueError:
                break
            if status.code == error.code().value[0]:
                return from_status(status)
    return make_error(error.code(), error.details() or error.code().name)


def from_exception(error: BaseException) -> HanseError:
    """Return the HanseError that a caller may see for anything that a handler raised.

    What Hanse did not raise on purpose becomes an InternalError that says nothing about its cause.
    """
    if isinstance(error, HanseError):
        return error
    if isinstance(error, grpc.RpcError):
        return from_rpc_error(error)
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return DeadlineError("the operation took too long; try again")
    if isinstance(error, NotImplementedError):  # what generated servicers raise for methods left out
        return UnimplementedError("this server does not offer the method")
    return InternalError("an internal error occurred; the log of the service has the details")


def make_error(
    code: grpc.StatusCode,
    message: str,
    *,
    reason: str | None = None,
    metadata: dict[str, str] | None = None,
    retry_after: float | None = None,
) -> HanseError:
    """Return the error of the class that belongs to `code`."""
    kind = error_class(code)
    metadata = metadata or {}
    if issubclass(kind, CompactedError):
        text = metadata.get("compactRevision", "0")
        return kind(
            message,
            compact_revision=whole_number(text) or 0,
            reason=reason,
            metadata={key: value for key, value in metadata.items() if key != "compactRevision"},
            retry_after=retry_after,
        )
    return kind(message, reason=reason, metadata=metadata, retry_after=retry_after)


def trailers(
    status: status_pb2.Status, existing: Iterable[tuple[str, str | bytes]] = ()
) -> tuple[tuple[str, str | bytes], ...]:
    """Return trailing metadata with the whole status in it."""
    return (*existing, (DETAILS_KEY, status.SerializeToString()))


def _pack(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


_CODES = {code.value[0]: code for code in grpc.StatusCode}
