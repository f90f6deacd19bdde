"""Events do not stay for ever: they are stored with a lease, and swept when they are old.

Owns `EventLeases`, which gives out leases that many Events share, and `EventSweep`, which deletes old Events
that have none: those of an earlier release. The rule is kube-apiserver's: an Event ends `ttl` seconds after
it was written last; one lease serves the Events of a time window, and no more than a number of them, so that
there are few leases and few Events end at once.

Concurrency: one loop. Events of one store are written by any number of tasks; a lease is asked for once.

Next: `hanse.kube.engine.resources.store`, which writes with these leases.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from hanse.errors import HanseError
from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.served import ServedObject
from hanse.kube.kinds.kubernetes import core
from hanse.kube.model.objects import Object, mapping, sequence
from hanse.kube.model.times import parse_time
from hanse.store import Compare, Delete, Store
from hanse.store.keys import ObjectKey

EVENT_TTL: Final = 3600
"""Seconds; kube-apiserver's --event-ttl."""
REUSE_SECONDS: Final = 60.0
"""How long a lease is given out, and REUSE_SHARE of the time to live if that is shorter."""
REUSE_SHARE: Final = 0.05
MOST_EVENTS: Final = 1000
"""How many Events share a lease at most. The three are kube-apiserver's LeaseManagerConfig."""

SWEEP_SECONDS: Final = 60.0
_BATCH: Final = 100
_EVENTS: Final = core.EVENT.group_plural  # where both groups' Events are stored
_log = structlog.get_logger(__name__)


def is_event(key: ObjectKey) -> bool:
    """Report whether a key is that of an Event, core/v1 and events.k8s.io alike."""
    return (key.group, key.resource) == _EVENTS


class EventLeases:
    """Gives out leases of `ttl` seconds."""

    def __init__(self, store: Store, *, ttl: int = EVENT_TTL, most: int = MOST_EVENTS) -> None:
        self._store = store
        self.ttl = ttl
        self._reuse = min(REUSE_SECONDS, ttl * REUSE_SHARE)
        self._most = most
        self._lease = 0
        self._until = float("-inf")
        self._given = 0
        self._lock = asyncio.Lock()

    async def lease(self) -> int:
        """Return a lease that lives for at least `ttl` seconds from now. Raises as `Store.grant_once`."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if not self._lease or now >= self._until or self._given >= self._most:
                self._lease = await self._store.grant_once(math.ceil(self.ttl + self._reuse))
                self._until, self._given = now + self._reuse, 0
            self._given += 1
            return self._lease

    def forget(self, lease: int) -> None:
        """Give out another lease than this one, which turned out to have ended."""
        if self._lease == lease:
            self._lease = 0


class EventSweep:
    """Deletes Events that are older than `ttl` seconds and are still there."""

    def __init__(
        self, store: Store, cache: ObjectCache, *, ttl: int = EVENT_TTL, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._cache = cache
        self._ttl = ttl
        self._clock = clock

    async def run(self) -> None:
        """Sweep now and then, until cancelled."""
        while True:
            try:
                swept = await self.sweep()
                if swept:
                    _log.info("swept old events", events=swept)
            except HanseError as error:
                _log.warning("old events cannot be swept now", error=str(error))
            await asyncio.sleep(SWEEP_SECONDS)

    async def sweep(self) -> int:
        """Delete what is too old; return how many. Those with a lease are gone by then of themselves."""
        limit = self._clock() - timedelta(seconds=self._ttl + 2 * REUSE_SECONDS)
        return await self._delete(e for e in self._entries() if e.intent and last_seen(e.intent) < limit)

    async def give_up(self) -> int:
        """Delete all Events, however young; return how many. For a store that is full: it takes no
        transactions, and nobody writes meanwhile."""
        keys = [entry.key.key() for entry in _due(self._entries())]
        deleted = 0
        for start in range(0, len(keys), _BATCH):
            deleted += sum(await asyncio.gather(*map(self._store.delete, keys[start : start + _BATCH])))
        return deleted

    def _entries(self) -> list[ServedObject]:
        return self._cache.objects(*_EVENTS)

    async def _delete(self, entries: Iterable[ServedObject]) -> int:
        """Delete those without finalizers that nobody has changed meanwhile, some at once."""
        due = _due(entries)
        deleted = 0
        for start in range(0, len(due), _BATCH):
            deleted += await self._delete_batch(due[start : start + _BATCH])
        return deleted

    async def _delete_batch(self, batch: list[ServedObject]) -> int:
        compares = [Compare.mod(e.key.key(), e.intent_revision) for e in batch]
        result = await self._store.txn(compares, [Delete(e.key.key()) for e in batch])
        if result.succeeded:
            return len(batch)
        if len(batch) == 1:
            return 0
        return sum([await self._delete_batch([entry]) for entry in batch])


def _due(entries: Iterable[ServedObject]) -> list[ServedObject]:
    """Return those that are stored and that nobody keeps with a finalizer."""
    return [e for e in entries if e.intent and not sequence(e.intent, "metadata", "finalizers")]


def last_seen(event: Object) -> datetime:
    """Return when an Event was seen last, by its own words; the beginning of time if it does not say."""
    said = (
        mapping(event, "series").get("lastObservedTime"),
        event.get("deprecatedLastTimestamp"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        mapping(event, "metadata").get("creationTimestamp"),
    )
    moments = [moment for value in said if (moment := parse_time(value))]
    return max(moments, default=datetime.min.replace(tzinfo=UTC))
