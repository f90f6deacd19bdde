"""Credentials under the key that seals now: what an older key has sealed is written again.

Owns `Resealer`, which works while this registry leads, so one registry does it at a time. It begins when the
ring changes or the registry starts to lead, and looks again from time to time; what it has not done, because
it was interrupted or a key is away, is done then.

Concurrency: one task; a credential that changes meanwhile is left to whoever wrote it.

Next: `hanse.security.credentials`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from hanse.errors import HanseError
from hanse.process.telemetry import get_logger
from hanse.security.credentials import Sealer
from hanse.store import Collection, Compare, Put, Store, keys

LOOK: Final = 30.0
"""Seconds between two looks without a change of the ring."""
PACE: Final = 0.05
"""Seconds between two writes."""
_log = get_logger(__name__)


class Resealer:
    """Seals credentials again."""

    def __init__(self, store: Store, credentials: Collection[bytes], sealer: Sealer) -> None:
        self._store = store
        self._credentials = credentials
        self._sealer = sealer
        self._changed = asyncio.Event()
        sealer.ring.subscribe(self._changed.set)

    async def run(self, fence: Compare, *, pace: float = PACE) -> None:
        """Work until cancelled; `fence` must hold for each write."""
        while True:
            self._changed.clear()
            if done := await self.reseal(fence, pace=pace):
                _log.info("credentials are sealed with the first key", credentials=done)
            try:
                async with asyncio.timeout(LOOK):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def reseal(self, fence: Compare, *, pace: float = PACE) -> int:
        """Write again what is sealed with another key than the first; return how many were written."""
        done = 0
        for key, entry in list(self._credentials.all_versioned()):
            cluster = keys.last_segment(key)
            try:
                if not self._sealer.needs_resealing(cluster, entry.value):
                    continue
                await self._sealer.fetch([entry.value])
                sealed = self._sealer.seal(cluster, self._sealer.open(cluster, entry.value))
                compares = [fence, Compare.mod(key, entry.mod_revision)]
                written = await self._store.txn(compares, [Put(key, sealed)])
            except HanseError as error:
                _log.warning("a credential cannot be sealed again yet", cluster=cluster, error=error.message)
                continue
            done += written.succeeded
            await asyncio.sleep(pace)
        return done
