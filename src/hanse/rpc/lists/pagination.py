"""Pages of lists (AIP-158): opaque tokens that hold a revision, the last key, and its place in the order.

Owns the tokens and the bounds. A page has as many bytes as fit into one answer, and one item at least: no
item is so large that the others cannot be listed. A token belongs to one query: `scope` (anything that says
what is listed: prefix, filter, order) must be the same on every page.

Concurrency: pure functions.

Next: `hanse.rpc.watch`, which continues where a list ended.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Generic, TypeVar

import orjson

from hanse.errors import InvalidArgumentError
from hanse.numbers import MAX_WHOLE
from hanse.rpc.lists.ordering import ListOrder, Place

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
MAX_PAGE_BYTES = 8 * 1024 * 1024
"""Bytes of the items of one page: half of what an RPC's message may have."""

NAMES = ListOrder()
"""The order of the names."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PageToken:
    """Where the next page starts: after `last_key`, at `revision`. `place` is its place in another order."""

    revision: int
    last_key: str
    place: Place = ()


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
    body = orjson.dumps([2, token.revision, token.last_key, list(token.place), _digest(scope)])
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


def decode_page_token(text: str, *, scope: str, order: ListOrder = NAMES) -> PageToken | None:
    """Return the token in `text`; None if it is empty, which asks for the first page.

    Raises InvalidArgumentError if it is not a token, or is one of another query.
    """
    if not text:
        return None
    try:
        body = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        version, revision, last_key, place, digest = body
    except (binascii.Error, ValueError, TypeError) as error:
        raise _invalid("it is malformed") from error
    if (
        version != 2
        or type(revision) is not int
        or not 0 <= revision <= MAX_WHOLE
        or not isinstance(last_key, str)
    ):
        raise _invalid("it is malformed")
    if digest != _digest(scope):
        raise _invalid("it belongs to a list with other arguments")
    if not order.takes(place):
        raise _invalid("it is malformed")
    return PageToken(revision=revision, last_key=last_key, place=tuple(place))


def _digest(scope: str) -> str:
    return hashlib.blake2b(scope.encode(), digest_size=6).hexdigest()


def _invalid(why: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"page_token cannot be used: {why}; list again from the first page",
        reason="PAGE_TOKEN_INVALID",
        metadata={"field": "page_token"},
    )
