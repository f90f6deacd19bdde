"""Looks after the embedded etcd with the rights of its `root`, which no service has.

Owns `keep_room`: it compacts history, gives free space back before etcd is full, and makes room when it is,
as an apiserver does, but may do so in every release of etcd. What is expendable is the apiserver's to
judge.

Concurrency: one task of the supervisor's loop. Next: `hanse.store.admin.upkeep`.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

from hanse.errors import HanseError
from hanse.store import EtcdStore
from hanse.store.admin.maintenance import EtcdMaintenance
from hanse.store.admin.upkeep import Upkeep
from hanse_local.etcd.continuity import EtcdAccess

AGAIN_SECONDS = 10.0
_log = logging.getLogger(__name__)


async def keep_room(access: EtcdAccess, *, quota: int, compact_seconds: float) -> None:
    """Look after the etcd until cancelled.

    `quota` is in bytes; `compact_seconds` is how much history stays, 0 leaves that to etcd.
    """
    while True:
        try:
            await _keep(access, quota, compact_seconds)
        except HanseError as error:
            _log.warning("etcd is looked after by nobody: %s", error)
        except Exception as error:  # noqa: BLE001 - the supervisor outlives whatever etcd answers
            _log.error("looking after etcd failed", exc_info=error)
        await asyncio.sleep(AGAIN_SECONDS)


async def _keep(access: EtcdAccess, quota: int, compact_seconds: float) -> None:
    async with AsyncExitStack() as stack:
        store = await EtcdStore.connect(access.endpoints, prefix=access.prefix, tls=access.tls)
        stack.push_async_callback(store.close)
        maintenance = await EtcdMaintenance.connect(access.endpoints, tls=access.tls)
        stack.push_async_callback(maintenance.close)
        await Upkeep(maintenance, revision=store.revision, quota=quota, compact_seconds=compact_seconds).run()
