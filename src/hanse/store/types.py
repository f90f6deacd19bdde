"""The values that go in and out of a store, and the protocol that every store keeps.

Keys are text, relative to the store's prefix, without a leading slash; values are bytes. A revision is
etcd's: one number for the whole store, raised by one by every transaction that changes something, so it
orders everything. All values are frozen and may be shared between tasks; a `Store` is used from one
event loop, by any number of tasks at once.

Next: `hanse.store.keys` for what is kept where, `hanse.store.etcd.store` and `hanse.store.memory` for the two
stores, `hanse.store.follow` for what controllers read from.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self, TypeAlias, runtime_checkable

from hanse.errors import InvalidArgumentError, ResourceExhaustedError, UnavailableError

MAX_TXN_OPS = 128
"""etcd's limit for the compares, and for the operations of a branch, of one transaction (--max-txn-ops)."""

NOT_NOW = (UnavailableError, ResourceExhaustedError)
"""What a write raises that the store does not take for the moment only: it cannot be reached, or is full.

Who must go on waits and tries again. A store that is full (`STORE_FULL`) still answers reads and watches,
keeps leases alive, and takes `delete`; it grants no lease and takes nothing that writes. etcd takes
transactions that only delete while its file is smaller than the quota: do not rely on them.
"""

MAX_REQUEST_BYTES = 1536 * 1024
"""etcd's limit for one request (--max-request-bytes)."""

VALUE_TOO_LARGE = "REQUEST_TOO_LARGE"
"""Reason of the `InvalidArgumentError` for more than `MAX_REQUEST_BYTES`. Whoever gets it must write less: a
second try would be refused too."""


def is_too_large(error: Exception) -> bool:
    """Return whether a write was refused for its size."""
    return isinstance(error, InvalidArgumentError) and error.reason == VALUE_TOO_LARGE


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One key at one revision.

    `version` counts the writes since the key was created (1 is the first). `lease` is 0 without one.
    `value` is empty in a read of keys only. `sealed` is whether the store inside a `SealedStore` has it as an
    envelope: then nothing of it may be written elsewhere.
    """

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class RangeResult:
    """Items in key order. `revision` is the store's at the read: watch from `revision + 1`.

    `more` says that `limit` cut the items off; `count` is how many keys are in the range that was asked
    for (after `start_after`), whatever `limit` is.
    """

    items: tuple[KeyValue, ...]
    revision: int
    more: bool
    count: int


CompareTarget: TypeAlias = Literal["mod", "create", "version", "lease"]
CompareOperator: TypeAlias = Literal["==", "!=", ">", "<"]


@dataclass(frozen=True, slots=True)
class Compare:
    """One condition of a transaction: `target` of `key` `operator` `number`. All of them must hold.

    For a key that does not exist, every target is 0. Use the constructors below.
    """

    key: str
    target: CompareTarget
    operator: CompareOperator
    number: int

    @classmethod
    def mod(cls, key: str, revision: int) -> Self:
        """Hold if the key was last written at `revision`; 0 for a key that does not exist."""
        return cls(key, "mod", "==", revision)

    @classmethod
    def absent(cls, key: str) -> Self:
        """Hold if the key does not exist."""
        return cls(key, "mod", "==", 0)

    @classmethod
    def exists(cls, key: str) -> Self:
        """Hold if the key exists."""
        return cls(key, "mod", "!=", 0)

    @classmethod
    def version(cls, key: str, version: int) -> Self:
        """Hold if the key was written `version` times since it was created."""
        return cls(key, "version", "==", version)

    @classmethod
    def created(cls, key: str, revision: int) -> Self:
        """Hold if the key was created at `revision` and not deleted since, whatever was written to it."""
        return cls(key, "create", "==", revision)

    @classmethod
    def lease_held(cls, key: str, lease: int) -> Self:
        """Hold if the key exists and is attached to `lease`: the fence of a lease holder's writes."""
        return cls(key, "lease", "==", lease)


@dataclass(frozen=True, slots=True)
class Put:
    """Write `value` to `key`, attached to `lease` if that is not 0."""

    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete `key`, or everything that starts with it."""

    key: str
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Get:
    """Read `key`, or everything that starts with it, inside a transaction."""

    key: str
    prefix: bool = False


Op: TypeAlias = Put | Delete | Get


@dataclass(frozen=True, slots=True)
class TxnResult:
    """What a transaction did.

    `succeeded` says whether all compares held, so which branch ran. `revision` is the store's after it.
    `responses` has one entry per operation of that branch: a `RangeResult` for `Get`, else None.
    """

    succeeded: bool
    revision: int
    responses: tuple[RangeResult | None, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one key.

    For a delete, `kv` has the key and the revision of the deletion, and an empty value. `prev` is what was
    there before, if the watch asked for it and it is not compacted.
    """

    kind: Literal["put", "delete"]
    kv: KeyValue
    prev: KeyValue | None = None


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """What a watch delivers: everything up to and including `revision` under the prefix has been delivered.

    Events are in revision order, and all events of one revision are in one batch. No events means that
    time went on and nothing happened here.
    """

    revision: int
    events: tuple[Event, ...]


@runtime_checkable
class LeaseHandle(Protocol):
    """A lease that keeps itself alive until it is revoked, abandoned or lost."""

    @property
    def id(self) -> int:
        """The lease's id; what `Put.lease` and `Compare.lease_held` take."""

    @property
    def ttl(self) -> int:
        """Seconds without a sign of life after which the store drops it; at least what was asked for."""

    @property
    def lost(self) -> asyncio.Event:
        """Set once the lease is over: revoked, expired, or to be taken for expired as nobody answers."""

    async def revoke(self) -> None:
        """End the lease and delete its keys. Doing it twice is harmless. Raises `UnavailableError`."""

    async def abandon(self) -> None:
        """Stop keeping it alive, as if this process had died; the store drops it after `ttl`."""


@runtime_checkable
class Store(Protocol):
    """State with revisions, transactions, watches and leases; etcd's data model.

    Every method raises `UnavailableError` if the store does not answer within its operation timeout. For a
    write its reason is `OUTCOME_UNKNOWN` if it may have happened: read again before you decide. A write
    whose compares could not hold twice is retried by the store itself. What writes, or grants a lease,
    raises `ResourceExhaustedError` (`STORE_FULL`) if the store is full; see `NOT_NOW`.
    """

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """Return the key, now or as it was at `revision`; None if it did not exist.

        Raises `CompactedError`; `FailedPreconditionError` (`FUTURE_REVISION`) for one not yet reached.
        """

    async def range(
        self,
        prefix: str,
        *,
        start_after: str | None = None,
        limit: int = 0,
        revision: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
        through: str = "",
    ) -> RangeResult:
        """Return the keys that start with `prefix` in order, all of them at one revision.

        With `through`, also those after them, up to and including those that start with it.
        To page, pass the last key as `start_after` and the first page's `revision`. Raises as `get`.
        """

    async def revision(self) -> int:
        """Return the store's revision: no write that was acknowledged before the call is newer."""

    async def unchanged_since(
        self, prefix: str, revision: int, *, count: int, through: str = ""
    ) -> int | None:
        """Return the store's revision if nothing in the range changed after `revision`, else None.

        `count` is how many keys were there at `revision`. It lets one who follows a quiet prefix know that
        it is up to date without a write.
        """

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """Write the key whatever it was and return the revision. `NotFoundError` if the lease is gone."""

    async def delete(self, key: str) -> bool:
        """Delete the key; False if there was none."""

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        """Run `success` if all compares hold, else `failure`, as one revision.

        Raises `InvalidArgumentError` for a key written twice, for more than `MAX_TXN_OPS` operations, or
        for more than `MAX_REQUEST_BYTES`; `NotFoundError` (`LEASE_NOT_FOUND`).
        """

    def watch(
        self, prefix: str, *, start_revision: int, prev: bool = False, through: str = ""
    ) -> AsyncGenerator[WatchBatch, None]:
        """Follow a range from `start_revision` (the first revision wanted; 0 for whatever comes next).

        An async generator that goes on until it is closed (use `contextlib.aclosing`). It reconnects by
        itself, for as long as it takes, and neither loses nor repeats an event. Raises `CompactedError` if
        events from `start_revision` on are no longer all there: list again.
        """

    async def grant(self, ttl: int) -> LeaseHandle:
        """Return a new lease of `ttl` seconds that keeps itself alive."""

    async def grant_once(self, ttl: int) -> int:
        """Return the id of a new lease that ends in `ttl` seconds with all its keys; nobody renews it."""

    async def revoke(self, lease: int) -> None:
        """End a lease and delete its keys, whoever holds it. Harmless if it is gone."""

    async def compact(self, revision: int) -> None:
        """Forget history below `revision`. For an administrator; etcd does it by itself when told to."""

    async def close(self) -> None:
        """Let go of all connections. Leases that were not revoked run out."""
