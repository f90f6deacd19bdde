"""A store in memory that can be full, as an etcd whose quota is used up."""

from __future__ import annotations

from collections.abc import Sequence

from hanse.errors import STORE_FULL, ResourceExhaustedError
from hanse.store import Compare, MemoryStore, Op, Put, TxnResult
from hanse.store.memory import MemoryLease


class FullableStore(MemoryStore):
    """Refuses what writes, and leases, while `full`; counts what it refused."""

    full = False
    refused = 0

    def _check(self) -> None:
        if self.full:
            self.refused += 1
            raise ResourceExhaustedError("the store is full", reason=STORE_FULL)

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        """See `Store.txn`."""
        if any(isinstance(op, Put) for op in (*success, *failure)):
            self._check()
        return await super().txn(compares, success, failure)

    async def grant(self, ttl: int) -> MemoryLease:
        """See `Store.grant`."""
        self._check()
        return await super().grant(ttl)
