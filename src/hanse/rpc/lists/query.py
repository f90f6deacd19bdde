"""What one call of a List asks for, and the page that answers it: the same for every service.

Owns `ListQuery`: the filter, the order, the size and the token of a request, and how a page is made, of items
in memory or of a prefix of a store. A token belongs to its query: every field of the request but the page's
own is in its scope. All pages of a prefix are read at the revision of the first. In the order of the names a
page costs what it has; in another order each page reads all that there is and keeps no more than the page.

Concurrency: pure, and one task per read of a store.

Next: `hanse.rpc.lists.filters` and `hanse.rpc.lists.ordering` for the languages, `hanse.rpc.lists.pagination`
for tokens.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from hanse.rpc.lists import pagination
from hanse.rpc.lists.filters import ListFilter
from hanse.rpc.lists.ordering import ListOrder
from hanse.rpc.lists.pagination import Page, PageToken, decode_page_token, encode_page_token, page_size

if TYPE_CHECKING:
    from hanse.store import KeyValue, Store

SCAN: Final = 1000
"""Keys of one read of a store."""

T = TypeVar("T")
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The list that a request asks for, and the page of it."""

    chosen_by: ListFilter
    order: ListOrder
    size: int
    start: PageToken | None
    scope: str

    @classmethod
    def of(cls, request: Message, resource: Descriptor) -> ListQuery:
        """Read the request of a List of `resource`; it may have no filter and no order.

        Raises InvalidArgumentError for what cannot be used of it.
        """
        known = request.DESCRIPTOR.fields_by_name
        asked: dict[str, Any] = {
            name: getattr(request, name) for name in ("filter", "order_by") if name in known
        }
        rest = type(request)()
        rest.CopyFrom(request)
        rest.ClearField("page_size")
        rest.ClearField("page_token")
        scope = f"{resource.full_name}\0{rest.SerializeToString(deterministic=True).hex()}"
        order = ListOrder.parse(asked.get("order_by", ""), resource)
        return cls(
            chosen_by=ListFilter.parse(asked.get("filter", ""), resource),
            order=order,
            size=page_size(getattr(request, "page_size")),  # noqa: B009 - every List has it
            start=decode_page_token(getattr(request, "page_token"), scope=scope, order=order),  # noqa: B009
            scope=scope,
        )

    @property
    def plain(self) -> bool:
        """Whether all is asked for, in the order of the names."""
        return not self.order and not self.chosen_by.text.strip()

    def page(self, items: Iterable[tuple[str, M]], *, revision: int) -> Page[M]:
        """Return one page of `items`, (key, message), that are all in memory at `revision`.

        Later pages show the items as they are then: an item is never given twice while it keeps its place.
        The page carries the revision of the first page, to watch from.
        """
        return self.page_of(items, lambda item: item, revision=revision)

    def page_of(
        self,
        items: Iterable[tuple[str, T]],
        message_of: Callable[[T], M],
        *,
        revision: int,
        header_of: Callable[[T], M] | None = None,
    ) -> Page[M]:
        """Return one page of the messages that are made of `items`.

        `header_of` makes a message with what can be filtered and ordered by, if the whole costs more.
        """
        header = header_of or message_of
        if self.order:
            ranked = (
                (self.order.key(self.order.place(head), key), key, item)
                for key, item in items
                if self.chosen_by.matches(head := header(item))
            )
            taken: Iterable[tuple[str, T]] = [(key, item) for _, key, item in self._first(ranked)]
        else:
            taken = self._in_order_of_names(sorted(items, key=lambda pair: pair[0]), header)
        made = ((key, message_of(item)) for key, item in taken)
        return self._page(made, revision=self.start.revision if self.start else revision)

    async def read(
        self,
        store: Store,
        prefix: str,
        decode: Callable[[KeyValue], M],
        *,
        wanted: Callable[[str], bool] = lambda key: True,
    ) -> Page[M]:
        """Return one page of what is stored under `prefix`, of the keys that are `wanted`.

        Raises CompactedError if the list took so long that its revision is gone, UnavailableError.
        """
        revision = self.start.revision if self.start else 0
        after = self.start.last_key if self.start and not self.order else None
        limit = self.size + 1 if self.plain else SCAN
        kept: list[tuple[Any, str, M]] = []
        size, full = 0, False
        while True:
            part = await store.range(prefix, start_after=after, limit=limit, revision=revision)
            revision = revision or part.revision
            found = (
                (self.order.key(self.order.place(message), kv.key), kv.key, message)
                for kv in part.items
                if wanted(kv.key) and self.chosen_by.matches(message := decode(kv))
            )
            if self.order:
                kept = self._first(chain(kept, found))
            else:
                for each in found:
                    kept.append(each)
                    size += each[2].ByteSize()
                    if len(kept) > self.size or (len(kept) > 1 and size > pagination.MAX_PAGE_BYTES):
                        full = True
                        break
            if full or not part.more:
                return self._page(((key, message) for _, key, message in kept), revision=revision)
            after = part.items[-1].key

    def _first(self, ranked: Iterable[tuple[Any, str, T]]) -> list[tuple[Any, str, T]]:
        """Return the first items after the token: a page, and one more that says that there are more."""
        if self.start is not None:
            start = self.order.key(self.start.place, self.start.last_key)
            ranked = (each for each in ranked if each[0] > start)
        return heapq.nsmallest(self.size + 1, ranked, key=lambda each: each[0])

    def _in_order_of_names(
        self, items: list[tuple[str, T]], header: Callable[[T], M]
    ) -> Iterator[tuple[str, T]]:
        first = bisect.bisect_right(items, self.start.last_key, key=lambda pair: pair[0]) if self.start else 0
        following = islice(items, first, None)
        return (pair for pair in following if self.plain or self.chosen_by.matches(header(pair[1])))

    def _page(self, items: Iterable[tuple[str, M]], *, revision: int) -> Page[M]:
        """Return the page that begins with `items`, as many as fit."""
        taken: list[tuple[str, M]] = []
        size, more = 0, False
        for key, message in items:
            size += message.ByteSize()
            if taken and (len(taken) == self.size or size > pagination.MAX_PAGE_BYTES):
                more = True
                break
            taken.append((key, message))
        following = ""
        if more:
            last_key, last = taken[-1]
            token = PageToken(revision=revision, last_key=last_key, place=self.order.place(last))
            following = encode_page_token(token, scope=self.scope)
        return Page(tuple(message for _, message in taken), following, revision)
