"""The work queue: which key is looked at next.

Owns `WorkQueue`. What it promises (as client-go's workqueue does, plus lanes):
- a key that is added many times before it is taken is taken once;
- a key that is added while it is being worked on is taken again after `done`, and never by two at once;
- urgent keys go first, but after `fairness` urgent ones in a row a waiting bulk one gets its turn;
- a delayed key is added when its time comes; of several delays the earliest counts;
- failures of one key back off exponentially with jitter, and do not slow other keys.

Concurrency: one loop, no locks; time is the loop's clock, so tests run it in virtual time.

Next: `hanse.control.controller`, which takes keys and reconciles them.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass

from hanse.backoff import Backoff
from hanse.control.metrics import QueueMetrics


class QueueClosed(Exception):  # noqa: N818 - not an error: how a worker learns that it may end
    """The queue was closed and has nothing left."""


class WorkQueue:
    """Keys that wait to be looked at. See the module for what it promises."""

    def __init__(
        self,
        name: str = "",
        *,
        backoff: Backoff | None = None,
        fairness: int = 8,
        rng: random.Random | None = None,
        metrics: QueueMetrics | None = None,
    ) -> None:
        """`name` is for metrics; queues that belong together share a `QueueMetrics` instead."""
        self.name = name
        self._backoff = backoff or Backoff()
        self._fairness = fairness
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._metrics = metrics or QueueMetrics(name)
        self._urgent: OrderedDict[str, float] = OrderedDict()  # key -> when it was added
        self._bulk: OrderedDict[str, float] = OrderedDict()
        self._working: dict[str, float] = {}  # key -> when it was taken
        self._again: dict[str, bool] = {}  # added while being worked on -> urgent
        self._failures: dict[str, int] = {}
        self._delays: list[tuple[float, int, str]] = []
        self._delayed: dict[str, _Delay] = {}
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._urgent_in_row = 0
        self._closed = False

    def __len__(self) -> int:
        """Return how many keys could be taken now. Keys being worked on and delayed ones do not count."""
        return len(self._urgent) + len(self._bulk)

    def __contains__(self, key: str) -> bool:
        """Return whether the key waits, now or delayed, or is to be taken again."""
        return key in self._urgent or key in self._bulk or key in self._again or key in self._delayed

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is being worked on. Delayed keys do not count."""
        return not len(self) and not self._working

    @property
    def working(self) -> Iterator[str]:
        """The keys that are being worked on."""
        return iter(tuple(self._working))

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def add(self, key: str, *, urgent: bool = False) -> None:
        """Have the key looked at soon. `urgent` is for what a person waits for."""
        if self._closed:
            return
        if key in self._working:
            self._again[key] = urgent or self._again.get(key, False)
            return
        if key in self._urgent:
            return
        if key in self._bulk:
            if urgent:
                self._urgent[key] = self._bulk.pop(key)
            return
        (self._urgent if urgent else self._bulk)[key] = _now()
        self._metrics.added()
        self._wake()

    def add_after(self, key: str, delay: float, *, urgent: bool = False) -> None:
        """Have the key looked at after `delay` seconds. An earlier time that is set already stays."""
        self._add_at(key, delay, urgent=urgent, retry=False)

    def retry(self, key: str, *, at_least: float = 0.0) -> float:
        """Count a failure of the key and look again after its backoff. Returns the delay in seconds.

        `at_least` is a minimum in seconds, from a peer that said when to come back.
        """
        self._failures[key] = failures = self._failures.get(key, 0) + 1
        delay = max(at_least, self._backoff.delay(failures, rng=self._rng))
        self._metrics.retried()
        self._add_at(key, delay, urgent=False, retry=True)
        return delay

    def forget(self, key: str) -> None:
        """Reset the key's backoff, and drop a retry that still waits."""
        self._failures.pop(key, None)
        delay = self._delayed.get(key)
        if delay is not None and delay.retry:
            del self._delayed[key]

    def failures(self, key: str) -> int:
        """Return how many times in a row the key has failed."""
        return self._failures.get(key, 0)

    async def get(self) -> str:
        """Take the next key; wait for one. Call `done` when it has been worked on.

        Raises QueueClosed after `close` when nothing is left to take.
        """
        while True:
            key = self._take()
            if key is not None:
                return key
            if self._closed:
                raise QueueClosed
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()  # it was woken for a key that it will not take
                raise
            finally:
                if not waiter.done():
                    waiter.cancel()

    def done(self, key: str) -> None:
        """Take note that the key has been worked on; if it was added meanwhile it waits again."""
        taken = self._working.pop(key, None)
        if taken is not None:
            self._metrics.finished(_now() - taken)
        if key in self._again:
            self.add(key, urgent=self._again.pop(key))

    def close(self) -> None:
        """Take nothing more in, drop what is delayed; what waits can still be taken."""
        self._closed = True
        self._delayed.clear()
        self._delays.clear()
        self._again.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        """Forget everything that waits, for example when a lease was lost. Work in flight goes on."""
        self._metrics.dropped(len(self))
        self._urgent.clear()
        self._bulk.clear()
        self._again.clear()
        self._delayed.clear()
        self._delays.clear()
        self._failures.clear()

    def _take(self) -> str | None:
        lane = self._lane()
        if lane is None:
            return None
        key, added = lane.popitem(last=False)
        now = self._working[key] = _now()
        self._metrics.taken(now - added)
        return key

    def _lane(self) -> OrderedDict[str, float] | None:
        if self._urgent and not (self._bulk and self._urgent_in_row >= self._fairness):
            self._urgent_in_row += 1
            return self._urgent
        self._urgent_in_row = 0
        return self._bulk or None

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _add_at(self, key: str, delay: float, *, urgent: bool, retry: bool) -> None:
        if self._closed:
            return
        if delay <= 0:
            self.add(key, urgent=urgent)
            return
        when = _now() + delay
        known = self._delayed.get(key)
        if known is not None and known.when <= when:
            if (urgent and not known.urgent) or (known.retry and not retry):
                self._delayed[key] = _Delay(known.when, known.urgent or urgent, known.retry and retry)
            return
        keep_urgent = urgent or (known is not None and known.urgent)
        self._delayed[key] = _Delay(when, keep_urgent, retry and (known is None or known.retry))
        heapq.heappush(self._delays, (when, next(self._order), key))
        self._set_timer()

    def _set_timer(self) -> None:
        if not self._delays:
            return
        when = self._delays[0][0]
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = asyncio.get_running_loop().call_at(when, self._due)

    def _due(self) -> None:
        self._timer = None
        now = max(_now(), self._timer_at)  # a loop may fire a hair early; that must not spin
        while self._delays and self._delays[0][0] <= now:
            when, _, key = heapq.heappop(self._delays)
            delay = self._delayed.get(key)
            if delay is not None and delay.when == when:
                del self._delayed[key]
                self.add(key, urgent=delay.urgent)
        self._set_timer()


@dataclass(frozen=True, slots=True)
class _Delay:
    when: float
    urgent: bool
    retry: bool


def _now() -> float:
    return asyncio.get_running_loop().time()
