"""How much a member may say: the bound of each kind of answer, in one table, and the error for more.

A member is a server of somebody else: what it sends is bounded while it is read, whatever was asked. The
bounds are those of Kubernetes with room to spare, so that no API server that works as it should meets them;
one that does is misbehaving, which is a state of that cluster and of no other. Everything that is decoded at
once is at most 4 MiB, and not too dense, since decoding holds the event loop.

Pure. Next: `hanse.kube.client.http.connection` and `hanse.kube.client.transport`, which keep to them;
`hanse.kube.client.pace` for events per second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hanse.documents import structure
from hanse.errors import UnavailableError
from hanse.kube.kinds.kubernetes import core

_KIB: Final = 1024
_MIB: Final = 1024 * 1024


class MisbehavingMemberError(UnavailableError):
    """A member sent more than any cluster sends. What it sent counts as no answer.

    The message says what it was, how much came, and the bound.
    """

    default_reason = "MISBEHAVING_MEMBER"


class AnswerTooLongError(MisbehavingMemberError):
    """One answer is over its bound; of a list, smaller pages may not be."""


@dataclass(frozen=True, slots=True)
class Bound:
    """How many bytes one thing may have, unpacked. `what` names it in a message, as "an object"."""

    what: str
    bytes: int

    def exceeded(self, server: str) -> AnswerTooLongError:
        """Return the error for more."""
        return AnswerTooLongError(
            f"{server} sent more than {self.bytes} bytes as {self.what}: no cluster does; look at what "
            "answers there",
            metadata={"bound": str(self.bytes)},
        )

    def too_dense(self, server: str) -> AnswerTooLongError:
        """Return the error for one that `is_dense`."""
        return AnswerTooLongError(
            f"{server} sent too many keys, maps and lists as {self.what}: a key counts {_KEY}, a map or "
            f"list {_BRACKET}, and {MAX_WEIGHT} is more than any cluster sends; look at what answers there",
            metadata={"bound": str(MAX_WEIGHT)},
        )


WORDS: Final = Bound("what an API server says of itself", 256 * _KIB)
"""/readyz, /livez and /version: a few hundred bytes, some KiB when every check is listed."""

OBJECT: Final = Bound("an object", 4 * _MIB)
"""etcd takes 1.5 MiB in one request, and kube-apiserver 3 MiB as a body; the rest is for JSON being longer
than the protobuf that is stored. Also for a Status, which may quote an object."""

PAGE: Final = Bound("a page of a list", 4 * _MIB)
"""500 objects' metadata have some 1.5 MiB with their managed fields. A page of large objects, or a dense one,
is asked for again with fewer of them, down to one, which an object's bound holds."""

DISCOVERY: Final = Bound("a discovery document", 4 * _MIB)
"""A plain cluster has 60 KiB of it, one with 1,000 custom kinds some 500."""

SCHEMA: Final = Bound("an OpenAPI document", 16 * _MIB)
"""kube-apiserver's largest group has 1 MiB; the schemas of custom kinds are up to 1.5 MiB each."""

EVENT: Final = Bound("an event of a watch", 4 * _MIB + 4 * _KIB)
"""An object and its wrapping."""

MAX_WEIGHT: Final = 2_000_000
"""What the keys, maps and lists of one answer may count together; decoded they hold the event loop for 50 ms.
4 MiB could take 120 ms. An object of 1.5 MiB, as etcd takes it, counts up to 1,400,000."""

_KEY: Final = 8
_BRACKET: Final = 5
"""In 25 ns: a key that was not met before takes orjson up to 200 ns, an empty map or list 60 to 90 ns."""

_LIGHT_BYTES: Final = 1536 * _KIB
"""An answer of no more bytes is decoded without a look at how dense it is."""

HEAD_BYTES: Final = 64 * _KIB
"""Status line and headers of an answer; Go's servers write up to 1 MiB, kube-apiserver some hundred bytes."""

FRAMING_PER_BYTE: Final = 8
"""Chunk sizes and trailers, by byte of the body that they carry: a chunk of one byte has 5 more."""

LIST_PAGES: Final = 20_000
"""Pages of one list: 100,000 objects if all of them are so large that a page has five."""

LIST_ITEMS: Final = 100_000
"""Objects of one list. Kubernetes is built for 150,000 Pods in a cluster, and lists of ours are of one kind
and what carries our label; ten times as many as the objects that a federation is measured with."""

LIST_BYTES: Final = 512 * _MIB
"""All pages of one list together, where each is let go before the next: 5 KiB for each of 100,000 objects."""

KEPT_LIST_BYTES: Final = 32 * _MIB
"""All pages of one list together, where all are kept: decoded they take several times as much."""

NODES: Final = 20_000
"""Nodes of a cluster: four times as many as Kubernetes is built for."""

CATALOGUE_RESOURCES: Final = 5_000
"""Resources that a cluster serves, by version. A plain cluster has 100; Kubernetes is built for 500 custom
kinds."""

CATALOGUE_BYTES: Final = _MIB
"""A catalogue as it is stored, in one request to etcd, which takes 1.5 MiB."""

NAME_CHARS: Final = 253
"""Longest name of anything: a DNS subdomain (RFC 1123)."""

IDENTITY_CHARS: Final = {"namespace": NAME_CHARS, "uid": 128, "resourceVersion": 128}
"""Longest texts in the metadata of an object by which it is told apart: they are kept for as long as it is
followed. A uid has 36, a version some 10."""

FOLLOWED_NAME_CHARS: Final = 512
"""Longest name of an object that is followed. A few kinds have names that Kubernetes does not bound, and such
an object may be there; it is none of ours."""

FOLLOWED_OBJECTS: Final = 200_000
"""Objects of all kinds together that are followed in one member: twice as many as one list may have."""


def may_be_dense(body: bytes) -> bool:
    """Return whether `is_dense` must be asked, which takes some 20 ms for each MiB and is for a thread."""
    return len(body) > _LIGHT_BYTES


def is_dense(body: bytes) -> bool:
    """Return whether an answer has more keys, maps and lists than may be decoded at once."""
    return any(_KEY * found.colons + _BRACKET * found.brackets > MAX_WEIGHT for found in structure(body))


def answer_bound(method: str, path: str) -> Bound:
    """Return the bound of the answer to a request. `path` is the URL's, its query may be there."""
    segments = path.partition("?")[0].strip("/").split("/")
    root = segments[0]
    if root == "openapi":
        return SCHEMA
    if root not in ("api", "apis"):
        return WORDS
    rest = segments[2:] if root == "api" else segments[3:]
    if not rest:
        return DISCOVERY
    if rest[0] == core.NAMESPACE.plural and len(rest) > 2:
        rest = rest[2:]
    return PAGE if len(rest) == 1 and method in ("GET", "DELETE") else OBJECT


class ListBudget:
    """What one list may still bring; `page` takes in each page."""

    def __init__(self, what: str, bytes_in_all: int = LIST_BYTES) -> None:
        """Bound the list that `what` names in messages, as "the list of pods of https://..."."""
        self._what = what
        self._most = bytes_in_all
        self._seen: set[tuple[str, str]] = set()
        self._tokens: set[int] = set()
        self._pages = self._items = 0
        self._bytes = 0

    def received(self, size: int) -> None:
        """Take in an answer of so many bytes. Raises MisbehavingMemberError."""
        self._bytes += size
        self._check(self._bytes, self._most, "bytes")

    def page(self, items: Sequence[Mapping[str, object]], token: str) -> None:
        """Take in a page and the token of the next one. Raises MisbehavingMemberError.

        A list has each object once, and each token leads on: else it has no end.
        """
        self._pages += 1
        self._check(self._pages, LIST_PAGES, "pages")
        self._items += len(items)
        self._check(self._items, LIST_ITEMS, "objects")
        for item in items:
            metadata = item.get("metadata")
            if not isinstance(metadata, dict):
                continue
            identity = (str(metadata.get("namespace") or ""), str(metadata.get("name") or ""))
            if not identity[1]:
                continue
            if identity in self._seen:
                raise MisbehavingMemberError(f"{self._what} has {identity[1][:NAME_CHARS]!r} twice")
            self._seen.add(identity)
        if token and hash(token) in self._tokens:  # a token may be long
            raise MisbehavingMemberError(f"{self._what} has no end: a page leads to one before it")
        self._tokens.add(hash(token))

    def _check(self, found: int, bound: int, unit: str) -> None:
        if found > bound:
            raise MisbehavingMemberError(
                f"{self._what} has more than {bound} {unit}: no cluster's has",
                metadata={"bound": str(bound)},
            )
