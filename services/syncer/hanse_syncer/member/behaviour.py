"""Whether the member of one cluster behaves: how long it is left alone if not, and how that is told.

Owns `Behaviour`. A member that sent more than any cluster sends is left alone: nothing is read of it, applied
or removed, for longer each time. Then it is on probation: it is followed, and nothing is written before all
its lists are in. What was found is told to the registry at `memberreports/<cluster>`, a key with the lease of
the cluster, so that it is there for as long as somebody means it.

Concurrency: used by the cluster's controller; one task, `run`, writes the report. Next:
`hanse_syncer.cluster.controller`, `hanse_registry.membership_controller`, which makes a state of the report.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime
from typing import Final

from hanse.api.type.v1 import condition_pb2
from hanse.backoff import Backoff
from hanse.errors import UnavailableError
from hanse.kube.client.bounds import MisbehavingMemberError
from hanse.process.telemetry import get_logger
from hanse.store import Compare, Delete, Op, Put, Store, keys

REASON: Final = "MisbehavingMember"
PAUSES: Final = Backoff(base=10.0, limit=300.0, jitter=0.1)
GOOD_SECONDS: Final = 600.0
"""After so long without trouble the next one is the first again."""
MAX_MESSAGE: Final = 1024
_RETRY_SECONDS: Final = 0.5
_log = get_logger(__name__)


class Behaviour:
    """What is held against one member, and until when it is left alone."""

    def __init__(
        self,
        store: Store,
        cluster: str,
        *,
        fence: Callable[[], Compare],
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        pauses: Backoff = PAUSES,
    ) -> None:
        """`clock` is the time of day, `monotonic` counts seconds."""
        self._clock = clock
        self._monotonic = monotonic
        self._store = store
        self._cluster = cluster
        self._fence = fence
        self._pauses = pauses
        self._strikes = 0
        self._last = float("-inf")
        self._changed = asyncio.Event()
        self._random = random.Random()  # noqa: S311 - jitter
        self.why = ""
        """What it did, while it is suspended or on probation; else empty."""

    def misbehaved(self, error: MisbehavingMemberError) -> float:
        """Count one more misbehaviour; return for how many seconds to leave the member alone."""
        now = self._monotonic()
        self._strikes = 1 if now - self._last > GOOD_SECONDS else self._strikes + 1
        self._last = now
        self.why = error.message[:MAX_MESSAGE]
        self._changed.set()
        pause = self._pauses.delay(self._strikes, rng=self._random)
        _log.warning(
            "a member misbehaves and is left alone",
            cluster=self._cluster,
            error=self.why,
            strikes=self._strikes,
            pause_seconds=round(pause, 1),
        )
        return pause

    def behaves(self) -> None:
        """Take note that its lists are in: it is as it should be."""
        if self.why:
            _log.info("a member behaves again", cluster=self._cluster)
            self.why = ""
            self._changed.set()

    async def run(self) -> None:
        """Keep the report as it should be until cancelled. A fence that fails ends no more than this."""
        told = ""
        while True:
            await self._changed.wait()
            self._changed.clear()
            while told != (why := self.why):
                try:
                    if not await self._tell(why):
                        return
                except UnavailableError as error:
                    _log.warning("a report waits for the store", cluster=self._cluster, error=str(error))
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    told = why

    async def _tell(self, why: str) -> bool:
        key, fence = keys.member_report(self._cluster), self._fence()
        op: Op = Delete(key)
        if why:
            report = condition_pb2.Condition(
                type="Behaves", status=condition_pb2.FALSE, reason=REASON, message=why
            )
            report.last_transition_time.FromDatetime(self._clock())
            op = Put(key, report.SerializeToString(), lease=fence.number)  # the fence compares the lease
        result = await self._store.txn([fence, Compare.exists(keys.cluster(self._cluster))], [op])
        return result.succeeded
