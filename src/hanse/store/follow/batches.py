"""Long batches of a watch in parts, between which the loop has its turn.

Owns `whole_revisions`. Pure. Next: `hanse.store.follow.list_watch`, which takes in a part at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

from hanse.store.types import Event, WatchBatch


def whole_revisions(batch: WatchBatch, most: int) -> Iterator[WatchBatch]:
    """Yield a long batch in parts of some `most` events, cut between revisions; a short one as it is."""
    if len(batch.events) <= most:
        yield batch
        return
    part: list[Event] = []
    for event in batch.events:
        if len(part) >= most and event.kv.mod_revision > part[-1].kv.mod_revision:
            yield WatchBatch(part[-1].kv.mod_revision, tuple(part))
            part = []
        part.append(event)
    yield WatchBatch(batch.revision, tuple(part))
