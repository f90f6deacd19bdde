"""One leader at a time among processes that share a store.

The recipe of etcd's concurrency package: each candidate puts a key with its lease under the election's
prefix; the oldest key leads, and each candidate watches for the one just before it to go. Two processes may
both believe to lead for as long as one of them is stopped; what keeps the data right is the fence, a compare
that fails once the leader's key is gone, in each of its transactions.

Next: `hanse.store.lease` for how a lease is lost, `hanse.store.batch` for writing with a fence.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import structlog

from hanse.background import first_of
from hanse.errors import CompactedError, HanseError, NotFoundError
from hanse.store import keys
from hanse.store.types import NOT_NOW, Compare, KeyValue, LeaseHandle, Put, Store

_log = structlog.get_logger(__name__)
_RETRY: Final = 0.5


@dataclass(frozen=True, slots=True)
class Leadership:
    """A won election. `key` is the leader's key; `identity` what it calls itself."""

    name: str
    identity: str
    key: str
    lease: LeaseHandle

    @property
    def lease_id(self) -> int:
        """The id of the leader's lease."""
        return self.lease.id

    @property
    def lost(self) -> asyncio.Event:
        """Set once the lease is over; stop then. The fence guards what was not stopped in time."""
        return self.lease.lost

    def fence(self) -> Compare:
        """Return the compare to put into every transaction: it holds only while this leader leads."""
        return Compare.lease_held(self.key, self.lease.id)

    async def resign(self) -> None:
        """Let the next one lead at once, or once the lease has run out if the store does not take that now.

        Doing it twice is harmless.
        """
        await _withdraw(self.lease)


class Election:
    """A candidate in the election `name`, known to others as `identity`.

    `ttl` is how many seconds pass before others take over from one that died. `hanse.control.leading.lead` is
    how a service leads.
    """

    def __init__(self, store: Store, name: str, identity: str, ttl: int = 10) -> None:
        self._store = store
        self._name = name
        self._identity = identity
        self._ttl = ttl
        self._prefix = keys.election(name)

    async def campaign(self) -> Leadership:
        """Wait until this candidate leads, through every outage of the store, or until it has room for a
        lease. Cancelling withdraws it.
        """
        while True:
            try:
                leadership = await self._try()
            except NOT_NOW as error:
                if error.reason == "STORE_CLOSED":
                    raise
                _log.warning("election_waits_for_store", election=self._name, error=str(error))
                await asyncio.sleep(_RETRY)
                continue
            if leadership is not None:
                _log.info("election_won", election=self._name, identity=self._identity)
                return leadership

    async def _try(self) -> Leadership | None:
        lease = await self._store.grant(self._ttl)
        won = False
        try:
            won = await self._candidate(lease)
        finally:
            if not won:
                await _withdraw(lease)
        return Leadership(self._name, self._identity, self._key(lease), lease) if won else None

    async def leader(self) -> str | None:
        """Return the identity of who leads now; None if nobody does."""
        candidates, _ = await self._candidates()
        return candidates[0].value.decode(errors="replace") if candidates else None

    def _key(self, lease: LeaseHandle) -> str:
        return f"{self._prefix}{lease.id:016x}"

    async def _candidate(self, lease: LeaseHandle) -> bool:
        """Return True once the lease's key leads, False if the lease was lost before."""
        key = self._key(lease)
        try:
            await self._store.txn([Compare.absent(key)], [Put(key, self._identity.encode(), lease.id)])
        except NotFoundError:
            return False
        while not lease.lost.is_set():
            candidates, revision = await self._candidates()
            place = next((i for i, kv in enumerate(candidates) if kv.key == key), None)
            if place is None:
                return False
            if place == 0:
                return True
            await self._either(lease, candidates[place - 1].key, revision)
        return False

    async def _candidates(self) -> tuple[list[KeyValue], int]:
        """Return the candidates, the leader first, and the revision at which they are so.

        A key is one only with the lease in its name: any other would stay, and nobody would ever lead.
        """
        found = await self._store.range(self._prefix)
        candidates = [kv for kv in found.items if kv.lease and kv.key == f"{self._prefix}{kv.lease:016x}"]
        return sorted(candidates, key=lambda kv: kv.create_revision), found.revision

    async def _either(self, lease: LeaseHandle, before: str, revision: int) -> None:
        """Wait until the candidate before is gone or our own lease is lost."""
        await first_of(self._gone(before, revision), lease.lost.wait())

    async def _gone(self, candidate: str, revision: int) -> None:
        """Wait until the key that was there at `revision` is deleted, as far as history tells."""
        watch = self._store.watch(candidate, start_revision=revision + 1)
        try:
            async with aclosing(watch):
                async for batch in watch:
                    if any(e.kind == "delete" for e in batch.events):
                        return
        except CompactedError:
            return  # The caller looks again.


async def _withdraw(lease: LeaseHandle) -> None:
    try:
        await lease.revoke()
    except HanseError as error:
        _log.warning("lease_not_revoked", lease=f"{lease.id:x}", error=str(error))
