"""Errors as a Kubernetes `Status`, and back: the one place that knows both vocabularies.

`to_status` renders a `HanseError` for a Kubernetes client; `from_status` makes a `HanseError` from what an
API server answered. Pure functions. Next: `hanse.kube.server.errors` and `hanse.kube.client.client`, which
use them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hanse.documents import TOO_LARGE
from hanse.errors import (
    AlreadyExistsError,
    CompactedError,
    ConflictError,
    DeadlineError,
    FailedPreconditionError,
    HanseError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from hanse.kube.model.objects import Object, sequence


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that is wrong with an object. `reason` is Kubernetes' word, such as FieldValueInvalid."""

    reason: str
    message: str
    field: str = ""


class InvalidObjectError(InvalidArgumentError):
    """The object can be read but breaks rules: 422 Invalid, with a cause for each field."""

    default_reason = "INVALID_OBJECT"

    def __init__(self, *, kind: str, group: str, name: str, causes: Sequence[Cause]) -> None:
        errors = [f"{c.field}: {c.message}" if c.field else c.message for c in causes]
        listed = errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"
        qualified = f"{kind}.{group}" if group else kind
        super().__init__(
            f'{qualified} "{name}" is invalid: {listed}',
            metadata={"kind": kind, "group": group, "name": name},
        )
        self.causes = tuple(causes)


class AdmissionRefusalError(InvalidArgumentError):
    """What admission refuses as invalid, in the words of whoever refuses it: 422 Invalid, with causes.

    kubectl shows the causes and not the message, so there is at least one.
    """

    def __init__(
        self, message: str, *, reason: str, causes: Sequence[Cause], metadata: Mapping[str, str]
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.causes = tuple(causes)


class TooLargeVersionError(DeadlineError):
    """A resourceVersion that the store has not reached: 504 Timeout, in Kubernetes' words.

    By the cause client-go knows that it must list without a version: after the store was restored from a
    backup, say, which its informers would otherwise wait to catch up, and miss what happens until then.
    """

    def __init__(self, version: int, *, current: int) -> None:
        super().__init__(f"Timeout: Too large resource version: {version}, current: {current}", retry_after=1)
        self.causes = (Cause("ResourceVersionTooLarge", "Too large resource version"),)


class StatusConflictError(ConflictError):
    """A conflict with causes: the fields that other managers own."""

    def __init__(self, message: str, *, causes: Sequence[Cause], metadata: Mapping[str, str]) -> None:
        super().__init__(message, metadata=metadata)
        self.causes = tuple(causes)


# Reasons that give another HTTP status than the error's class does.
METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
NOT_ACCEPTABLE = "NOT_ACCEPTABLE"
UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
REQUEST_TOO_LARGE = "REQUEST_ENTITY_TOO_LARGE"
REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
BAD_OPTIONS = "BAD_OPTIONS"
BAD_PATCH_RESULT = "BAD_PATCH_RESULT"

_BY_REASON: dict[str, tuple[int, str]] = {
    METHOD_NOT_ALLOWED: (405, "MethodNotAllowed"),
    NOT_ACCEPTABLE: (406, "NotAcceptable"),
    UNSUPPORTED_MEDIA_TYPE: (415, "UnsupportedMediaType"),
    REQUEST_TOO_LARGE: (413, "RequestEntityTooLarge"),
    REQUEST_TIMEOUT: (408, "Timeout"),
    TOO_LARGE: (413, "RequestEntityTooLarge"),
    "REQUEST_TOO_LARGE": (413, "RequestEntityTooLarge"),
    "PATCH_TOO_LARGE": (413, "RequestEntityTooLarge"),
    "UNSUPPORTED_PATCH": (415, "UnsupportedMediaType"),
    BAD_OPTIONS: (422, "Invalid"),
    BAD_PATCH_RESULT: (422, "Invalid"),
    "PATCH_CONFLICT": (422, "Invalid"),
    "PATCH_TEST_FAILED": (422, "Invalid"),
}

_BY_CLASS: tuple[tuple[type[HanseError], int, str], ...] = (
    (InvalidObjectError, 422, "Invalid"),
    (AdmissionRefusalError, 422, "Invalid"),
    (InvalidArgumentError, 400, "BadRequest"),
    (NotFoundError, 404, "NotFound"),
    (AlreadyExistsError, 409, "AlreadyExists"),
    (ConflictError, 409, "Conflict"),
    (FailedPreconditionError, 409, "Conflict"),
    (UnauthenticatedError, 401, "Unauthorized"),
    (PermissionDeniedError, 403, "Forbidden"),
    (ResourceExhaustedError, 429, "TooManyRequests"),
    (CompactedError, 410, "Expired"),
    (DeadlineError, 504, "Timeout"),
    (UnavailableError, 503, "ServiceUnavailable"),
    (UnimplementedError, 405, "MethodNotAllowed"),
)


def http_status(error: HanseError) -> tuple[int, str]:
    """Return the HTTP status and Kubernetes' reason for an error; 500 InternalError if nothing fits."""
    if error.reason in _BY_REASON:
        return _BY_REASON[error.reason]
    for cls, code, reason in _BY_CLASS:
        if isinstance(error, cls):
            return code, reason
    return 500, "InternalError"


MAX_MESSAGE = 16 * 1024
"""Characters of a message in a Status: it may repeat what the client sent."""


def _cut(text: str, limit: int) -> str:
    """Return text that is not too long, and that can be sent: a header may have bytes that are no UTF-8."""
    short = text if len(text) <= limit else f"{text[: limit - 3]}..."
    return short.encode(errors="replace").decode()


def to_status(error: HanseError) -> tuple[int, Object]:
    """Return the HTTP status and the Status object for an error."""
    code, reason = http_status(error)
    details: dict[str, Any] = {
        name: _cut(error.metadata[name], 1024)
        for name in ("name", "group", "kind", "uid")
        if error.metadata.get(name)
    }
    causes = getattr(error, "causes", ())
    if causes:
        details["causes"] = [
            {
                "reason": c.reason,
                "message": _cut(c.message, MAX_MESSAGE),
                **({"field": c.field} if c.field else {}),
            }
            for c in causes
        ]
    if error.retry_after is not None:
        details["retryAfterSeconds"] = max(1, round(error.retry_after))
    status: Object = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": _cut(error.message, MAX_MESSAGE),
        "reason": reason,
        "code": code,
    }
    if details:
        status["details"] = details
    return code, status


def success(*, name: str, group: str, kind: str, uid: str) -> Object:
    """Return the Status that answers a delete that is done."""
    details = {"name": name, "group": group, "kind": kind, "uid": uid}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {k: v for k, v in details.items() if v},
    }


MAX_RETRY_AFTER = 24 * 3600
"""Seconds: a server that asks for more is asked again after this."""

_TO_CLASS: dict[str, type[HanseError]] = {
    "AlreadyExists": AlreadyExistsError,
    "Conflict": ConflictError,
    "Expired": CompactedError,
    "Gone": CompactedError,
    "Timeout": DeadlineError,
    "ServerTimeout": UnavailableError,
}

_BY_CODE: dict[int, type[HanseError]] = {
    400: InvalidArgumentError,
    401: UnauthenticatedError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: UnimplementedError,
    406: InvalidArgumentError,
    409: ConflictError,
    410: CompactedError,
    413: InvalidArgumentError,
    415: InvalidArgumentError,
    422: InvalidArgumentError,
    429: ResourceExhaustedError,
    500: InternalError,
    502: UnavailableError,
    503: UnavailableError,
    504: DeadlineError,
}


def from_status(
    code: int, status: Mapping[str, Any] | None, *, text: str = "", retry_after: float | None = None
) -> HanseError:
    """Return the error that an API server's answer means.

    `status` is the decoded Status, None if the body was none (then `text` is quoted). `metadata` of the
    result has Kubernetes' `reason`, the HTTP `code` and what the details name.
    """
    status = status or {}
    reason = str(status.get("reason") or "")
    details = status.get("details")
    details = details if isinstance(details, Mapping) else {}
    metadata = {"code": str(code), "kubernetesReason": reason}
    metadata |= {k: str(details[k]) for k in ("name", "group", "kind", "uid") if details.get(k)}
    message = str(status.get("message") or "") or f"the API server answered {code}: {text[:200]}"
    seconds = details.get("retryAfterSeconds")
    if retry_after is None and type(seconds) is int and seconds > 0:
        retry_after = float(min(seconds, MAX_RETRY_AFTER))
    causes = [
        Cause(str(c.get("reason", "")), str(c.get("message", "")), str(c.get("field", "")))
        for c in sequence(details, "causes")
        if isinstance(c, Mapping)
    ]
    if causes and reason == "Conflict":
        return StatusConflictError(message, causes=causes, metadata=metadata)
    cls = _TO_CLASS.get(reason) or _BY_CODE.get(code) or (UnavailableError if code >= 500 else HanseError)
    error = cls(message, metadata=metadata, retry_after=retry_after)
    if causes:
        error.causes = tuple(causes)  # type: ignore[attr-defined]
    return error
