"""Keeps the addresses behind the host names of load balancers current.

Owns `HostNames`: which host names are wanted, what is known of each (`hanse_dns.resolution`), and when each
is asked for again: when its TTL is over, but within bounds; after a failure ever later. `changed` is called
with each host name of which something else is known now.

Concurrency: `run` is one task with at most `AT_ONCE` lookups in tasks of its own; the leading dns service
runs it, others only note what is wanted. Next: `hanse_dns.upstream`, which asks, `hanse_dns.controller`,
which has names compiled.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable, Mapping
from typing import Final

from hanse.backoff import Backoff
from hanse.boundary import Boundary
from hanse.process.telemetry import get_logger
from hanse_dns.resolution import FamilyAnswer, Resolution, renewed
from hanse_dns.upstream import Lookup

AT_ONCE: Final = 16
"""Lookups under way at the same time."""
MAX_HOSTS: Final = 10_000
"""Host names that are resolved; members may name any number."""
SHORTEST_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 3600.0
"""A name is asked for again after its TTL, but no sooner and no later than this."""
TICK_SECONDS: Final = 0.01
"""What is due within this is waited for as long: a timer may be early."""
RETRIES: Final = Backoff(base=5.0, limit=60.0, jitter=0.1)
NOT_ASKED: Final = Resolution(problem="it was not resolved yet")
_log = get_logger(__name__)


class HostNames:
    """The host names that are wanted, at most `limit`, and what is known of them.

    `monotonic` counts seconds.
    """

    def __init__(
        self,
        lookup: Lookup,
        *,
        monotonic: Callable[[], float],
        changed: Callable[[str], None],
        limit: int = MAX_HOSTS,
    ) -> None:
        self._limit = limit
        self._lookup = lookup
        self._monotonic = monotonic
        self._changed = changed
        self._known: dict[str, Resolution] = {}
        self._due: dict[str, float] = {}
        self._queue: list[tuple[float, str]] = []
        """By time, what is due of which host name; what `_due` does not say any more is skipped."""
        self._failures: dict[str, int] = {}
        self._asking: set[str] = set()
        self._wake = asyncio.Event()
        self._boundary = Boundary("dns host names")
        self._random = random.Random()  # noqa: S311 - jitter

    def want(self, host: str) -> None:
        """Have a host name resolved from now on; at most `limit` are."""
        if host not in self._due and len(self._due) < self._limit:
            self._ask_at(host, self._monotonic())

    def drop(self, host: str) -> None:
        """Have a host name resolved no more, and forget what is known of it."""
        self._due.pop(host, None)
        self._failures.pop(host, None)
        self._known.pop(host, None)

    def of(self, host: str) -> Resolution:
        """Return what is known of a host name."""
        return self._known.get(host, NOT_ASKED)

    def recall(self, stored: Mapping[str, Resolution]) -> None:
        """Take in what was known before this process began to ask, of what is not known better."""
        for host, known in stored.items():
            if host in self._due:
                self._known.setdefault(host, known)

    async def run(self) -> None:
        """Ask for what is due, until cancelled."""
        places = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                now = self._monotonic()
                while self._queue and self._queue[0][0] <= now:
                    due, host = heapq.heappop(self._queue)
                    if self._due.get(host) == due and host not in self._asking:
                        self._asking.add(host)
                        group.create_task(self._ask(host, places), name=f"lookup {host}")
                try:
                    async with asyncio.timeout(
                        max(TICK_SECONDS, self._queue[0][0] - now) if self._queue else None
                    ):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    def _ask_at(self, host: str, due: float) -> None:
        self._due[host] = due
        heapq.heappush(self._queue, (due, host))
        self._wake.set()

    async def _ask(self, host: str, places: asyncio.Semaphore) -> None:
        async with places:
            try:
                ipv4, ipv6 = await self._lookup(host)
            except Exception as error:  # noqa: BLE001 - of this host name; all others are asked for
                self._boundary.failed(host, error)
                ipv4 = ipv6 = FamilyAnswer(problem="the resolver fails")
            finally:
                self._asking.discard(host)
        if host not in self._due:
            return
        before = self.of(host)
        known = renewed(before, ipv4, ipv6)
        failures = self._failures[host] = self._failures.get(host, 0) + 1 if known.problem else 0
        if failures:
            pause = RETRIES.delay(failures, rng=self._random)
        else:
            answered = [answer.ttl for answer in (ipv4, ipv6) if answer.addresses]
            pause = min(LONGEST_SECONDS, max(SHORTEST_SECONDS, float(min(answered))))
        self._ask_at(host, self._monotonic() + pause)
        if known != before or host not in self._known:
            self._known[host] = known
            _log.info(
                "a host name was resolved",
                host=host,
                addresses=len(known.addresses),
                ttl=known.ttl,
                problem=known.problem,
            )
            self._changed(host)
