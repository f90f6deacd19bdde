"""One list of several prefixes of the store, all of it at one revision, page by page.

Owns `StoreListing`. Concurrency: used by one task, once. Next: `hanse.store.follow.list_watch`, which watches
on from there.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final

from hanse.errors import FailedPreconditionError
from hanse.store.types import KeyValue, Store

PAGE: Final = 2000
"""Keys per request."""


class StoreListing:
    """Lists `prefixes` at the revision of the first page, which must not be older than `seen`."""

    def __init__(self, store: Store, prefixes: Sequence[str], *, seen: int) -> None:
        self._store = store
        self._prefixes = prefixes
        self._seen = seen
        self.revision = 0

    async def pages(self) -> AsyncGenerator[Sequence[KeyValue], None]:
        """Yield what there is. Raises `FailedPreconditionError` if the store is older than what was seen."""
        for prefix in self._prefixes:
            after: str | None = None
            while True:
                page = await self._store.range(prefix, start_after=after, limit=PAGE, revision=self.revision)
                if not self.revision:
                    self.revision = self._checked(page.revision)
                yield page.items
                if not page.more:
                    break
                after = page.items[-1].key

    def _checked(self, revision: int) -> int:
        if revision < self._seen:
            raise FailedPreconditionError(
                f"etcd is at revision {revision}, but {self._prefixes[0]} was at {self._seen} before: "
                "it was restored from a backup or replaced. Nothing is concluded from that; check etcd, then "
                "restart.",
                reason="REVISION_REGRESSED",
            )
        return revision
