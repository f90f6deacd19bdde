"""An etcd with a small quota, a store over it and its maintenance: for what happens when it is full."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hanse.errors import ResourceExhaustedError
from hanse.store import EtcdStore
from hanse.store.admin.maintenance import EtcdMaintenance
from tests.support.stores.etcd import EtcdServer

PIECE = 1 << 19
"""Bytes of what it is filled with, a write."""


@dataclass(frozen=True)
class SmallEtcd:
    """The etcd, as a service and its administrator reach it."""

    store: EtcdStore
    maintenance: EtcdMaintenance

    async def fill(self, *, history: bool = True) -> None:
        """Write until etcd has raised its alarm: over and over to one key, or to keys of its own.

        Raises AssertionError if it takes more than 200 writes.
        """
        for number in range(200):
            try:
                await self.store.put("fill" if history else f"fill/{number:03}", os.urandom(PIECE))
            except ResourceExhaustedError:
                if (await self.maintenance.status()).full:
                    return
        raise AssertionError("it was never full")


@asynccontextmanager
async def small_etcd(directory: Path, *, quota: int) -> AsyncIterator[SmallEtcd]:
    """Start an etcd whose database may have `quota` bytes, with its data in `directory`."""
    with EtcdServer(directory, arguments=[f"--quota-backend-bytes={quota}"]) as server:
        store = await EtcdStore.connect([server.endpoint])
        maintenance = await EtcdMaintenance.connect([server.endpoint])
        try:
            yield SmallEtcd(store, maintenance)
        finally:
            await maintenance.close()
            await store.close()
