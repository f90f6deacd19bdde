"""The answer of an API server, and the rule by which it counts.

Owns the rule that wrong is unknown: an answer counts only if it is, by content type, kind, apiVersion and
shape, the answer to what was asked. Anything else (a proxy's page with 200, `{}`, a list without items,
another kind, a 404 that does not name the very object) is no answer, and raises `WrongAnswerError`.
`verified` is called in one place, `hanse.kube.client.transport`, through which all requests pass.

Pure functions and values. Next: `hanse.kube.client.expect` for what can be expected.
"""

from __future__ import annotations

import email.utils
import enum
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from hanse.errors import UnavailableError
from hanse.kube.client.expect import Expected, excerpt
from hanse.kube.model.objects import Object
from hanse.numbers import whole_number

MAX_RETRY_AFTER: Final = 30.0
"""The longest pause, in seconds, that a server is granted."""

_WITHOUT_STATUS: Final = frozenset({401, 403, 404, 408, 429})
"""Client errors that something in front of an API server, or a filter of it, may answer without a Status.

None of them says that something is there, is gone or was done; 404 only does so with a Status (`Expected`).
"""


class WrongAnswerError(UnavailableError):
    """What came back is not the answer to what was asked: nothing is known."""

    default_reason = "WRONG_ANSWER"


class IdentityMismatchError(UnavailableError):
    """Another cluster answers at the address."""

    default_reason = "IDENTITY_MISMATCH"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was found to be what was expected, or the server's refusal.

    `document` is the decoded body: what was expected if `status` is below 300, else the Status, or {} where
    something answered that was no Status. `headers` are by lower-case name.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    document: Object = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether it is what was asked for."""
        return self.status < 300

    @property
    def message(self) -> str:
        """The server's own words, in one line."""
        said = str(self.document.get("message") or "") or self.body[:200].decode("utf-8", "replace")
        return " ".join(said.split()) or f"HTTP {self.status}"

    @property
    def reason(self) -> str:
        """Reason of the Status, such as Invalid; empty if there is none."""
        return str(self.document.get("reason") or "")

    def retry_after(self, *, now: float | None = None) -> float | None:
        """Return the seconds of Retry-After, which may be a number or a date; None without one.

        At most `MAX_RETRY_AFTER`: the server is asked again then, whatever it or what is before it said.
        """
        value = self.headers.get("retry-after", "")
        seconds = whole_number(value)
        if seconds is not None:
            return min(float(seconds), MAX_RETRY_AFTER)
        if value:
            try:
                when = email.utils.parsedate_to_datetime(value).timestamp()
            except ValueError:
                return None
            return min(max(0.0, when - (time.time() if now is None else now)), MAX_RETRY_AFTER)
        return None


def verified(
    expected: Expected, *, status: int, headers: Mapping[str, str], body: bytes, asked: str
) -> Answer:
    """Return the answer if it counts. `asked` says who was asked for what.

    A refusal counts if it is a Status with the code of the answer. Without one it counts, as a refusal that
    says nothing, if it is of those that may come without: `_WITHOUT_STATUS` and 500 and above. Raises
    WrongAnswerError.
    """
    if 200 <= status < 300:
        document = _decoded(expected, headers, body, asked=asked)
        fault = expected.fault(document)
        if fault:
            raise _wrong(asked, status, f"the answer {fault}")
        return Answer(status, headers, body, document if isinstance(document, dict) else {})
    refusal = _status_of(status, headers, body)
    if refusal is None and status < 500 and status not in _WITHOUT_STATUS:
        raise _wrong(asked, status, f"the answer is not a Status but {excerpt(body)}")
    return Answer(status, headers, body, refusal or {})


class Absence(enum.Enum):
    """What a refusal says does not exist."""

    NOTHING = "nothing"
    """It does not say so: a proxy's page and an API that is not served say nothing of an object."""
    OBJECT = "object"
    """The very object."""
    NAMESPACE = "namespace"
    """The namespace that it is in."""


def absence(expected: Expected, answer: Answer) -> Absence:
    """Return what the server itself says, by name, does not exist."""
    details = answer.document.get("details")
    if answer.status != 404 or answer.reason != "NotFound" or not isinstance(details, Mapping):
        return Absence.NOTHING
    if expected.names_namespace(details):
        return Absence.NAMESPACE
    return Absence.OBJECT if expected.names(details) else Absence.NOTHING


def _decoded(expected: Expected, headers: Mapping[str, str], body: bytes, *, asked: str) -> Any:
    media_type = _media_type(headers)
    if media_type != expected.media_type:
        said = media_type or "of no type"
        raise _wrong(asked, 200, f"the answer is {said}, not {expected.media_type}: {excerpt(body)}")
    if media_type != "application/json":
        return body
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _wrong(asked, 200, f"the answer is not whole JSON: {excerpt(body)}") from error


def _status_of(status: int, headers: Mapping[str, str], body: bytes) -> Object | None:
    """Return the Status of a refusal; None if the body is none that belongs to it."""
    if _media_type(headers) != "application/json":
        return None
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict) or found.get("kind") != "Status" or found.get("apiVersion") != "v1":
        return None
    if found.get("status") == "Success" or found.get("code", status) != status:
        return None
    return found


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _wrong(asked: str, status: int, fault: str) -> WrongAnswerError:
    return WrongAnswerError(f"{asked} did not get the answer of an API server (HTTP {status}): {fault}")
