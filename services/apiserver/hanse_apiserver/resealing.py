"""Objects under the key that seals now: what is not as it would be written now is written again.

Owns the task that has `hanse.store.sealed` do so. Of several apiservers the one that is elected does it. It
begins at a start and when the ring changes, and looks again from time to time, for what another apiserver has
written with an older ring. What is left when it is interrupted is found again by the next list.

Concurrency: one task beside the requests, slowly.

Next: `hanse.store.sealed`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from hanse.boundary import Boundary
from hanse.errors import HanseError
from hanse.process.telemetry import get_logger
from hanse.store import Compare, Election, Store
from hanse.store.sealed import SealedStore

ELECTION: Final = "sealing"
LEASE_SECONDS: Final = 10
LOOK: Final = 30.0
"""Seconds between two looks without a change of the ring."""
_RETRY: Final = 10.0
_log = get_logger(__name__)


async def keep_sealed(store: SealedStore, inner: Store, *, identity: str) -> None:
    """Work until cancelled, whenever this apiserver is the one that does."""
    boundary = Boundary("sealing")
    while True:
        try:
            async with Election(inner, ELECTION, identity, ttl=LEASE_SECONDS) as leadership:
                work = asyncio.create_task(_sweep(store, leadership.fence()), name="sealing")
                lost = asyncio.create_task(leadership.lost.wait())
                try:
                    await asyncio.wait((work, lost), return_when=asyncio.FIRST_COMPLETED)
                    if work.done():
                        work.result()
                finally:
                    work.cancel()
                    lost.cancel()
                    await asyncio.gather(work, lost, return_exceptions=True)
        except HanseError as error:
            _log.warning("stored objects are not sealed again", error=error.message, reason=error.reason)
            await asyncio.sleep(_RETRY)
        except Exception as error:  # noqa: BLE001 - the apiserver goes on answering, and tries again
            boundary.failed("stored objects", error)
            await asyncio.sleep(_RETRY)


async def _sweep(store: SealedStore, fence: Compare) -> None:
    while True:
        await store.sweep(fence)
        await store.changed(LOOK)
