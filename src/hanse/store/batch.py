"""Many small commits as few transactions.

Commits that arrive while other transactions are on their way, or within `SPACING_SECONDS` of the last one,
are joined to the next one. So a commit that comes alone is never held back, and a burst costs few
transactions; each of them is also a message to everyone who watches. Joining keeps commits serializable: two
that write the same key, or of which one checks or reads what the other writes, never share a transaction. If
a joined transaction is refused, each of its commits is tried alone, so one that lost its compares does not
fail its neighbours. One event loop, any number of tasks.

Next: `hanse.store.types` for what a transaction is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hanse.background import OwnedTasks
from hanse.errors import HanseError, InternalError, UnavailableError
from hanse.store.types import Compare, Delete, Get, Op, Put, Store, TxnResult

_MAX_BYTES: Final = 1024 * 1024

SPACING_SECONDS: Final = 0.02
"""Least time from one transaction to the next: a few times what one takes. Under load a change waits so long
at most, among others that wait for far more."""


@dataclass(eq=False, slots=True)
class _Commit:
    compares: tuple[Compare, ...]
    ops: tuple[Op, ...]
    done: asyncio.Future[TxnResult]
    reads: frozenset[str]
    writes: frozenset[str]
    alone: bool
    size: int


class BatchWriter:
    """Joins concurrent commits to `store`.

    `max_ops` bounds the operations, and the compares, of a joined transaction (etcd takes 128);
    `max_in_flight` how many transactions are on their way at once; `spacing`, in seconds, keeps one round
    of them apart from the next.
    """

    def __init__(
        self,
        store: Store,
        max_ops: int = 100,
        *,
        max_in_flight: int = 2,
        spacing: float = SPACING_SECONDS,
    ) -> None:
        self._store = store
        self._max_ops = max_ops
        self._max_in_flight = max_in_flight
        self._spacing = spacing
        self._next = float("-inf")
        self._waiting: deque[_Commit] = deque()
        self._tasks = OwnedTasks()
        self._scheduled = False

    async def commit(self, compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        """Run `ops` if all `compares` hold, perhaps together with others, and return the outcome.

        The result's responses are those of `ops`; its revision is that of the transaction it was in.
        Raises what `Store.txn` raises. Once cancelled, a commit that was not sent yet is never sent.
        """
        loop = asyncio.get_running_loop()
        commit = _commit(tuple(compares), tuple(ops), loop.create_future())
        self._waiting.append(commit)
        self._schedule()
        return await commit.done

    async def close(self) -> None:
        """Wait until everything that was handed in is done."""
        while self._tasks or self._scheduled or self._waiting:
            await self._tasks.drain() if self._tasks else await asyncio.sleep(0)

    def _schedule(self) -> None:
        """Have what waits sent when its time comes, unless that is arranged or too much is on its way."""
        if self._scheduled or not self._waiting or len(self._tasks) >= self._max_in_flight:
            return
        self._scheduled = True
        loop = asyncio.get_running_loop()
        if self._next <= loop.time():
            loop.call_soon(self._flush)
        else:
            loop.call_at(self._next, self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        loop = asyncio.get_running_loop()
        while len(self._tasks) < self._max_in_flight and (joined := self._take()):
            self._next = loop.time() + self._spacing
            task = self._tasks.start(self._send(joined), name="commit")
            task.add_done_callback(lambda _: self._schedule())

    def _take(self) -> list[_Commit]:
        """Take from the front of the queue what fits into one transaction."""
        joined: list[_Commit] = []
        reads: set[str] = set()
        writes: set[str] = set()
        compares: set[Compare] = set()
        ops = size = 0
        while self._waiting:
            commit = self._waiting[0]
            if commit.done.done():  # cancelled
                self._waiting.popleft()
                continue
            ops += len(commit.ops)
            size += commit.size
            if joined and (
                commit.alone
                or max(ops, len(compares.union(commit.compares))) > self._max_ops
                or size > _MAX_BYTES
                or not writes.isdisjoint(commit.writes)
                or not writes.isdisjoint(commit.reads)
                or not reads.isdisjoint(commit.writes)
            ):
                break
            joined.append(self._waiting.popleft())
            compares.update(commit.compares)
            reads |= commit.reads
            writes |= commit.writes
            if commit.alone:
                break
        return joined

    async def _send(self, joined: list[_Commit]) -> None:
        try:
            if len(joined) == 1:
                await self._send_alone(joined[0])
                return
            # Compares that many share, such as the fence of a leader, are sent once.
            compares = tuple(dict.fromkeys(c for commit in joined for c in commit.compares))
            ops = tuple(op for commit in joined for op in commit.ops)
            try:
                result = await self._store.txn(compares, ops)
            except UnavailableError as error:
                for commit in joined:
                    _fail(commit, _copy(error))
                return
            except HanseError:  # of one of them; which one shows when they are alone
                result = None
            if result is None or not result.succeeded:
                await asyncio.gather(*(self._send_alone(commit) for commit in joined))
                return
            start = 0
            for commit in joined:
                end = start + len(commit.ops)
                _finish(commit, TxnResult(True, result.revision, result.responses[start:end]))
                start = end
        except asyncio.CancelledError:
            for commit in joined:
                commit.done.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - a defect; it belongs to whoever waits
            for commit in joined:
                _fail(commit, InternalError(f"a joined commit failed: {error!r}"))

    async def _send_alone(self, commit: _Commit) -> None:
        try:
            _finish(commit, await self._store.txn(commit.compares, commit.ops))
        except HanseError as error:
            _fail(commit, error)


def _commit(compares: tuple[Compare, ...], ops: tuple[Op, ...], done: asyncio.Future[TxnResult]) -> _Commit:
    return _Commit(
        compares=compares,
        ops=ops,
        done=done,
        reads=frozenset((*(c.key for c in compares), *(op.key for op in ops if isinstance(op, Get)))),
        writes=frozenset(op.key for op in ops if not isinstance(op, Get)),
        alone=any(isinstance(op, Delete | Get) and op.prefix for op in ops),
        size=sum(len(op.value) + 64 for op in ops if isinstance(op, Put)),
    )


def _finish(commit: _Commit, result: TxnResult) -> None:
    if not commit.done.done():
        commit.done.set_result(result)


def _fail(commit: _Commit, error: HanseError) -> None:
    if not commit.done.done():
        commit.done.set_exception(error)


def _copy(error: UnavailableError) -> UnavailableError:
    """Return an error of its own for each waiter: a traceback belongs to one task."""
    copy = UnavailableError(
        error.message, reason=error.reason, metadata=error.metadata, retry_after=error.retry_after
    )
    copy.__cause__ = error
    return copy
