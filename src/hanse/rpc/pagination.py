"""Pages of lists (AIP-158): opaque tokens that hold a revision and the last key.

Owns the tokens, and `list_page`, which reads one page of a prefix from a store. All pages of one list
are read at the revision of the first, so nothing is listed twice or missed. A page has as many bytes as fit
into one answer, and one item at least: no item is so large that the others cannot be listed. A token belongs
to one query: `scope` (anything that says what is listed: prefix, filter, order) must be the same on every
page.

Concurrency: pure functions, and one read of the store.

Next: `hanse.rpc.watch`, which continues where a list ended.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import orjson
from google.protobuf.message import Message

from hanse.errors import InvalidArgumentError
from hanse.numbers import MAX_WHOLE

if TYPE_CHECKING:
    from hanse.store import KeyValue, Store

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
MAX_PAGE_BYTES = 8 * 1024 * 1024
"""Bytes of the items of one page: half of what an RPC's message may have."""

T = TypeVar("T")
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class PageToken:
    """Where the next page starts: after `last_key`, at `revision`."""

    revision: int
    last_key: str


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page. `next_page_token` is "" on the last one. `revision` is that of the whole list."""

    items: tuple[T, ...]
    next_page_token: str
    revision: int


def page_size(requested: int, *, default: int = DEFAULT_PAGE_SIZE, maximum: int = MAX_PAGE_SIZE) -> int:
    """Return how many items to give: 0 means the default, more than the maximum means the maximum.

    Raises InvalidArgumentError for a negative size.
    """
    if requested < 0:
        raise InvalidArgumentError(
            f"page_size is {requested}: it must be 0 or more", metadata={"field": "page_size"}
        )
    return min(requested or default, maximum)


def encode_page_token(token: PageToken, *, scope: str) -> str:
    """Return the opaque form of `token` for the query `scope`."""
    body = orjson.dumps([1, token.revision, token.last_key, _digest(scope)])
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


def decode_page_token(text: str, *, scope: str) -> PageToken | None:
    """Return the token in `text`; None if it is empty, which asks for the first page.

    Raises InvalidArgumentError if it is not a token, or is one of another query.
    """
    if not text:
        return None
    try:
        body = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        version, revision, last_key, digest = body
    except (binascii.Error, ValueError, TypeError) as error:
        raise _invalid("it is malformed") from error
    if (
        version != 1
        or type(revision) is not int
        or not 0 <= revision <= MAX_WHOLE
        or not isinstance(last_key, str)
    ):
        raise _invalid("it is malformed")
    if digest != _digest(scope):
        raise _invalid("it belongs to a list with other arguments")
    return PageToken(revision=revision, last_key=last_key)


async def list_page(
    store: Store, prefix: str, *, size: int = 0, token: str = "", scope: str = ""
) -> Page[KeyValue]:
    """Read one page of the keys under `prefix`.

    Raises InvalidArgumentError for a bad size or token, CompactedError if the list took so long that its
    revision is gone.
    """
    scope = f"{prefix}\0{scope}"
    limit = page_size(size)
    start = decode_page_token(token, scope=scope)
    result = await store.range(
        prefix,
        start_after=start.last_key if start else None,
        limit=limit,
        revision=start.revision if start else 0,
    )
    revision = start.revision if start else result.revision
    items = fitting(result.items, lambda kv: len(kv.value))
    following = ""
    if items and (result.more or len(items) < len(result.items)):
        following = encode_page_token(PageToken(revision=revision, last_key=items[-1].key), scope=scope)
    return Page(items=tuple(items), next_page_token=following, revision=revision)


def fitting(items: Iterable[T], size_of: Callable[[T], int]) -> list[T]:
    """Return the first items that fit into one page, one at least if there is any."""
    taken: list[T] = []
    total = 0
    for item in items:
        total += size_of(item)
        if taken and total > MAX_PAGE_BYTES:
            break
        taken.append(item)
    return taken


def slice_page(
    items: Sequence[tuple[str, T]], *, revision: int, size: int = 0, token: str = "", scope: str = ""
) -> Page[T]:
    """Return one page of `items`, (key, value) sorted by key, that are all in memory at `revision`.

    Later pages show the items as they are then: an item is never given twice, but what was added before
    the last key is not seen. The page carries the revision of the first page, to watch from.
    """
    limit = page_size(size)
    start = decode_page_token(token, scope=scope)
    first = bisect.bisect_right(items, start.last_key, key=lambda item: item[0]) if start else 0
    taken = items[first : first + limit]
    shown = start.revision if start else revision
    following = ""
    if first + limit < len(items):
        following = encode_page_token(PageToken(revision=shown, last_key=taken[-1][0]), scope=scope)
    return Page(items=tuple(value for _, value in taken), next_page_token=following, revision=shown)


def message_page(
    items: Sequence[tuple[str, T]],
    message_of: Callable[[T], M],
    *,
    revision: int,
    size: int = 0,
    token: str = "",
    scope: str = "",
) -> Page[M]:
    """Return one page of the messages that are made of `items`, as `slice_page` does."""
    limit = page_size(size)
    start = decode_page_token(token, scope=scope)
    first = bisect.bisect_right(items, start.last_key, key=lambda item: item[0]) if start else 0
    made = ((key, message_of(item)) for key, item in items[first : first + limit])
    taken = fitting(made, lambda pair: pair[1].ByteSize())
    shown = start.revision if start else revision
    following = ""
    if taken and first + len(taken) < len(items):
        following = encode_page_token(PageToken(revision=shown, last_key=taken[-1][0]), scope=scope)
    return Page(items=tuple(message for _, message in taken), next_page_token=following, revision=shown)


def _digest(scope: str) -> str:
    return hashlib.blake2b(scope.encode(), digest_size=6).hexdigest()


def _invalid(why: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"page_token cannot be used: {why}; list again from the first page",
        reason="PAGE_TOKEN_INVALID",
        metadata={"field": "page_token"},
    )
