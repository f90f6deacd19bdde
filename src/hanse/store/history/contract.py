"""What every watch promises, whoever serves it.

- A watch from revision 0 gets everything first, with revision 0 (not a place to resume at), and then a
  bookmark with the revision to resume at. One that resumes gets exactly what came after.
- Each message says where to resume after it. Of several changes of one revision only the last says it, so a
  watch that breaks anywhere loses nothing when it resumes.
- A state that a watch does not select any more is deleted for it.
- A revision that does not exist yet is waited for, as another process may be ahead; then it is
  FutureRevisionError.
- A revision whose following changes are no longer kept, and a reader that is too slow, get CompactedError:
  list again. No reader costs more memory than one batch.
- A watch that has nothing to say tells now and then where to resume (a bookmark).

Owns `watch`, which keeps all of this over any `ChangeHistory`, and `caught_up`. gRPC sends its messages as
they are; the Kubernetes API, whose clients resume at the version of an object, reads the log itself.

Concurrency: one generator for each stream, in one loop; close it with `aclosing`.

Next: `hanse.store.history.logged`, `hanse.store.history.stored` for histories; `hanse.rpc.watch` and
`hanse.kube.server.endpoints.watch` for who renders them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Generic, Literal, Protocol, TypeVar

from hanse.errors import DeadlineError, FutureRevisionError, InvalidArgumentError
from hanse.store.history.changes import RecordedChange, Select, everything, seen_through

K = TypeVar("K")
T = TypeVar("T")
K_co = TypeVar("K_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)

BOOKMARK_SECONDS: Final = 30.0
"""How long a watch is silent before it is told where to resume."""

CATCH_UP_SECONDS: Final = 3.0
"""How long a watch waits for a revision that another process has seen already."""


@dataclass(frozen=True, slots=True)
class ChangeBatch(Generic[K_co, T_co]):
    """Everything up to and including `revision` has been delivered with this: whole revisions, in order.

    No changes means that time went on and nothing happened.
    """

    revision: int
    changes: Sequence[RecordedChange[K_co, T_co]]


@dataclass(frozen=True, slots=True)
class StateAt(Generic[K_co, T_co]):
    """All that there is at a revision, in pages."""

    revision: int
    pages: AsyncIterator[Sequence[tuple[K_co, T_co]]]


@dataclass(frozen=True, slots=True)
class WatchMessage(Generic[K_co, T_co]):
    """One message of a watch. `value` is what is there now, and for "deleted" what was there last."""

    kind: Literal["updated", "deleted", "bookmark"]
    revision: int
    """Resume here; 0 means: not yet."""
    key: K_co | None = None
    value: T_co | None = None


class Progress(Protocol):
    """Something that follows the store and knows how far it is."""

    @property
    def revision(self) -> int:
        """Return the revision up to which everything is known."""

    async def reached(self, revision: int, timeout: float) -> None:
        """Wait until everything up to `revision` is known. Raises DeadlineError after `timeout` seconds."""


class ChangeHistory(Protocol[K_co, T_co]):
    """The recent changes of a set of keys."""

    async def caught_up(self, revision: int, timeout: float) -> None:
        """Wait until `revision` exists, or raise FutureRevisionError after `timeout` seconds."""

    async def state(self) -> StateAt[K_co, T_co]:
        """Return all that there is now."""

    def batches(self, after: int, *, idle_seconds: float) -> AsyncGenerator[ChangeBatch[K_co, T_co], None]:
        """Yield what happened after a revision, without end; an empty batch when nothing does for long.

        Raises CompactedError if it is no longer all known, or the reader was too slow.
        """


async def caught_up(following: Progress, revision: int, timeout: float = CATCH_UP_SECONDS) -> None:
    """Wait until `revision` is known. Raises FutureRevisionError if it is not within `timeout` seconds."""
    try:
        await following.reached(revision, timeout)
    except DeadlineError:
        raise FutureRevisionError(revision, current=following.revision) from None


async def watch(
    history: ChangeHistory[K, T],
    revision: int = 0,
    *,
    select: Select[K, T] = everything,
    bookmark_seconds: float = BOOKMARK_SECONDS,
    catch_up_seconds: float = CATCH_UP_SECONDS,
) -> AsyncGenerator[WatchMessage[K, T], None]:
    """Yield the changes after `revision` (0: everything first), only of the states that `select` chooses.

    Raises InvalidArgumentError, CompactedError, FutureRevisionError.
    """
    if revision < 0:
        raise InvalidArgumentError(
            f"revision is {revision}: it must be 0 or more", metadata={"field": "revision"}
        )
    reached = revision
    if revision:
        await history.caught_up(revision, catch_up_seconds)
    else:
        state = await history.state()
        reached = state.revision
        async for page in state.pages:
            for key, value in page:
                if select(key, value):
                    yield WatchMessage("updated", 0, key, value)
        yield WatchMessage("bookmark", reached)
    told = reached
    async with aclosing(history.batches(reached, idle_seconds=bookmark_seconds)) as batches:
        async for batch in batches:
            for at, changes in groupby(batch.changes, key=lambda change: change.revision):
                if at <= reached:
                    continue
                pending: WatchMessage[K, T] | None = None
                for change in changes:
                    message = _message(change, select, revision=reached)
                    if message is not None:
                        if pending is not None:
                            yield pending
                        pending = message
                reached = at
                if pending is not None:
                    told = at
                    yield WatchMessage(pending.kind, at, pending.key, pending.value)
            reached = max(reached, batch.revision)
            if not batch.changes and reached > told:
                told = reached
                yield WatchMessage("bookmark", reached)


def _message(
    change: RecordedChange[K, T], select: Select[K, T], *, revision: int
) -> WatchMessage[K, T] | None:
    match seen_through(change, select):
        case None:
            return None
        case "DELETED":
            return WatchMessage("deleted", revision, change.key, change.old)
        case _:
            return WatchMessage("updated", revision, change.key, change.new)
