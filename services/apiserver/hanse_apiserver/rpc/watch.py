"""The changes of one resource as WatchObjects sends them.

A stream that starts at revision 0 gets everything first, with revision 0 (not complete yet), then a bookmark
with the revision to resume at. One that resumes gets exactly what came after. Of several changes of one
transaction only the last carries its revision, so that a stream that breaks anywhere loses nothing. An object
that stops being selected is sent as deleted.

One generator per stream, in one loop; CompactedError if the revision is no longer remembered, or the reader
was too slow; FutureRevisionError if it is not reached in time. Next: `hanse.kube.engine.cache`, which
remembers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from hanse.api.type.v1.change_pb2 import BOOKMARK, DELETED, UPDATED, ChangeKind
from hanse.errors import DeadlineError, FutureRevisionError, InvalidArgumentError
from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.served import ObjectChange, ServedObject

BOOKMARK_SECONDS: Final = 30.0
"""How long a stream is silent before it is told where to resume."""
CATCH_UP_SECONDS: Final = 3.0
"""How long a stream waits for a revision that another process has seen already."""

Select = Callable[[ServedObject], bool]


@dataclass(frozen=True, slots=True)
class Sent:
    """One message. `revision` 0 means: not a place to resume at."""

    kind: ChangeKind.ValueType
    entry: ServedObject | None
    revision: int


async def watch(
    cache: ObjectCache,
    group: str,
    resource: str,
    *,
    select: Select,
    revision: int,
    bookmark_seconds: float = BOOKMARK_SECONDS,
    catch_up_seconds: float = CATCH_UP_SECONDS,
) -> AsyncIterator[Sent]:
    """Yield the changes after `revision`; 0 for everything first.

    Raises CompactedError, FutureRevisionError.
    """
    if revision < 0:
        raise InvalidArgumentError(
            f"revision is {revision}: it must be 0 or more", metadata={"field": "revision"}
        )
    try:
        await cache.reached(revision, catch_up_seconds)
    except DeadlineError:
        raise FutureRevisionError(revision, current=cache.revision) from None
    since = revision or cache.revision
    changes = cache.watch(group, resource, since=since)
    if not revision:
        for entry in cache.log(group, resource).snapshot(None):
            if select(entry):
                yield Sent(UPDATED, entry, 0)
        yield Sent(BOOKMARK, None, since)
    reached = since
    pending: asyncio.Future[tuple[ObjectChange, ...]] = asyncio.ensure_future(anext(changes))
    try:
        while True:
            before = cache.revision
            done, _ = await asyncio.wait({pending}, timeout=bookmark_seconds)
            if not done:
                if before > reached:
                    reached = before
                    yield Sent(BOOKMARK, None, reached)
                continue
            batch = pending.result()
            pending = asyncio.ensure_future(anext(changes))
            for index, change in enumerate(batch):
                last = index + 1 == len(batch) or batch[index + 1].revision > change.revision
                kind = _kind(change, select)
                if last:
                    reached = change.revision
                if kind is not None:
                    yield Sent(kind, change.entry, reached)
    finally:
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)


def _kind(change: ObjectChange, select: Select) -> ChangeKind.ValueType | None:
    """Return how a change looks through the selection; None if it is not seen."""
    now = change.type != "DELETED" and select(change.entry)
    if now:
        return UPDATED
    before = change.previous is not None and select(change.previous)
    return DELETED if before else None
