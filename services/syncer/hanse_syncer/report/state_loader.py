"""Reads what is stored of sync states, when a cluster is taken over.

Owns `SyncStateLoader`: all clusters' states are read in one pass, because a syncer that starts, or that has
the clusters of another one, takes over many at the same time.

Concurrency: one pass at a time, in whichever call is first; there is no task that outlives its callers.

Next: `hanse_syncer.report.state_table`, which takes the states in.
"""

from __future__ import annotations

import asyncio
from typing import Final, TypeAlias

from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.boundary import Boundary
from hanse.errors import HanseError, UnavailableError
from hanse.federation.records import decode_sync_state
from hanse.process.telemetry import get_logger
from hanse.store import Store, keys

_log = get_logger(__name__)
_GATHER_SECONDS: Final = 0.02
"""How long a pass waits for others that want one."""
_RETRY_SECONDS: Final = 0.25
_PAGE: Final = 2000

States: TypeAlias = dict[str, list[tuple[str, SyncState]]]
"""By cluster: (path, state) of each object."""


async def load_states(store: Store) -> States:
    """Read all sync states in pages, at one revision; return them by cluster.

    One that cannot be read is as if nobody had written it yet: the member is asked before anything is done.
    """
    boundary = Boundary("sync states")
    found: States = {}
    after: str | None = None
    revision = 0
    while True:
        page = await store.range(f"{keys.SYNCSTATES}/", start_after=after, limit=_PAGE, revision=revision)
        for kv in page.items:
            try:
                key, cluster = keys.parse_sync_state(kv.key)
                state = decode_sync_state(kv)
            except (HanseError, ValueError) as error:
                boundary.failed(kv.key, error)
                continue
            found.setdefault(cluster, []).append((key.path(), state))
        if not page.more:
            return found
        after, revision = page.items[-1].key, page.revision


class SyncStateLoader:
    """Reads the sync states for several clusters with one pass where they ask at about the same time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._begun = 0
        """Passes that have begun to read."""
        self._loaded = 0
        """The last pass that has read everything, as counted by `_begun`."""
        self._states: States = {}

    async def load(self, cluster: str) -> list[tuple[str, SyncState]]:
        """Return the states of `cluster`, as new as the call: no pass that began before it is used."""
        asked = self._begun
        self._waiting += 1
        try:
            async with self._lock:
                if self._loaded <= asked:
                    await self._pass()
                return self._states.get(cluster, [])
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._states = {}

    async def _pass(self) -> None:
        await asyncio.sleep(_GATHER_SECONDS)
        self._begun += 1
        begun = self._begun
        while True:
            try:
                self._states = await load_states(self._store)
            except UnavailableError as error:
                _log.warning("sync states cannot be read yet", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._loaded = begun
                return
