"""What can be expected of the answer to a request.

Owns the values by which each request says what it expects, and the shapes that they check: an object of a
kind, name and namespace, a list of that kind, the deletion of that object, a document, a word.

Pure functions and values. Next: `hanse.kube.client.answer`, which believes nothing else, and
`hanse.kube.client.requests`, which says what each request expects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from hanse.kube.client.bounds import IDENTITY_CHARS
from hanse.kube.kinds.kubernetes import core, security
from hanse.kube.model.objects import Object
from hanse.kube.model.times import parse_time

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,65536}")
"""A bearer token (RFC 6750)."""
PARTIAL: Final = ("meta.k8s.io/v1", "PartialObjectMetadata")
"""apiVersion and kind of an object of which only the metadata was asked for."""


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
        """Return whether the details of a 404's Status are about what was asked for."""
        ...

    def names_namespace(self, details: Mapping[str, Any]) -> bool:
        """Return whether they are about the namespace that it is in."""
        ...


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
        """Return whether they name this very object."""
        kind, group = details.get("kind") or "", details.get("group") or ""
        if self.api_version and group not in ("", self.api_version.rpartition("/")[0]):
            return False
        return bool(self.name) and details.get("name") == self.name and kind in ("", self.resource, self.kind)

    def names_namespace(self, details: Mapping[str, Any]) -> bool:
        """Return whether they name its namespace."""
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
class ATokenRequest(_Nameless):
    """A TokenRequest with the token of the ServiceAccount `name`; it is stored nowhere."""

    name: str
    namespace: str
    media_type: str = "application/json"

    def fault(self, document: Any) -> str:
        """Return what is wrong with it."""
        if fault := wrong_type(document, "authentication.k8s.io/v1", "TokenRequest"):
            return fault
        metadata, status = document.get("metadata"), document.get("status")
        for field_name, wanted in (("name", self.name), ("namespace", self.namespace)):
            found = metadata.get(field_name) if isinstance(metadata, dict) else None
            if found not in (None, "", wanted):
                return f"is for {field_name} {found!r}, not {wanted!r}"
        token = status.get("token") if isinstance(status, dict) else None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            return "has no token"
        if parse_time(status.get("expirationTimestamp")) is None:
            return "does not say when the token ends"
        return ""


@dataclass(frozen=True, slots=True)
class AText(_Nameless):
    """A word in plain text, as /readyz answers."""

    word: str
    media_type: str = "text/plain"

    def fault(self, document: Any) -> str:
        """Return what is wrong with it."""
        said = bytes(document).strip()
        return "" if said == self.word.encode() else f"is {excerpt(said)}, not {self.word!r}"


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


def excerpt(body: bytes) -> str:
    """Return the beginning of a body, for messages."""
    return repr(body[:80].decode(errors="replace"))
