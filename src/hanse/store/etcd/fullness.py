"""Whether etcd is full, told to whoever must say so.

Owns `Fullness`: it asks etcd for its alarms now and then, and hears at once of a write that was refused. Full
is a state of the store, not of the service that meets it: the service stays up and ready, and says so.

Concurrency: one task (`run`). Next: `hanse.store.admin.upkeep`, which makes room.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from hanse.errors import STORE_FULL, HanseError
from hanse.store.etcd.store import EtcdStore

ASK_SECONDS: Final = 5.0

REMEDY: Final = (
    f"{STORE_FULL}: etcd takes nothing but deletes, its quota is used up: delete what is not needed, or see "
    "docs/operations.md, When etcd is full"
)
_log = structlog.get_logger(__name__)


class Fullness:
    """Follows whether `store` is full, and calls `tell` with what to say, "" when it no longer is."""

    def __init__(
        self, store: EtcdStore, tell: Callable[[str], None], *, ask_seconds: float = ASK_SECONDS
    ) -> None:
        self._store = store
        self._tell = tell
        self._ask_seconds = ask_seconds
        self._refused = asyncio.Event()
        self._full = False

    async def run(self) -> None:
        """Follow until cancelled."""
        unsubscribe = self._store.on_full(self._refused.set)
        try:
            while True:
                await self._ask()
                self._refused.clear()
                try:
                    async with asyncio.timeout(self._ask_seconds):
                        await self._refused.wait()
                        self._say(full=True)
                        await asyncio.sleep(self._ask_seconds)
                except TimeoutError:
                    pass
        finally:
            unsubscribe()

    async def _ask(self) -> None:
        try:
            status = await self._store.status()
        except HanseError as error:  # unknown is neither: what was known stays
            _log.debug("etcd's alarms are unknown", error=str(error))
        else:
            self._say(full=status.full)

    def _say(self, *, full: bool) -> None:
        if full != self._full:
            self._full = full
            if full:
                _log.error("etcd is full", remedy=REMEDY)
            else:
                _log.info("etcd has room again")
        self._tell(REMEDY if full else "")
