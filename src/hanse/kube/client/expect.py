"""What the answer to a request must be before anything is believed of it.

Owns the rule that wrong is unknown: an answer of an API server counts only if it is, by content type, kind,
apiVersion and shape, the answer to what was asked. Anything else (a proxy's page with 200, `{}`, a list
without items, another kind, a 404 that does not name the very object) is no answer, and raises
`WrongAnswerError`. Each request says what it expects with one of the values below; `verified` is called in
one place, `hanse.kube.client.transport`, through which all requests pass.

Pure functions and values. Next: `hanse.kube.client.transport`, which asks, and `hanse.kube.client.client` for
the verbs.
"""

from __future__ import annotations

import email.utils
import enum
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson

from hanse.errors import UnavailableError
from hanse.kube.client.bounds import IDENTITY_CHARS
from hanse.kube.kinds.kubernetes import core, security
from hanse.kube.model.objects import Object
from hanse.numbers import whole_number

PARTIAL: Final = ("meta.k8s.io/v1", "PartialObjectMetadata")
"""apiVersion and kind of an object of which only the metadata was asked for."""

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


class Expected(Protocol):
    """What a request expects of a successful answer."""

    @property
    def media_type(self) -> str:
        """Media type of the answer."""
        ...

    def fault(self, document: Any) -> str:
        """Return what is wrong with the body, as the end of "the answer ..."; empty if nothing is."""
        ...

    def names(self, details: Mapping[str, Any]) -> bool:
        """Whether the details of a 404's Status are about what was asked for."""
        ...

    def names_namespace(self, details: Mapping[str, Any]) -> bool:
        """Whether they are about the namespace that it is in."""
        ...


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
        raise _wrong(asked, status, f"the answer is not a Status but {_excerpt(body)}")
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
        raise _wrong(asked, 200, f"the answer is {said}, not {expected.media_type}: {_excerpt(body)}")
    if media_type != "application/json":
        return body
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _wrong(asked, 200, f"the answer is not whole JSON: {_excerpt(body)}") from error


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


def _excerpt(body: bytes) -> str:
    return repr(body[:80].decode(errors="replace"))


# What can be expected.


@dataclass(frozen=True, slots=True)
class AnObject:
    """One object, with `uid` that very one. What is empty is not known and not checked.

    `partial`: its metadata will do.

    `resource` is the plural by which a Status names it. `stored` is off for what has no uid, such as the
    answer to a dry run.
    """

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    resource: str = ""
    uid: str = ""
    partial: bool = False
    stored: bool = True
    media_type: str = "application/json"

    def fault(self, document: Any) -> str:
        """Return what is wrong with it."""
        fault = wrong_type(document, self.api_version, self.kind, partial=self.partial) or wrong_metadata(
            document, namespace=self.namespace, name=self.name, stored=self.stored
        )
        if not fault and self.uid and document["metadata"].get("uid") != self.uid:
            return f"has uid {document['metadata'].get('uid')!r}, not {self.uid!r}"
        return fault

    def names(self, details: Mapping[str, Any]) -> bool:
        """Whether they name this very object."""
        kind, group = details.get("kind") or "", details.get("group") or ""
        if self.api_version and group not in ("", self.api_version.rpartition("/")[0]):
            return False
        return bool(self.name) and details.get("name") == self.name and kind in ("", self.resource, self.kind)

    def names_namespace(self, details: Mapping[str, Any]) -> bool:
        """Whether they name its namespace."""
        name = details.get("name")
        return (
            bool(self.namespace) and name == self.namespace and details.get("kind") == core.NAMESPACE.plural
        )


@dataclass(frozen=True, slots=True)
class ADeletion:
    """The answer to a DELETE of one object: the object if it waits for something, else a Status."""

    target: AnObject
    media_type: str = "application/json"

    def fault(self, document: Any) -> str:
        """Return what is wrong with it."""
        if not isinstance(document, dict):
            return "is not an object"
        if document.get("kind") == "Status" and self.target.kind != "Status":
            return self._status_fault(document)
        return self.target.fault(document)

    def names(self, details: Mapping[str, Any]) -> bool:
        """As of the object."""
        return self.target.names(details)

    def names_namespace(self, details: Mapping[str, Any]) -> bool:
        """As of the object."""
        return self.target.names_namespace(details)

    def _status_fault(self, document: Object) -> str:
        if document.get("apiVersion") != "v1" or document.get("status") != "Success":
            return "is a Status that does not say Success"
        details = document.get("details")
        details = details if isinstance(details, dict) else {}
        for name, wanted in (("name", self.target.name), ("uid", self.target.uid)):
            if wanted and details.get(name) not in (None, "", wanted):
                return f"is a Status about {name} {details.get(name)!r}, not {wanted!r}"
        return ""


class _Nameless:
    """An answer that is about no object: no Status says that it does not exist."""

    __slots__ = ()

    def names(self, details: Mapping[str, Any]) -> bool:
        """Never."""
        return False

    def names_namespace(self, details: Mapping[str, Any]) -> bool:
        """Never."""
        return False


@dataclass(frozen=True, slots=True)
class AList(_Nameless):
    """A page of a list; `kind` is that of its items, empty if it is not known.

    `partial`: the metadata of the items will do; `items` is null then where there are none. `watchable`: it
    must have a resourceVersion to watch from, and its items uids and versions.
    """

    api_version: str
    kind: str = ""
    namespace: str = ""
    partial: bool = False
    watchable: bool = True
    media_type: str = "application/json"

    def fault(self, document: Any) -> str:
        """Return what is wrong with it."""
        kind = f"{self.kind}List" if self.kind else ""
        fault = wrong_type(document, self.api_version, kind, partial=self.partial, suffix="List")
        if fault:
            return fault
        metadata, items = document.get("metadata"), document.get("items", ...)
        if not isinstance(metadata, dict) or not isinstance(metadata.get("continue") or "", str):
            return "is a list without metadata"
        version = metadata.get("resourceVersion")
        if self.watchable and not (isinstance(version, str) and version):
            return "is a list without a resourceVersion"
        if items is None and document["kind"] == f"{PARTIAL[1]}List":
            return ""  # so an API server writes an empty list of metadata
        if not isinstance(items, list):
            return "is a list without items"
        for item in items:
            fault = self._item_fault(item)
            if fault:
                return f"is a list with an item that {fault}"
        return ""

    def _item_fault(self, item: Any) -> str:
        if not isinstance(item, dict):
            return "is not an object"
        kind = item.get("kind")
        if self.kind and kind not in (None, self.kind, PARTIAL[1]):
            return f"is a {kind!r}"
        return wrong_metadata(item, namespace=self.namespace, stored=self.watchable)


@dataclass(frozen=True, slots=True)
class ADocument(_Nameless):
    """A document of the server about itself, such as a discovery document."""

    kinds: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    """Fields of which one at least must be a list, and not an empty one: no server serves nothing."""
    texts: tuple[str, ...] = ()
    """Fields that must be texts, and not empty ones."""
    group_version: str = ""
    """What an APIResourceList must be of."""
    media_type: str = "application/json"

    def fault(self, document: Any) -> str:
        """Return what is wrong with it."""
        if not isinstance(document, dict):
            return "is not an object"
        if self.kinds and document.get("kind") not in self.kinds:
            return f"is of kind {document.get('kind')!r}, not {' or '.join(self.kinds)}"
        if self.group_version and document.get("groupVersion") != self.group_version:
            return f"is about {document.get('groupVersion')!r}, not {self.group_version!r}"
        for name in self.texts:
            if not isinstance(document.get(name), str) or not document[name]:
                return f"has no {name}"
        if self.lists and not any(_filled(document.get(name)) for name in self.lists):
            return f"has no {' or '.join(self.lists)}"
        return ""


@dataclass(frozen=True, slots=True)
class AnAccessReview(_Nameless):
    """A SelfSubjectAccessReview with its answer; it is stored nowhere, so it has no name."""

    media_type: str = "application/json"

    def fault(self, document: Any) -> str:
        """Return what is wrong with it."""
        fault = wrong_type(document, "authorization.k8s.io/v1", security.SELF_SUBJECT_ACCESS_REVIEW.name)
        status = document.get("status") if not fault else None
        allowed = status.get("allowed") if isinstance(status, dict) else None
        return fault or ("" if isinstance(allowed, bool) else "does not say whether it is allowed")


@dataclass(frozen=True, slots=True)
class AText(_Nameless):
    """A word in plain text, as /readyz answers."""

    word: str
    media_type: str = "text/plain"

    def fault(self, document: Any) -> str:
        """Return what is wrong with it."""
        said = bytes(document).strip()
        return "" if said == self.word.encode() else f"is {_excerpt(said)}, not {self.word!r}"


VERSION: Final = ADocument(texts=("gitVersion",))
READY: Final = AText("ok")
DISCOVERY: Final = ADocument(("APIGroupDiscoveryList",), lists=("items",))
"""Aggregated discovery (apidiscovery.k8s.io)."""
GROUPS: Final = ADocument(
    ("APIGroupDiscoveryList", "APIGroupList", "APIVersions"), lists=("items", "groups", "versions")
)
"""Discovery of /api and /apis, in whichever form the server has."""
OPENAPI: Final = ADocument(texts=("openapi",))


def resource_list(api_version: str) -> ADocument:
    """Return what the discovery document of a group and version must be."""
    return ADocument(("APIResourceList",), lists=("resources",), group_version=api_version)


# Shapes.


def wrong_type(document: Any, api_version: str, kind: str, *, partial: bool = False, suffix: str = "") -> str:
    """Return how a document is not of the type that is expected; empty if it is."""
    if not isinstance(document, dict):
        return "is not an object"
    found = (document.get("apiVersion"), document.get("kind"))
    if partial and found == (PARTIAL[0], PARTIAL[1] + suffix):
        return ""
    if not all(isinstance(each, str) and each for each in found):
        return "has no apiVersion and kind"
    if found[1] == "Status" and kind != "Status":
        return "is a Status"
    if (api_version and found[0] != api_version) or (kind and found[1] != kind):
        return f"is a {found[1]!r} of {found[0]!r}, not {kind or 'an object'!r} of {api_version!r}"
    return ""


def wrong_metadata(document: Object, *, namespace: str = "", name: str = "", stored: bool = True) -> str:
    """Return how an object's metadata is not what is expected; empty if it is.

    Labels and the like are checked by form, since it is by them that objects are told to be ours.
    """
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        return "has no metadata"
    found = metadata.get("name")
    if not isinstance(found, str) or not found:
        return "has no name"
    if name and found != name:
        return f"is {found!r}, not {name!r}"
    for field_name, longest in IDENTITY_CHARS.items():
        value = metadata.get(field_name)
        if isinstance(value, str) and len(value) > longest:
            return f"has a {field_name} of {len(value)} characters, more than {longest}"
    if (metadata.get("namespace") or "") != namespace and (namespace or name):
        return f"is in namespace {metadata.get('namespace')!r}, not {namespace!r}"
    for field_name in ("uid", "resourceVersion") if stored else ():
        value = metadata.get(field_name)
        if not isinstance(value, str) or not value:
            return f"has no {field_name}"
    return _wrong_marks(metadata)


def _wrong_marks(metadata: Object) -> str:
    for field_name in ("labels", "annotations"):
        found = metadata.get(field_name)
        if found is not None and not (
            isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
        ):
            return f"has {field_name} that are not texts by name"
    owners = metadata.get("ownerReferences")
    if owners is not None and not (isinstance(owners, list) and all(isinstance(o, dict) for o in owners)):
        return "has ownerReferences that are not a list of objects"
    finalizers = metadata.get("finalizers")
    if finalizers is not None and not (
        isinstance(finalizers, list) and all(isinstance(f, str) for f in finalizers)
    ):
        return "has finalizers that are not a list of texts"
    return ""


def _filled(value: Any) -> bool:
    return isinstance(value, list) and bool(value)
