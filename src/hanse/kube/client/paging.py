"""The pages of a list, read to their end: complete or an error.

Owns how a list goes on from page to page, that a page which is too long is asked for again with fewer
objects, and that the whole has a bound. Who asks gives a function that sends a request and returns an answer
that is what was asked for; what it raises ends the list.

Concurrency: as that function. Next: `hanse.kube.client.requests`, `hanse.kube.client.bounds`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from hanse.kube.client.answer import Answer
from hanse.kube.client.bounds import LIST_BYTES, AnswerTooLongError, ListBudget
from hanse.kube.client.requests import ApiRequest, page_of
from hanse.kube.model.objects import Object, mapping

PAGE: Final = 500
"""Objects per page of a list."""

Send = Callable[[ApiRequest], Awaitable[Answer]]
"""Sends a request and returns the answer that was expected; raises for any other."""


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page. The `resource_version` of the last one is to watch from; `more` says that others follow."""

    items: list[Object]
    resource_version: str
    more: bool = False


async def list_pages(
    send: Send, listing: ApiRequest, *, what: str, limit: int = PAGE, bytes_in_all: int = LIST_BYTES
) -> AsyncGenerator[ListPage, None]:
    """Yield the pages of a list; `what` names it in messages, as "the list of pods of https://...".

    It is complete when this ends without an error. Items have apiVersion and kind. Raises what `send` raises,
    and MisbehavingMemberError for a list that has no end or more objects than any cluster has.
    """
    budget = ListBudget(what, bytes_in_all)
    token = ""
    while True:
        try:
            answer = await send(page_of(listing, limit=limit, token=token))
        except AnswerTooLongError:
            if limit == 1:
                raise
            limit = max(1, (limit or PAGE) // 10)
            continue
        budget.received(len(answer.body))
        document = answer.document
        metadata = mapping(document, "metadata")
        items = _typed(document["items"] or [], document)
        token = metadata.get("continue") or ""
        budget.page(items, token)
        yield ListPage(items, str(metadata.get("resourceVersion") or ""), more=bool(token))
        if not token:
            return


def _typed(items: Any, page: Object) -> list[Object]:
    """Give the items of a list the apiVersion and kind that real API servers leave out."""
    kind = str(page.get("kind", "")).removesuffix("List")
    version = page.get("apiVersion")
    return [item if "kind" in item else {"apiVersion": version, "kind": kind, **item} for item in items]
