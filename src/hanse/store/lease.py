"""Leases of etcd that keep themselves alive.

One task and one stream per lease. A lease counts as lost once its time has passed since the last renewal
that was *sent* and answered, so its holder stops no later than etcd lets another one in (clocks run at the
same speed; they need not agree). What guards the data itself is the fence in each write.

Next: `hanse.store.election`, which is built on this.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc
import grpc.aio
import structlog
from etcd3aio import _protobuf as pb

from hanse.background import OwnedTasks
from hanse.errors import NotFoundError
from hanse.store.etcd.channel import EtcdChannel

_log = structlog.get_logger(__name__)
_RETRY: Final = 0.2


class EtcdLease:
    """A granted lease. See `hanse.store.types.LeaseHandle`."""

    def __init__(self, channel: EtcdChannel, *, lease_id: int, ttl: int, sent_at: float) -> None:
        self._channel = channel
        self._id = lease_id
        self._ttl = ttl
        self._expires = sent_at + ttl
        self._lost = asyncio.Event()
        self._tasks = OwnedTasks()
        self._tasks.start(self._run(), name=f"lease-{lease_id:x}")

    @property
    def id(self) -> int:
        """The lease's id."""
        return self._id

    @property
    def ttl(self) -> int:
        """Seconds that etcd keeps it without a renewal."""
        return self._ttl

    @property
    def lost(self) -> asyncio.Event:
        """Set once the lease is over."""
        return self._lost

    async def revoke(self) -> None:
        """End the lease and delete its keys."""
        await self.abandon()
        self._lost.set()
        await revoke(self._channel, self._id)

    async def abandon(self) -> None:
        """Stop renewing."""
        await self._tasks.close()

    async def _run(self) -> None:
        try:
            async with asyncio.timeout_at(self._expires) as patience:
                while not await self._renewals(patience):  # noqa: ASYNC110 - only trying again tells
                    await asyncio.sleep(_RETRY)
            cause = "ended by etcd"
        except TimeoutError:
            cause = "not renewed in time"
        self._lost.set()
        _log.warning("etcd_lease_lost", lease=f"{self._id:x}", cause=cause)

    async def _renewals(self, patience: asyncio.Timeout) -> bool:
        """Renew over one stream until it breaks (False) or etcd says that the lease is gone (True)."""
        loop = asyncio.get_running_loop()
        stream: Any = self._channel.leases.LeaseKeepAlive(wait_for_ready=True)
        try:
            while True:
                sent_at = loop.time()
                await stream.write(pb.LeaseKeepAliveRequest(ID=self._id))
                response = await stream.read()
                if response is grpc.aio.EOF:
                    return False
                if response.TTL <= 0:
                    return True
                patience.reschedule(sent_at + response.TTL)
                await asyncio.sleep(response.TTL / 3)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return False
        finally:
            stream.cancel()


async def revoke(channel: EtcdChannel, lease_id: int) -> None:
    """End a lease; harmless if it is gone."""
    try:
        await channel.call(
            channel.leases.LeaseRevoke,
            pb.LeaseRevokeRequest(ID=lease_id),
            what=f"revoke lease {lease_id:x}",
            repeatable=True,
        )
    except NotFoundError:
        return
