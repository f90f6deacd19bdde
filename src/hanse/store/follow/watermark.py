"""How far one range of keys has been followed, and who waits for it to come further.

Owns `Watermark`: everything up to its revision under its prefixes has been taken in. It only grows.
`watermarks` makes one for each span.

Concurrency: one event loop; it is moved between two awaits, and wakes those who wait after that.

Next: `hanse.store.follow.list_watch`, which moves it.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence

from hanse.store.spans import Span


class Watermark:
    """The revision up to which the `prefixes` inside `span` have been followed; 0 before the first list."""

    def __init__(self, span: Span, prefixes: tuple[str, ...]) -> None:
        self.span = span
        self.prefixes = prefixes
        self.revision = 0
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = 0
        self._error: Exception | None = None

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for a later revision."""
        return any(not waiter.done() for _, _, waiter in self._waiters)

    def advance(self, revision: int) -> None:
        """Move on to `revision`, unless it is further already; wake whoever waits for no more."""
        if revision <= self.revision:
            return
        self.revision = revision
        while self._waiters and self._waiters[0][0] <= revision:
            waiter = heapq.heappop(self._waiters)[2]
            if not waiter.done():
                waiter.set_result(None)

    def fail(self, error: Exception) -> None:
        """Have all who wait for more, now or later, get `error`: the range is no longer followed."""
        self._error = error
        waiters, self._waiters = self._waiters, []
        for _, _, waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)

    async def reached(self, revision: int) -> None:
        """Wait for `revision`. Raises what `fail` was given."""
        if self.revision >= revision:
            return
        if self._error is not None:
            raise self._error
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arrivals += 1
        heapq.heappush(self._waiters, (revision, self._arrivals, waiter))
        try:
            await waiter
        finally:
            waiter.cancel()
            if self._waiters and self._waiters[0][2].done():
                self._waiters = [each for each in self._waiters if not each[2].done()]
                heapq.heapify(self._waiters)


def watermarks(prefixes: Sequence[str], spans: Sequence[Span]) -> tuple[Watermark, ...]:
    """Return a watermark for each span. Raises ValueError if a prefix lies in none, or in two."""
    if not spans:
        return tuple(Watermark(Span(prefix), (prefix,)) for prefix in prefixes)
    for prefix in prefixes:
        if sum(span.has(prefix) for span in spans) != 1:
            raise ValueError(f"{prefix} is in none of the spans, or in several: {', '.join(map(str, spans))}")
    inside = ((span, tuple(prefix for prefix in prefixes if span.has(prefix))) for span in spans)
    return tuple(Watermark(span, found) for span, found in inside)
