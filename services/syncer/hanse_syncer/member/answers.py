"""What an answer of a member's API server means for one object.

Owns the reading of status codes and Status objects of answers that were found to count
(`hanse.kube.client.expect`). It is strict with 404: only an API server that names the very object has said
that it is gone; a proxy's page, an API that is not served and a missing namespace are something else. Pure
functions.

Next: `hanse_syncer.member.member`, which asks, and `hanse_syncer.act.reconciler`, which acts on the verdicts.
"""

from __future__ import annotations

import email.utils
import enum
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from hanse.kube.client import expect
from hanse.kube.model.objects import Object, mapping, sequence
from hanse.numbers import whole_number

MAX_RETRY_AFTER: Final = 30.0
"""The longest pause, in seconds, that a member is granted."""


class Verdict(enum.Enum):
    """What a member said."""

    DONE = "done"
    ABSENT = "absent"
    """The API server knows of no such object."""
    CHANGED = "changed"
    """A precondition does not hold: another object is there, or none, or a newer version."""
    NO_NAMESPACE = "no-namespace"
    NAMESPACE_TERMINATING = "namespace-terminating"
    NO_API = "no-api"
    """The resource is not served, or something that is not an API server answered."""
    THROTTLED = "throttled"
    REFUSED = "refused"
    """It will say the same again until somebody changes something."""
    BROKEN = "broken"
    """The member's own trouble; it may pass."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer that counts. `seconds` is how long it took; the rest is as in `expect.Answer`."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    document: Object = field(repr=False)
    seconds: float = 0.0

    @classmethod
    def of(cls, answer: expect.Answer, *, seconds: float) -> Answer:
        """Return an answer with the time that it took."""
        return cls(answer.status, answer.headers, answer.body, answer.document, seconds)

    @property
    def ok(self) -> bool:
        """Whether it is what was asked for."""
        return self.status < 300

    def json(self) -> Object:
        """Return what was asked for or the Status of the refusal; {} for a refusal without one."""
        return self.document

    @property
    def message(self) -> str:
        """The member's own words, in one line."""
        said = str(self.document.get("message") or "") or self.body[:200].decode("utf-8", "replace")
        return " ".join(said.split()) or f"HTTP {self.status}"

    @property
    def reason(self) -> str:
        """Reason of the Status, such as Invalid; empty if there is none."""
        return str(self.document.get("reason") or "")

    def retry_after(self, *, now: float | None = None) -> float | None:
        """Return the seconds of Retry-After, which may be a number or a date; None without one.

        At most `MAX_RETRY_AFTER`: the member is asked again then, whatever it or what is before it said.
        """
        value = next((v for k, v in self.headers.items() if k.lower() == "retry-after"), "")
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


def read(answer: Answer, asked: expect.AnObject) -> Verdict:
    """Return what `answer` says about the object that was asked for."""
    status = answer.status
    if 200 <= status < 300:
        return Verdict.DONE
    if status == 404:
        return _not_found(answer.document, asked)
    if status == 409:
        return Verdict.CHANGED
    if status == 429:
        return Verdict.THROTTLED
    if not answer.document:
        return Verdict.BROKEN  # whatever is in front of the API server: it has not said anything itself
    if status == 403 and "NamespaceTerminating" in _causes(answer.document, "reason"):
        return Verdict.NAMESPACE_TERMINATING
    if status == 422 and "metadata.uid" in _causes(answer.document, "field"):
        return Verdict.CHANGED
    if status >= 500 or status == 408:
        return Verdict.BROKEN
    return Verdict.REFUSED


def _not_found(status: Object, asked: expect.AnObject) -> Verdict:
    if status.get("reason") != "NotFound":
        return Verdict.NO_API
    details = mapping(status, "details")
    if asked.names_namespace(details):
        return Verdict.NO_NAMESPACE
    return Verdict.ABSENT if asked.names(details) else Verdict.NO_API


def _causes(status: Object, what: str) -> set[str]:
    causes = sequence(status, "details", "causes")
    return {str(cause.get(what)) for cause in causes if isinstance(cause, Mapping)}
