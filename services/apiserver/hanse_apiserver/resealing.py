"""Objects under the key that seals now: what is not as it would be written now is written again.

Owns the task that has `hanse.store.sealed` do so. Of several apiservers the one that is elected does it. It
begins at a start and when the ring changes, and looks again from time to time, for what another apiserver has
written with an older ring. What is left when it is interrupted is found again by the next list.

Concurrency: one task beside the requests, slowly.

Next: `hanse.store.sealed`.
"""

from __future__ import annotations

from typing import Final

from hanse.control.leading import lead
from hanse.store import Leadership, Store
from hanse.store.sealed import SealedStore

ELECTION: Final = "sealing"
LEASE_SECONDS: Final = 10
LOOK: Final = 30.0
"""Seconds between two looks without a change of the ring."""


async def keep_sealed(store: SealedStore, inner: Store, *, identity: str) -> None:
    """Work until cancelled, whenever this apiserver is the one that does."""

    async def sweep(leadership: Leadership) -> None:
        while True:
            await store.sweep(leadership.fence())
            await store.changed(LOOK)

    await lead(inner, election=ELECTION, identity=identity, ttl=LEASE_SECONDS, while_leading=sweep)
